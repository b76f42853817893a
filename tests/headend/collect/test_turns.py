"""Whose turn it is: urgency, age, and polls that are worth nothing later."""

from dataclasses import dataclass

from headend.collect.job import Priority
from headend.collect.turns import AGEING, Turns


@dataclass(frozen=True)
class Work:
    priority: Priority
    order: int
    since: float = 0.0
    is_punctual: bool = False


OLD = Work(Priority.BACKFILL, 1)
POLL = Work(Priority.SCHEDULED, 2, AGEING, is_punctual=True)
TICK = Work(Priority.SCHEDULED, 3, AGEING)
ALARM = Work(Priority.ALARM, 4, AGEING)


def test_aged_work_gets_every_second_turn_but_never_before_an_alarm() -> None:
    turns, now = Turns(), AGEING + 1

    assert [turns.choose([OLD, TICK], now) for _ in range(4)] == [OLD, TICK, OLD, TICK]
    assert turns.choose([OLD, ALARM], now) is ALARM


def test_polls_at_their_boundary_are_not_overtaken_by_what_has_aged() -> None:
    turns, now = Turns(), AGEING + 1

    assert [turns.choose([OLD, POLL], now + second) for second in range(40)] == [POLL] * 40
    assert turns.choose([OLD], now + 40) is OLD


def test_polls_that_have_had_the_line_for_as_long_as_ageing_takes_let_one_go_first() -> None:
    turns, now = Turns(), AGEING + 1

    chosen = [turns.choose([OLD, POLL], now + minute * 60) for minute in range(24)]

    assert chosen.count(OLD) == 2
    assert chosen.index(OLD) == 11
