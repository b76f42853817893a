"""Writes wire traces beside readings: one file per meter, secrets masked, bounded in size.

A `Tracer` wraps what the engine is given: the way links are opened, and the drivers. The engine knows nothing of it, and where
there is none nothing is wrapped.
"""

import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Self

import structlog

from drivers.contract import ByteStream, Driver, Endpoint, Session, SessionContext
from drivers.trace.mask import Mask
from drivers.trace.text import (
    MAGIC,
    MAX_TEXT,
    Header,
    Record,
    Trace,
    TraceError,
    header_line,
    parse_trace,
    record_line,
    session_line,
)
from drivers.transports.passing import PassingStream
from drivers.transports.trace import Carried, RecordingStream
from headend.clock import Clock
from headend.collect.line import Open
from headend.errors import HeadendError

MAX_FILE = 16 * 2**20
"""Where a trace stops, with a note that it did. [byte]"""
MAX_NAME = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)

_log = structlog.get_logger(__name__)


class TraceFileError(HeadendError):
    """A trace cannot be written where it should be, or not be read."""


class Tracer:
    """Traces meters. ``path_of``: file of a meter by its name. Use as a context manager; leaving closes the files."""

    def __init__(self, clock: Clock, path_of: Callable[[str], Path]) -> None:
        self._clock = clock
        self._path_of = path_of
        self._files: dict[str, MeterTrace] = {}

    @classmethod
    def to_file(cls, clock: Clock, path: Path) -> "Tracer":
        """Trace one meter to one file. Raises `TraceFileError` where that cannot be written."""
        check_writable(path)
        return cls(clock, lambda _: path)

    @classmethod
    def to_directory(cls, clock: Clock, directory: Path) -> "Tracer":
        """Trace each meter to a file of its own in a directory, made where it is missing. Raises `TraceFileError`."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TraceFileError(f"{directory}: cannot be made: {error.strerror}") from error
        taken: dict[str, str] = {}

        def path_of(meter: str) -> Path:
            name = _UNSAFE.sub("_", meter).lstrip(".")[:MAX_NAME] or "meter"
            while taken.setdefault(name, meter) != meter:
                name += "_"
            return directory / f"{name}.trace"

        return cls(clock, path_of)

    def __enter__(self) -> Self:
        """Give the tracer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    @property
    def paths(self) -> list[Path]:
        """Files that hold a trace."""
        return [file.path for file in self._files.values() if file.is_begun]

    @property
    def faults(self) -> list[str]:
        """Why traces end early, or were not begun."""
        return [f"{file.path.name}: {file.why_over}" for file in self._files.values() if file.why_over]

    def opening(self, open_transport: Open) -> Open:
        """Wrap the way links are opened, so that each can be overheard."""

        async def open_recording(url: str) -> ByteStream:
            return RecordingStream(await open_transport(url), url)

        return open_recording

    def watching(self, drivers: Mapping[str, Driver]) -> Mapping[str, Driver]:
        """Wrap drivers, so that each session is traced while it lasts."""
        return {name: self._watching(driver) for name, driver in drivers.items()}

    def _watching(self, driver: Driver) -> Driver:
        @asynccontextmanager
        async def open_session(
            stream: ByteStream, endpoint: Endpoint, context: SessionContext
        ) -> AsyncIterator[Session]:
            link = _overheard(stream)
            context = replace(context, metadata=None)  # a trace of less than all could not stand in for the meter
            file = self._file(link.url, endpoint)
            file.begin(endpoint)
            link.listen(file)
            try:
                async with driver(stream, endpoint, context) as session:
                    yield session
            except BaseException as error:
                file.note(f"ended by {type(error).__name__}: {error}")
                raise
            finally:
                link.listen(None)
                file.end()

        def open_any(
            stream: ByteStream, endpoint: Endpoint, context: SessionContext
        ) -> AbstractAsyncContextManager[Session]:
            return open_session(stream, endpoint, context)

        return open_any

    def _file(self, url: str, endpoint: Endpoint) -> "MeterTrace":
        file = self._files.get(endpoint.name)
        if file is None:
            profile = endpoint.profile
            settings = profile.dlms or profile.modbus
            framing = profile.protocol if settings is None else settings.framing
            header = Header(endpoint.name, profile.name, framing, url, endpoint.address)
            file = self._files[endpoint.name] = MeterTrace(self._path_of(endpoint.name), header, self._clock)
        return file


