"""The fast path against its twin: every instruction set of this machine, one thread and two, in place and not."""

from dataclasses import asdict, fields, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import reference_tiles as twin
from kernels.quality import Reason, Rule, State
from kernels.tile import CLOSED, LANES, MISSING, NO_REGISTER, Flag, Limits, Outcome, empty, tiles_for
from kernels.tiles import instruction_sets, rows_to_tiles, run, series_to_tiles, tiles_to_rows, tiles_to_series

HOUR = 3_600
INT32 = st.integers(-(2**31), 2**31 - 1)
HOMES = Limits(
    low=0, high=12_500, zero_run=24, spike_permille=1_800, longest_gap=8, sum_permille=5, sum_counts=50,
    estimates_rejected=True,
)  # fmt: skip
WAYS = list(product(instruction_sets(), (1, 2), (True, False)))


def whole_hours(slots: int, per_hour: int) -> npt.NDArray[np.int32]:
    """Edges of the hours of a day that starts on one; the last may be short."""
    return np.array([*range(0, slots, per_hour), slots], np.int32)


def by_night(slots: int) -> npt.NDArray[np.uint8]:
    return (np.arange(slots) * 7 // max(1, slots) % 4).astype(np.uint8)


def run_way(tiles: Any, kinds: Any, limits: Any, way: Any, **given: Any) -> tuple[Any, Outcome]:
    """Run a copy one way; give the filled codes and the outcome, whose arrays held rubbish before."""
    name, threads, in_place = way
    codes = empty(tiles.shape, np.int32)
    codes[:] = tiles
    out = codes if in_place else empty(tiles.shape, np.int32)
    outcome = Outcome.empty(tiles.shape[0], tiles.shape[1], len(given["edges"]) - 1)
    for part in fields(outcome):
        getattr(outcome, part.name).view(np.uint8).fill(0xA5)
    run(codes, kinds, limits, outcome, out=out, threads=threads, instruction_set=name, **given)
    if not in_place:
        assert (codes == tiles).all()
    return out, outcome


def assert_row_is(expected: twin.RowOutcome, codes: Any, outcome: Outcome, tile: int, lane: int) -> None:
    assert codes[tile, :, lane].tolist() == expected.codes
    assert outcome.flags[tile, :, lane].tolist() == [int(flag) for flag in expected.flags]
    hours = zip(
        outcome.hour_sum[tile, :, lane].tolist(), outcome.hour_min[tile, :, lane].tolist(),
        outcome.hour_max[tile, :, lane].tolist(), outcome.hour_count[tile, :, lane].tolist(), strict=True,
    )  # fmt: skip
    assert [twin.Bucket(*hour) for hour in hours] == expected.hours
    day = (outcome.day_sum, outcome.day_min, outcome.day_max, outcome.day_count)
    assert twin.Bucket(*(int(part[tile, lane]) for part in day)) == expected.day
    assert outcome.day_argmax[tile, lane] == expected.first_of_most
    assert outcome.tariff_sum[tile, :, lane].tolist() == expected.tariffs


def assert_all_agree(
    tiles: Any, kinds: Any, limits: Any, edges: Any, tariffs: Any, registers: Any, ways: Any = WAYS
) -> None:
    """Hold one way to the twin, row by row, and all others to that one, byte by byte."""
    given = {"edges": edges, "tariffs": tariffs, "registers": registers}
    first_codes, first = run_way(tiles, kinds, limits, ways[0], **given)
    for tile, lane in product(range(tiles.shape[0]), range(LANES)):
        register = None if registers is None else int(registers[tile, lane])
        expected = twin.run_row(
            tiles[tile, :, lane].tolist(), limits[kinds[tile]], edges.tolist(), tariffs.tolist(),
            None if register == NO_REGISTER else register,
        )  # fmt: skip
        assert_row_is(expected, first_codes, first, tile, lane)
    for way in ways[1:]:
        codes, outcome = run_way(tiles, kinds, limits, way, **given)
        assert codes.tobytes() == first_codes.tobytes(), way
        for part in fields(outcome):
            assert getattr(outcome, part.name).tobytes() == getattr(first, part.name).tobytes(), (way, part.name)


@st.composite
def limits_of(draw: st.DrawFn) -> Limits:
    low = draw(st.sampled_from([0, 0, -5, 3, -(2**30), -(2**31), 2**31 - 40]))
    span = draw(st.sampled_from([0, 6, 40, 1_000, 2**31 - 2]))
    return Limits(
        low=low,
        high=min(low + span, 2**31 - 1),
        zero_run=draw(st.integers(0, 9)),
        spike_permille=draw(st.sampled_from([0, 1, 500, 1_800, 12_000, 10**9])),
        spike_floor=draw(st.sampled_from([0, -7, 20, 2**31 - 1, -(2**31)])),
        longest_gap=draw(st.integers(0, 9)),
        sum_permille=draw(st.integers(0, 1_000)),
        sum_counts=draw(st.sampled_from([0, 3, 2**62])),
        estimates_rejected=draw(st.booleans()),
    )


@st.composite
def rows_of_codes(draw: st.DrawFn, tiles: int, slots: int) -> npt.NDArray[np.int32]:
    """Rows of runs: plateaus, zeros, gaps, values out of limits, and single slots of anything."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([3, 30, 2_000, 2**31 - 1]))
    zero = draw(st.sampled_from([0, 5]))
    codes = random.integers(0, scale, (tiles, slots, LANES), dtype=np.int32)
    for code in (zero, zero, MISSING, MISSING, CLOSED, twin.REJECTED, scale, 2**31 - 1, -(2**31)):
        for _ in range(draw(st.integers(0, 20))):
            first = int(random.integers(0, slots))
            codes[random.integers(tiles), first : first + int(random.integers(1, 12)), random.integers(LANES)] = code
    return codes


@given(st.data())
@settings(max_examples=60)
def test_all_ways_agree_with_the_twin(draw: st.DataObject) -> None:
    tiles, slots = draw.draw(st.sampled_from([(1, 1), (2, 5), (1, 24), (3, 23), (2, 48), (1, 97)]))
    cuts = draw.draw(st.lists(st.integers(1, max(1, slots - 1)), max_size=6)) if slots > 1 else []
    edges = np.array(sorted({0, slots, *cuts}), np.int32)
    kinds = draw.draw(st.lists(limits_of(), min_size=1, max_size=3))
    codes = draw.draw(rows_of_codes(tiles, slots))
    of_tile = np.array([draw.draw(st.integers(0, len(kinds) - 1)) for _ in range(tiles)], np.uint8)
    tariffs = np.array(draw.draw(st.lists(st.integers(0, 3), min_size=slots, max_size=slots)), np.uint8)
    near = st.one_of(st.integers(-50, 5_000), st.sampled_from([NO_REGISTER, NO_REGISTER + 1, 2**63 - 1]))
    registers = np.array([[draw.draw(near) for _ in range(LANES)] for _ in range(tiles)], np.int64)

    assert_all_agree(codes, of_tile, kinds, edges, tariffs, draw.draw(st.sampled_from([registers, None])))


@pytest.mark.parametrize("period", [60, 300, 600, 900, 1_800, 3_600])
@pytest.mark.parametrize("hours", [23, 24, 25, 23.5])
def test_local_days_of_every_period_and_length_agree_with_the_twin(period: int, hours: float) -> None:
    slots, per_hour = int(hours * HOUR / period), HOUR // period
    random = np.random.default_rng(period)
    codes = random.integers(0, 90, (1, slots, LANES), dtype=np.int32)
    codes[random.random(codes.shape) < 0.02] = MISSING
    codes[0, : slots // 2, 3] = 0
    registers = np.full((1, LANES), codes.clip(0).sum(axis=1)[0, 0] + 20, np.int64)

    assert_all_agree(
        codes, np.zeros(1, np.uint8), [replace(HOMES, zero_run=6 * per_hour)],
        whole_hours(slots, per_hour), by_night(slots), registers,
    )  # fmt: skip


def test_results_too_many_for_the_cache_are_the_same() -> None:
    random = np.random.default_rng(5)
    codes = random.integers(0, 3_000, (700, 96, LANES), dtype=np.int32)
    codes[random.random(codes.shape) < 0.01] = MISSING
    kinds = np.zeros(700, np.uint8)
    given = {"edges": whole_hours(96, 4), "tariffs": by_night(96), "registers": None}

    wholes = [run_way(codes, kinds, [HOMES], way, **given) for way in WAYS]

    few, some = run_way(codes[:50], kinds[:50], [HOMES], WAYS[0], **given)
    assert (wholes[0][0][:50] == few).all()
    for whole_codes, whole in wholes:
        assert whole_codes.tobytes() == wholes[0][0].tobytes()
        for part in fields(whole):
            assert getattr(whole, part.name).tobytes() == getattr(wholes[0][1], part.name).tobytes()
            assert (getattr(whole, part.name)[:50] == getattr(some, part.name)).all()


def one(values: list[int], **limits: Any) -> tuple[list[int], list[Flag], Outcome]:
    """Run one row of counts in every lane; give its codes and flags."""
    tiles = np.repeat(np.array(values, np.int32)[None, :, None], LANES, axis=2).copy()
    outcome = Outcome.empty(1, len(values), 1)
    given = Limits(**asdict(HOMES) | limits)
    run(
        tiles, np.zeros(1, np.uint8), [given], outcome,
        edges=np.array([0, len(values)], np.int32), tariffs=np.zeros(len(values), np.uint8),
    )  # fmt: skip
    return tiles[0, :, 7].tolist(), [Flag(int(flag)) for flag in outcome.flags[0, :, 7]], outcome


def test_published_line_through_a_gap_is_drawn() -> None:
    codes, flags, _ = one([75, MISSING, MISSING, MISSING, MISSING, 100])

    assert codes == [75, 80, 85, 90, 95, 100]
    assert flags == [Flag(0), *[Flag.MISSING | Flag.ESTIMATED] * 4, Flag(0)]


def test_a_slot_out_of_limits_keeps_its_code_unless_it_may_be_estimated() -> None:
    row = [10, 50_000, 20]

    assert one(row)[:2] == ([10, 15, 20], [Flag(0), Flag.RANGE | Flag.ESTIMATED, Flag(0)])
    assert one(row, estimates_rejected=False)[:2] == (row, [Flag(0), Flag.RANGE, Flag(0)])


@pytest.mark.parametrize(("off", "differs"), [(0, False), (59, False), (60, True), (-59, False), (-60, True)])
def test_a_sum_may_be_off_by_the_counts_and_the_share_of_the_register_difference(off: int, differs: bool) -> None:
    register = 1_999  # 0.5 % of it and 50 are 59.995
    tiles = np.full((1, 1, LANES), register + off, np.int32)
    outcome = Outcome.empty(1, 1, 1)

    run(
        tiles, np.zeros(1, np.uint8), [HOMES], outcome, edges=np.array([0, 1], np.int32),
        tariffs=np.zeros(1, np.uint8), registers=np.full((1, LANES), register, np.int64),
    )  # fmt: skip

    assert (outcome.flags == (Flag.SUM_CHECK if differs else 0)).all()


def test_a_power_failure_is_no_gap_and_no_end_of_one() -> None:
    row = [10, MISSING, CLOSED, MISSING, 20]

    assert one(row)[:2] == (row, [Flag(0), *[Flag.MISSING] * 3, Flag(0)])


def test_a_row_that_is_negative_throughout_has_no_spike_and_true_sums() -> None:
    _, flags, outcome = one([0, 5, 9], low=-10, high=-1)

    assert flags == [Flag(0)] * 3
    assert (outcome.day_sum[0, 0], outcome.day_min[0, 0], outcome.day_max[0, 0]) == (-16, -10, -1)
    assert outcome.day_argmax[0, 0] == 2


@given(st.integers(0, 40), st.integers(0, 70), st.integers(0, 2**32))
def test_rows_come_back_from_tiles_as_they_were(rows: int, slots: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(-(2**31), 2**31, (rows, slots), dtype=np.int32)
    tiles = np.zeros((tiles_for(rows), slots, LANES), np.int32)
    back = np.zeros_like(codes)

    rows_to_tiles(codes, tiles)
    tiles_to_rows(tiles, back)

    padded = np.full((tiles_for(rows) * LANES, slots), CLOSED, np.int32)
    padded[:rows] = codes
    assert (tiles == padded.reshape(tiles_for(rows), LANES, slots).swapaxes(1, 2)).all()
    assert (back == codes).all()


Series = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def series(meters: int, channels: int, slots: int, seed: int) -> Series:
    random = np.random.default_rng(seed)
    shape = (meters, channels, slots)
    values = random.choice(np.array([-(2**31), -8, -7, -6, -2, -1, 0, 1, 40, 2**31 - 1], np.int32), shape)
    state = random.choice(np.array([*State, *[State.MEASURED] * 9], np.uint8), shape)
    reason = random.choice(np.array([Reason.NONE, Reason.NO_ANSWER, Reason.POWER_OFF], np.uint8), shape)
    return values, state, reason


@given(st.integers(1, 35), st.integers(1, 3), st.sampled_from([1, 24, 96, 131]), st.integers(0, 2**32))
@settings(max_examples=25)
def test_series_come_in_as_their_twin_says(meters: int, channels: int, slots: int, seed: int) -> None:
    values, state, reason = series(meters, channels, slots, seed)
    lows = np.array([0, -6, 2**31 - 1][:channels], np.int32)
    groups = tiles_for(meters)
    tiles = np.zeros((channels * groups, slots, LANES), np.int32)

    series_to_tiles(values, state, reason, lows, tiles)

    for meter, channel in product(range(groups * LANES), range(channels)):
        expected = [CLOSED] * slots
        if meter < meters:
            rows = (part[meter, channel].tolist() for part in (values, state, reason))
            expected = [twin.code_of(value, of, why, int(lows[channel])) for value, of, why in zip(*rows, strict=True)]
        assert tiles[channel * groups + meter // LANES, :, meter % LANES].tolist() == expected


@given(st.integers(1, 35), st.integers(1, 2), st.integers(0, 2**32), st.sampled_from([0, 1, 2, 15]))
@settings(max_examples=25)
def test_series_get_what_the_flags_say_and_nothing_else(meters: int, channels: int, seed: int, failing: int) -> None:
    slots, groups = 50, tiles_for(meters)
    random = np.random.default_rng(seed)
    values, state, reason = series(meters, channels, slots, seed)
    rules = random.integers(0, 2**32, values.shape, dtype=np.uint32)
    lows = np.array([0, -6][:channels], np.int32)
    tiles = random.integers(0, 100, (channels * groups, slots, LANES), dtype=np.int32)
    flags = random.integers(0, 64, tiles.shape, dtype=np.uint8) * (random.random(tiles.shape) < 0.2)
    after: Any = [part.copy() for part in (values, state, reason, rules)]

    tiles_to_series(tiles, flags.astype(np.uint8), lows, *after, failing=failing)

    for meter, channel, slot in product(range(meters), range(channels), range(slots)):
        at = channel * groups + meter // LANES, slot, meter % LANES
        flag = Flag(int(flags[at]))
        expected = [int(part[meter, channel, slot]) for part in (values, state, reason)]
        if Flag.ESTIMATED in flag:
            expected = [int(tiles[at] + lows[channel]), State.ESTIMATED, Reason.LINEAR]
        elif flag & failing and expected[1] == State.MEASURED:
            expected[1] = State.QUESTIONABLE
        assert [int(part[meter, channel, slot]) for part in after[:3]] == expected
        assert after[3][meter, channel, slot] == int(rules[meter, channel, slot]) | flag & 15


def test_flags_of_rules_are_the_bits_of_the_rule_mask() -> None:
    assert [int(flag) for flag in Flag][:4] == [Rule.RANGE, Rule.SPIKE, Rule.ZERO_RUN, Rule.SUM_CHECK]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"high": -1}, "high -1"),
        ({"low": -2, "high": 2**31 - 1}, "above low"),
        ({"low": -(2**31) - 1}, "low"),
        ({"spike_floor": 2**31}, "spike_floor"),
        ({"zero_run": -1}, "zero_run"),
        ({"spike_permille": 10**9 + 1}, "spike_permille"),
        ({"longest_gap": 2**15}, "longest_gap"),
        ({"sum_permille": 1_001}, "sum_permille"),
        ({"sum_counts": -1}, "sum_counts"),
    ],
)
def test_limits_outside_what_the_kernel_holds_are_value_errors(change: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        replace(HOMES, **change)


GOOD: dict[str, Any] = {
    "tiles": np.zeros((2, 8, LANES), np.int32),
    "kinds": np.zeros(2, np.uint8),
    "limits": [HOMES],
    "edges": np.array([0, 4, 8], np.int32),
    "tariffs": np.zeros(8, np.uint8),
    "registers": np.zeros((2, LANES), np.int64),
}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"tiles": np.zeros((2, 8, 15), np.int32)}, "tiles has shape"),
        ({"tiles": np.zeros((2, 0, LANES), np.int32)}, "tiles has shape"),
        ({"tiles": np.zeros((2, 8, LANES), np.int64)}, "dtype"),
        ({"tiles": np.zeros((2, 8, 2 * LANES), np.int32)[:, :, ::2]}, "contiguous"),
        ({"kinds": np.zeros(1, np.uint8)}, "kinds has shape"),
        ({"kinds": np.array([0, 1], np.uint8)}, "kind of tile 1 is 1"),
        ({"limits": []}, "0 limits"),
        ({"edges": np.array([0, 8], np.int32)}, "hour_sum has shape"),
        ({"edges": np.array([0, 4, 9], np.int32)}, "edges must rise"),
        ({"edges": np.array([1, 4, 8], np.int32)}, "edges must rise"),
        ({"edges": np.array([0, 8, 8], np.int32)}, "edges must rise"),
        ({"tariffs": np.zeros(7, np.uint8)}, "tariffs has shape"),
        ({"tariffs": np.full(8, 4, np.uint8)}, "tariff of slot 0 is 4"),
        ({"registers": np.zeros((2, 8), np.int64)}, "registers has shape"),
        ({"out": np.zeros((2, 9, LANES), np.int32)}, "out has shape"),
        ({"threads": 0}, "threads 0"),
        ({"threads": 65}, "threads 65"),
        ({"instruction_set": "mmx"}, "'mmx' does not run here"),
    ],
)
def test_damaged_arguments_are_value_errors_and_nothing_is_written(change: dict[str, Any], what: str) -> None:
    given = GOOD | change
    outcome = Outcome.empty(2, 8, 2)
    for part in fields(outcome):
        getattr(outcome, part.name).fill(77)

    with pytest.raises(ValueError, match=what):
        run(given.pop("tiles"), given.pop("kinds"), given.pop("limits"), outcome, **given)

    assert all((getattr(outcome, part.name) == 77).all() for part in fields(outcome))


@pytest.mark.parametrize("name", [part.name for part in fields(Outcome)])
def test_results_of_another_shape_or_type_are_value_errors(name: str) -> None:
    outcome = Outcome.empty(2, 8, 2)
    given = dict(GOOD)
    arrays = given.pop("tiles"), given.pop("kinds"), given.pop("limits")

    with pytest.raises(ValueError, match=name):
        run(*arrays, replace(outcome, **{name: getattr(outcome, name)[:1]}), **given)
    with pytest.raises(ValueError, match="dtype"):
        run(*arrays, replace(outcome, **{name: getattr(outcome, name).astype(np.float64)}), **given)


def test_out_that_overlaps_and_a_read_only_row_in_place_are_value_errors() -> None:
    room = np.zeros((3, 8, LANES), np.int32)
    frozen = np.zeros((2, 8, LANES), np.int32)
    frozen.flags.writeable = False
    given = GOOD | {"tiles": room[:2]}
    rest = {name: given[name] for name in ("edges", "tariffs", "registers")}
    outcome = Outcome.empty(2, 8, 2)

    with pytest.raises(ValueError, match="overlaps"):
        run(room[:2], given["kinds"], [HOMES], outcome, out=room[1:], **rest)
    with pytest.raises(ValueError, match="read-only"):
        run(frozen, given["kinds"], [HOMES], outcome, **rest)


def test_limits_of_another_kind_are_type_errors_and_no_tiles_are_fine() -> None:
    wrong: Any = [{"low": 0}]
    rest: dict[str, Any] = {"edges": np.array([0, 8], np.int32), "tariffs": np.zeros(8, np.uint8)}

    with pytest.raises(TypeError, match="Limits"):
        run(np.zeros((1, 8, LANES), np.int32), np.zeros(1, np.uint8), wrong, Outcome.empty(1, 8, 1), **rest)
    run(np.zeros((0, 8, LANES), np.int32), np.zeros(0, np.uint8), [HOMES], Outcome.empty(0, 8, 1), **rest)


def test_transposing_to_other_shapes_and_unknown_states_are_value_errors() -> None:
    values, state, reason = series(3, 2, 8, 1)
    lows = np.zeros(2, np.int32)
    tiles = np.zeros((2, 8, LANES), np.int32)

    with pytest.raises(ValueError, match="tiles has shape"):
        rows_to_tiles(np.zeros((17, 8), np.int32), tiles[:1])
    with pytest.raises(ValueError, match="tiles has shape"):
        tiles_to_rows(tiles, np.zeros((17, 9), np.int32))
    with pytest.raises(ValueError, match="lows has shape"):
        series_to_tiles(values, state, reason, lows[:1], tiles)
    with pytest.raises(ValueError, match="a state is 9"):
        series_to_tiles(values, np.full_like(state, 9), reason, lows, tiles)
    with pytest.raises(ValueError, match="flags has shape"):
        tiles_to_series(
            tiles,
            np.zeros((1, 8, LANES), np.uint8),
            lows,
            values,
            state,
            reason,
            np.zeros(values.shape, np.uint32),
            failing=1,
        )
