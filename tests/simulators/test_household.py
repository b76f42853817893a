import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.household import Household, bundled, load_csv
from tests.shared import shared_data
from tests.simulators.homes import HALF_HOUR, HOUSEHOLD, MONDAY

SHARED = shared_data()


def test_energy_on_a_boundary_is_the_sum_of_what_lies_before_it() -> None:
    energy = [HOUSEHOLD.energy_until(MONDAY + index * HALF_HOUR) for index in range(8)]

    assert energy == [0, 100, 100, 460, 460, 467, 1367, 1367]


def test_energy_between_boundaries_advances_linearly_and_is_rounded_down() -> None:
    third = MONDAY + 2 * HALF_HOUR

    assert [HOUSEHOLD.energy_until(third + seconds) for seconds in (4, 5, 899, 900, 1799)] == [100, 101, 279, 280, 459]


def test_nothing_is_used_before_the_start() -> None:
    assert HOUSEHOLD.energy_until(MONDAY - 1) == 0


def test_a_half_hour_without_a_row_has_no_value() -> None:
    assert HOUSEHOLD.interval(MONDAY + 3 * HALF_HOUR) is None
    assert HOUSEHOLD.interval(MONDAY - HALF_HOUR) is None
    assert HOUSEHOLD.interval(HOUSEHOLD.end) is None


def test_an_instant_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="not on the grid"):
        HOUSEHOLD.interval(MONDAY + 1)


@given(start=st.integers(0, 10**5), length=st.integers(0, 10**5))
def test_a_repeating_load_uses_what_its_intervals_say_however_often_it_went_round(start: int, length: int) -> None:
    home = Household("h", MONDAY, HALF_HOUR, (5, 0, 1801, 3), repeats=True)
    first, last = (MONDAY + number // HALF_HOUR * HALF_HOUR for number in (start, start + length))

    used = home.energy_until(last) - home.energy_until(first)

    assert used == sum(home.interval(instant) or 0 for instant in range(first, last, HALF_HOUR))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period": 1700}, "does not divide a day"),
        ({"wh": ()}, "at least one interval"),
        ({"wh": (1, -1)}, "below 0"),
    ],
)
def test_a_crooked_household_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Household(**{"name": "h", "start": MONDAY, "period": HALF_HOUR, "wh": (1,), **changes})


def test_the_bundled_households_are_fortnights_of_whole_days_from_a_monday() -> None:
    homes = bundled()

    assert len(homes) == 39
    assert len({home.wh for home in homes}) == 39
    for home in homes:
        assert len(home.wh) == 14 * 48
        assert (home.start // 86_400 + 3) % 7 == 0
        assert home.start % 86_400 == 0
        assert 100_000 < sum(value for value in home.wh if value is not None) < 420_000


@pytest.mark.skipif(SHARED is None, reason="the shared data is not there: see tests/shared.py")
def test_all_ten_households_load_with_the_published_gaps_and_sums() -> None:
    assert SHARED is not None
    folder = SHARED / "sgsc"
    expected = json.loads((folder / "expected.json").read_text())

    homes = load_csv(folder / "sgsc_10households_30min.csv.gz")

    assert sorted(homes) == sorted(expected)
    for name, home in homes.items():
        published = expected[name]
        assert len(home.wh) == published["expected"]
        assert sum(value is None for value in home.wh) == published["missing"]
        assert sum(value == 0 for value in home.wh) == published["zeros"]
        assert home.energy_until(home.end) == round(published["sum"] * 1000)
    assert sum(value is not None for home in homes.values() for value in home.wh) == 293_874


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,2012-02-10 08:10:00,0.1", "off the grid"),
        ("1,yesterday,0.1", "row 3"),
        ("1,2012-02-10 08:30:00,much", "row 3"),
        ("1,2012-02-10 08:30:00,NaN", "row 3"),
        ("1,2012-02-10 08:30:00,0.0001", "not whole Wh"),
        ("1,2012-02-10 08:00:00,0.2", "second row"),
        ("1", "row 3"),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "homes.csv.gz"
    path.write_bytes(gzip.compress(f"id,ts,kwh\n1,2012-02-10 08:00:00,0.1\n{row}\n".encode()))

    with pytest.raises(ValueError, match=message):
        load_csv(path)


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "homes.csv"
    path.write_text("id,when\n")

    with pytest.raises(ValueError, match="lacks the columns kwh, ts"):
        load_csv(path)
