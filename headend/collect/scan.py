"""Asks what a scan wants to know, on a port that is its alone. Changes nothing in any meter.

What is heard once and is no answer may be noise, so it is asked again; what stays so are several meters at once. Silence is
asked again only at settings where noise was met. Where another master is heard, a silence is waited for before each question,
and what he and his meters say counts for nothing.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from drivers.contract import ByteStream, ChangesSpeed, Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.dlms.driver import open_session
from drivers.dlms.hdlc import Kind as HdlcKind
from drivers.dlt645.address import shortened
from drivers.errors import (
    ConnectionLost,
    DriverError,
    LineNoise,
    PortUnavailable,
    RemoteProtocolError,
    TransportTimeout,
)
from drivers.iec62056.opening import Identification
from drivers.iec62056.programming import BREAK
from drivers.profile import MeterProfile, TimingProfile
from drivers.transports.passing import PassingStream
from drivers.transports.url import Form
from headend.clock import Clock
from headend.scan.found import Crowd, FoundMeter
from headend.scan.ground import ALL_STATIONS, Kind, server, short
from headend.scan.naming import UNCLEAR, Candidates, clean, name_modbus
from headend.scan.overheard import SHORTEST, asks, speaks
from headend.scan.pace import HOST_MARGIN, quiet, wire
from headend.scan.plan import Scan, Verdict
from headend.scan.probe import (
    WAITS,
    HdlcProbe,
    Heard,
    ModbusProbe,
    Outcome,
    Probe,
    Question,
    confirmation,
    probes,
)

ATTEMPTS: Final = 3  # of a question whose answer is not clear
DISTURBANCES: Final = 5  # further attempts where another master spoke into one
UNASKED: Final = 3  # times that somebody is heard before questions until that is told
LONGEST_ANSWER: Final = 300  # more than any answer to a question of a scan [octet]
GAP: Final = 20  # characters of silence that end what is heard; a UART gathers 16
STRANGER_SILENCE: Final = 0.2  # longer than any meter takes between another master's question and its answer [s]
STRANGER_PATIENCE: Final = 5.0  # longest wait for such a silence [s]
READOUT_PATIENCE: Final = 60.0  # longest that a meter may print unasked after its identification [s]
READOUT_SILENCE: Final = 2.0  # [s]
_NUMBER: Final = re.compile(r"\d+|\(.*\)")
GARBLED: Final = "octets that are no answer, each time"


class Watcher(Protocol):
    """Who is told what a scan finds, while it does."""

    def found(self, meter: FoundMeter) -> None:
        """Take a meter that was not known before."""

    def crowded(self, crowd: Crowd) -> None:
        """Take an address at which more than one meter answers."""

    def noticed(self, text: str) -> None:
        """Take words about the line."""

    def settled(self, question: Question) -> None:
        """Take note that a question is settled and kept."""


def changes_speed(stream: ByteStream) -> bool:
    """Say whether the link's settings can be changed, below whatever lies upon it."""
    while isinstance(stream, PassingStream):
        stream = stream.below
    return isinstance(stream, ChangesSpeed)


