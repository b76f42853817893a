"""One meter on a Modbus link: who it is and what its registers hold, as facts.

Modbus has no associations, so opening a session only checks the endpoint, and recalls what meters of its model taught us.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, get_args

from drivers.contract import ByteStream, Endpoint, SessionContext, has_parity
from drivers.doubt import unprotected
from drivers.errors import (
    CommandUnverified,
    MeterRefused,
    OutcomeUnknown,
    ProfileError,
    RemoteProtocolError,
    TransportError,
    TransportTimeout,
)
from drivers.facts import IntervalBlock, MeterIdentity, RegisterValue, UtcSeconds
from drivers.modbus import records, sunspec
from drivers.modbus.coalesce import Bounds, Pace, Read, coalesce, pace_of
from drivers.modbus.functions import ReadFile, WriteRegisters
from drivers.modbus.identity import FUNCTIONS, identity_request, serial_number
from drivers.modbus.learned import Learned, decode_learned, kind_of, parts
from drivers.modbus.pdu import ExceptionCode, ExceptionResponse, Function, ReadRequest, ReadResponse
from drivers.modbus.session import AsciiExchange, Exchange, MbapExchange, RtuExchange
from drivers.modbus.sunspec import SunSpecDevice
from drivers.modbus.values import BILLED, REGISTERS, decode_point
from drivers.obis import Obis
from drivers.profile import ModbusHole, ModbusPoint, ModbusProfile, Parity, Table
from kernels.quality import Rule

RTU_UNITS = range(1, 248)  # MODBUS over Serial Line V1.02, clause 2.2
TCP_UNITS = range(256)  # MODBUS Messaging on TCP/IP V1.0b, clause 3.1.3
SPLITS: Final = frozenset((ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE))
MAX_READINGS: Final = 5
ADVANCE: Final = 16
"""Counts that a register of energy may go on by between two readings that agree, some 100 ms apart: 500 kW at 1 Wh."""


class ModbusSession:
    """`ReadsIdentity` and `ReadsRegisters` of one meter. Never two requests in flight on a line; the caller owns the stream."""

    def __init__(
        self,
        stream: ByteStream,
        endpoint: Endpoint,
        context: SessionContext,
        learned: Learned,
        *,
        may_write: bool = False,
    ) -> None:
        """Raises `ProfileError` listing everything that makes this endpoint unreadable."""
        faults: list[str] = []
        modbus = endpoint.profile.modbus
        if modbus is None:
            raise ProfileError(endpoint.profile.name, ["modbus: the table is missing"])
        units = TCP_UNITS if modbus.framing == "tcp" else RTU_UNITS
        unit = _whole(endpoint.address, "address (the unit identifier)", units, faults)
        gap = endpoint.options.get("max_gap")
        self._max_gap = None if gap is None else _whole(gap, "option max_gap", range(126), faults)
        parity = endpoint.options.get("parity", modbus.parity)
        if parity not in get_args(Parity):
            faults.append(f"option parity is {parity[:40]!r}, not one of {', '.join(get_args(Parity))}")
        if faults:
            raise ProfileError(f"{endpoint.profile.name} for meter {endpoint.name}", faults)
        self._modbus: ModbusProfile = modbus
        self._profile = endpoint.profile
        self._now = context.now
        self._stream = stream
        self._learned = learned
        timing = endpoint.profile.timing
        self.exchange: Exchange
        """Requests and answers, for those who know the meter's registers themselves."""
        match modbus.framing:
            case "tcp":
                self.exchange = MbapExchange(
                    stream, unit, timing, context,
                    may_write=may_write, in_flight=modbus.pipeline, pipelines=learned.pipelines,
                )  # fmt: skip
            case "ascii":
                self.exchange = AsciiExchange(stream, unit, timing, context, may_write=may_write)
            case _:
                self.exchange = RtuExchange(stream, unit, timing, context, may_write=may_write)
        looks = {"line": has_parity(stream), "gateway": True, "hidden": False}
        self._has_no_status = False
        # What goes as Modbus TCP all the way has checksums of its own; a gateway checks parity and CRC of its line.
        self._is_protected = modbus.framing == "tcp" or looks[parity]

    async def read_identity(self) -> MeterIdentity:
        """Read the serial number; the name is ``maker:serial``. Raises `ProfileError` where the profile does not say where it is."""
        identity = self._modbus.identity
        if identity is None or not self._profile.maker:
            raise ProfileError(self._profile.name, ["modbus.identity and maker: both are needed to tell meters apart"])
        asked = identity_request(identity)
        serial = serial_number(identity, await self._read(identity.table, asked.address, asked.count))
        return MeterIdentity(f"{self._profile.maker}:{serial}", self._profile.maker, serial, self._profile.model)

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        """Read the given quantities, in the order asked.

        ``captured_at`` lies midway between request and answer [s UTC], and ``uncertainty`` is half of that time, to the
        whole seconds our clock has. Raises `MeterRefused` for a quantity the register map does not have or the meter refuses,
        and `ValueAbsent`, which is one, where the meter says that it has no value now.
        """
        by_obis = {point.obis: point for point in self._modbus.points}
        if unknown := [str(code) for code in obis if code not in by_obis]:
            raise MeterRefused(
                f"profile {self._profile.name} has no register for {', '.join(unknown)}",
                ExceptionCode.ILLEGAL_DATA_ADDRESS,
            )
        wanted = [by_obis[code] for code in dict.fromkeys(obis)]
        values = await self._read_all(wanted)
        if not self._is_protected:
            billed = [point for point in wanted if point.scaler_unit.unit in BILLED]
            values |= await self._agreed(billed, values)
            values = {code: unprotected(value) for code, value in values.items()}
        if any(point.scaler_unit.unit in BILLED for point in wanted) and (rules := await self._read_status()):
            values = {code: replace(value, rules=value.rules | rules) for code, value in values.items()}
        return [values[code] for code in obis]

    async def _read_status(self) -> Rule:
        """Read what the meter says of its values now, beside what bills are made of. Refusal and silence cost no value."""
        status = self._modbus.status
        if status is None or self._has_no_status:
            return Rule(0)
        count = 2 if status.type == "uint32" else 1
        try:
            answer = await self.exchange.ask(ReadRequest(FUNCTIONS[status.table], status.address, count))
        except TransportTimeout:
            self._has_no_status = True
            return Rule(0)
        if isinstance(answer, ExceptionResponse):
            self._has_no_status = answer.code in SPLITS
            return Rule(0)
        word = sum(register << 16 * place for place, register in enumerate(reversed(answer.registers)))
        return self._profile.status_layout.rules(word)

    async def discover_sunspec(self) -> SunSpecDevice | None:
        """Ask the device to describe itself; None where it does not speak SunSpec. Raises `RemoteProtocolError`, `TransportError`."""
        walk = sunspec.discover()
        try:
            address, count = next(walk)
            while True:
                answer = await self.exchange.ask(ReadRequest(Function.READ_HOLDING_REGISTERS, address, count))
                if isinstance(answer, ExceptionResponse) and answer.code not in SPLITS:
                    raise refusal(answer.code, self._spot("holding", address, count))
                address, count = walk.send(None if isinstance(answer, ExceptionResponse) else answer.registers)
        except StopIteration as end:
            found: SunSpecDevice | None = end.value
            return found

    async def _agreed(self, points: list[ModbusPoint], first: dict[Obis, RegisterValue]) -> dict[Obis, RegisterValue]:
        """Read what bills are made of until two readings agree: no parity says that a single one came undamaged."""
        seen = {point.obis: [first[point.obis]] for point in points}
        agreed: dict[Obis, RegisterValue] = {}
        for _ in range(MAX_READINGS - 1):
            left = [point for point in points if point.obis not in agreed]
            if not left:
                break
            for code, value in (await self._read_all(left)).items():
                if any(0 <= value.count - before.count <= ADVANCE for before in seen[code]):
                    agreed[code] = value
                seen[code].append(value)
        if apart := [str(point.obis) for point in points if point.obis not in agreed]:
            raise RemoteProtocolError(f"{MAX_READINGS} readings without parity, and no two agree on {', '.join(apart)}")
        return agreed

    async def _read_all(self, wanted: Sequence[ModbusPoint]) -> dict[Obis, RegisterValue]:
        bounds = Bounds(
            min(self._modbus.max_registers, self._learned.limit or self._modbus.max_registers),
            self._max_gap,
            (*self._modbus.holes, *self._learned.holes),
        )
        # A limit learned from other points must not make these unreadable.
        widest = max((REGISTERS[point.type] for point in wanted), default=1)
        reads = coalesce(wanted, self._pace(), replace(bounds, max_registers=max(bounds.max_registers, widest)))
        requests = [ReadRequest(FUNCTIONS[read.table], read.address, read.count) for read in reads]
        values: dict[Obis, RegisterValue] = {}
        if isinstance(self.exchange, MbapExchange) and len(reads) > 1 and self._modbus.pipeline > 1:
            before = self._now()
            answers = await self.exchange.ask_all(requests)
            after = self._now()
            for read, answer in zip(reads, answers, strict=True):
                values |= await self._take(read, answer, before, after)
            self._learned.note_pipelining(works=self.exchange.pipelines)
        else:
            for read, request in zip(reads, requests, strict=True):
                before = self._now()
                answer = await self.exchange.ask(request)
                values |= await self._take(read, answer, before, self._now())
        if self.exchange.latency is not None:
            self._learned.note_latency(self.exchange.latency)
        return values

    async def _take(
        self, read: Read, answer: ReadResponse | ExceptionResponse, before: UtcSeconds, after: UtcSeconds
    ) -> dict[Obis, RegisterValue]:
        """Decode an answer; where the read is refused, find out what of it may be read, and remember what may not."""
        if isinstance(answer, ReadResponse):
            return {
                point.obis: _value(point, read.registers_of(point, answer.registers), before, after)
                for point in read.points
            }
        halves = parts(read) if answer.code in SPLITS else None
        if halves is None:
            raise refusal(answer.code, f"{self._spot(read.table, read.address, read.count)}")
        values: dict[Obis, RegisterValue] = {}
        were_whole = True
        for half in halves[:2]:
            start = self._now()
            found = await self.exchange.ask(ReadRequest(FUNCTIONS[half.table], half.address, half.count))
            were_whole = were_whole and isinstance(found, ReadResponse)
            values |= await self._take(half, found, start, self._now())
        if were_whole:
            # Both halves are given where the whole was refused: it is the gap between them, or else the length.
            self._remember(read, halves[2], answer.code)
        return values

    def _remember(self, read: Read, gap: ModbusHole | None, code: int) -> None:
        if gap is not None and code == ExceptionCode.ILLEGAL_DATA_ADDRESS:
            self._learned.note_hole(gap)
        else:
            self._learned.note_limit(read.count - 1)

    def _spot(self, table: Table, address: int, count: int) -> str:
        return f"unit {self.exchange.unit}: {table} registers {address} to {address + count - 1}"

    async def _read(self, table: Table, address: int, count: int) -> tuple[int, ...]:
        answer = await self.exchange.ask(ReadRequest(FUNCTIONS[table], address, count))
        if isinstance(answer, ExceptionResponse):
            raise refusal(answer.code, self._spot(table, address, count))
        registers: tuple[int, ...] = answer.registers
        return registers

    def _pace(self) -> Pace:
        known = self._learned.latency
        return pace_of(
            self._stream.bits_per_second, self._stream.bits_per_character, None if known is None else known / 1000
        )


