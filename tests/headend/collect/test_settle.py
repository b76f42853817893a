from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from drivers.facts import IntervalBlock, RegisterValue, StatusWord
from drivers.units import ScalerUnit, Unit
from headend.secrets import Secrets
from headend.store.errors import StoreFull
from kernels.quality import Reason, Rule
from tests.headend.collect.builders import HALF_HOUR, HOUR, IMPORT, IMPORT_REGISTER, MIDNIGHT, channel, profile
from tests.headend.collect.world import FakeMeter, FakeSession, Scene

NOON = MIDNIGHT + 12 * HOUR
PROFILE_METER = profile(channel(), registers=(IMPORT_REGISTER,))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, now=NOON + 300)
    yield made
    made.store.close()


def answering(monkeypatch: pytest.MonkeyPatch, *blocks: IntervalBlock) -> None:
    async def read_load_profile(_: FakeSession, __: int, ___: int) -> list[IntervalBlock | RegisterValue]:
        return list(blocks)

    monkeypatch.setattr(FakeSession, "read_load_profile", read_load_profile)


async def test_a_meter_with_a_coarser_scaler_is_rescaled_exactly(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(PROFILE_METER)
    answering(monkeypatch, IntervalBlock(IMPORT, ScalerUnit(1, Unit.WATT_HOUR), MIDNIGHT, HALF_HOUR, (12,) * 24))

    async with scene.engine() as engine:
        await engine.run_due()

    assert scene.causes(MIDNIGHT, NOON) == [120] * 24


@pytest.mark.parametrize(
    "block",
    [
        IntervalBlock(IMPORT, ScalerUnit(-1, Unit.WATT_HOUR), MIDNIGHT, HALF_HOUR, (12,) * 24),
        IntervalBlock(IMPORT, ScalerUnit(0, Unit.VAR_HOUR), MIDNIGHT, HALF_HOUR, (12,) * 24),
        IntervalBlock(IMPORT, ScalerUnit(0, Unit.WATT_HOUR), MIDNIGHT, HOUR, (12,) * 12),
        IntervalBlock(IMPORT, ScalerUnit(0, Unit.WATT_HOUR), MIDNIGHT + 60, HALF_HOUR, (12,) * 24),
    ],
    ids=["a digit would be lost", "another unit", "another period", "another grid"],
)
async def test_a_channel_that_does_not_fit_the_registry_is_set_aside_with_an_event(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, block: IntervalBlock
) -> None:
    scene.add(PROFILE_METER)
    answering(monkeypatch, block)

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert summary.ok == 1
    assert set(scene.causes(MIDNIGHT, NOON)) == {Reason.SET_ASIDE}
    assert [event.kind for event in scene.events()] == ["unfit_channel"]


async def test_rows_outside_the_asked_window_are_left_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(PROFILE_METER)
    wide = IntervalBlock(IMPORT, ScalerUnit(0, Unit.WATT_HOUR), MIDNIGHT - HOUR, HALF_HOUR, tuple(range(30)))
    answering(monkeypatch, wide)

    async with scene.engine() as engine:
        await engine.run_due()

    assert scene.causes(MIDNIGHT, NOON) == list(range(2, 26))


async def test_a_channel_the_meter_leaves_out_has_no_rows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add(PROFILE_METER)
    answering(monkeypatch)

    async with scene.engine() as engine:
        await engine.run_due()

    assert set(scene.causes(MIDNIGHT, NOON)) == {Reason.NO_ROW}


async def test_a_row_that_holds_no_count_is_set_aside_with_an_event_and_costs_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.add(PROFILE_METER)
    counts, rules = (7, None, None, *range(20)), (Rule(0), Rule.RANGE, Rule(0), *[Rule(0)] * 20)
    answering(monkeypatch, IntervalBlock(IMPORT, ScalerUnit(0, Unit.WATT_HOUR), MIDNIGHT, HALF_HOUR, counts, rules))

    async with scene.engine() as engine:
        await engine.run_due()

    assert scene.causes(MIDNIGHT, NOON) == [7, Reason.SET_ASIDE, Reason.NO_ROW, *range(20), Reason.NO_ROW]
    assert [event.kind for event in scene.events()] == ["unreadable_rows"]


async def test_slots_of_which_the_meter_says_why_they_are_missing_are_not_said_to_have_no_row(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.add(PROFILE_METER)
    counts = (7, None, None, None, *[7] * 20)
    rules = (Rule(0), Rule(0), Rule.POWER_FAILURE, Rule.CLOCK_SET, *[Rule(0)] * 20)
    said = StatusWord(MIDNIGHT - HOUR, MIDNIGHT + HOUR, 0x80, "power failure: x")
    answering(
        monkeypatch, IntervalBlock(IMPORT, ScalerUnit(0, Unit.WATT_HOUR), MIDNIGHT, HALF_HOUR, counts, rules, (said,))
    )

    async with scene.engine() as engine:
        await engine.run_due()

    assert scene.causes(MIDNIGHT, MIDNIGHT + 3 * HOUR) == [
        7, Reason.NO_ROW, Reason.POWER_OFF, Reason.CLOCK_MOVED, 7, 7
    ]  # fmt: skip
    assert [(event.kind, event.at) for event in scene.events()] == [("status", MIDNIGHT)]


async def test_a_window_without_power_at_all_is_no_window_without_rows(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.add(PROFILE_METER)
    dark = IntervalBlock(
        IMPORT, ScalerUnit(0, Unit.WATT_HOUR), MIDNIGHT, HALF_HOUR, (None,) * 24, (Rule.POWER_FAILURE,) * 24
    )
    answering(monkeypatch, dark)

    async with scene.engine() as engine:
        await engine.run_due()

    assert scene.causes(MIDNIGHT, NOON) == [Reason.POWER_OFF] * 24


async def test_a_register_stamped_before_1970_is_told_and_not_stored(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_registers(_: FakeSession, __: object) -> list[RegisterValue]:
        return [RegisterValue(IMPORT_REGISTER, 5, ScalerUnit(0, Unit.WATT_HOUR), -1)]

    scene.add(PROFILE_METER)
    monkeypatch.setattr(FakeSession, "read_registers", read_registers)

    async with scene.engine() as engine:
        summary = await engine.run_due()

    assert (summary.ok, summary.new) == (1, 24)
    assert [event.kind for event in scene.events()] == ["register"]


async def test_a_missing_key_is_a_matter_of_security_and_its_reference_is_named(scene: Scene) -> None:
    scene.add(PROFILE_METER)
    with scene.store.transaction():
        device = scene.store.end_device("TST:1")
        scene.store.put_end_device(
            device.name, device.profile, device.link_id, device.address, encryption_key_ref="env:NO_SUCH_KEY"
        )

    async with scene.engine() as engine:
        engine._secrets = Secrets({})
        await engine.run_due()

    assert set(scene.causes(MIDNIGHT, NOON)) == {Reason.SECURITY}
    assert "env:NO_SUCH_KEY" in scene.runs()[0].detail
    assert scene.meters["1"].visits == 0


async def test_a_poll_whose_turn_comes_after_the_next_boundary_is_not_made(scene: Scene) -> None:
    polled = profile(channel("register", upper=10_000, boundary_tolerance=30), protocol="modbus", name="polled")
    slow = scene.add(polled, number=1)
    late = scene.add(polled, number=2)
    slow.fault = lambda _: scene.clock.advance(HALF_HOUR)

    async with scene.engine() as engine:
        await engine.run_due()

    assert late.visits == 0
    assert scene.causes(NOON - HALF_HOUR, NOON, 2) == [Reason.NO_LINE_TIME]


async def test_while_the_store_is_full_meters_are_left_alone_and_nothing_is_lost(scene: Scene) -> None:
    meter = scene.add(PROFILE_METER)

    async with scene.engine() as engine:
        await engine._load_registry()
        writer = engine._writer
        engine._writer = FullWriter()  # type: ignore[assignment]
        with capture_logs() as logs:
            for _ in range(3):
                await engine.run_due()
                scene.clock.advance(HOUR)
            engine._writer = writer
            await engine.run_due()
            scene.clock.advance(HOUR)
            await engine.run_due()

    assert [entry["event"] for entry in logs] == [
        "no room in the store; meters keep their data until there is",
        "there is room in the store again",
    ]
    assert scene.causes(MIDNIGHT, NOON) == [meter.count(slot) for slot in range(MIDNIGHT, NOON, HALF_HOUR)]
    assert meter.visits == 2


class FullWriter:
    async def submit(self, _: object) -> None:
        raise StoreFull("no room")


async def test_correcting_a_registration_gives_a_meter_a_fresh_start(scene: Scene) -> None:
    scene.add(replace(PROFILE_METER), meter=FakeMeter("TST:99"))

    async with scene.engine() as engine:
        for _ in range(4):
            await engine.run_due()
            scene.clock.advance(HOUR)
        scene.meters["7"] = FakeMeter("TST:1")
        with scene.store.transaction():
            device = scene.store.end_device("TST:1")
            scene.store.put_end_device(device.name, device.profile, device.link_id, "7")
        summary = await engine.run_due()

    assert summary.ok == 1
