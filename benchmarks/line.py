"""How near reading a load profile comes to the limit of the wire. ``make bench-line``.

A day of 96 rows of 8 columns (an answer of 4614 octets, 3379 with the repeated stamps left out) is read over HDLC by a whole session
on a real serial port: the host side of a pty, on which a relay lets bytes through at the line's speed, one direction at a time, and
flags who talks into an answer. Per turn the meter takes 20 ms and the host may take 2 ms; the limit is computed from that and
from the octets that the frames must have, by the standard's layout and not by our encoder. What is timed is the profile's
question to the last octet of its answer, decoded; it happens in the second session with a meter of its kind, which must ask
nothing but that: the octets that it spends on what the first session knew are counted.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import dlms as day
from drivers.contract import Endpoint, SessionContext
from drivers.dlms import acse, axdr, objects, xdlms
from drivers.dlms.axdr import Data
from drivers.dlms.driver import open_session
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.link import HdlcLink
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import ConnectionLost
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.profile import TimingProfile
from drivers.transports import null_modem, open_transport
from simulators.clock import WorldClock
from simulators.line import Answer, Line

METER_TURN, HOST_TURN = 0.020, 0.002  # [s]
FIFO = 14  # trigger level of the usual UART [character]
QUESTION = 64  # GET-request-normal with a selection by range of four objects' restriction [octet]
NEXT_BLOCK = 7  # GET-request-next [octet]
LLC = 3
FIRMWARE = Obis.parse("1-0:0.2.0")
SERVICES = (
    Conformance.GET | Conformance.SELECTIVE_ACCESS | Conformance.BLOCK_TRANSFER_GET | Conformance.MULTIPLE_REFERENCES
)
NULL_STAMP = bytes((axdr.Tag.NULL,))
STAMP_SIZE = 14
ROW_SIZE = (len(day.BUFFER) - 2) // day.SLOTS
BLOCK = 498  # octets of the buffer in a block of a meter whose APDUs have 512 at most


def compressed_buffer() -> bytes:
    """Leave out each stamp that is one period after the one before."""
    head, rows = day.BUFFER[:2], day.BUFFER[2:]
    cut = [rows[at : at + ROW_SIZE] for at in range(0, len(rows), ROW_SIZE)]
    return head + cut[0] + b"".join(row[:2] + NULL_STAMP + row[2 + STAMP_SIZE :] for row in cut[1:])


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``info``, ``window``: what the meter takes and sends at a time; we ask for 2030 and 7."""

    baud: int
    bits: int
    info: int = 128
    window: int = 1
    is_compressed: bool = False
    has_blocks: bool = False
    address: HdlcAddress = field(default=HdlcAddress(1))

    @property
    def name(self) -> str:
        """Say what is special."""
        kinds = [f"{self.baud} 8{'E' if self.bits == 11 else 'N'}1, info {self.info}, window {self.window}"]
        kinds += ["stamps left out"] * self.is_compressed + ["blocks of 512"] * self.has_blocks
        kinds += ["four-byte address"] * (self.address.size == 4)
        return ", ".join(kinds)

    @property
    def buffer(self) -> bytes:
        """Give the profile as this meter encodes it."""
        return compressed_buffer() if self.is_compressed else day.BUFFER

    def limit(self) -> tuple[int, float]:
        """Compute the octets on the wire and the least time that the profile takes. [octet, s]

        A frame has 7 octets and two addresses around its information, RR 7 less two of those (IEC 62056-46, 6.4.2).
        """
        size = len(self.buffer)
        blocks = [min(BLOCK, size - at) for at in range(0, size, BLOCK)] if self.has_blocks else []
        answers = [9 + len(axdr.encode_length(block)) + block for block in blocks] or [4 + size]
        questions = [QUESTION, *[NEXT_BLOCK] * (len(answers) - 1)]
        addresses = 1 + self.address.size
        octets = turns = 0
        for question, answer in zip(questions, answers, strict=True):
            frames = -(-(answer + LLC) // self.info)
            acknowledgements = -(-frames // self.window) - 1
            octets += question + LLC + answer + LLC + (1 + frames) * (9 + addresses)
            octets += acknowledgements * (7 + addresses)
            turns += 1 + acknowledgements
        return octets, octets * self.bits / self.baud + turns * (METER_TURN + HOST_TURN)


EVEN, NONE = 11, 10  # bits of a character by parity
ROWS = (
    Row(9600, EVEN), Row(9600, EVEN, window=7), Row(9600, EVEN, 512), Row(9600, EVEN, 2030),
    Row(9600, NONE), Row(9600, NONE, 2030), Row(2400, EVEN), Row(2400, EVEN, 2030),
    Row(9600, EVEN, is_compressed=True), Row(9600, EVEN, 2030, is_compressed=True), Row(9600, EVEN, has_blocks=True),
    Row(9600, EVEN, address=HdlcAddress(1, 17, 4)), Row(115_200, NONE), Row(115_200, NONE, 2030),
)  # fmt: skip


class Meter:
    """A meter with this day for its load profile, without security. ``asked``: attribute, and octets of question and answer."""

    def __init__(self, row: Row) -> None:
        self.link = HdlcLink("server", row.address, None, row.info, row.window)
        self.asked: list[tuple[Attribute | None, int]] = []
        self._row = row
        self._left = b""
        self._block = 0

    def receive(self, data: bytes, now: int) -> Answer | None:  # noqa: ARG002  any bus is told the time
        """Hear what is on the line and answer."""
        self.link.receive_data(data)
        octets = b""
        while (event := self.link.next_event()) is not NEED_DATA:
            octets += self.link.data_to_send()
            if isinstance(event, Apdu):
                octets += self.link.send(Apdu(self.answer(event.octets)))
        return Answer(METER_TURN, octets + self.link.data_to_send())

    def answer(self, apdu: bytes) -> bytes:
        """Answer one APDU and write down what it was about."""
        if apdu[0] == acse.AARQ:
            return acse.Aare(user_information=xdlms.InitiateResponse(SERVICES, 0xFFFF).encode()).encode()
        if apdu[0] == acse.RLRQ:
            return acse.Release(is_response=True).encode()
        request = xdlms.decode(apdu)
        about: list[Attribute] = []
        match request:
            case xdlms.GetRequestNext():
                answer = self._cut(request.invoke_id)
            case xdlms.GetRequest():
                about = [request.attribute]
                answer = self._get(request)
            case xdlms.GetRequestList():
                about = [attribute for attribute, _ in request.items]
                values = b"".join(b"\x00" + axdr.encode(self._value(attribute)) for attribute in about)
                answer = bytes((xdlms.GET_RESPONSE, 3, request.invoke_id, len(about))) + values
            case _:
                raise ValueError(f"{request} is no question of this benchmark")
        self.asked.append((about[-1] if about else None, len(apdu) + len(answer)))
        return answer

    def _get(self, request: xdlms.GetRequest) -> bytes:
        if request.attribute.class_id != objects.PROFILE_GENERIC or request.attribute.index != objects.BUFFER:
            return xdlms.GetResponse(request.invoke_id, self._value(request.attribute)).encode()
        if self._row.has_blocks:
            self._left, self._block = self._row.buffer, 0
            return self._cut(request.invoke_id)
        return bytes((xdlms.GET_RESPONSE, 1, request.invoke_id, 0)) + self._row.buffer

    def _cut(self, invoke_id: int) -> bytes:
        raw, self._left = self._left[:BLOCK], self._left[BLOCK:]
        self._block += 1
        return xdlms.GetResponseBlock(invoke_id, not self._left, self._block, raw).encode()

    def _value(self, attribute: Attribute) -> Data:
        match attribute.class_id, attribute.index:
            case objects.PROFILE_GENERIC, objects.CAPTURE_OBJECTS:
                return axdr.array([column.encode() for column in day.CAPTURED])
            case objects.PROFILE_GENERIC, objects.CAPTURE_PERIOD:
                return axdr.double_long_unsigned(day.PERIOD)
            case objects.PROFILE_GENERIC, objects.SORT_METHOD:
                return axdr.enum(objects.FIRST_IN_FIRST_OUT)
            case objects.REGISTER, 3:
                return objects.encode_scaler_unit(day.WATT_HOUR)
            case objects.DATA, 2:
                return axdr.octet_string(b"BEN0000000000001")
        raise ValueError(f"{attribute} is not in this benchmark")

    def metadata(self) -> int:
        """Count the octets of questions and answers about anything but who the meter is and the buffer."""
        known = {(objects.DATA, 2), (objects.PROFILE_GENERIC, objects.BUFFER)}
        return sum(octets for about, octets in self.asked if about and (about.class_id, about.index) not in known)


class Cache:
    """A metadata cache in memory."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}

    async def load(self, kind: str) -> bytes | None:
        """Give what was kept."""
        return self._entries.get(kind)

    async def keep(self, kind: str, entry: bytes) -> None:
        """Keep an entry."""
        self._entries[kind] = entry

    async def drop(self, kind: str) -> None:
        """Forget an entry."""
        self._entries.pop(kind, None)


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a row. ``metadata``: octets of it in the first session, and in the second."""

    row: Row
    seconds: float
    octets: int
    collisions: int
    metadata: tuple[int, int]

    @property
    def ratio(self) -> float:
        """How near the limit: limit by measured time."""
        return self.row.limit()[1] / self.seconds


def endpoint(row: Row) -> Endpoint:
    assert day.PROFILE.dlms is not None
    settings = replace(
        day.PROFILE.dlms, framing="hdlc", window=7, authentication="none", firmware=FIRMWARE, client_system_title=b""
    )
    profile = replace(day.PROFILE, dlms=settings, timing=TimingProfile(latency=2.0))
    options = {"address_size": "4"} if row.address.size == 4 else {}
    return Endpoint("BENCH0000000001", str(row.address), profile, options=options)


async def first_session(row: Row, context: SessionContext) -> int:
    """Let a meter of this kind be met, off the line; give the octets of metadata that it took."""
    near, far = null_modem()
    meter = Meter(row)

    async def serve() -> None:
        try:
            while True:
                answer = meter.receive(await far.read(60), day.START)
                await far.write(answer.data if answer else b"")
        except ConnectionLost:
            pass

    serving = asyncio.create_task(serve())
    async with open_session(near, endpoint(row), context) as session:
        await session.read_load_profile(day.START, day.START + day.SLOTS * day.PERIOD)
    await near.close()
    await serving
    return meter.metadata()


async def measure(row: Row) -> Measured:
    """Read the day of a meter of a kind that is known, on a line of its own."""
    context = SessionContext(lambda: day.START, os.urandom, day.COUNTERS, metadata=Cache())
    before = await first_session(row, context)
    meter = Meter(row)
    line = Line(
        meter, WorldClock(day.START, 1.0, time.monotonic), baud=row.baud, bits_per_character=row.bits, fifo=FIFO
    )
    with line.opened() as path:
        running = asyncio.create_task(line.run())
        stream = await open_transport(f"serial://{path}?baud={row.baud}")  # a pty knows no parity
        async with open_session(stream, endpoint(row), context) as session:
            await session.read_identity()
            carried = line.count.host_bytes + line.count.meter_bytes
            begin = time.perf_counter()
            facts = await session.read_load_profile(day.START, day.START + day.SLOTS * day.PERIOD)
            seconds = time.perf_counter() - begin
            carried = line.count.host_bytes + line.count.meter_bytes - carried
        await stream.close()
        running.cancel()
    blocks = {fact.obis: fact.counts for fact in facts if isinstance(fact, IntervalBlock)}
    for column, code in enumerate(day.INTERVALS, start=2):
        assert blocks[code] == tuple(line[column] for line in day.TRUTH), (
            f"{row.name}: {code} is not what the meter had"
        )
    return Measured(row, seconds, carried, line.count.collisions, (before, meter.metadata()))


async def measure_all() -> list[Measured]:
    """Measure the slow rows together, as their time is the line's, and each fast row alone."""
    slow = asyncio.gather(*(measure(row) for row in ROWS if row.baud < 20_000))
    together = {one.row: one for one in await slow}
    alone = {row: await measure(row) for row in ROWS if row not in together}
    return [(together | alone)[row] for row in ROWS]


def report(measured: Sequence[Measured]) -> None:
    print(
        f"{'':<52} {'octets':>7} {'must be':>7} {'limit s':>8} {'took s':>8} {'ratio':>6} {'busy':>5} {'collisions':>10}"
    )
    for one in measured:
        octets, limit = one.row.limit()
        busy = one.octets * one.row.bits / one.row.baud / one.seconds
        print(
            f"{one.row.name:<52} {one.octets:>7} {octets:>7} {limit:>8.3f} {one.seconds:>8.3f} {one.ratio:>6.3f}"
            f" {busy:>5.0%} {one.collisions:>10}"
        )
    first, second = (max(one.metadata[session] for one in measured) for session in (0, 1))
    print(f"octets of metadata: {first} in the first session with a kind of meter, {second} in the second")


def main() -> None:
    """Print a table, then one JSON object. Fails where the second session asks for what the first knew."""
    measured = asyncio.run(measure_all())
    report(measured)
    figures = {
        "line_limit_ratio_min": round(min(one.ratio for one in measured), 4),
        "line_collisions": sum(one.collisions for one in measured),
        "second_session_metadata_octets": max(one.metadata[1] for one in measured),
    }
    print(json.dumps(figures))
    if figures["second_session_metadata_octets"] or figures["line_collisions"]:
        sys.exit("the second session asked for what was known, or somebody talked into an answer")


if __name__ == "__main__":
    main()
