"""One meter on a Modbus link: who it is and what its registers hold, as facts.

Modbus has no associations, so opening a session only checks the endpoint.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from drivers.contract import ByteStream, Endpoint, SessionContext
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError, TransportError, TransportTimeout
from drivers.facts import MeterIdentity, RegisterValue, UtcSeconds
from drivers.modbus.pdu import ExceptionCode, ExceptionResponse, Function, ReadRequest
from drivers.modbus.plan import MAX_GAP, Read, plan_reads, split_at_gaps
from drivers.modbus.session import MbapExchange, RtuExchange
from drivers.modbus.values import REGISTERS, decode_integer, decode_point
from drivers.obis import Obis
from drivers.profile import ModbusPoint, ModbusProfile, Table

FUNCTIONS: Final[dict[Table, Function]] = {
    "holding": Function.READ_HOLDING_REGISTERS,
    "input": Function.READ_INPUT_REGISTERS,
}
RTU_UNITS = range(1, 248)  # MODBUS over Serial Line V1.02, clause 2.2
TCP_UNITS = range(256)  # MODBUS Messaging on TCP/IP V1.0b, clause 3.1.3


class ModbusSession:
    """`ReadsIdentity` and `ReadsRegisters` of one meter. Never two requests in flight; the caller owns the stream."""

    def __init__(self, stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> None:
        """Raises `ProfileError` listing everything that makes this endpoint unreadable."""
        faults: list[str] = []
        modbus = endpoint.profile.modbus
        if modbus is None:
            raise ProfileError(endpoint.profile.name, ["modbus: the table is missing"])
        self._units = TCP_UNITS if modbus.framing == "tcp" else RTU_UNITS
        unit = _whole(endpoint.address, "address (the unit identifier)", self._units, faults)
        gap = _whole(endpoint.options.get("max_gap", str(MAX_GAP)), "option max_gap", range(126), faults)
        if faults:
            raise ProfileError(f"{endpoint.profile.name} for meter {endpoint.name}", faults)
        self._modbus: ModbusProfile = modbus
        self._profile = endpoint.profile
        self._max_gap = gap
        self._now = context.now
        make = MbapExchange if modbus.framing == "tcp" else RtuExchange
        self._exchange = make(stream, unit, endpoint.profile.timing, context)

    async def read_identity(self) -> MeterIdentity:
        """Read the serial number; the name is ``maker:serial``. Raises `ProfileError` where the profile does not say where it is."""
        identity = self._modbus.identity
        if identity is None or not self._profile.maker:
            raise ProfileError(self._profile.name, ["modbus.identity and maker: both are needed to tell meters apart"])
        count = identity.count if identity.type == "text" else REGISTERS[identity.type]
        registers = await self._read(identity.table, identity.address, count)
        if identity.type == "text":
            serial = _text(registers)
        else:
            serial = str(decode_integer(registers, identity.type, identity.word_order))
        return MeterIdentity(f"{self._profile.maker}:{serial}", self._profile.maker, serial, self._profile.model)

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        """Read the given quantities, in the order asked.

        ``captured_at`` lies midway between request and answer [s UTC], and ``uncertainty`` is half of that time, to the
        whole seconds our clock has. Raises `MeterRefused` for a quantity the register map does not have, or the meter refuses.
        """
        by_obis = {point.obis: point for point in self._modbus.points}
        if unknown := [str(code) for code in obis if code not in by_obis]:
            raise MeterRefused(
                f"profile {self._profile.name} has no register for {', '.join(unknown)}",
                ExceptionCode.ILLEGAL_DATA_ADDRESS,
            )
        values: dict[Obis, RegisterValue] = {}
        wanted = [by_obis[code] for code in dict.fromkeys(obis)]
        for read in plan_reads(wanted, self._modbus.max_registers, self._max_gap):
            for value in await self._read_points(read):
                values[value.obis] = value
        return [values[code] for code in obis]

    async def _read_points(self, read: Read) -> list[RegisterValue]:
        before = self._now()
        try:
            registers = await self._read(read.table, read.address, read.count)
        except MeterRefused as refusal:
            if refusal.code != ExceptionCode.ILLEGAL_DATA_ADDRESS or not read.has_gaps():
                raise
            self._max_gap = 0  # this meter has holes in its map: read over no more of them
            return [value for part in split_at_gaps(read) for value in await self._read_points(part)]
        after = self._now()
        return [_value(point, read.registers_of(point, registers), before, after) for point in read.points]

    async def _read(self, table: Table, address: int, count: int) -> tuple[int, ...]:
        request = ReadRequest(FUNCTIONS[table], address, count)
        answer = await self._exchange.ask(request)
        if isinstance(answer, ExceptionResponse):
            raise refusal(
                answer.code, f"unit {self._exchange.unit}: {table} registers {address} to {address + count - 1}"
            )
        return answer.registers


@asynccontextmanager
async def open_session(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[ModbusSession]:
    """Open a session with one meter on a link that the caller owns. Raises `ProfileError` for an unreadable endpoint."""
    yield ModbusSession(stream, endpoint, context)


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


def _text(registers: Sequence[int]) -> str:
    """Read ASCII text, two characters per register, padded with NUL or spaces."""
    octets = struct.pack(f">{len(registers)}H", *registers).rstrip(b"\0 ").lstrip(b" ")
    text = octets.decode("ascii", "replace")
    if not octets or not text.isascii() or not text.isprintable():
        raise RemoteProtocolError(f"serial number registers hold {octets.hex(' ') or 'nothing'}, not ASCII text")
    return text


def _whole(text: str, what: str, allowed: range, faults: list[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) in allowed:
        return int(text)
    faults.append(f"{what} is {text[:40]!r}, not a whole number from {allowed.start} to {allowed.stop - 1}")
    return allowed.start
