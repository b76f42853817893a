"""Meters on a line are found by wildcards, however many answer at once."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645.address import covers, parse_address, shortened
from drivers.dlt645.control import Edition
from drivers.dlt645.search import AddressSearch, Heard, Progress
from drivers.dlt645.services import Identifier
from drivers.dlt645.session import find_addresses
from drivers.errors import LocalProtocolError
from drivers.profile import TimingProfile
from tests.drivers.dlt645.line import bus, context, far_end, meter, meters
from tests.headend.collect import virtual

ADDRESS = st.integers(0, 10**12 - 2).map(lambda number: f"{number:012d}")


def run(addresses: list[str], *, thorough: bool = False) -> AddressSearch:
    search = AddressSearch(thorough=thorough)
    while (query := search.next_query()) is not None:
        there = [address for address in addresses if covers(query, address)]
        if not there:
            search.heard(Heard.SILENCE, seconds=0.5)
        elif len(there) == 1:
            search.heard(Heard.ANSWER, there[0], 0.1)
        else:
            search.heard(Heard.GARBLED, seconds=0.5)
    return search


@given(st.lists(ADDRESS, max_size=6, unique=True))
def test_all_meters_are_found_whatever_their_addresses(addresses: list[str]) -> None:
    search = run(addresses)

    assert sorted(search.found) == sorted(addresses)
    assert search.progress().share == pytest.approx(1)
    assert search.progress().left == 0


def test_forty_meters_with_near_addresses_cost_two_levels_and_not_all_addresses() -> None:
    search = run([f"0000000012{number:02d}" for number in range(40)])

    assert len(search.found) == 40
    assert search.progress().queries == 101


def test_progress_says_what_is_left_and_how_long_it_takes_at_least() -> None:
    search = AddressSearch()
    search.heard(Heard.GARBLED, seconds=0.5)
    search.heard(Heard.SILENCE, seconds=0.5)

    progress = search.progress()

    assert (progress.left, progress.queries) == (99, 2)
    assert progress.remaining == pytest.approx(99 * 0.5)
    assert progress.share == pytest.approx(0.01)


def test_a_search_goes_on_where_it_was_cut() -> None:
    search = AddressSearch()
    search.heard(Heard.GARBLED)

    assert search.unresolved[0] == "00"
    assert AddressSearch("42").next_query() == "AAAAAAAAAA42"


def test_a_meter_hidden_behind_a_stronger_one_is_found_by_a_thorough_search() -> None:
    strong, weak = "000000000101", "000000000202"
    search = AddressSearch(thorough=True)
    while (query := search.next_query()) is not None and search.progress().queries < 20_000:
        there = [address for address in (strong, weak) if covers(query, address)]
        search.heard(Heard.ANSWER if there else Heard.SILENCE, there[0] if there else "")

    assert search.found == [strong, weak]


def test_an_answer_of_a_meter_that_was_not_meant_is_our_mistake() -> None:
    search = AddressSearch("01")

    with pytest.raises(LocalProtocolError):
        search.heard(Heard.ANSWER, "000000000002")


def test_two_meters_with_one_address_end_the_search_all_the_same() -> None:
    search = AddressSearch("000000000001")

    search.heard(Heard.GARBLED)

    assert search.next_query() is None


def test_the_meters_of_a_line_are_found_though_they_answer_at_once() -> None:
    told: list[Progress] = []
    line = bus(meter(1001), meter(1002), meter(51002))

    async def find(start: str, tell: Callable[[Progress], None] = lambda _: None) -> list[str]:
        async with far_end(meters(line)) as stream:
            return await find_addresses(
                stream,
                Edition.E2007,
                Identifier("04000401"),
                TimingProfile(0.001),
                context(),
                AddressSearch(start),
                tell,
            )

    found = virtual.run(lambda: find("10", told.append))
    others = virtual.run(lambda: find("1002"))

    assert found == []
    assert sorted(others) == ["000000001002", "000000051002"]
    assert told[-1].left == 0


@given(st.text(alphabet="0123456789", max_size=12))
def test_a_shortened_address_covers_what_ends_so(digits: str) -> None:
    if len(digits) % 2:
        with pytest.raises(ValueError, match="whole bytes"):
            shortened(digits)
        return
    whole = digits.rjust(12, random.Random(digits).choice("0123456789"))

    assert covers(shortened(digits), whole)
    assert parse_address("12") == "000000000012"
