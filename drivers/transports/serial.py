"""Serial ports: pyserial opens and configures, we read and write the descriptor ourselves on the event loop."""

import errno
import termios
from contextlib import suppress

import serial

from drivers.errors import PortUnavailable
from drivers.transports.base import FdStream
from drivers.transports.url import SerialUrl

_ADVICE = {
    errno.ENOENT: "no such port; see `ls -l /dev/serial/by-id`",
    errno.EACCES: "not permitted; add this user to the group that owns the port (often dialout)",
    errno.EBUSY: "busy; another program has it open",
    errno.EAGAIN: "busy; another program has locked it",
    errno.EINVAL: "the port refuses these settings",
    errno.ENOTTY: "not a serial port",
}
_INPUT_FLAGS = 0  # index of c_iflag in termios attributes
_CONTROL_CHARACTERS = 6  # index of c_cc


def open_serial(url: SerialUrl) -> FdStream:
    """Open a port for us alone and set it up. Raises `PortUnavailable`, saying what to do."""
    try:
        port = serial.Serial(
            url.path,
            url.baud,
            bytesize=url.bits,
            parity=url.parity,
            stopbits=url.stop,
            timeout=0,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise PortUnavailable(f"{url}: {_explain(error)}") from error
    try:
        set_up_input(port.fileno(), has_parity=url.parity != "N")
        # USB adapters otherwise hold received bytes back for up to 16 ms; ports without the setting have no such delay.
        with suppress(OSError, ValueError, NotImplementedError):
            port.set_low_latency_mode(True)
    except (OSError, termios.error) as error:
        port.close()
        raise PortUnavailable(f"{url}: {_explain(error)}") from error
    return FdStream(port.fileno(), str(url), port.close, url.baud, url.bits_per_character)


def set_up_input(fd: int, *, has_parity: bool) -> None:
    """Finish what pyserial 3.5 leaves: reading by event loop, and parity checked by the kernel. Raises `termios.error`.

    VMIN 1: an empty line then says "try again"; with pyserial's 0 it reads as the end of the stream, like a pulled plug.
    INPCK: pyserial always clears it, and a byte with wrong parity is taken as good. Now it arrives as 00 and the frame's
    checksum catches it.
    """
    attributes = termios.tcgetattr(fd)
    if has_parity:
        attributes[_INPUT_FLAGS] = (attributes[_INPUT_FLAGS] | termios.INPCK) & ~(termios.IGNPAR | termios.PARMRK)
    attributes[_CONTROL_CHARACTERS][termios.VMIN] = 1
    attributes[_CONTROL_CHARACTERS][termios.VTIME] = 0
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _explain(error: BaseException) -> str:
    """Say what is wrong with a port and what to do; pyserial wraps the system's number in several ways."""
    for one in (error, error.__context__):
        numbers = [getattr(one, "errno", None), *getattr(one, "args", ())]
        if advice := next(
            (_ADVICE[number] for number in numbers if isinstance(number, int) and number in _ADVICE), None
        ):
            return advice
    return str(error)
