"""``headend store``: what keeps the readings safe: checks, figures, backups."""

import getpass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.options import DAY, output_option
from headend.cli.output import Column, Document
from headend.cli.words import counted
from headend.export.archive import FORMATS, Part, archive
from headend.store.backup import COUNTER_JUMP, back_up, restore
from headend.store.condition import condition_of
from headend.store.reader import StoreReader

KEY = click.option(
    "--key", "reference", required=True, metavar="REF",
    help="The backup's key as env:NAME or file:PATH, 64 hexadecimal digits there (openssl rand -hex 32). Keep it elsewhere.",
)  # fmt: skip
EPOCH = date(1970, 1, 1)
EXPORTED = (
    Column("table", "Table"),
    Column("files", "Files", is_number=True),
    Column("rows", "Rows", is_number=True),
    Column("bytes", "Bytes", is_number=True),
)
SIZES = (
    Column("table", "Table"),
    Column("rows", "Rows", is_number=True),
    Column("bytes", "Bytes", is_number=True),
    Column("unused_bytes", "of it unused", is_number=True),
)


@click.group()
def command() -> None:
    """Care for the store. Nothing here reads a meter."""


@command.command()
@output_option
@click.pass_context
def check(ctx: click.Context, format_name: str) -> int:
    """Hold the whole store against itself: structure, checksums, references. Exit code 8 if anything is wrong.

    Changes nothing, and works beside a running headend. Reads the whole file.
    """
    app = App.of(ctx, format_name)
    _require(app)
    with app.output.busy("checking"), StoreReader.open(app.store_path) as reader:
        rows = [{"fault": fault} for fault in reader.faults()]
    app.output.emit(Document("headend.store-check/1", [Column("fault", "Fault")], rows))
    app.output.say(f"{app.store_path}: {counted(len(rows), 'fault')}")
    return Exit.CHECK_FAILED if rows else Exit.OK


@command.command()
@output_option
@click.pass_context
def stats(ctx: click.Context, format_name: str) -> None:
    """Show what the store holds and takes, how far each sink has come, and whether it can be written now."""
    app = App.of(ctx, format_name)
    _require(app)
    with app.output.busy("counting"), app.reader() as reader:
        rows = [
            {"table": item.table, "rows": item.rows, "bytes": item.size, "unused_bytes": item.unused}
            for item in reader.sizes()
        ]
        newest, cursors, free = reader.last_seq(), reader.cursors(), reader.free_bytes()
    why = condition_of(app.store_path, app.settings.store.reserve_mib * 2**20)
    log = Path(f"{app.store_path}-wal")
    summary = {
        "condition": "degraded" if why else "ok",
        "why": why,
        "file_bytes": app.store_path.stat().st_size,
        "log_bytes": log.stat().st_size if log.exists() else 0,
        "free_bytes": free,
        "newest_change": newest,
        "cursors": cursors,
    }
    app.output.emit(Document("headend.store-stats/1", SIZES, rows, summary))
    app.output.say(f"condition: {summary['condition']}{f' ({why})' if why else ''}")
    app.output.say(f"file {summary['file_bytes']} B, of it free {free} B; log {summary['log_bytes']} B")
    for name, seq in cursors.items():
        app.output.say(f"sink {name}: {newest - seq} changes behind")


@command.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@KEY
@click.pass_context
def backup(ctx: click.Context, target: Path, reference: str) -> None:
    """Write an encrypted, authenticated backup to TARGET, beside a running headend. An existing file is not overwritten."""
    app = App.of(ctx)
    _require(app)
    key = app.secrets.key(reference)
    with app.output.busy("backing up"):
        size = back_up(app.store_path, target, key)
    app.output.say(f"{target}: {size} bytes; headend store restore {target} --key {reference} puts it back")


