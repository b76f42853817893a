"""Published frames and values, each in tests/data/modbus with its origin."""

import tomllib
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import RemoteProtocolError
from drivers.modbus.mbap import MbapReader
from drivers.modbus.pdu import (
    NEED_DATA,
    ExceptionResponse,
    Function,
    ReadRequest,
    ReadResponse,
    decode_request,
    decode_response,
)
from drivers.modbus.rtu import RequestReader, ResponseReader, RtuFrame
from drivers.modbus.values import decode_point
from drivers.obis import Obis
from drivers.profile import ModbusPoint
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.shared import REPOSITORY

CASES = sorted(path.parent for path in (REPOSITORY / "tests" / "data" / "modbus").glob("*/frame.hex"))


def load(case: Path) -> tuple[bytes, dict[str, Any]]:
    return bytes.fromhex((case / "frame.hex").read_text()), tomllib.loads((case / "expected.toml").read_text())


def check_rtu(frame: bytes, expect: dict[str, Any]) -> None:
    if "exception" in expect:
        asked = ReadRequest(Function(expect["fc"]), 0, 1)
        response = only_event(ResponseReader(expect["unit"], asked), frame)
        assert response.unit == expect["unit"]
        assert decode_response(response.pdu, asked) == ExceptionResponse(expect["fc"], expect["exception"])
    else:
        event = only_event(RequestReader(), frame)
        request = ReadRequest(Function(expect["fc"]), expect["address"], expect["count"])
        assert (event.unit, decode_request(event.pdu)) == (expect["unit"], request)
        assert RtuFrame(expect["unit"], request.encode()).encode() == frame


def only_event(reader: Any, frame: bytes) -> Any:
    reader.receive_data(frame)
    return reader.next_event()


def check_tcp(frame: bytes, expect: dict[str, Any]) -> None:
    registers = tuple(expect["registers"])
    event = only_event(MbapReader(), frame)
    answer = decode_response(event.pdu, ReadRequest(Function(3), 0x6B, len(registers)))
    assert (event.transaction, event.unit) == (expect["tid"], expect["unit"])
    assert answer == ReadResponse(Function(3), registers)
    assert event.encode() == frame


def check_value(frame: bytes, expect: dict[str, Any]) -> None:
    registers = [int.from_bytes(frame[i : i + 2]) for i in range(0, len(frame), 2)]
    scaler_unit = ScalerUnit(-1, Unit.WATT_HOUR)
    point = ModbusPoint(Obis(1, 0, 1, 8, 0), 0, "float32", scaler_unit, word_order=expect["order"])
    count, rules = decode_point(point, registers)
    assert scaler_unit.to_decimal(count) == Decimal(expect["value"])
    assert rules == Rule(0)


CHECKS = {"modbus-rtu": check_rtu, "modbus-tcp": check_tcp, "modbus-value": check_value}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_published_frame_decodes_to_the_published_answer(case: Any) -> None:
    frame, expected = load(case)

    CHECKS[expected["protocol"]](frame, expected["expect"])


READERS: dict[str, Any] = {
    "rtu-exception": lambda: ResponseReader(1, ReadRequest(Function.READ_HOLDING_REGISTERS, 0, 1)),
    "rtu-read-holding-request": RequestReader,
    "tcp-read-response": MbapReader,
}


def found(reader: Any, *chunks: bytes) -> list[Any]:
    """Everything a reader finds; a damaged frame is nothing, as its session makes an error of it."""
    events = []
    for chunk in chunks:
        reader.receive_data(chunk)
        try:
            while (event := reader.next_event()) is not NEED_DATA:
                events.append(event)
        except RemoteProtocolError:
            return events
    return events


@pytest.mark.parametrize("case", sorted(READERS))
def test_published_frame_is_the_same_byte_by_byte_and_amid_rubbish(case: str) -> None:
    frame, _ = load(REPOSITORY / "tests" / "data" / "modbus" / case)
    (whole,) = found(READERS[case](), frame)
    is_line = case.startswith("rtu")

    assert found(READERS[case](), *(bytes((octet,)) for octet in frame)) == [whole]
    assert found(READERS[case](), frame + b"\x00\xff")[0] == whole
    # Modbus TCP has nothing to find a frame by again: rubbish before it is an error, never a frame.
    assert found(READERS[case](), b"\xff\x00" + frame) == ([whole] if is_line else [])


@pytest.mark.parametrize("case", [name for name in sorted(READERS) if name.startswith("rtu")])
def test_each_flipped_bit_of_a_published_frame_leaves_nothing(case: str) -> None:
    frame, _ = load(REPOSITORY / "tests" / "data" / "modbus" / case)

    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not found(READERS[case](), bytes(damaged)), bit


def test_every_published_vector_is_here() -> None:
    kinds = Counter(load(case)[1]["protocol"] for case in CASES)
    vectors = {load(case)[1]["origin"]["id"] for case in CASES}

    assert kinds == {"modbus-rtu": 2, "modbus-tcp": 1, "modbus-value": 3}
    assert len(vectors) == 6
