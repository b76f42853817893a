"""Traces taken apart: published frames by name, faults named and passed over, nothing secret shown."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import general
from drivers.dlms.axdr import encode_length
from drivers.dlms.ciphering import Keys, encrypt
from drivers.dlms.general import GeneralCiphering, GeneralSigning, IdentifiedKey, WrappedKey
from drivers.dlms.xdlms import Conformance, InitiateRequest
from drivers.profile import ModbusPoint
from drivers.trace.apdu import Dialogue, Part
from drivers.trace.text import Header, Record, Trace, TraceError
from drivers.trace.tree import Step, take_apart
from headend.profiles import load_profiles
from tests.drivers.dlms.cases import load
from tests.drivers.dlms.pushes import DATA as PUSHES
from tests.drivers.dlms.pushes import Push
from tests.drivers.dlms.pushes import load_all as load_pushes

FRAMINGS = ["push", "hdlc", "wrapper", "rtu", "tcp", "rtu-over-tcp", "ascii", "dlt645", "iec62056"]


def trace(framing: str, *carried: tuple[str, bytes]) -> Trace:
    records = [Record(1, 1_000 * at, mark, octets) for at, (mark, octets) in enumerate(carried, start=1)]  # type: ignore[arg-type]
    return Trace(Header("ACM1", "acme", framing), (Record(1, 0, "@", text="2026-01-01T00:00:00Z"), *records))


def lines(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        yield f"{part.name}: {part.value}" if part.value else part.name
        yield from lines(part.parts)


def text(steps: Sequence[Step]) -> str:
    return "\n".join(lines([step.part for step in steps]))


def apdu_text(apdu: bytes, *, is_sent: bool = True, dialogue: Dialogue | None = None) -> str:
    return "\n".join(lines([(dialogue or Dialogue()).part(apdu, is_sent=is_sent)]))


def test_a_published_aarq_is_shown_without_its_password() -> None:
    shown = apdu_text(load("dlms-acse-047").frame)

    assert "mechanism: low" in shown
    assert "authentication value: 8 octets, not shown" in shown
    assert "12345678" not in shown
    assert b"12345678".hex() not in shown


def test_a_published_get_request_names_its_attribute() -> None:
    case = load("dlms-apdu-041")

    shown = apdu_text(case.frame)

    assert shown.startswith("GET-request: ")
    assert " attribute " in shown


def test_a_published_range_selection_shows_its_instants() -> None:
    selection = load("dlms-apdu-044").frame

    shown = apdu_text(bytes.fromhex("c001c1 0007 0100630100ff 02 01") + selection)

    assert "profile generic" in shown
    assert " status 0x" in shown


def test_a_published_notification_shows_its_values() -> None:
    assert "data-notification" in apdu_text(load("dlms-apdu-035").frame, is_sent=False)


def test_a_published_ciphered_request_is_opened_with_its_keys_and_only_with_them() -> None:
    case = load("dlms-crypto-032")
    keys = Keys(case.key("encryption_key"), case.key("authentication_key"))
    title = bytes.fromhex(case.expected["system_title"])
    content = (
        b"\x30" + case.expected["invocation_counter"].to_bytes(4) + bytes.fromhex(case.expect["cipher_and_tag_hex"])
    )
    apdu = b"\xc8" + bytes([len(content)]) + content

    closed = apdu_text(apdu)
    opened = apdu_text(apdu, dialogue=Dialogue(keys, client_title=title))
    wrong = apdu_text(apdu, dialogue=Dialogue(Keys(bytes(16), bytes(16)), client_title=title))

    assert "globally ciphered" in closed
    assert "GET-request" not in closed
    assert "opened, verified" in opened
    assert "GET-request: " in opened
    assert "fault: not opened: authentication tag is wrong" in wrong
    assert keys.encryption.hex() not in opened + wrong
    assert keys.authentication.hex() not in opened + wrong


def test_a_published_profile_in_segments_is_one_answer_with_its_rows() -> None:
    case = load("gurux-segmented-profile")

    steps = list(take_apart(trace("hdlc", *(("<", frame) for frame in case.frames))))

    assert "segment: " in text(steps)
    assert "GET-response" in text(steps)
    assert not [step.fault for step in steps if step.fault]


def test_the_time_between_frames_is_told() -> None:
    request, answer = (
        bytes.fromhex("000100100001000dc001c1000100002a0000ff0200"),
        bytes.fromhex("000100010010000400000000"),
    )
    whole = Trace(trace("wrapper").header, (
        Record(1, 0, "@", text="x"), Record(1, 1_000, ">", request), Record(1, 26_000, "<", answer[:5]),
        Record(1, 31_000, "<", answer[5:]), Record(1, 40_000, "!", text="TransportTimeout: nothing"),
    ))  # fmt: skip

    steps = list(take_apart(whole))

    assert [(step.mark, step.at, step.gap) for step in steps] == [
        ("@", 0, 0), (">", 1_000, 1_000), ("<", 31_000, 30_000), ("!", 40_000, 9_000),
    ]  # fmt: skip
    assert "not one we know" in steps[2].fault


def test_damage_and_noise_are_named_and_the_next_frame_is_read() -> None:
    frame = bytes.fromhex("7ea00802232153b1a27e")
    broken = frame[:5] + b"\xff" + frame[6:]

    steps = list(take_apart(trace("hdlc", ("<", b"\x00\xff"), ("<", broken), (">", frame), ("<", frame[:6]))))

    assert any("check sequence" in step.fault for step in steps)
    assert any("noise" in step.fault for step in steps)
    assert "HDLC DISC: 16 to 1/17" in text(steps)
    assert "at the end make no whole frame" in steps[-1].fault


def test_modbus_registers_are_shown_with_the_names_of_the_model() -> None:
    modbus = load_profiles()["sim-modbus-rtu"].modbus
    assert modbus is not None

    steps = list(take_apart(trace("rtu", (">", REQUEST), ("<", ANSWER[:4]), ("<", ANSWER[4:])), points=modbus.points))

    assert "read holding registers: 10 to 11" in text(steps)
    assert "active_energy_import 1-0:1.8.0*255: " in text(steps)
    assert not [step.fault for step in steps if step.fault]


def test_modbus_faults_are_named() -> None:
    rtu = take_apart(
        trace("rtu", ("<", b"\x00"), (">", REQUEST), ("<", ANSWER[:-1] + b"\x00"), (">", REQUEST), ("<", EXCEPTION))
    )
    tcp = take_apart(
        trace("tcp", (">", TCP_REQUEST), ("<", b"\x00\x02" + TCP_REQUEST[2:]), ("<", b"GET / HTTP/1.1\r\n"))
    )

    faults = [step.fault for step in (*rtu, *tcp) if step.fault]

    assert any("answer nothing" in fault for fault in faults)
    assert any("wrong CRC" in fault for fault in faults)
    assert any("transaction 2, asked was 1" in fault for fault in faults)
    assert any("not Modbus TCP" in fault for fault in faults)


def test_a_framing_that_nobody_knows_is_refused() -> None:
    with pytest.raises(TraceError, match="'pigeon' is not one"):
        list(take_apart(trace("pigeon", (">", b"coo"))))


@given(
    st.lists(st.tuples(st.sampled_from([">", "<", "x"]), st.binary(max_size=200)), max_size=10),
    st.sampled_from(FRAMINGS),
)
def test_whatever_was_carried_is_taken_apart(carried: list[tuple[str, bytes]], framing: str) -> None:
    points: tuple[ModbusPoint, ...] = ()

    assert list(take_apart(trace(framing, *carried), Keys(bytes(16), bytes(16)), points))


@given(
    st.binary(max_size=80),
    st.sampled_from([0x60, 0x61, 0x21, 0xC0, 0xC1, 0xC4, 0xC8, 0xD4, 0xDB, 0xDC, 0xDD, 0xDF, 0xE0, 0x0F, 0x2F]),
)
def test_whatever_an_apdu_holds_is_shown_or_named_as_a_fault(content: bytes, tag: int) -> None:
    apdu = bytes([tag]) + content
    wrapped = b"\x00\x01\x00\x10\x00\x01" + len(apdu).to_bytes(2, "big") + apdu

    assert list(take_apart(trace("wrapper", (">", wrapped), ("<", wrapped)), Keys(bytes(16), bytes(16))))


REQUEST = bytes.fromhex("0103000a0002e409")
ANSWER = bytes.fromhex("010304000233004f03")
EXCEPTION = bytes.fromhex("018302c0f1")
TCP_REQUEST = bytes.fromhex("0001000000060103000a0002")


@pytest.mark.parametrize("case", [case for case in load_pushes() if case.error is None], ids=lambda case: case.name)
def test_every_published_push_is_taken_apart(case: Push) -> None:
    found = case.keys()
    keys = Keys(found.encryption, found.authentication) if found else None

    shown = list(take_apart(trace("push", ("<", case.frame)), keys))
    closed = text(list(take_apart(trace("push", ("<", case.frame)))))

    assert not [step.fault for step in shown if step.fault]
    assert "data-notification: " in text(shown)
    assert ("data-notification: " in closed) is (keys is None)


def test_a_telegram_is_taken_apart() -> None:
    (folder,) = (PUSHES.parent / "p1").glob("*e360")

    shown = text(list(take_apart(trace("push", ("<", bytes.fromhex((folder / "frame.hex").read_text()))))))

    assert "telegram: 26 objects" in shown
    assert "active_energy_import 1-0:1.8.0*255: long64-unsigned 896020, 10^0 Wh" in shown


def test_blocks_are_numbered_and_what_they_hold_stands_behind_the_last() -> None:
    apdu = load("dlms-apdu-041").frame
    blocks = [
        bytes([0xE0, control, 0, number, 0, 0, len(piece)]) + piece
        for number, (control, piece) in enumerate([(0x01, apdu[:5]), (0x81, apdu[5:])], start=1)
    ]
    dialogue = Dialogue()

    shown = [apdu_text(block, dialogue=dialogue) for block in blocks]

    assert shown[0] == "block: 1, 5 octets, window 1, acknowledges 0"
    assert "GET-request: " in shown[1]


def test_general_ciphering_is_opened_with_the_global_key_and_shown_closed_without() -> None:
    keys, title = Keys(bytes(range(16)), bytes(range(16, 32))), b"HEDTEST1"
    header = general.Header(b"\x01", title, b"METER001")
    content = encrypt(keys, title, 7, load("dlms-apdu-041").frame, general=header.encode())
    apdu = GeneralCiphering(header, IdentifiedKey(), content).encode()

    opened, closed = apdu_text(apdu, dialogue=Dialogue(keys)), apdu_text(apdu)
    wrapped = apdu_text(GeneralCiphering(header, WrappedKey(bytes(24)), content).encode(), dialogue=Dialogue(keys))

    assert "originator: " + title.hex() in closed
    assert "GET-request: " in opened
    assert "opened, verified" in opened
    assert "GET-request" not in closed + wrapped
    assert "key: wrapped-key" in wrapped
    assert "fault" not in wrapped + closed


def test_a_signed_apdu_shows_what_it_holds() -> None:
    apdu = GeneralSigning(
        general.Header(b"\x01", b"HEDTEST1", b"METER001"), load("dlms-apdu-041").frame, bytes(64)
    ).encode()

    shown = apdu_text(apdu)

    assert "signature: 64 octets, not verified" in shown
    assert "GET-request: " in shown


def test_a_dedicated_key_is_learnt_from_the_opened_request_and_never_shown() -> None:
    keys, key, title = Keys(bytes(range(16)), bytes(range(16, 32))), bytes(range(32, 48)), b"HEDTEST1"
    initiate = InitiateRequest(Conformance(0), 1_024, dedicated_key=key).encode()
    asked = load("dlms-apdu-041").frame
    sealed = [
        bytes([tag]) + bytes([len(octets)]) + octets
        for tag, octets in (
            (0x21, encrypt(keys, title, 1, initiate)),
            (0xD0, encrypt(Keys(key, keys.authentication), title, 1, asked)),
        )
    ]
    octets = encrypt(Keys(key, keys.authentication), title, 2, asked)
    general = b"\xdc\x00" + bytes([len(octets)]) + octets

    dialogue = Dialogue(keys, client_title=title)
    shown = "\n".join(apdu_text(apdu, dialogue=dialogue) for apdu in (*sealed, general))
    without = apdu_text(sealed[1], dialogue=Dialogue(keys, client_title=title))

    assert shown.count("GET-request: ") == 2
    assert key.hex() not in shown
    assert "dedicated key is not in what was opened" in without


def test_signed_blocks_of_signed_blocks_are_not_followed() -> None:
    apdu = load("dlms-apdu-041").frame
    for _ in range(200):
        block = bytes.fromhex("e08100010000") + encode_length(len(apdu)) + apdu
        apdu = general.GeneralSigning(general.Header(b"\x01", b"HEDTEST1", b"METER001"), block, b"").encode()

    assert "fault: holds a signed APDU again, or blocks" in apdu_text(apdu)


def test_published_dlt645_frames_are_taken_apart_and_a_damaged_one_is_named() -> None:
    folder = PUSHES.parent / "dlt645"
    answer = bytes.fromhex((folder / "dlt645-063-forward-energy" / "frame.hex").read_text())
    damaged = bytes.fromhex((folder / "dlt645-076-bad-checksum" / "frame.hex").read_text())
    request = bytes.fromhex("68610100000000681104333334331416")

    steps = list(take_apart(trace("dlt645", (">", request), ("<", answer[:7]), ("<", answer[7:]), ("<", damaged))))

    shown = text(steps)
    assert "DL/T 645: to 000000000161\nrequest: read\ndata identifier: 00 01 00 00" in shown
    assert (
        "DL/T 645: from 000000000161\nanswer: read\ndata identifier: 00 01 00 00\ndata: 4 octets: 26 00 00 00" in shown
    )
    assert [step.fault for step in steps if step.fault] == [
        "a frame with a wrong checksum: " + damaged.hex(" ")[:47] + " ..."
    ]


def test_an_iec_62056_21_session_is_taken_apart_and_a_damaged_message_is_named() -> None:
    folder = PUSHES.parent / "iec62056"
    printed = bytes.fromhex((folder / "readout-iskra-mt174" / "frame.hex").read_text())
    head = printed.index(b"\x02")
    operand = bytes.fromhex((folder / "iec62056-21-058-operand" / "frame.hex").read_text())
    damaged = printed[head:-1] + b"\x00"
    carried = [(">", b"\x00\x00/?1234!\r\n"), ("<", printed[:5]), ("<", printed[5:head]), (">", b"\x06050\r\n"),
               ("<", printed[head:40]), ("<", printed[40:]), ("<", operand), (">", b"\x15"), ("<", damaged)]  # fmt: skip

    steps = list(take_apart(trace("iec62056", *carried)))

    shown = text(steps)
    assert "IEC 62056-21: call /?1234!" in shown
    assert "IEC 62056-21: ISk MT174-0002, mode C, 9600 bit/s" in shown
    assert "IEC 62056-21: acknowledge, readout at speed 5" in shown
    assert "1-0:1.8.0*255: 0000502.853*kWh" in shown
    assert "IEC 62056-21: P0 password" in shown
    assert "IEC 62056-21: repeat (NAK)" in shown
    assert [step.fault for step in steps if step.fault] == ["check character of a message is 00, computed 19"]
