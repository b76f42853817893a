"""The control protocol of a simulated world: JSON lines on stdin and stdout.

First line out: ``{"ready": {...}, "clock": {"monotonic": s, "world": s, "rate": r}, ...}``. Then each command line is answered by one
line: ``{"skip_to": T}`` by ``{"clock": ...}`` once all that fell due is done, what cannot be obeyed by ``{"error": "..."}``.
The end of stdin ends the world.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import BinaryIO

MAX_LINE = 65_536
FURTHEST = 2**40  # [s UTC]


async def obey(
    commands: BinaryIO,
    say: Callable[[dict[str, object]], None],
    skip_to: Callable[[int], Awaitable[None]],
    state: Callable[[], dict[str, object]],
) -> None:
    """Answer commands until they end."""
    lines = _read_lines(commands)
    while (line := await lines.get()) is not None:
        try:
            instant = decode_command(line)
        except ValueError as error:
            say({"error": str(error)})
            continue
        await skip_to(instant)
        say(state())


def decode_command(line: bytes) -> int:
    """Read ``{"skip_to": T}`` and give the instant [s UTC]. Raises `ValueError` saying what is understood."""
    if len(line) >= MAX_LINE:
        raise ValueError(f"a command has at most {MAX_LINE} bytes")
    try:
        command = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError('not JSON; write {"skip_to": UTC_SECONDS} on one line') from None
    instant = command.get("skip_to") if isinstance(command, dict) and len(command) == 1 else None
    if type(instant) is not int or not 0 <= instant < FURTHEST:
        raise ValueError('the one command is {"skip_to": UTC_SECONDS}, whole seconds')
    return instant


def _read_lines(commands: BinaryIO) -> "asyncio.Queue[bytes | None]":
    """Read lines in a thread: stdin may be a pipe, a terminal or a file, and only a thread can wait for them all."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        while True:
            line = commands.readline(MAX_LINE)
            try:
                loop.call_soon_threadsafe(lines.put_nowait, line or None)
            except RuntimeError:  # the loop is closed: the world has ended otherwise
                return
            if not line:
                return

    threading.Thread(target=read, daemon=True, name="commands").start()
    return lines
