"""``headend-simulate``: the demonstration world, and single simulated meters for technicians to try."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from simulators.faults import Fault

INTERRUPTED = 130  # exit code, as of shells: 128 and the signal's number
DEFAULT_START = "2026-03-02"  # a Monday, as the bundled fortnights begin with one
A_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _instant(_context: click.Context, parameter: click.Parameter, text: str) -> int:
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not ISO 8601, such as {DEFAULT_START}", param=parameter) from None
    return int((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp())


start_option = click.option(
    "--start", default=DEFAULT_START, show_default=True, callback=_instant, help="First instant of the world, UTC."
)
seed_option = click.option("--seed", default=1, show_default=True, help="Seed of all randomness.")
rate_option = click.option(
    "--rate", default=1.0, show_default=True, type=click.FloatRange(0.001, 100_000), help="World seconds per second."
)
carried_option = click.option(
    "--tcp",
    "port",
    type=click.IntRange(0, 65_535),
    help="Carry the line's bytes on this loopback port; 0 for a free one.",
)
faults_option = click.option(
    "--fault",
    "faults",
    multiple=True,
    help="What is wrong with the first meter, or with meter N where 'N:' stands in front, for example 'silent,start=+60,end=+120', "
    "'2:dead', 'noise,before=3', or of DLMS 'wrong-tag,first=2,times=1,stage=get'.",
)
troubles_option = click.option(
    "--trouble",
    "troubles",
    multiple=True,
    help="What is wrong with the pty's line: 'echo', 'bit-errors=100' of a million, 'second-master=5', each so many seconds.",
)


class _Commands(click.Group):
    """Commands that Ctrl-C ends without a word, also while one is still being imported or set up."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="headend", message="headend-simulate %(version)s")
def main() -> None:
    """Simulate electricity meters, lines and concentrators, faults included."""


@main.command()
@click.option("--mqtt", required=True, help="Broker of the concentrator, such as mqtt://127.0.0.1:1883.")
@click.option("--days", default=2, show_default=True, type=click.IntRange(1, 3660), help="Days of load to replay.")
@start_option
@click.option(
    "--rate", default=20.0, show_default=True, type=click.FloatRange(0.001, 100_000), help="World seconds per second."
)
@seed_option
@click.option(
    "--meters-out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table of meters (CSV) here."
)
@click.option(
    "--truth-out", type=click.Path(dir_okay=False, path_type=Path), help="Write what they measured (JSON) here."
)
def world(
    *, mqtt: str, days: int, start: int, rate: float, seed: int, meters_out: Path | None, truth_out: Path | None
) -> None:
    """Run the demonstration town of about twenty meters.

    They hang on four links, under control of stdin until it ends. Commands and answers are JSON lines; {"skip_to": UTC_SECONDS} moves the world on.
    """
    from simulators.serve import serve_world  # noqa: PLC0415  # heavy; --help stays light

    _run(
        lambda: serve_world(
            mqtt, days=days, start=start, rate=rate, seed=seed, meters_out=meters_out, truth_out=truth_out
        )
    )


@main.command()
@click.option(
    "--tcp", "port", type=click.IntRange(0, 65_535), help="Serve Modbus TCP on this loopback port; 0 for a free one."
)
@click.option("--pty", is_flag=True, help="Serve Modbus RTU on a pseudo-terminal paced to 9600 baud.")
@click.option("--meters", "count", default=2, show_default=True, type=click.IntRange(1, 39), help="Units 1 to this.")
@start_option
@rate_option
@seed_option
@faults_option
@troubles_option
def modbus(
    *,
    port: int | None,
    pty: bool,
    count: int,
    start: int,
    rate: float,
    seed: int,
    faults: tuple[str, ...],
    troubles: tuple[str, ...],
) -> None:
    """Run Modbus meters on their own until interrupted.

    They are on offer to any client, over TCP or on a serial line.
    """
    if (port is None) == (not pty):
        raise click.UsageError("choose one of --tcp PORT and --pty")
    if troubles and not pty:
        raise click.UsageError("--trouble is of a line; it goes with --pty")
    from simulators.serve import Standing, serve_modbus  # noqa: PLC0415  # heavy; --help stays light

    _run(lambda: serve_modbus(port, Standing(count, start, rate, seed, _parse(faults, start)), troubles))


