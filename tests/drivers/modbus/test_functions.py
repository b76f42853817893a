"""Every function beside register reads, both ways: the specification's published examples, and what they must refuse."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.modbus.ascii import AsciiResponseReader, encode_frame
from drivers.modbus.functions import (
    Bits,
    DeviceObjects,
    FileRecords,
    MaskWrite,
    ReadBits,
    ReadDevice,
    ReadFile,
    ReadWrite,
    RecordRequest,
    WriteCoils,
    WriteOne,
    WriteRegisters,
    Written,
    decode_any_request,
)
from drivers.modbus.pdu import NEED_DATA, Function, ReadRequest, ReadResponse, RequestFault, decode_response
from drivers.modbus.rtu import RequestReader, ResponseReader, RtuFrame

HOLDING = Function.READ_HOLDING_REGISTERS

# MODBUS Application Protocol Specification V1.1b3, the example of each function's clause: request, its PDU, the answer's PDU
# and what it says.
EXAMPLES: list[tuple[Any, str, str, Any]] = [
    (ReadBits(Function.READ_COILS, 0x13, 19), "0100130013", "0103cd6b05",
     Bits(Function.READ_COILS, tuple(c == "1" for c in "1011001111010110101"))),
    (ReadBits(Function.READ_DISCRETE_INPUTS, 0xC4, 22), "0200c40016", "0203acdb35",
     Bits(Function.READ_DISCRETE_INPUTS, tuple(c == "1" for c in "0011010111011011101011"))),
    (ReadRequest(HOLDING, 0x6B, 3), "03006b0003", "0306022b00000064", ReadResponse(HOLDING, (0x022B, 0, 0x64))),
    (ReadRequest(Function.READ_INPUT_REGISTERS, 8, 1), "0400080001", "0402000a",
     ReadResponse(Function.READ_INPUT_REGISTERS, (10,))),
    (WriteOne(Function.WRITE_SINGLE_COIL, 0xAC, 0xFF00), "0500acff00", "0500acff00", None),
    (WriteOne(Function.WRITE_SINGLE_REGISTER, 1, 3), "0600010003", "0600010003", None),
    (WriteCoils(0x13, tuple(c == "1" for c in "1011001110")), "0f0013000a02cd01", "0f0013000a", None),
    (WriteRegisters(1, (0x0A, 0x0102)), "100001000204000a0102", "1000010002", None),
    (ReadFile((RecordRequest(4, 1, 2), RecordRequest(3, 9, 2))), "140e0600040001000206000300090002",
     "140c05060dfe0020050633cd0040", FileRecords(((0x0DFE, 0x20), (0x33CD, 0x40)))),
    (MaskWrite(4, 0xF2, 0x25), "16000400f20025", "16000400f20025", None),
    (ReadWrite(3, 6, 14, (0xFF, 0xFF, 0xFF)), "1700030006000e00030600ff00ff00ff", "170c00fe0acd00010003000d00ff",
     ReadResponse(Function.READ_WRITE_REGISTERS, (0xFE, 0x0ACD, 1, 3, 13, 0xFF))),
    (ReadDevice(1, 0), "2b0e0100", "2b0e0101000003" + "0006" + b"Widget".hex() + "0103" + b"WX1".hex() + "0205" + b"V2.11".hex(),
     DeviceObjects(1, 1, None, {0: b"Widget", 1: b"WX1", 2: b"V2.11"})),
]  # fmt: skip
CASES = [
    pytest.param(
        request, bytes.fromhex(asked), bytes.fromhex(answer), said, id=f"{request.function.name}-{index}".lower()
    )
    for index, (request, asked, answer, said) in enumerate(EXAMPLES)
]


@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_the_specifications_example_is_read_and_written_both_ways(
    request_: Any, asked: bytes, answer: bytes, said: Any
) -> None:
    expected = Written(answer) if said is None else said

    assert request_.encode() == asked
    assert decode_any_request(asked) == request_
    assert decode_response(answer, request_) == expected
    assert expected.encode() == answer


@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_the_length_of_an_answer_is_told_by_its_first_bytes(
    request_: Any, asked: bytes, answer: bytes, said: Any
) -> None:
    del asked, said
    lengths = [request_.answer_length(answer[:size]) for size in range(1, len(answer) + 1)]

    assert lengths[-1] == len(answer)
    assert all(length is not None and length <= len(answer) for length in lengths)
    assert all(length > size + 1 for size, length in enumerate(lengths[:-1]))


def readers(unit: int, request: Any) -> Any:
    """For each framing, a reader and the frame that it has to find."""
    return {
        "rtu": (lambda: ResponseReader(unit, request), lambda frame: frame.encode()),
        "ascii": (lambda: AsciiResponseReader(unit, request), encode_frame),
    }


def feed(reader: Any, *chunks: bytes) -> Any:
    found = NEED_DATA
    for chunk in chunks:
        reader.receive_data(chunk)
        if (found := reader.next_event()) is not NEED_DATA:
            return found
    return found


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_an_answer_is_found_whole_byte_by_byte_and_amid_rubbish(
    framing: Any, request_: Any, asked: bytes, answer: bytes, said: Any
) -> None:
    del asked, said
    make, encode = readers(17, request_)[framing]
    frame = RtuFrame(17, answer)
    line = encode(frame)

    assert feed(make(), line) == frame
    assert feed(make(), *(bytes((octet,)) for octet in line)) == frame
    assert feed(make(), b"\x00\xff" + line) == frame
    assert feed(make(), line + b"\x00\xff\x55") == frame


@pytest.mark.parametrize("framing", ["rtu", "ascii"])
@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_each_flipped_bit_of_an_answer_leaves_none(
    framing: Any, request_: Any, asked: bytes, answer: bytes, said: Any
) -> None:
    del asked, said
    make, encode = readers(17, request_)[framing]
    line = encode(RtuFrame(17, answer))

    for bit in range(8 * len(line)):
        damaged = bytearray(line)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert feed(make(), bytes(damaged)) is NEED_DATA, bit  # the session's deadline makes it an error
        except RemoteProtocolError:
            continue


@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_each_flipped_bit_of_an_answers_head_is_an_error_where_it_changes_what_was_asked_for(
    request_: Any, asked: bytes, answer: bytes, said: Any
) -> None:
    """Function, and byte count or address: the first two bytes of any answer say what it is an answer to."""
    del asked, said
    for bit in range(16):
        damaged = bytearray(answer)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            decode_response(bytes(damaged), request_)


@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_an_answer_cut_or_followed_by_more_is_an_error(request_: Any, asked: bytes, answer: bytes, said: Any) -> None:
    del asked, said
    for wrong in [answer + b"\0", *(answer[:size] for size in range(len(answer)))]:
        with pytest.raises(RemoteProtocolError):
            decode_response(wrong, request_)


@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_a_server_finds_every_request_amid_noise(request_: Any, asked: bytes, answer: bytes, said: Any) -> None:
    del answer, said
    frame = RtuFrame(9, request_.encode())
    reader = RequestReader()

    reader.receive_data(b"\x00" + frame.encode())

    assert reader.next_event() == frame
    assert frame.pdu == asked


@pytest.mark.parametrize(("request_", "asked", "answer", "said"), CASES)
def test_a_cut_request_is_refused_with_an_exception(request_: Any, asked: bytes, answer: bytes, said: Any) -> None:
    del answer, said
    for size in range(1, len(asked)):
        with pytest.raises(RequestFault) as caught:
            decode_any_request(asked[:size])
        assert caught.value.response.function == request_.function


@given(st.binary(min_size=1, max_size=40))
def test_a_server_reads_any_bytes_as_a_request_or_a_refusal(pdu: bytes) -> None:
    try:
        request = decode_any_request(pdu)
    except RequestFault as refusal:
        answer = refusal.response.encode()
    else:
        answer = request.encode()

    assert answer[0] | 0x80 == pdu[0] | 0x80
    assert answer == pdu or len(answer) == 2 or pdu[0] == Function.WRITE_MULTIPLE_COILS  # spare bits are not kept


@given(st.sampled_from([one[0] for one in EXAMPLES]), st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_an_error(request_: Any, pdu: bytes) -> None:
    try:
        decode_response(bytes((request_.function,)) + pdu, request_)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReadBits(Function.READ_COILS, 0, 2001),
        lambda: ReadBits(HOLDING, 0, 1),
        lambda: ReadRequest(Function.READ_COILS, 0, 1),
        lambda: WriteOne(Function.WRITE_SINGLE_COIL, 0, 1),
        lambda: WriteOne(Function.WRITE_SINGLE_REGISTER, 0, 0x10000),
        lambda: WriteOne(HOLDING, 0, 1),
        lambda: WriteCoils(0, ()),
        lambda: WriteRegisters(0xFFFF, (1, 2)),
        lambda: MaskWrite(0, -1, 0),
        lambda: ReadWrite(0, 126, 0, (1,)),
        lambda: ReadWrite(0, 1, 0, (1,) * 122),
        lambda: ReadFile((RecordRequest(1, 10_000, 1),)),
        lambda: ReadFile((RecordRequest(1, 0, 122),)),
        lambda: ReadDevice(5),
    ],
)
def test_what_cannot_be_encoded_is_our_bug(make: Any) -> None:
    with pytest.raises(LocalProtocolError):
        make()


def test_device_identification_that_goes_on_says_with_which_object() -> None:
    answer = bytes.fromhex("2b0e0103ff020100") + b"\x01A"

    assert ReadDevice(1, 0).decode_answer(answer) == DeviceObjects(1, 3, 2, {0: b"A"})


def test_record_lengths_that_were_not_asked_for_are_an_error() -> None:
    asked = ReadFile((RecordRequest(4, 1, 2), RecordRequest(4, 9, 1)))
    swapped = struct.pack(">BBBBH BBHH", 20, 10, 3, 6, 1, 5, 6, 1, 2)

    with pytest.raises(RemoteProtocolError, match="another length"):
        decode_response(swapped, asked)
