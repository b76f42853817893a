"""A meter that is broken or means harm: every session with it ends, in an error of the right class, and invents no value."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

import pytest

from drivers.contract import Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.dlms import acse, axdr, objects, xdlms
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.axdr import NULL, Data, Tag
from drivers.dlms.commands import Accepted, Associate, Get
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.events import Apdu, Connect
from drivers.dlms.hdlc import Frame, HdlcAddress, Kind
from drivers.dlms.link import HdlcLink
from drivers.dlms.objects import CaptureObject, Row
from drivers.dlms.parameters import Parameters
from drivers.dlms.settings import settings_of
from drivers.dlms.window import MAX_REPEATS
from drivers.dlms.xdlms import Attribute, Selection
from drivers.errors import DriverError, MeterRefused, ProfileError, RemoteProtocolError, TransportTimeout
from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.profile import ClockProfile, DlmsColumn, TimingProfile
from drivers.transports import null_modem
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.drivers.dlms.meter import DAY, DEMAND, INTERVALS, PERIOD, PROFILE, Meter, serving, stamp

CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
NAME = Attribute(1, Obis(0, 0, 42, 0, 0), 2)


class Babbling:
    """A line that always has something to say, so that reading never waits."""

    bits_per_second: int | None = 115_200
    bits_per_character = 10

    def __init__(self, noise: bytes) -> None:
        self.noise = noise

    async def write(self, data: bytes) -> None:
        assert data

    async def read(self, timeout: float) -> bytes:
        assert timeout > 0
        return self.noise

    def discard_input(self) -> bytes:
        return self.noise

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("noise", [b"\x00", b"\x7e" * 3000, b"\x7e\xa0\x01", b"\xff\x7e\xa8"])
async def test_a_line_that_is_never_silent_ends_in_an_error_and_lets_others_run(noise: bytes) -> None:
    assert PROFILE.dlms is not None
    profile = replace(PROFILE, timing=TimingProfile(latency=0.01), dlms=replace(PROFILE.dlms, framing="hdlc"))
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    context = SessionContext(lambda: 0, bytes, NoCounters())
    with pytest.raises(DriverError) as caught:
        async with open_session(Babbling(noise), Endpoint("m", "1", profile), context):
            pytest.fail("opened")
    task.cancel()

    assert isinstance(caught.value, TransportTimeout | RemoteProtocolError)
    assert turns > 1


def test_a_meter_that_never_takes_our_frame_is_given_up_after_a_few_repeats() -> None:
    link = HdlcLink("client", CLIENT, SERVER)
    link.send(Connect())
    link.receive_data(Frame(CLIENT, SERVER, Kind.UA).encode())
    link.next_event()
    link.send(Apdu(b"question"))
    never_got_it = Frame(CLIENT, SERVER, Kind.RR, receive_number=0).encode()

    for _ in range(MAX_REPEATS):
        link.receive_data(never_got_it)
        link.next_event()
        assert link.data_to_send()
    link.receive_data(never_got_it)
    with pytest.raises(RemoteProtocolError, match="never taken"):
        link.next_event()


def test_a_meter_that_takes_no_apdu_of_our_size_refuses_and_the_association_stays_open() -> None:
    association = ClientAssociation(Parameters())
    association.send(Associate())
    granted = xdlms.InitiateResponse(xdlms.Conformance.GET, 12).encode()
    association.receive_data(acse.Aare(user_information=granted).encode())
    assert isinstance(association.next_event(), Accepted)

    with pytest.raises(MeterRefused, match="takes 12 octets at a time"):
        association.send(Get(NAME))
    assert association.state is State.OPEN


@pytest.mark.parametrize("element", ["00", "ff", "0200", "01000000", "01ffffff"])
def test_a_compact_array_of_repeated_nothing_is_refused_at_once(element: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axdr, "MAX_ITEMS", 20)
    octets = bytes.fromhex("13" + "01ffff" + "01ffff" + element + "02" + "0000")

    with pytest.raises(RemoteProtocolError, match="without octets"):
        axdr.decode(octets)


# -- what it records


CLOCK = CaptureObject(8, Obis(0, 0, 1, 0, 0), 2)


@dataclass
class Odd(Meter):
    """A scripted meter whose load profile has any columns and any buffer."""

    columns: tuple[CaptureObject, ...] = (CLOCK, CaptureObject(3, INTERVALS, 2))
    rows_given: tuple[Data, ...] = ()
    entries: Data | None = None

    def profile(self, index: int, selection: Selection | None) -> Data | int:
        if index == objects.CAPTURE_OBJECTS:
            return axdr.array([column.encode() for column in self.columns])
        if index == objects.ENTRIES_IN_USE and self.entries is not None:
            return self.entries
        return super().profile(index, selection)

    def buffer(self, selection: Selection | None) -> Data | int:
        if self.rows_given and selection is not None:
            return axdr.array(self.rows_given)
        return super().buffer(selection)


@asynccontextmanager
async def session(meter: Meter, **changes: object) -> AsyncIterator[DlmsSession]:
    assert PROFILE.dlms is not None
    near, far = null_modem()
    profile = replace(PROFILE, dlms=replace(PROFILE.dlms, **changes))  # type: ignore[arg-type]
    context = SessionContext(lambda: DAY, bytes, NoCounters())
    async with serving(meter, far), open_session(near, Endpoint("m", "1", profile), context) as opened:
        yield opened


async def counts_of(meter: Meter, **changes: object) -> tuple[int | None, ...]:
    async with session(meter, **changes) as opened:
        (block,) = await opened.read_load_profile(DAY, DAY + 4 * PERIOD)
    assert isinstance(block, IntervalBlock)
    return block.counts


async def test_differences_from_the_row_before_are_added_up_and_never_taken_for_values() -> None:
    rows = (
        axdr.structure(stamp(DAY + PERIOD), axdr.double_long_unsigned(1000)),
        axdr.structure(stamp(DAY + 2 * PERIOD), Data(Tag.DELTA_UNSIGNED, 5)),
        axdr.structure(NULL, NULL),
        axdr.structure(NULL, Data(Tag.DELTA_INTEGER, -3)),
    )

    assert await counts_of(Odd(rows_given=rows)) == (1000, 1005, 1005, 1002)
    with pytest.raises(RemoteProtocolError, match="expected an integer, got delta_unsigned"):
        await counts_of(Odd(rows_given=rows[1:2]))


async def test_a_row_without_stamp_is_a_period_older_where_the_newest_row_comes_first() -> None:
    rows = (
        axdr.structure(stamp(DAY + 3 * PERIOD), axdr.unsigned(3)),
        axdr.structure(NULL, axdr.unsigned(2)),
        axdr.structure(NULL, axdr.unsigned(1)),
    )

    assert await counts_of(Odd(rows_given=rows, sort_method=2)) == (1, 2, 3, None)
    assert await counts_of(Odd(rows_given=rows, sort_method=1)) == (None, None, 3, 2)
    with pytest.raises(RemoteProtocolError, match="without a stamp"):
        await counts_of(Odd(rows_given=rows, sort_method=3))


@pytest.mark.parametrize("column", [(3, 0), (3, 3), (4, 4), (4, 5), (5, 8)])
async def test_a_column_that_holds_a_status_or_a_time_is_not_taken_for_the_value(column: tuple[int, int]) -> None:
    captured = CaptureObject(column[0], INTERVALS, column[1])
    row = axdr.structure(stamp(DAY + PERIOD), axdr.unsigned(8))

    with pytest.raises(ProfileError, match=f"captures attribute {column[1]}, not the value"):
        await counts_of(Odd(columns=(CLOCK, captured), rows_given=(row,)))


async def test_the_value_is_found_beside_its_status_in_whatever_order_the_meter_captures() -> None:
    columns = (CaptureObject(4, INTERVALS, 4), CaptureObject(4, INTERVALS, 2), CaptureObject(1, DEMAND, 2), CLOCK)
    row = axdr.structure(axdr.unsigned(128), axdr.unsigned(7), axdr.unsigned(9), stamp(DAY + PERIOD))
    scaler = {f"4/{INTERVALS}/3": objects.encode_scaler_unit(ScalerUnit(1, Unit.WATT_HOUR))}

    assert await counts_of(Odd(columns=columns, rows_given=(row,), values=scaler)) == (70, None, None, None)


async def test_a_range_names_the_clock_that_the_meter_captures() -> None:
    clock = CaptureObject(8, Obis(0, 1, 1, 0, 0), 2)
    meter = Odd(columns=(clock, CaptureObject(3, INTERVALS, 2)))

    await counts_of(meter)

    asked = [xdlms.decode(apdu) for apdu in meter.received if apdu[0] == xdlms.GET_REQUEST]
    (selection,) = [get.selection for get in asked if isinstance(get, xdlms.GetRequest) and get.selection]
    assert selection.parameters.items()[0] == clock.encode()


async def test_a_meter_that_counts_in_another_unit_is_a_profile_error() -> None:
    var_hours = {f"3/{INTERVALS}/3": objects.encode_scaler_unit(ScalerUnit(0, Unit.VAR_HOUR))}

    with pytest.raises(ProfileError, match="is in Wh, the meter's in varh"):
        await counts_of(Meter(values=var_hours))


async def test_more_entries_than_can_be_numbered_are_a_protocol_error() -> None:
    meter = Odd(entries=Data(Tag.LONG64_UNSIGNED, 2**63))

    with pytest.raises(RemoteProtocolError, match="more than can be numbered"):
        await counts_of(meter, selective_access=("entry",))


async def test_a_capture_time_the_meter_doubts_marks_the_register() -> None:
    doubted = stamp(DAY - 3600).octets()[:-1] + b"\x02"

    async with session(Meter(values={f"4/{DEMAND}/5": axdr.octet_string(doubted)})) as opened:
        (demand,) = await opened.read_registers([DEMAND])

    assert (demand.captured_at, demand.rules) == (DAY - 3600, Rule.METER_STATUS)


@pytest.mark.parametrize(
    ("stamped", "instant", "is_doubtful"),
    [
        ("07ea0a19ff021e00ff800080", 1_792_888_200, False),  # the first 02:30, daylight saving
        ("07ea0a19ff021e00ff800000", 1_792_891_800, False),  # the second
        ("07ea0a19ff021e00ff8000ff", 1_792_891_800, True),  # nobody knows
        ("07ea0a19ff021e00ffff88ff", 1_792_888_200, False),  # the deviation says it
        ("07ea0a19ff031e00ff8000ff", 1_792_895_400, False),  # 03:30 comes once
    ],
)
def test_an_hour_that_comes_twice_is_doubtful_where_nothing_says_which_is_meant(
    stamped: str, instant: int, *, is_doubtful: bool
) -> None:
    berlin = ClockProfile(zone="Europe/Berlin")

    read = objects.decode_instant(axdr.octet_string(bytes.fromhex(stamped)), berlin)

    assert read == (instant, is_doubtful)


def test_two_snapshots_of_one_instant_that_differ_keep_the_first_and_say_so() -> None:
    column = objects.Column(0, DlmsColumn(DEMAND, DEMAND, cumulative=True), ScalerUnit(0, Unit.WATT))
    rows = [Row(DAY, False, (axdr.unsigned(value),)) for value in (5, 6, 5)]  # noqa: FBT003

    (value,) = objects.register_values(column, rows, ClockProfile(), PERIOD, start=DAY, end=DAY + PERIOD)

    assert (value.count, value.rules) == (5, Rule.CONFLICT)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
def test_an_address_of_nobody_is_a_profile_error(framing: Literal["wrapper", "hdlc"]) -> None:
    assert PROFILE.dlms is not None
    profile = replace(PROFILE, dlms=replace(PROFILE.dlms, framing=framing))

    with pytest.raises(ProfileError, match="0 is nobody"):
        settings_of(Endpoint("m", "0", profile))


# -- octets altered at random, always the same ones

BUFFER = axdr.array(
    [
        axdr.structure(stamp(DAY + PERIOD), axdr.double_long_unsigned(5), Data(Tag.FLOAT32, Decimal("1.5"))),
        axdr.structure(NULL, Data(Tag.DELTA_INTEGER, -1), NULL),
        axdr.structure(stamp(DAY), Data(Tag.LONG64_UNSIGNED, 2**63), Data(Tag.FLOAT64, Decimal("1e300"))),
    ]
)
CAPTURED = (CLOCK, CaptureObject(3, INTERVALS, 2), CaptureObject(3, DEMAND, 2))
TITLED = acse.Aare(
    acse.ApplicationContext.LOGICAL_NAME_CIPHERED, diagnostic=14, responding_title=b"SIM00001",
    mechanism=acse.Mechanism.HIGH_GMAC, authentication_value=bytes(16), user_information=bytes(30),
)  # fmt: skip


def make_facts(octets: bytes) -> None:
    rows = objects.decode_rows(axdr.decode(octets), CAPTURED, PERIOD, ClockProfile(zone="Europe/Berlin"))
    column = objects.Column(1, DlmsColumn(INTERVALS, INTERVALS), ScalerUnit(0, Unit.WATT_HOUR))
    objects.interval_block(column, PROFILE.channels[0], rows, ClockProfile(), start=DAY, end=DAY + 4 * PERIOD)
    list(objects.register_values(column, rows, ClockProfile(), PERIOD, start=DAY, end=DAY + 4 * PERIOD))


@pytest.mark.parametrize(
    ("octets", "read"),
    [
        (axdr.encode(BUFFER), make_facts),
        (bytes.fromhex("13020209060606240c07ea0101ff001e00ff8000000000000100000002"), make_facts),
        (axdr.encode(axdr.array([column.encode() for column in CAPTURED])), axdr.decode),
        (xdlms.GetResponse(0xC1, BUFFER).encode(), xdlms.decode),
        (xdlms.ActionResponse(0xC1, 0, axdr.octet_string(bytes(17))).encode(), xdlms.decode),
        (xdlms.InitiateResponse(xdlms.Conformance.GET, 500).encode(), xdlms.decode),
        (xdlms.DataNotification(1, bytes(12), BUFFER).encode(), xdlms.decode),
        (TITLED.encode(), acse.decode),
        (acse.Aarq(mechanism=acse.Mechanism.LOW, authentication_value=b"12345678").encode(), acse.decode),
    ],
)
def test_altered_octets_are_read_or_are_a_protocol_error(octets: bytes, read: Callable[[bytes], object]) -> None:
    dice = random.Random(20260101)

    for _ in range(1000):
        altered = bytearray(octets)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(altered) + 1)
            inserted = dice.choice(
                (b"", bytes([dice.randrange(256)]), b"\x01" * dice.randrange(40), b"\x84\xff\xff\xff\xff")
            )
            altered[at : at + dice.randrange(3)] = inserted
        with suppress(RemoteProtocolError):
            read(bytes(altered))
