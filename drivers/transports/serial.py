"""Serial ports: pyserial opens and configures, we read and write the descriptor ourselves on the event loop."""

import asyncio
import errno
import os
import termios
from collections import deque
from contextlib import suppress
from pathlib import Path

import serial

from drivers.errors import LineNoise, PortUnavailable
from drivers.transports.base import FdStream, pause
from drivers.transports.marks import MarkReader
from drivers.transports.url import SerialUrl

_ADVICE = {
    errno.ENOENT: "no such port; see `ls -l /dev/serial/by-id`",
    errno.EACCES: "not permitted; add this user to the group that owns the port (often dialout)",
    errno.EBUSY: "busy; another program has it open",
    errno.EAGAIN: "busy; another program has locked it",
    errno.EINVAL: "the port refuses these settings",
    errno.ENOTTY: "not a serial port",
}
_PSEUDO_TERMINALS = range(136, 144)  # Linux, Documentation/admin-guide/devices.txt: majors of /dev/pts
_INPUT_FLAGS = 0  # index of c_iflag in termios attributes
_CONTROL_CHARACTERS = 6  # index of c_cc


def open_serial(url: SerialUrl) -> "SerialStream":
    """Open a port for us alone and set it up. Raises `PortUnavailable`, saying what to do."""
    parity, bits = _carried(url.path, url.parity, url.bits)
    try:
        port = serial.Serial(
            url.path,
            url.baud,
            bytesize=bits,
            parity=parity,
            stopbits=url.stop,
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise PortUnavailable(f"{url}: {_explain(error)}") from error
    try:
        set_up_input(port.fileno())
        # USB adapters otherwise hold received bytes back for up to 16 ms; ports without the setting have no such delay.
        with suppress(OSError, ValueError, NotImplementedError):
            port.set_low_latency_mode(True)
    except (OSError, termios.error) as error:
        port.close()
        raise PortUnavailable(f"{url}: {_explain(error)}") from error
    return SerialStream(port, url)


class SerialStream(FdStream):
    """A serial port, whose speed may be changed while it is open. Its input carries the kernel's marks, see `set_up_input`."""

    def __init__(self, port: serial.Serial, url: SerialUrl) -> None:
        super().__init__(port.fileno(), str(url), port.close, url.baud, url.bits_per_character)
        self._port = port
        self._path = url.path
        self._stop = url.stop
        self._has_parity = url.parity != "N"
        self._marks = MarkReader()
        self._pieces: deque[bytes | None] = deque()

    @property
    def has_parity(self) -> bool:
        """Whether a byte with wrong parity is never delivered. Proved with marks as the kernel gives them, not on hardware."""
        return self._has_parity

    def _receive(self, size: int) -> bytes:
        """Read what is there up to a damaged byte, or say that one is next."""
        while not self._pieces:
            if not (data := super()._receive(size)):
                return b""
            self._pieces += self._marks.receive_data(data)
        piece = self._pieces.popleft()
        if piece is None:
            raise LineNoise(f"{self._name}: a byte came damaged (parity, framing or a break on the line)")
        return piece

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change speed and form of characters, ``after`` the last one sent has left the UART so long. [s]

        Raises `PortUnavailable` where the port refuses, `ConnectionLost` once closed.
        """
        self._check_open()
        try:
            await asyncio.to_thread(termios.tcdrain, self._fd)  # 300 baud would hold all others up for long
            await pause(after)
            self._check_open()
            carried, width = _carried(self._path, parity, bits)
            settings = {"baudrate": baud, "parity": carried, "bytesize": width}
            try:
                self._port.apply_settings(settings)
            except (
                termios.error
            ):  # pyserial sets one by one: what was refused before may still stand beside the first of them
                self._port.apply_settings(settings)
            set_up_input(self._fd)
        except (OSError, ValueError, termios.error) as error:
            raise PortUnavailable(f"{self._name}: {_explain(error)}") from error
        self._bits_per_second = baud
        self._bits_per_character = 1 + bits + (parity != "N") + self._stop
        self._has_parity = parity != "N"


def set_up_input(fd: int) -> None:
    """Finish what pyserial 3.5 leaves: reading by event loop, and damaged bytes marked by the kernel. Raises `termios.error`.

    VMIN 1: an empty line then says "try again"; with pyserial's 0 it reads as the end of the stream, like a pulled plug.
    INPCK and PARMRK: pyserial always clears them, and a byte with wrong parity or framing is taken as good. Now it arrives
    marked, see `MarkReader`. Without parity they still show bytes without a stop bit. Without BRKINT a break is marked too,
    instead of throwing away what was received.
    """
    attributes = termios.tcgetattr(fd)
    ignored = termios.IGNPAR | termios.IGNBRK | termios.BRKINT | termios.ISTRIP
    attributes[_INPUT_FLAGS] = (attributes[_INPUT_FLAGS] | termios.INPCK | termios.PARMRK) & ~ignored
    attributes[_CONTROL_CHARACTERS][termios.VMIN] = 1
    attributes[_CONTROL_CHARACTERS][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _carried(path: str, parity: str, bits: int) -> tuple[str, int]:
    """Give parity and data bits to set up: a pseudo-terminal carries bytes, and the C library refuses parity there."""
    with suppress(OSError):
        if parity in "NEO" and os.major(Path(path).stat().st_rdev) in _PSEUDO_TERMINALS:
            return "N", 8
    return parity, bits


def _explain(error: BaseException) -> str:
    """Say what is wrong with a port and what to do; pyserial wraps the system's number in several ways."""
    for one in (error, error.__context__):
        numbers = [getattr(one, "errno", None), *getattr(one, "args", ())]
        if advice := next(
            (_ADVICE[number] for number in numbers if isinstance(number, int) and number in _ADVICE), None
        ):
            return advice
    return str(error)
