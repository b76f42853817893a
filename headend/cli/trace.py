"""``headend trace``: take recorded wire traces apart, offline."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from drivers.dlms.ciphering import Keys
from drivers.errors import ProfileError, SecurityError
from drivers.profile import ModbusPoint
from drivers.trace.apdu import Part
from drivers.trace.case import expected_toml, frame_hex, names_of
from drivers.trace.text import Header, Trace, TraceError
from drivers.trace.tree import Step, take_apart
from headend.cli.app import App
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.output import Document
from headend.errors import SettingsError
from headend.registry.find import find_meter
from headend.trace import TraceFileError, read_trace

DIRECTIONS = {">": "sent", "<": "received", "x": "thrown away", "!": "note", "@": "session"}
INDENT = 30


@click.group()
def command() -> None:
    """Take apart what "headend read", "headend identify" and "headend run --once" recorded with --trace; reads no meter."""


@command.command(short_help="Show a trace as a tree: frames, services, values, faults.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--meter", help="Open ciphered messages with the keys that this registered meter refers to.")
@click.option(
    "-o", "--output", "format_name", type=click.Choice(["table", "json", "ndjson"]), default="table", show_default=True,
    help="How the tree is written to stdout: indented text, one JSON document, or a JSON line per step.",
)  # fmt: skip
@click.pass_context
def decode(ctx: click.Context, *, file: Path, meter: str | None, format_name: str) -> int:
    """Show a trace as a tree: frames and the time between them, services, attributes by name, values, and faults.

    Passwords and keys are not in a trace, and not shown. Exit code 3 if lines of the file are damaged; the rest is shown.
    """
    app = App.of(ctx, format_name)
    try:
        trace = read_trace(file)
        keys = None if meter is None else _keys(app, meter, trace.header)
        steps = list(take_apart(trace, keys, _points(app, trace.header)))
    except (TraceFileError, TraceError) as error:
        raise Failure(str(error), Exit.USAGE) from error
    if format_name == "table":
        for line in _lines(trace.header, steps):
            app.output.draw(line)
    else:
        app.output.emit(Document("headend.trace/1", (), [_row(step) for step in steps], _summary(trace)))
    for fault in trace.faults:
        app.output.warn(f"{file}: {fault}")
    faults = sum(1 for step in steps if step.fault)
    app.output.say(f"{sum(1 for step in steps if step.mark in '<>')} frames, {faults} with faults")
    return Exit.PARTIAL if trace.faults else Exit.OK


@command.command(name="to-case", short_help="Make a test case of a trace.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
def to_case(ctx: click.Context, *, file: Path, directory: Path) -> int:
    """Make a test case of a trace: DIRECTORY/frame.hex, and DIRECTORY/expected.toml to be filled in by hand.

    Secrets stay masked, and the meter's own name and serial number are masked too. DIRECTORY must not exist yet. What a meter
    measured is in the case: ask whoever it belongs to before you publish one.
    """
    app = App.of(ctx)
    try:
        trace = read_trace(file)
        steps = list(take_apart(trace, None, _points(app, trace.header)))
        names = names_of(trace, steps)
        frames, directions = frame_hex(trace, names)
        expected = expected_toml(trace, names, directions, steps)
        directory.mkdir(parents=True)
        (directory / "frame.hex").write_text(frames, encoding="ascii")
        (directory / "expected.toml").write_text(expected, encoding="utf-8")
    except (TraceFileError, TraceError) as error:
        raise Failure(str(error), Exit.USAGE) from error
    except OSError as error:
        raise Failure(f"{directory} cannot be made: {error.strerror}", Exit.USAGE) from error
    for fault in trace.faults:
        app.output.warn(f"{file}: {fault}")
    app.output.say(f"{directory}: {len(directions)} lines in frame.hex; write into expected.toml what they must become")
    return Exit.PARTIAL if trace.faults else Exit.OK


def _points(app: App, header: Header) -> Sequence[ModbusPoint]:
    """Give the register map of the model, where there is one; a trace is readable without."""
    if header.framing in {"hdlc", "wrapper"}:
        return ()
    with suppress(ProfileError, SettingsError):
        profile = app.profiles.get(header.profile)
        if profile is not None and profile.modbus is not None:
            return profile.modbus.points
    return ()


def _keys(app: App, name: str, header: Header) -> Keys:
    """Follow a meter's references to its keys. Raises `Failure`, `SecretError`."""
    with app.reader() as reader:
        device = find_meter(reader, name)
    if device.name != header.meter:
        app.output.warn(f"the trace is of {header.meter}, the keys are those of {device.name}")
    if not device.encryption_key_ref:
        raise Failure(f"{device.name} is registered without an encryption key", Exit.USAGE)
    profile = app.profiles.get(device.profile)
    suite = profile.dlms.security_suite if profile is not None and profile.dlms is not None else 0
    secrets = app.secrets.credentials("", device.encryption_key_ref, device.authentication_key_ref)
    try:
        return Keys(secrets.encryption_key, secrets.authentication_key, suite)
    except SecurityError as error:
        raise Failure(f"{device.name}: {error}", Exit.CONFIG) from error


def _lines(header: Header, steps: Sequence[Step]) -> Iterator[str]:
    yield f"{header.meter} ({header.profile}), {header.framing} over {header.link}, address {header.address}"
    for step in steps:
        if step.mark == "@":
            yield f"session {step.session}, {step.part.value}"
            continue
        lead = f"{_seconds(step.at):>12} {'+' + _seconds(step.gap):>12} {step.mark} "
        yield f"{lead:<{INDENT}}{_title(step.part)}" + (f"  FAULT: {step.fault}" if step.fault else "")
        yield from _branches(step.part.parts, INDENT + 2)


def _branches(parts: Sequence[Part], indent: int) -> Iterator[str]:
    for part in parts:
        yield " " * indent + _title(part)
        yield from _branches(part.parts, indent + 2)


def _title(part: Part) -> str:
    return f"{part.name}: {part.value}" if part.value else part.name


def _seconds(microseconds: int) -> str:
    return f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}"


def _row(step: Step) -> dict[str, object]:
    return {
        "session": step.session, "at_s": _seconds(step.at), "gap_s": _seconds(step.gap),
        "direction": DIRECTIONS[step.mark], **_tree(step.part), "fault": step.fault or None,
    }  # fmt: skip


def _tree(part: Part) -> dict[str, object]:
    tree: dict[str, object] = {"name": part.name, "value": part.value}
    if part.parts:
        tree["parts"] = [_tree(inner) for inner in part.parts]
    return tree


def _summary(trace: Trace) -> dict[str, object]:
    header = trace.header
    return {
        "meter": header.meter, "profile": header.profile, "framing": header.framing, "link": header.link,
        "address": header.address, "damaged_lines": list(trace.faults),
    }  # fmt: skip
