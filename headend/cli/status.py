"""``headend status``: what was read, by link, and what was not and why."""

from decimal import ROUND_FLOOR, Decimal

import click

from headend.cli.app import App
from headend.cli.options import output_option
from headend.cli.output import Column, Document, instant
from headend.cli.words import NO_METERS, reason_key, reason_word
from headend.ledger import Coverage, total
from headend.report import LinkCoverage, Recent, coverages_by_link

PERIODS = (("7 days", 7), ("today", 1))
"""The longest first, which contains the others."""

COLUMNS = (
    Column("period", "Period"),
    Column("link", "Link"),
    Column("meters", "Meters", is_number=True),
    Column("expected", "Expected", is_number=True),
    Column("measured", "Measured", is_number=True),
    Column("questionable", "Question.", is_number=True),
    Column("estimated", "Estimated", is_number=True),
    Column("edited", "Edited", is_number=True),
    Column("missing", "Missing", is_number=True),
    Column("filled", "of it filled", is_number=True),
    Column("read_percent", "Read %", is_number=True),
    Column("missing_by_cause", "By cause"),
    Column("causes_text", "Why missing"),
)
HIDDEN = frozenset({"edited", "missing_by_cause"})
"""Columns for programs alone: nothing edits yet, and causes stand there in words."""


@click.command()
@output_option
@click.pass_context
def command(ctx: click.Context, format_name: str) -> None:
    """Show what was read today and in the last 7 days, by link, and what was not and why.

    Days are those of each usage point's own zone. Slots count once they are over. "Estimated" are intervals made from
    register polls away from their boundary; "of it filled" are missing slots for which validation has put an estimate.
    """
    app = App.of(ctx, format_name)
    now = app.now()
    rows: list[dict[str, object]] = []
    with app.reader() as reader:
        found = coverages_by_link(reader, [Recent(now, days) for _, days in PERIODS], now)
        for (name, _), links in reversed(list(zip(PERIODS, found, strict=True))):
            rows += [row(name, link) for link in links]
            if len(links) > 1:
                rows.append(row(name, together(links)))
        is_empty = not reader.end_devices()
    app.output.emit(Document("headend.status/1", COLUMNS, rows, {"at": instant(now)}, hidden=HIDDEN))
    if is_empty:
        app.output.say(NO_METERS)


def together(links: list[LinkCoverage]) -> LinkCoverage:
    """Add up links."""
    return LinkCoverage(
        "all links",
        sum(link.meters for link in links),
        total(link.coverage for link in links),
        sum(link.filled for link in links),
    )


def row(period: str, link: LinkCoverage) -> dict[str, object]:
    """Make one row of the document."""
    found = link.coverage
    return {
        "period": period,
        "link": link.url,
        "meters": link.meters,
        "expected": found.expected,
        "measured": found.measured,
        "questionable": found.questionable,
        "estimated": found.estimated,
        "edited": found.edited,
        "missing": found.missing,
        "filled": link.filled,
        "read_percent": read_percent(found),
        "missing_by_cause": {reason_key(cause): count for cause, count in found.missing_by_cause.items()},
        "causes_text": ", ".join(f"{reason_word(cause)} {count}" for cause, count in found.missing_by_cause.items()),
    }


def read_percent(found: Coverage) -> Decimal | None:
    """Share of due slots that have a value, rounded down to 0.1 so that 100.0 means all; None where none is due. [%]"""
    if not found.expected:
        return None
    share = Decimal(found.expected - found.missing) * 100 / Decimal(found.expected)
    return share.quantize(Decimal("0.1"), ROUND_FLOOR)
