"""What is asked in which order, and what it is said to cost."""

from itertools import pairwise

import pytest

from drivers.transports.url import Form
from headend.scan.found import FoundMeter
from headend.scan.ground import LIKELY, Effort, Ground, Kind, parse_short, ranges, server, short, written
from headend.scan.pace import Pace
from headend.scan.plan import Scan, Verdict
from headend.scan.probe import Outcome, Question
from tests.headend.scan.town import E24, E96, N96

SILENCE = Verdict(Outcome.SILENCE)


def gone_through(scan: Scan) -> list[Question]:
    asked = []
    while (question := scan.next_question()) is not None:
        asked.append(question)
        scan.settle(question, SILENCE, scan.expected(question))
    return asked


def test_it_listens_first_then_asks_what_many_answer_then_likely_addresses_then_all_others() -> None:
    asked = gone_through(Scan(Ground()))

    stages = [
        0 if one.kind is Kind.LISTEN
        else 3 if (one.kind is Kind.MODBUS and int(one.target) > 32) or (one.kind is Kind.DLMS and one.target[2:] in {"18", "125"})
        else 2 if one.kind is Kind.MODBUS
        else 1
        for one in asked
        if one.kind is not Kind.DLMS or one.target in {"1/127", "1", "1/18", "1/125"}
    ]  # fmt: skip
    assert asked[0].kind is Kind.LISTEN
    assert all(before <= after for before, after in pairwise(stages))
    assert len(asked) == len(set(asked))


def test_likely_settings_come_first_and_those_where_somebody_answered_before_them() -> None:
    scan = Scan(Ground(protocols=("modbus",)))
    first = Question(Kind.LISTEN, E96, "")
    scan.settle(first, SILENCE, 2.0)
    scan.answered.append((Kind.MODBUS, Form(1_200, "E")))

    forms = list(dict.fromkeys(question.form for question in gone_through(scan)))

    assert forms == [Form(1_200, "E"), *(form for form in LIKELY if form != Form(1_200, "E"))]


@pytest.mark.parametrize(
    ("effort", "settings", "units", "minutes"), [("fast", 8, 32, 3), ("usual", 8, 247, 25), ("full", 27, 247, 120)]
)
def test_the_effort_says_how_many_settings_and_addresses(
    effort: Effort, settings: int, units: int, minutes: int
) -> None:
    scan = Scan(Ground(effort))

    before = scan.remaining()
    modbus = [track for track in scan.due() if track.kind is Kind.MODBUS]

    assert len({track.form for track in modbus}) == settings
    assert sum(track.left for track in modbus) == settings * units
    assert before < minutes * 60


def test_what_is_left_falls_by_the_cost_of_each_question_and_ends_at_nothing() -> None:
    scan = Scan(Ground("fast"))
    left = [scan.remaining()]
    costs = []
    while (question := scan.next_question()) is not None:
        costs.append(scan.expected(question))
        scan.settle(question, SILENCE, costs[-1])
        left.append(scan.remaining())

    for (before, after), cost in zip(pairwise(left), costs, strict=True):
        assert before - after == pytest.approx(cost, abs=0.01)
    assert left[-1] == 0


def test_a_slower_machine_is_learned() -> None:
    scan = Scan(Ground("fast"))
    before = scan.remaining()

    while scan.pace.spent < 60:
        question = scan.next_question()
        assert question is not None
        scan.settle(question, SILENCE, 1.5 * scan.expected(question))

    assert scan.pace.spent + scan.remaining() == pytest.approx(1.5 * before, rel=0.15)


def test_an_answer_that_is_quicker_than_silence_does_not_make_silence_quicker() -> None:
    pace = Pace()

    pace.note(1.0, 0.1, is_silence=False)

    assert pace.factor == 1.0


def test_where_one_wildcard_is_garbled_its_hundred_parts_are_counted() -> None:
    scan = Scan(Ground(protocols=("dlt645",), bauds=(2_400,), parities=("E",)))
    scan.settle(Question(Kind.LISTEN, E24, ""), SILENCE, 2.0)
    question = scan.next_question()
    assert question is not None

    scan.settle(question, Verdict(Outcome.GARBLED, why="garbled"), 2.0)

    assert scan.questions_left() == 100
    assert scan.crowds == []
    assert scan.remaining() > 100 * 0.6


def test_one_meter_of_dlt645_is_known_by_its_address_at_every_setting() -> None:
    here = FoundMeter(Kind.DLT645_2007, E24, "000000000001")

    assert here.is_same(FoundMeter(Kind.DLT645_1997, E96, "000000000001"))
    assert not here.is_same(FoundMeter(Kind.DLT645_2007, E24, "000000000002"))


def test_two_nameless_units_of_one_number_at_two_settings_may_be_two_meters() -> None:
    scan = Scan(Ground())
    scan.settle(Question(Kind.LISTEN, E96, ""), SILENCE, 2.0)

    for form in (E96, N96):
        scan.again.append(Question(Kind.MODBUS, form, "3"))
        scan.settle(scan.again[0], Verdict(Outcome.ANSWER, "3", (FoundMeter(Kind.MODBUS, form, "3"),)), 0.1)

    assert [meter.note for meter in scan.meters] == ["", "may be the one at 9600 8E1, which does not look at parity"]


def test_settings_servers_and_ranges_are_written_as_they_are_read() -> None:
    assert parse_short(short(E96)) == E96
    assert [written(server(text)) for text in ("1", "1/17", "1/17:4", "1/16383")] == ["1", "1/17", "1/17:4", "1/16383"]
    assert ranges((1, 2, 3, 7, 9, 10)) == "1-3,7,9-10"
    with pytest.raises(ValueError, match="no setting"):
        parse_short("0 8N1")
