"""Changing a meter's keys in two phases, sans-IO: the new ones are proven before the old are dropped. IEC 62056-6-2, class 64.

Whoever runs a change keeps its phase durably, and moves it before he acts: a crash at any point leaves both pairs known. The
transfer is sent once. When its answer does not come, or after a crash, the meter is asked with which keys it opens an
association; it is never sent again. What is sent: `drivers.dlms.procedures.keys`.
"""

from enum import StrEnum
from typing import Final

from drivers.errors import LocalProtocolError


class Phase(StrEnum):
    """How far a change has come. The words are stored."""

    PREPARED = "prepared"
    """The new keys are known, nothing was sent."""
    SENT = "sent"
    """The transfer is on its way, or was: the meter has the old keys or the new ones."""
    PROVEN = "proven"
    """The meter has opened an association with the new keys."""
    DONE = "done"
    """The old keys are dropped."""
    ABANDONED = "abandoned"
    """The meter has the old keys; the new ones are dropped."""


class Step(StrEnum):
    """What moves a change."""

    SEND = "send"
    CANCEL = "cancel"
    NEW_ANSWERS = "new answers"
    OLD_ANSWERS = "old answers"
    NEITHER_ANSWERS = "neither answers"
    DROP_OLD = "drop old"


# Phase x step -> phase. Whatever is not here is an error: above all, nothing leads from SENT to sending again.
TRANSITIONS: Final[dict[tuple[Phase, Step], Phase]] = {
    (Phase.PREPARED, Step.SEND): Phase.SENT,
    (Phase.PREPARED, Step.CANCEL): Phase.ABANDONED,
    (Phase.SENT, Step.NEW_ANSWERS): Phase.PROVEN,
    (Phase.SENT, Step.OLD_ANSWERS): Phase.ABANDONED,
    (Phase.SENT, Step.NEITHER_ANSWERS): Phase.SENT,
    (Phase.PROVEN, Step.DROP_OLD): Phase.DONE,
}
OPEN: Final = frozenset({Phase.PREPARED, Phase.SENT, Phase.PROVEN})
"""Phases that something leads out of."""


def move(phase: Phase, step: Step) -> Phase:
    """Give the phase after a step. Raises `LocalProtocolError` where the step does not fit."""
    try:
        return TRANSITIONS[phase, step]
    except KeyError:
        raise LocalProtocolError(f"a key change cannot {step} while {phase}") from None
