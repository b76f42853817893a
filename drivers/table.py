"""`CheckedTable`: a parsed TOML table read key by key, every fault noted instead of raised.

Each read names the key it wants and the type it wants, so what is left unread at the end is unknown, and the nearest
name among those asked for is the likely misspelling.
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
MAX_TEXT = 1_000
MAX_ROWS = 1_000
MAX_SHOWN = 60
MAX_FAULTS = 100

_TYPES = {bool: "a boolean", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a table"}


def nearest(word: str, known: Collection[str]) -> str:
    """Say which known name is meant, as words that end a fault message; empty where there is none to name."""
    close = difflib.get_close_matches(word, sorted(known), 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(sorted(known))}" if known else ""


def type_name(value: object) -> str:
    """Name the TOML type of a value in words."""
    return _TYPES.get(type(value), type(value).__name__)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


class Faults:
    """Collects faults as ``where: what``, at most `MAX_FAULTS` of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note one fault."""
        if len(self.lines) < MAX_FAULTS:
            self.lines.append(f"{where}: {what}")


class CheckedTable:
    """One table of a document. ``path``: where it sits, dotted, empty at the top."""

    def __init__(self, values: Mapping[str, object], faults: Faults, path: str = "") -> None:
        self._values = values
        self._asked: set[str] = set()
        self.faults = faults
        self.path = path

    def where(self, key: str) -> str:
        """Give the dotted path of a key of this table."""
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, what: str) -> None:
        """Note a fault of one key."""
        self.faults.add(self.where(key), what)

    def has(self, key: str) -> bool:
        """Say whether the key is there, and count it as known."""
        self._asked.add(key)
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """Read text; without a default it must be there and not be blank."""
        value: str = self._read(key, str, default, "")
        if default is None and isinstance(self._values.get(key), str) and not value.strip():
            self.fault(key, "must not be empty")
        if len(value) > MAX_TEXT:
            self.fault(key, f"is {len(value)} characters long; at most {MAX_TEXT}")
            return value[:MAX_TEXT]
        return value

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        """Read a whole number within ``low`` to ``high``, both inclusive."""
        value: int = self._read(key, int, default, low)
        if not low <= value <= high:
            self.fault(key, f"is {_shown(value)}, not {low} to {high}")
            return low if default is None else default
        return value

    def seconds(self, key: str, default: float, high: float) -> float:
        """Read a duration, whole or fractional, of 0 to ``high``. [s]"""
        self._asked.add(key)
        value = self._values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.fault(key, f"must be a number of seconds, not {type_name(value)} ({_shown(value)})")
            return default
        if not 0 <= value <= high:
            self.fault(key, f"is {_shown(value)}, not 0 to {high:g} seconds")
            return default
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value: bool = self._read(key, bool, default, default)
        return value

    def choice(self, key: str, options: tuple[T, ...], default: T | None = None) -> T:
        """Read one of a few words; ``options`` are the allowed ones."""
        value = self._read(key, str, default, options[0])
        for option in options:
            if option == value:
                return option
        words = [str(option) for option in options]
        self.fault(key, f"is {_shown(value)}, not one of {', '.join(words)}")
        return options[0]

    def parsed(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """Read text and turn it into a value; ``parse`` raises `ValueError` on what it does not take."""
        if not self.has(key):
            return default
        text = self._read(key, str, None, "")
        if not isinstance(self._values[key], str):
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.fault(key, str(error)[: 4 * MAX_SHOWN])
            return default

    def required(self, key: str, parse: Callable[[str], T], instead: T) -> T:
        """Read text that must be there; ``instead`` stands in for a faulty one so that reading can go on."""
        if not self.has(key):
            self.fault(key, "is missing")
        return self.parsed(key, parse, instead)

    def words(self, key: str) -> list[str]:
        """Read a list of texts."""
        rows = self._list(key)
        for index, row in enumerate(rows):
            if not isinstance(row, str):
                self.fault(f"{key}[{index}]", f"must be text, not {type_name(row)} ({_shown(row)})")
        return [row for row in rows if isinstance(row, str)]

    def integers(self, key: str, low: int, high: int) -> list[int]:
        """Read a list of whole numbers within ``low`` to ``high``, both inclusive."""
        rows = self._list(key)
        for index, row in enumerate(rows):
            if type(row) is not int:
                self.fault(f"{key}[{index}]", f"must be a whole number, not {type_name(row)} ({_shown(row)})")
            elif not low <= row <= high:
                self.fault(f"{key}[{index}]", f"is {_shown(row)}, not {low} to {high}")
        return [row for row in rows if type(row) is int and low <= row <= high]

    def table(self, key: str) -> "CheckedTable":
        """Read a sub-table; an empty one where there is none."""
        value = self._read(key, dict, {}, {})
        return CheckedTable(value, self.faults, self.where(key))

    def tables(self, key: str) -> list["CheckedTable"]:
        """Read a list of tables."""
        found = []
        for index, row in enumerate(self._list(key)):
            if isinstance(row, dict):
                found.append(CheckedTable(row, self.faults, f"{self.where(key)}[{index}]"))
            else:
                self.fault(f"{key}[{index}]", f"must be a table, not {type_name(row)} ({_shown(row)})")
        return found

    def finish(self) -> None:
        """Note every key that nobody asked for. Call once all reads are done."""
        for key in self._values:
            if key not in self._asked:
                self.fault(key[:MAX_SHOWN], "is unknown" + nearest(key, self._asked))

    def _list(self, key: str) -> list[object]:
        rows: list[object] = self._read(key, list, [], [])
        if len(rows) > MAX_ROWS:
            self.fault(key, f"has {len(rows)} entries; at most {MAX_ROWS}")
        return rows[:MAX_ROWS]

    def _read(self, key: str, wanted: type, default: object, instead: object) -> Any:
        self._asked.add(key)
        if key not in self._values:
            if default is None:
                self.fault(key, "is missing")
                return instead
            return default
        value = self._values[key]
        if type(value) is not wanted:
            self.fault(key, f"must be {_TYPES[wanted]}, not {type_name(value)} ({_shown(value)})")
            return instead if default is None else default
        return value
