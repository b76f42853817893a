"""Status words become rules by layouts; what is missing gets a cause; what no layout explains is kept and not interpreted."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProfileError
from drivers.facts import IntervalBlock, RegisterValue, StatusWord
from drivers.obis import Obis
from drivers.status import (
    RULES,
    UNDECLARED,
    Meaning,
    Stated,
    StatusBit,
    StatusLayout,
    marked,
    marked_registers,
    marked_span,
)
from drivers.units import ScalerUnit, Unit
from kernels.quality import Rule
from tests.drivers.layouts import DLMS, layout_of

OBIS, WH = Obis(1, 0, 1, 29, 0), ScalerUnit(0, Unit.WATT_HOUR)
START, PERIOD = 1_767_225_600, 900
IDIS = layout_of("idis-base", **DLMS)
DOWN, ADJUSTED, INVALID = 0x80, 0x20, 0x04
# Baer DLX, manual, page 155: device status in the registration period.
BAER = StatusLayout(
    "Baer DLX device status",
    "manual, page 155",
    tuple(
        StatusBit(bit, name, Meaning(means))
        for bit, name, means in (
            (0, "restart", "nothing"), (1, "parameter change", "nothing"), (2, "manual change", "doubtful"),
            (3, "power failure", "power_failure"), (4, "warning", "nothing"), (5, "error", "doubtful"),
            (6, "time set", "clock_set"), (7, "test mode", "test_mode"), (9, "summertime switching", "nothing"),
        )
    ),
)  # fmt: skip


def block_of(*counts: int | None) -> IntervalBlock:
    return IntervalBlock(OBIS, WH, START, PERIOD, counts)


def said(words: dict[float, int]) -> list[Stated]:
    """Words by slot; a half is a row stamped within one."""
    return [Stated(START + int(slot * PERIOD), word) for slot, word in words.items()]


def rules_of(counts: Sequence[int | None], words: dict[float, int], layout: StatusLayout = IDIS) -> list[Rule]:
    found = marked(block_of(*counts), layout, said(words), 0)
    return list(found.rules or (Rule(0),) * len(counts))


# -- layouts


@pytest.mark.parametrize(
    ("word", "rules"),
    [
        (0x80, Rule.POWER_FAILURE), (0x20, Rule.CLOCK_SET), (0x08, Rule(0)), (0x04, Rule.METER_STATUS),
        (0x06, Rule.METER_STATUS), (0x05, Rule.METER_STATUS), (0xA8, Rule.POWER_FAILURE | Rule.CLOCK_SET),
    ],
)  # fmt: skip
@pytest.mark.parametrize("base", ["idis-base", "dsmr-base"])
def test_the_octet_of_idis_and_dsmr_says_what_their_documents_say(base: str, word: int, rules: Rule) -> None:
    assert layout_of(base, **DLMS).rules(word) == rules


def test_a_published_word_of_a_registrator_is_what_its_manual_says() -> None:
    assert BAER.rules(0b0000_0000_0001_1001) == Rule.POWER_FAILURE
    assert BAER.rules(1 << 7) == Rule.TEST_MODE
    assert BAER.names(0b1_1001) == "restart, power failure, warning"


def test_a_word_is_described_by_meaning_bits_and_layout() -> None:
    assert IDIS.describe(0x88) == "power failure: status 0x88, bit 7 (power down) of IDIS AMR profile status"
    assert IDIS.describe(0xC0) == (
        "power failure, unknown: status 0xC0, bit 7 (power down), bit 6 (unknown) of IDIS AMR profile status"
    )
    assert IDIS.describe(0x08) == ""
    assert UNDECLARED.describe(0x01) == "unknown: status 0x01, bit 0 (unknown) of a layout nobody declared"


def test_a_layout_that_contradicts_itself_is_refused_with_every_fault() -> None:
    bits = [{"bit": 1, "name": "a", "means": "doubtful"}, {"bit": 1, "name": "b", "means": "odd"}, {"bit": 32}]

    with pytest.raises(ProfileError) as caught:
        layout_of("dlms-base", status_layout={"name": "x", "source": "y", "bits": bits}, **DLMS)

    told = "\n".join(caught.value.faults)
    for part in ("bits[1].bit: 1 is there twice", "bits[1].means: is 'odd'", "bits[2].bit: is 32", "bits[2].name"):
        assert part in told


def test_a_layout_without_bits_is_refused() -> None:
    with pytest.raises(ProfileError, match="explains at least one bit"):
        layout_of("dlms-base", status_layout={"name": "x", "source": "y"}, **DLMS)


# -- intervals


def test_a_value_keeps_and_gets_the_rules_of_its_word() -> None:
    block = IntervalBlock(OBIS, WH, START, PERIOD, (1, 2, 3), (Rule.CONFLICT, Rule(0), Rule(0)))

    found = marked(block, IDIS, said({0: DOWN, 2: INVALID}), 0)

    assert found.counts == block.counts
    assert found.rules == (Rule.CONFLICT | Rule.POWER_FAILURE, Rule(0), Rule.METER_STATUS)


def test_a_block_of_which_nothing_is_said_is_the_same_block() -> None:
    block = block_of(1, None, 3)

    assert marked(block, IDIS, [], 0) is block
    assert marked(block, IDIS, said({7: DOWN, -1: DOWN}), 0) is block


def test_a_word_nobody_declared_is_kept_and_not_interpreted() -> None:
    found = marked(block_of(1, 2, None), UNDECLARED, said({0: 0x80, 2: 0x80}), 0)

    assert found.rules == (Rule.STATUS_UNKNOWN, Rule(0), Rule(0))
    assert [one.word for one in found.status] == [0x80, 0x80]


def test_a_row_without_value_that_says_power_failure_had_no_power() -> None:
    assert rules_of([1, None, 3], {1: DOWN}) == [Rule(0), Rule.POWER_FAILURE, Rule(0)]
    assert rules_of([1, None, 3], {1: ADJUSTED}) == [Rule(0), Rule.CLOCK_SET, Rule(0)]


def test_rows_that_are_not_there_before_a_row_that_tells_why_had_no_power_but_for_the_slot_in_which_it_went() -> None:
    off = Rule.POWER_FAILURE

    assert rules_of([1, None, None, None, 5], {4: DOWN}) == [Rule(0), Rule(0), off, off, off]
    assert rules_of([1, None, None, 5], {0: DOWN, 3: DOWN}) == [off] * 4
    assert rules_of([1, None, None, None, 5], {1.5: DOWN, 4: DOWN}) == [Rule(0), Rule(0), off, off, off]
    assert rules_of([None, None, 3], {2: DOWN}) == [Rule(0), off, off]
    assert rules_of([1, None, 3], {2: DOWN}) == [Rule(0), Rule(0), off]


def test_rows_that_are_not_there_before_one_that_tells_nothing_have_no_cause() -> None:
    assert rules_of([1, None, None, 4], {0: DOWN}) == [Rule.POWER_FAILURE, Rule(0), Rule(0), Rule(0)]
    assert rules_of([1, None, None], {0: DOWN}) == [Rule.POWER_FAILURE, Rule(0), Rule(0)]


def test_a_clock_that_was_set_explains_a_gap_and_makes_no_outage_of_it() -> None:
    assert rules_of([1, None, None, 4], {3: ADJUSTED}) == [Rule(0), *[Rule.CLOCK_SET] * 3]
    both = rules_of([1, None, None, 4], {3: ADJUSTED | DOWN})
    assert both[1:3] == [Rule.CLOCK_SET] * 2


def test_a_row_that_ends_within_a_slot_is_said_of_that_slot_by_either_stamp() -> None:
    inside = START + PERIOD + PERIOD // 2

    by_end = marked(block_of(1, 2, 3), IDIS, [Stated(inside, DOWN), Stated(START + 3 * PERIOD, ADJUSTED)], PERIOD)
    by_start = marked(block_of(1, 2, 3), IDIS, [Stated(inside, DOWN), Stated(START + 2 * PERIOD, ADJUSTED)], 0)

    assert by_end.rules == by_start.rules == (Rule(0), Rule.POWER_FAILURE, Rule.CLOCK_SET)


def test_rows_that_come_by_halves_explain_no_gap() -> None:
    found = marked(block_of(1, None, None, 4), IDIS, said({0: DOWN, 3: DOWN}), 0, is_whole=False)

    assert found.rules == (Rule.POWER_FAILURE, Rule(0), Rule(0), Rule.POWER_FAILURE)


def test_equal_words_in_a_row_are_told_once_with_where_they_end() -> None:
    found = marked(block_of(1, 2, 3, 4), IDIS, said({0: DOWN, 1: DOWN, 2: DOWN | 8, 3: 8}), 0)

    assert [(one.start, one.end, one.word) for one in found.status] == [
        (START, START + 2 * PERIOD, DOWN), (START + 2 * PERIOD, START + 3 * PERIOD, DOWN | 8)
    ]  # fmt: skip


@given(
    st.lists(st.none() | st.integers(0, 99), min_size=1, max_size=20),
    st.dictionaries(st.integers(0, 39).map(lambda at: at / 2), st.integers(0, 2**32 - 1), max_size=12),
    st.sampled_from([IDIS, BAER, UNDECLARED]),
)
def test_counts_never_change_and_a_value_gets_its_own_words_rules_and_no_others(
    counts: list[int | None], words: dict[float, int], layout: StatusLayout
) -> None:
    found = marked(block_of(*counts), layout, said(words), 0)

    assert found.counts == tuple(counts)
    rules = found.rules or (Rule(0),) * len(counts)
    for slot, count in enumerate(counts):
        own = words.get(slot, 0) | words.get(slot + 0.5, 0)
        if count is not None:
            assert rules[slot] == layout.rules(own)
        else:
            assert not rules[slot] & ~(Rule.POWER_FAILURE | Rule.CLOCK_SET)
            is_told = any(
                word & (layout.mask(Meaning.POWER_FAILURE) | layout.mask(Meaning.CLOCK_SET)) for word in words.values()
            )
            assert is_told or not rules[slot]


# -- registers and logs


def test_a_register_at_the_end_of_a_doubted_interval_is_doubted_and_after_a_power_failure_as_good_as_ever() -> None:
    values = [RegisterValue(OBIS, 1, WH, START + slot * PERIOD) for slot in range(1, 4)]

    found = marked_registers(values, IDIS, said({0: INVALID, 1: DOWN, 2: ADJUSTED}), PERIOD)

    assert [one.rules for one in found] == [Rule.METER_STATUS, Rule(0), Rule(0)]


@pytest.mark.parametrize(
    ("first", "last", "expect"),
    [
        (0.5, 3.5, "v..v"),  # the power went in a slot that has a value: it has part of its energy
        (1.0, 3.0, "-xx-"),
        (1.5, 2.5, "----"),  # slots without value, which had power for a part
        (0.2, 0.4, "v---"),
        (0.3, 0.3, "v---"),
    ],
)
def test_a_log_marks_values_it_touches_and_what_is_missing_in_all_of_its_span(
    first: float, last: float, expect: str
) -> None:
    start, end = (START + int(at * PERIOD) for at in (first, last))
    word = StatusWord(start, end, 0x311, "power failure: x")

    found = marked_span(block_of(1, None, None, 4), start, end, RULES[Meaning.POWER_FAILURE], word)

    rules = found.rules or (Rule(0),) * 4
    assert [bool(rule) for rule in rules] == [sign in "vx." for sign in expect]
    assert found.status == ((word,) if any(rules) else ())


def test_a_profile_may_say_nothing_of_spans_that_a_log_cannot_tell() -> None:
    events = [{"di": "03110001", "depth": 1, "code": 1, "text": "x", "means": "test_mode"}]

    with pytest.raises(ProfileError, match="test_mode is no span of time"):
        layout_of("dlt645-2007-base", dlt645={"events": events})
