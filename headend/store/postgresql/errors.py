"""The one place where PostgreSQL's errors become the store's. SQLSTATE: PostgreSQL 15, appendix A."""

from pg8000.exceptions import DatabaseError, Error

from headend.errors import StoreError
from headend.store.errors import StoreFull, StoreUnavailable

_FULL = "53100"
_BUSY_CLASSES = ("40", "55P03", "57014")
"""Undone in favor of another session, or told to stop: deadlock, serialization, a lock or statement time-out."""
_GONE_CLASSES = ("08", "57P", "58", "53300", "25006")
"""No connection, shutting down or starting up, an error of its system, too many clients, a standby."""
_DAMAGED_CLASS = "XX"
_REFUSED_CLASSES = ("28", "3D000", "42501")


def state_of(error: BaseException) -> str:
    """Give the server's SQLSTATE, empty where the error is not the server's."""
    told = error.args[0] if isinstance(error, DatabaseError) and error.args else None
    return str(told.get("C", "")) if isinstance(told, dict) else ""


def translate(error: BaseException, path: str) -> StoreError:
    """Turn an error of the client, the socket or the server into ours, saying what to do. Chain it with ``from``."""
    state, words = state_of(error), _words(error)
    if not state:
        return StoreUnavailable(
            f"{path}: the connection to the server failed ({words}); what was not acknowledged may or may not be kept:"
            " check the server and the network, and start again"
        )
    if state == _FULL:
        return StoreFull(
            f"{path}: no room left on the server's device ({words}); nothing of this transaction was kept; make room and retry"
        )
    if state.startswith(_GONE_CLASSES):
        return StoreUnavailable(
            f"{path}: the server cannot be used or written ({words}); check it, and start again once it can"
        )
    if state.startswith(_DAMAGED_CLASS):
        return StoreUnavailable(f"{path}: the server found damage or a fault of its own ({words}); see its log")
    if state.startswith(_REFUSED_CLASSES):
        return StoreError(f"{path}: the server refuses us ({words}); check user, password, database and rights")
    if state.startswith(_BUSY_CLASSES):
        return StoreError(
            f"{path}: another session was in the way ({words}); nothing of this transaction was kept; retry"
        )
    return StoreError(f"{path}: {words}")


def is_fatal(error: BaseException) -> bool:
    """Say whether nothing more may be done with the connection: it is gone, or what a commit did is not known."""
    told = error.args[0] if isinstance(error, DatabaseError) and error.args else None
    if not isinstance(told, dict):
        return True
    state = state_of(error)
    return told.get("V") in {"FATAL", "PANIC"} or (
        state.startswith((*_GONE_CLASSES, _DAMAGED_CLASS)) and state != "25006"
    )


def _words(error: BaseException) -> str:
    told = error.args[0] if isinstance(error, DatabaseError) and error.args else None
    if isinstance(told, dict):
        return ". ".join(str(told[key]) for key in ("M", "D", "H") if key in told)
    cause = error.__cause__ if isinstance(error, Error) and error.__cause__ is not None else error
    return str(cause) or type(cause).__name__