class RecordingSession(ModbusSession):
    """`ReadsLoadProfile` too: a model that keeps one in file records."""

    async def read_load_profile(self, start: UtcSeconds, end: UtcSeconds) -> list[IntervalBlock | RegisterValue]:
        """Read intervals within ``[start, end)`` [s UTC]. Raises `MeterRefused`, `RemoteProtocolError`, `TransportError`."""
        layout = self._modbus.load_profile
        if layout is None:
            raise ProfileError(self._profile.name, ["modbus.load_profile: is missing"])
        rows: list[records.Row] = []
        for request in records.requests(layout):
            rows += records.rows_of(layout, await self._record(request))
        channels = [channel for channel in self._profile.channels if channel.origin == "load_profile"]
        by_start = records.starts(layout, rows, self._profile.clock.stamp)
        found = records.blocks(layout, channels, by_start, (start, end))
        return [*found] if self._is_protected else [unprotected(block) for block in found]

    async def _record(self, request: ReadFile) -> tuple[int, ...]:
        """Read a record: once where parity is checked, else until two readings are the same."""
        one = request.groups[0]
        what = f"unit {self.exchange.unit}: file {one.file}, record {one.record}"
        seen: list[tuple[int, ...]] = []
        while len(seen) < MAX_READINGS:
            answer = await self.exchange.ask(request)
            if isinstance(answer, ExceptionResponse):
                raise refusal(answer.code, what)
            record: tuple[int, ...] = answer.records[0]
            if self._is_protected or record in seen:
                return record
            seen.append(record)
        raise RemoteProtocolError(f"{what}: {MAX_READINGS} readings without parity, and no two agree")


