"""What the ledger says, gathered for people: coverage by link, runs of missing slots with their cause, a day of a channel.

Reads through a `StoreReader` alone; days are those of each usage point's own zone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.table import nearest
from drivers.units import Unit
from drivers.zone import parse_zone
from headend.collect.schedule import boundary_at, due_slots
from headend.errors import RegistryError
from headend.ledger import Coverage, coverage, total
from headend.registry.find import find_meter
from headend.registry.model import ChannelExpectation, EndDevice, Installation, UsagePoint
from headend.series import Series
from headend.store.reader import StoreReader
from kernels.quality import Reason, State

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Days:
    """Whole local days, ``first`` to ``last``, both inclusive."""

    first: date
    last: date

    def span(self, zone: tzinfo) -> tuple[UtcSeconds, UtcSeconds]:
        """Give ``[start, end)`` [s UTC] of the days in a zone, 23 to 25 hours each."""
        return _midnight(self.first, zone), _midnight(self.last + timedelta(days=1), zone)


@dataclass(frozen=True, slots=True)
class Recent:
    """The local day in which ``now`` falls, and the ``days - 1`` before it."""

    now: UtcSeconds
    days: int

    def span(self, zone: tzinfo) -> tuple[UtcSeconds, UtcSeconds]:
        """Give ``[start, end)`` [s UTC] of the days in a zone."""
        today = datetime.fromtimestamp(self.now, zone).date()
        return Days(today - timedelta(days=self.days - 1), today).span(zone)


@dataclass(frozen=True, slots=True)
class LinkCoverage:
    """How the slots of a link's meters stand, by what the meters said. ``filled``: missing slots that VEE has estimated."""

    url: str
    meters: int
    coverage: Coverage
    filled: int


@dataclass(frozen=True, slots=True)
class MissingRun:
    """Neighbouring slots ``[start, end)`` [s UTC] of one channel that are missing for one cause.

    ``cause``: `Reason.NONE` for slots nobody has tried yet.  ``is_filled``: VEE has put estimates in their place.
    """

    meter: str
    usage_point: str
    area: str
    link: str
    obis: Obis
    start: UtcSeconds
    end: UtcSeconds
    slots: int
    cause: Reason
    is_filled: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """One expected slot of ``period`` [s] from ``start`` [s UTC]. ``value``: exact, in ``unit``; None where there is none."""

    start: UtcSeconds
    period: int
    value: Decimal | None
    unit: Unit
    state: State
    reason: Reason


@dataclass(frozen=True, slots=True)
class _Place:
    """A meter with where it is. ``point`` is that of its latest installation."""

    device: EndDevice
    link: str
    installations: Sequence[Installation]
    point: UsagePoint | None
    zone: tzinfo


def coverage_by_link(reader: StoreReader, within: Days | Recent, now: UtcSeconds) -> list[LinkCoverage]:
    """Count slots that have fallen due by state, per link, sorted by URL."""
    return coverages_by_link(reader, (within,), now)[0]


