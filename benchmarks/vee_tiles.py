"""What lane tiles would save within a validation run: the rules they know, in place, against the row kernels that do them now.

Both get the raw rows of a batch as `headend.vee.window` lays them out, energy channels with the days around. The tiles get each local
day cut out and turned, with room for their results that is there already; their rows end at midnight, so that runs of zeros
and lines across it would still be to do, and are not timed.
"""

import time

import numpy as np

from drivers.zone import parse_zone
from headend.store.store import Store
from headend.vee.alike import place_of
from headend.vee.localtime import utc_offsets, whole_days
from headend.vee.rows import Rows
from headend.vee.rules import MEAN_POWER_UNITS, ChannelLimits, RuleSet
from headend.vee.service import channels
from headend.vee.window import Window
from kernels import estimate, validate
from kernels.quality import Rule, State
from kernels.tile import Limits, Outcome, empty, tiles_for
from kernels.tiles import run, series_to_tiles, tiles_to_series

PERIOD, POINTS, HOUR = 900, 48, 4
JUDGED = np.uint32(Rule.RANGE | Rule.SPIKE)


def in_place(store: Store, first: int, last: int, near: RuleSet, zone_name: str) -> tuple[float, float, int]:
    """Time both on one batch; gives CPU time of row kernels and of tiles [ns a slot], and how many masks of limits and spikes differ."""
    found = (
        place_of(store, point, channels(store, point), first, last, near) for point in store.usage_points()[:POINTS]
    )
    places = [place for place in found if place is not None]
    kinds = [kind for kind in places[0].kinds if kind.scaler_unit.unit in MEAN_POWER_UNITS]
    rows = list(Window(store, places, kinds, first, last, near).rows.values())
    limits = [near.for_channel(kind.scaler_unit, PERIOD) for kind in kinds]
    start, slots = rows[0].flat.start, rows[0].slots
    days = whole_days(utc_offsets(parse_zone(zone_name), start, PERIOD, slots), start, PERIOD)
    total = len(rows) * rows[0].count * int(days[-1] - days[0])
    begin = time.process_time()
    judged = [_by_rows(one.copy(), bounds, days, near) for one, bounds in zip(rows, limits, strict=True)]
    middle = time.process_time()
    masks = _by_tiles(rows, limits, days, near)
    end = time.process_time()
    by_rows = np.stack([one.tables[3][:, days[0] : days[-1]] for one in judged], axis=1)
    differing = int(np.count_nonzero((by_rows ^ masks) & JUDGED))
    return (middle - begin) / total * 1e9, (end - middle) / total * 1e9, differing


def _by_rows(
    rows: Rows, limits: ChannelLimits, days: np.ndarray[tuple[int], np.dtype[np.int64]], rules: RuleSet
) -> Rows:
    one = rows.flat
    validate.validate(
        one.values, one.state, rows.edges(days), one.rules, low=limits.low, high=limits.high, zero_run=limits.zero_run,
        spike_permille=limits.spike_permille, spike_floor=limits.spike_floor,
    )  # fmt: skip
    one.state[(one.state == State.MEASURED) & (one.rules & np.uint32(rules.failing) != 0)] = State.QUESTIONABLE
    estimate.linear(one.values, one.state, one.reason, longest=limits.linear_slots)
    return rows


def _by_tiles(
    rows: list[Rows], limits: list[ChannelLimits], days: np.ndarray[tuple[int], np.dtype[np.int64]], rules: RuleSet
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint32]]:
    slots, tiles = int(days[1] - days[0]), len(rows) * tiles_for(rows[0].count)
    room, outcome = empty((tiles, slots, 16), np.int32), Outcome.empty(tiles, slots, slots // HOUR)
    lows = np.array([one.low for one in limits], np.int32)
    kinds = np.repeat(np.arange(len(rows), dtype=np.uint8), tiles_for(rows[0].count))
    bounds = [
        Limits(one.low, one.high, one.zero_run // 2, one.spike_permille, one.spike_floor, one.linear_slots)
        for one in limits
    ]
    edges, tariffs = np.arange(0, slots + 1, HOUR, dtype=np.int32), np.zeros(slots, np.uint8)
    masks = []
    for first in days[:-1].tolist():
        values, state, reason, mask = (
            np.stack([one.tables[index][:, first : first + slots] for one in rows], axis=1) for index in range(4)
        )
        series_to_tiles(values, state, reason, lows, room)
        run(room, kinds, bounds, outcome, edges=edges, tariffs=tariffs)
        tiles_to_series(room, outcome.flags, lows, values, state, reason, mask, failing=rules.failing)
        masks.append(mask)
    return np.concatenate(masks, axis=2)
