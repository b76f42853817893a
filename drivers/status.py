"""What a meter's own status of an interval says, by the layout that its profile declares: words in, rules out. No I/O.

DLMS, IEC 62056-21 and their companions leave the bits of a status to the companion standard or to the maker, so a layout is data,
and names its source. Bits that no layout explains are kept as they came and marked `Rule.STATUS_UNKNOWN`: never interpreted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from drivers.facts import IntervalBlock, RegisterValue, StatusWord, UtcSeconds
from kernels.quality import Reason, Rule, State
from kernels.status import flag_status

MAX_BIT: Final = 31
UInt32 = npt.NDArray[np.uint32]


class Meaning(StrEnum):
    """What a bit says of its interval."""

    POWER_FAILURE = "power_failure"
    CLOCK_SET = "clock_set"
    TEST_MODE = "test_mode"
    OVERFLOW = "overflow"
    DOUBTFUL = "doubtful"
    """The meter does not vouch for the value, or for its time."""
    NOTHING = "nothing"
    """It is known, and says nothing of the value: daylight saving, say."""


RULES: Final = {
    Meaning.POWER_FAILURE: Rule.POWER_FAILURE,
    Meaning.CLOCK_SET: Rule.CLOCK_SET,
    Meaning.TEST_MODE: Rule.TEST_MODE,
    Meaning.OVERFLOW: Rule.OVERFLOW,
    Meaning.DOUBTFUL: Rule.METER_STATUS,
}


OF_REGISTERS: Final = Rule.METER_STATUS | Rule.TEST_MODE | Rule.OVERFLOW | Rule.STATUS_UNKNOWN
"""What the status of an interval says of the register at its end: a power failure makes it no worse."""


@dataclass(frozen=True, slots=True)
class StatusBit:
    """One bit, 0 the lowest. ``name``: as the source has it."""

    bit: int
    name: str
    means: Meaning


@dataclass(frozen=True, slots=True)
class StatusLayout:
    """What the bits of a status word mean. ``source``: the public document that says so."""

    name: str = ""
    source: str = ""
    bits: tuple[StatusBit, ...] = ()

    def mask(self, meaning: Meaning) -> int:
        """Give the bits that mean it."""
        return sum(1 << one.bit for one in self.bits if one.means is meaning)

    @property
    def known(self) -> int:
        """The bits that the layout explains."""
        return sum(1 << one.bit for one in self.bits)

    def rules(self, word: int) -> Rule:
        """Say which rules a value breaks that comes with a status word."""
        found = Rule.STATUS_UNKNOWN if word & ~self.known else Rule(0)
        for one in self.bits:
            if word >> one.bit & 1:
                found |= RULES.get(one.means, Rule(0))
        return found

    def names(self, word: int) -> str:
        """Name the bits of a word that the layout has; empty for none."""
        return ", ".join(one.name for one in self.bits if word >> one.bit & 1)

    def describe(self, word: int) -> str:
        """Say in words what a status word says, and by which bits; empty where it says nothing of a value."""
        if not self.rules(word):
            return ""
        said = [one for one in self.bits if word >> one.bit & 1 and one.means is not Meaning.NOTHING]
        unknown = [str(bit) for bit in range(word.bit_length()) if (word & ~self.known) >> bit & 1]
        means = list(dict.fromkeys(one.means.replace("_", " ") for one in said)) + ["unknown"] * bool(unknown)
        bits = [f"bit {one.bit} ({one.name})" for one in said] + [f"bit {bit} (unknown)" for bit in unknown]
        return (
            f"{', '.join(means)}: status 0x{word:02X}, {', '.join(bits)} of {self.name or 'a layout nobody declared'}"
        )


UNDECLARED: Final = StatusLayout()
"""The layout of a profile that declares none: nothing is known."""


@dataclass(frozen=True, slots=True)
class Stated:
    """A status word with the stamp of its row, by the meter. [s UTC]"""

    stamp: UtcSeconds
    word: int


def marked(
    block: IntervalBlock, layout: StatusLayout, stated: Iterable[Stated], shift: int, *, is_whole: bool = True
) -> IntervalBlock:
    """Give the block with what status words say of its intervals.

    ``shift``: from a stamp back to the start of its interval; 0 where that is what it stamps. [s]  ``is_whole``: the block
    has all the rows that the meter has, so that a gap in them means something.

    A value gets the rules of its word. An interval without one gets `Rule.POWER_FAILURE` where the power was off in all of it, by its
    own word or by that of the row behind a gap (see `_bridge`), and `Rule.CLOCK_SET` where the clock passed over it. A row
    stamped within an interval covers a part of it: its word is said of a value there, and explains no interval without one.
    """
    on, off = (np.zeros(len(block.counts), np.uint32) for _ in range(2))
    for one in stated:
        slot, rest = divmod(one.stamp - shift - block.start, block.period)
        slot += bool(rest and shift)  # what ends within an interval is a part of that one
        if 0 <= slot < len(on):
            (off if rest else on)[slot] |= one.word
    every = on | off
    if not every.any():
        return block
    masks = {
        "power_failure": layout.mask(Meaning.POWER_FAILURE),
        "clock_set": layout.mask(Meaning.CLOCK_SET),
        "test_mode": layout.mask(Meaning.TEST_MODE),
        "overflow": layout.mask(Meaning.OVERFLOW),
        "doubtful": layout.mask(Meaning.DOUBTFUL),
    }
    has = np.array([count is not None for count in block.counts])
    rules = np.array(block.rules or [0] * len(has), np.uint32)
    reason = np.zeros(len(has), np.uint8)
    state = np.where(has, np.uint8(State.MEASURED), np.uint8(State.MISSING))
    flag_status(np.where(has, every, on), state, reason, rules, **masks)
    rules[reason == Reason.POWER_OFF] |= np.uint32(Rule.POWER_FAILURE)
    rules[reason == Reason.CLOCK_MOVED] |= np.uint32(Rule.CLOCK_SET)
    rules[has & (every & np.uint32(~layout.known & 0xFFFFFFFF) != 0)] |= np.uint32(Rule.STATUS_UNKNOWN)
    if is_whole:
        _bridge(has, every, rules, masks["power_failure"], masks["clock_set"])
    found = tuple(map(Rule, rules.tolist())) if rules.any() else ()
    return replace(block, rules=found, status=(*block.status, *_runs(block, layout, every.tolist())))


def marked_registers(
    values: Sequence[RegisterValue], layout: StatusLayout, stated: Iterable[Stated], after: int
) -> list[RegisterValue]:
    """Give registers with what the words of their rows say of a register. ``after``: from a stamp to when they were captured. [s]"""
    words = {one.stamp + after: one.word for one in stated}
    return [
        replace(value, rules=value.rules | (layout.rules(words.get(value.captured_at, 0)) & OF_REGISTERS))
        for value in values
    ]


def _bridge(has: npt.NDArray[np.bool_], words: UInt32, rules: UInt32, power_failure: int, clock_set: int) -> None:
    """Say of gaps in the rows why they are there, in place, where the row behind tells it.

    A meter without power writes no rows, and says in the next that there was a failure. The slot in which the power went has
    some energy, which no row tells: it is left open, unless a row says that the power went before. Where the clock was set
    as well nobody can tell how long the power was off.
    """
    told = np.flatnonzero(has | (words != 0)).tolist()
    for before, after in zip([-1, *told], told, strict=False):
        word = int(words[after])
        if after - before < 2:
            continue
        if word & clock_set:
            rules[before + 1 : after] |= np.uint32(Rule.CLOCK_SET)
        elif word & power_failure:
            is_told = before >= 0 and bool(int(words[before]) & power_failure)
            rules[before + (1 if is_told else 2) : after] |= np.uint32(Rule.POWER_FAILURE)


def _runs(block: IntervalBlock, layout: StatusLayout, words: Sequence[int]) -> Iterator[StatusWord]:
    """Give each run of intervals with the same word, of those that say something of their values."""
    first = 0
    for slot in range(1, len(words) + 1):
        if slot < len(words) and words[slot] == words[first]:
            continue
        if text := layout.describe(words[first]):
            start, end = (block.start + at * block.period for at in (first, slot))
            yield StatusWord(start, end, words[first], text)
        first = slot


def marked_span(
    block: IntervalBlock, start: UtcSeconds, end: UtcSeconds, rule: Rule, said: StatusWord
) -> IntervalBlock:
    """Give the block with a rule on what its meter's own log says happened in ``[start, end)`` [s UTC].

    Values of intervals that touch the span get it, and intervals without value that lie within it as a whole.
    """
    rules = list(block.rules or (Rule(0),) * len(block.counts))
    for slot, count in enumerate(block.counts):
        opens = block.start + slot * block.period
        closes = opens + block.period
        touches = opens < max(end, start + 1) and start < closes
        if touches if count is not None else start <= opens and closes <= end:
            rules[slot] |= rule
    if tuple(rules) == (block.rules or (Rule(0),) * len(block.counts)):
        return block
    return replace(block, rules=tuple(rules), status=(*block.status, said))
