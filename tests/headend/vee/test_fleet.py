"""Usage points validated together, against each channel by itself: the same bytes in the store."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from zoneinfo import ZoneInfo

import apsw
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis, register_of, resolve, tariff_register
from drivers.units import ScalerUnit, Unit
from headend.registry.model import ChannelExpectation, Installation, TariffSince, UsagePoint
from headend.series import Series
from headend.store.model import Layer
from headend.store.retention import Floor, Kept, Plan
from headend.store.store import Store
from headend.vee.alike import place_of
from headend.vee.calendar import load_calendars
from headend.vee.classprofile import ClassProfile
from headend.vee.fill import fill_short
from headend.vee.fleet import FleetSummary, run_fleet
from headend.vee.localtime import utc_offsets, whole_days
from headend.vee.mark import mark
from headend.vee.rows import Rows
from headend.vee.rules import RuleSet, load_rules
from headend.vee.service import channels, run
from headend.vee.tariffs import registers_of_slots
from headend.vee.work import Beside, Work
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY

RULE_SETS = ("residential", "prosumer", "commercial", "transformer-check")
SUNDAY = 20_541
"""2026-03-29: clocks go forward in Berlin. A week later they go back in Santiago, and by half an hour on Lord Howe. [d]"""
AUTUMN = 20_751
"""2026-10-25: clocks go back in Berlin. [d]"""
FIRST, LAST = SUNDAY - 1, SUNDAY + 8
BEGIN, END = FIRST - 20, LAST + 2
IMPORT, EXPORT = resolve("active_energy_import_interval"), resolve("active_energy_export_interval")
REACTIVE, VOLTAGE = resolve("reactive_energy_import_interval"), resolve("voltage_l1")
CURRENT = resolve("current_l1")
WH, VOLT = ScalerUnit(0, Unit.WATT_HOUR), ScalerUnit(-1, Unit.VOLT)
UNITS = {
    IMPORT: WH,
    EXPORT: WH,
    REACTIVE: ScalerUnit(0, Unit.VAR_HOUR),
    VOLTAGE: VOLT,
    CURRENT: ScalerUnit(-3, Unit.AMPERE),
}
NOW = END * DAY
SHIPPED = load_calendars()
TWO_RATE = (TariffSince(0, "example", "two-rate"),)


@dataclass(frozen=True)
class Meter:
    """One that is installed on day ``first``, and what goes wrong with it."""

    number: int
    period: int
    zone: str = "Europe/Berlin"
    first: int = BEGIN
    multiplier: int = 1
    has_registers: bool = False
    last: int | None = None
    point: int | None = None
    dials: int = 0
    check: int | None = None
    tariffs: tuple[TariffSince, ...] = ()
    silent: tuple[int, int] = (0, 0)


METERS = [
    Meter(1, 60, first=FIRST - 9),
    Meter(2, 300, "America/Santiago", first=FIRST - 9),
    Meter(3, 600, first=FIRST - 9),
    Meter(4, 900),
    Meter(5, 900, "Australia/Lord_Howe"),
    Meter(6, 1800, "UTC+05:45"),
    Meter(7, 3600, has_registers=True),
    Meter(8, 1800, has_registers=True, multiplier=40),
    Meter(9, 1800, first=FIRST + 1),
    Meter(10, 3600, multiplier=1_000_000),
    Meter(11, 1800, last=SUNDAY),
    Meter(12, 1800, first=SUNDAY, point=11),
    Meter(13, 3600, first=FIRST - 364 - 16, silent=(FIRST - 35, FIRST + 2)),
    Meter(14, 1800),
    Meter(15, 1800, check=14),
    Meter(16, 3600, has_registers=True, tariffs=TWO_RATE),
    Meter(17, 3600, has_registers=True, dials=5),
    Meter(18, 1800, tariffs=TWO_RATE),
]


def counts(random: np.random.Generator, obis: Obis, n: int, period: int) -> npt.NDArray[np.int64]:
    """Make a channel's counts, with spikes, negatives, long zeros and constants."""
    if obis in {VOLTAGE, CURRENT}:
        found = random.integers(2_200, 2_400, n)
        found[random.random(n) < 0.002] = 3_500
        return found
    found = random.integers(0, 4, n) * random.integers(1, 1 + period // 10, n)
    found[random.random(n) < 0.002] = 45_000 * period // 3_600
    found[random.random(n) < 0.001] = -3
    for value, hours in ((0, 30), (7, 60), (0, 120), (-1, 30)):
        first = int(random.integers(0, n))
        if random.random() < 0.3:
            found[first : first + hours * 3_600 // period] = value
    return found


def gone(random: np.random.Generator, n: int, period: int) -> npt.NDArray[np.bool_]:
    """Make gaps of a slot to days."""
    found = np.zeros(n, np.bool_)
    for hours in (0, 0, 1, 1, 2, 5, 30):
        first = int(random.integers(0, n))
        found[first : first + 1 + hours * 3_600 // period] = True
    found[n - 2 * DAY // period :] |= random.random() < 0.3
    return found


def install(store: Store, meter: Meter) -> int:
    device, _ = store.put_end_device(f"SIM:{meter.number}", "sim", store.put_link("memory://x"), "1")
    point, _ = store.put_usage_point(
        f"UP{meter.point or meter.number}", meter.zone,
        check_meter=f"UP{meter.check}" if meter.check else "", tariffs=meter.tariffs,
    )  # fmt: skip
    end = None if meter.last is None else meter.last * DAY
    store.put_installation(Installation(point.id, device.id, meter.first * DAY + 600, end, meter.multiplier))
    store.put_expectations(
        device.id, meter.first * DAY,
        [
            ChannelExpectation(
                device.id, obis, meter.period, 0, unit, "load_profile", meter.first * DAY, end, meter.dials
            )
            for obis, unit in UNITS.items()
        ],
    )  # fmt: skip
    return device.id


STATUS = (
    (Rule.POWER_FAILURE, 0.002),
    (Rule.METER_STATUS, 0.004),
    (Rule.STATUS_UNKNOWN, 0.006),
    (Rule.CLOCK_SET, 0.007),
)
"""What meters say of slots, and how often, added up."""


def readings(
    meter: Meter, obis: Obis, counted: npt.NDArray[np.int64], register: Obis | None = None
) -> list[RegisterValue]:
    """Read a register each midnight, but for some days; every third time wrongly. ``counted``: by slot."""
    total = np.concatenate([[0], np.cumsum(counted)]) + 10**6 - 1_000
    total[:: 3 * DAY // meter.period] += 300
    if meter.dials:
        total %= 10**meter.dials
    values = [
        RegisterValue(
            register or register_of(obis), int(total[slot]), UNITS[obis], meter.first * DAY + slot * meter.period
        )
        for slot in range(0, len(total), DAY // meter.period)
    ]
    return values[:9] + values[13:]


def by_tariff(meter: Meter, counted: npt.NDArray[np.int64]) -> list[RegisterValue]:
    """Read the registers of each tariff."""
    slots = Series.empty(meter.first * DAY, meter.period, WH, len(counted))
    numbers = registers_of_slots(slots, ZoneInfo(meter.zone), meter.tariffs, SHIPPED)
    return [
        value
        for number in (1, 2)
        for value in readings(meter, IMPORT, counted * (numbers == number), tariff_register(IMPORT, number))
    ]


def record(store: Store, meter: Meter, device: int) -> None:
    random = np.random.default_rng(meter.number)
    first, n = meter.first * DAY, (min(END, meter.last or END) - meter.first) * DAY // meter.period
    whole = gone(random, n, meter.period)
    if any(meter.silent):
        begin, end = ((day - meter.first) * DAY // meter.period for day in meter.silent)
        whole[begin:end] = True
    for obis, unit in UNITS.items():
        found, missing = counts(random, obis, n, meter.period), whole | gone(random, n, meter.period)
        said = tuple(None if is_gone else int(value) for value, is_gone in zip(found, missing, strict=True))
        rules = tuple(next((rule for rule, most in STATUS if one < most), Rule(0)) for one in random.random(n))
        store.record(device, [IntervalBlock(obis, unit, first, meter.period, said, rules)], NOW)
        store.mark_missing(device, obis, first, first + n * meter.period, Reason.NO_ROW, None)
        if meter.has_registers and unit.unit in {Unit.WATT_HOUR, Unit.VAR_HOUR}:
            store.record(device, readings(meter, obis, found), NOW)
            if meter.tariffs and obis == IMPORT:
                store.record(device, by_tariff(meter, found), NOW)
    off = first + int(random.integers(0, n)) * meter.period
    store.mark_missing(device, IMPORT, off, off + 7_200, Reason.POWER_OFF, None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "store.db"
    with Store.open(path, lambda: NOW) as store, store.transaction():
        for meter in METERS:
            record(store, meter, install(store, meter))
    return path


@pytest.fixture
def stores(recorded: Path, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    paths = [Path(shutil.copy(recorded, tmp_path / name)) for name in ("one.db", "together.db")]
    with Store.open(paths[0], lambda: NOW) as one, Store.open(paths[1], lambda: NOW) as together:
        yield one, together


def strict_rules() -> RuleSet:
    """Rules of one's own: whatever fails is rejected, gaps of more than 6 h are left, and a profile fills what like days do not."""
    everything = reduce(or_, Rule)
    profile = ClassProfile("own", ((tuple(range(100_000, 124_000, 1_000)),) * 3,) * 12, 0)
    return replace(
        load_rules("residential"), digest="strict", failing=everything, longest_gap=6 * 3_600, weeks=1, profile=profile
    )


def one_by_one(store: Store, rules: RuleSet) -> set[tuple[UsagePoint, Obis]]:
    """Validate each channel by itself; gives those that could not be."""
    failed = set()
    with store.transaction():
        for point in store.usage_points():
            for obis in channels(store, point):
                try:
                    run(store, point, obis, FIRST, LAST, rules, NOW, calendars=SHIPPED)
                except Exception:  # noqa: BLE001  which ones fail is compared
                    failed.add((point, obis))
    return failed


def together(store: Store, rules: RuleSet) -> FleetSummary:
    with store.transaction():
        wanted = [(point, channels(store, point)) for point in store.usage_points()]
        return run_fleet(store, wanted, FIRST, LAST, rules, NOW, SHIPPED)


def content(store: Store) -> list[object]:
    """All that validation writes, but for the order in which it was."""
    connection = apsw.Connection(store.path, flags=apsw.SQLITE_OPEN_READONLY)
    return [
        list(connection.execute(query))
        for query in (
            "SELECT k, block FROM validated ORDER BY k",
            "SELECT usage_point_id, day, obis, version, run_id, block FROM validated_version ORDER BY 1, 2, 3, 4",
            "SELECT * FROM vee_run ORDER BY id",
        )
    ]


def said(store: Store) -> tuple[set[Reason], Rule]:
    """What validated days say: reasons, and rules that failed."""
    reasons, rules = set[Reason](), 0
    for rows in store.block_rows(Layer.VALIDATED, [point.id for point in store.usage_points()], FIRST, LAST):
        reasons.update(map(Reason, np.unique(rows.reason).tolist()))
        rules |= int(np.bitwise_or.reduce(rows.rules, axis=None))
    return reasons, Rule(rules)


def logged(store: Store) -> set[tuple[object, ...]]:
    return {(change.layer, change.entity_id, change.obis, change.day, change.version) for change in store.changes(0)}


def test_a_fleet_comes_out_as_each_channel_by_itself_under_every_rule_set_and_when_values_come_late(
    stores: tuple[Store, Store],
) -> None:
    one, both = stores
    reasons, failed_rules, rows_alone = set[Reason](), Rule(0), 0
    for rules in (*map(load_rules, RULE_SETS), strict_rules()):
        failed = one_by_one(one, rules)
        summary = together(both, rules)

        assert content(both) == content(one), rules.title
        assert logged(both) == logged(one)
        assert set(summary.failed) == failed != set()
        assert summary.written > 0
        rows_alone += summary.rows_alone
        reasons_now, failed_now = said(both)
        reasons, failed_rules = reasons | reasons_now, failed_rules | failed_now
        assert 0 < summary.alone < summary.channels / 4
    assert {version for *_, version in logged(both)} >= {1, 2, 3}
    assert rows_alone > 0
    assert reasons >= {Reason.LINEAR, Reason.CHECK_METER, Reason.LIKE_DAY, Reason.PREVIOUS_YEAR, Reason.CLASS_PROFILE}
    assert Rule.MAIN_CHECK | Rule.TARIFF_SUM | Rule.SUM_CHECK | reduce(or_, dict(STATUS)) in failed_rules
    for store in stores:
        with store.transaction():
            late = IntervalBlock(IMPORT, WH, SUNDAY * DAY, 900, (5,) * 20)
            store.record(store.end_device("SIM:4").id, [late], NOW)
    one_by_one(one, rules)
    summary = together(both, rules)
    assert content(both) == content(one)
    assert 0 < summary.written < summary.unchanged
    assert together(both, rules).written == 0


def test_what_a_meter_beside_or_tariff_registers_judge_goes_one_by_one_and_dials_and_unread_tariffs_do_not(
    stores: tuple[Store, Store],
) -> None:
    (store, _), rules = stores, load_rules("residential")
    places = {
        point.name: place_of(store, point, channels(store, point), FIRST, LAST, rules, SHIPPED)
        for point in store.usage_points()
    }

    shown = store.registers(store.end_device("SIM:17").id, register_of(IMPORT), 0, NOW)
    rolled = places["UP17"]

    assert {name for name, place in places.items() if place is None} == {"UP11", "UP15", "UP16"}
    assert rolled is not None
    assert min(span.delta for span in rolled.spans[IMPORT]) >= 0
    assert any(after.count < before.count for before, after in pairwise(shown))


def test_days_that_retention_has_dropped_stay_as_they_are_and_those_behind_come_out_the_same(
    stores: tuple[Store, Store],
) -> None:
    one, both = stores
    floor = FIRST + 4
    together(one, load_rules("residential"))
    together(both, load_rules("residential"))
    for store in stores:
        with store.transaction():
            assert store.raise_floors(Plan(store.last_seq(), {Kept.RAW: Floor(floor)}))
            while (doomed := store.doomed(Kept.RAW, "none", 1_000)).keys:
                store.drop(doomed)
        assert store.raw_series(store.end_device("SIM:4").id, IMPORT, FIRST * DAY, NOW).reason[0] == Reason.DROPPED
    before, seq = content(both)[0], both.last_seq()

    failed = one_by_one(one, load_rules("prosumer"))
    summary = together(both, load_rules("prosumer"))

    assert content(both) == content(one)
    assert set(summary.failed) == failed
    assert before != content(both)[0]
    assert min(change.day for change in both.changes(seq)) == floor


def test_a_long_time_is_cut_into_chunks_that_come_out_the_same(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = load_rules("prosumer")
    one, both = stores
    together(one, rules)
    monkeypatch.setattr("headend.vee.fleet.CHUNK_DAYS", 2)
    monkeypatch.setattr("headend.vee.fleet.SLOTS_AT_ONCE", 1)

    together(both, rules)

    assert content(both) == content(one)


VALUES = st.sampled_from([-5, 0, 0, 0, 1, 1, 1, 100, 30_000, 2**31 - 1])
STATES = st.sampled_from([*[State.MEASURED] * 8, State.MISSING, State.MISSING, State.QUESTIONABLE, State.EXPECTED])
MASKS = st.sampled_from([*[0] * 6, Rule.POWER_FAILURE, Rule.METER_STATUS, Rule.TEST_MODE])
RUN = st.tuples(st.integers(1, 30), VALUES, STATES, MASKS)
WINDOW, PERIOD = 9, 3_600
"""Days of a row, five of context on either side of its middle one for the longest run of the rule sets used. [d, s]"""


@st.composite
def slots(draw: st.DrawFn) -> Series:
    """A row of hours, made of runs."""
    series = Series.empty(0, PERIOD, WH, WINDOW * 24, State.MEASURED)
    at = 0
    for length, value, state, mask in draw(st.lists(RUN, max_size=40)):
        cut = slice(at, at + length)
        series.values[cut], series.state[cut], series.rules[cut] = value, state, mask
        at += length
    series.values[~series.has_value] = 0
    series.reason[series.state == State.MISSING] = Reason.NO_ROW
    return series


def judged(series: Series, other: Series, rules: RuleSet, edges: npt.NDArray[np.int64]) -> Series:
    limits = rules.for_channel(WH, PERIOD)
    work = Work(
        series, np.zeros(0, np.int64), UTC, limits, rules, Beside(IMPORT, {EXPORT: other, REACTIVE: other}), edges=edges
    )
    mark(work, judge_values=True)
    fill_short(work)
    return series


@pytest.mark.parametrize("name", ["residential", "prosumer", "transformer-check"])
@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(slots(), slots()), min_size=1, max_size=4), day=st.sampled_from([SUNDAY, AUTUMN]))
def test_rows_laid_end_to_end_come_out_as_each_by_itself(
    name: str, rows: list[tuple[Series, Series]], day: int
) -> None:
    rules, start = load_rules(name), (day - 4) * DAY
    days = whole_days(utc_offsets(ZoneInfo("Europe/Berlin"), start, PERIOD, WINDOW * 24), start, PERIOD)
    flat, beside = (Rows.empty(start, PERIOD, WH, len(rows), WINDOW * 24) for _ in range(2))
    for at, pair in enumerate(rows):
        for target, source in zip((flat.row(at), beside.row(at)), pair, strict=True):
            for mine, theirs in zip(target.arrays, source.arrays, strict=True):
                mine[:] = theirs

    judged(flat.flat, beside.flat, rules, flat.edges(days))

    middle = slice(4 * 24, 5 * 24)
    for at, (series, other) in enumerate(rows):
        alone = judged(series, other, rules, days)
        for found, expected in zip(flat.row(at).arrays, alone.arrays, strict=True):
            assert found[middle].tolist() == expected[middle].tolist()
