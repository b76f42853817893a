"""Makes a test case of a trace: ``frame.hex`` and the skeleton of ``expected.toml``, as ``tests/data`` keeps them.

What the trace hides stays hidden, and the meter's own name and serial number are hidden like a secret, lengths kept and HDLC
checksums put right. A ``2a`` stands for each hidden octet. Expectations are left to be written by hand: what our own decoder
makes of its frames proves nothing about it, so that is there as comments only.
"""

import json
from collections.abc import Iterator, Sequence

from drivers.contract import Credentials
from drivers.trace.apdu import Part
from drivers.trace.mask import MIN_ANYWHERE, Mask
from drivers.trace.text import Record, Trace, TraceError
from drivers.trace.tree import Step

MAX_COMMENTS = 400


def frame_hex(trace: Trace) -> tuple[str, str]:
    """Give the text of ``frame.hex``, a line for what went one way in a row, and whose line is whose: > sent, < received.

    Raises `TraceError` where nothing was carried.
    """
    lines: list[str] = []
    directions = ""
    for mark, octets in _turns(_nameless(trace)):
        lines.append(octets.hex())
        directions += mark
    if not lines:
        raise TraceError("the trace holds no octets to make a case of")
    return "\n".join(lines) + "\n", directions


def expected_toml(trace: Trace, directions: str, steps: Sequence[Step]) -> str:
    """Give the skeleton of ``expected.toml``. ``steps``: of the same trace, shown as comments with the meter's name left out."""
    names = _names(trace)
    protocol = {"hdlc": "dlms", "wrapper": "dlms", "push": "dlms-push"}.get(trace.header.framing, "modbus")
    seen = [line for step in steps for line in _lines(step.part, 0)]
    if len(seen) > MAX_COMMENTS:
        seen[MAX_COMMENTS:] = [f"... and {len(seen) - MAX_COMMENTS} lines more"]
    for name in names:
        seen = [line.replace(name, "*" * len(name)).replace(name.encode().hex(), "2a" * len(name)) for line in seen]
    return "\n".join([
        '## Made from a wire trace by "headend trace to-case". 2a stands for each octet that is hidden; checksums fit it.',
        f"protocol = {json.dumps(protocol)}",
        f"meter = {json.dumps(trace.header.profile)}",
        f"framing = {json.dumps(trace.header.framing)}",
        "## A sign for each line of frame.hex: > we sent it, < the meter did.",
        f"directions = {json.dumps(directions)}",
        "",
        "[origin]",
        "## Who recorded it, of which model and firmware, and under which terms it may be passed on.",
        'source = ""',
        'licence = ""',
        "",
        "[expect]",
        "## Write here what the meter's display or its documentation says. What we read proves nothing about us, but for comparison:",
        *(f"## {line}" for line in seen),
        "",
    ])  # fmt: skip


def _names(trace: Trace) -> list[str]:
    """Give what names the meter, the longest first: its name, and the serial number behind its maker's letters."""
    name = trace.header.meter
    serial = name.rpartition(":")[2] if ":" in name else name[3:]
    return [text for text in (name, serial, serial.lstrip("0")) if len(text) >= MIN_ANYWHERE]


def _nameless(trace: Trace) -> Iterator[Record]:
    """Hide the meter's names in what was carried."""
    names = [text.encode("ascii", "replace") for text in _names(trace)]
    mask: Mask | None = None
    for record in trace.records:
        if record.mark == "@" or mask is None:
            if mask is not None:
                yield from mask.end()
            secrets = [*names, b"", b""]
            mask = Mask(trace.header.framing, Credentials(secrets[0], secrets[1], secrets[2]), record.session)
        if record.mark in {">", "<"}:
            mask.add(record.at, ">" if record.mark == ">" else "<", record.octets)
            yield from mask.ready()
    if mask is not None:
        yield from mask.end()


def _turns(records: Iterator[Record]) -> Iterator[tuple[str, bytes]]:
    """Join what was carried one way in a row within a session."""
    mark, session, octets = "", 0, b""
    for record in records:
        if octets and (record.mark, record.session) != (mark, session):
            yield mark, octets
            octets = b""
        mark, session = record.mark, record.session
        octets += record.octets
    if octets:
        yield mark, octets


def _lines(part: Part, depth: int) -> Iterator[str]:
    text = f"{part.name}: {part.value}" if part.value else part.name
    yield "  " * depth + "".join(sign if sign.isprintable() else "?" for sign in text)
    for inner in part.parts:
        yield from _lines(inner, depth + 1)
