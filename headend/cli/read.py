"""``headend read``: one meter, now."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from drivers.facts import RegisterValue
from drivers.obis import Obis, by_obis, resolve
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.logs import start_logs
from headend.cli.options import output_option
from headend.cli.output import Column, Document, instant
from headend.cli.tracing import wiring
from headend.cli.words import counted
from headend.registry.find import find_meter
from headend.service import read_now

COLUMNS = (
    Column("name", "Item"),
    Column("obis", "OBIS"),
    Column("value", "Value", is_number=True),
    Column("unit", "Unit"),
    Column("captured_at", "Held at"),
    Column("uncertainty_s", "+- s", is_number=True),
    Column("rules", "Doubts"),
)


def _items(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> tuple[Obis, ...]:
    try:
        return tuple(resolve(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("meter")
@click.argument("items", nargs=-1, callback=_items, metavar="[ITEM...]")
@click.option(
    "--trace", "trace_file", type=click.Path(path_type=Path, dir_okay=False),
    help="Write what the link carries to this file, passwords and keys masked; see: headend trace decode.",
)  # fmt: skip
@output_option
@click.pass_context
def command(
    ctx: click.Context, *, meter: str, items: tuple[Obis, ...], trace_file: Path | None, format_name: str
) -> int:
    """Read METER now and store what it says. ITEM: catalogue name or OBIS code; all of the model's without one.

    Needs the store to itself: while "headend run" holds it, stop that first. Exit codes: 3 an item is not there, 4 no
    answer, 6 port missing, busy or not permitted, 7 refused or another meter answered.
    """
    app = App.of(ctx, format_name)
    with app.reader() as reader:  # reading must not make a store
        find_meter(reader, meter)
    start_logs(app, "error")  # what goes wrong is this command's own answer
    started = app.clock.monotonic()
    with wiring(app, file=trace_file) as wires, app.output.busy(f"reading {meter}"):
        values: Sequence[RegisterValue] = asyncio.run(
            read_now(app.store_place, app.settings, app.profiles, app.clock, app.secrets, meter, items, **wires)
        )
    took = app.clock.monotonic() - started
    app.output.emit(
        Document(
            "headend.read/1", COLUMNS, [_row(value) for value in values], {"meter": meter, "at": instant(app.now())}
        )
    )
    app.output.say(f"{counted(len(values), 'value')} in {took:.1f} s")
    if absent := sorted(set(items) - {value.obis for value in values}):
        app.output.warn(f"{meter} gave no {', '.join(_name(obis) for obis in absent)}")
        return Exit.PARTIAL
    return Exit.OK


def _name(obis: Obis) -> str:
    entry = by_obis(obis)
    return entry.name if entry else str(obis)


def _row(value: RegisterValue) -> dict[str, object]:
    entry = by_obis(value.obis)
    return {
        "name": entry.name if entry else "",
        "obis": str(value.obis),
        "value": value.value,
        "unit": value.scaler_unit.unit.symbol,
        "captured_at": instant(value.captured_at),
        "uncertainty_s": value.uncertainty,
        "rules": [rule.name.lower() for rule in value.rules if rule.name],
    }
