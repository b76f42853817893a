"""The checks a rule set may switch on beside its core rules: which figures each has and which bit of the mask it sets.

A check is a table of the rule set's file with ``severity``, ``source`` and its figures, all whole numbers. Power stands
for energy: a limit in W is mean power over the interval, so that it holds for any capture period.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isqrt
from types import MappingProxyType

from drivers.table import CheckedTable
from kernels.quality import Rule

LARGEST_LIMIT = 10**12
MILLION = 10**6


class Severity(StrEnum):
    """What a failed rule does to a measured value. In any case the mask names the rule."""

    INFORMATION = "information"
    """Nothing: somebody may want to know."""
    ISSUE = "issue"
    """Nothing yet: somebody has to look."""
    REJECT = "reject"
    """It becomes questionable: no bill before somebody has decided."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One whole number of a check; ``default`` None: it must be given."""

    default: int | None
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Kind:
    """A check as the program knows it. ``says``: what a slot that failed did, to complete "its value ..."."""

    rule: Rule
    says: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Check:
    """A check as a rule set has it."""

    name: str
    rule: Rule
    severity: Severity
    source: str
    figures: Mapping[str, int]

    def __getitem__(self, key: str) -> int:
        """Give one figure."""
        return self.figures[key]


_HOURS = Figure(None, 1, 1_344)
_PERMILLE = Figure(None, 1, MILLION)
_POWER = Figure(0, 0, LARGEST_LIMIT)
_DELAY = Figure(60, 0, 3_600)
_PERIOD = {
    "days": Figure(None, 1, 31),
    "low_permille": Figure(None, 0, 100_000),
    "high_permille": Figure(None, 1, 100_000),
    "least": _POWER,
}

KINDS: Mapping[str, Kind] = MappingProxyType({
    "count": Kind(
        Rule.INCOMPLETE_DAY, "is of a local day with too few values", {"permille": Figure(None, 1, 1_000)}
    ),
    "local_peak": Kind(
        Rule.LOCAL_PEAK, "stands far above both neighbors", {"permille": _PERMILLE, "floor": _POWER}
    ),
    "negative_run": Kind(Rule.NEGATIVE_RUN, "is of a long run of negative values", {"hours": _HOURS}),
    "constant_run": Kind(Rule.CONSTANT_RUN, "is of a long run of one same value", {"hours": _HOURS}),
    "never_zero": Kind(Rule.NEVER_ZERO, "is of a long run that never touches zero", {"hours": _HOURS}),
    "step": Kind(Rule.STEP, "differs too much from the one before", {"permille": _PERMILLE, "floor": _POWER}),
    "high_low": Kind(Rule.HIGH_LOW, "is of a period whose usage is out of proportion to the last period's", _PERIOD),
    "high_low_year": Kind(Rule.HIGH_LOW_YEAR, "is of a period whose usage is out of proportion to last year's", _PERIOD),
    "reactive_absent": Kind(Rule.REACTIVE_ABSENT, "has no reactive energy beside it", {"floor": _POWER}),
    "power_factor": Kind(
        Rule.POWER_FACTOR, "goes with too much reactive energy", {"least_permille": Figure(None, 1, 999), "floor": _POWER}
    ),
    "both_ways": Kind(Rule.BOTH_WAYS, "has import and export at once", {"floor": _POWER}),
    "voltage": Kind(
        Rule.VOLTAGE,
        "is a voltage lost, too low or too high, or a broken phase",
        {
            "lost_permille": Figure(780, 1, 1_000), "recovered_permille": Figure(850, 1, 1_000),
            "low_permille": Figure(780, 1, 1_000), "high_permille": Figure(1_200, 1_000, 2_000),
            "broken_permille": Figure(600, 1, 1_000), "delay": _DELAY,
        },
    ),
    "current": Kind(
        Rule.CURRENT,
        "is a current lost, broken, or too high",
        {
            "over_permille": Figure(1_200, 1_000, 10_000), "idle_permille": Figure(5, 1, 1_000),
            "loaded_permille": Figure(50, 1, 1_000), "present_permille": Figure(700, 1, 1_000), "delay": _DELAY,
        },
    ),
    "power": Kind(
        Rule.POWER,
        "is power beyond the connection, backwards, or of a poor power factor",
        {
            "over_permille": Figure(1_200, 1_000, 10_000), "reverse_permille": Figure(5, 1, 1_000),
            "factor_permille": Figure(300, 0, 1_000), "delay": _DELAY,
        },
    ),
    "imbalance": Kind(
        Rule.IMBALANCE,
        "is of phases that differ too much",
        {
            "voltage_permille": Figure(300, 1, 1_000), "current_permille": Figure(300, 1, 1_000),
            "severe_permille": Figure(900, 1, 1_000), "delay": _DELAY,
        },
    ),
    "neutral": Kind(
        Rule.NEUTRAL,
        "goes with too much current in the neutral",
        {"least_permille": Figure(200, 1, 1_000), "share_permille": Figure(500, 1, 1_000), "delay": _DELAY},
    ),
    "check_meter": Kind(
        Rule.MAIN_CHECK, "differs too much from the check meter's", {"permille": _PERMILLE, "floor": _POWER}
    ),
    "tariff_sum": Kind(
        Rule.TARIFF_SUM,
        "is of a tariff whose intervals do not sum to the difference of its register",
        {"counts": Figure(1, 0, MILLION), "permille": Figure(0, 0, 1_000)},
    ),
    "power_failure": Kind(Rule.POWER_FAILURE, "has a power failure in its interval", {}),
    "clock_set": Kind(Rule.CLOCK_SET, "is of an interval in which the clock was set", {}),
    "test_mode": Kind(Rule.TEST_MODE, "was taken in test mode, which is never usage", {}),
    "overflow": Kind(Rule.OVERFLOW, "comes from a counter that overflowed", {}),
    "meter_status": Kind(Rule.METER_STATUS, "is doubted by the meter itself", {}),
    "status_unknown": Kind(Rule.STATUS_UNKNOWN, "goes with a status of which nobody has said what it means", {}),
    "duplicate": Kind(Rule.CONFLICT, "was sent twice with different values; the first stands", {}),
    "clock_drift": Kind(
        Rule.CLOCK_DRIFT, "was stamped by a clock beyond its tolerance", {"tolerance": Figure(None, 1, 86_400)}
    ),
})  # fmt: skip


def parse_check(name: str, table: CheckedTable) -> Check:
    """Read one check's table; faults are noted in it."""
    kind = KINDS[name]
    severity = Severity(table.choice("severity", tuple(map(str, Severity))))
    figures = {key: table.integer(key, at.default, at.low, at.high) for key, at in kind.figures.items()}
    for low, high in (("low_permille", "high_permille"), ("lost_permille", "recovered_permille")):
        if low in figures and figures[low] > figures.get(high, 0):
            table.fault(low, f"is {figures[low]}, above {high} {figures[high]}")
    return Check(name, kind.rule, severity, table.text("source"), MappingProxyType(figures))


def tangent_ppm(least_permille: int) -> int:
    """Give the tangent, in millionths and rounded down, of the angle whose cosine is a power factor. [10^-6]"""
    return isqrt((1_000**2 - least_permille**2) * MILLION**2 // least_permille**2)
