"""Makes a test case of a trace: ``frame.hex`` and the skeleton of ``expected.toml``, as ``tests/data`` keeps them.

What the trace hides stays hidden, and the meter's own name and serial number are hidden like a secret, lengths kept and HDLC
checksums put right. A ``2a`` stands for each hidden octet. Expectations are left to be written by hand: what our own decoder
makes of its frames proves nothing about it, so that is there as comments only.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from drivers.contract import Credentials
from drivers.trace.apdu import Part
from drivers.trace.mask import MIN_ANYWHERE, Mask
from drivers.trace.text import Record, Trace, TraceError
from drivers.trace.tree import Step

MAX_COMMENTS = 400
MAX_NAMES = 16
_NAMING = ("0-0:42.0.0*255", "0-0:96.1.")
_STRING = re.compile(r"^(?:octet-string [0-9a-f]+ = |visible-string |utf8-string )'(.*)'$", re.ASCII)


def names_of(trace: Trace, steps: Sequence[Step]) -> list[str]:
    """Give what names the meter, the longest first: its name, the serial number in it, and what it says of itself when asked."""
    name = trace.header.meter
    said = {text for step in steps for text in _said(step.part, is_name=False)}
    texts = {name, *said, *(text.rpartition(":")[2] if ":" in text else text[3:] for text in (name, *said))}
    texts |= {text.lstrip("0") for text in texts}
    return sorted((text for text in texts if len(text) >= MIN_ANYWHERE), key=len, reverse=True)[:MAX_NAMES]


def frame_hex(trace: Trace, names: Sequence[str]) -> tuple[str, str]:
    """Give the text of ``frame.hex``, a line for what went one way in a row, and whose line is whose: > sent, < received.

    Raises `TraceError` where nothing was carried.
    """
    lines: list[str] = []
    directions = ""
    for mark, octets in _turns(_nameless(trace, names)):
        lines.append(octets.hex())
        directions += mark
    if not lines:
        raise TraceError("the trace holds no octets to make a case of")
    return "\n".join(lines) + "\n", directions


def expected_toml(trace: Trace, names: Sequence[str], directions: str, steps: Sequence[Step]) -> str:
    """Give the skeleton of ``expected.toml``. ``steps``: of the same trace, shown as comments without the meter's ``names``."""
    protocol = {"hdlc": "dlms", "wrapper": "dlms", "push": "dlms-push", "dlt645": "dlt645", "iec62056": "iec62056"}.get(
        trace.header.framing, "modbus"
    )
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


def _said(part: Part, *, is_name: bool) -> Iterator[str]:
    """Give what answers the question for the logical device name or a device ID, as text."""
    is_name |= any(code in part.value for code in _NAMING)
    if is_name and (found := _STRING.match(part.value)):
        yield found[1].strip()
    for inner in part.parts:
        yield from _said(inner, is_name=is_name)


def _nameless(trace: Trace, names: Sequence[str]) -> Iterator[Record]:
    """Hide the meter's names in what was carried."""
    secrets = [text.encode("latin-1", "replace") for text in names]
    for start in range(0, max(1, len(secrets)), 4):
        last = [*secrets[start : start + 4], b"", b"", b"", b""]
        trace = replace(trace, records=tuple(_masked(trace, Credentials(last[0], last[1], last[2], last[3]))))
    yield from trace.records


def _masked(trace: Trace, hidden: Credentials) -> Iterator[Record]:
    mask: Mask | None = None
    for record in trace.records:
        if record.mark == "@" or mask is None:
            if mask is not None:
                yield from mask.end()
            mask = Mask(trace.header.framing, hidden, record.session)
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
