"""What becomes of one pushed message: unprotected, its meter identified, made into facts, stored; or set aside with reason."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import structlog

from drivers.contract import Credentials
from drivers.dlms import notification
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys
from drivers.dlms.noticing import confirmation_of
from drivers.dlms.push import PushedApdu
from drivers.dlms.telegram import decode_pushed
from drivers.dlms.unprotect import Unprotected, unprotect
from drivers.errors import CounterError, DriverError, RemoteProtocolError
from drivers.facts import RegisterValue, UtcSeconds
from drivers.profile import MeterProfile
from headend.clock import Clock
from headend.errors import HeadendError, RegistryError, StoreError
from headend.ingest.callers import Caller, Callers, UnknownCaller
from headend.registry.model import EndDevice
from headend.store.model import Recorded
from headend.store.store import Store
from kernels.quality import Rule

T = TypeVar("T")
UNSTAMPED_UNCERTAINTY: Final = 60
"""Taken for the half-width of how old a value without time of its own may be when it arrives: our assumption. [s]"""
REGISTRY_AGE: Final = 60
"""After so long the registry is read again. [clock s]"""
REGISTRY_PACE: Final = 10
"""For a caller it does not know the registry is read again, but not more often than this. [clock s]"""
SET_ASIDE_BURST: Final = 500
SET_ASIDE_RATE: Final = 1
"""Messages set aside per clock second beyond the burst; what is more is counted, not kept, so that nobody fills the store."""
FLOOR_OPTION: Final = "invocation_counter"
MAX_KEPT: Final = 4_096
MAX_REASON: Final = 500

log = structlog.get_logger(__name__)


class Credential(Protocol):
    """Follows references to secrets, as `headend.secrets.Secrets`."""

    def credentials(self, password: str = "", encryption_key: str = "", authentication_key: str = "") -> Credentials:
        """Follow the three references of one meter. Raises `HeadendError`."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a message. ``confirmation``: what to answer it, protected as it was; empty where nothing is."""

    is_stored: bool
    confirmation: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class CallSummary:
    """What meters that call sent. ``dropped``: refused messages beyond what is set aside.  ``recorded`` counts values."""

    calls: int = 0
    messages: int = 0
    set_aside: int = 0
    dropped: int = 0
    recorded: Recorded = field(default_factory=Recorded)


class Submit(Protocol):
    """Makes a change as soon as the store has room for it, durable on return."""

    async def __call__(self, change: Callable[[Store], T], /) -> T:
        """Run ``change``; raise what it raises."""


