"""The state of a scan on disk: whole or not at all, of this scan or refused, and never trusted."""

import json
from pathlib import Path
from typing import Any

import pytest

from headend.scan.found import Crowd, FoundMeter
from headend.scan.ground import Effort, Ground, Kind
from headend.scan.plan import PATIENT, Scan, Verdict
from headend.scan.probe import Outcome, Question
from headend.scan.state import MAX_OCTETS, StateFault, StateFile, dump, load
from tests.headend.scan.town import E24, E96, N96


def halfway() -> Scan:
    scan = Scan(Ground("fast"))
    meter = FoundMeter(Kind.MODBUS, N96, "3", "SIM:1003", "a meter", "sim-modbus-rtu", "", ("3 at 9600 8E1",), "note")
    for _ in range(40):
        question = scan.next_question()
        assert question is not None
        outcome = Outcome.GARBLED if question.kind is Kind.DLT645_2007 and question.form == E24 else Outcome.SILENCE
        scan.settle(question, Verdict(outcome, why="garbled"), 0.5)
    scan.meters.append(meter)
    scan.crowds.append(Crowd(Kind.MODBUS, E96, "9", "garbled"))
    scan.again.append(Question(Kind.MODBUS, E96, "11", PATIENT))
    scan.strangers.append("somebody")
    scan.refuse(E96)
    return scan


def test_a_scan_goes_on_from_what_was_written_as_if_nothing_had_been() -> None:
    before = halfway()

    after = Scan(Ground("fast"))
    load(dump(before, "port"), after, "port")

    assert dump(after, "port") == dump(before, "port")
    assert after.next_question() == before.next_question()
    assert (after.meters, after.crowds, after.again, after.refused) == (
        before.meters, before.crowds, before.again, before.refused,
    )  # fmt: skip
    assert after.pace == before.pace


@pytest.mark.parametrize(
    ("port", "effort", "wait", "told"),
    [
        ("other", "fast", None, "port port instead of other"),
        ("port", "full", None, "effort fast instead of full"),
        ("port", "fast", 0.7, "wait usual instead of 0.7 s"),
    ],
)
def test_the_state_of_another_scan_is_refused_saying_what_differs(
    port: str, effort: Effort, wait: float | None, told: str
) -> None:
    with pytest.raises(StateFault, match=f"of another scan: .*{told}"):
        load(dump(halfway(), "port"), Scan(Ground(effort), wait), port)


def broken(**changes: Any) -> bytes:
    return json.dumps({**json.loads(dump(halfway(), "port")), **changes}).encode()


def tracks(**changes: Any) -> bytes:
    document = json.loads(dump(halfway(), "port"))
    return json.dumps({**document, "tracks": document["tracks"] | changes}).encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b" " * (MAX_OCTETS + 1),
        dump(halfway(), "port")[:-20],
        broken(format="headend.scan-state/9"),
        broken(scan="port"),
        broken(tracks={}),
        broken(meters={}),
        broken(meters=[{}]),
        broken(meters=[3]),
        broken(crowds=[{"kind": "modbus", "form": "9600 8N1", "address": "a\nb", "why": ""}]),
        broken(crowds=[{"kind": "modbus", "form": "0 8N1", "address": "1", "why": ""}]),
        broken(again=[["modbus", "9600 8N1", "many"]]),
        broken(again=[["modbus", "9600 8N1", "999"]]),
        broken(again=[["dlms", "9600 8N1", "1/99999999"]]),
        broken(strangers=["x" * 1_000]),
        broken(answered=[["modbus"]]),
        broken(pace={"spent": "long"}),
        broken(pace={"spent": float("nan")}),
        tracks(**{"modbus 9600 8E1 3": 33}),
        tracks(**{"modbus 9600 8E1 3": -1}),
        tracks(**{"modbus 9600 8E1 3": True}),
        tracks(**{"dlt645-2007 2400 8E1 1": 4}),
        tracks(**{"dlt645-2007 2400 8E1 1": ["1"]}),
        tracks(**{"dlt645-2007 2400 8E1 1": ["01", "01"]}),
        tracks(**{"dlt645-2007 2400 8E1 1": ["AA"]}),
        tracks(**{"dlt645-2007 2400 8E1 1": ["01"] * 50_000}),
    ],
)
def test_what_is_no_state_is_refused(octets: bytes) -> None:
    with pytest.raises(StateFault):
        load(octets, Scan(Ground("fast")), "port")


def test_a_file_is_replaced_as_a_whole_and_a_half_written_one_is_never_read(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "new" / "scan.json")
    assert file.read() is None

    file.write(b"one")
    (tmp_path / "new" / "scan.json.new").write_bytes(b"tw")  # the crash came while writing

    assert file.read() == b"one"
    file.write(b"two")
    assert file.read() == b"two"
    file.remove()
    file.remove()
    assert list((tmp_path / "new").iterdir()) == []
