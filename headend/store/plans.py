"""What reading many channels at once remembers: what the registry says of them, and where they lie in blocks met before.

All of it holds for as long as nobody changes the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.obis import Obis
from headend.registry.model import DAY, ChannelExpectation
from headend.series import Part, Series
from headend.store.block import Heads, Layout
from headend.store.dayblocks import Window
from headend.store.model import Layer
from headend.store.seriesreads import Grid, grid_within, mark_expected

_FOREVER = 1 << 62


@dataclass(slots=True, eq=False)
class Expected:
    """What the registry says of a channel. ``always``: span in which each of its slots is expected. [s UTC]"""

    entries: Sequence[ChannelExpectation]
    always: Window

    @classmethod
    def of(cls, entries: Sequence[ChannelExpectation]) -> "Expected":
        """Several entries are looked at one by one each time."""
        only = entries[0] if len(entries) == 1 else None
        return cls(entries, (0, 0) if only is None else (only.start, _FOREVER if only.end is None else only.end))

    def grid(self, window: Window) -> Grid:
        """Choose the grid of a window. Raises `RegistryError`."""
        return self.entries[0].grid if len(self.entries) == 1 else grid_within(self.entries, *window)

    def is_always(self, window: Window, period: int, offset: int) -> bool:
        """Say whether each slot of a window is expected on a grid."""
        return is_within(window, self.always) and self.entries[0].grid[:2] == (period, offset)

    def mark(self, layer: Layer, series: Series, grid: Grid) -> None:
        """Set which slots without value are expected, as the reading of one channel does."""
        parts = 3 if layer is Layer.RAW else 2
        entries = [entry for entry in self.entries if entry.grid[:parts] == grid[:parts]]
        mark_expected(series, [(entry.start, entry.end) for entry in entries])


@dataclass(slots=True, eq=False)
class Plan:
    """Channels of one end device or usage point, and where they lie in the layout met last.

    ``shortest``: period that the registry names. [s]  ``floor``: first day that retention keeps.
    ``numbers``: of the first and, exclusive, the last of them in the layout.  ``parts``: of what these take of a row.
    ``is_part``: whether each has one; not if it is not there, has an offset, or more than one grid.
    ``always``: span in which each slot of all of them is expected. [s UTC]
    """

    names: Mapping[int, str]
    codes: tuple[Obis, ...]
    expected: Sequence[Expected]
    shortest: int
    floor: int
    layout: Layout | None = None
    numbers: tuple[int, int] = (0, 0)
    parts: list[Part] = field(default_factory=list)
    is_part: list[bool] = field(default_factory=list)
    always: Window = (0, 0)

    def look_at(self, layout: Layout, layer: Layer) -> None:
        """Find the channels in a layout."""
        if self.layout is layout:
            return
        self.layout, self.numbers, self.parts, self.is_part = layout, layout.between(self.codes), [], []
        base = int(layout.edges[self.numbers[0]])
        always: list[Window] = []
        for obis, one in zip(self.codes, self.expected, strict=True):
            numbers = layout.by_code.get(obis, ())
            channel = layout.channels[numbers[0]] if len(numbers) == 1 else None
            grid = one.entries[0].grid if len(one.entries) == 1 else None
            if channel is None or channel.offset or not (layer is Layer.VALIDATED or channel.grid == grid):
                self.is_part.append(False)
                continue
            self.is_part.append(True)
            cut = layout.spans[channel]
            self.parts.append((slice(cut.start - base, cut.stop - base), channel.period, channel.scaler_unit))
            if grid is not None and channel.grid[:2] == grid[:2]:
                always.append(one.always)
        is_plain = len(always) == len(self.codes) > 0
        self.always = (max(first for first, _ in always), min(last for _, last in always)) if is_plain else (0, 0)


@dataclass(slots=True, eq=False)
class Alike:
    """A day of many whose blocks had one layout. ``is_in_order``: as they were asked for, none missing."""

    layout: Layout
    keys: list[int]
    heads: Heads
    is_in_order: bool


@dataclass(slots=True, eq=False)
class Many:
    """One channel of many, by their ids in the order asked for.

    ``always``: holds for all, where one entry each has the same grid.  ``last``: the last day read, where its blocks were alike.
    """

    ids: tuple[int, ...]
    names: Mapping[int, str]
    expected: Sequence[Expected]
    always: Expected | None
    shortest: int
    last: Alike | None = None

    @classmethod
    def of(cls, ids: tuple[int, ...], names: Mapping[int, str], expected: Sequence[Expected]) -> "Many":
        """Look at what is expected of each whether it holds for all."""
        first = max((one.always[0] for one in expected), default=0)
        last = min((one.always[1] for one in expected), default=0)
        grids = {one.entries[0].grid if len(one.entries) == 1 else None for one in expected}
        is_alike = len(grids) == 1 and None not in grids
        always = Expected(expected[0].entries, (first, last)) if is_alike else None
        return cls(ids, names, expected, always, shortest(expected))

    def grids(self, window: Window) -> set[Grid]:
        """Give the grids of a window. Raises `RegistryError`."""
        if self.always is not None:
            return {self.always.entries[0].grid}
        return {one.grid(window) for one in self.expected if one.entries}


@dataclass(slots=True, eq=False)
class Known:
    """What is remembered of the registry as it was at a stamp."""

    stamp: object
    plans: dict[tuple[Layer, int, tuple[Obis, ...]], Plan] = field(default_factory=dict)
    many: dict[tuple[Layer, tuple[int, ...], Obis], Many] = field(default_factory=dict)
    floors: dict[Layer, int] = field(default_factory=dict)


def is_within(window: Window, span: Window) -> bool:
    """Say whether a window lies within a span."""
    return span[0] <= window[0] and window[1] <= span[1]


def shortest(expected: Sequence[Expected]) -> int:
    """Give the shortest period that the registry names, a day where it names none. [s]"""
    return min((entry.period for one in expected for entry in one.entries), default=DAY)