@main.command()
@carried_option
@click.option("--pty", is_flag=True, help="Serve on a pseudo-terminal paced to the line's speed.")
@click.option(
    "--baud", default=2400, show_default=True, type=click.Choice([1200, 2400, 4800, 9600]), help="Speed of the pty."
)
@click.option("--meters", "count", default=2, show_default=True, type=click.IntRange(1, 39), help="How many.")
@start_option
@rate_option
@seed_option
@faults_option
@troubles_option
def dlt645(
    *,
    port: int | None,
    pty: bool,
    baud: int,
    count: int,
    start: int,
    rate: float,
    seed: int,
    faults: tuple[str, ...],
    troubles: tuple[str, ...],
) -> None:
    """Run DL/T 645 meters on their own until interrupted.

    They share one line, on a pseudo-terminal or over TCP; addresses are 1001 and up.
    """
    if (port is None) == (not pty):
        raise click.UsageError("choose one of --tcp PORT and --pty")
    if troubles and not pty:
        raise click.UsageError("--trouble is of a line; it goes with --pty")
    from simulators.serve import Standing, serve_dlt645  # noqa: PLC0415  # heavy; --help stays light

    _run(lambda: serve_dlt645(port, Standing(count, start, rate, seed, _parse(faults, start)), baud, troubles))


@main.command()
@carried_option
@click.option("--pty", is_flag=True, help="Serve on a pseudo-terminal paced to the speed of --baud.")
@click.option(
    "--mode", default="C", show_default=True, type=click.Choice(["A", "B", "C"]), help="How meters open a session."
)
@click.option(
    "--baud",
    default=9600,
    show_default=True,
    type=click.Choice([300, 600, 1200, 2400, 4800, 9600, 19200]),
    help="Speed that meters propose.",
)
@click.option("--password-file", type=A_FILE, help="Password of programming mode; left out, it is 00000000.")
@click.option("--meters", "count", default=2, show_default=True, type=click.IntRange(1, 39), help="How many.")
@start_option
@rate_option
@seed_option
@faults_option
def iec62056(
    *,
    port: int | None,
    pty: bool,
    mode: Literal["A", "B", "C"],
    baud: int,
    password_file: Path | None,
    count: int,
    start: int,
    rate: float,
    seed: int,
    faults: tuple[str, ...],
) -> None:
    """Run IEC 62056-21 meters on their own until interrupted.

    They share one line, on a pseudo-terminal or over TCP; addresses are 1001 and up.
    """
    if (port is None) == (not pty):
        raise click.UsageError("choose one of --tcp PORT and --pty")
    from simulators.iec62056 import Settings  # noqa: PLC0415  # heavy; --help stays light
    from simulators.serve import Standing, serve_iec62056  # noqa: PLC0415  # heavy; --help stays light

    secret = password_file.read_bytes().rstrip(b"\r\n") if password_file else Settings().password
    settings = Settings(mode, baud, secret)
    try:
        settings.identification()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _run(lambda: serve_iec62056(port, Standing(count, start, rate, seed, _parse(faults, start)), settings))


