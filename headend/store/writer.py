"""`GroupCommitWriter`: many tasks hand in changes, one thread commits those that wait together.

Durability costs one fsync per commit, whatever a commit holds. While one commit is under way the next batch gathers, so
the slower the device, the larger the batches; no timer is needed.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from headend.errors import StoreError
from headend.store.store import Store

MAX_BATCH = 256
"""Most submissions in one transaction."""
MAX_WAITING = 10_000
"""Most submissions that may wait; beyond, `GroupCommitWriter.submit` refuses: the device cannot keep up."""

T = TypeVar("T")
_Submission = tuple[Callable[[Store], Any], "Future[Any]"]


class GroupCommitWriter:
    """Owns a `Store` until closed: nobody else may touch it meanwhile. Reading beside it takes a `StoreReader`."""

    def __init__(self, store: Store, max_batch: int = MAX_BATCH, max_waiting: int = MAX_WAITING) -> None:
        self._store = store
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: queue.SimpleQueue[_Submission | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, change: Callable[[Store], T]) -> T:
        """Run ``change(store)`` within a transaction and give its result once that is durable.

        Changes of one transaction are kept apart: one that raises undoes its own part alone. Raises what ``change``
        raised, `StoreFull` where the device had no room (retry later), `StoreError` after a failure of the device (stop).
        Cancelling the caller drops a change that has not begun.
        """
        if self._is_closed:
            raise StoreError("the store's writer is closed")
        if self._waiting.qsize() >= self._max_waiting:
            raise StoreError(f"{self._max_waiting} changes wait for the store's device; it cannot keep up: slow down")
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
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self._store.transaction():
                for change, future in live:
                    try:
                        with self._store.transaction():
                            answers.append((future, change(self._store), None))
                    except Exception as error:  # noqa: BLE001  it is the submitter's, and goes to him
                        self._store.check_transaction(error)
                        answers.append((future, None, error))
        except BaseException as error:  # noqa: BLE001  whatever it was, everyone waiting must hear of it
            for _, future in live:
                future.set_exception(error)
            return
        for future, result, failure in answers:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
