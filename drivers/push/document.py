"""JSON as it comes from outside: bounded in size and depth, numbers exact, every fault with its place."""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from drivers.errors import DriverError
from kernels.quality import Reason

MAX_BYTES = 1_048_576
MAX_DEPTH = 16
MAX_SHOWN = 80
# Possessive, and the closing quote optional: once in a string it never goes back, so the time stays linear.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_MISSING = object()


class PayloadError(DriverError):
    """A pushed message cannot be believed; it is set aside with this reason. Says where and what."""

    cause = Reason.SET_ASIDE


def parse_document(payload: bytes) -> object:
    """Parse a payload. Numbers with a fraction come as `Decimal`. Raises `PayloadError`."""
    if len(payload) > MAX_BYTES:
        raise PayloadError(f"{len(payload)} bytes; at most {MAX_BYTES} are read")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"byte {error.start} is not UTF-8") from error
    _check_depth(text)
    try:
        document: object = json.loads(
            text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_object_without_twins
        )
    except json.JSONDecodeError as error:
        raise PayloadError(f"not JSON at line {error.lineno} column {error.colno}: {error.msg}") from error
    except (ValueError, InvalidOperation, RecursionError) as error:
        raise PayloadError(f"not usable JSON: {str(error)[:MAX_SHOWN]}") from error
    return document


def find(document: object, path: str) -> object:
    """Follow a path of field names and list indexes joined by dots. Raises `PayloadError` at the first step that is missing."""
    found = look_up(document, path)
    if found is _MISSING:
        raise PayloadError(f"{path}: not there")
    return found


def find_or_none(document: object, path: str) -> tuple[bool, object]:
    """Follow a path; say whether it is there, and what it holds (None where it is not)."""
    found = look_up(document, path)
    return (False, None) if found is _MISSING else (True, found)


def look_up(document: object, path: str) -> object:
    """Follow a path; gives a private marker where a step is missing."""
    here: Any = document
    for step in path.split("."):
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isascii() and step.isdigit() and len(step) < 8 and int(step) < len(here):
            here = here[int(step)]
        else:
            return _MISSING
    return here


def shown(value: object) -> str:
    """Write a foreign value short enough for a message."""
    text = repr(value) if isinstance(value, str | int | float | Decimal | bool | None) else type(value).__name__
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _check_depth(text: str) -> None:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        bracket = match[0][0]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise PayloadError(f"nested deeper than {MAX_DEPTH} levels at character {match.start()}")
        elif bracket in "]}":
            depth -= 1


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _object_without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field occurs twice in one object")
    return fields
