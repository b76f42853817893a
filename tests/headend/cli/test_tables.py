"""Rows laid out for people, on wide terminals and narrow ones."""

import time
from collections.abc import Iterator

from headend.cli.tables import lay_out

TITLES = ("Meter", "Slots", "What to do next")
NUMBERS = (False, True, False)
ROWS = [("SIM:1", "7", "check the wiring"), ("SIM0000000000017", "48", "nothing")]


def stripped(lines: Iterator[str]) -> list[str]:
    return [line.rstrip() for line in lines]


def test_rows_that_fit_are_one_line_each_and_numbers_stand_to_the_right() -> None:
    lines = stripped(lay_out(TITLES, NUMBERS, ROWS, 80))

    assert lines[0] == "Meter              Slots   What to do next"
    assert lines[2:] == ["SIM:1                  7   check the wiring", "SIM0000000000017      48   nothing"]
    assert set(lines[1]) == {"─"}


def test_ascii_table_is_ascii() -> None:
    lines = stripped(lay_out(TITLES, NUMBERS, ROWS, 80, is_ascii=True))

    assert lines[1] == "-----------------+-------+-----------------"
    assert lines[3] == "SIM0000000000017 |    48 | nothing"


def test_what_does_not_fit_is_wrapped_between_words_and_no_word_is_broken() -> None:
    lines = stripped(lay_out(TITLES, NUMBERS, ROWS, 40))

    assert max(map(len, lines)) <= 40
    assert lines[3:5] == ["SIM:1                  7   check the", "                           wiring"]


def test_a_terminal_too_narrow_for_a_table_gets_one_field_a_line() -> None:
    lines = stripped(lay_out(TITLES, NUMBERS, [*ROWS, ("SIM:2", "", "")], 30))

    assert lines == [
        "Meter            SIM:1",
        "Slots            7",
        "What to do next  check the wiring",
        "",
        "Meter            SIM0000000000017",
        "Slots            48",
        "What to do next  nothing",
        "",
        "Meter            SIM:2",
    ]


def test_wide_characters_are_counted_as_the_terminal_does() -> None:
    lines = stripped(lay_out(("Area", "Slots"), (False, True), [("台区", "1"), ("north", "2")], 80))

    assert lines[2:] == ["台区        1", "north       2"]


def test_what_a_meter_sent_moves_no_cursor_and_makes_no_line() -> None:
    lines = stripped(lay_out(("Detail",), (False,), [("a\x1b[2Jb\nc",)], 80))

    assert lines[2:] == ["a?[2Jb c"]


def test_verdicts_are_coloured_without_moving_what_follows() -> None:
    lines = stripped(lay_out(("R", "C"), (False, False), [("PASS", "x")], 80, style=lambda cell: f"<{cell}>"))

    assert lines[2] == "<PASS>   <x>"


def test_no_rows_leave_the_heading() -> None:
    assert next(iter(lay_out(TITLES, NUMBERS, [], 80))) == "Meter   Slots   What to do next"


def test_twenty_thousand_rows_are_laid_out_at_once() -> None:
    rows = [
        (f"SIM:{number}", str(number), "check the meter's power, address and baud rate") for number in range(20_000)
    ]
    started = time.process_time()

    count = sum(1 for _ in lay_out(TITLES, NUMBERS, rows, 60))

    assert count > 20_000
    assert time.process_time() - started < 5
