"""The shipped class profiles are what the script makes of the published tables."""

from fractions import Fraction
from pathlib import Path

import pytest

from benchmarks.class_profiles import KINDS, factor, hours, make, monthly_factors
from headend.vee.rules import load_rules


def test_an_hour_is_four_quarters_in_watts_and_the_figures_of_h25_come_out_as_shipped() -> None:
    # H25, January, workday, 00:00 to 01:00. [kWh a quarter, of 1,000,000 kWh a year]
    quarters = [Fraction(text) for text in ("20.126", "18.915", "17.959", "17.202")] + [Fraction(0)] * 92
    rules = load_rules("residential")

    first = hours(quarters, monthly_factors()[0])[0]

    assert rules.profile is not None
    assert rules.profile.months[0][0][0] == (2 * first * 1000 * 3_500 + 100_000) // 200_000


def test_the_factor_of_the_day_leaves_a_year_as_it_is_and_is_largest_in_winter() -> None:
    assert factor(1) == Fraction("1.242030119608")
    assert sum(factor(day) for day in range(1, 366)) / 365 == pytest.approx(1, rel=0.01)
    months = monthly_factors()
    assert months[0] == max(months)
    assert months.index(min(months)) in {6, 7}


@pytest.mark.parametrize("is_dynamic", [False, True])
def test_the_columns_of_a_table_are_found_by_their_kind_of_day(is_dynamic: bool, tmp_path: Path) -> None:
    kinds = ["SA", "FT", "WT"]
    worth = {"SA": 25, "FT": 50, "WT": 100}
    row = ",".join(str(worth[kind]) for _ in range(12) for kind in kinds)
    table = [",", f"[kWh],{','.join(kinds * 12)}", *[f"00:00,{row}"] * 96]
    (tmp_path / "x25.csv").write_text("\n".join(table))

    lines = make(tmp_path, "x25", "X25", is_dynamic=is_dynamic).splitlines()

    times = monthly_factors()[0] if is_dynamic else Fraction(1)
    for key, kind in KINDS.items():
        watts = int(400 * worth[kind] * times + Fraction(1, 2))
        assert next(line for line in lines if line.startswith(f"{key} = ")) == f"{key} = {[watts] * 24}"
