"""What other processes ask of the store's writer, gone once it is done: a word in a file beside the store, on a server a row."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from headend.errors import StoreError
from headend.store.database import Database
from headend.store.place import Place, server_of
from headend.store.server import server_connections


class Request(StrEnum):
    """What may be asked."""

    COMPACT = "compact"
    RETAIN = "retain"


class RequestFile:
    """What is asked of who writes a file."""

    def __init__(self, store: str) -> None:
        self._file = Path(f"{store}.request")

    def __enter__(self) -> Self:
        """Give itself; nothing is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def ask_for(self, request: Request) -> None:
        """Ask. What was asked before and is not done yet is not asked any more. Raises `StoreError`."""
        part = Path(f"{self._file}.part")
        try:
            part.write_text(f"{request}\n", encoding="ascii")
            part.rename(self._file)
        except OSError as error:
            raise StoreError(f"{part}: {error.strerror}; the process that writes the store cannot be asked") from error

    def asked_for(self) -> Request | None:
        """Give what is asked, None for nothing, or nothing that is known."""
        with suppress(OSError, ValueError), self._file.open("rb") as file:
            return Request(file.read(32).decode("ascii").strip())
        return None

    def settle_request(self, request: Request) -> None:
        """Note that it is done, or, by who asked, that it need not be any more."""
        if self.asked_for() is request:
            with suppress(OSError):
                self._file.unlink()


class RequestRows(Database):
    """What is asked of who writes a server's schema: by any session that may write its table ``request``. Each method raises `StoreError`."""

    def ask_for(self, request: Request) -> None:
        """Ask, beside whatever else is asked."""
        self._run("INSERT INTO request (what) VALUES (?) ON CONFLICT (what) DO NOTHING", (request,))

    def asked_for(self) -> Request | None:
        """Give what is asked, the oldest first, None for nothing that is known."""
        known = ", ".join(f"'{request}'" for request in Request)
        row = self._row(f"SELECT what FROM request WHERE what IN ({known}) ORDER BY at LIMIT 1")  # noqa: S608  constants
        return Request(row[0]) if row else None

    def settle_request(self, request: Request) -> None:
        """Note that it is done."""
        self._run("DELETE FROM request WHERE what = ?", (request,))


def requests_of(place: Place) -> RequestFile | RequestRows:
    """Open what is asked of a store's writer, to ask as well. Raises `StoreError`."""
    if (server := server_of(place)) is not None:
        return RequestRows(server_connections().connect_asking(server))
    return RequestFile(str(place))
