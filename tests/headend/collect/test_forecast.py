"""Forecasts of whole links: what they add up to, what they compare with, and what they say."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cost import Cost, Medium
from drivers.obis import Obis, register_of
from drivers.profile import MeterProfile, ModbusPoint
from headend.collect.advice import BAUDS, PERIODS, advise, sentence
from headend.collect.demand import Assumptions, Due, tick_before
from headend.collect.forecast import COSTS, Forecaster, LinkForecast, Night, Verdict, reference_day
from headend.collect.job import Job, JobKind, Priority
from headend.collect.schedule import Meter
from headend.collect.waiting import play
from headend.profiles import load_profiles
from headend.registry.model import EndDevice
from tests.headend.collect.builders import DAY, HOUR, MIDNIGHT, SETTINGS, WH, channel, expectation

PROFILES = load_profiles()
SHIPPED = ("sim-modbus-rtu", "sim-dlms-hdlc", "sim-dlt645", "sim-dlt645-1997", "sim-iec62056")
LINE = Medium(9600, 11)
ROUNDING = 1 + 1e-9
"""The same load comes out of the same times added in another order."""
FAST = 0.02


def meters(profile: MeterProfile, number: int, start: int = MIDNIGHT) -> list[Meter]:
    return [
        Meter(
            EndDevice(at, f"SIM:{at:012d}", profile.name, 1, f"1/{at + 16}" if profile.dlms else str(at)),
            profile,
            tuple(expectation(item, start, number=at) for item in profile.channels),
        )
        for at in range(1, number + 1)
    ]


def forecaster(latency: float = FAST, profile: str = "", **changes: object) -> Forecaster:
    latencies = dict.fromkeys((*SHIPPED, "fat", profile), latency)
    return Forecaster(replace(Assumptions(SETTINGS, COSTS, latencies), **changes), MIDNIGHT)  # type: ignore[arg-type]


def fat(channels: int = 16, period: int = 900, tolerance: int = 1_300) -> MeterProfile:
    """A Modbus model with many polled registers, each too far from the others to be read with them."""
    shipped = PROFILES["sim-modbus-rtu"]
    assert shipped.modbus is not None
    codes = [Obis(1, 0, 1 + number, 29, 0) for number in range(channels)]
    points = tuple(
        ModbusPoint(register_of(code), 200 * number, "uint32", WH) for number, code in enumerate(codes, start=1)
    )
    return replace(
        shipped,
        name="fat",
        channels=tuple(channel("register", code, period, boundary_tolerance=tolerance) for code in codes),
        registers=(),
        modbus=replace(shipped.modbus, points=points),
    )


fleets = st.sampled_from(SHIPPED).map(lambda name: PROFILES[name])
FEW = settings(max_examples=15)


@FEW
@given(fleets, st.integers(1, 6), st.integers(1, 6), st.sampled_from(BAUDS))
def test_more_meters_never_cost_less(profile: MeterProfile, some: int, more: int, baud: int) -> None:
    medium = Medium(baud, 11)

    few, many = (forecaster().link("", medium, meters(profile, number)) for number in (some, some + more))

    assert many.load > few.load
    assert many.octets > few.octets
    assert (many.worst_boundary or 0) >= (few.worst_boundary or 0)


@FEW
@given(
    st.one_of(fleets, st.integers(1, 20).map(fat)),
    st.tuples(st.sampled_from(BAUDS), st.sampled_from(BAUDS)).map(sorted),
    st.sampled_from((0.0, 0.02, 1.0)),
)
def test_a_higher_baud_never_costs_more(profile: MeterProfile, bauds: list[int], latency: float) -> None:
    slow, fast = (forecaster(latency).link("", Medium(baud, 11), meters(profile, 2)) for baud in bauds)

    assert fast.load <= slow.load * ROUNDING


@FEW
@given(fleets, st.tuples(st.sampled_from(PERIODS[3:]), st.sampled_from(PERIODS[3:])).map(sorted))
def test_a_longer_period_never_costs_more(profile: MeterProfile, periods: list[int]) -> None:
    short, long = (forecaster(period=period).link("", LINE, meters(profile, 2)) for period in periods)

    assert long.load <= short.load * ROUNDING


@FEW
@given(fleets, st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)).map(sorted))
def test_more_failures_never_cost_less(profile: MeterProfile, shares: list[float]) -> None:
    few, many = (forecaster(failures=share).link("", LINE, meters(profile, 2)) for share in shares)

    assert few.load <= many.load * ROUNDING


def test_a_plan_that_is_too_big_says_so_and_what_would_fit() -> None:
    fleet = meters(fat(), 57)
    reckoned = forecaster(latency=1.013)

    found = reckoned.link("serial:///dev/ttyS1", LINE, fleet)

    assert found.verdict is Verdict.DOES_NOT_FIT
    assert sentence(found) == "this plan needs 112 % of a 9600 baud line"
    assert advise(reckoned, found, fleet) == ("drop to 30 min (56 %)", "split the bus into 2 (57 % each)")


def test_a_line_whose_octets_take_the_time_is_helped_by_a_higher_baud() -> None:
    fleet = meters(fat(100, 300, 500), 34)
    reckoned, line = forecaster(latency=0.005), Medium(2400, 11)

    found = reckoned.link("serial:///dev/ttyS1", line, fleet)

    assert sentence(found) == "this plan needs 114 % of a 2400 baud line"
    assert advise(reckoned, found, fleet) == (
        "drop to 10 min (57 %)", "raise the baud to 4800 (60 %)", "split the bus into 2 (57 % each)",
    )  # fmt: skip


def test_a_last_meter_polled_beyond_its_tolerance_does_not_fit_however_little_the_load() -> None:
    fleet = meters(PROFILES["sim-modbus-rtu"], 25)
    reckoned = forecaster(latency=1.0)

    found = reckoned.link("", LINE, fleet)

    assert found.load < 0.05
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert sentence(found).startswith(
        "this plan needs 3 % of a 9600 baud line, but the last meter is polled 54 s after its boundary, and 45 s are tolerated"
    )
    assert found.late == 48 * 4  # of 25 meters, those that come after 45 s
    assert advise(reckoned, found, fleet) == (
        "tolerate 54 s after a boundary (boundary_tolerance)", "split the bus into 2 (2 % each)",
    )  # fmt: skip


def test_load_profiles_that_do_not_fit_may_be_read_less_often() -> None:
    fleet = meters(PROFILES["sim-dlms-hdlc"], 32)
    reckoned = forecaster(latency=14.0)

    found = reckoned.link("", LINE, fleet)

    assert found.load > 1
    assert any(way.startswith("read load profiles every 2 h") for way in advise(reckoned, found, fleet))


def test_meters_to_come_are_planned_as_if_they_were_there() -> None:
    profile = PROFILES["sim-modbus-rtu"]

    found = forecaster().link("", LINE, meters(profile, 2, start=MIDNIGHT + 100 * DAY))

    assert found == forecaster().link("", LINE, meters(profile, 2))
    assert found.load > 0


def test_a_protocol_without_a_count_is_named_and_has_no_verdict() -> None:
    profile = PROFILES["sim-modbus-rtu"]

    found = forecaster(costs={}).link("", LINE, meters(profile, 2))

    assert found.verdict is Verdict.NOT_COMPUTED
    assert found.uncounted == {"protocol modbus": 2}


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"readout": 0}, "does not say how long its readout is"), ({"opening": "unasked"}, "send unasked")],
)
def test_an_iec_62056_21_meter_that_cannot_be_counted_is_named(changes: dict[str, object], why: str) -> None:
    profile = PROFILES["sim-iec62056"]
    assert profile.iec62056 is not None
    profile = replace(profile, iec62056=replace(profile.iec62056, **changes))  # type: ignore[arg-type]

    found = forecaster().link("", LINE, meters(profile, 2))

    assert found.verdict is Verdict.NOT_COMPUTED
    assert [(why in text, count) for text, count in found.uncounted.items()] == [(True, 2)]


def test_meters_that_push_are_not_asked_anything() -> None:
    found = forecaster().link("", Medium(), meters(PROFILES["sim-concentrator"], 3))

    assert (found.verdict, found.load, found.pushing) == (Verdict.SPEAKS_FIRST, 0, 3)


def test_back_fill_takes_the_nights_that_its_jobs_take() -> None:
    fleet = meters(PROFILES["sim-dlms-hdlc"], 32)
    night = Night(22 * HOUR, 6 * HOUR)

    found = forecaster(latency=5.0).link("", LINE, fleet, days=40, night=night).backfill

    assert found is not None
    assert (found.days, found.meters, night.length) == (40, 32, 8 * HOUR)
    assert found.nights == -int(-found.seconds // found.free)
    assert 0 < found.free < night.length
    assert found.nights == 4


def test_back_fill_of_polled_registers_is_nothing() -> None:
    assert forecaster().link("", LINE, meters(PROFILES["sim-modbus-rtu"], 2), days=40).backfill is None


def due(device: int, at: int, seconds: float, kind: JobKind = JobKind.REGISTERS, expires_at: int | None = None) -> Due:
    priority = Priority.BACKFILL if kind is JobKind.LOAD_PROFILE else Priority.SCHEDULED
    end = EndDevice(device, f"TST:{device}", "m", 1, str(device))
    return Due(at, Job(end, kind, priority, at, at, expires_at=expires_at), Cost(), seconds, 0.0, device)


def test_a_job_like_one_that_is_still_on_its_way_is_missed() -> None:
    outcome = play([due(1, 0, 50), due(2, 0, 50), due(1, 60, 50), due(2, 60, 50)], 1_000)

    assert [one.began for one in outcome.played] == [0, 50, 100]
    assert [one.device for one in outcome.missed] == [2]


def test_a_poll_whose_time_is_up_is_not_made() -> None:
    outcome = play([due(1, 0, 100), due(2, 0, 5, expires_at=100)], 1_000)

    assert [one.due.device for one in outcome.played] == [1]
    assert [one.device for one in outcome.missed] == [2]


def test_back_fill_waits_for_what_is_more_urgent() -> None:
    outcome = play([due(1, 0, 10, JobKind.LOAD_PROFILE), due(2, 0, 10), due(3, 5, 10)], 1_000)

    assert [one.due.device for one in outcome.played] == [2, 3, 1]


@pytest.mark.parametrize(
    ("cron", "before"), [("5 * * * *", -55 * 60), ("0 3 * * *", -21 * HOUR), ("0 0 1 * *", -31 * DAY)]
)
def test_the_tick_before_an_instant_is_found_however_seldom_it_comes(cron: str, before: int) -> None:
    assert tick_before(cron, MIDNIGHT) == MIDNIGHT + before


def test_the_day_that_is_reckoned_is_one_on_which_profiles_are_read() -> None:
    monthly = SETTINGS.model_copy(update={"profile_schedule": "0 4 1 * *"})

    assert reference_day(SETTINGS, MIDNIGHT + HOUR) == MIDNIGHT + DAY
    assert reference_day(monthly, MIDNIGHT + HOUR) == MIDNIGHT + 31 * DAY


def test_an_empty_link_needs_nothing() -> None:
    assert forecaster().link("", LINE, []) == LinkForecast("", LINE, 0)
