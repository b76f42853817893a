"""``headend scan``: which meters hang on a line, at which settings; a meter table drafted from that."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import click
from click.core import ParameterSource

from drivers.errors import PortUnavailable, ProfileError, TransportError
from drivers.profile import MeterProfile
from drivers.transports import open_transport
from drivers.transports.url import Form, ListenLinkUrl, MqttUrl, Rfc2217Url, SerialUrl, TcpUrl, parse_url
from drivers.zone import parse_zone
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.logs import start_logs
from headend.cli.options import check_new, output_option
from headend.cli.output import Column, Document, instant
from headend.cli.telling import Teller, span
from headend.cli.words import counted
from headend.collect.identify import session_profile
from headend.collect.scan import Scanner, changes_speed
from headend.profiles import load_documents
from headend.scan.draft import draft
from headend.scan.ground import PROTOCOLS, UNITS, Effort, Ground, Protocol, short
from headend.scan.naming import Candidates
from headend.scan.plan import Scan
from headend.scan.state import StateFault, StateFile, dump, load

PLAN = (
    Column("setting", "Setting"),
    Column("protocol", "Protocol"),
    Column("questions", "Questions", is_number=True),
    Column("seconds", "Seconds", is_number=True),
)
Url = SerialUrl | Rfc2217Url | TcpUrl | ListenLinkUrl | MqttUrl


def _units(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    units: set[int] = set()
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part.strip(), re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if first > last or first not in UNITS or last not in UNITS:
            raise click.BadParameter(f"{part[:40]!r} is no unit from 1 to 247, and no range such as 1-32")
        units |= set(range(first, last + 1))
    return tuple(sorted(units))


def _url(_: click.Context, __: click.Parameter, text: str) -> Url:
    try:
        url = parse_url(text) if "://" in text else SerialUrl(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if isinstance(url, SerialUrl | Rfc2217Url):
        return url
    if not isinstance(url, TcpUrl | ListenLinkUrl | MqttUrl) or url.form is None:
        raise click.BadParameter(
            f"{text[:80]}: a line is scanned: a serial port, rfc2217://, or a gateway whose line has one setting,"
            " such as tcp://192.0.2.7:4001?baud=9600&parity=E"
        )
    return url


def _zone(_: click.Context, __: click.Parameter, text: str) -> str:
    try:
        parse_zone(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return text


@click.command()
@click.argument("url", metavar="PORT", callback=_url)
@click.option("--fast", "effort", flag_value="fast", help="Likely addresses at likely settings: some two minutes.")
@click.option("--full", "effort", flag_value="full", help="Every address at every setting: an hour and a half or more.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(PROTOCOLS),
    help="Ask in this one only; may be repeated.",
)
@click.option(
    "--baud", "bauds", multiple=True, type=click.IntRange(50, 4_000_000), help="At this speed only; may be repeated."
)
@click.option(
    "--parity",
    "parities",
    multiple=True,
    type=click.Choice(["N", "E", "O"]),
    help="With this parity only; may be repeated.",
)
@click.option(
    "--units",
    callback=_units,
    default="",
    metavar="1-32,40",
    help="Modbus units to ask. Else 1 to 247; with --fast 1 to 32.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0.02, 10),
    help="Longest time before an answer begins, in seconds. Else 0.3 (Modbus) to 0.6 (DL/T 645).",
)
@click.option("--beside", is_flag=True, help="Ask though another master speaks on the line; it is disturbed.")
@click.option(
    "--profile",
    "names",
    multiple=True,
    help="Model that meters here may be; may be repeated. Else all but simulated ones.",
)
@click.option(
    "--draft",
    "draft_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a meter table to this new .csv file, for headend meter import.",
)
@click.option(
    "--usage-point",
    "usage_points",
    default="",
    metavar="PREFIX",
    help="With --draft: begin of the names of usage points, numbered on.",
)
@click.option(
    "--zone", default="UTC", show_default=True, callback=_zone, help="With --draft: time zone of the usage points."
)
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that a cut scan goes on from. Else one beside the store.",
)
@click.option("--restart", is_flag=True, help="Begin anew, whatever a cut scan has left.")
@click.option("--dry-run", is_flag=True, help="Say what would be asked and how long it takes; ask nothing.")
@output_option
@click.pass_context
def command(
    ctx: click.Context, /, *, url: Url, effort: Effort | None, protocols: tuple[Protocol, ...], bauds: tuple[int, ...],
    parities: tuple[str, ...], units: tuple[int, ...], wait: float | None, beside: bool, names: tuple[str, ...],
    draft_file: Path | None, usage_points: str, zone: str, state_path: Path | None, restart: bool, dry_run: bool,
    format_name: str,
) -> int:  # fmt: skip
    """Find the meters on the line at PORT: DLMS (HDLC), DL/T 645, Modbus RTU and IEC 62056-21; change nothing.

    PORT is a device or a link. Listens first, then asks what many answer, then address by address. A scan that was cut goes
    on where it was when the same command is given again. Exit codes: 3 several answer at one address, or a setting was left
    out, 4 nothing answered, 6 port missing, busy or not permitted, or another master on the line.
    """
    app = App.of(ctx, format_name)
    start_logs(app, "error")  # what goes wrong is this command's own answer
    is_port = isinstance(url, SerialUrl | Rfc2217Url)
    if not is_port and (bauds or parities):
        raise click.UsageError("--baud and --parity: the setting of a gateway's line is in its link")
    if draft_file is None:
        for option in ("usage_points", "zone"):
            if ctx.get_parameter_source(option) is ParameterSource.COMMANDLINE:
                flag = f"--{option.removesuffix('s').replace('_', '-')}"
                raise click.UsageError(f"{flag} is of the drafted meter table; it goes with --draft FILE")
    fixed = None if is_port else url.form
    ground = Ground(effort or "usual", protocols or PROTOCOLS, bauds, parities, units, fixed)
    scan = Scan(ground, wait)
    if dry_run:
        _show_plan(app, scan, str(url))
        return Exit.OK
    if draft_file is not None:
        check_new(draft_file, ".csv")
    candidates, session = _models(app, names)
    slug = re.sub(r"\W+", "-", str(url).partition("?")[0]).strip("-")[-80:]
    state = StateFile(state_path or app.data_directory / f"scan-{slug}.json")
    port = f"serial://{url.path}" if isinstance(url, SerialUrl) else str(url)
    with _kept_in(state):
        state.try_out()
        if not restart:
            scan = _resumed(app, scan, state, port)

    def keep() -> None:
        with _kept_in(state):
            state.write(dump(scan, port))

    teller = Teller(app, scan, lambda form: _link(url, form))
    try:
        with teller:
            was_asked = asyncio.run(
                _scan(
                    app,
                    str(url),
                    scan,
                    teller,
                    keep,
                    session,
                    candidates,
                    beside=beside,
                )
            )
    except (KeyboardInterrupt, TransportError):
        app.output.say(
            f"cut: {counted(len(scan.meters), 'meter')} so far; kept in {state.path}, the same command goes on"
        )
        raise
    if not was_asked:
        state.remove()
        app.output.warn(
            f"not scanned: {'; '.join(scan.strangers)}. End that first (headend run? a gateway?), or scan beside it: --beside"
        )
        return Exit.PORT
    teller.finish()
    if draft_file is not None:
        try:
            _write_draft(app, draft_file, scan, lambda form: _link(url, form), usage_points, zone)
        except Failure:
            keep()
            app.output.say(
                f"the scan is kept in {state.path}: with another --draft the same command asks nothing again"
            )
            raise
    state.remove()
    return _code(app, scan)


@contextmanager
def _kept_in(state: StateFile) -> Iterator[None]:
    """Say of a file that cannot be used what it is for, and how to name another."""
    try:
        yield
    except OSError as error:
        raise Failure(
            f"{error.filename or state.path}: {error.strerror}; what a cut scan goes on from is kept there: name a file that can be"
            " written with --state FILE",
            Exit.INTERNAL,
        ) from error


async def _scan(
    app: App, url: str, scan: Scan, teller: "Teller", keep: Callable[[], None], session: MeterProfile,
    candidates: Candidates, *, beside: bool,
) -> bool:  # fmt: skip
    try:
        stream = await open_transport(url)
    except PortUnavailable as error:
        raise Failure(f"{error}; if headend run collects there, stop that first", Exit.PORT) from error
    try:
        if scan.ground.fixed is None and not changes_speed(stream):
            raise Failure(f"{url}: its speed cannot be changed", Exit.PORT)
        return await Scanner(scan, stream, app.clock, teller, keep, session, candidates, beside=beside).run()
    finally:
        await stream.close()


def _link(url: Url, form: Form) -> str:
    if isinstance(url, SerialUrl):
        return str(SerialUrl(url.path, form.baud, form.parity, form.bits, url.stop, url.echo))
    if isinstance(url, Rfc2217Url):
        return str(Rfc2217Url(url.host, url.port, url.connect_timeout, form, url.echo))
    return str(url)


def _models(app: App, names: Sequence[str]) -> tuple[Candidates, MeterProfile]:
    """Give the models that meters may be, and the settings with which DLMS meters are asked for their name."""
    profiles = app.profiles
    if unknown := sorted(set(names) - set(profiles)):
        raise click.BadParameter(
            f"--profile: no profile is named {unknown[0]!r}; headend profile list shows those there are"
        )
    chosen = [profiles[name] for name in names] or [one for one in profiles.values() if one.status != "simulator"]
    documents, faults = load_documents(app.profile_directories)
    if faults:
        raise ProfileError("files", faults)
    return Candidates(chosen), session_profile("dlms-base", documents, "hdlc")


def _resumed(app: App, fresh: Scan, state: StateFile, port: str) -> Scan:
    octets = state.read()
    if octets is None:
        return fresh
    try:
        load(octets, fresh, port)
    except StateFault as fault:
        raise Failure(
            f"{state.path} {fault}; give the same options, another file with --state, or begin anew with --restart",
            Exit.USAGE,
        ) from fault
    app.output.say(
        f"going on from {state.path}: {counted(fresh.pace.asked, 'question')} and {counted(len(fresh.meters), 'meter')} so far"
    )
    return fresh


def _show_plan(app: App, scan: Scan, port: str) -> None:
    rows: dict[tuple[str, str], dict[str, object]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for track in scan.due():
        key = short(track.form), str(track.kind)
        seconds[key] = seconds.get(key, 0.0) + track.left * scan.cost(track)
        count = cast("int", rows.get(key, {}).get("questions", 0)) + track.left
        rows[key] = {"setting": key[0], "protocol": key[1], "questions": count, "seconds": round(seconds[key])}
    total = scan.remaining()
    app.output.emit(Document("headend.scan.plan/1", PLAN, list(rows.values()), {"port": port, "seconds": round(total)}))
    app.output.say(f"{counted(scan.questions_left(), 'question')}, {span(total)}; more where meters answer at once")


def _write_draft(app: App, file: Path, scan: Scan, link: Callable[[Form], str], usage_points: str, zone: str) -> None:
    made = draft(scan.meters, link, (instant(app.now()) or "")[:10], zone, usage_points)
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(made.text)
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}", Exit.USAGE) from error
    app.output.say(f"{file}: {counted(len(scan.meters), 'row')}; then: headend meter import {file} --dry-run")
    for gap in made.advice():
        app.output.say(f"to be filled in: {gap}")
    if len({meter.form for meter in scan.meters}) > 1:
        app.output.warn(
            "the meters have several settings on one port. Each is a link of its own, and only one at a time can have the"
            " port: set the meters alike, or give them a port for each setting"
        )


def _code(app: App, scan: Scan) -> Exit:
    if not scan.meters and not scan.crowds:
        more = "" if scan.ground.effort == "full" else "; --full asks more"
        app.output.say(
            f"nothing answered. Look at power, at the two wires (A and B swapped?), at termination, and at DE/RE of the adapter{more}"
        )
        return Exit.NO_ANSWER
    return Exit.PARTIAL if scan.crowds or scan.refused else Exit.OK