class ModbusCommands:
    """Writes registers, once, and reads back what came about. See `drivers.contract.ChangesMeter`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Write consecutive holding registers in one request (function 16).

        Raises `MeterRefused`, `CommandUnverified` where something else is read back, and `OutcomeUnknown` where the answer does
        not come or is damaged: then what became of it is to be read, never written again.
        """
        request = WriteRegisters(address, tuple(values))
        what = f"unit {self._exchange.unit}: writing registers {address} to {address + len(values) - 1}"
        try:
            answer = await self._exchange.ask(request)
        except (TransportError, RemoteProtocolError) as error:
            raise OutcomeUnknown(f"{what}: {error}") from error
        if isinstance(answer, ExceptionResponse):
            found = refusal(answer.code, what)
            if isinstance(found, TransportTimeout):
                raise OutcomeUnknown(str(found))  # the gateway does not know whether the unit heard it
            raise found
        try:
            back = await self._exchange.ask(ReadRequest(Function.READ_HOLDING_REGISTERS, address, len(values)))
        except (TransportError, RemoteProtocolError) as error:
            raise OutcomeUnknown(f"{what}: confirmed, but it could not be read back: {error}") from error
        if isinstance(back, ExceptionResponse) or back.registers != tuple(values):
            raise CommandUnverified(f"{what}: confirmed, but something else is read back")


