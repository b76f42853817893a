"""Whether a store's device answers, asked while nothing is written: one that hangs is known before a poll runs into it."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from headend.store.place import Place, server_of
from headend.store.writer import SLOW

PACE = 1.0
"""Between two questions. [wall s]"""


class Pulse:
    """Asks a file's device to flush, over and over, in a thread of its own. A server's device is not ours to ask.

    The file that is synced is the writer's lock, in which nothing changes, so a file system only hands the question on and no byte is
    written (measured on ext4; one in memory has no device to ask). What hangs with writes alone is seen by the age of a commit.
    """

    def __init__(
        self, store: Place, monotonic: Callable[[], float], flush: Callable[[int], None] = os.fdatasync
    ) -> None:
        """``store``: open for writing.  ``monotonic``: clock of how long an answer takes [s]."""
        self._monotonic = monotonic
        self._flush = flush
        self._since: float | None = None
        self._failure = ""
        self._stop = Event()
        self._thread: Thread | None = None
        if server_of(store) is None:
            self._thread = Thread(target=self._ask, args=(Path(f"{store}.lock"),), name="store-pulse", daemon=True)
            self._thread.start()

    def trouble(self) -> str:
        """Say why the device cannot be relied on, empty where it can. Called from any thread."""
        since = self._since
        if since is not None and (lasting := self._monotonic() - since) > SLOW:
            return f"the store's device has not answered for {lasting:.0f} s"
        return self._failure

    def close(self) -> None:
        """Ask no more. Does not wait for a device that does not answer."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(PACE)

    def _ask(self, file: Path) -> None:
        while not self._stop.wait(PACE):
            self._since = self._monotonic()
            try:
                handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    self._flush(handle)
                finally:
                    os.close(handle)
                self._failure = ""
            except OSError as error:
                self._failure = f"{file.parent}: the device failed ({error.strerror})"
            finally:
                self._since = None
