"""``headend demo``: watch simulated meters being read, explained, stored and exported."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from drivers.obis import CATALOGUE
from drivers.zone import parse_zone
from headend.cli.app import App
from headend.cli.drawing import draw
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.output import Column, Document, Output, instant
from headend.cli.status import row, together
from headend.cli.words import advice, reason_word
from headend.demo.check import Comparison
from headend.demo.play import FIRST_DAY, Outcome, play, prepare
from headend.logging import configure
from headend.report import Days, coverage_by_link, day_slots
from headend.store.reader import StoreReader
from kernels.quality import Reason

ZONE = "UTC+10:00"
INTERVAL_ENERGY = CATALOGUE["active_energy_import_interval"].obis
LINK_COLUMNS = (
    Column("link", "Link"),
    Column("meters", "Meters", is_number=True),
    Column("expected", "Expected", is_number=True),
    Column("measured", "Measured", is_number=True),
    Column("questionable", "Questionable", is_number=True),
    Column("missing", "Not read", is_number=True),
    Column("filled", "of it estimated", is_number=True),
    Column("causes_text", "Why not read"),
)
METER_COLUMNS = (
    Column("meter", "Meter"),
    Column("link", "Link"),
    Column("read", "Read", is_number=True),
    Column("kwh", "kWh read", is_number=True),
    Column("source", "kWh source", is_number=True),
    Column("verdict", "Check"),
    Column("befell", "What befell it"),
    Column("why", "Not read: why"),
)
BEFELL = {
    "Dead": "dead",
    "Silent": "silent 9 h, back-filled",
    "MissingRows": "rows lost by the meter",
    "ClockDrift": "clock 4 min fast",
    "Rollover": "rolled over",
}
"""The world's faults in words (`simulators.town`)."""


@click.command()
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-data"), show_default=True,
    help="Where store, exports and logs of the demonstration go. Emptied at each start.",
)  # fmt: skip
@click.option("--days", type=click.IntRange(1, 14), default=2, show_default=True, help="Simulated days to play.")
@click.pass_context
def command(ctx: click.Context, *, directory: Path, days: int) -> None:
    """Watch about 20 simulated meters being read, explained, stored and exported; no hardware needed.

    A child process plays meters that replay real household load over DLMS/COSEM, Modbus RTU and MQTT. The head-end reads them
    as in service; nights pass quickly. At the end every measured value is held against its source.
    """
    app = App.of(ctx)
    prepare(directory)
    with (directory / "headend.log").open("w", encoding="utf-8") as log:
        configure(app.settings.log.level, is_plain=False, stream=log)
        outcome = asyncio.run(_play(app.output, directory.resolve(), days))
    with StoreReader.open(outcome.store_path) as reader:
        _show_links(app.output, reader, outcome, days)
        _show_meters(app.output, outcome)
        _show_curve(app.output, reader, outcome)
    _show_exports(app.output, outcome)
    _judge(app.output, outcome, directory)


async def _play(output: Output, directory: Path, days: int) -> Outcome:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=output.err, transient=True, disable=output.is_quiet or not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task("", total=1.0)
        return await play(directory, days, lambda share, text: bar.update(task, completed=share, description=text))


def _show_links(output: Output, reader: StoreReader, outcome: Outcome, days: int) -> None:
    first = FIRST_DAY.date()
    links = coverage_by_link(reader, Days(first, date.fromordinal(first.toordinal() + days - 1)), outcome.now)
    rows = [{**row("", link), "link": _short(link.url)} for link in (*links, together(links))]
    title = f"Coverage of {days * 24} hours: what should be there, what is, and why the rest is not"
    output.emit(Document("headend.demo.coverage/1", LINK_COLUMNS, rows, title=title))


def _show_meters(output: Output, outcome: Outcome) -> None:
    rows = [_meter_row(found, outcome.faults.get(found.meter, ())) for found in outcome.comparisons]
    output.emit(Document("headend.demo.meters/1", METER_COLUMNS, rows, title="Every meter against the load it replays"))


def _meter_row(found: Comparison, faults: Sequence[str]) -> dict[str, object]:
    causes = found.coverage.missing_by_cause
    return {
        "meter": found.meter,
        "link": _short(found.link),
        "read": f"{found.read}/{found.coverage.expected}",
        "kwh": f"{found.measured_wh / 1000:.3f}",
        "source": f"{found.source_wh / 1000:.3f}",
        "verdict": _verdict(found),
        "befell": ", ".join(BEFELL.get(fault, fault) for fault in faults),
        "why": ", ".join(f"{reason_word(cause)} {count}" for cause, count in causes.items()),
    }


def _short(link: str) -> str:
    parts = urlsplit(link)
    return f"{parts.scheme}:{parts.port or parts.path.removeprefix('/dev/')}" if parts.scheme else link


def _verdict(found: Comparison) -> str:
    if not found.is_equal:
        return "FAIL"
    return "PASS" if found.read else "nothing read"


def _show_curve(output: Output, reader: StoreReader, outcome: Outcome) -> None:
    """Draw the first day of the meter whose own profile has a hole, else of any."""
    shown = max(outcome.comparisons, key=lambda found: found.coverage.missing_by_cause.get(Reason.NO_ROW, 0))
    slots, _ = day_slots(reader, shown.meter, INTERVAL_ENERGY, FIRST_DAY.date(), outcome.now)
    output.draw(f"Load curve of {shown.meter} on {FIRST_DAY.date()}")
    output.draw(draw(slots, parse_zone(ZONE), width=min(output.width, 110), height=10, is_ascii=output.is_ascii))


def _show_exports(output: Output, outcome: Outcome) -> None:
    for result in outcome.exports:
        for file in result.files:
            output.draw(f"exported {result.rows} slots: {file}")
    verdict = "intact" if outcome.verification.is_intact else "; ".join(outcome.verification.faults)
    output.draw(f"manifest chain of {len(outcome.verification.sequences)} exports: {verdict}")


def _judge(output: Output, outcome: Outcome, directory: Path) -> None:
    causes = Counter[Reason]()
    for found in outcome.comparisons:
        causes.update(found.coverage.missing_by_cause)
    for cause, count in causes.most_common():
        meter = next(found.meter for found in outcome.comparisons if cause in found.coverage.missing_by_cause)
        output.draw(f"missing {count}: {reason_word(cause)} -> {advice(cause).replace('METER', meter)}")
    wrong = [found for found in outcome.comparisons if not found.is_equal]
    total = sum(found.measured_wh for found in outcome.comparisons)
    slots = sum(found.read for found in outcome.comparisons)
    if wrong or not outcome.verification.is_intact:
        names = ", ".join(found.meter for found in wrong)
        raise Failure(f"values differ from their source: {names or 'exports'}; see {directory}", Exit.CHECK_FAILED)
    output.draw(
        f"PASS: all {slots} half-hours read of {len(outcome.comparisons)} meters equal the replayed source to the last digit:"
        f" {total / 1000:.3f} kWh, {instant(outcome.start)} to {instant(outcome.end)}"
    )
    output.say(f"Look further: headend --data {directory} missing --day {FIRST_DAY.date()}")
