"""``headend vee``: what validation, estimation and editing made of a slot, and why."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import click

from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.cli.app import App
from headend.cli.curve import DEFAULT
from headend.cli.options import DAY, INSTANT, obis_option, output_option
from headend.cli.output import Column, Document, instant
from headend.cli.words import reason_word, state_key
from headend.registry.find import find_usage_point
from headend.vee.buckets import Bucket, bucket_table
from headend.vee.explain import Explanation, SlotState, explain
from headend.vee.rules import load_rules
from kernels.quality import Reason, State

COLUMNS = (
    Column("step", "Step"),
    Column("what", "What"),
    Column("value", "Value", is_number=True),
    Column("detail", "How, from what"),
    Column("source", "Source of the rule"),
)
BUCKETS = (
    Column("from", "From"),
    Column("to", "To"),
    Column("calendar", "Calendar"),
    Column("tariff", "Tariff"),
    Column("bucket", "Bucket"),
    Column("energy", "Energy", is_number=True),
    Column("demand", "Greatest interval", is_number=True),
    Column("demand_at", "At"),
    Column("measured", "Measured", is_number=True),
    Column("estimated", "Estimated", is_number=True),
    Column("missing", "Missing", is_number=True),
    Column("register", "Register"),
    Column("counted", "Counted", is_number=True),
    Column("off", "Off", is_number=True),
)


@click.group()
def command() -> None:
    """Explain what validation and estimation made of the meters' values; reads no meter, writes nothing."""


@command.command(name="explain")
@click.argument("meter")
@click.option(
    "--slot", type=INSTANT, required=True, help="An instant in the slot, with its deviation: 2026-11-01T06:30Z."
)
@click.option(
    "--channel", callback=obis_option, default=DEFAULT, show_default=True, help="Catalogue name or OBIS code."
)
@click.option("--rules", help="Rule set, shipped or a .toml file. Default: vee.rules of the settings.")
@output_option
@click.pass_context
def explain_command(
    ctx: click.Context, *, meter: str, slot: int, channel: Obis, rules: str | None, format_name: str
) -> None:
    """Say why a slot of METER (a meter or a usage point) is what it is.

    Which rules it failed, which method filled it and from which values, what the register left for it, and whether what
    stands in the store is what the rules give now.
    """
    app = App.of(ctx, format_name)
    chosen = load_rules(rules or app.settings.vee.rules)
    with app.reader() as reader:
        found = explain(reader, find_usage_point(reader, meter, slot), channel, slot, chosen, app.calendars)
    summary = {
        "usage_point": found.usage_point, "obis": str(found.obis), "start": instant(found.start),
        "end": instant(found.start + found.period), "rules": found.rules,
        "unit": found.scaler_unit.unit.symbol, "is_as_stored": found.is_as_stored,
    }  # fmt: skip
    title = f"{found.usage_point}, {found.obis}, {instant(found.start)} to {instant(found.start + found.period)}"
    app.output.emit(Document("headend.vee-explain/1", COLUMNS, list(_rows(found)), summary, title))
    if found.stored is not None and not found.is_as_stored:
        app.output.say("what stands differs from what the rules give now: other rules, or values that came since")


@command.command(name="tariffs", short_help="Sum up a meter by month and tariff bucket.")
@click.argument("meter")
@click.option("--from", "first", type=DAY, required=True, help="First day, in the usage point's zone.")
@click.option("--to", "last", type=DAY, required=True, help="Last day, inclusive.")
@click.option(
    "--channel", callback=obis_option, default=DEFAULT, show_default=True, help="Catalogue name or OBIS code."
)
@output_option
@click.pass_context
def tariffs_command(
    ctx: click.Context, *, meter: str, first: date, last: date, channel: Obis, format_name: str
) -> None:
    """Sum up METER (a meter or a usage point) by month and tariff bucket.

    Beside it what the meter's own tariff registers counted, where they were read at both ends of the period, and how far off
    the two are.
    """
    app = App.of(ctx, format_name)
    if last < first:
        raise click.UsageError(f"--to {last} is before --from {first}")
    within = load_rules(app.settings.vee.rules).register_within
    with app.reader() as reader:
        point = find_usage_point(reader, meter, app.now())
        found = bucket_table(reader, point, channel, first, last, app.calendars, within=within)
    rows = [_bucket(one, found.scaler_unit) for one in found.buckets]
    summary = {"usage_point": point.name, "obis": str(channel), "unit": found.scaler_unit.unit.symbol}
    empty = frozenset(column.key for column in BUCKETS if not any(row[column.key] for row in rows))
    app.output.emit(Document("headend.vee-tariffs/1", BUCKETS, rows, summary, f"{point.name}, {channel}", hidden=empty))


def _bucket(one: Bucket, scaler_unit: ScalerUnit) -> dict[str, object]:
    def text(value: Decimal | None) -> str | None:
        return None if value is None else f"{value:f} {scaler_unit.unit.symbol}"

    return {
        "from": instant(one.start), "to": instant(one.end), "calendar": one.calendar, "tariff": one.tariff,
        "bucket": one.bucket, "energy": text(one.energy), "demand": text(one.demand),
        "demand_at": instant(one.demand_at),
        **{state_key(state): one.slots[state] for state in (State.MEASURED, State.ESTIMATED, State.MISSING)},
        "register": None if one.register is None else str(one.register), "counted": text(one.counted),
        "off": text(one.off),
    }  # fmt: skip


def _rows(found: Explanation) -> Iterator[dict[str, object]]:
    yield _row("raw", _words(found.raw), _value(found.raw.value, found.scaler_unit))
    for said in found.said:
        yield _row("meter", "said", None, said)
    for failed in found.failed:
        severity = f", {failed.severity}" if failed.severity else ""
        yield _row("rule", f"{failed.name}{severity}", None, f"its value {failed.says}", failed.source)
    for note in found.notes:
        detail = "; ".join(
            [note.text, *(f"{instant(one.start)}: {_value(one.value, found.scaler_unit)}" for one in note.sources)]
        )
        sources = [{"start": instant(one.start), "value": _value(one.value, found.scaler_unit)} for one in note.sources]
        yield {**_row("estimate", note.step, None, detail), "sources": sources}
    yield _row("result", _words(found.result), _value(found.result.value, found.scaler_unit), f"rules {found.rules}")
    if found.stored is None:
        yield _row("stored", "nothing", None, "this day was never validated")
        return
    run = found.stored.run
    by = f" by {run.user}" if run.user else ""
    why = f", {run.reason}" if run.reason else ""
    same = "the same" if found.is_as_stored else "something else"
    yield _row(
        "stored", same, None, f"version {found.stored.version}, rules {run.rules}, written {instant(run.at)}{by}{why}"
    )


def _row(step: str, what: str, value: str | None, detail: str = "", source: str | None = None) -> dict[str, object]:
    return {"step": step, "what": what, "value": value, "detail": detail or None, "source": source}


def _words(state: SlotState) -> str:
    if state.reason is Reason.NONE:
        return state_key(state.state)
    return f"{state_key(state.state)}, {reason_word(state.reason)}"


def _value(value: int | None, scaler_unit: ScalerUnit) -> str | None:
    return None if value is None else f"{scaler_unit.to_decimal(value)} {scaler_unit.unit.symbol}"
