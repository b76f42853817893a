"""The text of a trace: one file per meter, one line per read or write.

::

    headend-trace/1 {"address": "1", "framing": "wrapper", "link": "tcp://192.0.2.7:4059", "meter": "ACM1", "profile": "acme"}
    @ 2026-03-02T10:00:00Z
    0.000120 > 0001001000010038603600**********
    0.034561 < 00010001001000...
    0.534900 ! nothing arrived within 0.5 s

``@`` begins a session, with the instant in UTC. Then come seconds since its beginning, a mark, and what was carried: ``>`` sent,
``<`` received, ``x`` received too late or unasked and thrown away, ``!`` words about what happened. ``**`` is a masked octet: it
counts as one octet, and checksums around it are those of 2a in its place.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Literal

from drivers.errors import DriverError
from drivers.facts import UtcSeconds

MAGIC = "headend-trace/1"
MASK = 0x2A
MAX_TEXT = 64 * 2**20  # largest trace that is read [byte]
MAX_LINE = 300_000  # a read gives 64 KiB at most, two digits each, and what comes before
MAX_RECORDS = 500_000
MAX_NOTE = 400
MAX_FAULTS = 50
Mark = Literal[">", "<", "x", "!", "@"]
_LINE = re.compile(r"(\d{1,9})\.(\d{6}) (?:([><x]) ((?:[0-9a-f]{2}|\*\*)+)|(!) (.*))", re.ASCII)
_SESSION = re.compile(r"@ (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)", re.ASCII)
_MASKED = re.compile(r"(?:\*\*)+")


class TraceError(DriverError):
    """What was given is no trace, or not one that can serve the purpose."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a trace is of. ``framing``: as in the meter's profile.  ``address``: of the meter on its link."""

    meter: str
    profile: str
    framing: str
    link: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One line. ``session``: counted from 1.  ``at``: since its beginning. [us]  ``masked``: spans of hidden octets, ends exclusive.

    ``text``: of a note (``!``), or the instant of a session's beginning (``@``).
    """

    session: int
    at: int
    mark: Mark
    octets: bytes = b""
    masked: tuple[tuple[int, int], ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace that was read. ``faults``: lines that could not be understood and were left out."""

    header: Header
    records: tuple[Record, ...]
    faults: tuple[str, ...] = field(default=())


def header_line(header: Header) -> str:
    """Write the first line."""
    return f"{MAGIC} {json.dumps(asdict(header), sort_keys=True)}\n"


def session_line(at: UtcSeconds) -> str:
    """Write the beginning of a session. [s UTC]"""
    return f"@ {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}\n"


def record_line(record: Record) -> str:
    """Write a read, a write or a note."""
    if record.mark == "!":
        words = record.text.encode("ascii", "backslashreplace").decode()
        content = "".join(sign if sign.isprintable() else " " for sign in words)[:MAX_NOTE]
    else:
        digits = [f"{octet:02x}" for octet in record.octets]
        for start, end in record.masked:
            digits[start:end] = ["**"] * (end - start)
        content = "".join(digits)
    return f"{record.at // 1_000_000}.{record.at % 1_000_000:06d} {record.mark} {content}\n"


def parse_trace(octets: bytes) -> Trace:
    """Read a trace. Raises `TraceError` where it is none; single damaged lines are left out and named."""
    if len(octets) > MAX_TEXT:
        raise TraceError(f"{len(octets)} bytes are more than a trace has; {MAX_TEXT} are read at most")
    text = octets.decode("ascii", "replace")
    first, _, rest = text.partition("\n")
    header = _header(first)
    records: list[Record] = []
    faults: list[str] = []
    session = 0
    for number, line in enumerate(rest.split("\n"), start=2):
        if not line:
            continue
        record = _record(line, session)
        if record is None:
            faults.append(f"line {number}: not understood: {line[:40]!r}")
            continue
        if len(records) >= MAX_RECORDS:
            faults.append(
                f"line {number}: only {MAX_RECORDS} lines are read; split the trace at a line that begins with @"
            )
            break
        session = record.session
        records.append(record)
    if len(faults) > MAX_FAULTS:
        faults[MAX_FAULTS:] = [f"and {len(faults) - MAX_FAULTS} more lines"]
    return Trace(header, tuple(records), tuple(faults))


def _header(line: str) -> Header:
    magic, _, content = line.rstrip("\r").partition(" ")
    if magic != MAGIC:
        if magic.startswith("headend-trace/"):
            raise TraceError(f"a trace of another version: {magic[:40]!r}; this program reads {MAGIC}")
        raise TraceError(f"not a trace: the first line does not begin with {MAGIC}")
    try:
        found = json.loads(content[:MAX_LINE])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(key.name, ""), str) for key in fields(Header)):
        raise TraceError("a trace whose first line is damaged; what it is of cannot be told")
    known = {key.name: found.get(key.name, "") for key in fields(Header)}
    if not known["framing"]:
        raise TraceError("a trace whose first line does not name a framing")
    return Header(**known)


def _record(line: str, session: int) -> Record | None:
    if len(line) > MAX_LINE:
        return None
    line = line.rstrip("\r")
    if found := _SESSION.fullmatch(line):
        return Record(session + 1, 0, "@", text=found[1])
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    at = int(found[1]) * 1_000_000 + int(found[2])
    if found[5]:
        return Record(session, at, "!", text=found[6][:MAX_NOTE])
    digits = found[4]
    masked = tuple((span.start() // 2, span.end() // 2) for span in _MASKED.finditer(digits))
    mark: Mark = ">" if found[3] == ">" else "<" if found[3] == "<" else "x"
    return Record(session, at, mark, bytes.fromhex(digits.replace("**", f"{MASK:02x}")), masked)
