"""SunSpec devices made by hand from the published layouts."""

import struct
import tomllib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import RemoteProtocolError
from drivers.modbus.driver import open_session
from drivers.modbus.sunspec import MAX_MODELS, discover, draft
from drivers.obis import CATALOGUE
from drivers.profile import MeterProfile
from drivers.profile_parser import parse_profile
from headend.profiles import load_documents
from tests.drivers.modbus.fixtures import context, endpoint, far_end, profile, rtu_meter


def words(text: str, registers: int) -> list[int]:
    return list(struct.unpack(f">{registers}H", text.encode().ljust(2 * registers, b"\0")))


COMMON = [1, 66, *words("ACME", 16), *words("M-3", 16), *words("", 8), *words("1.2", 8), *words("SN-42", 16), 1, 0x8000]


def integer_meter() -> list[int]:
    """Model 203: 230.1 V on phase 1, no phase 3, 12.34 kWh imported in units of 10 Wh."""
    model = [203, 105, *[0x8000] * 105]
    model[8], model[9], model[15] = 2301, 2299, 0xFFFF
    model[18], model[22] = 0xFF9C, 1
    model[38:40], model[46:48], model[54] = [0, 5], [0, 1234], 1
    return model


def float_meter() -> list[int]:
    """Model 213: 230.5 V on phase 1, 12345 Wh imported, else nothing."""
    model = [213, 124, *[0x7FC0, 0] * 62]
    model[12:14] = struct.unpack(">2H", struct.pack(">f", 230.5))
    model[68:70] = struct.unpack(">2H", struct.pack(">f", 12_345.0))
    return model


def laid_out(*models: list[int], base: int = 40_000) -> dict[int, int]:
    registers = [0x5375, 0x6E53, *(word for model in models for word in model), 0xFFFF, 0]
    return dict(enumerate(registers, base))


def walk(present: dict[int, int]) -> Any:
    script = discover()
    try:
        address, count = next(script)
        for _ in range(10 * MAX_MODELS):
            span = range(address, address + count)
            given_ = [present[at] for at in span] if all(at in present for at in span) else None
            address, count = script.send(given_)
    except StopIteration as end:
        return end.value
    raise AssertionError("the walk does not end")


@pytest.mark.parametrize("base", [40_000, 50_000, 0])
def test_a_device_is_found_at_each_base(base: int) -> None:
    device = walk(laid_out(COMMON, integer_meter(), base=base))

    assert (device.maker, device.model, device.version, device.serial) == ("ACME", "M-3", "1.2", "SN-42")
    assert [(model.number, model.address - base) for model in device.models] == [(1, 2), (203, 70)]


def test_scale_factors_become_scalers_and_what_is_not_implemented_is_left_out() -> None:
    device = walk(laid_out(COMMON, integer_meter()))

    points = {
        name: (point.address - 40_070, point.scaler_unit.scaler)
        for point in device.points
        for name, entry in CATALOGUE.items()
        if entry.obis == point.obis
    }
    assert points == {
        "voltage_l1": (8, -1), "voltage_l2": (9, -1), "active_power_import": (18, 1),
        "active_energy_export": (38, 1), "active_energy_import": (46, 1),
    }  # fmt: skip


def drafted(device: Any) -> MeterProfile:
    documents, _ = load_documents()
    return parse_profile("drafted", {**documents, "drafted": tomllib.loads(draft(device, "rtu"))})


@pytest.mark.parametrize("model", [integer_meter(), float_meter()], ids=["integers", "floats"])
async def test_a_drafted_profile_reads_the_device_it_was_drafted_from(model: list[int]) -> None:
    present = laid_out(COMMON, model)
    voltage, energy = CATALOGUE["voltage_l1"].obis, CATALOGUE["active_energy_import"].obis
    async with far_end(rtu_meter(present)) as stream:
        async with open_session(stream, endpoint(profile()), context()) as session:
            device = await session.discover_sunspec()
        async with open_session(stream, endpoint(drafted(device), parity="gateway"), context()) as session:
            who = await session.read_identity()
            values = await session.read_registers([voltage, energy])

    assert who.name == "ACM:SN-42"
    expected = ["230.1", "1.234E+4"] if model[0] == 203 else ["230.5", "12345"]
    assert [str(value.value) for value in values] == expected


async def test_a_device_that_is_not_sunspec_is_none() -> None:
    async with (
        far_end(rtu_meter({0: 1, 1: 2})) as stream,
        open_session(stream, endpoint(profile()), context()) as session,
    ):
        assert await session.discover_sunspec() is None


def test_a_model_longer_than_the_address_space_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="past the end"):
        walk(laid_out([7, 60_000]))


def test_models_without_end_come_to_one() -> None:
    device = walk(dict(enumerate([0x5375, 0x6E53, *[9, 0] * 10_000], 40_000)))

    assert len(device.models) == MAX_MODELS


@given(st.lists(st.integers(0, 0xFFFF), max_size=400))
def test_any_registers_are_a_device_or_an_error(registers: list[int]) -> None:
    try:
        walk(dict(enumerate([0x5375, 0x6E53, *registers], 40_000)))
    except RemoteProtocolError:
        return


def test_a_maker_drafted_is_three_capital_letters() -> None:
    device = replace(walk(laid_out(COMMON, integer_meter())), maker="3s Swiss")

    assert drafted(device).maker == "SSW"
