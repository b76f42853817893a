"""Turns an exception into words on stderr and an exit code."""

import errno
import sys
import traceback
from typing import TypeGuard

from drivers import errors as drivers
from headend import errors
from headend.cli.exits import Exit
from headend.cli.words import advice
from headend.export.errors import BrokenChain, NotExportable

_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.SettingsError, Exit.CONFIG),
    (drivers.ProfileError, Exit.CONFIG),
    (errors.RegistryError, Exit.USAGE),
    (NotExportable, Exit.USAGE),
    (BrokenChain, Exit.CHECK_FAILED),
    (drivers.PortUnavailable, Exit.PORT),
    (drivers.MeterRefused, Exit.REFUSED),
    (drivers.SecurityError, Exit.REFUSED),
    (drivers.LocalProtocolError, Exit.INTERNAL),
    (drivers.CommandUnverified, Exit.CHECK_FAILED),
    (drivers.OutcomeUnknown, Exit.NO_ANSWER),
    (drivers.CommandError, Exit.REFUSED),
    (drivers.DriverError, Exit.NO_ANSWER),
    (errors.HeadendError, Exit.INTERNAL),
)
_UNWRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Failure(Exception):
    """A command's own verdict: words and an exit code."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: Exception) -> Exit:
    """Give the exit code of an error; `Exit.INTERNAL` for one nobody foresaw."""
    if isinstance(error, Failure):
        return error.code
    if type(error).__name__ == "SecretError":
        return Exit.CONFIG
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.INTERNAL)


def is_unwritten(error: Exception) -> TypeGuard[OSError]:
    """Tell whether a stream took no more, as stdout does on a device that is full."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _UNWRITTEN


def report(error: Exception) -> int:
    """Say on stderr what went wrong, one fault a line; give the exit code."""
    code = code_of(error)
    if isinstance(error, errors.SettingsError | drivers.ProfileError):
        name = f"profile {error.name}" if isinstance(error, drivers.ProfileError) else "settings"
        _say(f"{name}: {len(error.faults)} fault{'s' if len(error.faults) != 1 else ''}")
        for fault in error.faults:
            _say(f"  {fault}")
    elif isinstance(error, errors.HeadendError | drivers.DriverError | Failure):
        _say(f"error: {error}")
        if isinstance(error, drivers.DriverError) and code != Exit.INTERNAL:
            _say(f"next: {advice(error.cause).removesuffix(': headend read METER')}")
    elif isinstance(error, OSError) and error.filename is not None:
        _say(f"error: {error.filename}: {error.strerror}")
    elif is_unwritten(error):
        _say(f"error: the output could not be written: {error.strerror}; make room where it goes, or send it elsewhere")
    else:
        _say(f"internal error: {type(error).__name__}: {error}")
        _say("This is a bug. Please report it with what follows.")
        traceback.print_exception(error, file=sys.stderr)
    return code


def _say(text: str) -> None:
    encoding = sys.stderr.encoding or "ascii"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)  # noqa: T201  the last resort, before or after any console
