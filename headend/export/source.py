"""What an export reads: the store as it sees it, and the channels there are in its period."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.export.errors import NotExportable
from headend.registry.model import ChannelExpectation, EndDevice, Installation, UsagePoint
from headend.series import Series
from headend.store.model import Layer, Version

DAY = 86_400


class ReadingSource(Protocol):
    """What an export asks of the store (`headend.store` offers more)."""

    def end_devices(self) -> Sequence[EndDevice]:
        """List every end device."""

    def usage_points(self) -> Sequence[UsagePoint]:
        """List every usage point."""

    def installations(
        self, usage_point_id: int | None = None, end_device_id: int | None = None
    ) -> Sequence[Installation]:
        """List installations, of one usage point or end device."""

    def expectations(self, end_device_id: int) -> Sequence[ChannelExpectation]:
        """List what an end device should deliver."""

    def raw_series(self, end_device_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> Series:
        """Read raw slots."""

    def validated_series(self, usage_point_id: int, obis: Obis, start: UtcSeconds, end: UtcSeconds) -> Series:
        """Read validated slots in force."""

    def versions(self, usage_point_id: int, obis: Obis, day: int) -> Sequence[Version]:
        """List the versions of one validated channel-day."""

    def series(
        self, channels: Sequence[tuple[int, Obis]], start: UtcSeconds, end: UtcSeconds, layer: Layer
    ) -> Sequence[Series]:
        """Read many channels of one layer, by the local ids of their end devices or usage points."""

    def newest_versions(self, usage_point_id: int, first: int, last: int) -> Mapping[tuple[int, Obis], Version]:
        """Give the newest version of each validated channel-day of days ``[first, last)``."""

    def last_seq(self) -> int:
        """Give the number of the newest change, 0 before the first."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Hold one view of the store."""


@dataclass(frozen=True, slots=True)
class Span:
    """One meter's share of a channel: slots that start within ``[start, end)`` [s UTC], on one grid."""

    meter: EndDevice
    multiplier: int
    start: UtcSeconds
    end: UtcSeconds
    period: int
    offset: int

    def aligned(self, at: UtcSeconds) -> UtcSeconds:
        """Give the first slot start at or after an instant."""
        return at + (self.offset - at) % self.period


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of one usage point within the exported period; spans in order of time, without overlap."""

    usage_point: UsagePoint
    obis: Obis
    spans: tuple[Span, ...]

    @property
    def periods(self) -> frozenset[int]:
        """Lengths of its intervals. [s]"""
        return frozenset(span.period for span in self.spans)


def channels(
    store: ReadingSource,
    usage_points: Sequence[str] | None,
    obis: Sequence[Obis] | None,
    start: UtcSeconds,
    end: UtcSeconds,
) -> list[Channel]:
    """List the channels expected within ``[start, end)``, by usage point name and channel text. None takes all.

    Raises `NotExportable` where a usage point is unknown, a channel is expected nowhere, or nothing is expected at all.
    """
    known = {point.name: point for point in store.usage_points()}
    if unknown := sorted(set(usage_points or ()) - set(known)):
        raise NotExportable(f"no such usage point: {', '.join(unknown[:10])}; `headend meter list` shows them")
    meters = {meter.id: meter for meter in store.end_devices()}
    found: list[Channel] = []
    for name in sorted(known if usage_points is None else set(usage_points)):
        spans: dict[Obis, list[Span]] = {}
        for installation in store.installations(usage_point_id=known[name].id):
            for expectation in store.expectations(installation.end_device_id):
                if obis is None or expectation.obis in obis:
                    span = _span(meters[installation.end_device_id], installation, expectation, start, end)
                    if span.start < span.end:
                        spans.setdefault(expectation.obis, []).append(span)
        for code in sorted(spans, key=str):
            ordered = sorted(spans[code], key=lambda span: span.start)
            for one, other in pairwise(ordered):
                if other.start < one.end:
                    raise NotExportable(
                        f"usage point {name}: {one.meter.name} and {other.meter.name} both deliver {code} at the same"
                        " time; close one installation in the meter table, or leave the channel out"
                    )
            found.append(Channel(known[name], code, tuple(ordered)))
    if lacking := sorted(str(code) for code in set(obis or ()) - {channel.obis for channel in found}):
        raise NotExportable(f"no usage point has channel {', '.join(lacking)} in this period")
    if not found:
        raise NotExportable("nothing to export: no channel is expected in this period; see `headend meter list`")
    return found


def _span(
    meter: EndDevice,
    installation: Installation,
    expectation: ChannelExpectation,
    start: UtcSeconds,
    end: UtcSeconds,
) -> Span:
    ends = (bound for bound in (installation.end, expectation.end, end) if bound is not None)
    return Span(
        meter,
        installation.multiplier,
        max(installation.start, expectation.start, start),
        min(ends),
        expectation.period,
        expectation.offset,
    )
