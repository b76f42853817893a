"""What a visit to a Modbus meter costs, counted by hand from the specifications' frames."""

from dataclasses import replace

import pytest

from drivers.contract import Endpoint
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.modbus.cost import visit_cost, with_learned
from drivers.modbus.learned import Learned, kind_of
from drivers.obis import Obis
from drivers.profile import MeterProfile, ModbusHole, ModbusIdentity, ModbusPoint, ModbusProfile, TimingProfile
from drivers.units import ScalerUnit, Unit

ENERGY = Obis(1, 0, 1, 8, 0)
VOLTAGE = Obis(1, 0, 32, 7, 0)
POINTS = (
    ModbusPoint(ENERGY, 10, "uint32", ScalerUnit(0, Unit.WATT_HOUR)),
    ModbusPoint(VOLTAGE, 14, "uint16", ScalerUnit(-1, Unit.VOLT)),
)
LINE = Medium(9600, 11)
GAP = 3.5 * 11 / 9600
IDENTITY = ModbusIdentity(0, "uint32")


def endpoint(turnaround: float = 0.0, **settings: object) -> Endpoint:
    modbus = replace(ModbusProfile("rtu", POINTS, IDENTITY, parity="gateway"), **settings)  # type: ignore[arg-type]
    timing = TimingProfile(1.0, turnaround, 1)
    return Endpoint("ACM:1", "1", MeterProfile("m", "modbus", "tests", maker="ACM", timing=timing, modbus=modbus))


@pytest.mark.parametrize(
    ("framing", "cost"),
    [
        ("rtu", Cost(8, 9, 1, GAP)),  # unit, five octets, CRC; unit, function, count, two registers, CRC
        ("ascii", Cost(17, 19, 1, 0.0)),  # two characters an octet, colon, CR and LF; an LRC for the CRC
        ("tcp", Cost(12, 13, 1, 0.0)),
    ],
)
def test_who_the_meter_is_costs_one_read(framing: str, cost: Cost) -> None:
    assert visit_cost(endpoint(framing=framing), Ask(), LINE, 0.02) == cost


def test_points_near_each_other_come_in_one_read() -> None:
    cost = visit_cost(endpoint(), Ask((ENERGY, VOLTAGE)), LINE, 0.02)

    assert cost == Cost(2 * 8, 9 + 5 + 2 * 5, 2, 2 * GAP)


def test_energy_is_read_twice_where_nobody_looks_at_parity() -> None:
    cost = visit_cost(endpoint(parity="line"), Ask((ENERGY, VOLTAGE)), LINE, 0.02)

    assert cost == Cost(3 * 8, 9 + 5 + 2 * 5 + 9, 3, 3 * GAP)
    assert visit_cost(endpoint(parity="line"), Ask((ENERGY,)), replace(LINE, has_parity=True), 0.02).turns == 2


def test_a_longer_turnaround_takes_the_place_of_the_silence() -> None:
    assert visit_cost(endpoint(0.05), Ask(), LINE, 0.02).silence == 0.05


def test_what_meters_of_the_model_refused_is_not_read_over() -> None:
    meter = endpoint()
    learned = Learned(1_000, {ModbusHole(12)}, latency=30)

    profile, latency = with_learned(meter.profile, learned.encode(), 1_001)

    assert kind_of(profile)
    assert latency == 0.03
    assert visit_cost(replace(meter, profile=profile), Ask((ENERGY, VOLTAGE)), LINE, 0.02).turns == 3


def test_a_quantity_without_a_register_is_not_computed() -> None:
    with pytest.raises(NotComputed, match=r"1-0:2\.8\.0"):
        visit_cost(endpoint(), Ask((Obis(1, 0, 2, 8, 0),)), LINE, 0.02)


def test_octets_take_no_time_on_a_link_without_a_speed() -> None:
    assert Cost(100, 200, 3, 0.5).seconds(Medium(), 0.1) == pytest.approx(0.8)
    assert Cost(100, 200, 3, 0.5).seconds(Medium(9600, 11), 0.1) == pytest.approx(0.8 + 300 * 11 / 9600)
