"""What a visit to an IEC 62056-21 meter costs its line: signing on at the slow speed, the change of speed, the readout, reads by address.

Our messages are those of the client's own encoders. The meter's are made of what it can be expected to say; where it has a choice
the common one is taken: mode C at the fastest speed that the profile allows, partial blocks of a dozen rows, all names in full. The
speeds are the protocol's own, whatever the link says of its speed: the port, or the gateway, changes with the meter.
Source: IEC 62056-21, 6.3 (messages), 6.3.8 (times), 6.4 (modes), 6.5 (programming mode), annex A (battery meters).
"""

from typing import Final

from drivers.contract import Endpoint
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.errors import ProfileError
from drivers.facts import UtcSeconds
from drivers.iec62056 import load
from drivers.iec62056.datasets import asked_as
from drivers.iec62056.message import Handshake, Message
from drivers.iec62056.opening import (
    BITS,
    CHANGE_PAUSE,
    SPEEDS,
    TURN,
    WAKE_UP,
    WAKE_UP_PAUSE,
    Identification,
    Opening,
    Purpose,
)
from drivers.iec62056.programming import BREAK, OPERAND, Password, Read, password, read
from drivers.profile import Iec62056LoadProfile, Iec62056Profile

# What the meter decides, and is reckoned with. [octet, where nothing else is said]
IDENTIFICATION: Final = "HEADEND-1"  # as long as most: 9 of at most 16 characters
PASSWORD: Final = b"0" * 8  # a secret, whose length is not looked up
CHALLENGE: Final = b"(0000)"
NUMBER: Final = 9  # digits and point of a register or of a row's value
UNIT: Final = 4  # with the star in front
STAMP: Final = 13  # ZYYMMDDhhmmss
CLOCK: Final = 6  # hhmmss, and YYMMDD
BLOCK_ROWS: Final = 12  # lines of a partial block


def visit_cost(endpoint: Endpoint, ask: Ask, medium: Medium, latency: float) -> Cost:
    """Count one visit; see `drivers.cost.VisitCost`. A readout is as long as the profile says (``iec62056.readout``)."""
    iec62056 = endpoint.profile.iec62056
    if iec62056 is None:
        raise ProfileError(endpoint.profile.name, ["iec62056: the table is missing"])
    if iec62056.opening == "unasked":
        raise NotComputed("IEC 62056-21 meters that send unasked, at a pace of their own")
    return _Visit(endpoint, iec62056, medium, latency).cost(ask)