@asynccontextmanager
async def open_session(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[ModbusSession]:
    """Open a session with one meter on a link that the caller owns. Raises `ProfileError` for an unreadable endpoint."""
    cache, kind = context.metadata, kind_of(endpoint.profile)
    entry = await cache.load(kind) if cache else None
    learned = (decode_learned(entry, context.now()) if entry else None) or Learned()
    try:
        modbus = endpoint.profile.modbus
        make = RecordingSession if modbus is not None and modbus.load_profile else ModbusSession
        yield make(stream, endpoint, context, learned)
    finally:
        if cache and learned.is_news:
            learned.read_at = learned.read_at or context.now()
            await cache.keep(kind, learned.encode())


@asynccontextmanager
async def open_commands(
    stream: ByteStream, endpoint: Endpoint, context: SessionContext
) -> AsyncIterator[ModbusCommands]:
    """Open a session to execute an approved command. Raises `ProfileError` for an unreadable endpoint."""
    session = ModbusSession(stream, endpoint, context, Learned(), may_write=True)
    yield ModbusCommands(session.exchange)


def refusal(code: int, what: str) -> MeterRefused | TransportError:
    """Turn an exception code into our error: a gateway that cannot reach the meter is a transport's trouble."""
    name = ExceptionCode(code).name.lower().replace("_", " ") if code in set(ExceptionCode) else "unknown"
    message = f"{what}: exception {code} ({name})"
    if code == ExceptionCode.GATEWAY_PATH_UNAVAILABLE:
        return TransportError(message)
    if code == ExceptionCode.GATEWAY_TARGET_FAILED_TO_RESPOND:
        return TransportTimeout(message)
    return MeterRefused(message, code)


def _value(point: ModbusPoint, registers: Sequence[int], before: UtcSeconds, after: UtcSeconds) -> RegisterValue:
    count, rules = decode_point(point, registers)
    half = max(0, after - before)
    try:
        return RegisterValue(point.obis, count, point.scaler_unit, before + half // 2, (half + 1) // 2, rules)
    except ValueError as error:
        raise RemoteProtocolError(f"{error} (register {point.address})") from error


def _whole(text: str, what: str, allowed: range, faults: list[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) in allowed:
        return int(text)
    faults.append(f"{what} is {text[:40]!r}, not a whole number from {allowed.start} to {allowed.stop - 1}")
    return allowed.start
