"""Faults on request: what a simulated meter does wrong, declared, never improvised.

A fault is a frozen fact about one meter. All instants are world time, spans are half-open `[start, end)`; randomness is seeded by the caller.
What a DLMS meter can do against its protocol is one of `Deed`, declared as a `Misdeed`: which chances it takes, and in which answers.
"""

import random
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from drivers.status import Meaning

FOREVER = 2**40  # [s UTC]; beyond any simulated year
ALWAYS = 2**40  # chances; more than any meter gets


@dataclass(frozen=True, slots=True)
class Dead:
    """The meter never answers and never publishes."""


@dataclass(frozen=True, slots=True)
class Silent:
    """The meter does not answer for a while; it goes on measuring."""

    start: int = 0
    end: int = FOREVER


@dataclass(frozen=True, slots=True)
class Slow:
    """The meter takes so much longer before each answer. ``ms``: [ms]"""

    ms: int
    start: int = 0
    end: int = FOREVER

    def __post_init__(self) -> None:
        """Refuse an answer before its question."""
        if self.ms < 0:
            raise ValueError("fault slow: ms is 0 or more")


@dataclass(frozen=True, slots=True)
class Noise:
    """Line noise on the meter's answers.

    ``before``: stray bytes put before each answer, as after a turnaround.  ``flips``: bytes hit inside, per million.
    """

    start: int = 0
    end: int = FOREVER
    before: int = 0
    flips: int = 0


@dataclass(frozen=True, slots=True)
class MissingRows:
    """The meter's own load profile has no row for intervals that start in the span. The register counted on."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PowerCut:
    """No power: the meter is silent, nothing is drawn, and no interval that ends meanwhile gets a row."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ClockSet:
    """At ``at`` the meter's clock is set right; until then it is ``by`` [s] fast."""

    at: int
    by: int = 0


@dataclass(frozen=True, slots=True)
class TestMode:
    """The meter is in test mode for a while, and says so of its intervals."""

    __test__ = False  # no test of pytest's

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ClockDrift:
    """From ``start`` on the meter's clock is ``offset`` [s] fast and gains ``ppm`` more (both may be negative)."""

    start: int = 0
    offset: int = 0
    ppm: int = 0


@dataclass(frozen=True, slots=True)
class Rollover:
    """The register has so many ``dials`` and starts ``left_wh`` short of rolling over to 0. [Wh]"""

    dials: int
    left_wh: int


@dataclass(frozen=True, slots=True)
class MeterSwap:
    """From ``at`` on another device, with another serial number and an empty memory, answers at the address."""

    at: int
    serial: int


@dataclass(frozen=True, slots=True)
class MalformedPayload:
    """A concentrator publishes one payload that is not JSON, at the first batch from ``at`` on."""

    at: int


class Stage(StrEnum):
    """What an answer of a DLMS meter answers."""

    AARE = "aare"
    PROOF = "proof"
    GET = "get"
    SET = "set"
    ACTION = "action"
    RELEASE = "release"


SERVED = frozenset({Stage.GET, Stage.SET, Stage.ACTION})
"""What is answered inside an open association: where a misdeed happens that is told no other stage."""


