"""What other processes ask of the store's writer: one word in a file beside the store, gone once it is done."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from headend.errors import StoreError


class Request(StrEnum):
    """What may be asked."""

    COMPACT = "compact"
    RETAIN = "retain"


def _file(store: str) -> Path:
    return Path(f"{store}.request")


def ask(store: str, request: Request) -> None:
    """Ask. What was asked before and is not done yet is not asked any more. Raises `StoreError`."""
    part = Path(f"{_file(store)}.part")
    try:
        part.write_text(f"{request}\n", encoding="ascii")
        part.rename(_file(store))
    except OSError as error:
        raise StoreError(f"{part}: {error.strerror}; the process that writes the store cannot be asked") from error


def asked(store: str) -> Request | None:
    """Give what is asked, None for nothing, or nothing that is known."""
    with suppress(OSError, ValueError), _file(store).open("rb") as file:
        return Request(file.read(32).decode("ascii").strip())
    return None


def done(store: str, request: Request) -> None:
    """Note that it is done, or, by who asked, that it need not be any more."""
    if asked(store) is request:
        with suppress(OSError):
            _file(store).unlink()
