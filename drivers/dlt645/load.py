"""Which load records to ask for, and what their registers say of the intervals between them. No I/O.

Records are asked for by time, as many at once as fit one frame; what a meter gives beyond goes in follow-up frames. Where a meter
refuses, it is asked once for its earliest and its latest record, so that a window beyond its memory costs two questions and not
one for each slot; then on, record by record, as a meter may refuse for the first one missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from drivers.dlt645 import records
from drivers.dlt645.frame import MAX_DATA
from drivers.dlt645.records import LoadRecord, decode_records
from drivers.dlt645.services import Identifier
from drivers.dlt645.values import decode_count, decode_instant
from drivers.errors import RemoteProtocolError
from drivers.facts import IntervalBlock, RegisterValue, StatusWord, UtcSeconds
from drivers.profile import ChannelProfile, Dlt645Column, Dlt645Events, Dlt645LoadRecord
from drivers.status import RULES, marked_span
from kernels.quality import Rule

IDENTIFIER_OCTETS: Final = 4
BATCH: Final = 9
"""Records asked for at once, at most: up to nine it makes no difference whether a meter takes their number for BCD."""

Question = tuple[Identifier, bytes, int]
"""Identifier, what goes behind it, and octets of the answer at most."""


class Reading:
    """One window of load records, question by question: `next_question`, then `receive` or `refuse`."""

    def __init__(self, record: Dlt645LoadRecord, period: int, start: UtcSeconds, end: UtcSeconds, zone: str) -> None:
        self._record = record
        self._period = period
        self._zone = zone
        self._next = -(-start // period) * period
        self._end = end
        self._identifier = Identifier(f"06{record.kind:02X}0000")
        self._size = records.OVERHEAD + record.size + records.KINDS
        self._batch = max(1, min(BATCH, (MAX_DATA - IDENTIFIER_OCTETS) // self._size))
        self._found: dict[UtcSeconds, LoadRecord] = {}
        self._ways: list[int] = []  # to ask for the ends of the memory
        self._knows_ends = False
        self._asked = 0

    def next_question(self) -> Question | None:
        """Say what to ask next; None once all of the window has been asked for."""
        if self._ways:
            return self._identifier.with_last(self._ways[0]), b"\x01", self._size
        if self._next > self._end:
            return None
        self._asked = min(self._batch, (self._end - self._next) // self._period + 1)
        parameters = records.request(self._next, self._asked, self._zone)
        return self._identifier.with_last(records.AT), parameters, self._asked * self._size

    def receive(self, octets: bytes) -> None:
        """Take an answer. Raises `RemoteProtocolError` for what is no load record."""
        found = decode_records(octets, self._record.size, self._zone)
        stamps = sorted(record.stamp for record in found)
        if self._ways:
            way = self._ways.pop(0)
            if stamps and way == records.EARLIEST:
                self._next = max(self._next, -(-stamps[0] // self._period) * self._period)
            elif stamps:
                self._end = min(self._end, stamps[-1])
            return
        for record in found:
            if self._next <= record.stamp <= self._end:
                known = self._found.setdefault(record.stamp, record)
                if known != record:
                    raise RemoteProtocolError(f"two load records of {record.stamp} that differ")
        # A meter may give fewer than it was asked for: then it goes on behind its last.
        newest = max((stamp for stamp in stamps if stamp >= self._next), default=None)
        if newest is None:
            self._next += self._asked * self._period
        else:
            self._next = (newest // self._period + 1) * self._period

    def refuse(self) -> None:
        """Take the answer that there is no such data."""
        if self._ways:
            self._ways.pop(0)
        elif not self._knows_ends:
            self._knows_ends = True
            self._ways = [records.EARLIEST, records.LATEST]
        else:
            self._next += self._period

    def pass_over(self) -> None:
        """Go on as if all that was asked for had come: to see the questions alone."""
        self._next += self._asked * self._period

    @property
    def reach(self) -> UtcSeconds:
        """How far all intervals are decided: up to the last slot of which the meter said all. [s UTC]"""
        return self._next - self._period

    def registers(self) -> list[RegisterValue]:
        """Give the registers of all columns, stamped by the meter, oldest first. Raises `RemoteProtocolError` for no BCD."""
        return [
            value
            for _, record in sorted(self._found.items())
            for column in self._record.columns
            if (value := _register(column, record)) is not None
        ]


def _register(column: Dlt645Column, record: LoadRecord) -> RegisterValue | None:
    octets = record.data[column.offset : column.offset + column.octets]
    count = decode_count(octets, signed=column.signed) if octets else None
    return None if count is None else RegisterValue(column.obis, count, column.scaler_unit, record.stamp)


def intervals(
    channel: ChannelProfile, registers: list[RegisterValue], start: UtcSeconds, end: UtcSeconds
) -> IntervalBlock:
    """Give the intervals of a channel within ``[start, end)`` [s UTC], clipped to its grid: what its register gained in each.

    None without the register at both ends. A register that runs back has rolled over where ``dials`` say where; without, what it
    gained is not known and the interval breaks `Rule.RANGE`, as it does where the gain is too large to be held.
    """
    at = {
        value.captured_at: value.count
        for value in registers
        if (value.obis.c, value.obis.e, value.obis.d) == (channel.obis.c, channel.obis.e, 8)
    }
    first, last = -(-start // channel.period), end // channel.period
    counts: list[int | None] = []
    rules: list[Rule] = []
    for slot in range(first, max(first, last)):
        count, rule = _gain(at.get(slot * channel.period), at.get((slot + 1) * channel.period), channel.dials)
        counts.append(count)
        rules.append(rule)
    block_rules = tuple(rules) if any(rules) else ()
    return IntervalBlock(
        channel.obis, channel.scaler_unit, first * channel.period, channel.period, tuple(counts), block_rules
    )


@dataclass(frozen=True, slots=True)
class Told:
    """What an event of a log says of intervals: it went on in ``[start, end)``, by the meter's clock. [s UTC]"""

    log: Dlt645Events
    start: UtcSeconds
    end: UtcSeconds


def decode_told(octets: bytes, log: Dlt645Events, zone: str) -> Told | None:
    """Read an event with the two instants that it has: of a power failure when it began and ended, of a clock that was set what it
    showed before and after. None where there is none. DL/T 645-2007, table A.4.

    Of an event without an end only its beginning is known. What is no time says nothing, and costs no load record.
    """
    instants: list[UtcSeconds | None] = []
    for at in (log.offset, log.offset + 6):
        try:
            instants.append(decode_instant(octets[at : at + 6], "YYMMDDhhmmss", zone))
        except RemoteProtocolError:
            instants.append(None)
    first, last = instants
    if first is None:
        return None
    ends = sorted((first, first if last is None else last))
    return Told(log, ends[0], ends[1])


def told(block: IntervalBlock, events: Iterable[Told]) -> IntervalBlock:
    """Give the block with what events say of its intervals."""
    for one in events:
        log = one.log
        text = f"{log.means.replace('_', ' ')}: event {log.di} of its log ({log.text})"
        block = marked_span(block, one.start, one.end, RULES[log.means], StatusWord(one.start, one.end, log.code, text))
    return block


def _gain(before: int | None, after: int | None, dials: int) -> tuple[int | None, Rule]:
    if before is None or after is None:
        return None, Rule(0)
    gain = after - before
    if gain < 0 and dials:
        gain += 10**dials
    return (gain, Rule(0)) if 0 <= gain < 2**31 else (None, Rule.RANGE)