def coverages_by_link(
    reader: StoreReader, periods: Sequence[Days | Recent], now: UtcSeconds
) -> list[list[LinkCoverage]]:
    """Count as `coverage_by_link`, for several periods, of which the first contains the others: each slot is read once."""
    found: list[dict[str, LinkCoverage]] = [{} for _ in periods]
    for place in _places(reader):
        spans = [within.span(place.zone) for within in periods]
        parts: list[list[Coverage]] = [[] for _ in periods]
        filled = [0] * len(periods)
        for expectation, series in _channels(reader, place, periods[0], now):
            is_filled = _open(series) & _filled(reader, place, expectation.obis, series)
            for index, span in enumerate(spans):
                first, last = (_at_or_after(series, at) for at in span)
                if first < last:
                    parts[index].append(coverage(series.window(first, last)))
                    low, high = ((at - series.start) // series.period for at in (first, last))
                    filled[index] += int(np.count_nonzero(is_filled[low:high]))
        for index, links in enumerate(found):
            old = links.get(place.link, LinkCoverage(place.link, 0, Coverage(), 0))
            links[place.link] = LinkCoverage(
                place.link, old.meters + 1, old.coverage + total(parts[index]), old.filled + filled[index]
            )
    return [[links[url] for url in sorted(links)] for links in found]


def missing_runs(
    reader: StoreReader, within: Days | Recent, now: UtcSeconds, meter: str | None = None, area: str | None = None
) -> Iterator[MissingRun]:
    """Give missing slots that have fallen due, as runs of one cause, by meter and time. Raises `RegistryError`."""
    wanted = find_meter(reader, meter).id if meter is not None else None
    areas = {point.area for point in reader.usage_points()} - {""}
    if area is not None and area not in areas:
        raise RegistryError(f"no usage point is in area {area[:80]!r}{nearest(area[:80], areas)}")
    for place in _places(reader):
        if wanted not in {None, place.device.id} or (
            area is not None and (not place.point or place.point.area != area)
        ):
            continue
        for expectation, series in _channels(reader, place, within, now):
            filled = _filled(reader, place, expectation.obis, series)
            causes = np.where(_open(series), series.reason.astype(np.int16) * 2 + filled, -1)
            causes[series.state == State.EXPECTED] &= 1
            edges = np.flatnonzero(np.diff(causes, prepend=-2, append=-2)).tolist()
            for first, last in pairwise(edges):
                code = int(causes[first])
                if code < 0:
                    continue
                yield MissingRun(
                    meter=place.device.name,
                    usage_point=place.point.name if place.point else "",
                    area=place.point.area if place.point else "",
                    link=place.link,
                    obis=expectation.obis,
                    start=series.start + first * series.period,
                    end=series.start + last * series.period,
                    slots=last - first,
                    cause=Reason(code >> 1),
                    is_filled=bool(code & 1),
                )


def day_slots(
    reader: StoreReader, name: str, obis: Obis, day: date | None, now: UtcSeconds
) -> tuple[list[Slot], tzinfo]:
    """Read the slots of one local day of a usage point or a meter that were expected and have fallen due, by time.

    Those that retention has dropped are not expected, with that reason.
    Validated slots where there are any, else what the meter said times the installation's multiplier. ``day``: None for
    the day of ``now``. Also gives the zone of the day. Raises `RegistryError` for an unknown name or channel.
    """
    places = _find(reader, name)
    zone = places[0][1]
    start, end = (Days(day, day) if day else Recent(now, 1)).span(zone)
    slots: dict[UtcSeconds, Slot] = {}
    channels: set[Obis] = set()
    for device, _, installations in places:
        for expectation in reader.expectations(device.id):
            channels.add(expectation.obis)
            if expectation.obis == obis:
                series = _due_series(reader, expectation, start, end, now)
                if len(series):
                    slots.update(_slots(reader, obis, series, installations))
    if obis not in channels:
        known = ", ".join(sorted(str(code) for code in channels)) or "none"
        raise RegistryError(f"{name} is not expected to deliver {obis}; its channels: {known}")
    return [slots[at] for at in sorted(slots)], zone


def _slots(
    reader: StoreReader, obis: Obis, series: Series, installations: Sequence[Installation]
) -> dict[UtcSeconds, Slot]:
    """Give one meter's slots: validated within each installation, raw outside and where nothing is validated yet."""
    slots = {slot.start: slot for slot in _expected(series, 1)}
    for installation in installations:
        first, last = _clip(series, installation)
        if first >= last:
            continue
        raw = series.window(first, last)
        slots.update({slot.start: slot for slot in _expected(raw, installation.multiplier)})
        validated = reader.validated_series(installation.usage_point_id, obis, first, last)
        unseen = (State.EXPECTED, State.NOT_EXPECTED)
        slots.update({slot.start: slot for slot in _expected(validated, 1) if slot.state not in unseen})
    return slots


def _expected(series: Series, multiplier: int) -> Iterator[Slot]:
    columns = (series.values.tolist(), series.state.tolist(), series.reason.tolist(), series.has_value.tolist())
    for index, (value, state, reason, has_value) in enumerate(zip(*columns, strict=True)):
        if state != State.NOT_EXPECTED or reason == Reason.DROPPED:
            exact = series.scaler_unit.to_decimal(value * multiplier) if has_value else None
            start = series.start + index * series.period
            yield Slot(start, series.period, exact, series.scaler_unit.unit, State(state), Reason(reason))


def _find(reader: StoreReader, name: str) -> list[tuple[EndDevice, tzinfo, Sequence[Installation]]]:
    """Find the meters behind the name of a usage point, else of a meter. Raises `RegistryError`."""
    points = {point.id: point for point in reader.usage_points()}
    point = next((point for point in points.values() if point.name == name), None)
    if point is not None:
        meters = {device.id: device for device in reader.end_devices()}
        found: list[tuple[EndDevice, tzinfo, Sequence[Installation]]] = [
            (meters[item.end_device_id], parse_zone(point.zone), (item,))
            for item in reader.installations(usage_point_id=point.id)
        ]
        if not found:
            raise RegistryError(f"no meter has ever been installed at {name}")
        return found
    device = find_meter(reader, name)
    installations = reader.installations(end_device_id=device.id)
    zone = parse_zone(points[installations[-1].usage_point_id].zone) if installations else UTC
    return [(device, zone, installations)]


def _places(reader: StoreReader) -> Iterable[_Place]:
    links = {link.id: link.url for link in reader.links()}
    points = {point.id: point for point in reader.usage_points()}
    by_device: dict[int, list[Installation]] = {}
    for installation in reader.installations():
        by_device.setdefault(installation.end_device_id, []).append(installation)
    for device in reader.end_devices():
        installations = by_device.get(device.id, [])
        point = points[installations[-1].usage_point_id] if installations else None
        zone = parse_zone(point.zone) if point else UTC
        yield _Place(device, links[device.link_id], installations, point, zone)


def _channels(
    reader: StoreReader, place: _Place, within: Days | Recent, now: UtcSeconds
) -> Iterator[tuple[ChannelExpectation, Series]]:
    start, end = within.span(place.zone)
    for expectation in reader.expectations(place.device.id):
        series = _due_series(reader, expectation, start, end, now)
        if len(series):
            yield expectation, series


def _due_series(
    reader: StoreReader, expectation: ChannelExpectation, start: UtcSeconds, end: UtcSeconds, now: UtcSeconds
) -> Series:
    """Read the raw slots of one expectation that start within ``[start, end)`` and are over at ``now``."""
    first, last = due_slots(expectation, start, now)
    last = min(last, boundary_at(expectation, end + expectation.period - 1))
    return reader.raw_series(expectation.end_device_id, expectation.obis, first, max(first, last))


def _open(series: Series) -> Bools:
    is_open: Bools = (series.state == State.EXPECTED) | (series.state == State.MISSING)
    return is_open


def _filled(reader: StoreReader, place: _Place, obis: Obis, series: Series) -> Bools:
    """Say per slot whether the validated layer has a value for it, shape (n,)."""
    filled = np.zeros(len(series), np.bool_)
    if not _open(series).any():
        return filled
    for installation in place.installations:
        first, last = _clip(series, installation)
        if first < last:
            validated = reader.validated_series(installation.usage_point_id, obis, first, last)
            at = (first - series.start) // series.period
            filled[at : at + len(validated)] |= validated.has_value
    return filled


def _clip(series: Series, installation: Installation) -> tuple[UtcSeconds, UtcSeconds]:
    """Give the part of a series' window whose slots start within an installation."""
    last = series.end if installation.end is None else _at_or_after(series, installation.end)
    return _at_or_after(series, installation.start), last


def _at_or_after(series: Series, at: UtcSeconds) -> UtcSeconds:
    """Give the start of the first slot at or after an instant, within the series' own start and end."""
    return min(series.end, max(series.start, at + (series.start - at) % series.period))


def _midnight(day: date, zone: tzinfo) -> UtcSeconds:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
