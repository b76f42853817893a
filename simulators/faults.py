"""Faults on request: what a simulated meter does wrong, declared, never improvised.

A fault is a frozen fact about one meter. All instants are world time, spans are half-open `[start, end)`; randomness is seeded by the caller.
"""

import random
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime

FOREVER = 2**40  # [s UTC]; beyond any simulated year


@dataclass(frozen=True, slots=True)
class Dead:
    """The meter never answers and never publishes."""


@dataclass(frozen=True, slots=True)
class Silent:
    """The meter does not answer for a while; it goes on measuring."""

    start: int = 0
    end: int = FOREVER


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


Fault = Dead | Silent | Noise | MissingRows | ClockDrift | Rollover | MeterSwap | MalformedPayload

_NAMES: dict[str, type[Fault]] = {
    "dead": Dead,
    "silent": Silent,
    "noise": Noise,
    "missing-rows": MissingRows,
    "drift": ClockDrift,
    "rollover": Rollover,
    "swap": MeterSwap,
    "malformed": MalformedPayload,
}
_INSTANTS = ("start", "end", "at")


def parse_fault(text: str, start: int) -> Fault:
    """Read a fault written as ``silent,start=+3600,end=+7200`` or ``rollover,dials=8,left_wh=500``.

    An instant is ISO 8601 with its zone, or ``+`` seconds after ``start`` [s UTC]. Raises `ValueError` naming what is known.
    """
    name, *settings = (part.strip() for part in text.split(","))
    if (kind := _NAMES.get(name)) is None:
        raise ValueError(f"unknown fault {name!r}; known: {', '.join(_NAMES)}")
    known = {field.name: field for field in fields(kind)}
    given: dict[str, int] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            raise ValueError(f"fault {name} has no setting {key!r}; it has: {', '.join(known) or 'none'}")
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
        isinstance(fault, Dead) or (isinstance(fault, Silent) and fault.start <= now < fault.end) for fault in faults
    )


def has_row(faults: Sequence[Fault], start: int) -> bool:
    """Say whether the load profile of a meter with these faults keeps the interval that starts at ``start``. [s UTC]"""
    return not any(isinstance(fault, MissingRows) and fault.start <= start < fault.end for fault in faults)


def clock_error(faults: Sequence[Fault], now: int) -> int:
    """How fast the clock of a meter with these faults is at ``now`` [s UTC]. [s]"""
    return sum(
        fault.offset + (now - fault.start) * fault.ppm // 1_000_000
        for fault in faults
        if isinstance(fault, ClockDrift) and now >= fault.start
    )


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
