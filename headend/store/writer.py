"""`GroupCommitWriter`: many tasks hand in changes, one thread commits those that wait together.

Durability costs one fsync per commit, whatever a commit holds. While one commit is under way the next batch gathers, so
the slower the device, the larger the batches; no timer is needed. Readings of several meters that wait together (`Recording`)
are recorded by one call.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from headend.errors import StoreError
from headend.store.errors import StoreFull
from headend.store.recording import Recording, record_together
from headend.store.store import Store

MAX_BATCH = 256
"""Most submissions in one transaction."""
MAX_WAITING = 10_000
"""Most submissions that may wait; beyond, `GroupCommitWriter.submit` refuses: the device cannot keep up."""

SLOW = 2.0
"""A transaction that takes longer says that the device cannot keep up. [s]"""

T = TypeVar("T")
_Submission = tuple[Callable[[Store], Any], "Future[Any]"]
_Answer = tuple["Future[Any]", Any, BaseException | None]


class FromReserve:
    """The writer for commands and audit: takes changes also while the room for readings is used up."""

    def __init__(self, writer: "GroupCommitWriter") -> None:
        self._writer = writer

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Do as `GroupCommitWriter.submit`, also from the reserve."""
        return await self._writer.submit_always(change)


class GroupCommitWriter:
    """Owns a `Store` until closed: nobody else may touch it meanwhile. Reading beside it takes a `StoreReader`."""

    def __init__(
        self,
        store: Store,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        *,
        condition: Callable[[], str] = str,
        monotonic: Callable[[], float] = float,
    ) -> None:
        """``condition``: says why readings cannot be stored, as `condition_of`.  ``monotonic``: clock of how long a commit takes [s]."""
        self._store = store
        self._condition = condition
        self._monotonic = monotonic
        self._since: float | None = None
        self.from_reserve = FromReserve(self)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: queue.SimpleQueue[_Submission | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def trouble(self) -> str:
        """Say why readings are refused now, empty where they are taken. Called from any thread."""
        since = self._since
        if since is not None and (lasting := self._monotonic() - since) > SLOW:
            return f"the store's device has been at one transaction for {lasting:.0f} s"
        return self._condition()

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Run ``change(store)`` within a transaction and give its result once that is durable.

        Changes of one transaction are kept apart: one that raises undoes its own part alone. Raises what ``change``
        raised, `StoreFull` where the device had no room or is in trouble (retry later), `StoreError` after a failure of the
        device (stop). Cancelling the caller drops a change that has not begun.
        """
        if why := self.trouble():
            raise StoreFull(f"nothing but commands and audit is stored: {why}")
        return await self.submit_always(change)

    async def submit_always(self, change: Callable[[Store], T]) -> T:
        """Do as `submit`, also from the reserve."""
        if self._is_closed:
            raise StoreError("the store's writer is closed")
        if self._waiting.qsize() >= self._max_waiting:
            raise StoreFull(f"{self._max_waiting} changes wait for the store's device; it cannot keep up: slow down")
        future: Future[T] = Future()
        self._waiting.put((change, future))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Commit what waits, then stop; closing twice is harmless. The store stays open, and is the caller's again."""
        if not self._is_closed:
            self._is_closed = True
            self._waiting.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        is_last = False
        while not is_last:
            batch: list[_Submission] = []
            item = self._waiting.get()
            while item is not None:
                batch.append(item)
                if len(batch) == self._max_batch:
                    break
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
            is_last = item is None
            self._commit(batch)

    def _commit(self, batch: list[_Submission]) -> None:
        """Run a batch in one transaction; answer nobody before it is durable."""
        live = [submission for submission in batch if submission[1].set_running_or_notify_cancel()]
        if not live:
            return
        self._since = self._monotonic()
        try:
            self._run(live)
        finally:
            self._since = None

    def _run(self, live: list[_Submission]) -> None:
        answers: list[_Answer] = []
        try:
            with self._store.transaction():
                for some in _turns(live):
                    answers += self._together(some) or [self._alone(*submission) for submission in some]
        except BaseException as error:  # noqa: BLE001  whatever it was, everyone waiting must hear of it
            for _, future in live:
                future.set_exception(error)
            return
        for future, result, failure in answers:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)

    def _alone(self, change: Callable[[Store], Any], future: "Future[Any]") -> _Answer:
        try:
            with self._store.transaction():
                return future, change(self._store), None
        except Exception as error:  # noqa: BLE001  it is the submitter's, and goes to him
            self._store.check_transaction(error)
            return future, None, error

    def _together(self, some: list[_Submission]) -> list[_Answer]:
        """Do several recordings side by side; give nothing, with nothing done, where one of them cannot be."""
        group = [change for change, _ in some if isinstance(change, Recording)]
        if len(group) < 2:
            return []
        try:
            with self._store.transaction():
                done = record_together(self._store, group)
        except Exception as error:  # noqa: BLE001  whose it is shows when each is done alone
            self._store.check_transaction(error)
            return []
        return [
            (future, None, found) if isinstance(found, Exception) else (future, found, None)
            for (_, future), found in zip(some, done, strict=True)
        ]


def _turns(batch: list[_Submission]) -> Iterator[list[_Submission]]:
    """Divide a batch, in its order: recordings of different meters that follow each other are one turn, all else is one each."""
    turn: list[_Submission] = []
    meters: set[str] = set()
    for submission in batch:
        meter = submission[0].meter if isinstance(submission[0], Recording) else ""
        if turn and (not meter or not meters or meter in meters):
            yield turn
            turn, meters = [], set()
        turn.append(submission)
        if meter:
            meters.add(meter)
    if turn:
        yield turn
