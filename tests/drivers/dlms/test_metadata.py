"""What meters of one kind have in common is asked once; what a meter says otherwise is never read by it."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Endpoint, SessionContext
from drivers.counters import NoCounters
from drivers.dlms import axdr, objects, xdlms
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.basenames import BaseNames
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.metadata import MAX_AGE, MAX_KINDS, Metadata, decode_kinds, decode_metadata, encode_kinds, kind_of
from drivers.dlms.objects import CaptureObject
from drivers.dlms.xdlms import Attribute, Selection
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError
from drivers.facts import IntervalBlock, MeterIdentity
from drivers.metadata import MemoryMetadata
from drivers.obis import Obis
from drivers.profile import DlmsColumn, MetadataScope, MeterProfile
from drivers.transports import null_modem
from tests.drivers.dlms.meter import (
    DAY,
    INTERVALS,
    PERIOD,
    PROFILE,
    REGISTER,
    TEN_WATT_HOURS,
    WATT_HOUR,
    Meter,
    rows_of,
    serving,
)

FIRMWARE = Obis.parse("1-0:0.2.0*255")
assert PROFILE.dlms is not None
MODEL = replace(PROFILE, dlms=replace(PROFILE.dlms, firmware=FIRMWARE))


def meter_of(firmware: str = "1.0", name: str = "TST0000000000001", **changes: Any) -> Meter:
    values = {
        f"1/{FIRMWARE}/2": axdr.octet_string(firmware.encode()),
        "1/0-0:42.0.0*255/2": axdr.octet_string(name.encode()),
        **changes.pop("values", {}),
    }
    return Meter(values=values, **changes)


def asked(meter: Meter) -> Counter[str]:
    """Count what was asked, by class and attribute."""
    requests = [xdlms.decode(apdu) for apdu in meter.received if apdu[0] == xdlms.GET_REQUEST]
    return Counter(
        f"{one.attribute.class_id}/{one.attribute.index}" for one in requests if isinstance(one, xdlms.GetRequest)
    )


@asynccontextmanager
async def session(
    meter: Meter, cache: MemoryMetadata, profile: MeterProfile = MODEL, now: int = DAY
) -> AsyncIterator[DlmsSession]:
    near, far = null_modem()
    context = SessionContext(lambda: now, bytes, NoCounters(), metadata=cache)
    async with serving(meter, far), open_session(near, Endpoint("meter-1", "1", profile), context) as opened:
        yield opened


async def day_of(
    meter: Meter, cache: MemoryMetadata, profile: MeterProfile = MODEL, now: int = DAY
) -> list[int | None]:
    meter.received.clear()
    async with session(meter, cache, profile, now) as opened:
        (block,) = await opened.read_load_profile(DAY, DAY + 86_400)
    assert isinstance(block, IntervalBlock)
    return list(block.counts)


ONLY_ROWS = Counter({"1/2": 2, "7/2": 1})  # logical device name and firmware, then the buffer
FIRST = ONLY_ROWS + Counter({"7/3": 1, "7/4": 1, "3/3": 1})
TRUTH = list(range(1, 49))


async def test_the_second_session_transfers_no_metadata() -> None:
    cache, meter = MemoryMetadata(), meter_of()

    assert await day_of(meter, cache) == TRUTH
    first = asked(meter)
    assert await day_of(meter, cache) == TRUTH

    assert (first, asked(meter)) == (FIRST, ONLY_ROWS)


async def test_nor_does_the_first_one_with_another_meter_of_that_model_and_firmware() -> None:
    cache, other = MemoryMetadata(), meter_of(name="TST0000000000002", rows=rows_of([7] * 48))

    await day_of(meter_of(), cache)

    assert await day_of(other, cache) == [7] * 48
    assert asked(other) == ONLY_ROWS


@pytest.mark.parametrize(
    ("other", "scope"),
    [
        pytest.param(meter_of("1.1"), "model", id="other firmware"),
        pytest.param(meter_of(name="XYZ0000000000001"), "model", id="other maker"),
        pytest.param(meter_of(name="TST0000000000002"), "meter", id="each meter for itself"),
        pytest.param(meter_of(), "session", id="each session for itself"),
    ],
)
async def test_what_is_no_meter_of_that_kind_is_asked(other: Meter, scope: MetadataScope) -> None:
    cache = MemoryMetadata()
    assert MODEL.dlms is not None
    profile = replace(MODEL, dlms=replace(MODEL.dlms, metadata=scope))

    await day_of(meter_of(), cache, profile)
    await day_of(other, cache, profile)

    assert asked(other) == FIRST


async def test_without_a_firmware_object_nothing_is_shared_between_meters() -> None:
    cache, other = MemoryMetadata(), meter_of(name="TST0000000000002")

    await day_of(meter_of(), cache, PROFILE)
    await day_of(other, cache, PROFILE)
    first = asked(other)
    await day_of(other, cache, PROFILE)

    assert first["3/3"] == 1
    assert asked(other) == Counter({"1/2": 1, "7/2": 1})


async def test_a_session_that_has_read_the_identity_asks_for_it_no_more() -> None:
    cache, meter = MemoryMetadata(), meter_of()
    await day_of(meter, cache)
    meter.received.clear()

    async with session(meter, cache) as opened:
        await opened.read_identity()
        await opened.read_load_profile(DAY, DAY + 86_400)

    assert asked(meter) == ONLY_ROWS


async def test_scalers_of_registers_are_remembered_too() -> None:
    cache, meter = MemoryMetadata(), meter_of()
    readings = []

    for _ in range(2):
        meter.received.clear()
        async with session(meter, cache) as opened:
            await opened.read_identity()
            readings += await opened.read_registers([REGISTER])

    assert asked(meter) == Counter({"1/2": 2, "3/2": 1})
    assert [(one.count, one.scaler_unit) for one in readings] == [(1234, TEN_WATT_HOURS)] * 2


class Otherwise(Meter):
    """A meter that captures other things than its kind is known for."""

    columns: Sequence[CaptureObject] = ()
    tags: Sequence[Tag] = ()

    def profile(self, index: int, selection: Selection | None) -> Data | int:
        if index == 3:
            return axdr.array([one.encode() for one in self.columns])
        found = super().profile(index, selection)
        if index != 2 or not isinstance(found, Data):
            return found
        return axdr.array([self.row(*row.items()) for row in found.items()])

    def row(self, at: Data, count: Data) -> Data:
        return axdr.structure(at, *[Data(tag, count.value) for tag in self.tags])


CLOCK, ENERGY = CaptureObject(8, Obis(0, 0, 1, 0, 0), 2), CaptureObject(3, INTERVALS, 2)
OTHER = CaptureObject(3, REGISTER, 2)


@pytest.mark.parametrize(
    ("columns", "tags"),
    [
        pytest.param((CLOCK, OTHER, ENERGY), (Tag.LONG_UNSIGNED,) * 2, id="one more column"),
        pytest.param((CLOCK, ENERGY), (Tag.DOUBLE_LONG_UNSIGNED,), id="another type"),
    ],
)
async def test_rows_that_do_not_fit_what_is_known_are_read_once_more_by_what_the_meter_says(
    columns: Sequence[CaptureObject], tags: Sequence[Tag], caplog: pytest.LogCaptureFixture
) -> None:
    cache, other = MemoryMetadata(), Otherwise(values=meter_of().values)
    other.columns, other.tags = columns, tags
    await day_of(meter_of(), cache)

    with caplog.at_level(logging.WARNING):
        first = await day_of(other, cache)

    assert first == TRUTH
    assert asked(other) == FIRST + Counter({"7/2": 1})
    assert "not what its kind was known for" in caplog.text
    assert await day_of(other, cache) == TRUTH
    assert asked(other) == ONLY_ROWS


async def test_a_meter_that_is_wrong_by_its_own_words_too_is_an_error_and_leaves_nothing_behind() -> None:
    cache, other = MemoryMetadata(), Otherwise(values=meter_of().values)
    other.columns, other.tags = (CLOCK, ENERGY), (Tag.LONG_UNSIGNED,) * 2
    await day_of(meter_of(), cache)

    with pytest.raises(RemoteProtocolError, match="row of 3 values"):
        await day_of(other, cache)
    meter = meter_of()
    await day_of(meter, cache)

    assert asked(meter) == FIRST


async def test_a_scaler_read_in_the_session_that_is_not_the_known_one_discards_what_is_known() -> None:
    cache = MemoryMetadata()
    profile = replace(MODEL, registers=(INTERVALS,))
    other = meter_of(
        values={
            f"3/{INTERVALS}/2": axdr.long_unsigned(5),
            f"3/{INTERVALS}/3": objects.encode_scaler_unit(TEN_WATT_HOURS),
        }
    )
    await day_of(meter_of(), cache, profile)

    async with session(other, cache, profile) as opened:
        await opened.read_registers([INTERVALS])
        (block,) = await opened.read_load_profile(DAY, DAY + 86_400)

    assert isinstance(block, IntervalBlock)
    assert list(block.counts) == [10 * count for count in TRUTH]


async def test_what_is_known_is_asked_again_after_a_month() -> None:
    cache, meter = MemoryMetadata(), meter_of()

    await day_of(meter, cache)
    await day_of(meter, cache, now=DAY + MAX_AGE - 1)
    before = asked(meter)
    await day_of(meter, cache, now=DAY + MAX_AGE)

    assert (before, asked(meter)) == (ONLY_ROWS, FIRST)


@pytest.mark.parametrize("is_mute", [False, True])
async def test_the_next_session_begins_with_the_way_of_reading_that_worked(*, is_mute: bool) -> None:
    cache, meter = MemoryMetadata(), meter_of(takes=frozenset({"entry"}), is_mute=is_mute)

    await day_of(meter, cache)
    first = set(meter.asked)
    meter.asked.clear()

    assert await day_of(meter, cache) == TRUTH
    assert (first, set(meter.asked)) == ({"range", "entry"}, {"entry"})


async def test_a_way_that_gave_rows_before_is_believed_when_it_gives_none() -> None:
    cache, meter = MemoryMetadata(), meter_of()
    await day_of(meter, cache)
    meter.rows.clear()
    meter.asked.clear()

    assert await day_of(meter, cache) == [None] * 48
    assert meter.asked == ["range"]


async def test_a_meter_that_refuses_all_it_took_before_is_asked_anew() -> None:
    cache, meter = MemoryMetadata(), meter_of(takes=frozenset({"entry"}))
    await day_of(meter, cache)
    meter.takes = frozenset({"range"})

    assert await day_of(meter, cache) == TRUTH

    meter.takes = frozenset()
    with pytest.raises(MeterRefused):
        await day_of(meter, cache)


# -- columns


@pytest.fixture
def wide() -> tuple[Otherwise, MeterProfile]:
    """A meter of four columns, of which one is wanted."""
    meter = Otherwise(values=meter_of().values)
    meter.columns, meter.tags = (CLOCK, OTHER, ENERGY, OTHER), (Tag.LONG_UNSIGNED,) * 3
    assert MODEL.dlms is not None
    return meter, replace(MODEL, dlms=replace(MODEL.dlms, selective_access=("columns", "range", "entry")))


class Selecting(Otherwise):
    """``does``: what it makes of columns that are asked for."""

    does = "give"
    chosen = 0

    def buffer(self, selection: Selection | None) -> Data | int:
        self.chosen = len(selection.parameters.items()[3].items()) if selection and selection.selector == 1 else 0
        if self.chosen and self.does == "refuse":
            return xdlms.DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
        return axdr.array([]) if self.chosen and self.does == "empty" else super().buffer(selection)

    def row(self, at: Data, count: Data) -> Data:
        whole = super().row(at, count)
        return axdr.structure(*whole.items()[: self.chosen]) if self.chosen and self.does == "give" else whole


@pytest.mark.parametrize(
    ("does", "buffers_at_first", "ways"),
    [("give", 1, 2), ("overlook", 1, 4), ("refuse", 2, 4), ("empty", 2, 4)],
)
async def test_only_the_wanted_columns_are_asked_where_the_meter_gives_them(
    does: str, buffers_at_first: int, ways: int, wide: tuple[Otherwise, MeterProfile]
) -> None:
    cache, meter = MemoryMetadata(), Selecting(values=wide[0].values)
    meter.columns, meter.tags, meter.does = wide[0].columns, wide[0].tags, does

    assert await day_of(meter, cache, wide[1]) == TRUTH
    first = asked(meter)["7/2"]
    assert await day_of(meter, cache, wide[1]) == TRUTH

    assert (first, asked(meter)) == (buffers_at_first, ONLY_ROWS)
    assert (meter.chosen or 4) == ways


# -- the entry itself


KNOWN = Metadata(
    DAY, (CLOCK, ENERGY), PERIOD, 1, {Attribute(3, INTERVALS, 3): WATT_HOUR},
    (frozenset({9}), frozenset({18})), {"entry"}, {"range"},
)  # fmt: skip


def test_an_entry_is_read_as_it_was_written() -> None:
    assert decode_metadata(KNOWN.encode(), DAY) == replace(KNOWN, is_recalled=True)


@given(st.integers(0, 8 * len(KNOWN.encode()) - 1))
def test_an_entry_with_a_bit_flipped_is_none(at: int) -> None:
    octets = bytearray(KNOWN.encode())
    octets[at // 8] ^= 1 << at % 8

    assert decode_metadata(bytes(octets), DAY) is None


@given(st.binary(max_size=64))
def test_octets_of_nobody_are_no_entry(octets: bytes) -> None:
    assert decode_metadata(octets, DAY) is None


def test_an_entry_of_the_future_is_none() -> None:
    assert decode_metadata(KNOWN.encode(), DAY - 1) is None


def test_short_names_are_part_of_an_entry() -> None:
    known = replace(KNOWN, names=BaseNames({(3, INTERVALS): 0x0100, (7, INTERVALS): 0xFFF8}))

    found = decode_metadata(known.encode(), DAY)

    assert found is not None
    assert found.names is not None
    assert known.names is not None
    assert found.names.bases == known.names.bases


def test_the_kinds_whose_names_are_tried_are_few_and_damage_is_none() -> None:
    kinds = [f"kind {number}" for number in range(9)]
    octets = encode_kinds(kinds)

    assert decode_kinds(octets) == kinds[:MAX_KINDS]
    assert [decode_kinds(other) for other in (None, b"", octets[:-1], KNOWN.encode(), octets + b" ")] == [[]] * 5


def test_a_name_beyond_measure_makes_no_kind() -> None:
    assert MODEL.dlms is not None
    identity = MeterIdentity("TST1", "TST", firmware="x" * 1_000)

    assert not kind_of(MODEL, MODEL.dlms, identity, None, is_shared=True)


async def test_the_memory_of_kinds_is_bounded() -> None:
    cache = MemoryMetadata(2)

    for kind in "abc":
        await cache.keep(kind, kind.encode())

    assert [await cache.load(kind) for kind in "abc"] == [None, b"b", b"c"]


async def test_a_declared_column_that_no_meter_of_the_kind_had_is_looked_for_in_the_meter() -> None:
    cache, meter = MemoryMetadata(), meter_of()
    await day_of(meter, cache)
    assert MODEL.dlms is not None
    columns = (*MODEL.dlms.columns, DlmsColumn(REGISTER, REGISTER, cumulative=True))

    with pytest.raises(ProfileError, match="is not captured by the meter"):
        await day_of(meter, cache, replace(MODEL, dlms=replace(MODEL.dlms, columns=columns)))

    assert asked(meter)["7/3"] == 1
