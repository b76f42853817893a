"""Make ``config/classes/*.toml`` from the standard load profiles of BDEW (2025), as the package demandlib carries them.

::

    pip download --no-deps demandlib==0.2.2 && unzip demandlib-0.2.2-py3-none-any.whl demandlib/bdew/bdew_data/*
    python benchmarks/class_profiles.py demandlib/bdew/bdew_data config/classes

A profile is a table of 96 quarter-hours by month and kind of day (SA, FT: Sunday and holiday, WT), in kWh of a customer of
1,000,000 kWh a year. Those of homes are to be multiplied by a factor of the day of the year (t = 1 to 365)::

    -3.92e-10 t^4 + 3.2e-7 t^3 - 7.02e-5 t^2 + 2.1e-3 t + 1.24

Here it is the factor's mean over each month, and four quarters make an hour's mean power, in whole W of a customer of
100,000 kWh a year.
"""

import csv
import sys
from calendar import monthrange
from fractions import Fraction
from pathlib import Path

YEAR = 2025  # of the profiles; no leap year
YEARLY = 100_000
TABLE_YEARLY = 1_000_000
CLASSES = {
    "household": ("h25", "H25, households", True),
    "household-solar": ("p25", "P25, households with photovoltaics: what they draw from the grid", True),
    "business": ("g25", "G25, trade and services", False),
}
KINDS = {"workday": "WT", "saturday": "SA", "sunday": "FT"}


def factor(day: int) -> Fraction:
    """Give the factor of a day of the year, from 1."""
    terms = (("1.24", 0), ("0.0021", 1), ("-0.0000702", 2), ("3.2e-7", 3), ("-3.92e-10", 4))
    return sum((Fraction(text) * day**power for text, power in terms), Fraction(0))


def monthly_factors() -> list[Fraction]:
    """Give the factor's mean over each month."""
    found, first = [], 1
    for month in range(1, 13):
        days = monthrange(YEAR, month)[1]
        found.append(sum(map(factor, range(first, first + days)), Fraction(0)) / days)
        first += days
    return found


def hours(quarters: list[Fraction], times: Fraction) -> list[int]:
    """Give mean power by hour, rounded half up. [W]"""
    # kWh an hour is kW; of a customer of 1,000,000 kWh.
    kilowatts = [sum(quarters[at : at + 4], Fraction(0)) for at in range(0, 96, 4)]
    return [int(1000 * one * times * YEARLY / TABLE_YEARLY + Fraction(1, 2)) for one in kilowatts]


def make(folder: Path, stem: str, title: str, *, is_dynamic: bool) -> str:
    """Write one class as TOML."""
    rows = list(csv.reader((folder / f"{stem}.csv").read_text(encoding="utf-8").splitlines()))
    kinds = rows[1][1:]
    factors = monthly_factors() if is_dynamic else [Fraction(1)] * 12
    made = "; times the mean over the month of its factor of the day" if is_dynamic else ""
    source = f"BDEW standard load profile {title}, 2025, as in demandlib 0.2.2 (bdew_data/{stem}.csv){made}; hours of four quarters"
    lines = [
        f"## How a class of customers uses energy: {title}. Mean power by local hour, in W of a customer of {YEARLY:_} kWh a year.",
        "## Made by benchmarks/class_profiles.py; no hand changes it.",
        f'source = "{source}"',
        f"yearly_kwh = {YEARLY}",
    ]
    for month in range(12):
        lines += ["", "[[months]]"]
        for key, kind in KINDS.items():
            column = 1 + 3 * month + kinds[3 * month : 3 * month + 3].index(kind)
            quarters = [Fraction(row[column]) for row in rows[2:98]]
            lines.append(f"{key} = {hours(quarters, factors[month])}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all classes."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    for name, (stem, title, is_dynamic) in CLASSES.items():
        (target / f"{name}.toml").write_text(make(folder, stem, title, is_dynamic=is_dynamic), encoding="utf-8")


if __name__ == "__main__":
    main()
