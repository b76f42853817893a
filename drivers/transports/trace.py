"""A `ByteStream` that tells a recorder what it carries, while one listens. Without one it only passes on."""

from typing import Literal, Protocol

from drivers.contract import ByteStream
from drivers.errors import LineNoise, TransportError
from drivers.transports.passing import PassingStream

Carried = Literal[">", "<", "x"]
"""Sent, received, received and thrown away."""


class Recorder(Protocol):
    """Who keeps what is carried. Must not raise: a trace is never worth a reading."""

    def carried(self, mark: Carried, octets: bytes) -> None:
        """Take octets, at the time they were handed over."""

    def note(self, text: str) -> None:
        """Take words about what happened."""


class RecordingStream(PassingStream):
    """A link, overheard. ``url`` names it to whoever records; it holds no secrets."""

    def __init__(self, stream: ByteStream, url: str) -> None:
        super().__init__(stream)
        self.url = url
        self._recorder: Recorder | None = None

    def listen(self, recorder: Recorder | None) -> None:
        """Tell this recorder from now on, or nobody."""
        self._recorder = recorder

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `TransportError`."""
        if self._recorder is not None:
            self._recorder.carried(">", data)
        try:
            await self._stream.write(data)
        except TransportError as error:
            self._note(error)
            raise

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [s]. Raises `TransportTimeout`, `ConnectionLost`."""
        try:
            data = await self._stream.read(timeout)
        except (TransportError, LineNoise) as error:
            self._note(error)
            raise
        if self._recorder is not None:
            self._recorder.carried("<", data)
        return data

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it."""
        data = self._stream.discard_input()
        if self._recorder is not None and data:
            self._recorder.carried("x", data)
        return data

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change the speed of what is carried on. Raises `TransportError`, also where it has none."""
        await super().reconfigure(baud, parity, bits, after)
        if self._recorder is not None:
            self._recorder.note(f"speed: {baud} {bits}{parity}1")

    def _note(self, error: TransportError | LineNoise) -> None:
        if self._recorder is not None:
            self._recorder.note(f"{type(error).__name__}: {error}")
