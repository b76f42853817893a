"""`Recording`: a change in whose midst a meter's reading is recorded, so that those that wait together are recorded together."""

from collections.abc import Callable, Generator, Sequence
from typing import Generic, TypeVar

from headend.store.model import MeterReading, Recorded
from headend.store.store import Store

T = TypeVar("T")
Steps = Generator[MeterReading, Recorded, T]
"""A change that yields each reading it wants recorded, and is told what that did."""


class Recording(Generic[T]):
    """A change for `GroupCommitWriter.submit`. It may be begun again from the start: what it does beside the store must not matter."""

    def __init__(self, meter: str, steps: Callable[[Store], Steps[T]]) -> None:
        """``meter``: name of the one whose readings ``steps`` yields."""
        self.meter = meter
        self.steps = steps

    def __call__(self, store: Store) -> T:
        """Do it alone."""
        turn = _Turn(self.steps(store))
        turn.go_on()
        _finish(store, [turn])
        return turn.result


def record_together(store: Store, group: Sequence[Recording[T]]) -> list[T | Exception]:
    """Do recordings of different meters side by side: give the result of each, or what it raised before its first reading.

    Raises what any of them raises later: then nothing of them may be kept, and each is to be done alone.
    """
    begun: list[_Turn[T] | Exception] = []
    for recording in group:
        turn = _Turn(recording.steps(store))
        try:
            with store.transaction():
                turn.go_on()
        except Exception as error:  # noqa: BLE001  it is the submitter's, and goes to him
            store.check_transaction(error)
            begun.append(error)
        else:
            begun.append(turn)
    _finish(store, [turn for turn in begun if isinstance(turn, _Turn)])
    return [turn.result if isinstance(turn, _Turn) else turn for turn in begun]


class _Turn(Generic[T]):
    """Steps under way. ``reading``: to be recorded before they go on; without one they are over, and there is a ``result``."""

    result: T

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self.reading: MeterReading | None = None

    def go_on(self, told: Recorded | None = None) -> None:
        try:
            self.reading = next(self._steps) if told is None else self._steps.send(told)
        except StopIteration as over:
            self.reading, self.result = None, over.value


def _finish(store: Store, turns: Sequence[_Turn[T]]) -> None:
    while waiting := [(turn, turn.reading) for turn in turns if turn.reading is not None]:
        for (turn, _), told in zip(waiting, store.record_all([reading for _, reading in waiting]), strict=True):
            turn.go_on(told)