class Deed(StrEnum):
    """What a DLMS meter can do against its protocol. Each comes with what counts as a chance to do it."""

    # Security: each answer of a ciphered association is a chance.
    WRONG_TAG = "wrong-tag"  # the authentication tag fits nothing
    PLAIN_ANSWER = "plain-answer"  # not ciphered at all
    WEAKER_ANSWER = "weaker-answer"  # encrypted, not authenticated
    COUNTER_STUCK = "counter-stuck"  # sealed anew under the counter of the answer before
    COUNTER_RESET = "counter-reset"  # its counter begins again at 1, and goes on from there
    REPLAYED_ANSWER = "replayed-answer"  # the octets of the answer before, also without ciphering
    # Authentication: each association with a challenge, or with titles, is a chance.
    REFLECTED_CHALLENGE = "reflected-challenge"  # its challenge StoC is the client's CtoS
    REFLECTED_PROOF = "reflected-proof"  # it proves itself with the client's own proof
    WRONG_PROOF = "wrong-proof"  # it proves nothing
    SKIPPED_PROOF = "skipped-proof"  # it accepts at once, without the high-level security it was asked for
    CLIENT_TITLE = "client-title"  # its system title is the client's
    OTHER_TITLE = "other-title"  # its system title is another meter's
    # Whose answer, and to what: each answer is a chance.
    OTHER_METER = "other-meter"  # the source address is the next meter's
    OTHER_IDENTITY = "other-identity"  # reading the logical device name; it is another meter's
    WRONG_INVOKE_ID = "wrong-invoke-id"
    LATE_ANSWER = "late-answer"  # what the request before was answered, sealed as it should be
    HELD_ANSWER = "held-answer"  # nothing; it comes in front of the next answer, after the client gave up
    DOUBLED_ANSWER = "doubled-answer"  # twice, in one piece
    NO_ANSWER = "no-answer"
    HANG_UP = "hang-up"  # the connection ends instead
    # Shape: each answer is a chance; of an oversized one, each that is larger than the client takes.
    OVERSIZED_ANSWER = "oversized-answer"  # whole where it should come in blocks
    TRUNCATED_ANSWER = "truncated-answer"  # the last octet of the plain APDU is missing
    UNKNOWN_SERVICE = "unknown-service"  # an APDU tag that the standard does not have
    NESTED_ANSWER = "nested-answer"  # to a GET: structures 3000 deep
    # Blocks of a GET: each block is a chance.
    CUT_BLOCKS = "cut-blocks"  # said to be the last although it is not
    ENDLESS_BLOCKS = "endless-blocks"  # the last is said not to be; what follows is empty
    REPEATED_BLOCK = "repeated-block"  # the number of the block before
    SKIPPED_BLOCK = "skipped-block"  # a number too high
    # Reading rows: each such request is a chance.
    REFUSES_RANGE = "refuses-range"
    REFUSES_ENTRY = "refuses-entry"
    REFUSES_DEVIATION = "refuses-deviation"  # a range that says its deviation
    DEMANDS_DEVIATION = "demands-deviation"  # a range that does not
    # Each block of an image is a chance.
    IMAGE_INTERRUPTED = "image-interrupted"  # the connection ends before the block is kept
    # HDLC: each information frame is a chance.
    WINDOW_VIOLATION = "window-violation"  # another information frame, without waiting for leave
    UNENDED_SEGMENTS = "unended-segments"  # the last segment is said not to be
    CUT_SEGMENTS = "cut-segments"  # a segment is said to be the last although it is not; only such ones are chances
    WRONG_SEQUENCE = "wrong-sequence"  # N(S) is one too high
    WRONG_FCS = "wrong-fcs"
    FLAG_STORM = "flag-storm"  # 3000 flags in front


@dataclass(frozen=True, slots=True)
class Misdeed:
    """A DLMS meter deviates: at chance number ``first`` (from 1, in all its life) and so many ``times`` in a row.

    ``stage``: only in answers of this kind, None for all inside an open association.
    """

    deed: Deed
    first: int = 1
    times: int = ALWAYS
    stage: Stage | None = None
    start: int = 0
    end: int = FOREVER

    def __post_init__(self) -> None:
        """Refuse what would never happen."""
        if self.first < 1 or self.times < 1:
            raise ValueError(f"fault {self.deed}: first and times count from 1")


class LineDeed(StrEnum):
    """What a meter on a line can do against its protocol. Each answer that could be so is a chance."""

    OTHER_ADDRESS = "other-address"  # answers as the next meter
    BAD_CHECKSUM = "bad-checksum"
    STALE_ANSWER = "stale-answer"  # what the request before was answered
    # DL/T 645 alone.
    OTHER_ITEM = "other-item"  # names another data identifier
    LOST_FOLLOW_UP = "lost-follow-up"  # keeps quiet when asked for a follow-up frame
    NO_BLOCKS = "no-blocks"  # refuses block identifiers, always
    # Modbus, and what of it others know; those of libmodbus's misbehaving test server are among them.
    OTHER_FUNCTION = "other-function"
    OTHER_TRANSACTION = "other-transaction"  # Modbus TCP: the number of another request
    SHORT_ANSWER = "short-answer"  # one register too few
    LONG_ANSWER = "long-answer"  # one register too many
    BUSY = "busy"  # exception 06
    LOST_ANSWER = "lost-answer"
    CUT_ANSWER = "cut-answer"  # the second half never comes
    TRICKLED_ANSWER = "trickled-answer"  # with a pause of 5 ms after each octet
    # IEC 62056-21 alone; of those above it knows bad-checksum, stale-answer and cut-answer.
    REPEAT_PLEASE = "repeat-please"  # NAK, whatever it was asked
    ECHO = "echo"  # repeats what it heard in front of the answer, as optical heads do


@dataclass(frozen=True, slots=True)
class LineFault:
    """A meter on a line deviates: at chance number ``first`` (from 1) and so many ``times`` in a row."""

    deed: LineDeed
    first: int = 1
    times: int = ALWAYS

    def __post_init__(self) -> None:
        """Refuse what would never happen."""
        if self.first < 1 or self.times < 1:
            raise ValueError(f"fault {self.deed}: first and times count from 1")


