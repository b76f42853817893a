"""What a driver can do, as small capability Protocols, and the session that does it.

A driver module offers ``open_session(stream, endpoint, context)``: an async context manager that yields a session.
The session has the methods of the capabilities its meter has; ask with ``isinstance(session, ReadsLoadProfile)``.
Opening associates where the protocol has associations; closing releases in an orderly way, also on error.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from drivers.facts import ClockReading, IntervalBlock, MeterIdentity, RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import MeterProfile


class ByteStream(Protocol):
    """A link to one meter or one bus: bytes out, bytes in. Implemented in `drivers.transports` alone."""

    async def write(self, data: bytes) -> None:
        """Send all of ``data``. Raises `TransportError`."""

    async def read(self, timeout: float) -> bytes:
        """Return at least one received byte, waiting at most ``timeout`` [s]. Raises `TransportTimeout`, `ConnectionLost`.

        Raises `LineNoise` in the place of bytes that came damaged, where the link can tell; it stays usable.
        """

    def discard_input(self) -> bytes:
        """Throw away what has arrived unread, and return it."""

    async def close(self) -> None:
        """Close; closing twice is harmless."""

    @property
    def bits_per_second(self) -> int | None:
        """Line speed where there is one (serial), else None. [bit/s]"""

    @property
    def bits_per_character(self) -> int:
        """Bits on the line per byte: 10 for 8N1, 11 for 8E1. [bit]"""


@runtime_checkable
class ChangesSpeed(Protocol):
    """A link whose speed may be changed while it is open: a serial port."""

    async def reconfigure(self, baud: int, parity: str, bits: int, after: float = 0.0) -> None:
        """Change speed [bit/s] and form of characters, ``after`` the last one sent has left us so long. [s]

        ``parity``: N, E or O.  ``bits``: of data, 7 or 8. Raises `TransportError`.
        """


@runtime_checkable
class ChecksParity(Protocol):
    """A link that can tell whether each byte comes with a parity that is checked: a serial port."""

    @property
    def has_parity(self) -> bool:
        """Whether a byte with wrong parity is never delivered."""


def has_parity(stream: ByteStream) -> bool:
    """Say whether parity protects what a link delivers. Where it does not, a value may have to be read twice."""
    return isinstance(stream, ChecksParity) and stream.has_parity


@runtime_checkable
class KnowsSilence(Protocol):
    """A link that knows when something arrived last."""

    def silent_for(self) -> float:
        """Give the time since something arrived, or since the link was opened. [s, real]"""


def silent_for(stream: ByteStream) -> float:
    """Give the time for which a link has been silent already, 0 where it does not know. [s, real]"""
    return stream.silent_for() if isinstance(stream, KnowsSilence) else 0.0


MOST_GATHERED = 64
"""Octets that a UART may gather before it hands on the first: the deepest of the usual ones; OMAP's wait for 48."""


@runtime_checkable
class KnowsGathering(Protocol):
    """A link that has seen how many octets of an answer arrive together."""

    def gathers(self) -> int:
        """Give the octets that may gather before the first is handed on. [octet]"""


def gathers(stream: ByteStream) -> int:
    """Give the octets that may gather before the first is handed on, the most there are where the link does not know. [octet]"""
    return stream.gathers() if isinstance(stream, KnowsGathering) else MOST_GATHERED


class CounterStore(Protocol):
    """Invocation counters, reserved durably before use and never lowered (docs/decisions/invocation-counters.md)."""

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        """Reserve ``size`` fresh counters at or above ``floor`` for the pair named by ``key_id``; durable on return.

        ``key_id`` names (own system title, key): ``4845440000000001/`` and the key's fingerprint, so that meters with one key
        share its counters.  ``meter``: who asks, for messages; what was once reserved as ``4845440000000001/meter`` is not
        handed out either. Raises `CounterError` at 2^32-1.
        """

    async def note(self, key_id: str, counter: int) -> int:
        """Note a verified counter of a meter, durably; give the highest noted before it, -1 for none.

        ``key_id`` names (the meter's system title, key). What is noted never goes down.
        """


