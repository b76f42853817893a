"""Finding pushes in a stream: in any pieces, with rubbish around them, and never a value out of damaged octets."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms.blocks import BlockAssembler
from drivers.dlms.hdlc import Frame, FrameReader, HdlcAddress, Kind
from drivers.dlms.notification import decode_notification, facts
from drivers.dlms.push import PushReader
from drivers.dlms.unprotect import PushKeys, unprotect
from drivers.errors import DriverError, RemoteProtocolError, SecurityError
from drivers.profile import ClockProfile
from tests.drivers.dlms.pushes import Push, drain, load, load_all, one_by_one, read

WHOLE = [case for case in load_all() if case.error is None]
FRAMED = [case for case in WHOLE if case.frame[:1] in {b"\x7e", b"\x68"}]
RUBBISH = bytes.fromhex("fffe00ff1055aa3300000068e60a")
LLC = bytes.fromhex("e6e700")


def names(cases: list[Push]) -> list[str]:
    return [case.name.removeprefix("dlms-push-") for case in cases]


def understand(case: Push, apdu: bytes) -> object:
    """Everything that a message goes through behind its framing."""
    plain = unprotect(apdu, case.keys)
    return facts(decode_notification(plain.apdu), ClockProfile(), 0)


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_octet_by_octet_gives_the_same_as_whole(case: Push) -> None:
    whole, errors = read(case.frame)
    pieces, piece_errors = read(*one_by_one(case.frame))

    assert len(whole) == 1
    assert pieces == whole
    assert errors == piece_errors == []


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_two_pushes_behind_each_other_are_two(case: Push) -> None:
    found, errors = read(case.frame + case.frame)

    assert len(found) == 2
    assert found[0] == found[1]
    assert not errors


@pytest.mark.parametrize("case", FRAMED, ids=names(FRAMED))
def test_rubbish_around_a_framed_push_costs_nothing_but_is_noted(case: Push) -> None:
    clean, _ = read(case.frame)

    found, errors = read(RUBBISH + case.frame + RUBBISH)

    assert found == clean
    assert errors


def test_rubbish_before_a_bare_apdu_is_refused_and_behind_it_is_an_error() -> None:
    case = load("010")

    before, before_errors = read(b"\xff" + case.frame)
    behind, behind_errors = read(case.frame + RUBBISH)

    assert not before
    assert before_errors
    assert len(behind) == 1
    assert behind_errors


def test_wrapper_is_found_behind_rubbish_and_what_follows_it_is_an_error() -> None:
    case = load("034")

    found, errors = read(RUBBISH + case.frame + RUBBISH)

    assert len(found) == 1
    assert errors


@pytest.mark.parametrize("case", FRAMED, ids=names(FRAMED))
def test_each_flipped_bit_of_a_framed_push_is_an_error_and_never_a_value(case: Push) -> None:
    for bit in range(8 * len(case.frame)):
        flipped = bytearray(case.frame)
        flipped[bit // 8] ^= 1 << bit % 8

        found, errors = read(bytes(flipped))

        assert not found, f"bit {bit}"
        assert errors, f"bit {bit}"


CIPHERED = [case for case in WHOLE if case.keys() and not case.keys().is_authentication_withheld]  # type: ignore[union-attr]


@pytest.mark.parametrize("case", CIPHERED, ids=names(CIPHERED))
def test_each_flipped_bit_of_a_ciphered_apdu_is_an_error_and_never_a_value(case: Push) -> None:
    apdu = case.apdu
    for bit in range(8 * len(apdu)):
        flipped = bytearray(apdu)
        flipped[bit // 8] ^= 1 << bit % 8

        with pytest.raises((SecurityError, RemoteProtocolError)):
            understand(case, bytes(flipped))


@pytest.mark.parametrize("case", WHOLE, ids=names(WHOLE))
def test_flipped_bits_of_what_nothing_protects_stay_within_the_drivers_errors(case: Push) -> None:
    apdu = case.apdu
    for bit in range(8 * len(apdu)):
        flipped = bytearray(apdu)
        flipped[bit // 8] ^= 1 << bit % 8
        for pushed in read(bytes(flipped))[0]:
            try:
                understand(case, pushed.octets)
            except DriverError:
                continue


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_arbitrary_octets_only_raise_errors_of_the_driver(pieces: list[bytes]) -> None:
    found, _ = read(*pieces)

    for pushed in found:
        try:
            decode_notification(pushed.octets)
        except DriverError:
            continue


@given(st.integers(0, 18), st.data())
def test_a_push_cut_anywhere_is_an_error(index: int, data: st.DataObject) -> None:
    case = load_all()[index]
    if case.error is not None:
        return
    cut = data.draw(st.integers(1, len(case.frame) - 1))

    found, errors = read(case.frame[:cut])

    # Without the flag at its end an HDLC frame is not whole, though all its octets are there.
    assert not found
    assert errors or case.frame[:cut] == b"\x7e"


def segments(frame: bytes) -> list[Frame]:
    reader = FrameReader()
    reader.receive_data(frame)
    found = []
    while isinstance(event := reader.next_event(), Frame):
        found.append(event)
    return found


def test_segment_that_is_lost_repeated_or_anothers_is_an_error() -> None:
    first, middle, last = segments(load("001").frame)
    other = Frame(middle.destination, HdlcAddress(2, 17), Kind.UI, segmented=True, information=middle.information)

    for order in ([first, last], [middle, last], [first, other, last], [last]):
        found, errors = read(b"".join(frame.encode() for frame in order))
        # A lost segment between two good ones leaves no trace in UI frames; then the content does not add up.
        for pushed in found:
            with pytest.raises(RemoteProtocolError):
                decode_notification(pushed.octets)
        assert errors or found


def test_noise_between_segments_drops_the_message() -> None:
    first, middle, last = (frame.encode() for frame in segments(load("001").frame))

    found, errors = read(first + b"\x55\xaa" + middle + last)

    assert not found
    assert "came between two HDLC segments" in errors[0]


def test_numbered_segments_must_follow_each_other() -> None:
    here, there = HdlcAddress(16), HdlcAddress(1, 17)
    pieces = [LLC + b"\x0f\x00", b"\x00\x00\x00\x00\x09\x01", b"\x55"]
    frames = [
        Frame(here, there, Kind.I, number, segmented=number < 2, information=piece)
        for number, piece in enumerate(pieces)
    ]
    frames_apart = [frames[0], frames[2]]

    together, no_errors = read(b"".join(frame.encode() for frame in frames))
    apart, errors = read(b"".join(frame.encode() for frame in frames_apart))

    assert [pushed.octets.hex() for pushed in together] == ["0f0000000000090155"]
    assert not no_errors
    assert not apart
    assert errors


def test_frames_of_a_data_link_are_no_push() -> None:
    snrm = Frame(HdlcAddress(16), HdlcAddress(1, 17), Kind.SNRM).encode()

    found, errors = read(snrm)

    assert not found
    assert "SNRM frame where a meter only pushes" in errors[0]


def block(number: int, piece: bytes, *, is_last: bool = False, acknowledged: int = 0) -> bytes:
    control = 0xC0 if is_last else 0x40
    head = bytes([0xE0, control]) + number.to_bytes(2, "big") + acknowledged.to_bytes(2, "big")
    return head + bytes([len(piece)]) + piece


def add_all(assembler: BlockAssembler, blocks: list[bytes]) -> None:
    for octets in blocks:
        assembler.add(octets)


def test_blocks_out_of_order_doubled_or_acknowledging_are_refused() -> None:
    for blocks in (
        [block(2, b"\x0f")],
        [block(1, b"\x0f"), block(1, b"\x0f")],
        [block(1, b"\x0f"), block(3, b"\x0f", is_last=True)],
        [block(1, b"\x0f", acknowledged=1)],
        [block(1, block(1, b"\x0f", is_last=True), is_last=True)],
        [b"\xe0\x40\x00\x01"],
        [block(1, b"\x0f") + b"\x00"],
    ):
        assembler = BlockAssembler()
        with pytest.raises(RemoteProtocolError):
            add_all(assembler, blocks)
        assert assembler.is_idle


def test_blocks_and_segments_are_bounded() -> None:
    assembler = BlockAssembler()
    with pytest.raises(RemoteProtocolError, match="more than 65536"):
        add_all(assembler, [block(number, bytes(100)) for number in range(1, 2_000)])

    endless = Frame(
        HdlcAddress(16), HdlcAddress(1, 17), Kind.UI, segmented=True, information=LLC + bytes(2_000)
    ).encode()
    _, errors = read(endless * 60)
    assert any("segments add up to more than" in error for error in errors)


def test_something_between_two_blocks_drops_the_message() -> None:
    first, *rest = (frame.encode() for frame in segments(load("004").frame))
    other = load("008").frame

    found, errors = read(first + other + b"".join(rest))

    assert not any(pushed.octets[0] == 0xDB for pushed in found)
    assert "came between two blocks" in errors[0]


def test_bare_apdu_without_an_end_is_refused_in_bounded_room_and_time() -> None:
    reader = PushReader()
    started = time.process_time()
    found: list[object] = []
    errors: list[str] = []

    reader.receive_data(bytes.fromhex("0f00000000000183030d40"))
    for _ in range(70_000):
        reader.receive_data(b"\x00")
        drain(reader, found, errors)  # type: ignore[arg-type]

    assert not found
    assert "beyond 65536 octets" in errors[0]
    assert time.process_time() - started < 10


def test_keys_are_refused_by_length_and_never_shown() -> None:
    with pytest.raises(SecurityError, match="encryption key has 3 octets"):
        PushKeys(b"abc", bytes(16))
    with pytest.raises(SecurityError, match="authentication key has 0 octets"):
        PushKeys(bytes(16))
    with pytest.raises(SecurityError, match="authentication key has 16 octets, not 0"):
        PushKeys(bytes(16), bytes(16), is_authentication_withheld=True)
    assert "secret" not in repr(PushKeys(b"secretsecretsecr", b"secretsecretsecr"))


def test_sender_without_keys_and_protection_without_tag_are_refused() -> None:
    noe, kamstrup = load("009"), load("003")

    with pytest.raises(SecurityError, match="no keys for system title 4b464d6750000009"):
        unprotect(noe.apdu, lambda _: None)
    with pytest.raises(SecurityError, match="weaker than the agreed"):
        unprotect(noe.apdu, lambda _: PushKeys(noe.keys().encryption, bytes(16)))  # type: ignore[union-attr]
    withheld = PushKeys(kamstrup.keys().encryption, is_authentication_withheld=True)  # type: ignore[union-attr]
    plain = unprotect(kamstrup.apdu, lambda _: withheld)
    assert not plain.is_authenticated
    assert plain.apdu == unprotect(kamstrup.apdu, kamstrup.keys).apdu
