"""One IEC 62056-21 meter on a link: who it is, its registers, clock, load profile and events, as facts. Nothing here changes a meter.

Everything that one readout printed, or one read by address answered, is kept for the session: nothing is asked for twice.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from drivers.contract import ByteStream, Endpoint, Salvage, SessionContext, has_parity
from drivers.doubt import unprotected
from drivers.errors import DriverError, MeterRefused, ProfileError, RemoteProtocolError, SecurityError
from drivers.facts import ClockReading, IntervalBlock, MeterEvent, MeterIdentity, RegisterValue, UtcSeconds
from drivers.iec62056 import load
from drivers.iec62056.datasets import DataBlock, DataSet, asked_as, decode_block
from drivers.iec62056.opening import REACTION, Identification
from drivers.iec62056.programming import Password, Read
from drivers.iec62056.refused import RefusedPasswords
from drivers.iec62056.session import Conversation, Terms
from drivers.iec62056.values import decode_clock, decode_number, decode_stamp
from drivers.obis import Obis, by_obis
from drivers.profile import ChannelProfile, Iec62056LoadProfile, Iec62056Point, Iec62056Profile
from drivers.profile_iec62056 import BAUDS, FULL_ADDRESS, OPTIONS, PARITIES, REGISTER
from drivers.status import marked, marked_registers
from drivers.units import ScalerUnit

NOT_THERE: Final = 0  # the standard has no codes for refusals


@dataclass(frozen=True, slots=True)
class _Said:
    """What the meter said at one time. ``before``, ``after``: when it was asked, and had answered. [s UTC]"""

    block: DataBlock
    before: UtcSeconds
    after: UtcSeconds

    @property
    def midway(self) -> UtcSeconds:
        return self.before + max(0, self.after - self.before) // 2

    @property
    def uncertainty(self) -> int:
        return (max(0, self.after - self.before) + 1) // 2


class Iec62056Session:
    """Identity, registers, clock and load profile of one meter. Never two requests in flight; the caller owns the stream."""

    def __init__(self, stream: ByteStream, endpoint: Endpoint, context: SessionContext) -> None:
        """Raises `ProfileError` listing everything that makes this endpoint unreadable."""
        profile, faults = endpoint.profile, []
        if profile.iec62056 is None:
            raise ProfileError(profile.name, ["iec62056: the table is missing"])
        iec62056 = profile.iec62056
        if not FULL_ADDRESS.fullmatch(endpoint.address):
            faults.append(f"address: {endpoint.address[:40]!r} is not up to 32 letters and digits")
        if unknown := sorted(set(endpoint.options) - set(OPTIONS)):
            faults.append(f"option {unknown[0][:40]}: an IEC 62056-21 meter has {', '.join(OPTIONS)}")
        fastest = endpoint.options.get("max_baud", str(iec62056.max_baud))
        if fastest not in map(str, BAUDS):
            faults.append(f"option max_baud: {fastest[:20]!r} is not one of {', '.join(map(str, BAUDS))}")
        parity = endpoint.options.get("parity", iec62056.parity)
        if parity not in PARITIES:
            faults.append(f"option parity: {parity[:20]!r} is not one of {', '.join(PARITIES)}")
        if iec62056.level != "none" and not endpoint.credentials.password:
            faults.append(f"password: the profile sends one as {iec62056.level}, and the meter has no reference to it")
        if faults:
            raise ProfileError(f"{profile.name} for meter {endpoint.name}", faults)
        self._iec62056: Iec62056Profile = iec62056
        self._profile = profile
        self._stream = stream
        self._parity = parity
        self._now = context.now
        self._secret = endpoint.credentials.password
        self._refused = RefusedPasswords(context.metadata, endpoint.name)
        reaction = max(REACTION, profile.timing.latency)
        terms = Terms(iec62056.check_character, iec62056.first_baud, int(fastest), iec62056.characters, reaction)
        self._conversation = Conversation(stream, context, endpoint.address, terms)
        self._found: Identification | None = None
        self._printed: _Said | None = None
        self._answers: dict[str, _Said] = {}
        self._is_programming = False
        self._has_checksum = False  # of what came unasked
        self._rows: list[load.Row] = []  # of the load profile that is under way, or was cut
        self._window = (0, 0, 0)  # its start and end, and up to where all was said [s UTC]

    @property
    def _is_protected(self) -> bool:
        """Whether a checksum, or parity and check character together, vouch for what was read.

        Parity is asked for once the port is set up.
        """
        if self._iec62056.opening == "unasked":
            return self._has_checksum
        is_seen = self._parity == "gateway" or (self._parity == "line" and has_parity(self._stream))
        return is_seen and self._iec62056.check_character

    async def close(self) -> None:
        """Leave programming mode, where it was begun; what the meter makes of that does not matter any more."""
        if self._is_programming:
            self._is_programming = False
            with suppress(DriverError):
                await self._conversation.end()

    async def read_identity(self) -> MeterIdentity:
        """Read the serial number; the name is ``maker:serial``, the maker by the profile, else by the meter's own letters."""
        for address in self._iec62056.identity:
            try:
                one, _ = await self._find(address)
            except MeterRefused:
                continue
            serial = one.values[0].text.strip()
            if serial and self._found is not None:
                maker = self._profile.maker or self._found.maker.upper()
                return MeterIdentity(f"{maker}:{serial}", maker, serial, self._found.identification)
        wanted = ", ".join(self._iec62056.identity)
        raise RemoteProtocolError(
            f"the meter gives no serial number under {wanted}; name its data set in iec62056.identity"
        )

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterValue]:
        """Read the given quantities, in the order asked, exact to the digit printed.

        ``captured_at`` lies midway between the question and the end of the answer [s UTC], ``uncertainty`` is half of that time.
        Raises `MeterRefused` for a quantity that the meter does not have, or prints as no number of its unit.
        """
        points = {point.obis: point for point in self._iec62056.points}
        return [await self._register(points.get(code) or Iec62056Point(code)) for code in obis]

    async def _register(self, point: Iec62056Point) -> RegisterValue:
        one, said = await self._find(point.address or str(point.obis), Read(point.form))
        entry = by_obis(point.obis)
        try:
            count, scaler_unit = decode_number(one.values[0], point.scaler_unit)
        except RemoteProtocolError as error:  # the frame was right, asking again would give the same
            raise MeterRefused(f"{point.obis}: {error}", NOT_THERE) from error
        if entry is not None and entry.unit is not scaler_unit.unit:
            raise MeterRefused(
                f"{point.obis} is printed in {scaler_unit.unit.symbol}, {entry.name} is counted in {entry.unit.symbol}",
                NOT_THERE,
            )
        value = RegisterValue(point.obis, count, scaler_unit, said.midway, said.uncertainty)
        return value if self._is_protected else unprotected(value)

    async def read_clock(self) -> ClockReading:
        """Read date and time. Raises `MeterRefused` where the profile names none, or the meter has none."""
        zone, names = self._profile.clock.zone, self._iec62056
        if names.clock:
            one, said = await self._find(names.clock)
            return ClockReading(decode_stamp(one.values[0].text, zone), said.midway)
        if not names.date:
            raise MeterRefused(f"profile {self._profile.name} names no clock", NOT_THERE)
        date, before = await self._find(names.date)
        time, said = await self._find(names.time)
        instant = decode_clock(date.values[0].text, time.values[0].text, zone)
        span = max(0, said.after - before.before) + 1
        if load.is_near_midnight(instant, span, zone):
            raise RemoteProtocolError("midnight may have passed between the meter's date and its time")
        return ClockReading(instant, said.midway)

    async def read_load_profile(self, start: UtcSeconds, end: UtcSeconds) -> list[IntervalBlock | RegisterValue]:
        """Read the intervals of ``[start, end)`` [s UTC], and the registers that stand beside them, stamped by the meter.

        Raises `MeterRefused` where the profile has no load profile, or the meter records it otherwise.
        """
        record, channels = self._iec62056.load_profile, self._channels()
        if record is None or not channels:
            raise MeterRefused(f"profile {self._profile.name} has no load profile", NOT_THERE)
        zone, period = self._profile.clock.zone, channels[0].period
        self._rows, self._window = [], (start, end, start)
        for first, last in load.windows(record, start, end):
            if record.form == "readout":
                block = (await self._readout()).block
            else:
                await self._begin()
                what = load.format_window(record, first, last, zone)
                block = await self._conversation.read(record.address, Read(record.form), what)
            self._rows += load.decode_rows(block, record, period, zone)
            self._window = (start, end, last)
        facts = self._facts(record, start, end)
        self._rows, self._window = [], (0, 0, 0)
        return facts

    def salvage(self) -> Salvage | None:
        """Give what the last `read_load_profile`, which raised or was canceled, had received whole; None for nothing."""
        record, (start, _, reach) = self._iec62056.load_profile, self._window
        if record is None or reach <= start:
            return None
        return Salvage(tuple(self._facts(record, start, reach)), start, reach)

    def _channels(self) -> list[ChannelProfile]:
        return [channel for channel in self._profile.channels if channel.origin == "load_profile"]

    def _facts(
        self, record: Iec62056LoadProfile, start: UtcSeconds, end: UtcSeconds
    ) -> list[IntervalBlock | RegisterValue]:
        clock, channels, layout = self._profile.clock, self._channels(), self._profile.status_layout
        period = channels[0].period
        stated, shift = load.stated(self._rows), period if clock.stamp == "end" else 0
        facts: list[IntervalBlock | RegisterValue] = []
        for place, column in enumerate(record.columns):
            worth: ScalerUnit | None = column.scaler_unit
            facts += [
                marked(load.interval_block(channel, self._rows, place, worth, clock, start, end), layout, stated, shift)
                for channel in channels
                if channel.obis == column.obis
            ]
            if column.obis.d == REGISTER:
                values = load.snapshots(column.obis, self._rows, place, worth, clock, period)
                wanted = [one for one in values if start <= one.captured_at <= end]
                facts += marked_registers(wanted, layout, stated, period - shift)
        return facts if self._is_protected else [unprotected(fact) for fact in facts]

    async def read_events(self) -> list[MeterEvent]:
        """Read each log of the profile whole, in the meter's order. The code of an event is its status."""
        events: list[MeterEvent] = []
        for log in self._iec62056.events:
            await self._begin()
            block = await self._conversation.read(log.address, Read(log.form), ";" if log.form in {"R5", "R6"} else "")
            events += load.decode_events(
                block, log.address, log.text, self._profile.clock.zone, self._profile.status_layout
            )
        return events

    async def _find(self, address: str, form: Read = Read.ASCII) -> tuple[DataSet, _Said]:
        """Give a data set, from what was said already or from the meter. Raises `MeterRefused` where it has none."""
        if self._iec62056.opening != "programming":
            said = await self._readout()
            one = said.block.at(address)
        elif (kept := self._answers.get(address)) is not None:
            said, one = kept, kept.block.sets[0]
        else:
            await self._begin()
            before = self._now()
            block = await self._conversation.read(asked_as(address), form)
            said = _Said(block, before, self._now())
            one = block.sets[0] if block.sets else None
            if one is not None:
                self._answers[address] = said
        if one is None:
            raise MeterRefused(f"the meter prints no data set {address}", NOT_THERE)
        return one, said

    async def _readout(self) -> _Said:
        """Take the readout, once in a session."""
        if self._printed is None:
            before = self._now()
            if self._iec62056.opening == "unasked":
                heard = await self._conversation.listen()
                self._found, block, self._has_checksum = (
                    heard.identification,
                    decode_block(heard.data),
                    heard.is_checked,
                )
            else:
                self._found, block = await self._conversation.readout(wake_up=self._iec62056.wake_up)
            self._printed = _Said(block, before, self._now())
        return self._printed

    async def _begin(self) -> None:
        """Sign on for reads by address, once in a session. Raises `SecurityError` for a password that is, or was, not taken."""
        if self._is_programming:
            return
        level, now = self._iec62056.level, self._now()
        secret = b"" if level == "none" else self._secret
        if secret:
            await self._refused.check(secret, now)
        try:
            self._found, _ = await self._conversation.begin_programming(
                secret, Password.PLAIN if level == "none" else Password(level), wake_up=self._iec62056.wake_up
            )
        except SecurityError:
            await self._refused.note(secret, now)
            with suppress(DriverError):
                await self._conversation.end()
            raise
        self._is_programming = True


@asynccontextmanager
async def open_session(
    stream: ByteStream, endpoint: Endpoint, context: SessionContext
) -> AsyncIterator[Iec62056Session]:
    """Open a session with one meter on a link that the caller owns; it signs on when first asked something.

    Raises `ProfileError` for an unreadable endpoint.
    """
    session = Iec62056Session(stream, endpoint, context)
    try:
        yield session
    finally:
        await session.close()
