"""Cases made of traces: what was carried, nothing that is secret, and frames that still are frames."""

import tomllib
from dataclasses import replace

import pytest

from drivers.dlms.events import NEED_DATA
from drivers.dlms.hdlc import Frame, FrameReader
from drivers.trace.case import expected_toml, frame_hex, names_of
from drivers.trace.text import Header, Record, Trace, TraceError
from drivers.trace.tree import take_apart
from tests.drivers.dlms.cases import load

NAME = "ACM0000000004711"


def trace(framing: str, *carried: tuple[str, bytes]) -> Trace:
    records = [Record(1, at, mark, octets) for at, (mark, octets) in enumerate(carried, start=1)]  # type: ignore[arg-type]
    return Trace(Header(NAME, "acme-e40", framing), (Record(1, 0, "@", text="2026-01-01T00:00:00Z"), *records))


def test_reads_in_pieces_are_one_line_and_directions_are_told() -> None:
    frames, directions = frame_hex(
        trace("wrapper", (">", b"\x00\x01"), ("<", b"\x02"), ("<", b"\x03"), (">", b"\x04")), []
    )

    assert (frames, directions) == ("0001\n0203\n04\n", "><>")


def test_a_name_in_an_hdlc_frame_is_hidden_and_the_frame_stays_whole() -> None:
    information = bytes.fromhex("e6e700c401c1000910") + NAME.encode()
    (segment,) = _frames(load("gurux-segmented-profile").frames[0])
    frame = Frame(segment.destination, segment.source, segment.kind, information=information)

    frames, _ = frame_hex(trace("hdlc", ("<", frame.encode())), [NAME])

    (hidden,) = _frames(bytes.fromhex(frames))
    assert hidden.information == information.replace(NAME.encode(), b"*" * len(NAME))


def test_the_skeleton_expects_nothing_and_names_nobody() -> None:
    apdu = bytes.fromhex("c401c1000910") + NAME.encode()
    whole = trace("wrapper", ("<", bytes.fromhex("0001000100100016") + apdu))

    steps = list(take_apart(whole))
    text = expected_toml(whole, names_of(whole, steps), "<", steps)

    document = tomllib.loads(text)
    assert document["expect"] == {}
    assert document["origin"] == {"source": "", "licence": ""}
    assert NAME not in text
    assert "GET-response" in text


def test_what_a_meter_says_of_itself_is_hidden_though_the_trace_calls_it_otherwise() -> None:
    asked = bytes.fromhex("0001 0010 0001 000d c001c1 0001 00002a0000ff 0200")
    answer = bytes.fromhex("0001 0001 0010 0016 c401c100 0910") + NAME.encode()
    whole = trace("wrapper", (">", asked), ("<", answer))
    whole = replace(whole, header=replace(whole.header, meter="tcp://192.0.2.7:4059 1"))

    names = names_of(whole, list(take_apart(whole)))
    frames, _ = frame_hex(whole, names)

    assert NAME in names
    assert NAME.encode().hex() not in frames
    assert (b"*" * len(NAME)).hex() in frames


def test_a_trace_of_nothing_makes_no_case() -> None:
    with pytest.raises(TraceError, match="no octets"):
        frame_hex(trace("wrapper"), [])


def _frames(octets: bytes) -> list[Frame]:
    reader, found = FrameReader(), []
    reader.receive_data(octets)
    while (frame := reader.next_event()) is not NEED_DATA:
        found.append(frame)
    return found
