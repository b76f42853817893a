"""Writes what a command found: data to stdout in one of four forms, words to stderr. The one place with a rich console."""

import csv
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO

from rich.color import ColorSystem
from rich.console import Console
from rich.markup import escape
from rich.style import Style

from drivers.facts import UtcSeconds
from headend.cli.options import Globals
from headend.cli.tables import lay_out

Cell = str | int | bool | Decimal | None
WIDE = 4_000
"""Width of a table that no terminal limits. [characters]"""
WORD_STYLES = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``key``: in JSON and CSV.  ``title``: in a table.  ``is_number``: right-aligned."""

    key: str
    title: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """What a command found. ``schema``: ``headend.NAME/VERSION``, raised whenever a key changes its meaning or goes.

    ``summary``: further keys of the JSON document, beside ``rows``.  ``hidden``: keys of rows that a table leaves out.
    """

    schema: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, object]]
    summary: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    hidden: Collection[str] = frozenset()


class Output:
    """Stdout and stderr of one command."""

    def __init__(self, options: Globals, format_name: str = "table") -> None:
        self.format_name = format_name
        self.is_ascii = options.is_ascii or not _speaks_unicode(sys.stdout)
        self.is_quiet = options.quiet
        self.out = _console(sys.stdout, options, is_ascii=self.is_ascii)
        self.err = _console(sys.stderr, options, is_ascii=options.is_ascii or not _speaks_unicode(sys.stderr))

    def say(self, text: str, style: str | None = None) -> None:
        """Print words for people, to stderr; nothing under --quiet."""
        if not self.is_quiet:
            self.err.print(_plain(text, is_ascii=self.is_ascii), style=style, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Print a warning to stderr, also under --quiet."""
        self.err.print(
            _plain(f"warning: {text}", is_ascii=self.is_ascii), style="yellow", markup=False, highlight=False
        )

    def draw(self, text: str) -> None:
        """Print text that is data (a curve) to stdout, as it is."""
        self.out.print(_plain(text, is_ascii=self.is_ascii), markup=False, highlight=False, soft_wrap=True)

    def emit(self, document: Document) -> None:
        """Write one document to stdout in the form asked for."""
        if self.format_name == "json":
            whole = {"schema": document.schema, **document.summary, "rows": list(document.rows)}
            self._write(json.dumps(whole, ensure_ascii=self.is_ascii, indent=2, default=_to_json))
        elif self.format_name == "ndjson":
            for row in document.rows:
                line = {"schema": document.schema, **row}
                self._write(json.dumps(line, ensure_ascii=self.is_ascii, default=_to_json))
        elif self.format_name == "csv":
            self._emit_csv(document)
        else:
            self._emit_table(document)

    def write_text(self, text: str) -> None:
        """Write text to stdout untouched, for data that already has its form."""
        self.out.file.write(text)
        self.out.file.flush()

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show on a terminal that work goes on."""
        if self.is_quiet or not self.err.is_terminal:
            yield
            return
        with self.err.status(escape(text), spinner="line"):
            yield

    @property
    def width(self) -> int:
        """Characters that fit a line of stdout; 80 where no terminal says. [characters]"""
        return self.out.width if self.out.is_terminal else 80

    def _write(self, line: str) -> None:
        self.out.file.write(line + "\n")

    def _emit_csv(self, document: Document) -> None:
        writer = csv.writer(self.out.file, lineterminator="\n")
        writer.writerow([column.key for column in document.columns])
        for row in document.rows:
            writer.writerow(
                ["" if (cell := row.get(column.key)) is None else _text(cell) for column in document.columns]
            )

    def _emit_table(self, document: Document) -> None:
        if document.title:
            self._write(_plain(document.title, is_ascii=self.is_ascii))
        shown = [column for column in document.columns if column.key not in document.hidden]
        rows = [
            [_plain(_text(row.get(column.key)), is_ascii=self.is_ascii) for column in shown] for row in document.rows
        ]
        for line in lay_out(
            [column.title for column in shown], [column.is_number for column in shown], rows, self.out.width,
            is_ascii=self.is_ascii, style=self._styled,
        ):  # fmt: skip
            self._write(line)

    def _styled(self, cell: str) -> str:
        style = WORD_STYLES.get(cell) if self.out.color_system else None
        return Style.parse(style).render(cell, color_system=ColorSystem.STANDARD) if style else cell


def instant(at: UtcSeconds | None) -> str | None:
    """Write an instant as RFC 3339, in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, Mapping):
        return ", ".join(f"{key} {value}" for key, value in cell.items())
    if isinstance(cell, list | tuple):
        return ", ".join(str(part) for part in cell)
    return str(cell)


def _to_json(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no place in a document")


def _speaks_unicode(stream: IO[str]) -> bool:
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def _plain(text: str, *, is_ascii: bool) -> str:
    return text.encode("ascii", "replace").decode() if is_ascii else text


def _console(stream: IO[str], options: Globals, *, is_ascii: bool) -> Console:
    """Make a console that never fails on a character and never colours what is not to be coloured."""
    if is_ascii and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    environment = options.environment
    wants_color = options.color == "always" or (
        options.color == "auto" and stream.isatty() and not environment.get("NO_COLOR")
        and environment.get("TERM") != "dumb"
    )  # fmt: skip
    width = None if stream.isatty() or environment.get("COLUMNS") else WIDE
    return Console(
        file=stream,
        color_system="standard" if wants_color else None,
        force_terminal=True if options.color == "always" else None,
        no_color=False if wants_color else None,
        width=width,
        emoji=False,
        highlight=False,
    )
