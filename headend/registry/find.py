"""Finding meters by the name a person typed."""

from collections.abc import Collection
from difflib import get_close_matches

from drivers.facts import UtcSeconds
from headend.errors import RegistryError
from headend.registry.cells import format_instant
from headend.registry.model import EndDevice, UsagePoint
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


def find_usage_point(reader: StoreReader, name: str, at: UtcSeconds) -> UsagePoint:
    """Find a usage point by its name, or by that of the meter that hangs there at an instant. Raises `RegistryError`."""
    points = {point.id: point for point in reader.usage_points()}
    for point in points.values():
        if point.name == name:
            return point
    device = find_meter(reader, name)
    for place in reader.installations(end_device_id=device.id):
        if place.start <= at and (place.end is None or at < place.end):
            return points[place.usage_point_id]
    raise RegistryError(f"meter {device.name} is installed nowhere at {format_instant(at)}; see `headend meter show`")


def without_profile(reader: StoreReader, known: Collection[str], at: UtcSeconds) -> dict[str, list[str]]:
    """Find the meters that hang somewhere at an instant and cannot be read for want of a profile: names by profile wanted."""
    wanted: dict[str, list[str]] = {}
    for device in reader.end_devices():
        if device.profile in known or device.disabled:
            continue
        places = reader.installations(end_device_id=device.id)
        if any(place.start <= at and (place.end is None or at < place.end) for place in places):
            wanted.setdefault(device.profile, []).append(device.name)
    return wanted
