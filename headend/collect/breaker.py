"""A breaker per meter and per link: a dead one gets a small fixed share of line time, not none and not all of it. Pure.

::

    closed --(failures in a row reach the limit)--> open --(pause over)--> one attempt --fails--> open again
       ^                                                                       |
       '----------------------------- any success ----------------------------'
"""

from dataclasses import dataclass, replace

from drivers.facts import UtcSeconds
from kernels.quality import Reason

ALERT = frozenset((Reason.SECURITY, Reason.COUNTER))
"""Causes that a repetition makes worse: meters lock up after wrong passwords, and an attacker gains a try."""
ALERT_PAUSE = 86_400
"""Silence after one such failure, unless a person reads the meter or changes its registration. [s]"""


@dataclass(frozen=True, slots=True)
class Breaker:
    """How a meter or a link has been doing. ``failures`` in a row; the last one at ``failed_at`` [s UTC] for ``cause``."""

    failures: int = 0
    failed_at: UtcSeconds = 0
    cause: Reason = Reason.NONE

    def allows(self, now: UtcSeconds, limit: int, pause: int) -> bool:
        """Say whether to use the line: fewer than ``limit`` failures in a row, or the last at least ``pause`` [s] ago."""
        if self.cause in ALERT:
            return now - self.failed_at >= max(pause, ALERT_PAUSE)
        return self.failures < limit or now - self.failed_at >= pause

    def failed(self, cause: Reason, now: UtcSeconds) -> "Breaker":
        """Count one more failed job."""
        return replace(self, failures=self.failures + 1, failed_at=now, cause=cause)

    @property
    def is_failing(self) -> bool:
        """Say whether the last job failed; an outage lasts while this holds."""
        return self.failures > 0