class Scanner:
    """Goes through a scan. ``keep``: makes its state durable, called after each settled question.

    ``profile``: session settings with which DLMS meters are asked for their name.  ``beside``: go on beside another master.
    """

    def __init__(
        self,
        scan: Scan,
        stream: ByteStream,
        clock: Clock,
        watcher: Watcher,
        keep: Callable[[], None],
        profile: MeterProfile,
        candidates: Candidates,
        *,
        beside: bool = False,
    ) -> None:
        self._scan = scan
        self._stream = stream
        self._clock = clock
        self._watcher = watcher
        self._keep = keep
        self._profile = replace(profile, timing=TimingProfile(latency=self._wait(Kind.DLMS), turnaround=0.0))
        self._candidates = candidates
        self._beside = beside
        self._form = Form(0)  # not known yet
        self._heard_at = clock.monotonic()
        self._unasked = 0

    async def run(self) -> bool:
        """Ask until all is settled; False where another master was heard and nothing was asked.

        Raises `TransportError` where the port fails. What is settled is kept; cancelling loses the question under way alone.
        """
        while (question := self._scan.next_question()) is not None:
            has_stranger = any(kind is Kind.LISTEN for kind, _ in self._scan.answered)
            if has_stranger and question.kind is not Kind.LISTEN and not self._beside:
                return False
            begun = self._clock.monotonic()
            if not await self._set(question.form):
                continue
            crowds = len(self._scan.crowds)
            verdict = await self._settle(question)
            new = self._scan.settle(question, verdict, self._clock.monotonic() - begun)
            self._keep()
            for meter in new:
                self._watcher.found(meter)
            for crowd in self._scan.crowds[crowds:]:
                self._watcher.crowded(crowd)
            self._watcher.settled(question)
        return True

    def _wait(self, kind: Kind) -> float:
        return WAITS[kind] if self._scan.wait is None else self._scan.wait

    async def _set(self, form: Form) -> bool:
        if form == self._form or self._scan.ground.fixed is not None:
            self._form = self._scan.ground.fixed or form
            return True
        assert isinstance(self._stream, ChangesSpeed)  # else the setting is fixed
        try:
            await self._stream.reconfigure(form.baud, form.parity, form.bits)
        except PortUnavailable as error:
            self._scan.refuse(form)
            self._keep()
            self._watcher.noticed(f"left out: the port does not take {short(form)} ({error})")
            return False
        self._form = form
        return True

    async def _settle(self, question: Question) -> Verdict:
        if self._scan.knows(question):
            return Verdict(Outcome.ANSWER, question.target)
        match question.kind:
            case Kind.LISTEN:
                return await self._listen(question)
            case Kind.DLT645_2007 | Kind.DLT645_1997:
                return await self._settle_dlt645(question)
            case Kind.DLMS:
                return await self._settle_dlms(question)
            case Kind.MODBUS:
                return await self._settle_modbus(question)
            case Kind.IEC62056:
                return await self._settle_opening(question)

    async def _listen(self, question: Question) -> Verdict:
        heard = await self._ask(self._probe(question))
        words = speaks(heard.raw, heard.octets)
        if not words:
            return Verdict(Outcome.SILENCE)
        self._meet(f"{words} ({short(question.form)})")
        return Verdict(Outcome.GARBLED)

    async def _settle_modbus(self, question: Question) -> Verdict:
        heard = await self._clear(lambda: self._probe(question))
        if heard.outcome is Outcome.ANSWER:
            for _ in range(ATTEMPTS - 1):
                again = await self._clear(lambda: self._probe(question))
                if again.outcome is not Outcome.SILENCE:
                    break
            heard = replace(again, others=heard.others)
        if heard.outcome is not Outcome.ANSWER:
            return _unclear(heard)
        meter = FoundMeter(question.kind, question.form, question.target)
        naming = name_modbus(meter, self._candidates)
        wait = self._wait(Kind.MODBUS) * question.patience
        try:
            request = next(naming)
            while True:
                named = request
                request = naming.send(
                    await self._clear(lambda: ModbusProbe(int(question.target), wait, named))  # noqa: B023  used at once
                )
        except StopIteration as end:
            meter = end.value
        why = meter.note if meter.note == UNCLEAR else ""
        return Verdict(Outcome.ANSWER, question.target, (meter,), why, heard.others)

    async def _settle_dlt645(self, question: Question) -> Verdict:
        for index in range(len(probes(question, self._scan.wait))):
            heard = await self._clear(lambda: self._probe(question, index))  # noqa: B023  used at once
            if heard.outcome is not Outcome.SILENCE:
                break
        if len(heard.answers) != 1:
            return _unclear(replace(heard, outcome=Outcome.GARBLED) if heard.answers else heard)
        address, asked = heard.answers[0], shortened(question.target)
        wait = self._wait(question.kind) * question.patience
        confirmed = await self._clear(lambda: confirmation(question, asked, wait))
        if confirmed.outcome is Outcome.SILENCE:  # it may hear wildcards in one question alone
            confirmed = await self._clear(lambda: self._probe(question, index))
        if confirmed.outcome is Outcome.SILENCE:
            return Verdict(Outcome.SILENCE, others=heard.others)
        if confirmed.answers != (address,) or not (confirmed.is_clean or heard.is_clean):
            return _unclear(replace(confirmed, outcome=Outcome.GARBLED))
        meter = self._candidates.fit(FoundMeter(question.kind, question.form, address))
        return Verdict(Outcome.ANSWER, address, (meter,), others=heard.others)

    async def _settle_dlms(self, question: Question) -> Verdict:
        heard = await self._clear(lambda: self._probe(question))
        if heard.outcome is not Outcome.ANSWER:
            return _unclear(heard)
        if question.target in ALL_STATIONS:
            for address in heard.answers:  # each is asked by itself, and let go until then
                await self._ask(HdlcProbe(address, self._wait(Kind.DLMS), HdlcKind.DISC))
            return Verdict(Outcome.ANSWER, others=(*heard.answers, *heard.others))
        size = server(question.target).size if ":" in question.target else 0
        address = question.target.partition(":")[0]
        meter = FoundMeter(
            question.kind, question.form, question.target, options=f"address_size={size}" if size else ""
        )
        endpoint = Endpoint(meter.place, address, self._profile, options={"address_size": str(size)} if size else {})
        for _ in range(ATTEMPTS):
            name, error = await self._name_dlms(endpoint)
            meter = replace(meter, name=clean(name))
            if not isinstance(error, RemoteProtocolError):
                break
        if error is not None:
            await self._clear(lambda: HdlcProbe(question.target, self._wait(Kind.DLMS), HdlcKind.DISC))
            meter = replace(meter, note=clean(f"does not say its name to the public client: {error}"))
        why = UNCLEAR if isinstance(error, RemoteProtocolError) else ""
        self._heard_at = self._clock.monotonic()
        return Verdict(Outcome.ANSWER, address, (self._candidates.fit(meter),), why, heard.others)

    async def _name_dlms(self, endpoint: Endpoint) -> tuple[str, DriverError | None]:
        """Give a meter's logical device name, and what went wrong where it has none. Raises `ConnectionLost`."""
        context = SessionContext(self._clock.now, os.urandom, NoCounters())
        try:
            async with open_session(self._stream, endpoint, context) as session:
                return (await session.read_identity()).name, None
        except ConnectionLost:
            raise
        except DriverError as error:
            return "", error

    async def _settle_opening(self, question: Question) -> Verdict:
        heard = await self._clear(lambda: self._probe(question))
        found = heard.content
        if not isinstance(found, Identification):
            return _unclear(heard)
        await self._clock.sleep(found.turn)
        await self._stream.write(BREAK.encode())
        await self._hear_out(READOUT_SILENCE, READOUT_PATIENCE)
        model = clean(f"{found.maker} {found.identification}")
        note = f"IEC 62056-21 mode {found.mode}" + ("" if found.mode == "E" else "; cannot be collected yet")
        return Verdict(Outcome.ANSWER, "", (FoundMeter(question.kind, question.form, "", model=model, note=note),))

    def _probe(self, question: Question, index: int = 0) -> Probe:
        return probes(question, self._scan.wait, self._scan.recent(question))[index]

    async def _clear(self, make: Callable[[], Probe]) -> Heard:
        """Ask until what is heard is clear: an answer, silence, or twice what is none."""
        others: dict[str, None] = {}
        garbled: Heard | None = None
        count = attempts = disturbances = 0
        while attempts < ATTEMPTS:
            attempts += 1
            probe = make()
            heard = await self._ask(probe)
            others |= dict.fromkeys(heard.others)
            if heard.outcome is Outcome.ANSWER:
                return replace(heard, others=tuple(others))
            if heard.outcome is Outcome.SILENCE:
                if garbled is None and (attempts > 1 or not self._scan.is_noisy(self._form)):
                    break
                continue
            is_echo = probe.octets in heard.raw  # behind noise
            if not is_echo and disturbances < DISTURBANCES and (words := asks(heard.raw)):
                self._meet(f"{words} ({short(self._form)})")
                disturbances += 1
                attempts -= 1
                continue
            count += heard.octets >= SHORTEST
            garbled = heard
        if garbled is not None and count > 1:
            return replace(garbled, others=tuple(others))
        if garbled is not None:
            self._scan.note_noise(self._form)
        return Heard(Outcome.SILENCE, others=tuple(others))

    async def _ask(self, probe: Probe) -> Heard:
        """Send a question and listen for as long as an answer may take to begin, and then to end."""
        await self._make_free()
        if probe.octets:
            await self._stream.write(probe.octets)
        now = self._clock.monotonic
        end = now() + wire(len(probe.octets), self._form) + probe.wait + HOST_MARGIN
        latest = end + probe.wait + wire(LONGEST_ANSWER, self._form)
        while (left := end - now()) > 0:
            try:
                data = await self._stream.read(left)
            except LineNoise:
                probe.damage()
            except TransportTimeout:
                break
            else:
                if probe.octets and data.startswith(probe.octets):  # an echo that nothing followed
                    data = data[len(probe.octets) :]
                if data:
                    probe.receive(data)
            self._heard_at = now()
            if probe.is_answered and not probe.lingers:
                break
            end = min(latest, max(end, now() + wire(GAP, self._form) + HOST_MARGIN))
        return probe.heard()

    async def _make_free(self) -> None:
        """Wait until nobody speaks; take note of who did so unasked."""
        unasked = self._stream.discard_input()
        if len(unasked) >= SHORTEST:
            self._unasked += 1
            if words := asks(unasked):
                self._meet(words)
            elif self._unasked == UNASKED:
                self._meet("somebody speaks on the line unasked")
        if self._scan.strangers:
            await self._hear_out(STRANGER_SILENCE, STRANGER_PATIENCE)
        elif (rest := self._heard_at + quiet(self._form) - self._clock.monotonic()) > 0:
            await self._clock.sleep(rest)
        self._stream.discard_input()

    async def _hear_out(self, silence: float, patience: float) -> None:
        """Listen until nothing is said for ``silence``, or for ``patience``. [s]"""
        end = self._clock.monotonic() + patience
        while self._clock.monotonic() < end:
            try:
                await self._stream.read(silence)
            except LineNoise:
                continue
            except TransportTimeout:
                return

    def _meet(self, words: str) -> None:
        """Tell once of each kind of stranger."""
        kind = _NUMBER.sub("", words)
        if all(_NUMBER.sub("", known) != kind for known in self._scan.strangers):
            self._scan.strangers.append(words)
            self._watcher.noticed(words)


def _unclear(heard: Heard) -> Verdict:
    return Verdict(heard.outcome, why=GARBLED if heard.outcome is Outcome.GARBLED else "", others=heard.others)
