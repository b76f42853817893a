"""From the store to rows: which layer holds each day of a channel.

A day with a validated version is exported from it; a day without one falls back to the raw layer, through the dated
installations, with their multiplier applied at printing.
"""

from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from drivers.facts import UtcSeconds
from headend.export.ahead import Layers, ReadAhead
from headend.export.errors import NotExportable
from headend.export.rows import Piece, Row, rows
from headend.export.source import DAY, Channel, ReadingSource, Span
from headend.series import Series
from kernels.quality import Reason, State


class Freshness:
    """Counts values that arrived in the raw layer after the day had been validated without them."""

    def __init__(self) -> None:
        self.slots = 0


def rows_of(
    store: ReadingSource, channel: Channel, freshness: Freshness, ahead: ReadAhead | None = None
) -> Iterator[Row]:
    """Make the rows of one channel, in order of time. ``ahead``: of the same store; where there is none each day is read by itself."""
    for span in channel.spans:
        stretch = None if ahead is None else ahead.stretch(channel, span)
        for day in range(span.start // DAY, -(-span.end // DAY)):
            start = span.aligned(max(span.start, day * DAY))
            end = span.aligned(min(span.end, (day + 1) * DAY))
            if start < end:
                layers = stretch.day(start, end) if stretch else _day_alone(store, channel, span, start, end)
                yield from _day_rows(channel, span, layers, freshness)


def _day_alone(store: ReadingSource, channel: Channel, span: Span, start: UtcSeconds, end: UtcSeconds) -> Layers:
    versions = store.versions(channel.usage_point.id, channel.obis, start // DAY)
    return (
        store.raw_series(span.meter.id, channel.obis, start, end),
        store.validated_series(channel.usage_point.id, channel.obis, start, end),
        max(versions, key=lambda version: version.version, default=None),
    )


def _day_rows(channel: Channel, span: Span, layers: Layers, freshness: Freshness) -> Iterator[Row]:
    raw, series, newest = layers
    unvalidated = Piece(
        channel.usage_point.name,
        span.meter.name,
        span.meter.serial,
        channel.obis,
        raw,
        "raw",
        multiplier=Decimal(span.multiplier),
    )
    if _has_dropped(series) or (newest is None and _has_dropped(raw)):
        raise NotExportable(
            f"{channel.usage_point.name}, {channel.obis}: day {raw.start // DAY} since 1970 has been dropped by retention; export"
            " what is younger (headend store stats says from when on)"
        )
    if newest is None:
        yield from rows(unvalidated)
        return
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