class MetadataCache(Protocol):
    """What meters of one kind say of themselves alike, kept across sessions (docs/decisions/metadata-cache.md).

    Octets are the driver's own; it tells damage and age itself. Nothing is lost but time where an entry is not there.
    """

    async def load(self, kind: str) -> bytes | None:
        """Give what was kept last for ``kind``, None for nothing."""

    async def keep(self, kind: str, entry: bytes) -> None:
        """Keep ``entry`` for ``kind`` instead of what was there."""

    async def drop(self, kind: str) -> None:
        """Forget what was kept for ``kind``."""


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """Asymmetric keys of one meter, as text: PEM, or hexadecimal; ours are private, the meter's public. Empty where there is none.

    ``signing``, ``meter_signing``: of signatures.  ``agreement``, ``meter_agreement``: of key agreement.
    """

    signing: bytes = field(default=b"", repr=False)
    meter_signing: bytes = field(default=b"", repr=False)
    agreement: bytes = field(default=b"", repr=False)
    meter_agreement: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Secrets of one meter. Never in a repr, a log or an exception. ``master_key``: wraps other keys, never protects APDUs."""

    password: bytes = field(default=b"", repr=False)
    encryption_key: bytes = field(default=b"", repr=False)
    authentication_key: bytes = field(default=b"", repr=False)
    master_key: bytes = field(default=b"", repr=False)
    curve_keys: CurveKeys = CurveKeys()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One meter on a link: its address there, its model and its secrets.

    ``address``: DLMS server address (logical/physical, text ``1`` or ``1/17``) or Modbus unit identifier.
    ``options``: overrides of the profile's session settings for this one meter, already validated as text.
    """

    name: str
    address: str
    profile: MeterProfile
    credentials: Credentials = Credentials()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What a session needs from the world, injected.

    ``now``: UTC, whole seconds. [s]  ``counters``: see `CounterStore`.  ``timeout_scale``: real seconds per protocol second; 1 but in simulations that run faster than the wall.
    ``random_bytes``: cryptographically strong (`os.urandom`), replaced in tests.  ``metadata``: None to ask every meter anew.
    """

    now: Callable[[], UtcSeconds]
    random_bytes: Callable[[int], bytes]
    counters: CounterStore
    timeout_scale: float = 1.0
    metadata: MetadataCache | None = None


@runtime_checkable
class ReadsIdentity(Protocol):
    """Says who the meter is."""

    async def read_identity(self) -> MeterIdentity:
        """Ask the meter for its global name; compared with the registry before anything else is believed."""


@runtime_checkable
class ReadsRegisters(Protocol):
    """Reads running registers and instantaneous values."""

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        """Read the given quantities now, in the order asked. Raises `MeterRefused` if the meter has none of one."""


@runtime_checkable
class ReadsLoadProfile(Protocol):
    """Reads the meter's own record of intervals."""

    async def read_load_profile(self, start: UtcSeconds, end: UtcSeconds) -> list[IntervalBlock | RegisterValue]:
        """Read intervals within ``[start, end)`` [s UTC].

        One block per interval column, covering exactly the asked window clipped to the grid, None where the meter has no
        row. Columns that the profile declares cumulative come as register values, each stamped by the meter.
        """


@dataclass(frozen=True, slots=True)
class Salvage:
    """What came whole of a load profile whose reading was cut short. ``start``, ``end``: the part of the window of which
    the meter said all, so that it need not be asked again; equal where that cannot be told. [s UTC]
    """

    facts: tuple[IntervalBlock | RegisterValue, ...]
    start: UtcSeconds
    end: UtcSeconds


@runtime_checkable
class SalvagesLoadProfile(ReadsLoadProfile, Protocol):
    """Gives what it had of a load profile when the reading failed, so that the next session asks for the rest alone."""

    def salvage(self) -> Salvage | None:
        """Give what the last `read_load_profile`, which raised or was canceled, had received whole; None for nothing."""


@runtime_checkable
class KeepsClock(Protocol):
    """Has a clock."""

    async def read_clock(self) -> ClockReading:
        """Read the meter's clock beside ours."""


class ChangesMeter(Protocol):
    """A session opened to execute one approved command: what is sent is sent once, and verified by reading back.

    Raises `CommandDeclined` for what is not sent, `CommandUnverified` for what did not come about, and `OutcomeUnknown` where
    no answer came: then what became of it is read, never sent again.
    """


@runtime_checkable
class SetsClock(ChangesMeter, Protocol):
    """Sets the meter's clock."""

    async def set_clock(self, limit: int) -> ClockReading:
        """Set the clock, if it is off by ``limit`` at most [s]; give it as it is afterwards."""


@runtime_checkable
class SwitchesSupply(ChangesMeter, Protocol):
    """Disconnects and reconnects the supply."""

    async def disconnect_supply(self) -> bool:
        """Disconnect; give whether anything had to be sent."""

    async def reconnect_supply(self) -> bool:
        """Reconnect, or make ready for a hand at the switch; give whether anything had to be sent."""


class Session(ReadsIdentity, Protocol):
    """Least common denominator of all sessions."""


class Driver(Protocol):
    """A protocol: something that opens sessions on a byte stream."""

    def __call__(
        self, stream: ByteStream, endpoint: Endpoint, context: SessionContext
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session with one meter on a link that the caller owns."""
