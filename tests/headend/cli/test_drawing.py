"""Drawing a day: gaps, qualities by character, long days in panels, days of 23 and 25 hours."""

from datetime import UTC, date
from decimal import Decimal
from zoneinfo import ZoneInfo

from drivers.units import Unit
from headend.cli.drawing import draw
from headend.report import Days, Slot
from kernels.quality import Reason, State

START = 1_732_060_800  # 2024-11-20T00:00:00Z
BERLIN = ZoneInfo("Europe/Berlin")


def day(period: int, *states: State, value: int = 100) -> list[Slot]:
    return [
        Slot(START + index * period, period, Decimal(value) if state.value in range(2, 6) else None, Unit.WATT_HOUR, state,
             Reason.NONE)
        for index, state in enumerate(states)
    ]  # fmt: skip


def columns(text: str, line: int) -> str:
    return text.splitlines()[line][10:]


def test_each_quality_has_its_own_character() -> None:
    slots = day(1800, State.MEASURED, State.ESTIMATED, State.QUESTIONABLE, State.EDITED, State.MISSING, State.EXPECTED)

    ascii_text = draw(slots, UTC, width=80, height=3, is_ascii=True)
    text = draw(slots, UTC, width=80, height=3, is_ascii=False)

    assert columns(ascii_text, 0) == "#e?m"
    assert columns(ascii_text, 3) == "----xx"
    assert len(set(columns(text, 0))) == 4
    assert columns(text, 3)[4:] == "xx"


def test_slot_that_was_not_expected_between_others_is_left_out() -> None:
    slots = day(1800, State.MEASURED, State.MEASURED, State.MEASURED)
    del slots[1]

    text = draw(slots, UTC, width=80, height=3, is_ascii=True)

    assert columns(text, 0) == "# #"
    assert columns(text, 3) == "- -"


def test_long_day_is_cut_into_panels_that_fit() -> None:
    slots = day(900, *([State.MEASURED] * 96))

    lines = draw(slots, UTC, width=60, height=3, is_ascii=True).splitlines()

    assert max(len(line) for line in lines[:-1]) <= 60
    assert sum(line.count("-") for line in lines[:-1]) == 96


def test_day_without_any_value_still_shows_its_gaps() -> None:
    text = draw(day(1800, *([State.MISSING] * 48)), UTC, width=80, height=12, is_ascii=True)

    assert "x" * 48 in text
    assert len(text.splitlines()) == 4
    assert text.endswith("missing 48; sum -")


def test_sum_of_a_day_with_gaps_stands_beside_their_number() -> None:
    text = draw(day(1800, State.MEASURED, State.MISSING), UTC, width=80, height=3, is_ascii=True)

    assert text.endswith("# measured 1, x missing 1; sum 100 Wh")


def test_small_value_is_not_drawn_as_nothing() -> None:
    slots = day(1800, State.MEASURED, State.MEASURED)
    slots[1] = Slot(slots[1].start, 1800, Decimal(1), Unit.WATT_HOUR, State.MEASURED, Reason.NONE)

    assert columns(draw(slots, UTC, width=80, height=4, is_ascii=True), 3) == "##"


def test_nothing_due_draws_nothing() -> None:
    assert draw([], UTC, width=80, height=4, is_ascii=True) == ""


def test_local_days_have_23_24_or_25_hours() -> None:
    hours = []
    for which in (date(2024, 3, 31), date(2024, 6, 1), date(2024, 10, 27)):
        start, end = Days(which, which).span(BERLIN)
        hours.append((end - start) // 3600)

    assert hours == [23, 24, 25]