class Chances:
    """Counts what one meter could have done, so that each `LineFault` happens when it is declared to."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def happens(self, faults: "Sequence[Fault]", deed: LineDeed) -> bool:
        """Take a chance to do ``deed``; say whether it happens."""
        happens = False
        for place, one in enumerate(faults):
            if isinstance(one, LineFault) and one.deed is deed:
                chance = self._counts[place] = self._counts.get(place, 0) + 1
                happens |= one.first <= chance < one.first + one.times
        return happens


Fault = (
    Dead
    | Silent
    | Slow
    | Noise
    | MissingRows
    | PowerCut
    | ClockSet
    | TestMode
    | ClockDrift
    | Rollover
    | MeterSwap
    | MalformedPayload
    | Misdeed
    | LineFault
)

_NAMES: dict[str, type[Fault]] = {
    "dead": Dead,
    "silent": Silent,
    "slow": Slow,
    "noise": Noise,
    "missing-rows": MissingRows,
    "power-cut": PowerCut,
    "clock-set": ClockSet,
    "test-mode": TestMode,
    "drift": ClockDrift,
    "rollover": Rollover,
    "swap": MeterSwap,
    "malformed": MalformedPayload,
}
_DEEDS = frozenset(Deed)
_LINE_DEEDS = frozenset(LineDeed)
_INSTANTS = ("start", "end", "at")


def parse_fault(text: str, start: int) -> Fault:
    """Read a fault written as ``silent,start=+3600,end=+7200`` or ``rollover,dials=8,left_wh=500``.

    An instant is ISO 8601 with its zone, or ``+`` seconds after ``start`` [s UTC]. A misdeed is named by its deed, such as
    ``wrong-tag,first=2,times=1,stage=get``. Raises `ValueError` naming what is known.
    """
    name, *settings = (part.strip() for part in text.split(","))
    kind = Misdeed if name in _DEEDS else LineFault if name in _LINE_DEEDS else _NAMES.get(name)
    if kind is None:
        raise ValueError(f"unknown fault {name!r}; known: {', '.join((*_NAMES, *Deed, *LineDeed))}")
    known = {field.name: field for field in fields(kind) if field.name != "deed"}
    given: dict[str, Any] = {}
    if kind in {Misdeed, LineFault}:
        given["deed"] = Deed(name) if kind is Misdeed else LineDeed(name)
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            raise ValueError(f"fault {name} has no setting {key!r}; it has: {', '.join(known) or 'none'}")
        if key == "stage":
            given[key] = Stage(value)
        else:
            given[key] = _instant(value, start) if key in _INSTANTS else int(value)
    if missing := [key for key, field in known.items() if field.default is MISSING and key not in given]:
        raise ValueError(f"fault {name} needs {', '.join(missing)}")
    return kind(**given)


def _instant(text: str, start: int) -> int:
    if text.startswith("+"):
        return start + int(text)
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError(f"{text!r} has no zone; write {text}Z or +SECONDS")
    return int(stamp.astimezone(UTC).timestamp())


def is_silent(faults: Sequence[Fault], now: int) -> bool:
    """Say whether a meter with these faults keeps quiet at ``now``. [s UTC]"""
    return any(
        isinstance(fault, Dead) or (isinstance(fault, Silent | PowerCut) and fault.start <= now < fault.end)
        for fault in faults
    )


def delay(faults: Sequence[Fault], now: int) -> float:
    """How much longer a meter with these faults takes before an answer at ``now`` [s UTC]. [s]"""
    return sum(fault.ms for fault in faults if isinstance(fault, Slow) and fault.start <= now < fault.end) / 1000


def has_row(faults: Sequence[Fault], start: int) -> bool:
    """Say whether the load profile of a meter with these faults keeps the interval that starts at ``start``. [s UTC]"""
    return not any(isinstance(fault, MissingRows) and fault.start <= start < fault.end for fault in faults)


def clock_error(faults: Sequence[Fault], now: int) -> int:
    """How fast the clock of a meter with these faults is at ``now`` [s UTC]. [s]"""
    return sum(
        fault.offset + (now - fault.start) * fault.ppm // 1_000_000
        for fault in faults
        if isinstance(fault, ClockDrift) and now >= fault.start
    ) + sum(fault.by for fault in faults if isinstance(fault, ClockSet) and now < fault.at)


def power_cuts(faults: Sequence[Fault]) -> list[PowerCut]:
    """List the power cuts among faults."""
    return [fault for fault in faults if isinstance(fault, PowerCut)]


def meanings(faults: Sequence[Fault], start: int, end: int) -> frozenset[Meaning]:
    """What a meter with these faults says of its interval ``[start, end)``. [s UTC]"""
    found = set()
    for fault in faults:
        if isinstance(fault, ClockSet) and start <= fault.at < end:
            found.add(Meaning.CLOCK_SET)
        elif isinstance(fault, PowerCut | TestMode) and fault.start < end and start < fault.end:
            found.add(Meaning.POWER_FAILURE if isinstance(fault, PowerCut) else Meaning.TEST_MODE)
    return frozenset(found)


def disturb(faults: Sequence[Fault], answer: bytes, now: int, randomness: random.Random) -> bytes:
    """Put the noise of these faults at ``now`` [s UTC] on an answer."""
    for fault in faults:
        if isinstance(fault, Noise) and fault.start <= now < fault.end:
            noisy = bytearray(answer)
            for index in range(len(noisy)):
                if randomness.randrange(1_000_000) < fault.flips:
                    noisy[index] ^= randomness.randrange(1, 256)
            answer = randomness.randbytes(fault.before) + bytes(noisy)
    return answer
