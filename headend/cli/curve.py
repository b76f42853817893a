"""``headend curve``: a day of a channel drawn in the terminal, gaps as gaps."""

from datetime import date

import click

from drivers.obis import Obis
from headend.cli.app import App
from headend.cli.drawing import draw
from headend.cli.options import DAY, obis_option, output_option
from headend.cli.output import Column, Document, instant
from headend.cli.words import reason_key, state_key
from headend.report import Slot, day_slots
from kernels.quality import Reason

DEFAULT = "active_energy_import_interval"
COLUMNS = (
    Column("start", "From"),
    Column("end", "To"),
    Column("value", "Value", is_number=True),
    Column("unit", "Unit"),
    Column("state", "State"),
    Column("reason", "Reason"),
)


@click.command()
@click.argument("meter")
@click.option("--day", type=DAY, help="Which day, in the usage point's zone. Default: today.")
@click.option(
    "--channel", callback=obis_option, default=DEFAULT, show_default=True, help="Catalogue name or OBIS code."
)
@click.option("--height", type=click.IntRange(3, 40), default=12, show_default=True, help="Lines of the drawing.")
@output_option
@click.pass_context
def command(ctx: click.Context, *, meter: str, day: date | None, channel: Obis, height: int, format_name: str) -> None:
    """Draw one day of METER (a meter or a usage point): what was measured, estimated, and not read.

    With -o json, ndjson or csv the slots are written instead.
    """
    app = App.of(ctx, format_name)
    with app.reader() as reader:
        slots, zone = day_slots(reader, meter, channel, day, app.now())
    if format_name == "table":
        shown = [slot for slot in slots if slot.reason is not Reason.DROPPED]
        if shown:
            app.output.draw(draw(shown, zone, width=app.output.width, height=height, is_ascii=app.output.is_ascii))
        if len(shown) < len(slots):
            app.output.say(
                f"{len(slots) - len(shown)} slots were dropped by retention; what is left of validated days: headend store sums"
            )
        elif not shown:
            app.output.say(f"nothing of {meter} was due on this day")
        return
    app.output.emit(
        Document("headend.curve/1", COLUMNS, [_row(slot) for slot in slots], {"meter": meter, "obis": str(channel)})
    )


def _row(slot: Slot) -> dict[str, object]:
    return {
        "start": instant(slot.start),
        "end": instant(slot.start + slot.period),
        "value": slot.value,
        "unit": slot.unit.symbol,
        "state": state_key(slot.state),
        "reason": None if slot.reason is Reason.NONE else reason_key(slot.reason),
    }
