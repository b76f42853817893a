"""Frames, values, records and services: round trips, limits, and damage."""

import contextlib
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645 import records, services
from drivers.dlt645.control import Control, ControlCode, Edition, decode_control, describe_error, refusal
from drivers.dlt645.frame import MAX_DATA, Frame, FrameReader
from drivers.dlt645.plan import without_end
from drivers.dlt645.records import LoadRecord, decode_records
from drivers.dlt645.services import Authority, Identifier, Relay, Speed
from drivers.dlt645.stamps import Days
from drivers.dlt645.values import decode_count, decode_instant, encode_count, encode_instant
from drivers.errors import LocalProtocolError, RemoteProtocolError
from tests.drivers.dlt645.cases import events

ADDRESSES = st.integers(0, 10**12 - 1).map(lambda number: f"{number:012d}")
FRAMES = st.builds(Frame, ADDRESSES, st.integers(0, 255), st.binary(max_size=MAX_DATA))
NOON = 1_800_014_400
ZONE = "UTC+08:00"
SECRET = Authority(2, bytes.fromhex("a1b2c3"), bytes.fromhex("01020304"))


@given(FRAMES, st.integers(0, 16), st.binary(max_size=12).filter(lambda noise: 0x68 not in noise))
def test_a_frame_comes_back_as_it_was_sent(frame: Frame, wake_up: int, noise: bytes) -> None:
    assert events(FrameReader(), noise + frame.encode(wake_up)) == [frame]


@given(st.lists(FRAMES, max_size=4), st.integers(1, 20))
def test_frames_in_a_row_come_in_pieces_too(frames: list[Frame], step: int) -> None:
    assert events(FrameReader(), b"".join(frame.encode(4) for frame in frames), step=step) == frames


@given(FRAMES, st.binary(min_size=1, max_size=40))
def test_what_is_not_there_yet_is_waited_for(frame: Frame, cut: bytes) -> None:
    octets = frame.encode()

    assert events(FrameReader(), octets[: -min(len(cut), len(octets) - 1)]) == []


def test_only_changes_that_cancel_out_escape_the_sum() -> None:
    octets = bytearray(Frame("1" * 12, 0x91, bytes(8)).encode())
    octets[10] += 1
    octets[11] -= 1

    (frame,) = events(FrameReader(), bytes(octets))

    assert isinstance(frame, Frame)  # why parity is required, and energy read twice without


def test_too_much_data_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError):
        Frame("1" * 12, 0x11, bytes(MAX_DATA + 1)).encode()


def test_noise_without_end_is_an_error() -> None:
    told = events(FrameReader(), bytes(1000))

    assert told == ["1000 bytes of noise, no frame"]


def test_a_length_no_frame_has_begins_none() -> None:
    assert events(FrameReader(), bytes.fromhex("68111111111111 68 91 c9".replace(" ", "")) + bytes(20)) == []


@given(st.integers(0, 255))
def test_control_codes_come_apart_and_together(octet: int) -> None:
    assert decode_control(octet).encode() == octet


def test_every_service_has_its_published_function() -> None:
    assert [code.value for code in Control][2:] == [
        0x11,
        0x12,
        0x13,
        0x14,
        0x15,
        0x16,
        0x17,
        0x18,
        0x19,
        0x1A,
        0x1B,
        0x1C,
    ]
    assert ControlCode(Control.FOLLOW_UP, from_meter=True, has_more=True).encode() == 0xB2
    assert ControlCode(Control.READ, from_meter=True, is_refusal=True).encode() == 0xD1


@given(st.integers(0, 255), st.sampled_from(list(Edition)))
def test_every_error_word_is_said_in_words(word: int, edition: Edition) -> None:
    refused = refusal(Frame("1" * 12, 0xD1, bytes((word,))), edition, "it")

    assert refused.code == word
    assert describe_error(word, edition) in str(refused)


