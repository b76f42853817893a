"""``headend meter``: the registry as one table of meters, in and out as CSV."""

import csv
import io
from collections.abc import Mapping

import click

from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.options import output_option
from headend.cli.output import Column, Document, instant
from headend.cli.tablefile import emit_faults, read_text
from headend.cli.words import NO_METERS
from headend.errors import RegistryError
from headend.registry import table
from headend.registry.cells import format_tariffs
from headend.registry.find import find_meter
from headend.registry.model import UsagePoint
from headend.store.reader import is_there

NARROW = ("usage_point", "meter", "profile", "link", "address", "from", "to", "area")
"""Columns that a terminal shows; the other forms have all."""


@click.group()
def command() -> None:
    """Register meters, as rows of one table. Secrets are references, env:NAME or file:PATH, never values."""


@command.command()
@click.option("--usage-point", required=True, help="Where supply is measured, for example a NMI.")
@click.option("--meter", required=True, help="The meter's global name: DLMS logical device name, else MAKER:SERIAL.")
@click.option("--profile", required=True, help="Meter model; see headend profile list.")
@click.option(
    "--link", required=True, help="tcp://host:port, udp://host:port, serial:///dev/ttyX?baud=9600, mqtt: or call:."
)
@click.option("--address", default="", help="Address on the link: DLMS server, or Modbus unit identifier.")
@click.option("--from", "from_", required=True, help="First instant, RFC 3339 or a date: 2026-11-01.")
@click.option("--to", default="", help="End (exclusive), written like --from. Default: until further notice.")
@click.option("--zone", default="UTC", show_default=True, help="Time zone of the usage point.")
@click.option("--area", default="", help="Area it belongs to; headend missing --area lists by it.")
@click.option("--transformer", default="", help="Distribution transformer that feeds it.")
@click.option("--feeder", default="", help="Feeder it hangs on.")
@click.option("--box", default="", help="Meter box or cabinet it is in.")
@click.option("--multiplier", default="", help="Primary counts per secondary count (CT x VT ratio). Default: 1.")
@click.option(
    "--dials", default="", help="Digits of the meter's registers, in counts of its channels. Default: the model's."
)
@click.option("--check-meter", default="", help="Usage point at which a check meter measures the same energy.")
@click.option("--check-ratio", default="", help="Our energy by the check meter's: 2, 0.98 or 3/2. Default: 1.")
@click.option("--tariff", default="", help="CALENDAR/TARIFF, or several: a/x;2027-01-01=a/y. See headend vee tariffs.")
@click.option("--password", default="", help="Reference: env:NAME or file:PATH.")
@click.option("--encryption-key", default="", help="Reference: env:NAME or file:PATH.")
@click.option("--authentication-key", default="", help="Reference: env:NAME or file:PATH.")
@click.option("--options", default="", help="Settings of this meter's sessions: key=value;key=value.")
@click.option("--dry-run", is_flag=True, help="Check and say what would change; change nothing.")
@output_option
@click.pass_context
def add(ctx: click.Context, /, *, dry_run: bool, format_name: str, **cells: str) -> int:
    """Register one meter.

    The checks are those of an imported table of one row. Exit code 5 if a value is faulty.
    """
    cells["from"] = cells.pop("from_")
    given = {key: value for key, value in cells.items() if value}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(given), lineterminator="\n")
    writer.writeheader()
    writer.writerow(given)
    return _import(App.of(ctx, format_name), text.getvalue(), "arguments", dry_run=dry_run)


@command.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check and say what would change; change nothing.")
@output_option
@click.pass_context
def import_(ctx: click.Context, file: io.BufferedReader, *, dry_run: bool, format_name: str) -> int:
    """Register all meters of a table.

    FILE is CSV, - for stdin. If one row is faulty none is registered, and every fault is named at once. Columns are those of "headend meter list -o csv". Importing the same file again changes nothing. A meter swap is two
    rows with one usage point and adjoining from and to. Exit code 5 if a row is faulty.
    """
    app = App.of(ctx, format_name)
    return _import(app, read_text(file), file.name, dry_run=dry_run)


