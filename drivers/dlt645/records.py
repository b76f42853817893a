"""Load records (class 06): frames in a frame, with start, length, stamp, six blocks and a checksum of their own.

Each of the six kinds of load has its place between separators AA; a kind the meter does not record has nothing before its
separator. A record asked for by its kind holds that kind alone, and some meters then leave out the separators in front. AA is no
BCD, so what lies between the outermost separators is the kind's data whatever the meter's habit.

Source: DL/T 645-2007, annex B (load record format) and table A.7. The octets of the stamp go low byte first, as everywhere; the
transcript of the standard at hand does not show it, public decoders of meters' answers do.
"""

from dataclasses import dataclass
from typing import Final

from drivers.dlt645.values import decode_instant, encode_instant
from drivers.errors import RemoteProtocolError
from drivers.facts import UtcSeconds

START: Final = 0xA0
BAD_START: Final = 0xE0
END: Final = 0xE5
SEPARATOR: Final = 0xAA
STAMP: Final = "YYMMDDhhmm"
STAMP_OCTETS: Final = 5
KINDS: Final = 6
OVERHEAD: Final = 5 + STAMP_OCTETS
"""Octets of a record beside its kinds and their separators: start twice, length, stamp, checksum, end."""
EARLIEST: Final = 0x00
AT: Final = 0x01
LATEST: Final = 0x02
MAX_RECORDS: Final = 2_000


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One record of one kind. ``stamp``: by the meter's clock [s UTC].  ``data``: empty where the kind is not recorded.

    ``is_bad``: the meter itself says that the record is damaged.
    """

    stamp: UtcSeconds
    data: bytes
    is_bad: bool = False

    def encode(self, kind: int, zone: str) -> bytes:
        """Write the record as a meter does that records this kind alone, 1 to 6."""
        start = BAD_START if self.is_bad else START
        blocks = bytes((SEPARATOR,)) * (kind - 1) + self.data + bytes((SEPARATOR,)) * (KINDS + 1 - kind)
        body = encode_instant(self.stamp, STAMP, zone) + blocks
        octets = bytes((start, start, len(body))) + body
        return octets + bytes((sum(octets) % 256, END))


def request(first: UtcSeconds, count: int, zone: str) -> bytes:
    """Write what a request for so many records from an instant on carries behind its identifier: NN, then the time."""
    if not 1 <= count <= 99:
        raise ValueError(f"{count} records cannot be asked for")
    return bytes.fromhex(f"{count:02d}") + encode_instant(first, STAMP, zone)


def decode_request(octets: bytes, zone: str) -> tuple[UtcSeconds, int]:
    """Read a request as a meter. Raises `RemoteProtocolError`."""
    count = octets[:1].hex()
    first = decode_instant(octets[1:], STAMP, zone)
    if first is None or not count.isdecimal():
        raise RemoteProtocolError(f"{octets.hex(' ')} asks for no load records")
    return first, int(count)


def decode_records(octets: bytes, size: int, zone: str) -> list[LoadRecord]:
    """Read the records of one kind, of ``size`` octets each. Raises `RemoteProtocolError` for anything that does not add up."""
    found: list[LoadRecord] = []
    at = 0
    while at < len(octets):
        if len(found) == MAX_RECORDS:
            raise RemoteProtocolError(f"more than {MAX_RECORDS} load records in one answer")
        start, length = octets[at], octets[at + 2] if at + 2 < len(octets) else 0
        end = at + 3 + length + 2
        if start not in {START, BAD_START} or octets[at + 1 : at + 2] != octets[at : at + 1]:
            raise RemoteProtocolError(f"a load record begins with {octets[at : at + 2].hex(' ')}")
        if end > len(octets) or length < STAMP_OCTETS:
            raise RemoteProtocolError(f"a load record of {length} bytes, {len(octets) - at - 3} follow")
        if sum(octets[at : end - 2]) % 256 != octets[end - 2] or octets[end - 1] != END:
            raise RemoteProtocolError(f"a load record with a wrong checksum or end: {octets[at:end][:16].hex(' ')}")
        found += _record(octets[at + 3 : end - 2], size, zone, is_bad=start == BAD_START)
        at = end
    return found


def _record(body: bytes, size: int, zone: str, *, is_bad: bool) -> list[LoadRecord]:
    stamp = decode_instant(body[:STAMP_OCTETS], STAMP, zone)
    data = body[STAMP_OCTETS:].strip(bytes((SEPARATOR,)))
    if stamp is None:
        return []  # a place in the meter's memory that was never written
    if len(data) not in {0, size} and not is_bad:
        raise RemoteProtocolError(f"a load record holds {len(data)} bytes of its kind, not {size}")
    return [LoadRecord(stamp, b"" if is_bad else data, is_bad)]
