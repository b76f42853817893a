"""Other Modbus masters share a line through us: they speak Modbus TCP to a port of ours, and wait their turn like our own jobs.

Two masters on one RS-485 line garble each other. Here each of their requests is one turn of the line's owner, in the class of
what a person asks for, so that nobody's frames meet. Reads alone are carried on unless writes are allowed explicitly. Where the
line gives no right answer, they get the gateway's exceptions, 0A hex without a line and 0B hex without an answer.

Source: MODBUS Messaging on TCP/IP V1.0b; exceptions: MODBUS Application Protocol Specification V1.1b3, clause 7.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from drivers.contract import ByteStream, SessionContext
from drivers.errors import DriverError, RemoteProtocolError, TransportError, TransportTimeout
from drivers.listen_url import ListenUrl
from drivers.modbus.functions import decode_any_request
from drivers.modbus.mbap import MbapFrame, MbapReader
from drivers.modbus.pdu import NEED_DATA, ExceptionCode, ExceptionResponse, Request, RequestFault
from drivers.modbus.session import RtuExchange
from drivers.profile import TimingProfile
from drivers.transports import TcpListener, listen
from headend.collect.job import Priority
from headend.collect.line import Carrier, LineOwner

MAX_CALLERS: Final = 8
IDLE: Final = 600.0  # a caller that says nothing for so long is hung up on [s]
RESPITE: Final = 1.0  # where a call could not be taken, as when descriptors have run out [s]
UNITS: Final = range(1, 248)  # MODBUS over Serial Line V1.02, clause 2.2; a broadcast has no answer to carry back

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Door:
    """``port``: to listen on, 0 for a free one.  ``host``: this machine alone unless told otherwise.

    ``allows_writes``: whether what changes a meter is carried on.
    """

    port: int = 0
    host: str = "127.0.0.1"
    allows_writes: bool = False


class ModbusProxy:
    """Carries requests of others to one line of RTU units. Use `serve` in a task of its own; canceling it hangs up on all."""

    def __init__(self, line: LineOwner, door: Door, timing: TimingProfile, context: SessionContext) -> None:
        """``timing``: of the slowest unit on the line."""
        self._line = line
        self._door = door
        self._timing = timing
        self._context = context

    async def serve(self, listening: Callable[[int], Awaitable[None]] | None = None) -> None:
        """Listen until canceled; ``listening`` is told the port. Raises `PortUnavailable`."""
        listener = await listen(ListenUrl("tcp", self._door.host, self._door.port))
        assert isinstance(listener, TcpListener)
        callers: set[asyncio.Task[None]] = set()
        try:
            _log.info("Modbus proxy listens", host=self._door.host, port=listener.port)
            if listening is not None:
                await listening(listener.port)
            while True:
                try:
                    stream, host = await listener.accept()
                except TransportError as error:
                    _log.warning("Modbus proxy: a call could not be taken", reason=str(error))
                    await asyncio.sleep(RESPITE)
                    continue
                if len(callers) >= MAX_CALLERS:
                    _log.warning("Modbus proxy: too many callers", caller=host, most=MAX_CALLERS)
                    await stream.close()
                    continue
                task = asyncio.create_task(self._converse(stream, host), name=f"Modbus proxy for {host}")
                callers.add(task)
                task.add_done_callback(callers.discard)
        finally:
            listener.close()
            for task in list(callers):
                task.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

    async def _converse(self, stream: ByteStream, host: str) -> None:
        """Answer one caller, a request at a time, until it hangs up or does not speak Modbus TCP."""
        reader = MbapReader()
        try:
            while True:
                while (frame := reader.next_event()) is NEED_DATA:
                    reader.receive_data(await stream.read(IDLE))
                pdu = await self.answer(frame.unit, frame.pdu)
                await stream.write(MbapFrame(frame.transaction, frame.unit, pdu).encode())
        except DriverError as error:
            _log.info("Modbus proxy: caller gone", caller=host, reason=str(error))
        finally:
            await stream.close()

    async def answer(self, unit: int, pdu: bytes) -> bytes:
        """Give the answer's PDU to one request, whatever it is."""
        try:
            request = decode_any_request(pdu)
        except RequestFault as fault:
            return fault.response.encode()
        if request.changes and not self._door.allows_writes:
            return ExceptionResponse(int(request.function), ExceptionCode.ILLEGAL_FUNCTION).encode()
        if unit not in UNITS:
            return ExceptionResponse(int(request.function), ExceptionCode.GATEWAY_PATH_UNAVAILABLE).encode()
        try:
            said = await self._line.submit(Priority.ON_DEMAND, lambda carrier: self._ask(carrier, unit, request))
        except (TransportTimeout, RemoteProtocolError):
            code = ExceptionCode.GATEWAY_TARGET_FAILED_TO_RESPOND
        except TransportError:
            code = ExceptionCode.GATEWAY_PATH_UNAVAILABLE
        else:
            encoded: bytes = said.encode()
            return encoded
        return ExceptionResponse(int(request.function), code).encode()

    async def _ask(self, carrier: Carrier, unit: int, request: Request) -> Any:
        """One turn on the line: one request, sent once."""
        stream = await carrier.stream()
        may_write = self._door.allows_writes
        try:
            return await RtuExchange(stream, unit, self._timing, self._context, may_write=may_write).ask(request)
        except DriverError as error:
            await carrier.recover(error)
            raise
