"""``headend run``: the daemon, or one round."""

import asyncio
import signal
from functools import partial
from pathlib import Path

import click

from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.logs import start_logs
from headend.cli.options import output_option
from headend.cli.output import Column, Document
from headend.cli.tracing import Wiring, wiring
from headend.cli.words import NO_METERS, counted, reason_key, reason_word
from headend.registry.find import without_profile
from headend.service import ServiceSummary, serve, serve_on
from kernels.quality import Reason

COLUMNS = (
    Column("jobs", "Visits", is_number=True),
    Column("ok", "OK", is_number=True),
    Column("failed_text", "Failed"),
    Column("new", "New facts", is_number=True),
    Column("same", "Same", is_number=True),
    Column("conflicts", "Conflicts", is_number=True),
    Column("marked", "Slots given a cause", is_number=True),
    Column("messages", "Messages", is_number=True),
    Column("set_aside", "Set aside", is_number=True),
    Column("validated_days", "Days validated", is_number=True),
)
REFUSALS = frozenset({Reason.REFUSED, Reason.SECURITY, Reason.COUNTER, Reason.WRONG_METER})


@click.command()
@click.option(
    "--once", is_flag=True, help="One collection round, then exit: 0 all read, 3 some failed, 4 nothing answered."
)
@click.option(
    "--trace", "trace_directory", type=click.Path(path_type=Path, file_okay=False),
    help="With --once: write what the links carry to this directory, a file per meter, passwords and keys masked.",
)  # fmt: skip
@output_option
@click.pass_context
def command(ctx: click.Context, *, once: bool, trace_directory: Path | None, format_name: str) -> int:
    """Collect from all registered meters, take in what concentrators publish, validate, and store.

    Runs until it is interrupted or terminated; stopping loses nothing, what was not finished stays due.
    """
    if trace_directory is not None and not once:
        raise click.UsageError("--trace is for one round; add --once")
    app = App.of(ctx, format_name)
    start_logs(app)
    with wiring(app, directory=trace_directory) as wires, app.output.busy("collecting"):
        summary, was_interrupted = asyncio.run(_run(app, wires, once=once))
    app.output.emit(Document("headend.run/1", COLUMNS, [_row(summary)]))
    for failure in summary.validation.failed:
        app.output.warn(failure)
    if was_interrupted and once:
        return Exit.INTERRUPTED
    code = verdict(summary)
    if once and _unreadable(app) and code is Exit.OK:
        return Exit.PARTIAL
    return code


def _unreadable(app: App) -> bool:
    """Say which meters no round can read; tell whether there are any."""
    with app.reader() as reader:
        meters = reader.end_devices()
        lost = without_profile(reader, app.profiles, app.now())
    if not meters:
        app.output.say(NO_METERS)
    for name, devices in lost.items():
        app.output.warn(
            f"{counted(len(devices), 'meter')} not read, {devices[0]} first: there is no profile {name!r}; name its"
            " directory with --profiles, or profiles.directories in the settings"
        )
    return bool(lost)


async def _run(app: App, wires: Wiring, *, once: bool) -> tuple[ServiceSummary, bool]:
    stop = asyncio.Event()
    was_interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        was_interrupted.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    serve_until = partial(
        serve, app.make_place(), app.settings, app.profiles, app.clock, app.secrets, once=once, **wires
    )  # fmt: skip
    summary = await (serve_until(stop) if once else serve_on(serve_until, stop))
    return summary, was_interrupted.is_set()


def verdict(summary: ServiceSummary) -> Exit:
    """Give the exit code of a round."""
    done = summary.round
    if not done.failed:
        return Exit.OK
    if done.ok:
        return Exit.PARTIAL
    return Exit.REFUSED if REFUSALS.issuperset(done.failed) else Exit.NO_ANSWER


def _row(summary: ServiceSummary) -> dict[str, object]:
    done = summary.round
    return {
        "jobs": done.jobs,
        "ok": done.ok,
        "failed": {reason_key(cause): count for cause, count in done.failed.items()},
        "failed_text": ", ".join(f"{reason_word(cause)} {count}" for cause, count in done.failed.items()),
        "new": done.new,
        "same": done.same,
        "conflicts": done.conflicts,
        "marked": done.marked,
        "messages": summary.push.messages,
        "set_aside": summary.push.set_aside,
        "validated_days": summary.validation.written,
    }