class Desk:
    """Takes pushed messages one at a time, from any number of calls."""

    def __init__(
        self,
        submit: Submit,
        profiles: Mapping[str, MeterProfile],
        secrets: Credential,
        clock: Clock,
        summary: CallSummary,
        *,
        system_title: bytes = b"",
    ) -> None:
        """``system_title``: ours, where a profile names none; without one ciphered messages are not confirmed."""
        self._submit = submit
        self._profiles = profiles
        self._secrets = secrets
        self._clock = clock
        self.summary = summary
        self._system_title = system_title
        self._callers = Callers((), profiles, self._credentials)
        self._read_at: UtcSeconds | None = None
        self._reading = asyncio.Lock()
        self._allowance = float(SET_ASIDE_BURST)
        self._allowed_at = clock.now()
        self._is_dropping = False

    async def take(self, pushed: PushedApdu, source: str) -> Taken:
        """Store one message, or set it aside; durable on return. Raises `StoreError`."""
        try:
            recorded, confirmation = await self._store(pushed, source)
        except StoreError:
            raise
        except (DriverError, HeadendError) as error:
            await self.refuse(pushed.octets, source, str(error))
            return Taken(is_stored=False)
        self.summary.messages += 1
        self.summary.recorded += recorded
        return Taken(is_stored=True, confirmation=confirmation)

    async def refuse(self, octets: bytes, source: str, reason: str) -> None:
        """Set octets aside that nobody could use, within what is allowed; durable on return. Raises `StoreError`."""
        now = self._clock.now()
        self._allowance = min(SET_ASIDE_BURST, self._allowance + (now - self._allowed_at) * SET_ASIDE_RATE)
        self._allowed_at = now
        if self._allowance < 1:
            self.summary.dropped += 1
            if not self._is_dropping:
                log.warning("too many calls are refused; the rest is counted and not kept", source=source)
            self._is_dropping = True
            return
        self._allowance -= 1
        self._is_dropping = False
        kept, shown = octets[:MAX_KEPT], reason[:MAX_REASON]
        await self._submit(lambda store: store.set_aside(f"call/{source}", kept, shown, now))
        self.summary.set_aside += 1
        log.warning("call set aside", source=source, reason=shown)

    async def _store(self, pushed: PushedApdu, source: str) -> tuple[Recorded, bytes]:
        received_at = self._clock.now()
        try:
            caller, plain, message = await self._identified(pushed.octets, source, REGISTRY_AGE)
        except (UnknownCaller, DriverError) as error:
            if not _may_be_new(error):
                raise
            caller, plain, message = await self._identified(pushed.octets, source, REGISTRY_PACE)
        facts = _facts(caller, plain, message, received_at)
        wanted = confirmation_of(message.long_invoke_id)
        channel = self._channel(caller, plain) if wanted else None

        def change(store: Store) -> Recorded:
            if plain.is_authenticated and plain.counter is not None:
                # Reserved, a counter is never handed out again: by that a message that comes twice is known.
                free = store.reserve_counter(plain.key_id, 1, plain.counter).start
                if free != plain.counter:
                    raise CounterError(
                        f"{caller.device.name}: invocation counter {plain.counter} is not above {free - 1}: sent before"
                    )
            device = store.end_device(caller.device.name)
            if device.profile != caller.device.profile or device.disabled:
                raise RegistryError(f"{device.name} was changed meanwhile")
            if channel is not None:
                # The same counters that reading the meter uses: none is ever used twice under one key and title.
                with suppress(CounterError, RegistryError):  # without one the message is stored, and not confirmed
                    channel.supply(store.reserve_counter(channel.own_key_id, 1, _floor(device), device.name))
            return store.record(device.id, facts, received_at)

        recorded = await self._submit(change)
        if wanted is None or (plain.system_title and not (channel and channel.counters_left)):
            return recorded, b""
        return recorded, channel.seal(wanted.encode()) if channel else wanted.encode()

    def _channel(self, caller: Caller, plain: Unprotected) -> SecureChannel | None:
        """Give what protects an answer to a ciphered message as the message was; None where we have no system title."""
        dlms = caller.profile.dlms
        title = (dlms.client_system_title if dlms else b"") or self._system_title
        keys = self._callers.keys_for(plain.system_title) if plain.is_authenticated and title else None
        if keys is None:
            return None
        return SecureChannel(Keys(keys.encryption, keys.authentication), title, plain.system_title, ciphering="general")

    async def _identified(
        self, octets: bytes, source: str, age: int
    ) -> tuple[Caller, Unprotected, notification.Notification]:
        await self._refresh(age)
        plain = unprotect(octets, self._callers.keys_for)
        message = decode_pushed(plain.apdu)
        return self._callers.find(plain.system_title, notification.name(message), source), plain, message

    async def _refresh(self, age: int) -> None:
        """Read the registry again where what we have is older than ``age`` [clock s]."""
        async with self._reading:
            now = self._clock.now()
            if self._read_at is not None and abs(now - self._read_at) < age:
                return
            devices = await self._submit(lambda store: store.end_devices())
            self._callers = Callers(devices, self._profiles, self._credentials)
            self._read_at = now

    def _credentials(self, device: EndDevice) -> Credentials:
        return self._secrets.credentials("", device.encryption_key_ref, device.authentication_key_ref)


def _floor(device: EndDevice) -> int:
    """Give the lowest invocation counter to use, as for reading. Raises `RegistryError` for an option that is none."""
    text = device.options.get(FLOOR_OPTION, "1")
    if not (text.isascii() and text.isdigit()):
        raise RegistryError(f"{device.name}: option {FLOOR_OPTION} is no number")
    return int(text)


def _may_be_new(error: Exception) -> bool:
    """Say whether reading the registry again could help: the sender, or its keys, were not known."""
    return isinstance(error, UnknownCaller) or not isinstance(error, RemoteProtocolError)


def _facts(
    caller: Caller, plain: Unprotected, message: notification.Notification, received_at: UtcSeconds
) -> Sequence[RegisterValue]:
    """Make the facts to store. Raises `RegistryError` where there are none, which is worth a look."""
    rules = Rule(0)
    if plain.system_title and not plain.is_authenticated:
        rules |= Rule.METER_STATUS
    if not message.is_checked and not plain.is_authenticated:
        call = caller.profile.call
        if call is None or call.checksum == "required":
            raise RegistryError(
                f"{caller.device.name}: its telegram has no checksum; for a model that has none, set call.checksum to"
                f" absent in the profile {caller.profile.name}"
            )
        rules |= Rule.UNPROTECTED
    clock = caller.profile.clock
    made = notification.facts(
        message,
        clock,
        received_at,
        uncertainty=UNSTAMPED_UNCERTAINTY,
        declared=caller.declared,
        rules=rules,
        status_layout=caller.profile.status_layout,
    )
    if made.captured_at > received_at + clock.tolerance:
        late = made.captured_at - received_at
        log.warning("meter's clock is ahead", meter=caller.device.name, seconds=late)
        made = notification.facts(
            message, clock, received_at, uncertainty=UNSTAMPED_UNCERTAINTY, declared=caller.declared,
            rules=rules | Rule.METER_STATUS, status_layout=caller.profile.status_layout,
        )  # fmt: skip
    if not made.registers:
        codes = ", ".join(str(item.logical_name) for item in made.unscaled[:8])
        raise RegistryError(
            f"{caller.device.name}: no value of the message has a unit; declare it in the profile {caller.profile.name},"
            f" call.objects: {codes or 'the message has no numbers'}"
        )
    return made.registers
