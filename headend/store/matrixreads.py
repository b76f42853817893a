"""Reading many channels at once: all of one meter, or one channel of all. Every block is fetched, checked and decoded once.

A call costs a fetch, a checksum and a decoding for each block, and little beside: blocks of one layout are decoded together,
only the channels asked for, and what the registry says is remembered for as long as nobody changes the store.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.errors import RegistryError
from headend.registry.model import DAY, ChannelExpectation
from headend.series import Matrix, Series
from headend.store.block import Heads, Layout, head_of, is_whole
from headend.store.dayblocks import LOCAL_ID, DayBlocks, Window, assembled, check_window, days_of, expect_idle, grids_of
from headend.store.model import Layer
from headend.store.plans import Alike, Expected, Known, Many, Plan, is_within, shortest
from headend.store.retention import Kept
from headend.store.seriesreads import TABLES, SeriesReads, block_key

_KEPT = {Layer.RAW: Kept.RAW, Layer.VALIDATED: Kept.VALIDATED}
_SPARSE = 4
"""Blocks of a day are fetched as one stretch of keys, unless it may hold so many times more than were asked for."""
_REMEMBERED = 20_000
"""Most end devices and usage points of which heads of blocks and what the registry says are kept in memory."""
_REMEMBERED_MANY = 64
"""Most selections of many of which that is kept, too; of all of them together, at most ten times `_REMEMBERED`."""


class MatrixReads(SeriesReads):
    """Series of many channels."""

    _heads: dict[tuple[Layer, int], tuple[bytes, Layout]] | None = None
    _remembered: Known | None = None

    def series(
        self, channels: Sequence[tuple[int, Obis]], start: UtcSeconds, end: UtcSeconds, layer: Layer = Layer.RAW
    ) -> list[Series]:
        """Give the slots that start within ``[start, end)`` [s UTC] of many channels, in the order asked for.

        ``channels``: local id of the end device (raw) or usage point (validated), and code.  Each is what `raw_series` or
        `validated_series` gives, and may share memory with others of the same call. Raises as those.
        """
        window = start, end
        if len({local_id for local_id, _ in channels}) == 1:
            return self._of_one(layer, channels[0][0], tuple([obis for _, obis in channels]), window)
        with self.snapshot():
            self._look_again()
            places: dict[int, list[int]] = {}
            for place, (local_id, _) in enumerate(channels):
                places.setdefault(local_id, []).append(place)
            found: dict[int, Series] = {}
            for local_id, of_one in places.items():
                plan = self._plan(layer, local_id, tuple([channels[place][1] for place in of_one]))
                rows = self._rows_of_days(layer, local_id, window, plan.shortest)
                found.update(zip(of_one, self._series_of(layer, plan, rows, window), strict=True))
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
                    group.decode(*group.layout.between([obis]))
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
            self._remembered = Known(stamp)
        if self._heads is None or len(self._heads) > _REMEMBERED:
            self._heads = {}

    def _plan(self, layer: Layer, local_id: int, codes: tuple[Obis, ...]) -> Plan:
        known = self._known()
        plan = known.plans.get((layer, local_id, codes))
        if plan is not None:
            return plan
        if layer is Layer.RAW:
            by_code: dict[Obis, list[ChannelExpectation]] = {}
            for entry in self.expectations(local_id):
                by_code.setdefault(entry.obis, []).append(entry)
            # The other call says what there is instead.
            expected = [Expected.of(by_code.get(obis) or self._channel_expectations(local_id, obis)) for obis in codes]
            name = self._device_name(local_id)
        else:
            expected = [Expected.of(self._usage_point_expectations(local_id, obis)) for obis in codes]
            name = self._usage_point_name(local_id)
        plan = Plan({local_id: name}, codes, expected, shortest(expected), self._floor(layer))
        known.plans[layer, local_id, codes] = plan
        return plan

    def _many(self, layer: Layer, ids: tuple[int, ...], obis: Obis) -> Many:
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
        if len(ids) + sum(len(one.ids) for one in known.many.values()) > 10 * _REMEMBERED:
            known.many.clear()
        many = known.many[layer, ids, obis] = Many.of(ids, names, [Expected.of(of_each[number]) for number in ids])
        return many

    def _floor(self, layer: Layer) -> int:
        """Give the first day that retention keeps of a layer."""
        floors = self._known().floors
        if layer not in floors:
            floors[layer] = self.floor(_KEPT[layer]).day
        return floors[layer]

    def _known(self) -> Known:
        known = self._remembered
        if known is None or len(known.plans) > _REMEMBERED or len(known.many) > _REMEMBERED_MANY:
            known = self._remembered = Known(None if known is None else known.stamp)
        return known

    def _of_one(self, layer: Layer, local_id: int, codes: tuple[Obis, ...], window: Window) -> list[Series]:
        """Give the series of one end device or usage point.

        Its blocks are one statement, which sees one state of the store: where what is remembered still holds afterwards, it held
        then, and no view is needed.
        """
        known = self._remembered
        plan = None if known is None else known.plans.get((layer, local_id, codes))
        if known is not None and plan is not None and known.stamp is not None:
            rows = self._rows_of_days(layer, local_id, window, plan.shortest)
            if self._stamp() == known.stamp:
                return self._series_of(layer, plan, rows, window)
        with self.snapshot():
            self._look_again()
            plan = self._plan(layer, local_id, codes)
            return self._series_of(layer, plan, self._rows_of_days(layer, local_id, window, plan.shortest), window)

    def _series_of(self, layer: Layer, plan: Plan, rows: Sequence[tuple[Any, ...]], window: Window) -> list[Series]:
        """Make the series that some days' blocks are."""
        groups = self._groups(layer, rows, plan.names)
        cuts: Iterator[Series] = iter(())
        is_part: Sequence[bool] = [False] * len(plan.codes)
        if len(groups) == 1 and (only := groups[0]).is_all_of(window):
            plan.look_at(only.layout, layer)
            only.decode(*plan.numbers)
            whole, is_part = only.series(plan.parts, window[0]), plan.is_part
            if is_within(window, plan.always) and only.is_busy and window[0] >= plan.floor * DAY:
                return whole
            cuts = iter(whole)
        else:
            for group in groups:
                group.decode(*group.layout.between(plan.codes))
        (local_id,) = plan.names
        found: list[Series] = []
        for obis, one, is_cut in zip(plan.codes, plan.expected, is_part, strict=True):
            series = next(cuts) if is_cut else self._laid_out(layer, local_id, obis, one, groups, window)
            offset = series.start % series.period
            if one.is_always(window, series.period, offset):
                expect_idle(series.state)
            else:
                one.mark(layer, series, (series.period, offset, series.scaler_unit))
            self.mark_dropped(_KEPT[layer], series, plan.floor)
            found.append(series)
        return found

    def _laid_out(
        self, layer: Layer, local_id: int, obis: Obis, expected: Expected, groups: Sequence[DayBlocks], window: Window
    ) -> Series:
        """Lay a channel's decoded days one behind the other."""
        if layer is Layer.RAW:
            grid = expected.grid(window)
        else:
            grids = grids_of(groups, obis)
            if len(grids) > 1 or not (grids or expected.entries):
                self.validated_series(local_id, obis, *window)  # says what is wrong
            grid = grids.pop() if grids else expected.grid(window)
        start, (values, state, reason, rules) = assembled([local_id], groups, obis, grid, window)
        return Series(start, grid[0], grid[2], values[0], state[0], reason[0], rules[0])

    def _rows_of_days(self, layer: Layer, local_id: int, window: Window, shortest: int) -> list[tuple[Any, ...]]:
        check_window(window, shortest, 1)
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

    def _groups_of_day(self, layer: Layer, rows: Sequence[tuple[Any, ...]], day: int, many: Many) -> list[DayBlocks]:
        """Do as `_groups`, all at once where the blocks say of themselves what those of another day did, but for the day."""
        like = many.last
        if like is not None and len(rows) == len(like.keys):
            step = (day << 32) - (like.keys[0] & ~LOCAL_ID)
            keys, blocks = [key for key, _ in rows], [block for _, block in rows]
            if keys == [key + step for key in like.keys] and like.heads.are_of(blocks, day):
                return [DayBlocks(self.path, like.layout, keys, blocks, like.heads.at, like.is_in_order)]
        groups = self._groups(layer, rows, many.names)
        if len(groups) == 1:
            only = groups[0]
            is_in_order = only.keys == [block_key(day, local_id) for local_id in many.ids]
            many.last = Alike(only.layout, only.keys, Heads.of(only.blocks, only.at), is_in_order)
        return groups

    def _groups(self, layer: Layer, rows: Iterable[tuple[Any, ...]], names: Mapping[int, str]) -> list[DayBlocks]:
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
