"""``headend export``: billing files, each complete or absent, with a manifest that chains them."""

from datetime import date
from pathlib import Path

import click

from drivers.obis import Obis, resolve
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.options import DAY, node_options, output_option
from headend.cli.output import Column, Document, instant
from headend.errors import RegistryError
from headend.export.formats import whole_days
from headend.export.write import ExportResult, export, verify
from headend.registry.find import find_meter
from headend.store.reader import StoreReader

EPOCH = date(1970, 1, 1)


def _channels(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Obis, ...]:
    try:
        return tuple(resolve(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _directory(app: App, directory: Path | None) -> Path:
    return directory or Path(app.settings.export.directory)


@click.group()
def command() -> None:
    """Write billing files, each complete or absent, with a chained manifest."""


def _export(format_name: str) -> click.Command:
    @click.option("--from", "first", type=DAY, required=True, help="First day.")
    @click.option("--to", "last", type=DAY, required=True, help="Last day, inclusive.")
    @click.option("--meter", "usage_points", multiple=True, help="Only this usage point or meter; may be repeated.")
    @node_options
    @click.option(
        "--channel", "channels", multiple=True, callback=_channels, help="Only this channel; may be repeated."
    )
    @click.option(
        "--directory", type=click.Path(path_type=Path, file_okay=False),
        help="Where to write. Default: export.directory of the settings.",
    )  # fmt: skip
    @output_option
    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        *,
        first: date,
        last: date,
        usage_points: tuple[str, ...],
        channels: tuple[Obis, ...],
        directory: Path | None,
        format_name: str,
        **node: str | None,
    ) -> None:
        app = App.of(ctx, format_name)
        if last < first:
            raise click.UsageError(f"--to {last} is before --from {first}")
        start, end = whole_days(name, (first - EPOCH).days, (last - EPOCH).days)
        with app.reader() as reader, app.output.busy(f"exporting {name}"):
            points = _chosen(reader, usage_points, node)
            result = export(
                reader, name, points, channels or None, start, end, _directory(app, directory), app.now(),
                sender=app.settings.export.sender, receiver=app.settings.export.receiver,
            )  # fmt: skip
        app.output.emit(_document(result))
        for note in result.notes:
            app.output.say(note)
        if end > app.now():
            app.output.warn(f"the period ends at {instant(end)} and is not over: export it again when it is")
        if result.replaces is not None:
            app.output.say(f"it replaces export {result.replaces}; {result.changed_slots} slots differ")

    name = format_name
    days = "UTC+10:00, as NEM12 counts them" if name == "nem12" else "UTC"
    return click.command(name, help=f"Write whole days ({days}) as {name}.")(run)


def _chosen(reader: StoreReader, names: tuple[str, ...], node: dict[str, str | None]) -> list[str] | None:
    """List the usage points of some names and under a node, None for all. Raises `RegistryError` where that leaves none."""
    chosen = [_usage_point(reader, name) for name in names] or None
    where = {kind: name for kind, name in node.items() if name is not None}
    if not where:
        return chosen
    under = [point.name for point in reader.usage_points(**where)]
    found = under if chosen is None else [name for name in chosen if name in under]
    if not found:
        place = ", ".join(f"{kind} {name}" for kind, name in where.items())
        raise RegistryError(
            f"no such usage point belongs to {place}; `headend meter list -o json` shows where each belongs"
        )
    return found


def _usage_point(reader: StoreReader, name: str) -> str:
    """Give the usage point of that name, else the one where the meter of that name was last installed."""
    points = {point.id: point.name for point in reader.usage_points()}
    if name in points.values():
        return name
    installations = reader.installations(end_device_id=find_meter(reader, name).id)
    if not installations:
        raise RegistryError(f"meter {name} has never been installed at a usage point")
    return points[installations[-1].usage_point_id]


def _document(result: ExportResult) -> Document:
    columns = [
        Column("usage_point", "Usage point"),
        Column("meter", "Meter"),
        Column("obis", "Channel"),
        Column("total", "Total", is_number=True),
        Column("unit", "Unit"),
        Column("slots", "Slots", is_number=True),
        Column("states", "By quality"),
        Column("missing", "Missing by cause"),
    ]
    rows = [
        {
            "usage_point": usage_point,
            "meter": meter,
            "obis": obis,
            "total": account.total,
            "unit": account.unit,
            "slots": account.slots.total(),
            "states": dict(account.slots),
            "missing": dict(account.missing),
        }
        for (usage_point, meter, obis), account in result.channels.items()
    ]
    summary = {
        "is_new": result.is_new,
        "sequence": result.sequence,
        "manifest": str(result.manifest),
        "files": [str(path) for path in result.files],
        "replaces": result.replaces,
        "changes": result.changed_slots,
        "notes": list(result.notes),
    }
    title = ", ".join(str(path) for path in result.files)
    return Document("headend.export/1", columns, rows, summary, title=f"export {result.sequence}: {title}")


command.add_command(_export("csv"))
command.add_command(_export("nem12"))


@command.command("verify")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Which. Default: export.directory of the settings.",
)
@output_option
@click.pass_context
def verify_(ctx: click.Context, directory: Path | None, format_name: str) -> int:
    """Check the chain of manifests and every file they name. Exit code 8 if a fault is found, or no export at all."""
    app = App.of(ctx, format_name)
    chosen = _directory(app, directory)
    found = verify(chosen)
    rows = [{"result": "FAIL", "what": fault} for fault in found.faults]
    rows += [{"result": "WARN", "what": note} for note in found.notes]
    is_intact = found.is_intact and bool(found.sequences)
    if is_intact:
        count = len(found.sequences)
        what = "1 export is intact" if count == 1 else f"{count} exports are intact and follow each other"
        rows.insert(0, {"result": "PASS", "what": what})
    elif found.is_intact:
        rows.insert(0, {"result": "FAIL", "what": f"there is no export in {chosen}"})
    columns = [Column("result", "Result"), Column("what", "What")]
    app.output.emit(Document("headend.export-verify/1", columns, rows))
    return Exit.OK if is_intact else Exit.CHECK_FAILED
