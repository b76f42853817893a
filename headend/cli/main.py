"""Entry point of ``headend``: global options, the lazy list of commands, and errors turned into exit codes.

Nothing heavy is imported here, so that ``headend --help`` stays quick on a small gateway.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from headend.cli.exits import MEANING, Exit
from headend.cli.lazy import LazyGroup
from headend.cli.options import Globals

COMMANDS = {
    "demo": ("headend.cli.demo", "Watch simulated meters being read, explained and exported; no hardware needed."),
    "meter": ("headend.cli.meter", "Register meters: add, import, list, show."),
    "plan": ("headend.cli.plan", "Say what each link needs of its time before anything is deployed; reads no meter."),
    "run": ("headend.cli.run", "Collect, validate and store: the daemon, or one round."),
    "read": ("headend.cli.read", "Read one meter now."),
    "scan": ("headend.cli.scan", "Find the meters on a line and draft a meter table."),
    "identify": ("headend.cli.identify", "Ask a DLMS meter who it is and what it has; draft a profile from it."),
    "status": (
        "headend.cli.status",
        "Show what was read today and in the last 7 days, by link, and what was not and why.",
    ),
    "missing": ("headend.cli.missing", "List missing slots: which, why, and what to do next."),
    "curve": ("headend.cli.curve", "Draw a meter's day in the terminal, gaps as gaps."),
    "vee": ("headend.cli.vee", "Explain a validated slot: rules it failed, what filled it; sum up by tariff."),
    "export": ("headend.cli.export", "Write billing files: csv or nem12."),
    "store": (
        "headend.cli.store",
        "Care for the store: check, stats, backup, restore, export, retain, sums, compact, advance-counters.",
    ),
    "sink": ("headend.cli.sink", "Show where readings are taken to, and what could not be delivered."),
    "config": ("headend.cli.config", "Check and show settings; reads no meter."),
    "trace": ("headend.cli.trace", "Take recorded wire traces apart, offline."),
    "profile": ("headend.cli.profile", "Check and list meter profiles."),
    "doctor": ("headend.cli.doctor", "Check everything around the program, with a fix for each fault."),
}

EPILOG = "Exit codes: " + "; ".join(f"{int(code)} {text}" for code, text in MEANING.items()) + "."


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="Settings file. Without it: ./headend.toml, then /etc/headend/headend.toml, else every default.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the store. Without it: store.path of the settings, then $XDG_DATA_HOME/headend where that"
    " variable is set, else ./headend-data.",
)  # fmt: skip
@click.option(
    "--profiles", multiple=True, type=click.Path(path_type=Path, file_okay=False),
    help="Further directory of meter profiles; may be given more than once.",
)  # fmt: skip
@click.option(
    "--color", type=click.Choice(["auto", "always", "never"]), default="auto",
    help="Colour on the terminal. Auto: if it is one, and NO_COLOR is not set.",
)  # fmt: skip
@click.option("--ascii", "is_ascii", is_flag=True, help="Print ASCII only, for serial consoles.")
@click.option("-q", "--quiet", is_flag=True, help="Print data only, no words around it.")
@click.option("-v", "--verbose", count=True, help="Log more; twice for everything.")
@click.version_option(package_name="headend")
@click.pass_context
def cli(
    ctx: click.Context,
    *,
    config: Path | None,
    data: Path | None,
    profiles: tuple[Path, ...],
    color: str,
    is_ascii: bool,
    quiet: bool,
    verbose: int,
) -> None:
    """Head-end system for electricity meters: reads every meter, explains every missing reading, hands billing numbers on.

    Data goes to stdout, words to stderr. Commands that give data take -o table|json|ndjson|csv.
    """
    ctx.obj = Globals(config, data, profiles, color, is_ascii, quiet, verbose, os.environ)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of `headend.cli.exits.Exit`."""
    _open_closed_streams()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit code. Never raises."""
    try:
        result = cli.main(args=arguments, prog_name="headend", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return Exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Whoever read us has gone, as `head` does; click and rich turn that into SystemExit.
        _drop_stdout()
        return Exit.OK
    except Exception as error:  # noqa: BLE001  the one place that turns every failure into words and a code
        from headend.cli.failures import is_unwritten, report  # noqa: PLC0415  only on failure

        if is_unwritten(error):
            _drop_stdout()
        return report(error)
    return result if isinstance(result, int) else Exit.OK


def _drop_stdout() -> None:
    """Send what is left of stdout nowhere: Python would complain again when it flushes at exit, and change the exit code."""
    with suppress(OSError):  # of a stream that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Put nothing in the place of standard streams that are closed (``>&-``), before a store's file gets their number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None and os.open(os.devnull, os.O_RDWR) == number:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
