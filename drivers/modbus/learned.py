"""What meters of one model taught us about reading them: registers they refuse, how much they give at once, how fast they are.

Pure: octets for `drivers.contract.MetadataCache` go out and come back. A wrong entry costs time, never a value: holes and limits
only keep reads apart that could have been one.
"""

import json
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

from drivers.facts import UtcSeconds
from drivers.modbus.coalesce import Read
from drivers.modbus.values import REGISTERS
from drivers.profile import MeterProfile, ModbusHole, Table

VERSION: Final = 1
MAX_ENTRY: Final = 65_536  # [octet]
MAX_HOLES: Final = 1_000
MAX_AGE: Final = 30 * 86_400  # after that the holes are tried again [s]
_HEAD: Final = 4  # [octet] checksum before the text


@dataclass(slots=True)
class Learned:
    """What is known of a model. ``read_at``: when the first of it was learned. [s UTC]

    ``limit``: registers that a read may bring, None while none was refused.  ``pipelines``: see `MbapExchange`.
    ``latency``: what a unit takes before it answers. [ms]
    """

    read_at: UtcSeconds = 0
    holes: set[ModbusHole] = field(default_factory=set)
    limit: int | None = None
    pipelines: bool | None = None
    latency: int | None = None
    is_news: bool = False

    def note_hole(self, hole: ModbusHole) -> None:
        """Note registers that the meter does not let us read over."""
        if hole not in self.holes and len(self.holes) < MAX_HOLES:
            self.holes.add(hole)
            self.is_news = True

    def note_limit(self, limit: int) -> None:
        """Note that more registers than these were refused."""
        if self.limit is None or limit < self.limit:
            self.limit, self.is_news = limit, True

    def note_pipelining(self, *, works: bool | None) -> None:
        """Note whether several requests in flight are answered."""
        if works is not None and works != self.pipelines:
            self.pipelines, self.is_news = works, True

    def note_latency(self, latency: float) -> None:
        """Note how long a unit took [s]; a change by a quarter is worth keeping."""
        before = self.latency
        now = round(1000 * latency) if before is None else round((7 * before + 1000 * latency) / 8)
        self.is_news = self.is_news or before is None or 4 * abs(now - before) > max(before, 4)
        self.latency = now

    def encode(self) -> bytes:
        """Give the entry for the cache."""
        holes = sorted([hole.table, hole.address, hole.count] for hole in self.holes)
        entry = [VERSION, self.read_at, holes, self.limit, self.pipelines, self.latency]
        text = json.dumps(entry, separators=(",", ":")).encode("ascii")
        return zlib.crc32(text).to_bytes(_HEAD, "big") + text


def decode_learned(octets: bytes, now: UtcSeconds) -> Learned | None:
    """Read what was kept; None for damage, another version, or an age [s UTC] at which all is tried again."""
    text = octets[_HEAD:]
    if len(octets) > MAX_ENTRY or zlib.crc32(text).to_bytes(_HEAD, "big") != octets[:_HEAD]:
        return None
    try:
        version, read_at, rows, limit, pipelines, latency = json.loads(text)
        holes = {
            ModbusHole(_whole(address, 65_535), _whole(count, 65_536), _table(table)) for table, address, count in rows
        }
        if version != VERSION or len(holes) > MAX_HOLES or not isinstance(pipelines, bool | None):
            return None
        found = Learned(_whole(read_at, 2**40), holes, _limit(limit), pipelines, _optional(latency, 3_600_000))
    except (ValueError, TypeError, RecursionError):
        return None
    return found if 0 <= now - found.read_at < MAX_AGE else None


def kind_of(profile: MeterProfile) -> str:
    """Name the kind of meter that shares what was learned: all of one profile."""
    return json.dumps(["modbus", profile.name, profile.maker, profile.model])[:512]


def parts(read: Read) -> tuple[Read, Read, ModbusHole | None] | None:
    """Cut a refused read in two, at its widest gap, or in the middle between two points; the gap cut at; None for one that
    cannot be cut.
    """
    gaps = sorted(read.gaps(), key=lambda gap: (-gap.count, gap.address))
    if gaps:
        at = next(index for index, point in enumerate(read.points) if point.address >= gaps[0].address + gaps[0].count)
        return _piece(read, 0, at), _piece(read, at, len(read.points)), gaps[0]
    if len({(point.address, point.type) for point in read.points}) < 2:
        return None
    middle = len(read.points) // 2
    return _piece(read, 0, middle), _piece(read, middle, len(read.points)), None


def _piece(read: Read, start: int, end: int) -> Read:
    points = read.points[start:end]
    stop = max(point.address + REGISTERS[point.type] for point in points)
    return Read(read.table, points[0].address, stop - points[0].address, points)


def _whole(number: Any, high: int) -> int:
    if type(number) is not int or not 0 <= number <= high:
        raise ValueError(number)
    return number


def _optional(number: Any, high: int) -> int | None:
    return None if number is None else _whole(number, high)


def _limit(number: Any) -> int | None:
    if number is not None and number == 0:
        raise ValueError(number)
    return _optional(number, 125)


def _table(name: Any) -> Table:
    if name == "holding":
        return "holding"
    if name == "input":
        return "input"
    raise ValueError(name)
