"""Reading many channels at once: all of one meter, or one channel of all. Every block is fetched, checked and decoded once.

A call costs a fetch, a checksum and a decoding for each block, and little beside: blocks of one layout are decoded together,
only the channels asked for, and what the registry says is remembered for as long as nobody changes the store.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import RegistryError
from headend.registry.model import DAY, ChannelExpectation
from headend.series import Matrix, Series
from headend.store.block import FIXED_SIZE, Layout, are_whole, head_of, is_whole
from headend.store.dayblocks import (
    LOCAL_ID,
    DayBlocks,
    Span,
    Window,
    assembled,
    check_window,
    days_of,
    expect_idle,
    grids_of,
)
from headend.store.model import Layer
from headend.store.retention import Kept
from headend.store.seriesreads import (
    TABLES,
    Grid,
    SeriesReads,
    block_key,
    grid_within,
    mark_expected,
)

_KEPT = {Layer.RAW: Kept.RAW, Layer.VALIDATED: Kept.VALIDATED}
_SPARSE = 4
"""Blocks of a day are fetched as one stretch of keys, unless it may hold so many times more than were asked for."""
_REMEMBERED = 20_000
"""Most end devices and usage points of which heads of blocks and what the registry says are kept in memory."""
_REMEMBERED_MANY = 64
"""Most selections of many of which that is kept, too."""
_FOREVER = 1 << 62


@dataclass(slots=True, eq=False)
class _Expected:
    """What the registry says of a channel. ``always``: span in which each of its slots is expected. [s UTC]"""

    entries: Sequence[ChannelExpectation]
    always: Window

    @classmethod
    def of(cls, entries: Sequence[ChannelExpectation]) -> "_Expected":
        """Several entries are looked at one by one each time."""
        only = entries[0] if len(entries) == 1 else None
        return cls(entries, (0, 0) if only is None else (only.start, _FOREVER if only.end is None else only.end))

    def grid(self, window: Window) -> Grid:
        """Choose the grid of a window. Raises `RegistryError`."""
        return self.entries[0].grid if len(self.entries) == 1 else grid_within(self.entries, *window)

    def is_always(self, window: Window, period: int, offset: int) -> bool:
        """Say whether each slot of a window is expected on a grid."""
        return (
            self.always[0] <= window[0] and window[1] <= self.always[1] and self.entries[0].grid[:2] == (period, offset)
        )

    def mark(self, layer: Layer, series: Series, grid: Grid) -> None:
        """Set which slots without value are expected, as the reading of one channel does."""
        parts = 3 if layer is Layer.RAW else 2
        entries = [entry for entry in self.entries if entry.grid[:parts] == grid[:parts]]
        mark_expected(series, [(entry.start, entry.end) for entry in entries])


@dataclass(slots=True, eq=False)
class _Plan:
    """What the registry says of channels of one end device or usage point; where they lie in the layout met last.

    ``shortest``: period that it names. [s]
    """

    names: dict[int, str]
    codes: tuple[Obis, ...]
    expected: list[_Expected]
    shortest: int
    layout: Layout | None = None
    spans: list[Span | None] = field(default_factory=list)
    always: Window = (0, 0)

    def look_at(self, layout: Layout, layer: Layer) -> None:
        """Find the channels in a layout, as `spans`: None for one that is not there, has an offset, or more than one grid.

        ``always``: span in which each slot of all of them is expected.
        """
        if self.layout is layout:
            return
        self.layout, self.spans, always = layout, [], [(0, 0)]
        for obis, one in zip(self.codes, self.expected, strict=True):
            numbers = layout.by_code.get(obis, ())
            channel = layout.channels[numbers[0]] if len(numbers) == 1 else None
            grid = one.entries[0].grid if len(one.entries) == 1 else None
            if channel is None or channel.offset or not (layer is Layer.VALIDATED or channel.grid == grid):
                self.spans.append(None)
                continue
            cut = layout.spans[channel]
            self.spans.append(Span(cut.start, cut.stop, channel.period, channel.scaler_unit))
            if grid is not None and channel.grid[:2] == grid[:2]:
                always.append(one.always)
        is_plain = None not in self.spans and len(always) == 1 + len(self.spans)
        self.always = (max(first for first, _ in always), min(last for _, last in always[1:])) if is_plain else (0, 0)


@dataclass(slots=True, eq=False)
class _Many:
    """What the registry says of one channel of many, by their ids in the order asked for.

    ``always``: holds for all, where one entry each has the same grid.  ``last``: the last day read, where that was one group.
    """

    names: dict[int, str]
    expected: list[_Expected]
    always: _Expected | None
    shortest: int
    last: "DayBlocks | None" = None

    def grids(self, window: Window) -> set[Grid]:
        """Give the grids of a window. Raises `RegistryError`."""
        if self.always is not None:
            return {self.always.entries[0].grid}
        return {one.grid(window) for one in self.expected if one.entries}


@dataclass(slots=True, eq=False)
class _Known:
    """What is remembered of the registry as it was at a stamp."""

    stamp: object
    plans: dict[tuple[Layer, int, tuple[Obis, ...]], _Plan] = field(default_factory=dict)
    many: dict[tuple[Layer, tuple[int, ...], Obis], _Many] = field(default_factory=dict)
    floors: dict[Layer, int] = field(default_factory=dict)


class MatrixReads(SeriesReads):
    """Series of many channels."""

    _heads: dict[tuple[Layer, int], tuple[bytes, Layout]] | None = None
    _remembered: "_Known | None" = None

    def series(
        self, channels: Sequence[tuple[int, Obis]], start: UtcSeconds, end: UtcSeconds, layer: Layer = Layer.RAW
    ) -> list[Series]:
        """Give the slots that start within ``[start, end)`` [s UTC] of many channels, in the order asked for.

        ``channels``: local id of the end device (raw) or usage point (validated), and code.  Each is what `raw_series` or
        `validated_series` gives, and may share memory with others of the same call. Raises as those.
        """
        places: dict[int, list[int]] = {}
        for place, (local_id, _) in enumerate(channels):
            places.setdefault(local_id, []).append(place)
        found: dict[int, Series] = {}
        with self.snapshot():
            self._look_again()
            for local_id, of_one in places.items():
                codes = tuple([channels[place][1] for place in of_one])
                found.update(zip(of_one, self._of_one(layer, local_id, codes, (start, end)), strict=True))
        return [found[place] for place in range(len(channels))]

    def matrix(
        self, ids: Sequence[int], obis: Obis, start: UtcSeconds, end: UtcSeconds, layer: Layer = Layer.RAW
    ) -> Matrix:
        """Give the slots that start within ``[start, end)`` [s UTC] of one channel of many end devices or usage points.

        Raises as `raw_series` or `validated_series`, `RegistryError` too where not all have one grid, or one stands there twice.
        """
        window = start, end
        groups: list[DayBlocks] = []
        with self.snapshot():
            self._look_again()
            many = self._many(layer, tuple(ids), obis)
            check_window(window, many.shortest, len(ids))
            for day in days_of(window):
                of_day = self._groups_of_day(layer, self._rows_of_day(layer, ids, day), day, many)
                for group in of_day:
                    group.decode([obis])
                groups += of_day
        grids = many.grids(window)
        if layer is Layer.VALIDATED and (written := grids_of(groups, obis)):
            # Where nothing is validated yet, the unit is not settled.
            kinds = {grid[:2] for grid in written}
            grids = written | {grid for grid in grids if grid[:2] not in kinds}
        if len(grids) != 1:
            what = "has several grids" if grids else "is expected of none of these meters"
            raise RegistryError(f"{obis} {what} within [{start}, {end}); ask for each part by itself")
        grid = grids.pop()
        first, arrays = assembled(ids, groups, obis, grid, window)
        found = Matrix(ids, first, grid[0], grid[2], *arrays)
        if many.always is not None and many.always.is_always(window, *grid[:2]):
            expect_idle(found.state)
        else:
            for row, one in enumerate(many.expected):
                one.mark(layer, found.series(row), grid)
        floor = self._floor(layer)
        if first < floor * DAY:
            for row in range(len(ids)):
                self.mark_dropped(_KEPT[layer], found.series(row), floor)
        return found

    def area_matrix(
        self,
        obis: Obis,
        start: UtcSeconds,
        end: UtcSeconds,
        layer: Layer = Layer.VALIDATED,
        *,
        area: str | None = None,
        transformer: str | None = None,
        feeder: str | None = None,
        box: str | None = None,
    ) -> Matrix:
        """Give one channel of everything under a node of the network, by name of usage point, as `matrix` does.

        Validated: of each usage point that a meter should deliver it for.  Raw: of each end device that hangs there within the
        window and should deliver it, whenever. Raises `RegistryError` where there is none.
        """
        with self.snapshot():
            points = self.usage_points(area=area, transformer=transformer, feeder=feeder, box=box)
            ids: dict[int, None] = {}
            for point in points:
                for place in self.installations(usage_point_id=point.id):
                    if place.start < end and (place.end is None or start < place.end):
                        ids[point.id if layer is Layer.VALIDATED else place.end_device_id] = None
            if layer is Layer.VALIDATED:
                chosen = [number for number in ids if self._usage_point_expectations(number, obis)]
            else:
                chosen = [number for number, entries in self.expectations_of(list(ids), obis).items() if entries]
            if not chosen:
                raise RegistryError(f"no meter under this node is expected to deliver {obis}")
            return self.matrix(chosen, obis, start, end, layer)

    def _look_again(self) -> None:
        """Forget what was remembered of the registry if anybody has changed the store since."""
        stamp = self._stamp()
        if self._remembered is None or stamp is None or self._remembered.stamp != stamp:
            self._remembered = _Known(stamp)
        if self._heads is None or len(self._heads) > _REMEMBERED:
            self._heads = {}

    def _plan(self, layer: Layer, local_id: int, codes: tuple[Obis, ...]) -> "_Plan":
        known = self._known()
        plan = known.plans.get((layer, local_id, codes))
        if plan is not None:
            return plan
        if layer is Layer.RAW:
            by_code: dict[Obis, list[ChannelExpectation]] = {}
            for entry in self.expectations(local_id):
                by_code.setdefault(entry.obis, []).append(entry)
            # The other call says what there is instead.
            expected = [_Expected.of(by_code.get(obis) or self._channel_expectations(local_id, obis)) for obis in codes]
            name = self._device_name(local_id)
        else:
            expected = [_Expected.of(self._usage_point_expectations(local_id, obis)) for obis in codes]
            name = self._usage_point_name(local_id)
        plan = known.plans[layer, local_id, codes] = _Plan({local_id: name}, codes, expected, _shortest(expected))
        return plan

    def _many(self, layer: Layer, ids: tuple[int, ...], obis: Obis) -> _Many:
        known = self._known()
        many = known.many.get((layer, ids, obis))
        if many is not None:
            return many
        names = self.names_of("end_device" if layer is Layer.RAW else "usage_point", ids)
        if len(names) != len(ids):
            raise RegistryError(f"{obis} of one end device or usage point is asked for twice")
        if layer is Layer.RAW:
            of_each = self.expectations_of(ids, obis)
            for number, entries in of_each.items():
                if not entries:
                    self._channel_expectations(number, obis)  # says what there is instead
        else:
            of_each = {number: self._usage_point_expectations(number, obis) for number in ids}
        expected = [_Expected.of(of_each[number]) for number in ids]
        first, last = (
            max((one.always[0] for one in expected), default=0),
            min((one.always[1] for one in expected), default=0),
        )
        is_alike = (
            all(len(one.entries) == 1 for one in expected) and len({one.entries[0].grid for one in expected}) == 1
        )
        always = _Expected(expected[0].entries, (first, last)) if is_alike else None
        many = known.many[layer, ids, obis] = _Many(names, expected, always, _shortest(expected))
        return many

    def _floor(self, layer: Layer) -> int:
        """Give the first day that retention keeps of a layer."""
        floors = self._known().floors
        if layer not in floors:
            floors[layer] = self.floor(_KEPT[layer]).day
        return floors[layer]

    def _known(self) -> "_Known":
        known = self._remembered
        if known is None or len(known.plans) > _REMEMBERED or len(known.many) > _REMEMBERED_MANY:
            known = self._remembered = _Known(None if known is None else known.stamp)
        return known

    def _of_one(self, layer: Layer, local_id: int, codes: tuple[Obis, ...], window: Window) -> Iterator[Series]:
        plan, floor = self._plan(layer, local_id, codes), self._floor(layer)
        check_window(window, plan.shortest, 1)
        groups = self._groups(layer, self._rows_of_days(layer, local_id, window), plan.names)
        for group in groups:
            group.decode(codes)
        only = groups[0] if len(groups) == 1 and groups[0].is_all_of(window) else None
        spans: list[Span | None] = [None] * len(codes)
        if only is not None:
            plan.look_at(only.layout, layer)
            spans = plan.spans
            if plan.always[0] <= window[0] and window[1] <= plan.always[1] and only.is_busy:
                for series in only.series(spans, window[0]):
                    self.mark_dropped(_KEPT[layer], series, floor)
                    yield series
                return
        for obis, one, span in zip(codes, plan.expected, spans, strict=True):
            if only is not None and span is not None:
                series = next(only.series([span], window[0]))
            else:
                if layer is Layer.RAW:
                    grid = one.grid(window)
                else:
                    grids = grids_of(groups, obis)
                    if len(grids) > 1 or not (grids or one.entries):
                        self.validated_series(local_id, obis, *window)  # says what is wrong
                    grid = grids.pop() if grids else one.grid(window)
                start, (values, state, reason, rules) = assembled(plan.names, groups, obis, grid, window)
                series = Series(start, grid[0], grid[2], values[0], state[0], reason[0], rules[0])
            offset = series.start % series.period
            if not one.is_always(window, series.period, offset):
                one.mark(layer, series, (series.period, offset, series.scaler_unit))
            else:
                expect_idle(series.state)
            self.mark_dropped(_KEPT[layer], series, floor)
            yield series

    def _rows_of_days(self, layer: Layer, local_id: int, window: Window) -> list[tuple[Any, ...]]:
        days = days_of(window)
        if len(days) == 1:
            sql = f"SELECT k, block FROM {TABLES[layer]} WHERE k = ?"  # noqa: S608  the table's name is ours
            return self._rows(sql, (block_key(days[0], local_id),))
        return list(self._block_rows(layer, local_id, *window))

    def _rows_of_day(self, layer: Layer, ids: Sequence[int], day: int) -> list[tuple[Any, ...]]:
        sql = f"SELECT k, block FROM {TABLES[layer]} WHERE k"  # noqa: S608  the table's name is ours
        first, last = block_key(day, min(ids, default=0)), block_key(day, max(ids, default=0))
        if last - first < _SPARSE * len(ids):
            rows = self._rows(f"{sql} BETWEEN ? AND ? ORDER BY k", (first, last))
            if len(rows) > len(ids) or last - first >= len(ids):
                wanted = set(ids)
                rows = [row for row in rows if row[0] & LOCAL_ID in wanted]
            return rows
        return self._rows_in(sql, [block_key(day, local_id) for local_id in ids])

    def _groups_of_day(self, layer: Layer, rows: Sequence[tuple[Any, ...]], day: int, many: _Many) -> list["DayBlocks"]:
        """Do as `_groups`, all at once where the blocks say of themselves what those of another day did, but for the day."""
        like = many.last
        if like is not None and len(rows) == len(like.keys):
            step = (day << 32) - (like.keys[0] & ~LOCAL_ID)
            keys, blocks = [key for key, _ in rows], [block for _, block in rows]
            if keys == [key + step for key in like.keys] and are_whole(blocks, layer, day, like.at, like.heads):
                return [DayBlocks(self.path, like.layout, keys, blocks, like.at)]
        groups = self._groups(layer, rows, many.names)
        if len(groups) == 1:
            only = groups[0]
            heads = b"".join([block[FIXED_SIZE:at] for block, at in zip(only.blocks, only.at, strict=True)])
            many.last = DayBlocks(self.path, only.layout, only.keys, [], only.at, heads)
        return groups

    def _groups(self, layer: Layer, rows: Iterable[tuple[Any, ...]], names: dict[int, str]) -> list["DayBlocks"]:
        """Check blocks and sort them by layout. Raises `BlockError`."""
        groups: dict[int, DayBlocks] = {}
        heads = self._heads if self._heads is not None else {}
        for key, data in rows:
            day, local_id = key >> 32, key & LOCAL_ID
            head = heads.get((layer, local_id))
            if head is None or not is_whole(data, layer, day, head[0]):
                opened = self._unseal(data, f"row {key} of table {TABLES[layer]}", layer, names[local_id], day)
                head = heads[layer, local_id] = head_of(data, opened), opened.layout
            group = groups.get(id(head[1]))
            if group is None:
                group = groups[id(head[1])] = DayBlocks(self.path, head[1])
            group.add(key, data, head[0])
        return list(groups.values())


def _shortest(expected: Sequence[_Expected]) -> int:
    """Give the shortest period that the registry names, a day where it names none. [s]"""
    return min((entry.period for one in expected for entry in one.entries), default=DAY)