class MeterTrace:
    """The trace of one meter, a `drivers.transports.trace.Recorder`. A fault in writing ends it with a warning, never the reading."""

    def __init__(self, path: Path, header: Header, clock: Clock) -> None:
        self.path = path
        self.is_begun = False
        self._header = header
        self._clock = clock
        self._file: IO[str] | None = None
        self._is_over = False
        self.why_over = ""
        self._size = 0
        self._session = 0
        self._began = 0.0
        self._mask: Mask | None = None

    def begin(self, endpoint: Endpoint) -> None:
        """Begin a session. The first one begins the file, and replaces a trace that was there."""
        self._session += 1
        self._began = self._clock.monotonic()
        self._mask = Mask(self._header.framing, endpoint.credentials, self._session)
        if self._file is None and not self._is_over:
            try:
                check_writable(self.path)
                self._file = _create(self.path)
            except (TraceFileError, OSError) as error:
                self._give_up(str(error))
                return
            self.is_begun = True
            self._write(header_line(self._header))
        self._write(session_line(self._clock.now()))

    def carried(self, mark: Carried, octets: bytes) -> None:
        """Take what the link carried."""
        if self._mask is not None and not self._is_over:
            self._mask.add(self._now(), mark, octets)
            self._write_all(self._mask.ready())

    def note(self, text: str) -> None:
        """Take words about what happened."""
        if self._mask is not None and not self._is_over:
            self._mask.note(self._now(), text)
            self._write_all(self._mask.ready())

    def end(self) -> None:
        """End the session; what was held back is written."""
        if self._mask is not None:
            self._write_all(self._mask.end())
            self._mask = None
        if self._file is not None:
            with suppress(OSError):
                self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self.end()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None
        self._is_over = True

    def _now(self) -> int:
        return max(0, int((self._clock.monotonic() - self._began) * 1_000_000))

    def _write_all(self, records: Iterator[Record]) -> None:
        for record in records:
            self._write(record_line(record))

    def _write(self, line: str) -> None:
        if self._file is None or self._is_over:
            return
        try:
            if self._size + len(line) > MAX_FILE:
                self._file.write(
                    record_line(Record(0, self._now(), "!", text=f"the trace stops here, at {MAX_FILE} bytes"))
                )
                self._give_up(f"is full at {MAX_FILE} bytes")
                return
            self._file.write(line)
            self._size += len(line)
        except OSError as error:
            self._give_up(str(error.strerror))

    def _give_up(self, why: str) -> None:
        self._is_over = True
        self.why_over = why
        _log.warning("trace ends", file=str(self.path), meter=self._header.meter, why=why)


def check_writable(path: Path) -> None:
    """Refuse to replace a file that is no trace. Raises `TraceFileError`."""
    try:
        if not path.exists():
            if not path.parent.is_dir():
                raise TraceFileError(f"{path}: there is no directory {path.parent}")
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise TraceFileError(f"{path}: {path.parent} may not be written; name a file elsewhere")
            return
        if not path.is_file():
            raise TraceFileError(f"{path}: is no file")
        if not os.access(path, os.W_OK):
            raise TraceFileError(f"{path}: may not be written; name another file")
        with path.open("rb") as file:
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise TraceFileError(f"{path}: {error.strerror}") from error
    if begin and begin != MAGIC.encode():
        raise TraceFileError(f"{path}: exists and is no trace; name another file")


def read_trace(path: Path) -> Trace:
    """Read a trace from a file. Raises `TraceFileError` that names it."""
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_TEXT + 1)
        return parse_trace(octets)
    except OSError as error:
        raise TraceFileError(f"{path}: {error.strerror}") from error
    except TraceError as error:
        raise TraceFileError(f"{path}: {error}") from error


def _create(path: Path) -> IO[str]:
    """Make the file anew, for its owner alone: it holds what a household consumes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "w", encoding="ascii", newline="\n")


def _overheard(stream: ByteStream) -> RecordingStream:
    """Find the link that `Tracer.opening` made, below what the line owner laid on it."""
    while not isinstance(stream, RecordingStream):
        assert isinstance(stream, PassingStream)
        stream = stream.below
    return stream
