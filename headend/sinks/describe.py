"""What dashboards need beside readings: where meters are, and how complete the collection is. As of now, said anew each hour.

Neither is in the change log as such. A line stands at the instant it is made, so that nothing changes under its key; where a
meter moved, the line with the latest instant, which is also its value, tells where it is.
"""

from collections.abc import Iterator, Mapping

from drivers.facts import UtcSeconds
from headend.export.rows import word
from headend.registry.model import UsagePoint
from headend.report import Recent, coverage_by_link
from headend.sinks.lines import head
from headend.store.reader import StoreReader
from kernels.quality import Reason

DAYS = 2
"""Local days that the collection is counted over: today, as far as it is due, and yesterday."""


def describe(reader: StoreReader, now: UtcSeconds) -> list[bytes]:
    """Make the lines. A name that line protocol cannot carry has none; its readings are in quarantine with the reason."""
    with reader.snapshot():
        return [*_places(reader, now), *_collection(reader, now)]


def _places(reader: StoreReader, now: UtcSeconds) -> Iterator[bytes]:
    points = {point.id: point for point in reader.usage_points()}
    meters = {device.id: device.name for device in reader.end_devices()}
    for point in points.values():
        yield from _line("usage_point_info", {**_tags(point), "zone": point.zone}, now, now)
    for place in reader.installations():
        if place.start <= now and (place.end is None or now < place.end):
            tags = {**_tags(points[place.usage_point_id]), "meter": meters[place.end_device_id]}
            yield from _line("meter_info", tags, now, now, f",multiplier={place.multiplier}i")


def _collection(reader: StoreReader, now: UtcSeconds) -> Iterator[bytes]:
    for link in coverage_by_link(reader, Recent(now, DAYS), now):
        found = link.coverage
        counts = {
            ("measured", ""): found.measured,
            ("questionable", ""): found.questionable,
            **{
                ("missing", "not_tried" if cause is Reason.NONE else word(cause)): count
                for cause, count in found.missing_by_cause.items()
            },
        }
        for (state, cause), count in counts.items():
            yield from _line("collection_slots", {"link": link.url, "state": state, "cause": cause}, count, now)


def _tags(point: UsagePoint) -> dict[str, str]:
    return {
        "usage_point": point.name,
        "area": point.area,
        "transformer": point.transformer,
        "feeder": point.feeder,
        "box": point.box,
    }


def _line(measurement: str, tags: Mapping[str, str], value: int, at: UtcSeconds, more: str = "") -> Iterator[bytes]:
    try:
        yield head(measurement, tags) + f" value={value}i{more} {at}".encode()
    except ValueError:
        return