class _Visit:
    def __init__(self, endpoint: Endpoint, iec62056: Iec62056Profile, medium: Medium, latency: float) -> None:
        self._endpoint, self._profile, self._iec62056 = endpoint, endpoint.profile, iec62056
        self._medium = medium
        fastest = int(endpoint.options.get("max_baud", iec62056.max_baud))
        at_most = [mark for mark in SPEEDS if SPEEDS[mark] <= fastest]
        self._told = Identification("SIM", max(at_most, key=SPEEDS.__getitem__, default="0"), "", IDENTIFICATION)
        self._first, self._speed = iec62056.first_baud, SPEEDS[self._told.mark]
        # The meter leaves the line to us that long before it changes; longer where it is slower to answer anyhow.
        self._change = max(0.0, CHANGE_PAUSE - latency)

    def cost(self, ask: Ask) -> Cost:
        """Add up the visit."""
        names = self._iec62056
        total = Cost(silence=self._profile.timing.turnaround)  # behind the visit
        wanted: dict[str, tuple[Read, int]] = {
            names.identity[0]: (Read.ASCII, len(self._endpoint.name.partition(":")[2]))
        }
        if ask.clock:
            for address, size in ((names.clock, 2 * CLOCK), (names.date, CLOCK), (names.time, CLOCK)):
                if address:
                    wanted.setdefault(address, (Read.ASCII, size))
        points = {point.obis: point for point in names.points}
        for code in ask.registers:
            point = points.get(code)
            address = point.address if point else ""
            wanted.setdefault(address or str(code), (Read(point.form if point else "R1"), NUMBER + UNIT))
        record = names.load_profile
        if ask.window is not None and record is None:
            raise NotComputed(f"profile {self._profile.name} has no load profile")
        is_programming = names.opening == "programming" or (
            ask.window is not None and record is not None and record.form != "readout"
        )
        if names.opening == "readout":
            total += self._readout()
        if is_programming:
            total += self._begin()
            if names.opening == "programming":
                for address, (form, size) in wanted.items():
                    total += self._read(asked_as(address), form, "", [len(f"{asked_as(address)}()") + size])
            if ask.window is not None and record is not None and record.form != "readout":
                total += self._load(record, *ask.window)
            total += self._say(len(BREAK.encode()), self._speed)
        return total

    # -- signing on

    def _sign_on(self, purpose: Purpose) -> Cost:
        """Count what comes before the new speed, zeros for battery meters among it."""
        request = len(Opening(self._endpoint.address).request)
        total = self._octets(request, len(f"/{self._told.maker}0{IDENTIFICATION}\r\n"), self._first)
        if self._iec62056.wake_up:
            total += self._octets(len(WAKE_UP), 0, self._first) + Cost(silence=WAKE_UP_PAUSE)
        total += Cost(turns=1)
        return total + self._say(len(self._told.acknowledge(purpose)), self._first) + Cost(silence=self._change)

    def _readout(self) -> Cost:
        if not self._iec62056.readout:
            raise NotComputed(f"profile {self._profile.name} does not say how long its readout is (iec62056.readout)")
        return self._sign_on(Purpose.READOUT) + self._hear(self._iec62056.readout)

    def _begin(self) -> Cost:
        total = self._sign_on(Purpose.PROGRAMMING) + self._hear(len(Message(OPERAND, CHALLENGE).encode()))
        if self._iec62056.level != "none":
            proof = password(PASSWORD, Password(self._iec62056.level)).encode()
            total += self._say(len(proof), self._speed) + self._hear(len(Handshake.TAKEN.encode()))
        return total

    # -- programming mode

    def _read(self, address: str, form: Read, what: str, blocks: list[int]) -> Cost:
        """Count a question, and its answer in ``blocks``, each acknowledged but the last. [octet of text]"""
        around = len(Message("", b"").encode())
        total = self._say(len(read(address, form, what).encode()), self._speed)
        for number, block in enumerate(blocks):
            if number:
                total += self._say(len(Handshake.TAKEN.encode()), self._speed)
            total += self._hear(around + block)
        return total

    def _load(self, record: Iec62056LoadProfile, start: UtcSeconds, end: UtcSeconds) -> Cost:
        period = next((one.period for one in self._profile.channels if one.origin == "load_profile"), 0)
        if not period:
            raise NotComputed(f"profile {self._profile.name} declares no channel of a load profile")
        form, total = Read(record.form), Cost()
        is_in_blocks = form in {Read.ASCII_IN_BLOCKS, Read.FORMATTED_IN_BLOCKS, Read.NATIONAL_IN_BLOCKS}
        for first, last in load.windows(record, start, end):
            what = load.format_window(record, first, last, self._profile.clock.zone)
            # Both ends are asked for, and so is the row that ends where the first interval begins.
            rows = (last - first) // period + 1
            lines = [_header(record), *[_row(record)] * rows]
            step = BLOCK_ROWS if is_in_blocks else len(lines)
            total += self._read(
                record.address, form, what, [sum(lines[at : at + step]) for at in range(0, len(lines), step)]
            )
        return total

    # -- the line

    def _say(self, octets: int, speed: int) -> Cost:
        """Count what we say behind what the meter said."""
        return self._octets(octets, 0, speed) + Cost(silence=TURN)

    def _hear(self, octets: int) -> Cost:
        return self._octets(0, octets, self._speed) + Cost(turns=1)

    def _octets(self, sent: int, received: int, speed: int) -> Cost:
        both = sent + received
        return Cost(sent, received, other_speed=both * BITS / speed - self._medium.wire(both))


def _header(record: Iec62056LoadProfile) -> int:
    """Give the octets of a header: once in an unbroken window. 0 where rows carry their own stamps."""
    if not record.header:
        return 0
    columns = sum(len(f"({column.address})(kWh)") for column in record.columns)
    sizes = {"stamp": STAMP + 2, "status": 4, "period": 4, "count": 3, "columns": columns, "skip": 2}
    return len(record.address) + 2 + sum(sizes.get(field, 0) for field in record.header)


def _row(record: Iec62056LoadProfile) -> int:
    unit = 0 if record.header else UNIT
    sizes = {"stamp": STAMP + 2, "status": 4, "values": len(record.columns) * (NUMBER + unit + 2), "skip": 2}
    name = 0 if record.header else len(record.address)
    return name + 2 + sum(sizes.get(field, 0) for field in record.row)
