"""``headend missing``: which slots are missing, why, and what to do next."""

from datetime import date
from itertools import islice

import click

from headend.cli.app import App
from headend.cli.options import DAY, output_option
from headend.cli.output import Column, Document, instant
from headend.cli.words import advice, reason_key, reason_word
from headend.report import Days, Recent, missing_runs

COLUMNS = (
    Column("meter", "Meter"),
    Column("usage_point", "Usage point"),
    Column("area", "Area"),
    Column("link", "Link"),
    Column("obis", "Channel"),
    Column("start", "From"),
    Column("end", "To (exclusive)"),
    Column("slots", "Slots", is_number=True),
    Column("cause", "Cause"),
    Column("cause_text", "Why"),
    Column("is_filled", "Filled"),
    Column("advice", "What to do next"),
)


@click.command()
@click.option("--meter", help="Only this meter.")
@click.option("--day", type=DAY, help="Only this day, in the usage point's zone.")
@click.option("--days", type=click.IntRange(1, 400), help="This many days up to today. Default: 7.")
@click.option("--area", help="Only meters in this area.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most this many rows.")
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    meter: str | None,
    day: date | None,
    days: int | None,
    area: str | None,
    limit: int,
    format_name: str,
) -> None:
    """List missing slots as runs of one cause: which, why, and what to do next."""
    app = App.of(ctx, format_name)
    if day and days:
        raise click.UsageError("choose one of --day and --days")
    now = app.now()
    within = Days(day, day) if day else Recent(now, days or 7)
    with app.reader() as reader:
        found = list(islice(missing_runs(reader, within, now, meter, area), limit + 1))
    rows = [
        {
            "meter": run.meter,
            "usage_point": run.usage_point,
            "area": run.area,
            "link": run.link,
            "obis": str(run.obis),
            "start": instant(run.start),
            "end": instant(run.end),
            "slots": run.slots,
            "cause": reason_key(run.cause),
            "cause_text": reason_word(run.cause),
            "is_filled": run.is_filled,
            "advice": advice(run.cause).replace("METER", run.meter),
        }
        for run in found[:limit]
    ]
    empty = {key for key in ("area", "usage_point") if not any(row[key] for row in rows)}
    app.output.emit(
        Document("headend.missing/1", COLUMNS, rows, {"at": instant(now)}, hidden=empty | {"link", "cause"})
    )
    if not rows:
        app.output.say("nothing that has fallen due is missing")
    if len(found) > limit:
        app.output.warn(f"there are more rows than {limit}; narrow it with --meter, --day or --area, or raise --limit")
