"""A table of meters as a file: its text, and what is said of its faults."""

import io
from collections.abc import Sequence

import click

from headend.cli.app import App
from headend.cli.output import Column, Document
from headend.cli.words import counted
from headend.registry.row import Fault

MAX_BYTES = 64 * 2**20


def read_text(file: io.BufferedReader) -> str:
    """Read a table's text. Raises `click.BadParameter` for one that is too large or not UTF-8."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise click.BadParameter(f"{file.name} is larger than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{file.name} is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from error


def emit_faults(app: App, source: str, faults: Sequence[Fault]) -> None:
    """Write every fault of a table that is not taken."""
    columns = [Column("row", "Row", is_number=True), Column("column", "Column"), Column("what", "Fault")]
    rows = [{"row": fault.row, "column": fault.column, "what": fault.what} for fault in faults]
    app.output.emit(Document("headend.meter-import-faults/1", columns, rows))
    app.output.warn(f"{source}: {counted(len(rows), 'fault')}; nothing was changed")
