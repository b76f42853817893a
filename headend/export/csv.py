"""Canonical CSV: every row of the ledger, lossless, safe to open in a spreadsheet. Pure: rows in, bytes out.

RFC 4180: comma, CRLF, one header line, UTF-8 without byte-order mark. Text cells are always quoted and guarded, numbers
never, so that a reader (and a spreadsheet) tells ``-12.3`` from a formula. A guarded cell has one apostrophe put before
it: every text that starts with ``= + - @``, their full-width forms, a tab, a line break or an apostrophe. Taking one
leading apostrophe off gives the text back.
"""

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import lru_cache

from drivers.obis import Obis
from headend.export.rows import Row, Slot, instant, rule_words, word
from kernels.quality import Reason, Rule, State

HEADER = (
    "usage_point", "meter", "obis", "name", "start_utc", "end_utc", "value", "unit",
    "quality", "method", "reason", "rules", "version", "source",
)  # fmt: skip
SUFFIX = ".csv"
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", "'")
_LINES_PER_CHUNK = 2_000


def guard(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet might run as a formula. `unguard` gives the text back."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def unguard(cell: str) -> str:
    """Take the apostrophe of `guard` off again."""
    return cell.removeprefix("'")


def number(value: Decimal | None) -> str:
    """Write a decimal without exponent, every digit kept; nothing for None."""
    return "" if value is None else format(value, "f")


def encode(rows: Iterable[Row]) -> Iterator[bytes]:
    """Make the file, in chunks. Rows are written in the order given."""
    lines = [",".join(f'"{column}"' for column in HEADER)]
    for row in rows:
        lines.append(_line(row))
        if len(lines) >= _LINES_PER_CHUNK:
            yield _join(lines)
            lines = []
    yield _join(lines)


def decode(lines: Iterable[str]) -> Iterator[Slot]:
    """Read a file of `encode` back, one `Slot` per row, in order; the version is left out, it says nothing of content.

    Raises `ValueError` naming the line where the text is not such a file.
    """
    reader = csv.reader(lines, strict=True)
    try:
        if tuple(next(reader, ())) != HEADER:
            raise ValueError("line 1: not the header of a canonical CSV")
        for cells in reader:
            if len(cells) != len(HEADER):
                raise ValueError(f"line {reader.line_num}: {len(cells)} cells, not {len(HEADER)}")
            usage_point, meter, obis, name, start, end, value, *others = cells
            others.pop(-2)
            yield (unguard(usage_point), obis, start), (value, unguard(meter), name, end, *others)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _line(row: Row) -> str:
    return (
        f'{_whose(row.usage_point, row.meter, row.obis, row.name)},"{instant(row.start)}","{instant(row.end)}",{number(row.value)},'
        f"{_quality(row.unit, row.state, row.method, row.reason, row.rules, row.version, row.source)}"
    )


@lru_cache(maxsize=256)
def _whose(usage_point: str, meter: str, obis: Obis, name: str) -> str:
    return ",".join(map(_quote, (usage_point, meter, str(obis), name)))


@lru_cache(maxsize=1024)
def _quality(
    unit: str, state: State, method: Reason, reason: Reason, rules: Rule, version: int | None, source: str
) -> str:
    texts = (unit, word(state), word(method), word(reason), rule_words(rules))
    return ",".join((*map(_quote, texts), "" if version is None else str(version), _quote(source)))


def _quote(text: str) -> str:
    return '"' + guard(text).replace('"', '""') + '"' if text else ""


def _join(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
