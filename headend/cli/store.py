"""``headend store``: what keeps the readings safe: checks, figures, backups."""

import getpass
from pathlib import Path

import click

from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.options import output_option
from headend.cli.output import Column, Document
from headend.cli.words import counted
from headend.store.backup import COUNTER_JUMP, announce_restore, back_up, restore
from headend.store.condition import condition_of
from headend.store.reader import StoreReader, is_there

KEY = click.option(
    "--key", "reference", required=True, metavar="REF",
    help="The backup's key as env:NAME or file:PATH, 64 hexadecimal digits there (openssl rand -hex 32). Keep it elsewhere.",
)  # fmt: skip
COUNTER_JUMP_OPTION = click.option(
    "--counter-jump", type=click.IntRange(0, 2**32 - 1), default=COUNTER_JUMP, show_default=True,
    help="How far our invocation counters go ahead: more than were used since the backup.",
)  # fmt: skip
DUMP = "pg_dump --format=custom --schema=headend DATABASE"
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
    with app.output.busy("checking"), StoreReader.open(app.store_place) as reader:
        rows = [{"fault": fault} for fault in reader.faults()]
    app.output.emit(Document("headend.store-check/1", [Column("fault", "Fault")], rows))
    app.output.say(f"{app.store_place}: {counted(len(rows), 'fault')}")
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
    place = app.store_place
    why = condition_of(place, app.settings.store.reserve_mib * 2**20)
    size = place.stat().st_size if isinstance(place, Path) else sum(int(str(row["bytes"])) for row in rows)
    log = Path(f"{place}-wal")
    summary = {
        "condition": "degraded" if why else "ok",
        "why": why,
        "file_bytes": size,
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
    store = app.store_file(f"back it up with PostgreSQL's own tools, beside a running headend: {DUMP}")
    _require(app)
    key = app.secrets.key(reference)
    with app.output.busy("backing up"):
        size = back_up(store, target, key)
    app.output.say(f"{target}: {size} bytes; headend store restore {target} --key {reference} puts it back")


@command.command("restore")
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@KEY
@click.option(
    "--replace", is_flag=True, help="Put it in the place of the store that is there, which is kept beside it."
)
@COUNTER_JUMP_OPTION
@click.pass_context
def restore_(ctx: click.Context, source: Path, reference: str, *, replace: bool, counter_jump: int) -> None:
    """Put the backup SOURCE in the store's place, checked as a whole before anything is moved.

    Invocation counters go ahead, so that none is used twice. What was read since the backup is fetched from the meters
    again. A key that was changed since must be named anew.
    """
    app = App.of(ctx)
    store = app.store_file(
        "stop headend, restore a dump with pg_restore, then headend store advance-counters, so that no counter is used twice"
    )
    key = app.secrets.key(reference)
    app.make_place()
    with app.output.busy("restoring"):
        done = restore(source, store, key, app.now, user=getpass.getuser(), replace=replace, counter_jump=counter_jump)
    app.output.say(
        f"{store}: restored up to change {done.newest_change};"
        f" {counted(done.counters, 'invocation counter')} went ahead by {counter_jump}"
    )
    if done.kept_as:
        app.output.say(f"what was there is kept as {done.kept_as}")


@command.command()
@click.pass_context
def compact(ctx: click.Context) -> None:
    """Give room that nobody uses back to the file system. Needs the writer's place: stop headend run first."""
    app = App.of(ctx)
    file = app.store_file(
        "it gives room back by itself (autovacuum); where a table must shrink at once, its administrator runs"
        " VACUUM (FULL, ANALYZE) while headend is stopped"
    )
    _require(app)
    before = file.stat().st_size
    with app.output.busy("compacting"), app.writer() as store:
        store.compact()
    app.output.say(f"{file}: {before} bytes before, {file.stat().st_size} after")


@command.command("advance-counters")
@COUNTER_JUMP_OPTION
@click.pass_context
def advance_counters(ctx: click.Context, *, counter_jump: int) -> None:
    """Put our invocation counters ahead, once, after the store was restored by other means than ours (pg_restore).

    Otherwise counters used since the backup would be used again, and meters would refuse them. Needs the writer's place.
    """
    app = App.of(ctx)
    _require(app)
    with app.writer() as store, store.transaction():
        count = announce_restore(store, counter_jump, app.now(), user=getpass.getuser(), source="advance-counters")
    app.output.say(f"{counted(count, 'invocation counter')} went ahead by {counter_jump}")


def _require(app: App) -> None:
    if not is_there(app.store_place):
        raise Failure(
            f"there is no store in {app.store_home}; headend store restore BACKUP puts one there,"
            " headend meter import FILE.csv begins one, or name another directory with --data",
            Exit.USAGE,
        )
