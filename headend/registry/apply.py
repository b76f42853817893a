"""Writing a checked table into the store: all rows or none."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise

from drivers.profile import ChannelProfile
from headend.errors import RegistryError
from headend.registry.model import ChannelExpectation, Installation
from headend.registry.row import MeterRow
from headend.store.registrywrites import Outcome
from headend.store.store import Store

ENERGY = 29
"""Value group D of interval channels, IEC 62056-6-1: time integral 5, differences of a register."""
MAX_LISTED = 100
"""Most faults in one message."""


@dataclass(frozen=True, slots=True)
class Applied:
    """How many rows added something, changed something, or were there already."""

    added: int
    changed: int
    unchanged: int


def apply(store: Store, rows: Sequence[MeterRow], *, dry_run: bool = False) -> Applied:
    """Write rows of `headend.registry.table.parse`; what is not named stays as it is. With ``dry_run`` keep nothing.

    Raises `RegistryError` with every row that contradicts the store; nothing is written then.
    """
    with store.transaction(keep=not dry_run):
        outcomes = _write(store, rows)
    return Applied(*(outcomes.count(kind) for kind in (Outcome.ADDED, Outcome.CHANGED, Outcome.UNCHANGED)))


def _write(store: Store, rows: Sequence[MeterRow]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    faults: list[str] = []
    # By start, so that a row that ends an installation comes before the one that takes its place.
    for row in sorted(rows, key=lambda row: (row.start, row.number)):
        try:
            with store.transaction():
                outcomes.append(_write_row(store, row))
        except RegistryError as error:
            faults.append(f"row {row.number}: {error}")
    if not faults:
        faults.extend(_contradictions(store, rows))
    if faults:
        more = [f"and {len(faults) - MAX_LISTED} more"] if len(faults) > MAX_LISTED else []
        raise RegistryError("; ".join([*faults[:MAX_LISTED], *more]))
    changed = len(outcomes) - outcomes.count(Outcome.UNCHANGED)
    if changed:
        store.audit("", "meter import", f"{len(rows)} rows", f"{changed} rows added or changed something")
    return outcomes


def _write_row(store: Store, row: MeterRow) -> Outcome:
    device, of_device = store.put_end_device(
        row.meter, row.profile.name, store.put_link(row.link), row.address, serial=row.serial,
        password_ref=row.password, encryption_key_ref=row.encryption_key,
        authentication_key_ref=row.authentication_key, options=row.options,
    )  # fmt: skip
    point, of_point = store.put_usage_point(
        row.usage_point, row.zone, area=row.area, transformer=row.transformer, feeder=row.feeder, box=row.box,
        check_meter=row.check_meter, check_ratio=row.check_ratio, tariffs=row.tariff,
    )  # fmt: skip
    of_place = store.put_installation(Installation(point.id, device.id, row.start, row.end, row.multiplier, row.dials))
    of_channels = store.put_expectations(
        device.id,
        row.start,
        [
            ChannelExpectation(
                device.id, channel.obis, channel.period, row.grid_offset % channel.period, channel.scaler_unit,
                channel.origin, row.start, row.end, dials_of(channel, row.dials),
            )
            for channel in row.profile.channels
        ],
    )  # fmt: skip
    if of_place is Outcome.ADDED:
        return Outcome.ADDED
    all_same = {of_device, of_point, of_place, of_channels} == {Outcome.UNCHANGED}
    return Outcome.UNCHANGED if all_same else Outcome.CHANGED


def dials_of(channel: ChannelProfile, override: int) -> int:
    """Choose the digits of a channel's register: the installation's, where it says so of one of energy, else the model's."""
    return override if override and channel.obis.d == ENERGY else channel.dials


def _contradictions(store: Store, rows: Sequence[MeterRow]) -> Iterable[str]:
    """Find what the rows claim together with what the store knew before: one channel or one address twice at one time."""
    points = {point.name: point for point in store.usage_points()}
    devices = {device.id: device for device in store.end_devices()}
    for name in sorted({row.usage_point for row in rows}):
        places = store.installations(usage_point_id=points[name].id)
        for index, place in enumerate(places):
            for other in places[:index]:
                if other.end_device_id != place.end_device_id and place.overlaps(other):
                    shared = _codes(store, place) & _codes(store, other)
                    if shared:
                        meters = f"{devices[other.end_device_id].name} and {devices[place.end_device_id].name}"
                        yield f"usage point {name} would have {min(shared)} from meters {meters} at one time"
    for point in points.values():
        if point.check_meter and point.check_meter not in points:
            near = get_close_matches(point.check_meter, points, n=1)
            hint = f"did you mean {near[0]}?" if near else "register it too"
            yield f"usage point {point.name} names check meter {point.check_meter}, and there is no such usage point; {hint}"
    wired = {link.id for link in store.links() if not link.url.startswith(("mqtt:", "mqtts:", "call:"))}
    by_address: dict[tuple[int, str], list[int]] = {}
    for device in devices.values():
        if device.link_id in wired:
            by_address.setdefault((device.link_id, device.address), []).append(device.id)
    for (_, address), sharing in by_address.items():
        places = [
            place for number in sharing if len(sharing) > 1 for place in store.installations(end_device_id=number)
        ]
        places.sort(key=lambda place: place.start)
        for earlier, later in pairwise(places):
            if earlier.end_device_id != later.end_device_id and earlier.overlaps(later):
                meters = f"{devices[earlier.end_device_id].name} and {devices[later.end_device_id].name}"
                yield f"meters {meters} would answer at one address, {address}, at one time"


def _codes(store: Store, place: Installation) -> set[str]:
    return {str(entry.obis) for entry in store.expectations(place.end_device_id) if entry.start == place.start}
