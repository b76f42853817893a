"""HDLC frames in a stream: whole, in pieces, amid rubbish, with any bit wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms.events import NEED_DATA
from drivers.dlms.hdlc import (
    DamagedFrame,
    Frame,
    FrameReader,
    HdlcAddress,
    Kind,
    LinkParameters,
    decode_parameters,
    encode_parameters,
    parse_frame,
)  # fmt: skip
from drivers.errors import LocalProtocolError, RemoteProtocolError
from tests.drivers.dlms.cases import load

PUBLISHED = [load(name).frame for name in ("hdlc-028", "hdlc-029", "gurux-segmented")]
CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)


def read_all(reader: FrameReader) -> list[Frame]:
    frames = []
    while (frame := reader.next_event()) is not NEED_DATA:
        frames.append(frame)
    return frames


@pytest.mark.parametrize("stream", PUBLISHED)
def test_a_stream_fed_byte_by_byte_gives_the_same_frames_as_whole(stream: bytes) -> None:
    whole = FrameReader()
    whole.receive_data(stream)

    pieces, found = FrameReader(), []
    for octet in stream:
        pieces.receive_data(bytes([octet]))
        found += read_all(pieces)

    assert found == read_all(whole)
    assert found


@pytest.mark.parametrize("rubbish", [b"", b"\x00\xff", b"\x7e" * 3000, b"\x7e\x00\x7e\xff\x13", b"\xa0\x27\x01\x02"])
def test_noise_around_a_frame_is_skipped(rubbish: bytes) -> None:
    reader = FrameReader()
    reader.receive_data(rubbish + PUBLISHED[0] + rubbish)

    frames = read_all(reader)

    assert len(frames) == 1


def test_one_flag_ends_a_frame_and_begins_the_next() -> None:
    reader = FrameReader()
    reader.receive_data(PUBLISHED[0][:-1] + PUBLISHED[1])

    assert len(read_all(reader)) == 2


@pytest.mark.parametrize("frame", PUBLISHED[:2])
def test_any_single_bit_flipped_between_the_flags_is_an_error_or_no_frame(frame: bytes) -> None:
    for bit in range(8, 8 * (len(frame) - 1)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        reader = FrameReader()
        reader.receive_data(bytes(damaged))

        for _ in range(len(frame)):
            try:
                outcome = reader.next_event()
            except RemoteProtocolError:
                continue
            assert outcome is NEED_DATA
            break


def test_a_corrupt_checksum_is_a_protocol_error_and_the_next_frame_is_still_found() -> None:
    broken = bytearray(PUBLISHED[0])
    broken[-3] ^= 0x01
    reader = FrameReader()
    reader.receive_data(bytes(broken) + PUBLISHED[1])

    with pytest.raises(DamagedFrame, match="frame check sequence"):
        reader.next_event()
    found: list[Frame] = []
    while not found:
        try:
            found = read_all(reader)
        except DamagedFrame:
            continue

    assert found[0] == read_one(PUBLISHED[1])


def read_one(stream: bytes) -> Frame:
    reader = FrameReader()
    reader.receive_data(stream)
    (frame,) = read_all(reader)
    return frame


def test_a_header_with_a_wrong_length_is_refused_before_the_length_has_come() -> None:
    frame = bytearray(PUBLISHED[0])
    frame[1] |= 0x07  # now it claims 1,834 octets
    reader = FrameReader()
    reader.receive_data(bytes(frame[:14]))

    with pytest.raises(DamagedFrame, match="header check"):
        reader.next_event()


@given(
    st.builds(
        Frame,
        destination=st.just(CLIENT),
        source=st.sampled_from([SERVER, HdlcAddress(1), HdlcAddress(300, 5000)]),
        kind=st.just(Kind.I),
        send_number=st.integers(0, 7),
        receive_number=st.integers(0, 7),
        poll_final=st.booleans(),
        segmented=st.booleans(),
        information=st.binary(min_size=1, max_size=200),
    )
)
def test_a_frame_encoded_is_the_frame_decoded(frame: Frame) -> None:
    assert parse_frame(frame.encode()[1:-1]) == frame


@pytest.mark.parametrize(
    ("text", "octets"), [("1", "03"), ("1/17", "0223"), ("127", "ff"), ("200", "02900001"), ("1/200", "00020291")]
)
def test_a_server_address_takes_one_two_or_four_octets(text: str, octets: str) -> None:
    assert HdlcAddress.parse(text).encode().hex() == octets
    assert HdlcAddress.decode(bytes.fromhex(octets)).encode().hex() == octets


@pytest.mark.parametrize("text", ["", "x", "1/2/3", "-1", "20000", "1/", "99999999"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LocalProtocolError):
        HdlcAddress.parse(text)


def test_parameters_without_a_field_mean_the_defaults() -> None:
    assert decode_parameters(b"") == (128, 128, 1, 1)
    assert decode_parameters(bytes.fromhex("8180030601fa")) == (128, 250, 1, 1)
    assert decode_parameters(encode_parameters(LinkParameters(2030, 500, 7, 3))) == (2030, 500, 7, 3)


@pytest.mark.parametrize(
    "octets", ["8180", "818005050107", "81800305010000", "818003050100", "0102030405", "8180030505aa"]
)
def test_damaged_parameters_are_an_error(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_parameters(bytes.fromhex(octets))


@given(st.binary(max_size=300))
def test_whatever_arrives_the_reader_ends(noise: bytes) -> None:
    reader = FrameReader()
    reader.receive_data(b"\x7e" + noise)

    for _ in range(len(noise) + 3):
        try:
            if reader.next_event() is NEED_DATA:
                return
        except RemoteProtocolError:
            continue
    pytest.fail("the reader goes round in circles")
