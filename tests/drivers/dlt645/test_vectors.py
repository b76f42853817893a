"""Published frames give their published answers, fed whole, octet by octet and amid rubbish."""

from decimal import Decimal
from typing import Any

import pytest

from drivers.dlt645.address import ANY
from drivers.dlt645.control import ControlCode, Edition, decode_control, refusal
from drivers.dlt645.frame import Frame, FrameReader
from drivers.dlt645.services import Identifier, decode_address_answer, decode_data, follow_up, read, read_address
from drivers.dlt645.values import decode_count
from tests.drivers.dlt645.cases import Case, events, load_all, point

EVERY = pytest.mark.parametrize("case", load_all(), ids=lambda case: case.name)
GOOD = pytest.mark.parametrize(
    "case", [case for case in load_all() if "error" not in case.expect], ids=lambda case: case.name
)
KILO = {"kWh": 3, "kW": 3, "V": 0}


def only(octets: bytes) -> Frame:
    (frame,) = events(FrameReader(), octets)
    assert isinstance(frame, Frame)
    return frame


def value_of(frame: Frame, control: ControlCode) -> Decimal:
    data = decode_data(frame, control, Edition.E2007)
    meant = point(data.identifier.text)
    count = decode_count(data.octets, signed=meant.signed)
    assert count is not None
    assert len(data.octets) == meant.octets
    return meant.scaler_unit.to_decimal(count)


def check(case: Case) -> None:
    expect = case.expect
    frame = only(case.frame)
    control = decode_control(frame.control)
    if "control" in expect:
        assert f"{frame.control:02x}" == expect["control"]
    if "address" in expect:
        assert frame.address == expect["address"]
    if "value" in expect:
        published = Decimal(expect["value"]).scaleb(KILO[expect.get("unit", "kWh")])
        assert value_of(frame, control) == published
        assert decode_data(frame, control, Edition.E2007).identifier == Identifier.parse(expect["di"])
    if "data_hex" in expect:
        assert frame.data[4:].hex() == expect["data_hex"]
    if "error_word" in expect:
        refused = refusal(frame, Edition.E2007, "it")
        assert f"{refused.code:02x}" == expect["error_word"]
        assert "no such data" in str(refused)
    if control.from_meter and expect.get("control") == "93":
        assert decode_address_answer(frame) == expect["address"]
    assert frame.encode(case.frame.index(0x68)) == case.frame


@GOOD
def test_published_frame_gives_its_published_answer(case: Case) -> None:
    check(case)


def test_damaged_published_frame_is_refused() -> None:
    (case,) = (case for case in load_all() if "error" in case.expect)

    (error, *rest) = events(FrameReader(), case.frame)

    assert case.expect["error"] in str(error)
    assert not any(isinstance(event, Frame) for event in rest)


@pytest.mark.parametrize("case", [case for case in load_all() if case.request], ids=lambda case: case.name)
def test_published_request_is_what_we_would_ask(case: Case) -> None:
    asked = read(case.expect["address"], Identifier.parse(case.expect["di"]), Edition.E2007)

    assert asked.encode() == case.request


def test_published_requests_without_answers_are_what_we_would_ask() -> None:
    by_id = {case.origin["id"]: case.frame for case in load_all()}

    assert read_address(ANY).encode(4) == by_id["dlt645-070"]
    assert follow_up("123456789012", Identifier("03300001"), Edition.E2007, 1).encode() == by_id["dlt645-073"]


@GOOD
@pytest.mark.parametrize("step", [0, 1, 3])
def test_frames_are_the_same_whole_and_in_pieces_and_amid_rubbish(case: Case, step: int) -> None:
    alone = only(case.frame)

    for before in (b"", b"\x00", b"\xff\x16\x00", b"\x68\x01", bytes(6) + b"\x68"):
        told = events(FrameReader(), before + case.frame + b"\x00\xff" * 8, step=step)
        assert [event for event in told if isinstance(event, Frame)] == [alone]


@GOOD
def test_every_flipped_bit_is_an_error(case: Case) -> None:
    begin = case.frame.index(0x68)
    alone = only(case.frame)

    for bit in range(8 * begin, 8 * len(case.frame)):
        spoilt = bytearray(case.frame)
        spoilt[bit // 8] ^= 1 << bit % 8
        told = events(FrameReader(), bytes(spoilt))
        assert not any(isinstance(event, Frame) for event in told), bit
        assert alone not in told


@GOOD
def test_a_damaged_byte_anywhere_spoils_the_frame(case: Case) -> None:
    for at in range(case.frame.index(0x68), len(case.frame)):
        reader = FrameReader()
        reader.receive_data(case.frame[:at])
        reader.receive_damage()
        told: list[Any] = events(reader, case.frame[at + 1 :])
        assert not any(isinstance(event, Frame) for event in told), at


def test_every_published_vector_is_here() -> None:
    cases = load_all()

    assert len({case.origin["id"] for case in cases}) == len(cases) == 9
