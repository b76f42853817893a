"""A load profile in file records, laid out by hand."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import ReadsLoadProfile
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError
from drivers.facts import IntervalBlock
from drivers.modbus.driver import open_session
from drivers.modbus.functions import FileRecords, ReadFile, decode_any_request
from drivers.modbus.pdu import ExceptionResponse
from drivers.modbus.records import requests, rows_of, starts
from drivers.modbus.rtu import RtuFrame
from drivers.obis import CATALOGUE
from drivers.profile import ModbusLoadProfile, ModbusPoint
from drivers.profile_parser import parse_profile
from drivers.units import ScalerUnit, Unit
from headend.profiles import load_documents
from kernels.quality import Rule
from tests.drivers.modbus.fixtures import context, endpoint, far_end

QUARTER = 900
START = 1_700_000_100 // QUARTER * QUARTER
IMPORT = CATALOGUE["active_energy_import_interval"].obis
LAYOUT: dict[str, Any] = {
    "file": 4, "record": 10, "rows": 50, "width": 4, "period": QUARTER,
    "columns": [{"obis": "active_energy_import_interval", "address": 3, "type": "uint16", "unit": "Wh", "scaler": 0,
                 "absent": [0xFFFF]}],
}  # fmt: skip


def model(**changes: Any) -> Any:
    documents, _ = load_documents()
    channel = {
        "obis": "active_energy_import_interval", "period": QUARTER, "unit": "Wh", "scaler": 0, "origin": "load_profile",
    }  # fmt: skip
    profile = {
        "inherits": "modbus-base", "source": "by hand", "maker": "ACM", "model": "M", "channels": [channel],
        "modbus": {"parity": "gateway", "load_profile": LAYOUT | changes},
    }  # fmt: skip
    return parse_profile("recorder", {**documents, "recorder": profile})


def meter(rows: dict[int, tuple[int, int]], size: int = 50) -> Any:
    """A ring of rows, from place to stamp [s UTC] and count; the rest was never written."""
    held = [0] * (10 + size * 4)
    for place, (stamp, count) in rows.items():
        held[10 + 4 * place : 14 + 4 * place] = [stamp >> 16, stamp & 0xFFFF, 0xABCD, count]

    async def respond(data: Any, stream: Any) -> None:
        request = decode_any_request(data[1:-2])
        assert isinstance(request, ReadFile)
        (one,) = request.groups
        pdu = (
            FileRecords((tuple(held[one.record : one.record + one.length]),)).encode()
            if one.file == 4
            else ExceptionResponse(20, 2).encode()
        )
        await stream.write(RtuFrame(17, pdu).encode())

    return respond


async def read(respond: Any, start: int, end: int, profile: Any = None) -> Any:
    async with (
        far_end(respond) as stream,
        open_session(stream, endpoint(profile or model()), context()) as session,
    ):
        assert isinstance(session, ReadsLoadProfile)
        return await session.read_load_profile(start, end)


async def test_rows_of_a_ring_come_in_order_and_a_row_that_is_not_there_is_none() -> None:
    ring = meter({0: (START + 4 * QUARTER, 14), 48: (START + QUARTER, 11), 49: (START + 2 * QUARTER, 0xFFFF)})

    (block,) = await read(ring, START, START + 4 * QUARTER)

    assert (block.obis, block.start, block.period) == (IMPORT, START, QUARTER)
    assert block.counts == (11, None, None, 14)
    assert not block.rules


async def test_a_window_is_clipped_to_the_grid() -> None:
    ring = meter({at: (START + (at + 1) * QUARTER, at) for at in range(8)})

    (block,) = await read(ring, START + 1, START + 4 * QUARTER - 1)

    assert (block.start, block.counts) == (START + QUARTER, (1, 2))


async def test_without_parity_every_interval_says_so() -> None:
    ring = meter({0: (START + QUARTER, 5)})

    async with (
        far_end(ring) as stream,
        open_session(stream, endpoint(model(), parity="line"), context()) as session,
    ):
        assert isinstance(session, ReadsLoadProfile)
        (block,) = await session.read_load_profile(START, START + 2 * QUARTER)

    assert isinstance(block, IntervalBlock)
    assert block.rules == tuple(Rule(0) if count is None else Rule.UNPROTECTED for count in block.counts)
    assert 5 in block.counts


def without_parity() -> Any:
    recorder = model(rows=25)  # in one record
    return replace(recorder, modbus=replace(recorder.modbus, parity="hidden"))


async def test_without_parity_a_record_is_read_until_two_readings_agree() -> None:
    asked = 0
    right, wrong = ({0: (START + QUARTER, count)} for count in (5, 500))

    async def respond(data: Any, stream: Any) -> None:
        nonlocal asked
        asked += 1
        await meter(wrong if asked == 2 else right)(data, stream)

    (block,) = await read(respond, START, START + QUARTER, without_parity())

    assert (block.counts, asked) == ((5,), 3)


async def test_without_parity_records_that_never_agree_are_an_error() -> None:
    counts = iter(range(100))

    async def respond(data: Any, stream: Any) -> None:
        await meter({0: (START + QUARTER, next(counts))})(data, stream)

    with pytest.raises(RemoteProtocolError, match="no two agree"):
        await read(respond, START, START + QUARTER, without_parity())


async def test_a_file_that_is_not_there_is_a_refusal() -> None:
    with pytest.raises(MeterRefused, match="file 5, record 10"):
        await read(meter({}), START, START + QUARTER, model(file=5))


def test_rows_that_contradict_each_other_are_an_error() -> None:
    layout = model().modbus.load_profile
    stamp = START + QUARTER
    row = (stamp >> 16, stamp & 0xFFFF, 0, 1)

    assert starts(layout, [row, row], "end") == {START: row}
    with pytest.raises(RemoteProtocolError, match="differ"):
        starts(layout, [row, (*row[:3], 2)], "end")


COLUMN = ModbusPoint(IMPORT, 2, "uint16", ScalerUnit(0, Unit.WATT_HOUR))


@given(st.integers(3, 121), st.integers(1, 60), st.integers(0, 500))
def test_every_row_is_asked_for_once_and_whole(width: int, rows: int, record: int) -> None:
    layout = ModbusLoadProfile(4, rows, width, QUARTER, (COLUMN,), record)

    asked = [one for request in requests(layout) for one in request.groups]

    places = [place for one in asked for place in range(one.record, one.record + one.length)]
    assert places == list(range(record, record + rows * width))
    assert all(one.length % width == 0 for one in asked)
    assert sum(len(list(rows_of(layout, range(one.length)))) for one in asked) == rows


@given(st.lists(st.tuples(*[st.integers(0, 0xFFFF)] * 4), max_size=20))
def test_any_rows_are_taken_or_an_error(rows: Any) -> None:
    try:
        found = starts(model_layout, rows, "end")
    except RemoteProtocolError:
        return
    assert all(start % QUARTER == 0 for start in found)


model_layout = ModbusLoadProfile(4, 50, 4, QUARTER, (COLUMN,))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 3000}, "end beyond record 9999"),
        ({"period": 1000}, "does not divide a day"),
        ({"period": 1800}, "has 1800 s"),
        ({"time": 3}, "takes two registers"),
        ({"time": 2}, "or in its time"),
        ({"width": 3}, "beyond the row"),
        ({"columns": []}, "is in no column"),
        ({"rows": 0}, "not 1 to 10000"),
    ],
)
def test_a_layout_that_cannot_be_read_is_refused(changes: Any, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        model(**changes)
