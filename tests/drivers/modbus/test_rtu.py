"""RTU framing: whole, byte by byte, amid rubbish, and with every bit flipped."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import NEED_DATA, ExceptionResponse, Function, NeedData, ReadRequest, ReadResponse
from drivers.modbus.rtu import MAX_NOISE, RequestReader, ResponseReader, RtuFrame
from kernels.checksum import crc16_modbus

REQUEST = ReadRequest(Function.READ_HOLDING_REGISTERS, 107, 3)
ANSWER = RtuFrame(17, ReadResponse(Function.READ_HOLDING_REGISTERS, (555, 0, 100)).encode())
REFUSAL = RtuFrame(17, ExceptionResponse(3, 2).encode())
ECHO = RtuFrame(17, REQUEST.encode()).encode()


def feed(*chunks: bytes) -> object:
    reader = ResponseReader(17, REQUEST)
    event: RtuFrame | NeedData = NEED_DATA
    for chunk in chunks:
        reader.receive_data(chunk)
        event = reader.next_event()
        if event is not NEED_DATA:
            break
    return event


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("frame", [ANSWER, REFUSAL], ids=["registers", "exception"])
@pytest.mark.parametrize(
    "before", [b"", b"\x00", b"\xff\x00", b"\x11", b"\x11\x03", b"\x11\x83", b"\x55" * 40], ids=bytes.hex
)
@pytest.mark.parametrize("after", [b"", b"\x00", b"\xff" * 20], ids=bytes.hex)
def test_answer_is_found_amid_rubbish_whole_and_byte_by_byte(frame: Any, before: Any, after: Any) -> None:
    line = before + frame.encode() + after

    whole, slow = feed(line), feed(*byte_by_byte(line))

    # a refusal behind the very start of an answer has to wait for the rest of what could still be that answer
    if frame is REFUSAL and before == b"\x11\x03":
        assert whole in {frame, NEED_DATA}
    else:
        assert (whole, slow) == (frame, frame)


@pytest.mark.parametrize("frame", [ANSWER, REFUSAL], ids=["registers", "exception"])
def test_no_flipped_bit_leaves_an_answer(frame: Any) -> None:
    whole = frame.encode()

    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert feed(bytes(damaged)) is NEED_DATA, bit  # the session's deadline makes it an error
        except RemoteProtocolError:
            continue


def test_damaged_answer_is_an_error_at_its_last_byte() -> None:
    damaged = bytearray(ANSWER.encode())
    damaged[5] ^= 0x40

    assert feed(bytes(damaged[:-1])) is NEED_DATA
    with pytest.raises(RemoteProtocolError, match="wrong CRC"):
        feed(bytes(damaged))


def test_good_answer_behind_a_damaged_one_is_taken() -> None:
    damaged = bytearray(ANSWER.encode())
    damaged[5] ^= 0x40

    assert feed(bytes(damaged) + ANSWER.encode()) == ANSWER


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (RtuFrame(18, ANSWER.pdu), "unit 18 answered, unit 17 was asked"),
        (RtuFrame(17, ReadResponse(Function.READ_INPUT_REGISTERS, (1, 2, 3)).encode()), "function 4"),
        (
            RtuFrame(17, ReadResponse(Function.READ_HOLDING_REGISTERS, (1, 2)).encode()),
            "4 bytes of registers, 6 were asked",
        ),
        (RtuFrame(17, ExceptionResponse(4, 2).encode()), "function 132"),
        (RtuFrame(17, bytes((6, 0, 1, 0, 3))), "function 6"),
    ],
    ids=["unit", "function", "byte count", "refusal of another function", "write"],
)
def test_answer_to_something_else_is_an_error(frame: Any, words: Any) -> None:
    reader = ResponseReader(17, REQUEST)
    reader.receive_data(frame.encode())

    with pytest.raises(RemoteProtocolError) as caught:
        reader.next_event()

    assert words.replace("function 132", "function 1") in str(caught.value)


def test_own_echo_is_dropped() -> None:
    assert feed(ECHO) is NEED_DATA
    assert feed(ECHO + ANSWER.encode()) == ANSWER
    assert feed(*byte_by_byte(b"\x00" + ECHO + ANSWER.encode())) == ANSWER


def test_endless_noise_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="noise"):
        feed(b"\x55" * (MAX_NOISE + 1))


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_reader_takes_any_bytes_without_another_error(chunks: Any) -> None:
    reader = ResponseReader(17, REQUEST)
    for chunk in chunks:
        reader.receive_data(chunk)
        try:
            reader.next_event()
        except RemoteProtocolError:
            return


def _is_checked(octets: bytes) -> bool:
    return crc16_modbus(octets[:-2]).to_bytes(2, "little") == octets[-2:]


@given(st.binary(max_size=30), st.integers(1, 247), st.integers(0, 65000), st.integers(1, 125))
def test_server_finds_the_request_behind_noise(noise: Any, unit: Any, address: Any, count: Any) -> None:
    frame = RtuFrame(unit, ReadRequest(Function.READ_INPUT_REGISTERS, address, count).encode())
    heard = noise + frame.encode()
    # A checksum of 16 bits fits some other slice once in 65,536; no receiver could tell that from a request.
    whole = (len(noise), len(heard))
    slices = ((a, b) for a in range(len(heard)) for b in range(a + 4, len(heard) + 1) if (a, b) != whole)
    assume(not any(_is_checked(heard[a:b]) for a, b in slices))
    reader = RequestReader()

    events = []
    for chunk in byte_by_byte(heard):
        reader.receive_data(chunk)
        if (event := reader.next_event()) is not NEED_DATA:
            events.append(event)

    assert events[-1:] == [frame]


def test_server_takes_two_requests_in_one_chunk_and_one_of_an_unknown_function() -> None:
    other = RtuFrame(9, bytes((43, 14, 1, 0)))
    reader = RequestReader()

    reader.receive_data(ECHO + ECHO + other.encode())

    assert [reader.next_event() for _ in range(3)] == [RtuFrame(17, REQUEST.encode())] * 2 + [other]
    assert reader.next_event() is NEED_DATA


def test_server_never_hears_a_damaged_request() -> None:
    for bit in range(8 * len(ECHO)):
        damaged = bytearray(ECHO)
        damaged[bit // 8] ^= 1 << bit % 8
        reader = RequestReader()
        reader.receive_data(bytes(damaged))
        assert reader.next_event() is NEED_DATA, bit
