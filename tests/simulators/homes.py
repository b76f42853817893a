"""A small household and meter that tests count on by hand."""

from typing import Any

from simulators.household import Household
from simulators.meter import Meter

MONDAY = 1_772_409_600  # 2026-03-02T00:00:00Z
HALF_HOUR = 1800
HOUSEHOLD = Household("h", MONDAY, HALF_HOUR, (100, 0, 360, None, 7, 900))


def meter(**changes: Any) -> Meter:
    return Meter(**{"name": "SIM:7", "serial": 7, "household": HOUSEHOLD, "installed_at": MONDAY, **changes})


class FakeMonotonic:
    """A monotonic clock that stands where the test puts it. [s]"""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds
