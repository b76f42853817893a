"""A line of many settings on a pty: what the host's port is set to is what it hears and is heard at.

Linux lets the far end of a pty see the speed that the near end is set to, but no parity. So meters here do not look at it, as
some do not in the field.
"""

import asyncio
import os
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from drivers.transports.url import Form
from simulators.line import READ_SIZE
from simulators.mixed import MixedLine

_OUTPUT_SPEED: Final = 5  # index in termios attributes
_BAUDS: Final = {getattr(termios, f"B{baud}"): baud for baud in (300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200)}  # fmt: skip


@contextmanager
def bridged(line: MixedLine, forms: Sequence[Form]) -> Iterator[str]:
    """Put a line on a pty and give the path of its host side; needs a running loop. ``forms``: settings of its meters."""
    master, slave = os.openpty()  # the host side stays open here too, so that the host may come and go
    loop = asyncio.get_running_loop()
    by_baud = {form.baud: form for form in forms}

    def hear() -> None:
        try:
            data = os.read(master, READ_SIZE)
            baud = _BAUDS.get(termios.tcgetattr(master)[_OUTPUT_SPEED], 0)
        except (BlockingIOError, termios.error):
            return
        line.form = by_baud.get(baud, Form(baud or 9_600))
        line.ask(data)

    def say(octet: int | None) -> None:
        try:
            os.write(master, bytes([octet]) if octet is not None else b"\xff")
        except BlockingIOError:
            return  # nobody listens

    line.heard = say
    try:
        tty.setraw(slave)
        os.set_blocking(master, False)
        loop.add_reader(master, hear)
        yield os.ttyname(slave)
    finally:
        loop.remove_reader(master)
        os.close(master)
        os.close(slave)
