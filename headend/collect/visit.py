"""One visit to one meter: open a session, make sure it is the right meter, ask, and try again where that may help.

Nothing of what a meter says is given to the caller before its identity has been compared with the registry's. A meter that says
nothing is asked again in another turn of the line, so that those who answer need not wait for it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drivers.contract import (
    Driver,
    Endpoint,
    KeepsClock,
    ReadsLoadProfile,
    ReadsRegisters,
    SalvagesLoadProfile,
    Session,
    SessionContext,
)
from drivers.errors import DriverError, MeterRefused, SecurityError, TransportTimeout, WrongMeter
from drivers.facts import ClockReading, IntervalBlock, MeterIdentity, RegisterValue, UtcSeconds
from drivers.obis import Obis
from headend.collect.latency import Pace
from headend.collect.line import Carrier, Later

LONGEST_ATTEMPT = 1_800.0
"""Longest time one attempt may hold the line, however slowly the meter keeps answering. [protocol s]"""


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask in one visit. ``window``: load profile of ``[start, end)`` [s UTC], or None.  ``clock``: compare clocks."""

    window: tuple[UtcSeconds, UtcSeconds] | None = None
    registers: Sequence[Obis] = ()
    clock: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the right meter said. ``shortfall``: why some of the registers are not there.

    ``cut``: why the load profile is not there as a whole.  ``rest``: the part ``[start, end)`` of the window of which it
    says nothing then. [s UTC]
    """

    identity: MeterIdentity
    blocks: tuple[IntervalBlock, ...] = ()
    registers: tuple[RegisterValue, ...] = ()
    clock: ClockReading | None = None
    shortfall: DriverError | None = None
    cut: DriverError | None = None
    rest: tuple[UtcSeconds, UtcSeconds] | None = None


class Visit:
    """A visit under way; parts already answered are kept from one attempt to the next."""

    def __init__(
        self,
        driver: Driver,
        endpoint: Endpoint,
        context: SessionContext,
        question: Question,
        pace: Pace | None = None,
    ) -> None:
        """``pace``: what is known of the meter's latency; without it the profile's stands."""
        self._pace = pace
        self._driver = driver
        self._endpoint = endpoint
        self._context = context
        self._question = question
        self._identity: MeterIdentity | None = None
        self._clock: ClockReading | None = None
        self._profile: list[IntervalBlock | RegisterValue] = []
        self._rest = question.window  # of the load profile, still to be asked
        self._registers: list[RegisterValue] = []
        self._shortfall: DriverError | None = None
        self._is_complete = False
        self._attempts = 0
        self._is_heard = False  # whether anything came in this attempt
        self._is_met = False  # whether the right meter has said so in this attempt
        self.failure: DriverError | None = None
        """What ended the last attempt."""

    async def run(self, carrier: Carrier, retries: int, *, may_come_later: bool = False) -> Answer:
        """Ask on the line that ``carrier`` holds, with so many retries. Raises `DriverError` for what ended it.

        ``may_come_later``: raise `Later` where the meter said nothing and retries are left; what is left is for the next run.
        """
        cut: DriverError | None = None
        while True:
            self._attempts += 1
            try:
                await self._attempt(carrier)
            except DriverError as error:
                self.failure = error
                if self._pace is not None and isinstance(error, TransportTimeout):
                    self._pace.silent()
                await carrier.recover(error)
                if self._is_complete:
                    break  # only the farewell failed
                if error.retryable and self._attempts <= retries:
                    is_silent = isinstance(error, TransportTimeout) and not (self._is_heard and self._is_met)
                    if may_come_later and is_silent:
                        raise Later from error
                    continue
                if self._question.window is None or isinstance(error, (WrongMeter, SecurityError)):
                    raise
                if self._rest is None:
                    self._shortfall = error
                elif self._profile:
                    cut = error
                else:
                    raise
            break
        assert self._identity is not None
        blocks = tuple(fact for fact in self._profile if isinstance(fact, IntervalBlock))
        stamped = tuple(fact for fact in self._profile if isinstance(fact, RegisterValue))
        registers = stamped + tuple(self._registers)
        return Answer(self._identity, blocks, registers, self._clock, self._shortfall, cut, self._rest)

    async def _attempt(self, carrier: Carrier) -> None:
        self._is_heard = self._is_met = False
        stream = await carrier.stream()
        endpoint = self._endpoint
        stream.heard = self._note_heard
        if self._pace is not None:
            is_line = (
                stream.is_line and self._context.timeout_scale == 1.0
            )  # in a faster world our own time weighs more
            timing = self._pace.timing(endpoint.profile.timing, is_line=is_line)
            endpoint = replace(endpoint, profile=replace(endpoint.profile, timing=timing))
        try:
            async with (
                asyncio.timeout(LONGEST_ATTEMPT * self._context.timeout_scale),
                self._driver(stream, endpoint, self._context) as session,
            ):
                await self._ask(session)
                self._is_complete = True
        except TimeoutError as error:
            raise TransportTimeout(
                f"{self._endpoint.name}: the visit took longer than {LONGEST_ATTEMPT:.0f} s"
            ) from error

    def _note_heard(self, seconds: float) -> None:
        self._is_heard = True
        if self._pace is not None:
            self._pace.heard(seconds)

    async def _ask(self, session: Session) -> None:
        question = self._question
        identity = await session.read_identity()
        if identity.name != self._endpoint.name:
            raise WrongMeter(f"{identity.name} answers at address {self._endpoint.address} of {self._endpoint.name}")
        self._identity = identity
        self._is_met = True
        if question.clock and self._clock is None and isinstance(session, KeepsClock):
            try:
                self._clock = await session.read_clock()
            except MeterRefused:
                if question.window is None and not question.registers:
                    raise
        if self._rest is not None:
            await self._ask_profile(session, *self._rest)
        if question.registers:
            await self._ask_registers(session)

    async def _ask_profile(self, session: Session, start: UtcSeconds, end: UtcSeconds) -> None:
        if not isinstance(session, ReadsLoadProfile):
            raise MeterRefused(f"{self._endpoint.name}: {self._endpoint.profile.name} reads no load profile", 0)
        try:
            self._profile += await session.read_load_profile(start, end)
        except SecurityError:
            raise
        except (DriverError, asyncio.CancelledError):
            # What came whole is kept, and the next attempt, or the next visit, asks for the rest alone.
            found = session.salvage() if isinstance(session, SalvagesLoadProfile) else None
            if found is not None:
                self._profile += found.facts
                if found.start < found.end:
                    self._rest = (found.end, end) if found.start <= start else (start, found.start)
            if self._rest is not None and self._rest[0] >= self._rest[1]:
                self._rest = None
            raise
        self._rest = None

    async def _ask_registers(self, session: Session) -> None:
        if not isinstance(session, ReadsRegisters):
            raise MeterRefused(f"{self._endpoint.name}: {self._endpoint.profile.name} reads no registers", 0)
        wanted = self._question.registers
        try:
            self._registers = await session.read_registers(wanted)
        except MeterRefused as refusal:
            # One register the meter does not have must not cost the others.
            self._registers = []
            for obis in wanted if len(wanted) > 1 else ():
                try:
                    self._registers += await session.read_registers([obis])
                except MeterRefused:
                    continue
            if not self._registers:
                raise
            self._shortfall = refusal
