"""``headend store``: what keeps the readings safe: checks, figures, backups."""

import asyncio
import getpass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from cryptography.exceptions import InvalidTag

from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.options import DAY, output_option
from headend.cli.output import Column, Document, instant
from headend.cli.words import counted, state_key
from headend.errors import StoreError
from headend.export.archive import FORMATS, Part, archive
from headend.registry.find import find_usage_point
from headend.sinks.journal import PREFIX
from headend.store.backup import COUNTER_JUMP, announce_restore, back_up, restore
from headend.store.condition import condition_of
from headend.store.errors import StoreBusy
from headend.store.reader import StoreReader, is_there
from headend.store.request import Request, requests_of
from headend.store.retention import Gap, day_of
from headend.store.store import Store
from headend.store.unclean import owed_since, settle_check
from headend.store.vault import KEY_OCTETS
from headend.upkeep import Alone, Upkeep
from kernels.quality import HAS_VALUE, State

KEY = click.option(
    "--key", "reference", required=True, metavar="REF",
    help="The backup's key as env:NAME or file:PATH, 64 hexadecimal digits there (openssl rand -hex 32). Keep it elsewhere.",
)  # fmt: skip
COUNTER_JUMP_OPTION = click.option(
    "--counter-jump", type=click.IntRange(0, 2**32 - 1), default=COUNTER_JUMP, show_default=True,
    help="How far our invocation counters go ahead: more than were used since the backup.",
)  # fmt: skip
BACKUP_OCTETS = frozenset({KEY_OCTETS})
DUMP = "pg_dump --format=custom --schema=headend DATABASE"
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


RETAINED = (
    Column("what", "What"),
    Column("before", "Dropped before"),
    Column("rows", "Rows", is_number=True),
    Column("bytes", "Bytes of blocks", is_number=True),
    Column("waits_for", "Waits for"),
)
SUMS = (
    Column("start", "From"),
    Column("seconds", "Seconds", is_number=True),
    Column("obis", "Channel"),
    Column("sum", "Sum", is_number=True),
    Column("unit", "Unit"),
    *(Column(state_key(state), state_key(state).capitalize().replace("_", " "), is_number=True) for state in State),
)
WAIT = click.option(
    "--wait", type=click.IntRange(0, 86_400), default=600, show_default=True,
    help="How long to wait for a running headend to have done it. [s]",
)  # fmt: skip


def number_of(day: date) -> int:
    """Give how many days a day is after 1970-01-01."""
    return (day - date(1970, 1, 1)).days


@click.group()
def command() -> None:
    """Care for the store. Nothing here reads a meter."""


@command.command(short_help="Hold the whole store against itself; change nothing.")
@output_option
@click.pass_context
def check(ctx: click.Context, format_name: str) -> int:
    """Hold the whole store against itself: structure, checksums, references. Exit code 8 if anything is wrong.

    Changes nothing in it, and works beside a running headend. Reads the whole file.
    """
    app = App.of(ctx, format_name)
    _require(app)
    with app.output.busy("checking"), StoreReader.open(app.store_place) as reader:
        since = owed_since(str(app.store_place))
        rows = [{"fault": fault} for fault in reader.faults()]
    if not rows:
        settle_check(str(app.store_place), since)
    app.output.emit(Document("headend.store-check/1", [Column("fault", "Fault")], rows))
    app.output.say(f"{app.store_place}: {counted(len(rows), 'fault')}")
    return Exit.CHECK_FAILED if rows else Exit.OK


@command.command(short_help="Show what the store holds and takes, and its sinks.")
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
        floors, gaps, (entries, head) = reader.floors(), reader.gaps(), reader.audit_head()
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
        "kept_from": {what.value: str(day_of(floor.day)) for what, floor in floors.items()},
        "gaps": [_gap(gap) for gap in gaps],
        "audit_entries": entries,
        "audit_head": head,
        "is_check_owed": owed_since(str(app.store_place)) is not None,
    }
    app.output.emit(Document("headend.store-stats/1", SIZES, rows, summary))
    app.output.say(f"condition: {summary['condition']}{f' ({why})' if why else ''}")
    app.output.say(f"file {summary['file_bytes']} B, of it free {free} B; log {summary['log_bytes']} B")
    for name, seq in cursors.items():
        app.output.say(f"sink {name}: {newest - seq} changes behind")
    for what, floor in floors.items():
        app.output.say(f"{what}: kept from {day_of(floor.day)} on")
    for gap in gaps:
        app.output.say(f"gap of {gap.sink}{'' if gap.reached_at is None else ', told'}: {gap}")
    if entries:
        app.output.say(f"audit: {entries} {'entry' if entries == 1 else 'entries'}, head {head}")
    if summary["is_check_owed"]:
        app.output.say("not closed properly: the whole check is owed; headend run makes it, or headend store check")


