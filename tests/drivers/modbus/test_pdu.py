"""Protocol data units and the checks of a reply."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.modbus.pdu import (
    REGISTER_READS,
    ExceptionCode,
    ExceptionResponse,
    Function,
    ReadRequest,
    ReadResponse,
    RequestFault,
    decode_request,
    decode_response,
)

REQUEST = ReadRequest(Function.READ_HOLDING_REGISTERS, 107, 3)


@given(st.sampled_from(sorted(REGISTER_READS)), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125))
def test_request_and_answer_survive_the_wire(function: Any, registers: Any) -> None:
    request = ReadRequest(function, 5, len(registers))

    assert decode_request(request.encode()) == request
    assert decode_response(ReadResponse(function, tuple(registers)).encode(), request) == ReadResponse(
        function, tuple(registers)
    )


@pytest.mark.parametrize(
    "pdu",
    [
        b"",
        b"\x03",
        b"\x04\x06" + bytes(6),
        b"\x03\x04" + bytes(4),
        b"\x03\x06" + bytes(5),
        b"\x03\x06" + bytes(7),
        b"\x83",
        b"\x83\x02\x00",
        b"\x84\x02",
    ],
    ids=bytes.hex,
)
def test_wrong_answer_is_a_protocol_error(pdu: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_response(pdu, REQUEST)


def test_exception_is_an_answer() -> None:
    assert decode_response(b"\x83\x06", REQUEST) == ExceptionResponse(3, ExceptionCode.SERVER_DEVICE_BUSY)


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (bytes((43, 14, 1, 0)), bytes((0xAB, 1))),
        (bytes((3, 0, 0, 0)), bytes((0x83, 3))),
        (bytes((3, 0, 0, 0, 0)), bytes((0x83, 3))),
        (bytes((3, 0, 0, 0, 126)), bytes((0x83, 3))),
        (bytes((4, 0xFF, 0xFF, 0, 2)), bytes((0x84, 2))),
    ],
    ids=["function", "short", "no registers", "too many", "past the end"],
)
def test_server_answers_a_bad_request_with_the_exception_due(pdu: Any, answer: Any) -> None:
    with pytest.raises(RequestFault) as caught:
        decode_request(pdu)

    assert caught.value.response.encode() == answer


@pytest.mark.parametrize(("address", "count"), [(0, 0), (0, 126), (-1, 1), (65535, 2)])
def test_asking_for_what_cannot_be_encoded_is_our_bug(address: Any, count: Any) -> None:
    with pytest.raises(LocalProtocolError):
        ReadRequest(Function.READ_HOLDING_REGISTERS, address, count)