def _import(app: App, text: str, source: str, *, dry_run: bool) -> int:
    parsed = table.parse(text, app.profiles, app.calendars.tariffs)
    if parsed.faults:
        emit_faults(app, source, parsed.faults)
        return Exit.CONFIG
    with app.scratch() if dry_run and not is_there(app.store_place) else app.writer() as store:
        try:
            applied = table.apply(store, parsed.rows, dry_run=dry_run)
        except RegistryError as error:
            raise Failure(f"{source}: {error}; nothing was changed", Exit.CONFIG) from error
    row = {"added": applied.added, "changed": applied.changed, "unchanged": applied.unchanged, "dry_run": dry_run}
    columns = [Column(key, key.replace("_", " "), is_number=key != "dry_run") for key in row]
    app.output.emit(Document("headend.meter-import/1", columns, [row]))
    if dry_run:
        app.output.say("dry run: nothing was changed")
    return Exit.OK


@command.command("list")
@output_option
@click.pass_context
def list_(ctx: click.Context, format_name: str) -> None:
    """List the registered meters. With -o csv: the table that import takes, unchanged by a round trip."""
    app = App.of(ctx, format_name)
    with app.reader() as reader:
        text = table.dump(reader)
    if format_name == "csv":
        app.output.write_text(text)
        return
    rows = list(csv.DictReader(io.StringIO(text)))
    keys = list(rows[0]) if rows else list(NARROW)
    hidden = frozenset(key for key in keys if key not in NARROW or (rows and not any(row[key] for row in rows)))
    columns = [Column(key, key.replace("_", " ").capitalize()) for key in keys]
    app.output.emit(Document("headend.meter/1", columns, rows, hidden=hidden))
    if not rows:
        app.output.say(NO_METERS)


@command.command()
@click.argument("meter")
@output_option
@click.pass_context
def show(ctx: click.Context, meter: str, format_name: str) -> None:
    """Show what is known of a meter.

    Where METER has been, what it should deliver, how its last ten visits of seven days went.
    """
    app = App.of(ctx, format_name)
    with app.reader() as reader:
        device = find_meter(reader, meter)
        points = {point.id: point for point in reader.usage_points()}
        links = {link.id: link.url for link in reader.links()}
        facts: list[Mapping[str, object]] = [
            _fact("meter", "name", device.name),
            _fact("meter", "profile", device.profile),
            _fact("meter", "link", links[device.link_id]),
            _fact("meter", "address", device.address),
            _fact("meter", "serial", device.serial),
            _fact("meter", "disabled", "yes" if device.disabled else "no"),
            _fact("meter", "password", device.password_ref),
            _fact("meter", "encryption key", device.encryption_key_ref),
            _fact("meter", "authentication key", device.authentication_key_ref),
        ]
        facts += [_fact("option", key, value) for key, value in sorted(device.options.items())]
        places = reader.installations(end_device_id=device.id)
        for installation in places:
            span = f"{instant(installation.start)} to {instant(installation.end) or 'further notice'}"
            name = points[installation.usage_point_id].name
            dials = f", {installation.dials} dials" if installation.dials else ""
            facts.append(_fact("installed", name, f"{span}, multiplier {installation.multiplier}{dials}"))
        for number in sorted({installation.usage_point_id for installation in places}):
            facts += _facts_of(points[number])
        for item in reader.expectations(device.id):
            span = f"{instant(item.start)} to {instant(item.end) or 'further notice'}"
            unit = f"10^{item.scaler_unit.scaler} {item.scaler_unit.unit.symbol}"
            dials = f", {item.dials} dials" if item.dials else ""
            facts.append(
                _fact("channel", str(item.obis), f"every {item.period} s, {unit}, {item.origin}{dials}, {span}")
            )
        for run in reader.job_runs(device.id, None, app.now() - 7 * 86_400)[-10:]:
            verdict = "ok" if run.succeeded else f"failed: {run.detail}"
            facts.append(_fact("visit", f"{instant(run.started_at)} {run.kind}", verdict))
    columns = [Column("about", "About"), Column("key", "What"), Column("value", "Value")]
    app.output.emit(Document("headend.meter-show/1", columns, [fact for fact in facts if fact["value"]]))


def _facts_of(point: UsagePoint) -> list[Mapping[str, object]]:
    ratio = f" x {point.check_ratio}" if point.check_ratio != 1 else ""
    tariffs = format_tariffs(point.tariffs)
    return [
        _fact("check meter", point.name, point.check_meter and f"{point.check_meter}{ratio}"),
        _fact("tariff", point.name, tariffs),
    ]


def _fact(about: str, key: str, value: str) -> Mapping[str, object]:
    return {"about": about, "key": key, "value": value}
