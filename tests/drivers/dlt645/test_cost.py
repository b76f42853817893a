"""What a visit to a DL/T 645 meter costs, counted by hand from the standard's frames."""

from dataclasses import replace

import pytest

from drivers.contract import Endpoint
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.dlt645.cost import visit_cost
from drivers.obis import CATALOGUE
from headend.profiles import load_profiles

PROFILES = load_profiles()
CHECKED, UNCHECKED = Medium(2400, 11, has_parity=True), Medium(2400, 11)
ENERGY = CATALOGUE["active_energy_import"].obis
TARIFF = CATALOGUE["active_energy_import_tariff_1"].obis
PAUSE = 0.03  # turnaround of dlt645-2007-base
ADDRESS = Cost(4 + 12 + 4, 4 + 12 + 4 + 6, 1, PAUSE)
"""FE four times, frame around the data, identifier; and the address of six octets behind it in the answer."""


def endpoint(profile: str = "sim-dlt645") -> Endpoint:
    return Endpoint("SIM:000000000001", "000000000001", PROFILES[profile])


def cost(ask: Ask, medium: Medium = CHECKED, profile: str = "sim-dlt645") -> Cost:
    return visit_cost(endpoint(profile), ask, medium, 0.1)


def test_who_the_meter_is_costs_its_address_and_the_pause_behind_it() -> None:
    assert cost(Ask()) == ADDRESS + Cost(silence=PAUSE)


def test_energy_costs_four_octets_and_twice_as_much_where_nobody_checks_parity() -> None:
    energy = Cost(20, 24, 1, PAUSE)

    assert cost(Ask((ENERGY,))) == cost(Ask()) + energy
    assert cost(Ask((ENERGY,)), UNCHECKED) == cost(Ask()) + energy.times(2)


def test_two_items_of_a_block_come_with_the_whole_block() -> None:
    assert cost(Ask((ENERGY, TARIFF))) == cost(Ask()) + Cost(20, 20 + 9 * 4, 1, PAUSE)  # total and eight tariffs


def test_a_clock_is_its_date_its_time_and_its_date_again() -> None:
    found = cost(Ask(clock=True))

    assert (found.turns, found.received) == (4, ADDRESS.received + 3 * 20 + 4 + 3 + 4)


def test_load_records_come_as_many_at_once_as_fit_a_frame() -> None:
    day = 86_400
    found = cost(Ask(window=(day, 2 * day)))

    # 49 records of 32 octets, six to a frame: eight frames of six, and one of one. NN and the time stand in each question.
    # In front of them the last power failure (two instants of six octets) and the last setting of the clock (and who, four).
    logs = Cost(2 * 20, 2 * 20 + 12 + 16, 2)
    assert replace(found, silence=0) == replace(cost(Ask()), silence=0) + logs + Cost(9 * 26, 9 * 20 + 49 * 32, 9)


def test_a_model_without_load_records_is_not_computed() -> None:
    with pytest.raises(NotComputed, match="no load records"):
        cost(Ask(window=(0, 86_400)), profile="sim-dlt645-1997")
