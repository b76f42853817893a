"""Finding meters by the name a person typed."""

from difflib import get_close_matches

from headend.errors import RegistryError
from headend.registry.model import EndDevice
from headend.store.reader import StoreReader

MAX_SHOWN = 80


def find_meter(reader: StoreReader, name: str) -> EndDevice:
    """Find a meter by its global name. Raises `RegistryError` that names the meters that may be meant."""
    try:
        return reader.end_device(name)
    except RegistryError as error:
        meters = {device.id: device.name for device in reader.end_devices()}
        point = next((point for point in reader.usage_points() if point.name == name), None)
        if point is not None:
            there = [meters[place.end_device_id] for place in reader.installations(usage_point_id=point.id)]
            hint = f"a usage point is called that; it has {', '.join(there) or 'no meter'}"
        elif near := get_close_matches(name[:MAX_SHOWN], meters.values(), n=1):
            hint = f"did you mean {near[0]}?"
        else:
            raise
        raise RegistryError(f"no meter {name[:MAX_SHOWN]!r} is registered; {hint}") from error
