"""From the store to pieces: which channels there are, and which layer holds each day of them.

A day with a validated version is exported from it; a day without one falls back to the raw layer, through the dated
installations, with their multiplier applied at printing.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Protocol

import numpy as np

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.export.errors import NotExportable
from headend.export.rows import Piece, Row, rows
from headend.registry.model import ChannelExpectation, EndDevice, Installation, UsagePoint
from headend.series import Series
from headend.store.model import Version
from kernels.quality import Reason, State

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


class Freshness:
    """Counts values that arrived in the raw layer after the day had been validated without them."""

    def __init__(self) -> None:
        self.slots = 0


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


def rows_of(store: ReadingSource, channel: Channel, freshness: Freshness) -> Iterator[Row]:
    """Make the rows of one channel, in order of time."""
    for span in channel.spans:
        for day in range(span.start // DAY, -(-span.end // DAY)):
            start = span.aligned(max(span.start, day * DAY))
            end = span.aligned(min(span.end, (day + 1) * DAY))
            if start < end:
                yield from _day_rows(store, channel, span, (start, end), freshness)


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


def _day_rows(
    store: ReadingSource,
    channel: Channel,
    span: Span,
    window: tuple[UtcSeconds, UtcSeconds],
    freshness: Freshness,
) -> Iterator[Row]:
    start, end = window
    raw = store.raw_series(span.meter.id, channel.obis, start, end)
    unvalidated = Piece(
        channel.usage_point.name,
        span.meter.name,
        span.meter.serial,
        channel.obis,
        raw,
        "raw",
        multiplier=Decimal(span.multiplier),
    )
    versions = store.versions(channel.usage_point.id, channel.obis, start // DAY)
    series = store.validated_series(channel.usage_point.id, channel.obis, start, end)
    if _has_dropped(series) or (not versions and _has_dropped(raw)):
        raise NotExportable(
            f"{channel.usage_point.name}, {channel.obis}: day {start // DAY} since 1970 has been dropped by retention; export"
            " what is younger (headend store stats says from when on)"
        )
    if not versions:
        yield from rows(unvalidated)
        return
    newest = max(versions, key=lambda version: version.version)
    validated = Piece(
        channel.usage_point.name,
        span.meter.name,
        span.meter.serial,
        channel.obis,
        series,
        "validated",
        version=newest.version,
        raw=raw if _same_grid(raw, series) else None,
        updated_at=newest.run.at,
    )
    if validated.raw is None:
        yield from rows(validated)
        return
    whole = np.arange(1, len(raw) + 1) * raw.period <= span.end - raw.start  # the meter measured none it left within
    lacks = ~series.has_value | (series.state == State.ESTIMATED)
    freshness.slots += int(np.count_nonzero(raw.has_value & whole & lacks))
    if (series.state != State.NOT_EXPECTED).all():
        yield from rows(validated)
        return
    of_version = {row.start: row for row in rows(validated)}
    of_meter = {row.start: row for row in rows(unvalidated)}
    yield from (of_version.get(at) or of_meter[at] for at in sorted({*of_version, *of_meter}))


def _has_dropped(series: Series) -> bool:
    return bool(((series.state == State.NOT_EXPECTED) & (series.reason == Reason.DROPPED)).any())


def _same_grid(one: Series, other: Series) -> bool:
    return (one.start, one.period, len(one)) == (other.start, other.period, len(other))
