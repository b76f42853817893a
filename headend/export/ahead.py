"""Reading ahead: all channels of a meter together and whole spans at once, as each block of the store holds a day of all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import HeadendError
from headend.export.source import DAY, Channel, ReadingSource, Span
from headend.series import Series
from headend.store.model import Layer, Version

MOST_SLOTS = 500_000
"""Most slots of each layer that are read at once: a year of quarter hours of 14 channels, 5 MB."""

Layers = tuple[Series, Series, Version | None]
"""Slots of one day: raw, validated, and the newest version of these."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A span of a channel as a whole, both layers on the span's grid. ``versions``: the newest by day and channel."""

    obis: Obis
    raw: Series
    validated: Series
    versions: Mapping[tuple[int, Obis], Version]

    def day(self, start: UtcSeconds, end: UtcSeconds) -> Layers:
        """Give a part within one day; both bounds lie on the grid. [s UTC]"""
        newest = self.versions.get((start // DAY, self.obis))
        return self.raw.window(start, end), self.validated.window(start, end), newest


class ReadAhead:
    """Reads for an export that goes through its channels in their order, and gives each stretch once."""

    def __init__(self, store: ReadingSource, found: Sequence[Channel]) -> None:
        """``found``: the channels, those of a usage point side by side."""
        self._store = store
        self._found = found
        self._at = 0
        self._read: dict[tuple[Obis, int, UtcSeconds], Stretch | None] = {}

    def stretch(self, channel: Channel, span: Span) -> Stretch | None:
        """Give a span of a channel; None where it has to be read day by day: its grid changes, it is too long, or something is damaged."""
        while self._found[self._at] is not channel:
            self._at += 1
            if self._found[self._at].usage_point is not self._found[self._at - 1].usage_point:
                self._read.clear()
        key = channel.obis, span.meter.id, span.start
        if key not in self._read:
            self._read_from(channel, span)
        return self._read.pop(key)

    def _read_from(self, channel: Channel, span: Span) -> None:
        some = list(self._together(span))
        stretches: Sequence[Stretch | None] = [None] * len(some)
        if _slots(span) <= MOST_SLOTS:
            window, point = (span.start, span.end), channel.usage_point.id
            try:
                raw = self._store.series([(span.meter.id, obis) for obis, _ in some], *window, Layer.RAW)
                validated = self._store.series([(point, obis) for obis, _ in some], *window, Layer.VALIDATED)
                versions = self._store.newest_versions(point, span.start // DAY, -(-span.end // DAY))
            except HeadendError:
                pass  # who reads day by day meets it again, and says where
            else:
                stretches = [
                    Stretch(obis, *layers, versions) if _are_on_grid(layers, its) else None
                    for (obis, its), layers in zip(some, zip(raw, validated, strict=True), strict=True)
                ]
        for (obis, its), stretch in zip(some, stretches, strict=True):
            self._read[obis, its.meter.id, its.start] = stretch

    def _together(self, span: Span) -> Iterator[tuple[Obis, Span]]:
        """Give what is read with a span: itself, and those of the same meter and time that come later, as far as there is room."""
        room = MOST_SLOTS
        usage_point = self._found[self._at].usage_point
        for at in range(self._at, len(self._found)):
            if self._found[at].usage_point is not usage_point:
                return
            for its in self._found[at].spans:
                if (its.meter.id, its.start, its.end) == (span.meter.id, span.start, span.end):
                    room -= _slots(its)
                    if room < 0 and its is not span:
                        return
                    yield self._found[at].obis, its


def _slots(span: Span) -> int:
    return -(-(span.end - span.start) // span.period)


def _are_on_grid(layers: tuple[Series, Series], span: Span) -> bool:
    return all((one.start, one.period) == (span.aligned(span.start), span.period) for one in layers)