def test_a_refusal_without_a_reason_is_none() -> None:
    with pytest.raises(RemoteProtocolError):
        refusal(Frame("1" * 12, 0xD1), Edition.E2007, "it")


# -- values


@given(st.integers(0, 10**8 - 1))
def test_counts_are_exact(count: int) -> None:
    assert decode_count(encode_count(count, 4, signed=False), signed=False) == count


@given(st.integers(-799_999, 799_999))
def test_signs_are_in_the_top_bit(count: int) -> None:
    octets = encode_count(count, 3, signed=True)

    assert decode_count(octets, signed=True) == count
    assert bool(octets[-1] & 0x80) == (count < 0)


def test_ff_all_over_is_no_number_and_half_of_it_is_damage() -> None:
    assert decode_count(b"\xff\xff", signed=False) is None
    with pytest.raises(RemoteProtocolError, match="no BCD"):
        decode_count(b"\x12\xff", signed=False)
    with pytest.raises(RemoteProtocolError):
        decode_count(b"", signed=False)


@pytest.mark.parametrize("count", [-1, 10**8])
def test_what_does_not_fit_is_not_written(count: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_count(count, 4, signed=False)


@given(st.integers(946_684_800, 4_102_000_000), st.sampled_from([ZONE, "UTC", "Europe/Berlin"]))
def test_instants_come_back_to_the_second(instant: int, zone: str) -> None:
    back = decode_instant(encode_instant(instant, "YYMMDDhhmmss", zone), "YYMMDDhhmmss", zone)

    assert back is not None
    assert back in {instant, instant - 3600}  # the first of the two hours where clocks go back
    if zone == ZONE:
        assert back == instant


def test_the_end_of_a_day_may_be_called_24_hours() -> None:
    assert decode_instant(bytes.fromhex("0024150327"), "YYMMDDhhmm", ZONE) == decode_instant(
        bytes.fromhex("0000160327"), "YYMMDDhhmm", ZONE
    )


@pytest.mark.parametrize("text", ["0000000000", "ffffffffff", "9999999999"])
def test_a_stamp_that_was_never_set_is_none(text: str) -> None:
    assert decode_instant(bytes.fromhex(text), "YYMMDDhhmm", ZONE) is None


@pytest.mark.parametrize("text", ["0012311326", "6012011026", "0a12011026", "00120110"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_instant(bytes.fromhex(text), "YYMMDDhhmm", ZONE)


def test_settlement_days_are_counted_back_over_new_year() -> None:
    days = Days(bytes.fromhex("0001"), ZONE)
    now = int(datetime.fromisoformat("2027-01-01T00:00:00+08:00").timestamp())

    assert days.before(now, 1) == now
    assert days.before(now - 1, 1) == now - 31 * 86_400
    assert days.before(now, 2) == now - 31 * 86_400
    assert Days(bytes.fromhex("9999"), ZONE).before(now, 1) is None
    with pytest.raises(RemoteProtocolError):
        Days(bytes.fromhex("0031"), ZONE)


def test_the_mark_behind_a_block_is_no_value() -> None:
    assert without_end(bytes(8) + b"\xaa", 4) == bytes(8)
    assert without_end(bytes(8), 4) == bytes(8)


# -- load records


@given(st.integers(1, 6), st.binary(min_size=16, max_size=16).filter(lambda data: 0xAA not in (data[0], data[-1])))
def test_load_records_of_each_kind_come_back(kind: int, data: bytes) -> None:
    written = [LoadRecord(NOON + 900 * number, data) for number in range(3)]

    assert decode_records(b"".join(one.encode(kind, ZONE) for one in written), 16, ZONE) == written


def test_a_record_may_leave_out_its_separators() -> None:
    body = encode_instant(NOON, records.STAMP, ZONE) + bytes(16)
    octets = bytes((0xA0, 0xA0, len(body))) + body

    assert decode_records(octets + bytes((sum(octets) % 256, 0xE5)), 16, ZONE) == [LoadRecord(NOON, bytes(16))]


def test_a_record_the_meter_calls_bad_has_no_data() -> None:
    octets = LoadRecord(NOON, bytes(16), is_bad=True).encode(4, ZONE)

    assert decode_records(octets, 16, ZONE) == [LoadRecord(NOON, b"", is_bad=True)]


def test_every_flipped_bit_of_a_record_is_an_error() -> None:
    octets = LoadRecord(NOON, bytes(16)).encode(4, ZONE)

    for bit in range(8 * len(octets)):
        spoilt = bytearray(octets)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            decode_records(bytes(spoilt), 16, ZONE)


@given(st.binary(max_size=300))
def test_whatever_comes_for_a_record_is_records_or_an_error(octets: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode_records(octets, 16, ZONE)


# -- services


def test_a_broadcast_time_is_heard_by_all() -> None:
    at = datetime(2026, 3, 1, 23, 59, 58)  # noqa: DTZ001  the meters' own time
    frame = services.broadcast_time(at)

    assert (frame.address, frame.control) == ("999999999999", 0x08)
    assert services.decode_broadcast_time(frame) == at
    with pytest.raises(RemoteProtocolError):
        services.decode_broadcast_time(Frame(frame.address, 8, b"\x99" * 6))


def test_a_relay_command_says_no_password() -> None:
    until = datetime(2026, 3, 1)  # noqa: DTZ001
    frame = services.relay("1" * 12, SECRET, Relay.OPEN, until)

    assert services.decode_relay(frame) == (Relay.OPEN, until)
    assert services.decode_authority(frame.data[:8]) == SECRET
    assert "a1b2c3" not in repr(SECRET)
    with pytest.raises(RemoteProtocolError) as caught:
        services.decode_relay(Frame("1" * 12, 0x1C, frame.data[:9]))
    assert caught.value.__cause__ is None


def test_what_changes_a_meter_has_the_form_of_the_standard() -> None:
    one = "1" * 12
    at = Identifier("04000103")

    assert services.write(one, at, SECRET, b"\x15").data.hex() == "0301000402a1b2c30102030415"
    assert services.freeze(one).data.hex() == "99999999"
    assert services.freeze(one, day=1, hour=0, minute=30).data.hex() == "30000199"
    assert (
        services.change_speed(one, Speed.B9600).control,
        services.change_speed(one, Speed.B9600, Edition.E1997).control,
    ) == (0x17, 0x0C)
    assert services.change_password(one, Identifier("04000C03"), bytes(4), bytes(4)).control == 0x18
    assert services.clear_demand(one, SECRET).control == 0x19
    assert services.clear_meter(one, SECRET).control == 0x1A
    assert services.clear_events(one, SECRET).data[8:] == b"\xff" * 4
    assert services.clear_events(one, SECRET, at).data[8:] == at.encode()
    assert services.write_address(one) == Frame("A" * 12, 0x15, b"\x11" * 6)
    with pytest.raises(LocalProtocolError):
        services.write(one, at, SECRET, bytes(40))


def test_a_proof_of_identity_is_written_and_its_answer_read() -> None:
    frame = services.authenticate("1" * 12, bytes(4), bytes(8), bytes(8), bytes(8))
    answer = Frame("1" * 12, 0x83, services.IDENTITY_AUTHENTICATION.encode() + bytes(range(12)))

    assert (frame.control, frame.data[:4].hex()) == (0x03, "ff000007")
    assert services.decode_authentication_answer(answer) == (bytes(range(4)), bytes(range(4, 12)))


@pytest.mark.parametrize("text", ["", "0001", "00010000", "00010000x", "0001 000"])
def test_identifiers_are_hexadecimal(text: str) -> None:
    if text in {"0001", "00010000"}:
        assert services.decode_identifier(Identifier.parse(text).encode()).text == text
    else:
        with pytest.raises(ValueError, match="identifier"):
            Identifier(text)
