"""What of the store's SQL is written otherwise for PostgreSQL, and how values go over the wire."""

import re
from functools import lru_cache

from headend.store.engine import Bindings

_PARAMETER = re.compile(r"\?(\d*)")
_TARGET = re.compile(r"\s*INSERT INTO (\w+)")
_IDENTITIES = {"change_log": "seq"}
"""Tables whose number is not called ``id``."""
NUL = "\N{SYMBOL FOR NULL}"
"""Stands for U+0000, which a text of PostgreSQL cannot hold; it comes from meters and brokers alone, in words for people."""


@lru_cache(maxsize=1_024)
def translated(sql: str) -> str:
    """Number the parameters: ``?`` in order, ``?2`` as it says. No text of ours holds a question mark."""
    in_order = iter(range(1, 1_000))
    return _PARAMETER.sub(lambda match: f"${match[1] or next(in_order)}", sql)


@lru_cache(maxsize=256)
def returning(sql: str) -> str:
    """Have an INSERT give the number of its row."""
    target = _TARGET.match(sql)
    return f"{sql} RETURNING {_IDENTITIES.get(target[1], 'id') if target else 'id'}"


def to_wire(bindings: Bindings) -> list[str | None]:
    """Write values as text; the server knows from the statement what each of them is. Raises `UnicodeEncodeError`."""
    return [_to_text(value) for value in bindings]


def _to_text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        value.encode()
        return value.replace("\0", NUL) if "\0" in value else value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"\\x{value.hex()}"
    if isinstance(value, int):
        return str(int(value))
    raise TypeError(f"a {type(value).__name__} is no value of the store's")
