"""Room that nobody uses, given back to the file system. SQLite's own business, apart from what is stored.

A file made by this program keeps for each page who points at it (``auto_vacuum = INCREMENTAL``), so that pages from the file's
end can be moved into holes a few at a time. One from before cannot; it is rewritten once, by `Freeing.compact`.
"""

from headend.store.database import Database, WritableDatabase

INCREMENTAL = 2
"""SQLite's number for it."""
PAGES_AT_ONCE = 64
"""Pages moved in one turn: half a MiB, so that a commit waits for milliseconds."""


class FreeReads(Database):
    """How much there is to be given back."""

    def free_pages(self) -> int:
        """Give how many pages nobody uses."""
        return int(self._rows("PRAGMA freelist_count")[0][0])

    def pages(self) -> int:
        """Give how many pages the file has."""
        return int(self._rows("PRAGMA page_count")[0][0])

    def free_bytes(self) -> int:
        """Give what pages nobody uses take within the file; of a server nothing. [B]"""
        if not self._is_file:
            return 0
        return self.free_pages() * int(self._rows("PRAGMA page_size")[0][0])

    def can_give_back(self) -> bool:
        """Say whether room can be given back bit by bit; a file from before that was possible is to be compacted once; a server does it by itself."""
        return self._is_file and int(self._rows("PRAGMA auto_vacuum")[0][0]) == INCREMENTAL


class Freeing(WritableDatabase, FreeReads):
    """Giving it back."""

    def give_back(self, pages: int = PAGES_AT_ONCE) -> int:
        """Give back so many pages, and say how many are left. Needs a transaction; the file shrinks at the next checkpoint."""
        self._require_transaction()
        self._rows(f"PRAGMA incremental_vacuum({pages:d})")
        return self.free_pages()

    def checkpoint(self) -> None:
        """Bring the log into the file, which shrinks then by what was given back; readers that are there may delay it."""
        self._rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def compact(self) -> None:
        """Write the file anew without the pages nobody uses. Readers go on; takes the file's size twice over meanwhile.

        Afterwards room can be given back bit by bit. Raises `StoreFull` where there is no room; then the store is as it was.
        """
        self._run(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        self._run("VACUUM")
        self.checkpoint()
