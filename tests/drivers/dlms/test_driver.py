"""The driver against a scripted meter on a null modem: what it asks, what it makes of it, and what it does when things fail."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from drivers.contract import (
    Credentials,
    Endpoint,
    KeepsClock,
    ReadsIdentity,
    ReadsLoadProfile,
    ReadsRegisters,
    SessionContext,
)  # fmt: skip
from drivers.dlms import axdr, objects
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.session import COUNTER_BLOCK
from drivers.errors import (
    CounterError,
    MeterRefused,
    ProfileError,
    RemoteProtocolError,
    SecurityError,
    TransportTimeout,
)
from drivers.facts import ClockReading, IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.profile import ClockProfile, MeterProfile
from drivers.transports import MemoryStream, null_modem
from drivers.units import ScalerUnit, Unit
from tests.drivers.dlms.meter import (
    DAY,
    DEMAND,
    INTERVALS,
    PERIOD,
    PROFILE,
    REGISTER,
    TEN_WATT_HOURS,
    Meter,
    rows_of,
    serving,
)

HDLC = HdlcAddress(1, 17)
DAYS = range(1, 49)


class NoneLeft:
    """Every counter is used up."""

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:  # noqa: ARG002 - the Protocol's names
        raise CounterError(f"{key_id}: {size} from {floor}")

    async def note(self, key_id: str, counter: int) -> int:
        assert key_id
        assert counter >= 0
        return -1


def ticking() -> Callable[[], int]:
    instants: Iterator[int] = iter(range(DAY, DAY + 10_000, 4))
    return lambda: next(instants)


def context(now: Callable[[], int] = lambda: DAY) -> SessionContext:
    return SessionContext(now, bytes, NoneLeft())


def endpoint(profile: MeterProfile = PROFILE, address: str = "1", **options: str) -> Endpoint:
    return Endpoint("meter-1", address, profile, options=options)


def with_dlms(**changes: Any) -> MeterProfile:
    assert PROFILE.dlms is not None
    return replace(PROFILE, dlms=replace(PROFILE.dlms, **changes))


@asynccontextmanager
async def session(
    meter: Meter, profile: MeterProfile = PROFILE, now: Callable[[], int] = lambda: DAY
) -> AsyncIterator[DlmsSession]:
    near, far = null_modem()
    if meter.hdlc is not None:
        assert profile.dlms is not None
        profile = replace(profile, dlms=replace(profile.dlms, framing="hdlc"))
    async with serving(meter, far), open_session(near, endpoint(profile, str(meter.hdlc or 1)), context(now)) as opened:
        yield opened


async def day_of(meter: Meter, profile: MeterProfile = PROFILE) -> list[int | None]:
    async with session(meter, profile) as opened:
        (block,) = await opened.read_load_profile(DAY, DAY + 86_400)
    assert isinstance(block, IntervalBlock)
    assert (block.start, len(block.counts)) == (DAY, 48)
    return list(block.counts)


@pytest.fixture(params=[None, HDLC], ids=["wrapper", "hdlc"])
def meter(request: pytest.FixtureRequest) -> Meter:
    return Meter(hdlc=request.param)


async def test_everything_a_meter_has_is_read(meter: Meter) -> None:
    async with session(meter) as opened:
        assert isinstance(opened, ReadsIdentity)
        assert isinstance(opened, ReadsRegisters)
        assert isinstance(opened, ReadsLoadProfile)
        assert isinstance(opened, KeepsClock)
        identity = await opened.read_identity()
        clock = await opened.read_clock()
        (register,) = await opened.read_registers([REGISTER])
        (block,) = await opened.read_load_profile(DAY, DAY + 86_400)

    assert (identity.name, identity.maker) == ("TST0000000000001", "TST")
    assert clock == ClockReading(DAY + 5, DAY)
    assert register == RegisterValue(REGISTER, 1234, TEN_WATT_HOURS, DAY)
    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(DAYS)


async def test_the_association_is_released_in_an_orderly_way_also_after_an_error(meter: Meter) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session(meter):
            raise ZeroDivisionError

    assert meter.received[-1][0] == 0x62


async def test_a_register_is_stamped_midway_with_the_doubt_of_the_journey() -> None:
    async with session(Meter(), now=ticking()) as opened:
        (register,) = await opened.read_registers([REGISTER])

    # The clock stands at 0 and 4 for the scaler, at 8 and 12 for the value.
    assert (register.captured_at, register.uncertainty) == (DAY + 10, 2)


async def test_a_register_that_stamps_itself_is_believed() -> None:
    async with session(Meter(), now=ticking()) as opened:
        (demand,) = await opened.read_registers([DEMAND])

    assert (demand.count, demand.captured_at, demand.uncertainty) == (77, DAY - 3600, 0)
    assert demand.scaler_unit == ScalerUnit(0, Unit.WATT)


async def test_scalers_and_columns_are_asked_once_in_a_session() -> None:
    meter = Meter()

    async with session(meter) as opened:
        await opened.read_load_profile(DAY, DAY + PERIOD)
        before = len(meter.received)
        await opened.read_load_profile(DAY, DAY + PERIOD)

    assert len(meter.received) - before == 2  # one question, one release


async def test_an_object_the_meter_does_not_have_is_refused_with_its_code() -> None:
    async with session(Meter()) as opened:
        with pytest.raises(MeterRefused) as caught:
            await opened.read_registers([Obis.parse("2.8.0")])

    assert caught.value.code == 4


@pytest.mark.parametrize("is_mute", [False, True])
@pytest.mark.parametrize("sort_method", [objects.FIRST_IN_FIRST_OUT, objects.LAST_IN_FIRST_OUT, 3])
async def test_a_meter_that_cannot_select_by_range_is_asked_by_entry(sort_method: int, *, is_mute: bool) -> None:
    meter = Meter(takes=frozenset({"entry", "none"}), is_mute=is_mute, sort_method=sort_method)

    assert await day_of(meter) == list(DAYS)
    assert meter.asked[0] == "range"
    assert set(meter.asked[1:]) == {"entry"}


async def test_by_entry_no_more_is_read_than_can_lie_in_the_window() -> None:
    meter = Meter(rows=rows_of(list(range(480)), DAY - 10 * 86_400 + PERIOD + 86_400), takes=frozenset({"entry"}))

    async with session(meter, with_dlms(selective_access=("entry",))) as opened:
        (block,) = await opened.read_load_profile(DAY, DAY + 86_400)

    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(range(432, 480))
    assert meter.row_counts == [1, 50]  # the newest; the window, its edge and one to spare


async def test_by_entry_a_meter_with_rows_of_its_own_is_read_to_the_start_of_the_window() -> None:
    extra = [(DAY + PERIOD * slot + 7, 0) for slot in range(1, 48) for _ in range(2)]
    meter = Meter(rows=sorted(rows_of(list(DAYS)) + extra), takes=frozenset({"entry"}))

    assert await day_of(meter, with_dlms(selective_access=("entry",))) == list(DAYS)


async def test_a_meter_that_cannot_select_at_all_gives_its_whole_buffer_and_is_not_asked_in_vain_twice() -> None:
    meter = Meter(takes=frozenset({"none"}))

    async with session(meter) as opened:
        await opened.read_load_profile(DAY, DAY + PERIOD)
        await opened.read_load_profile(DAY, DAY + PERIOD)

    assert meter.asked == ["range", "entry", "none", "none"]


async def test_a_window_before_the_meter_s_memory_is_empty_without_reading_it_all() -> None:
    meter = Meter(rows=rows_of(list(DAYS), DAY + 30 * 86_400))

    assert await day_of(meter) == [None] * 48
    assert sum(meter.row_counts) == 2


async def test_a_window_after_the_newest_row_is_empty() -> None:
    meter = Meter(rows=rows_of(list(DAYS), DAY - 30 * 86_400))

    assert await day_of(meter) == [None] * 48
    assert sum(meter.row_counts) == 1


async def test_a_meter_without_rows_gives_an_empty_day() -> None:
    assert await day_of(Meter(rows=[])) == [None] * 48


async def test_a_gap_in_the_meter_s_own_record_stays_a_gap() -> None:
    counts = await day_of(Meter(rows=rows_of(list(DAYS), skip=frozenset({3, 4, 40}))))

    assert [slot for slot, count in enumerate(counts) if count is None] == [3, 4, 40]


async def test_a_meter_that_refuses_every_way_is_refused() -> None:
    async with session(Meter(takes=frozenset())) as opened:
        with pytest.raises(MeterRefused):
            await opened.read_load_profile(DAY, DAY + 86_400)


async def test_another_capture_period_than_the_declared_one_is_a_profile_error() -> None:
    async with session(Meter(capture_period=900)) as opened:
        with pytest.raises(ProfileError, match="captures every 900 s"):
            await opened.read_load_profile(DAY, DAY + 86_400)


async def test_stamps_without_deviation_follow_the_declared_zone() -> None:
    profile = replace(PROFILE, clock=ClockProfile(zone="UTC+10:00", deviation="ignore"))

    async with session(Meter(takes=frozenset({"none"})), profile) as opened:
        (block,) = await opened.read_load_profile(DAY - 36_000, DAY - 36_000 + 86_400)

    assert isinstance(block, IntervalBlock)
    assert block.counts == tuple(DAYS)


async def test_a_name_that_is_no_text_is_a_protocol_error() -> None:
    meter = Meter(values={"1/0-0:42.0.0*255/2": axdr.octet_string(b"\xff\xff")})

    async with session(meter) as opened:
        with pytest.raises(RemoteProtocolError, match="printable"):
            await opened.read_identity()


async def test_a_float_register_is_quantised_and_marked() -> None:
    meter = Meter(values={"3/1-0:1.8.0*255/2": Data(Tag.FLOAT32, 16_777_220.0)})

    async with session(meter) as opened:
        (register,) = await opened.read_registers([REGISTER])

    assert register.count == 16_777_220
    assert register.rules != 0


# -- when things fail


async def test_a_silent_meter_is_a_timeout_after_its_latency() -> None:
    near, _far = null_modem()
    started = asyncio.get_running_loop().time()

    with pytest.raises(TransportTimeout, match="no answer"):
        async with open_session(near, endpoint(), context()):
            pytest.fail("opened")

    assert 0.15 < asyncio.get_running_loop().time() - started < 1


async def test_a_silent_hdlc_meter_is_called_twice() -> None:
    near, far = null_modem()

    with pytest.raises(TransportTimeout):
        async with open_session(near, endpoint(with_dlms(framing="hdlc"), "1/17"), context()):
            pytest.fail("opened")

    assert far.discard_input().count(b"\x7e\xa0") == 2


@pytest.mark.parametrize("number", [0, 1, 2, 3])
async def test_a_lost_hdlc_answer_is_asked_for_again_without_repeating_the_question(number: int) -> None:
    meter = Meter(hdlc=HDLC, disturb=lambda at, octets: b"" if at == number else octets)

    async with session(meter) as opened:
        (register,) = await opened.read_registers([REGISTER])

    assert register.count == 1234
    assert len(meter.received) == 4  # AARQ, scaler, value, release; none twice


@pytest.mark.parametrize("position", [1, 2, 5, 8, 9, 15, -2, -1])
async def test_a_damaged_hdlc_answer_is_asked_for_again(position: int) -> None:
    def disturb(at: int, octets: bytes) -> bytes:
        if at != 2:
            return octets
        altered = bytearray(octets)
        altered[position] ^= 0x10
        return bytes(altered)

    meter = Meter(hdlc=HDLC, disturb=disturb)

    async with session(meter) as opened:
        (register,) = await opened.read_registers([REGISTER])

    assert register.count == 1234
    assert len(meter.received) == 4


async def test_noise_before_an_hdlc_answer_does_no_harm() -> None:
    meter = Meter(hdlc=HDLC, disturb=lambda _, octets: b"\x00\xff\x7e\x13" + octets)

    assert await day_of(meter) == list(DAYS)


async def test_bytes_left_over_from_before_are_not_taken_for_the_answer() -> None:
    meter = Meter()
    near, far = null_modem()
    await far.write(b"late answer of somebody else")

    async with serving(meter, far), open_session(near, endpoint(), context()) as opened:
        identity = await opened.read_identity()

    assert identity.name == "TST0000000000001"


async def test_an_answer_of_another_logical_device_is_a_protocol_error() -> None:
    def disturb(_: int, octets: bytes) -> bytes:
        return octets[:3] + b"\x02" + octets[4:]

    with pytest.raises(RemoteProtocolError, match="from wPort 2"):
        async with session(Meter(disturb=disturb)):
            pytest.fail("opened")


async def test_timeouts_grow_with_the_bytes_on_a_slow_line() -> None:
    near, far = null_modem(bits_per_second=300)
    meter = Meter()
    slow: list[float] = []

    class Slow(MemoryStream):
        async def read(self, timeout: float) -> bytes:
            slow.append(timeout)
            return await MemoryStream.read(self, timeout)

    near.__class__ = Slow
    async with serving(meter, far), open_session(near, endpoint(with_dlms(max_pdu=1024)), context()):
        pass

    assert slow[0] == pytest.approx(0.1 + 0.1 + (8 + 31 + 1024 + 8) * 10 / 300, abs=0.5)


# -- what is refused before a byte is sent


@pytest.mark.parametrize(
    ("meter", "faults"),
    [
        (endpoint(address="one", client="x", authentication="hls9", system_title="zz"), 4),
        (endpoint(address="1/17"), 1),
        (endpoint(invocation_counter="4294967295"), 1),
        (endpoint(with_dlms(security_suite=3)), 1),
        (endpoint(replace(PROFILE, dlms=None)), 1),
    ],
)
async def test_every_fault_of_an_endpoint_is_named_at_once(meter: Endpoint, faults: int) -> None:
    near, far = null_modem()

    with pytest.raises(ProfileError) as caught:
        async with open_session(near, meter, context()):
            pytest.fail("opened")

    assert len(caught.value.faults) == faults
    assert far.discard_input() == b""


async def test_hls5_without_keys_is_a_security_error_and_without_counters_nothing_is_sent() -> None:
    near, far = null_modem()
    meter = endpoint(with_dlms(client_system_title=b"HDE00001"), authentication="hls5", invocation_counter="5000")

    with pytest.raises(SecurityError, match="needs an encryption key"):
        async with open_session(near, meter, context()):
            pytest.fail("opened")
    with pytest.raises(CounterError, match=f"4844453030303031/[0-9a-f]{{16}}: {COUNTER_BLOCK} from 5000"):
        async with open_session(near, replace(meter, credentials=Credentials(b"", bytes(16), bytes(16))), context()):
            pytest.fail("opened")

    assert far.discard_input() == b""


async def test_no_load_profile_declared_is_a_profile_error_and_an_empty_window_is_empty() -> None:
    async with session(Meter(), with_dlms(load_profile=None)) as opened:
        with pytest.raises(ProfileError, match="load_profile"):
            await opened.read_load_profile(DAY, DAY + 1)
    async with session(Meter()) as opened:
        assert await opened.read_load_profile(DAY, DAY) == []
        assert INTERVALS in {channel.obis for channel in PROFILE.channels}