@main.command()
@click.option(
    "--framing",
    type=click.Choice(["wrapper", "hdlc"]),
    default="wrapper",
    show_default=True,
    help="How APDUs are framed on TCP.",
)
@click.option(
    "--port", default=0, show_default=True, type=click.IntRange(0, 65_535), help="Loopback port; 0 for a free one."
)
@click.option(
    "--meters",
    "count",
    default=1,
    show_default=True,
    type=click.IntRange(1, 16_000),
    help="How many, from address 1 (or 1/17) on.",
)
@click.option(
    "--authentication",
    type=click.Choice(["none", "lls", "hls3", "hls4", "hls5", "hls6", "hls7"]),
    default="none",
    show_default=True,
    help="What clients must prove.",
)
@click.option(
    "--security",
    type=click.Choice(["none", "authenticated", "encrypted", "authenticated-encrypted"]),
    help="How APDUs are protected; left out, what the authentication implies.",
)
@click.option("--suite", type=click.IntRange(0, 2), default=0, show_default=True, help="Security suite of all keys.")
@click.option(
    "--password-file",
    type=A_FILE,
    help="Password for lls, secret for hls3, hls4 and hls6.",
)
@click.option(
    "--keys-file",
    type=A_FILE,
    help="Where APDUs are protected: encryption key and authentication key in hexadecimal, a line each.",
)
@click.option(
    "--signing-key-file",
    type=A_FILE,
    help="For hls7: the meter's private key.",
)
@click.option(
    "--client-key-file",
    type=A_FILE,
    help="For hls7: the client's public key or certificate.",
)
@click.option(
    "--max-pdu",
    default=65_535,
    show_default=True,
    type=click.IntRange(64, 65_535),
    help="Largest APDU, in bytes; small ones make blocks.",
)
@click.option(
    "--max-info",
    default=2030,
    show_default=True,
    type=click.IntRange(32, 2030),
    help="Largest HDLC information field, in bytes; small ones make segments.",
)
@click.option(
    "--window", default=7, show_default=True, type=click.IntRange(1, 7), help="Largest HDLC window, in frames."
)
@click.option(
    "--rows",
    type=click.Choice(["plain", "null", "delta", "compact"]),
    default="plain",
    show_default=True,
    help="How the load profile is written: null and delta leave out what repeats, compact is a compact-array.",
)
@click.option(
    "--status",
    "has_status",
    is_flag=True,
    help="Record a status with each interval, which tells faults such as power-cut, clock-set and test-mode.",
)
@click.option(
    "--referencing",
    type=click.Choice(["logical-name", "short-name"]),
    default="logical-name",
    show_default=True,
    help="How the meters know their objects.",
)
@click.option("--zone", default="UTC", show_default=True, help="Time zone that the meters' clocks show.")
@click.option(
    "--deviation/--no-deviation",
    "has_deviation",
    default=True,
    show_default=True,
    help="Whether the meters' stamps say their deviation from UTC.",
)
@click.option(
    "--lists/--no-lists",
    "takes_lists",
    default=True,
    show_default=True,
    help="Whether GET-with-list and its like are granted.",
)
@click.option(
    "--public-counter",
    "has_public_counter",
    is_flag=True,
    help="Let a client without authentication read the last invocation counter, from 0-0:43.1.0.",
)
@start_option
@rate_option
@seed_option
@faults_option
def dlms(
    *, framing: str, port: int, count: int, start: int, rate: float, seed: int, faults: tuple[str, ...],
    password_file: Path | None, keys_file: Path | None, signing_key_file: Path | None, client_key_file: Path | None,
    **setup: "Any",
) -> None:  # fmt: skip
    """Run DLMS meters on their own until interrupted.

    They are on offer to any client, over TCP.
    """
    from simulators.dlms.options import Options  # noqa: PLC0415  # heavy; --help stays light
    from simulators.serve import Standing, serve_dlms  # noqa: PLC0415  # heavy; --help stays light

    options = Options(
        password=password_file, keys=keys_file, signing_key=signing_key_file, client_key=client_key_file, **setup
    )
    _run(lambda: serve_dlms(framing, port, options, Standing(count, start, rate, seed, _parse(faults, start))))


@main.command(short_help="Run meters of three protocols and speeds on one line.")
@click.option("--meters", "count", default=2, show_default=True, type=click.IntRange(1, 39), help="How many of each.")
@start_option
@rate_option
@seed_option
@faults_option
def line(*, count: int, start: int, rate: float, seed: int, faults: tuple[str, ...]) -> None:
    """Run Modbus, DL/T 645 and DLMS meters on one line at three speeds until interrupted.

    They hang on a pseudo-terminal, which tells no parity: meters answer at their speed, whatever the parity.
    """
    from simulators.serve import Standing, serve_line  # noqa: PLC0415  # heavy; --help stays light

    _run(lambda: serve_line(Standing(count, start, rate, seed, _parse(faults, start))))


@main.command(short_help="Answer as the meter of a recorded trace did.")
@click.argument("file", type=A_FILE)
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Answer on this loopback port; 0 for a free one (the default)."
)
@click.option("--pty", is_flag=True, help="Answer on a pseudo-terminal, paced as the recorded line was.")
@rate_option
def replay(*, file: Path, port: int | None, pty: bool, rate: float) -> None:
    """Answer as the meter of a recorded trace did, until interrupted; its password is not checked.

    FILE comes from "headend read --trace". What was never asked in it gets no answer. Ciphered sessions cannot be replayed.
    """
    if pty and port is not None:
        raise click.UsageError("choose one of --port and --pty")
    from simulators.serve import serve_replay  # noqa: PLC0415  # heavy; --help stays light

    _run(lambda: serve_replay(file, None if pty else port or 0, rate))


def _parse(texts: tuple[str, ...], start: int) -> "dict[int, tuple[Fault, ...]]":
    from simulators.faults import parse_fault  # noqa: PLC0415  # heavy; --help stays light

    found: dict[int, tuple[Fault, ...]] = {}
    try:
        for text in texts:
            number, colon, rest = text.partition(":")
            is_numbered = bool(colon) and number.isascii() and number.isdigit() and int(number) > 0
            which = int(number) if is_numbered else 1
            found[which] = (*found.get(which, ()), parse_fault(rest if is_numbered else text, start))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fault") from error
    return found


def _run(work: "Callable[[], Coroutine[None, None, None]]") -> None:
    import asyncio  # noqa: PLC0415  # heavy; --help stays light

    try:
        asyncio.run(work())
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