@command.command("restore")
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@KEY
@click.option(
    "--replace", is_flag=True, help="Put it in the place of the store that is there, which is kept beside it."
)
@click.option(
    "--counter-jump", type=click.IntRange(0, 2**32 - 1), default=COUNTER_JUMP, show_default=True,
    help="How far our invocation counters go ahead: more than were used since the backup.",
)  # fmt: skip
@click.pass_context
def restore_(ctx: click.Context, source: Path, reference: str, *, replace: bool, counter_jump: int) -> None:
    """Put the backup SOURCE in the store's place, checked as a whole before anything is moved.

    Invocation counters go ahead, so that none is used twice. What was read since the backup is fetched from the meters
    again. A key that was changed since must be named anew.
    """
    app = App.of(ctx)
    key = app.secrets.key(reference)
    app.data_directory.mkdir(parents=True, exist_ok=True)
    with app.output.busy("restoring"):
        done = restore(
            source, app.store_path, key, app.now, user=getpass.getuser(), replace=replace, counter_jump=counter_jump
        )
    app.output.say(
        f"{app.store_path}: restored up to change {done.newest_change};"
        f" {counted(done.counters, 'invocation counter')} went ahead by {counter_jump}"
    )
    if done.kept_as:
        app.output.say(f"what was there is kept as {done.kept_as}")


@command.command()
@click.pass_context
def compact(ctx: click.Context) -> None:
    """Give room that nobody uses back to the file system. Needs the writer's place: stop headend run first."""
    app = App.of(ctx)
    _require(app)
    before = app.store_path.stat().st_size
    with app.output.busy("compacting"), app.writer() as store:
        store.compact()
    app.output.say(f"{app.store_path}: {before} bytes before, {app.store_path.stat().st_size} after")


@command.command("export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--from", "first", type=DAY, help="First UTC day. Default: the first there is.")
@click.option("--to", "last", type=DAY, help="Last UTC day, inclusive. Default: the last there is.")
@click.option("--area", help="Only usage points of this area, and the meters that ever hung there.")
@click.option(
    "--format", "file_format", type=click.Choice(FORMATS),
    help="Of the files. Default: parquet where headend[parquet] is installed, else csv.",
)  # fmt: skip
@output_option
@click.pass_context
def export_(
    ctx: click.Context,
    directory: Path,
    *,
    first: date | None,
    last: date | None,
    area: str | None,
    file_format: str | None,
    format_name: str,
) -> int:
    """Write the whole store, or a part, as open files to a new DIRECTORY, which is complete or absent.

    Registry, readings of all layers and versions, events, journals; with a manifest and SHA-256 sums. For another system,
    or an archive. Works beside a running headend. Exit code 8 if something in the store is damaged: the rest is there.
    """
    app = App.of(ctx, format_name)
    _require(app)
    if first and last and last < first:
        raise click.UsageError(f"--to {last} is before --from {first}")
    part = Part(
        None if first is None else (first - EPOCH).days * 86_400,
        None if last is None else ((last - EPOCH).days + 1) * 86_400,
        area,
    )
    chosen = file_format or ("parquet" if find_spec("pyarrow") else "csv")
    with app.output.busy("exporting"), app.reader() as reader:
        done = archive(reader, directory, chosen, part, app.now())
    tables: dict[str, dict[str, Any]] = {}
    for file in done.files:
        row = tables.setdefault(file.table, {"table": file.table, "files": 0, "rows": 0, "bytes": 0})
        row["files"] += 1
        row["rows"] += file.rows
        row["bytes"] += file.bytes
    summary = {"directory": str(directory), "change_log": done.seq, "damaged": [item.where for item in done.damaged]}
    app.output.emit(Document("headend.store-export/1", EXPORTED, list(tables.values()), summary))
    app.output.say(f"{directory}: {counted(len(done.files), 'file')}; sha256sum -c SHA256SUMS checks them")
    for item in done.damaged:
        app.output.warn(f"not in it: {item.where}: {item.reason}")
    return Exit.CHECK_FAILED if done.damaged else Exit.OK


def _require(app: App) -> None:
    if not app.store_path.exists():
        raise Failure(
            f"there is no store in {app.data_directory}; headend store restore BACKUP puts one there,"
            " headend meter import FILE.csv begins one, or name another directory with --data",
            Exit.USAGE,
        )
