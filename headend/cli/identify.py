"""``headend identify``: what answers at an address, what it has, and a meter profile drafted from that."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from drivers.contract import Endpoint
from drivers.counters import NoCounters
from drivers.dlms.discovery import NAME, Description
from drivers.dlms.draft import draft as draft_profile
from drivers.dlms.objects.catalogue import CLASS_NAMES
from drivers.errors import ProfileError
from drivers.obis import Obis, by_obis
from drivers.transports import open_transport
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.logs import start_logs
from headend.cli.options import check_new, output_option
from headend.cli.output import Column, Document, instant
from headend.cli.tracing import Wiring, wiring
from headend.collect.identify import Identified, identify, needs_counters, session_profile
from headend.collect.ports import StoredCounters
from headend.profiles import load_documents, load_profile_file
from headend.registry.cells import parse_address, parse_link, parse_options, parse_secret
from headend.registry.find import find_meter
from headend.service import DRIVERS
from headend.store.writer import GroupCommitWriter

COLUMNS = (
    Column("class", "Class"),
    Column("obis", "OBIS"),
    Column("name", "Item"),
    Column("value", "Value", is_number=True),
    Column("unit", "Unit"),
    Column("detail", "Detail"),
)
ATTRIBUTES = (
    Column("class", "Class"),
    Column("attribute", "No.", is_number=True),
    Column("name", "Attribute"),
    Column("value", "Value"),
    Column("unit", "Unit"),
    Column("fault", "Not read"),
)
T = TypeVar("T")


@click.command()
@click.argument("target", metavar="LINK|METER")
@click.option(
    "--profile", "base", default="dlms-base", show_default=True,
    help="With LINK: profile whose session settings are used; one that is only there to be inherited from will do.",
)  # fmt: skip
@click.option("--address", default="1", show_default=True, help="With LINK: DLMS server address.")
@click.option("--framing", type=click.Choice(["hdlc", "wrapper"]), help="With LINK: instead of the profile's.")
@click.option("--password", default="", help="With LINK: reference, env:NAME or file:PATH.")
@click.option("--encryption-key", default="", help="With LINK: reference, env:NAME or file:PATH.")
@click.option("--authentication-key", default="", help="With LINK: reference, env:NAME or file:PATH.")
@click.option("--options", default="", help="With LINK: session options, such as client=1;authentication=lls.")
@click.option(
    "--draft", "draft_file", type=click.Path(path_type=Path, dir_okay=False),
    help="Write a meter profile drafted from the answers to this new .toml file; what a meter cannot say is asked there.",
)  # fmt: skip
@click.option(
    "--object",
    "inspects",
    callback=lambda _, __, text: _object(text),
    help="Show all attributes of the object with this OBIS code, instead of the list of objects.",
)
@click.option(
    "--trace", "trace_file", type=click.Path(path_type=Path, dir_okay=False),
    help="Write what the link carries to this file, passwords and keys masked; see: headend trace decode.",
)  # fmt: skip
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    target: str,
    draft_file: Path | None,
    trace_file: Path | None,
    inspects: Obis | None,
    format_name: str,
    **given: str | None,
) -> int:
    """Ask the DLMS meter at LINK, or the registered METER, who it is and which objects it has; change nothing.

    Where its session is ciphered, the store keeps the counters: while "headend run" holds it, stop that first. Exit codes: 3
    the draft needs a hand, 4 no answer, 6 port missing, busy or not permitted, 7 refused or another meter answered.
    """
    app = App.of(ctx, format_name)
    start_logs(app, "error")  # what goes wrong is this command's own answer
    if draft_file is not None:
        check_new(draft_file, ".toml")
    if target.startswith("/"):
        raise click.UsageError(f"{target[:80]}: write a port as a link: serial://{target[:80]}?baud=9600")
    is_link = "://" in target
    if not is_link and (extra := _given(ctx)):
        raise click.UsageError(f"{', '.join(extra)}: only with a link; a registered meter has its own")
    url, endpoint = _unregistered(app, target, given) if is_link else _registered(app, target)
    with wiring(app, file=trace_file) as wires, app.output.busy(f"asking {target}"):
        found = asyncio.run(_identify(app, url, endpoint, wires, inspects))
    description = found.description
    app.output.emit(_document(description, url, endpoint.address) if inspects is None else _attributes(found, inspects))
    for note in description.notes:
        app.output.say(f"not given: {note}")
    app.output.say(f"{description.name or 'a meter without a name'}: {len(description.entries)} objects")
    code = Exit.OK
    if draft_file is not None:
        code = _write(app, draft_file, found)
    if not is_link and description.name != target:
        app.output.warn(f"{description.name or 'another meter'} answers at the address of {target}")
        return Exit.REFUSED
    return code


def _given(ctx: click.Context) -> list[str]:
    names = ("base", "address", "framing", "password", "encryption_key", "authentication_key", "options")
    is_given = click.core.ParameterSource.COMMANDLINE
    return [
        f"--{'profile' if name == 'base' else name.replace('_', '-')}"
        for name in names
        if ctx.get_parameter_source(name) is is_given
    ]


def _unregistered(app: App, link: str, given: Mapping[str, str | None]) -> tuple[str, Endpoint]:
    documents, faults = load_documents(app.profile_directories)
    if faults:
        raise ProfileError("files", faults)
    profile = session_profile(given["base"] or "", documents, given["framing"] or "")
    url = _cell("LINK", lambda text: parse_link(text, profile), link)
    address = _cell("--address", lambda text: parse_address(text, profile), given["address"] or "")
    options = _cell("--options", parse_options, given["options"] or "")
    references = [
        _cell(f"--{name.replace('_', '-')}", parse_secret, given[name] or "")
        for name in ("password", "encryption_key", "authentication_key")
    ]
    credentials = app.secrets.credentials(references[0], references[1], references[2], options)
    return url, _titled(app, Endpoint(f"{url} {address}", address, profile, credentials, options))


def _registered(app: App, name: str) -> tuple[str, Endpoint]:
    with app.reader() as reader:
        device = find_meter(reader, name)
        url = next(link.url for link in reader.links() if link.id == device.link_id)
    profile = app.profiles.get(device.profile)
    if profile is None:
        raise Failure(f"{name}: there is no profile {device.profile!r}", Exit.CONFIG)
    if profile.dlms is None:
        raise Failure(f"{name} is a {profile.protocol} meter; only DLMS meters have a list of objects", Exit.USAGE)
    credentials = app.secrets.credentials(
        device.password_ref, device.encryption_key_ref, device.authentication_key_ref, device.options
    )
    return url, _titled(app, Endpoint(device.name, device.address, profile, credentials, device.options))


def _titled(app: App, endpoint: Endpoint) -> Endpoint:
    """Give our own system title to a profile that names none."""
    dlms, title = endpoint.profile.dlms, bytes.fromhex(app.settings.dlms.system_title)
    if dlms is None or dlms.client_system_title or not title:
        return endpoint
    return replace(endpoint, profile=replace(endpoint.profile, dlms=replace(dlms, client_system_title=title)))


def _cell(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{name}: {error}") from error


async def _identify(app: App, url: str, endpoint: Endpoint, wires: Wiring, inspects: Obis | None) -> Identified:
    opening, driver = wires.get("open_transport", open_transport), wires.get("drivers", DRIVERS)["dlms"]
    asked = partial(identify, url, endpoint, app.clock, open_transport=opening, driver=driver, inspects=inspects)
    if not needs_counters(endpoint):
        return await asked(counters=NoCounters())
    with app.writer() as store:
        writer = GroupCommitWriter(store)
        try:
            return await asked(counters=StoredCounters(writer))
        finally:
            await writer.close()


def _write(app: App, file: Path, found: Identified) -> Exit:
    profile = found.profile
    if profile.dlms and profile.dlms.client_system_title == bytes.fromhex(app.settings.dlms.system_title):
        # It is this head-end's, and another that uses the profile has its own.
        profile = replace(profile, dlms=replace(profile.dlms, client_system_title=b""))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(draft_profile(found.description, profile, app.now()))
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}", Exit.USAGE) from error
    try:
        load_profile_file(file, app.profile_directories)
    except ProfileError as error:
        for fault in error.faults:
            app.output.warn(f"{file}: {fault}")
        return Exit.PARTIAL
    app.output.say(f"{file} is a valid profile; answer what is asked in it, behind ##")
    return Exit.OK


def _document(description: Description, url: str, address: str) -> Document:
    texts = {
        (1, NAME): description.name,
        (1, Obis(0, 0, 96, 1, 0)): description.serial,
        (1, description.firmware_object): description.firmware,
        (8, description.clock_object): instant(description.clock) or "",
    }
    registers = {(one.class_id, one.logical_name): one for one in description.registers}
    profiles = {one.logical_name: one for one in description.profiles}
    rows = []
    for entry in description.entries:
        key = entry.class_id, entry.logical_name
        register = registers.get(key)
        worth = register.scaler_unit if register else None
        view = profiles.get(entry.logical_name) if entry.class_id == 7 else None
        rows.append(
            {
                "class": CLASS_NAMES.get(entry.class_id, f"class {entry.class_id}"),
                "obis": str(entry.logical_name),
                "name": _name(entry.logical_name),
                "value": register.value if register else texts.get(key) or None,
                "unit": worth.unit.symbol if worth else "",
                "detail": ""
                if view is None
                else f"every {view.period} s, {view.entries} rows: "
                + ", ".join(_name(column.logical_name) or str(column.logical_name) for column in view.columns),
            }
        )
    summary = {
        "meter": description.name,
        "serial": description.serial,
        "firmware": description.firmware,
        "clock": instant(description.clock),
        "link": url,
        "address": address,
        "notes": list(description.notes),
    }
    return Document("headend.identify/1", COLUMNS, rows, summary, title=description.name)


def _attributes(found: Identified, name: Obis) -> Document:
    rows = [
        {
            "class": CLASS_NAMES.get(entry.class_id, f"class {entry.class_id}"),
            "attribute": one.index,
            "name": one.name,
            "value": one.text,
            "unit": one.unit,
            "fault": one.fault,
        }
        for entry, views in found.inspected
        for one in views
    ]
    if not rows:
        raise Failure(f"{found.description.name or 'the meter'} lists no object {name}", Exit.USAGE)
    summary = {"meter": found.description.name, "object": str(name)}
    return Document("headend.identify.object/1", ATTRIBUTES, rows, summary, title=str(name))


def _object(text: str | None) -> Obis | None:
    return None if text is None else _cell("--object", Obis.parse, text)


def _name(code: Obis) -> str:
    entry = by_obis(code)
    return entry.name if entry else ""
