"""``headend sink``: how far each sink has come, what ails it, and what it could not deliver."""

import click

from headend.cli.app import App
from headend.cli.options import output_option
from headend.cli.output import Column, Document, instant
from headend.errors import SettingsError
from headend.sinks.journal import PREFIX
from headend.store.model import SinkState

COLUMNS = (
    Column("sink", "Sink"),
    Column("kind", "Kind"),
    Column("cursor", "Cursor", is_number=True),
    Column("newest", "Newest", is_number=True),
    Column("waiting_s", "Waiting [s]", is_number=True),
    Column("quarantined", "Quarantined", is_number=True),
    Column("gaps", "Gaps", is_number=True),
    Column("error", "Cannot deliver"),
    Column("error_since", "Since"),
)
QUARANTINE = (
    Column("first_at", "First"),
    Column("last_at", "Last"),
    Column("times", "Times", is_number=True),
    Column("seq", "Cursor", is_number=True),
    Column("point", "Point"),
    Column("reason", "Why"),
)


@click.group()
def command() -> None:
    """Show where readings are taken to: how far each sink is, and what it could not deliver."""


@command.command(short_help="Show how far each sink is, and what is wrong.")
@output_option
@click.pass_context
def status(ctx: click.Context, format_name: str) -> None:
    """Show each sink's cursor on the change log, how long the oldest change has waited, and what is wrong.

    A sink that is in the store and no longer in the settings has no kind; its cursor stands. Gaps are what retention dropped
    before the sink had taken it.
    """
    app = App.of(ctx, format_name)
    now = app.now()
    with app.reader() as reader:
        newest = reader.last_seq()
        states = {
            name.removeprefix(PREFIX): state for name, state in reader.sink_states().items() if name.startswith(PREFIX)
        }
        fresh = SinkState(waiting_since=reader.first_change_at())
        gaps = reader.gaps()
    rows = []
    for name in sorted(states.keys() | app.settings.sinks.keys()):
        state, sink = states.get(name, fresh), app.settings.sinks.get(name)
        rows.append({
            "sink": name,
            "kind": sink.kind if sink else None,
            "cursor": state.seq,
            "newest": newest,
            "waiting_s": None if state.waiting_since is None else max(0, now - state.waiting_since),
            "quarantined": state.quarantined,
            "gaps": sum(gap.sink == PREFIX + name for gap in gaps),
            "error": state.error,
            "error_since": None if state.error_since is None else instant(state.error_since),
        })  # fmt: skip
    app.output.emit(Document("headend.sink/1", COLUMNS, rows, {"at": instant(now)}))
    for gap in gaps:
        app.output.say(
            f"{gap.sink.removeprefix(PREFIX)} {'will not get' if gap.reached_at is None else 'did not get'} {gap}"
        )
    if not rows:
        app.output.say("no sink is set up; see [sinks.NAME] in docs/integrator.md")


@command.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most this many, the newest.")
@output_option
@click.pass_context
def quarantine(ctx: click.Context, name: str, limit: int, format_name: str) -> None:
    """List the points that the sink NAME could not deliver, and why. The cursor has gone past them; the store has them."""
    app = App.of(ctx, format_name)
    with app.reader() as reader:
        if name not in app.settings.sinks and PREFIX + name not in reader.sink_states():
            raise SettingsError([f"sinks.{name}: there is no such sink, neither in the settings nor in the store"])
        found = reader.quarantine(PREFIX + name, limit)
    rows = [
        {
            "first_at": instant(item.first_at),
            "last_at": instant(item.last_at),
            "times": item.times,
            "seq": item.seq,
            "point": item.point,
            "reason": item.reason,
        }
        for item in found
    ]
    app.output.emit(Document("headend.quarantine/1", QUARANTINE, rows))
