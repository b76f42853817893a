"""One question at a time: what is an answer, what is silence, what is neither."""

from collections.abc import Callable

import pytest

from drivers.dlms import hdlc
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlt645.frame import Frame
from drivers.modbus.pdu import Function, ReadResponse
from drivers.modbus.rtu import RtuFrame
from headend.scan.ground import CLIENT, OPTICAL, Kind
from headend.scan.overheard import asks, speaks
from headend.scan.probe import Outcome, Probe, Question, probes
from tests.headend.scan.town import E24, N96


def make(kind: Kind, target: str, recent: tuple[int, ...] = ()) -> Probe:
    form = {Kind.DLT645_2007: E24, Kind.IEC62056: OPTICAL}.get(kind, N96)
    return probes(Question(kind, form, target), None, recent)[-1]


REGISTER = RtuFrame(7, ReadResponse(Function.READ_HOLDING_REGISTERS, (1,)).encode()).encode()
UA = hdlc.Frame(CLIENT, HdlcAddress.parse("1/17"), hdlc.Kind.UA).encode()
ADDRESS = Frame("000000000042", 0x91, bytes.fromhex("01040004") + bytes.fromhex("420000000000")).encode(4)
IDENTIFICATION = b"/LGZ4ZMD120AP\r\n"
ANSWERS = [
    (lambda: make(Kind.MODBUS, "7"), REGISTER, ("7",)),
    (lambda: make(Kind.DLMS, "1/17"), UA, ("1/17",)),
    (lambda: make(Kind.DLMS, "1/127"), UA, ("1/17",)),
    (lambda: make(Kind.DLT645_2007, "42"), ADDRESS, ("000000000042",)),
    (lambda: make(Kind.IEC62056, ""), IDENTIFICATION, ("?",)),
]


@pytest.mark.parametrize(("probe", "octets", "who"), ANSWERS)
def test_an_answer_is_one_whole_in_pieces_and_with_rubbish_around_it(
    probe: Callable[[], Probe], octets: bytes, who: tuple[str, ...]
) -> None:
    for pieces in ([octets], [octets[at : at + 1] for at in range(len(octets))], [b"\x00", octets, b"\xff\xff"]):
        asked = probe()
        assert not asked.is_answered
        for piece in pieces:
            asked.receive(piece)

        assert asked.is_answered
        assert (asked.heard().outcome, asked.heard().answers) == (Outcome.ANSWER, who)


@pytest.mark.parametrize(("probe", "octets", "who"), ANSWERS[:4])
def test_no_flipped_bit_makes_another_meter_of_an_answer(
    probe: Callable[[], Probe], octets: bytes, who: tuple[str, ...]
) -> None:
    for bit in range(8 * len(octets)):
        damaged = bytearray(octets)
        damaged[bit // 8] ^= 1 << bit % 8
        asked = probe()
        asked.receive(bytes(damaged))

        heard = asked.heard()
        assert heard.answers in {(), who}
        assert heard.others == ()


@pytest.mark.parametrize("probe", [probe for probe, _, _ in ANSWERS])
def test_silence_is_silence_and_damage_is_not(probe: Callable[[], Probe]) -> None:
    silent, damaged = probe(), probe()
    for _ in range(5):
        damaged.damage()

    assert silent.heard().outcome is Outcome.SILENCE
    assert damaged.heard().outcome is Outcome.GARBLED
    assert damaged.heard().octets == 5


def test_the_answer_of_a_unit_asked_before_is_told_apart() -> None:
    probe = make(Kind.MODBUS, "8", (5, 6, 7))

    probe.receive(REGISTER)

    assert (probe.heard().outcome, probe.heard().others) == (Outcome.GARBLED, ("7",))


def test_several_who_answer_a_wildcard_one_after_the_other_are_all_heard() -> None:
    probe = make(Kind.DLT645_2007, "")
    other = Frame("000000000142", 0x91, bytes.fromhex("01040004") + bytes.fromhex("420100000000")).encode(4)

    probe.receive(ADDRESS + other)

    assert probe.lingers
    assert probe.heard().answers == ("000000000042", "000000000142")


def test_what_is_heard_without_end_is_kept_only_in_part() -> None:
    probe = make(Kind.DLMS, "1/17")

    for _ in range(100):
        probe.receive(bytes(1_000))

    assert probe.heard().octets == 100_000
    assert len(probe.heard().raw) <= 6_000


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (make(Kind.MODBUS, "7").octets, "another master asks Modbus unit 7"),
        (b"\x00\xff" + make(Kind.DLT645_2007, "42").octets, "another master asks DL/T 645 meter AAAAAAAAAA42"),
        (make(Kind.DLMS, "1/17").octets, "another master asks DLMS server 1/17"),
        (REGISTER, ""),
        (UA, ""),
        (ADDRESS, ""),
        (bytes(range(200)), ""),
    ],
)
def test_only_questions_tell_of_another_master(octets: bytes, told: str) -> None:
    assert asks(octets) == told


def test_a_disturbance_is_nobody() -> None:
    assert speaks(b"\x00\xff", 2) == ""
    assert speaks(b"", 12).startswith("somebody speaks unasked, 12 octets")
