"""One DL/T 645 meter on a link: who it is, its registers, clock, load records, freezes and events, as facts.

Nothing is opened and nothing closed: each frame stands by itself. Nothing here changes a meter.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final, TypeVar

from drivers.contract import ByteStream, Endpoint, Salvage, SessionContext, has_parity
from drivers.dlt645 import load, plan, stamps
from drivers.dlt645.address import decode_own_address, parse_address
from drivers.dlt645.control import Edition, ErrorWord
from drivers.dlt645.services import Identifier
from drivers.dlt645.session import Exchange
from drivers.dlt645.values import decode_count, decode_instant
from drivers.doubt import unprotected
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError, TransportTimeout, WrongMeter
from drivers.facts import ClockReading, IntervalBlock, MeterEvent, MeterIdentity, RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import Dlt645Freeze, Dlt645Point, Dlt645Profile
from drivers.status import Meaning

T = TypeVar("T")
MAX_READS: Final = 4
"""Times that a value of energy is read until two readings agree, where nobody checks parity."""
MAX_MIDNIGHTS: Final = 3
DATE_LAYOUT: Final = "YYMMDDWW"
TIME_LAYOUT: Final = "hhmmss"
FREEZE_LAYOUT: Final = "YYMMDDhhmm"
EVENT_LAYOUT: Final = "YYMMDDhhmmss"


class Dlt645Session:
    """Identity, registers, clock and memories of one meter. Never two requests in flight; the caller owns the stream."""

    def __init__(self, stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> None:
        """Raises `ProfileError` listing everything that makes this endpoint unreadable."""
        profile, faults = endpoint.profile, []
        if profile.dlt645 is None:
            raise ProfileError(profile.name, ["dlt645: the table is missing"])
        address = ""
        try:
            address = parse_address(endpoint.address)
        except ValueError as error:
            faults.append(f"address: {error}")
        if unknown := sorted(endpoint.options):
            faults.append(f"option {unknown[0][:40]}: a DL/T 645 meter has no options")
        if faults:
            raise ProfileError(f"{profile.name} for meter {endpoint.name}", faults)
        self._dlt645: Dlt645Profile = profile.dlt645
        self._profile = profile
        self._now = context.now
        self._edition = Edition(profile.dlt645.edition)
        self._exchange = Exchange(stream, address, self._edition, profile.timing, profile.dlt645.wake_up, context)
        self._reading: load.Reading | None = None  # that is under way, or was cut
        self._told: list[load.Told] = []  # what its logs say of intervals
        self._window = (0, 0)
        self._refused: set[str] = set()  # identifiers of blocks and logs that this meter does not have
        looks = {"line": has_parity(stream), "gateway": True, "hidden": False}
        self._is_protected = looks[profile.dlt645.parity]

    async def read_identity(self) -> MeterIdentity:
        """Read the meter's own address; the name is ``maker:address``. Raises `WrongMeter` where it is not the one asked."""
        if not self._profile.maker:
            raise ProfileError(self._profile.name, ["maker: is needed to name meters"])
        address = self._exchange.address
        if self._dlt645.identity:
            said = decode_own_address(await self._read(self._dlt645.identity, 6))
            if said != address:
                raise WrongMeter(f"meter {said} answers at address {address}")
        else:
            anything = self._dlt645.date or (self._dlt645.points[0].di if self._dlt645.points else "")
            if not anything:
                raise ProfileError(
                    self._profile.name, ["dlt645.identity: there is nothing to read a meter's address from"]
                )
            with suppress(MeterRefused):  # who refuses is there, too; what counts is where the answer comes from
                await self._read(anything, 8)
            address = self._exchange.answered_by
        return MeterIdentity(f"{self._profile.maker}:{address}", self._profile.maker, address, self._profile.model)

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        """Read the given quantities, in the order asked: in blocks first, and one by one what no block gives.

        ``captured_at`` lies midway between request and answer [s UTC], ``uncertainty`` is half of that time. Raises
        `MeterRefused` for a quantity the profile does not have, or the meter.
        """
        by_obis = {point.obis: point for point in self._dlt645.points}
        if unknown := [str(code) for code in obis if code not in by_obis]:
            raise MeterRefused(
                f"profile {self._profile.name} has no data item for {', '.join(unknown)}", ErrorWord.NO_DATA
            )
        found: dict[Obis, RegisterValue] = {}
        for block, points in plan.blocks([by_obis[code] for code in dict.fromkeys(obis)], self._refused):
            for value in await self._read_block(block, points):
                found[value.obis] = value
        for point in (by_obis[code] for code in dict.fromkeys(obis)):
            if point.obis not in found:
                found[point.obis] = await self._read_point(point)
        return [found[code] for code in obis]

    async def read_clock(self) -> ClockReading:
        """Read date and time. Raises `MeterRefused` where the profile names none."""
        if not self._dlt645.date:
            raise MeterRefused(f"profile {self._profile.name} names no clock", ErrorWord.NO_DATA)
        date = await self._read(self._dlt645.date, 4)
        for _ in range(MAX_MIDNIGHTS):
            before = self._now()
            time = await self._read(self._dlt645.time, 3)
            after = self._now()
            again, date = date, await self._read(self._dlt645.date, 4)
            if again == date:
                break  # else midnight fell between the two
        else:
            raise RemoteProtocolError(f"meter {self._exchange.address} says another date each time")
        layout = DATE_LAYOUT + TIME_LAYOUT
        instant = decode_instant(time + date, layout, self._profile.clock.zone)
        if instant is None:
            raise RemoteProtocolError(f"the clock shows {(time + date).hex(' ')}")
        return ClockReading(instant, (before + after) // 2)

    async def read_load_profile(self, start: UtcSeconds, end: UtcSeconds) -> list[IntervalBlock | RegisterValue]:
        """Read the load records of ``[start, end]`` [s UTC]: their registers, and the intervals between neighbours.

        Each register is stamped by the meter. An interval is what its register gained between the records at both its ends,
        None where one of them is not there. Raises `MeterRefused` where the profile has no load records.
        """
        record = self._dlt645.load_record
        channels = [channel for channel in self._profile.channels if channel.origin == "load_profile"]
        if record is None or not channels:
            raise MeterRefused(f"profile {self._profile.name} has no load records", ErrorWord.NO_DATA)
        self._told = await self._read_told(start)
        reading = load.Reading(record, channels[0].period, start, end, self._profile.clock.zone)
        self._window, self._reading = (start, end), reading
        while (question := reading.next_question()) is not None:
            identifier, parameters, expected = question
            try:
                octets = await self._agreed(lambda: self._exchange.read(identifier, parameters, expected), bytes)  # noqa: B023
            except MeterRefused as refused:
                if not refused.code & ErrorWord.NO_DATA:
                    raise
                reading.refuse()
            else:
                reading.receive(octets)
        self._reading = None
        return self._facts(reading, start, end)

    def salvage(self) -> Salvage | None:
        """Give what the last `read_load_profile`, which raised or was canceled, had received whole; None for nothing."""
        reading, (start, end) = self._reading, self._window
        if reading is None or (reach := min(reading.reach, end)) <= start:
            return None
        return Salvage(tuple(self._facts(reading, start, reach)), start, reach)

    def _facts(self, reading: load.Reading, start: UtcSeconds, end: UtcSeconds) -> list[IntervalBlock | RegisterValue]:
        registers = reading.registers()
        channels = [channel for channel in self._profile.channels if channel.origin == "load_profile"]
        blocks = [load.told(load.intervals(channel, registers, start, end), self._told) for channel in channels]
        facts: list[IntervalBlock | RegisterValue] = [*blocks, *registers]
        return facts if self._is_protected else [unprotected(fact) for fact in facts]

    async def read_freezes(self, name: str, count: int) -> list[RegisterValue]:
        """Read the last ``count`` times that a memory froze its registers, newest first, stamped by the meter.

        ``name``: of the profile's freezes. A time without a stamp was never frozen, and ends the list.
        """
        freeze = next((one for one in self._dlt645.freezes if one.name == name), None)
        if freeze is None:
            raise MeterRefused(f"profile {self._profile.name} has no freezes named {name[:40]!r}", ErrorWord.NO_DATA)
        days = None
        if freeze.day:
            day = await self._agreed(lambda: self._read(freeze.day, 2), bytes)
            days = stamps.Days(day, self._profile.clock.zone)
        values: list[RegisterValue] = []
        for number in range(1, min(count, freeze.depth) + 1):
            stamp = days.before(self._now(), number) if days else await self._frozen_at(freeze, number)
            if stamp is None:
                break
            for point in freeze.points:
                moved = replace(point, di=str(Identifier(point.di).with_last(number)), block="")
                try:
                    value = await self._read_point(moved)
                except MeterRefused:
                    continue
                values.append(replace(value, captured_at=stamp, uncertainty=0))
        return values

    async def read_events(self, count: int) -> list[MeterEvent]:
        """Read the last ``count`` events of each log in the profile, newest first in each."""
        events: list[MeterEvent] = []
        for log in self._dlt645.events:
            for number in range(1, min(count, log.depth) + 1):
                try:
                    octets = await self._read(str(Identifier(log.di).with_last(number)), 200)
                except MeterRefused:
                    break
                at = decode_instant(octets[log.offset : log.offset + 6], EVENT_LAYOUT, self._profile.clock.zone)
                if at is None:
                    break
                events.append(MeterEvent(log.code, at, log.text))
        return events

    async def _read_told(self, since: UtcSeconds) -> list[load.Told]:
        """Read what the logs that say something of intervals hold since an instant [s UTC], each back to its first event before.

        A log that the meter refuses, or keeps quiet about, costs no load record, and is not asked for again in this session.
        """
        told: list[load.Told] = []
        for log in self._dlt645.events:
            if log.means is Meaning.NOTHING or log.di in self._refused:
                continue
            for number in range(1, log.depth + 1):
                try:
                    octets = await self._read(str(Identifier(log.di).with_last(number)), 200)
                except (MeterRefused, TransportTimeout):
                    if number == 1:
                        self._refused.add(log.di)
                    break
                one = load.decode_told(octets, log, self._profile.clock.zone)
                if one is None or one.end < since:
                    break
                told.append(one)
        return told

    async def _frozen_at(self, freeze: Dlt645Freeze, number: int) -> UtcSeconds | None:
        di = str(Identifier(freeze.stamp).with_last(number))
        try:
            octets = await self._agreed(lambda: self._read(di, len(FREEZE_LAYOUT) // 2), bytes)
        except MeterRefused:
            return None
        return decode_instant(octets, FREEZE_LAYOUT, self._profile.clock.zone)

    async def _read_block(self, block: str, points: Sequence[Dlt645Point]) -> list[RegisterValue]:
        """Read what a block has of these points; nothing where the meter knows no such block, and then never again."""
        try:
            return await self._read_values(block, points, 200)
        except MeterRefused:
            self._refused.add(block)
            return []

    async def _read_point(self, point: Dlt645Point) -> RegisterValue:
        found = await self._read_values(point.di, [replace(point, place=0)], point.octets)
        if not found:
            raise MeterRefused(
                f"meter {self._exchange.address} does not support data item {point.di}", ErrorWord.NO_DATA
            )
        return found[0]

    async def _read_values(self, di: str, points: Sequence[Dlt645Point], expected: int) -> list[RegisterValue]:
        """Read an identifier and the points in its answer; those it does not hold are left out."""
        instants: list[tuple[UtcSeconds, UtcSeconds]] = []

        async def once() -> bytes:
            before = self._now()
            octets = await self._read(di, expected)
            instants.append((before, self._now()))
            return octets

        def counts(octets: bytes) -> tuple[int | None, ...]:
            whole = plan.without_end(octets, points[0].octets)
            is_single = expected == points[0].octets
            if not whole or len(whole) % points[0].octets or (is_single and len(whole) != expected):
                raise RemoteProtocolError(
                    f"data item {di} holds {len(octets)} bytes, not whole values of {points[0].octets}"
                )
            parts = (whole[point.place * point.octets : (point.place + 1) * point.octets] for point in points)
            return tuple(decode_count(part, signed=points[0].signed) if part else None for part in parts)

        energy = any(point.obis.d in plan.BILLING for point in points)
        read = await self._agreed(once, counts) if energy else counts(await once())
        before, after = instants[-1]
        half = max(0, after - before)
        values = [
            RegisterValue(point.obis, count, point.scaler_unit, before + half // 2, (half + 1) // 2)
            for point, count in zip(points, read, strict=True)
            if count is not None
        ]
        return values if self._is_protected else [unprotected(value) for value in values]

    async def _agreed(self, read: Callable[[], Awaitable[bytes]], decode: Callable[[bytes], T]) -> T:
        """Read what bills are made of: once where parity is checked, else until two readings are the same."""
        seen = [decode(await read())]
        while not self._is_protected and seen[-1] not in seen[:-1]:
            if len(seen) == MAX_READS:
                raise RemoteProtocolError(
                    f"meter {self._exchange.address}: {MAX_READS} readings without parity, and no two of them agree"
                )
            seen.append(decode(await read()))
        return seen[-1]

    async def _read(self, di: str, expected: int) -> bytes:
        return await self._exchange.read(Identifier(di), expected=expected)


@asynccontextmanager
async def open_session(stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> AsyncIterator[Dlt645Session]:
    """Open a session with one meter on a link that the caller owns. Raises `ProfileError` for an unreadable endpoint."""
    yield Dlt645Session(stream, endpoint, context)