def _gap(gap: Gap) -> dict[str, object]:
    return {
        "sink": gap.sink.removeprefix(PREFIX),
        "first_seq": gap.first_seq,
        "last_seq": gap.last_seq,
        "layer": None if gap.layer is None else gap.layer.name.lower(),
        "first_day": None if gap.first_day is None else str(day_of(gap.first_day)),
        "last_day": None if gap.last_day is None else str(day_of(gap.last_day)),
        "changes": gap.changes,
        "at": instant(gap.at),
        "reached_at": instant(gap.reached_at),
    }


@command.command(short_help="Write an encrypted backup, beside a running headend.")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@KEY
@click.pass_context
def backup(ctx: click.Context, target: Path, reference: str) -> None:
    """Write an encrypted, authenticated backup to TARGET, beside a running headend. An existing file is not overwritten."""
    app = App.of(ctx)
    store = app.store_file(f"back it up with PostgreSQL's own tools, beside a running headend: {DUMP}")
    _require(app)
    key = app.secrets.key(reference, BACKUP_OCTETS)
    with app.output.busy("backing up"):
        size = back_up(store, target, key)
    app.output.say(f"{target}: {size} bytes; headend store restore {target} --key {reference} puts it back")


@command.command("restore", short_help="Put a backup in the store's place, checked as a whole.")
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
    again. A key that was changed since must be named anew. Exit code 7 if the key does not open it.
    """
    app = App.of(ctx)
    store = app.store_file(
        "stop headend, restore a dump with pg_restore, then headend store advance-counters, so that no counter is used twice"
    )
    key = app.secrets.key(reference, BACKUP_OCTETS)
    app.make_place()
    try:
        with app.output.busy("restoring"):
            done = restore(
                source, store, key, app.now, user=getpass.getuser(), replace=replace, counter_jump=counter_jump
            )
    except StoreError as error:
        if isinstance(error.__cause__, InvalidTag):  # the key is not the backup's, as far as can be told
            raise Failure(str(error), Exit.REFUSED) from error
        raise
    app.output.say(
        f"{store}: restored up to change {done.newest_change};"
        f" {counted(done.counters, 'invocation counter')} went ahead by {counter_jump}"
    )
    if done.kept_as:
        app.output.say(f"what was there is kept as {done.kept_as}")


@command.command()
@WAIT
@click.pass_context
def compact(ctx: click.Context, wait: int) -> None:
    """Give room that nobody uses back to the file system.

    Beside a running headend, that one does it, bit by bit, while readings are stored and read. A store from before this was
    possible is rewritten once instead, which takes its size in room and needs headend run to be stopped.
    """
    app = App.of(ctx)
    file = app.store_file(
        "it gives room back by itself (autovacuum); where a table must shrink at once, its administrator runs"
        " VACUUM (FULL, ANALYZE) while headend is stopped"
    )
    _require(app)
    before = file.stat().st_size
    with app.output.busy("compacting"):
        try:
            with app.writer() as store:
                asyncio.run(_compact(app, store))
        except StoreBusy as error:
            with StoreReader.open(file) as reader:
                if not reader.can_give_back():
                    raise Failure(
                        f"{error}; this store is from before room could be given back bit by bit: it is rewritten once, by"
                        " this command, while nothing else writes it",
                        Exit.INTERNAL,
                    ) from error
            asyncio.run(_ask(app, Request.COMPACT, wait))
    app.output.say(f"{file}: {before} bytes before, {file.stat().st_size} after")


async def _compact(app: App, store: Store) -> None:
    upkeep = _upkeep(app, store)
    await upkeep.settle()
    if store.can_give_back():
        await upkeep.give_back(store, everything=True)
        store.checkpoint()
    else:
        store.compact()


@command.command(short_help="Drop what has outlived its term in the settings.")
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@WAIT
@output_option
@click.pass_context
def retain(ctx: click.Context, *, dry_run: bool, wait: int, format_name: str) -> None:
    """Drop what has outlived its term in the settings, [retention]. headend run does it by itself, every hour.

    Nothing is dropped before validation has seen it, nor, for sink_wait_days, before each sink has taken it; after that a gap
    record says what the sink misses.
    """
    app = App.of(ctx, format_name)
    _require(app)
    sinks = [PREFIX + name for name in app.settings.sinks]
    with app.output.busy("counting"), StoreReader.open(app.store_place) as reader:
        plan = reader.plan_retention(app.settings.retention, app.now(), sinks)
        floors = {**reader.floors(), **plan.floors}
        counts = {what: reader.below(what, floor) for what, floor in floors.items()}
    rows: list[dict[str, object]] = []
    for what, floor in sorted(floors.items()):
        waiting = sorted({held.cursor.removeprefix(PREFIX) for held in plan.held if held.what is what})
        rows.append({
            "what": what.value,
            "before": str(day_of(floor.day)),
            "rows": counts[what][0],
            "bytes": counts[what][1],
            "waits_for": ", ".join(waiting),
        })  # fmt: skip
    held_alone = {held.what for held in plan.held} - floors.keys()
    app.output.emit(
        Document("headend.store-retain/1", RETAINED, rows, {"is_dry_run": dry_run, "gaps": list(map(_gap, plan.gaps))})
    )
    for what in sorted(held_alone):
        names = sorted({held.cursor.removeprefix(PREFIX) for held in plan.held if held.what is what})
        app.output.say(f"{what}: nothing is dropped before {', '.join(names)} has come so far")
    for gap in plan.gaps:
        app.output.warn(f"{gap.sink.removeprefix(PREFIX)} will not get {gap}")
    if not rows and not held_alone:
        app.output.say("nothing has outlived its term; see [retention] in the settings")
    if dry_run:
        return
    with app.output.busy("dropping"):
        try:
            with app.writer() as store:
                asyncio.run(_retain(app, store))
        except StoreBusy:
            asyncio.run(_ask(app, Request.RETAIN, wait))


async def _retain(app: App, store: Store) -> None:
    upkeep = _upkeep(app, store)
    await upkeep.settle()
    await upkeep.retain(store, by_word=True)
    if store.can_give_back():
        await upkeep.give_back(store, everything=False)


def _upkeep(app: App, store: Store) -> Upkeep:
    sinks = [PREFIX + name for name in app.settings.sinks]
    return Upkeep(Alone(store), app.store_place, app.settings.retention, sinks, app.clock)


async def _ask(app: App, request: Request, wait: int) -> None:
    """Ask the process that writes the store, and wait until it has done it."""
    with requests_of(app.store_place) as requests:
        requests.ask_for(request)
        until = app.clock.monotonic() + wait
        while requests.asked_for() is request:
            if app.clock.monotonic() > until:
                raise Failure(
                    f"the process that writes {app.store_place} was asked to {request}, and is not done after {wait} s; it goes on"
                    " with it if it is headend run, else the next headend run will do it",
                    Exit.INTERNAL,
                )
            await app.clock.sleep(0.1)


@command.command(short_help="Show what is left of validated days that were dropped.")
@click.argument("name", metavar="USAGE_POINT")
@click.option("--from", "first", type=DAY, required=True, help="First UTC day.")
@click.option("--to", "last", type=DAY, required=True, help="Last UTC day, inclusive.")
@output_option
@click.pass_context
def sums(ctx: click.Context, name: str, first: date, last: date, format_name: str) -> None:
    """Show what is left of a usage point's validated days that were dropped: sums, and of how many slots of which state.

    In hours or days of UTC, as the settings said when they were dropped.
    """
    app = App.of(ctx, format_name)
    _require(app)
    rows: list[dict[str, object]] = []
    with app.reader() as reader:
        point = find_usage_point(reader, name, app.now())
        for day in reader.sums(point.id, point.name, number_of(first), number_of(last) + 1):
            for channel in day.channels:
                seconds = 86_400 // len(channel.sums)
                for index, (total, counts) in enumerate(zip(channel.sums.tolist(), channel.counts, strict=True)):
                    slots = {state_key(state): int(counts[state]) for state in State}
                    rows.append({
                        "start": instant(day.day * 86_400 + index * seconds),
                        "seconds": seconds,
                        "obis": str(channel.obis),
                        "sum": channel.scaler_unit.to_decimal(total) if any(counts[state] for state in HAS_VALUE) else None,
                        "unit": channel.scaler_unit.unit.symbol,
                        **slots,
                    })  # fmt: skip
    app.output.emit(Document("headend.store-sums/1", SUMS, rows, {"usage_point": point.name}))
    if not rows:
        app.output.say("there are no sums of these days; what is not dropped yet: headend curve")


@command.command("advance-counters", short_help="Put invocation counters ahead after pg_restore.")
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


@command.command("export", short_help="Write the whole store, or a part, as open files.")
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
    if not is_there(app.store_place):
        raise Failure(
            f"there is no store in {app.store_home}; headend store restore BACKUP puts one there,"
            " headend meter import FILE.csv begins one, or name another directory with --data",
            Exit.USAGE,
        )
