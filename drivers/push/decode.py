"""Turns one pushed message into interval blocks, by the payload map of a profile.

A message is believed whole or not at all: a fault anywhere in it, and nothing of it becomes a fact.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from math import gcd

from drivers.errors import ProfileError
from drivers.facts import IntervalBlock, UtcSeconds
from drivers.profile import MeterProfile, PushChannel, PushProfile
from drivers.push.document import PayloadError, find, find_or_none, parse_document, shown
from drivers.push.instants import parse_instant
from drivers.push.topic import match_topic
from drivers.status import Stated, marked
from drivers.zone import parse_zone

MAX_SPAN = 40 * 86_400  # [s] as far back as the collector asks meters, too
MAX_NAME = 128
MAX_DIGITS = 60
QUARTER = 900  # [s] every zone in use is whole quarters of an hour from UTC, and so is the origin of a grid
_DECIMAL_TEXT = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)
_HEXADECIMAL = re.compile(r"0x[0-9A-Fa-f]{1,8}", re.ASCII)
_EXACT = Context(prec=100)

Batch = str | int


@dataclass(frozen=True, slots=True)
class PushMessage:
    """What one message said about one meter. ``profile``: name of the one that read it.

    ``batch``: the sender's own name for the message, or None; it goes into the receipt.
    """

    meter_name: str
    profile: str
    facts: list[IntervalBlock]
    batch: Batch | None = None


def decode(profile: MeterProfile, topic: str, payload: bytes) -> PushMessage:
    """Decode a message published on ``topic``. One block per channel, over all slots that the message speaks of.

    Rows may come in any order, repeat each other and leave holes: a slot without row or with null is None. Raises
    `PayloadError` where the message is not what the profile says, or says two things about one slot.
    """
    push = profile.push
    if push is None:
        raise ProfileError(profile.name, ["push: the table is missing"])
    names = match_topic(push.topic, topic)
    if names is None:
        raise PayloadError(f"topic {shown(topic)} is not of the form {push.topic}")
    document = parse_document(payload)
    meter = _meter_name(push, names, document)
    rows = find(document, push.rows)
    if not isinstance(rows, list):
        raise PayloadError(f"{push.rows}: {shown(rows)} is not a list of rows")
    starts = _starts(profile, push, rows)
    words = _words(push, rows, starts) if push.status else []
    facts = [
        marked(_block(push, channel, rows, starts), profile.status_layout, words, 0, is_whole=False)
        for channel in (push.channels if rows else ())
    ]
    return PushMessage(meter, profile.name, facts, _batch(document))


def batch_of(payload: bytes) -> Batch | None:
    """Find the sender's name for a message that did not decode, or None where even that cannot be read."""
    try:
        return _batch(parse_document(payload))
    except PayloadError:
        return None


def _batch(document: object) -> Batch | None:
    present, batch = find_or_none(document, "batch")
    if not present or batch is None:
        return None
    is_number = isinstance(batch, int) and not isinstance(batch, bool) and abs(batch) < 2**63
    if is_number or (isinstance(batch, str) and len(batch) <= MAX_NAME):
        return batch  # type: ignore[return-value]
    raise PayloadError(f"batch: {shown(batch)} is neither a whole number nor text of at most {MAX_NAME} characters")


def _meter_name(push: PushProfile, names: dict[str, str], document: object) -> str:
    if push.meter.startswith("topic:"):
        where, name = push.meter, names[push.meter.removeprefix("topic:")]
    else:
        where, found = push.meter, find(document, push.meter)
        if isinstance(found, bool) or not isinstance(found, str | int):
            raise PayloadError(f"{where}: {shown(found)} is not a meter's name")
        name = str(found)
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise PayloadError(f"{where}: {shown(name)} is not a meter's name of 1 to {MAX_NAME} printable characters")
    return name


def _starts(profile: MeterProfile, push: PushProfile, rows: Sequence[object]) -> list[UtcSeconds]:
    """Give each row's start of interval, all on one grid and within the span. [s UTC]"""
    zone = parse_zone(profile.clock.zone)
    starts: list[UtcSeconds] = []
    for index, row in enumerate(rows):
        where = f"{push.rows}.{index}"
        try:
            stamp = find(row, push.time)
        except PayloadError as error:
            raise PayloadError(f"{where}.{error}") from error
        instant = parse_instant(stamp, push.time_format, zone, f"{where}.{push.time}")
        start = instant - push.period if push.stamp == "end" else instant
        if start % gcd(push.period, QUARTER) or (start - (starts[0] if starts else start)) % push.period:
            raise PayloadError(f"{where}.{push.time}: {shown(stamp)} is not on the grid of {push.period} s")
        starts.append(start)
    if starts and max(starts) - min(starts) >= MAX_SPAN:
        raise PayloadError(f"{push.rows}: rows span more than {MAX_SPAN // 86_400} days; send them in several messages")
    return starts


def _words(push: PushProfile, rows: Sequence[object], starts: Sequence[UtcSeconds]) -> list[Stated]:
    """Read the status word of each row that has one: a whole number, or hexadecimal text such as 0x80."""
    found = []
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        _, value = find_or_none(row, push.status)
        if isinstance(value, str) and _HEXADECIMAL.fullmatch(value):
            value = int(value, 16)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
            raise PayloadError(f"{push.rows}.{index}.{push.status}: {shown(value)} is no status word of up to 32 bits")
        found.append(Stated(start, value))
    return found


def _block(
    push: PushProfile, channel: PushChannel, rows: Sequence[object], starts: Sequence[UtcSeconds]
) -> IntervalBlock:
    first = min(starts)
    counts: list[int | None] = [None] * ((max(starts) - first) // push.period + 1)
    is_anywhere = False
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        present, value = find_or_none(row, channel.path)
        is_anywhere = is_anywhere or present
        if value is None:
            continue
        where = f"{push.rows}.{index}.{channel.path}"
        count = _count(channel, value, where)
        slot = (start - first) // push.period
        if counts[slot] not in {None, count}:
            raise PayloadError(f"{where}: the interval starting {start} has two values, {counts[slot]} and {count}")
        counts[slot] = count
    if not is_anywhere:
        raise PayloadError(f"{push.rows}: no row has a field {channel.path}, which should hold {channel.obis}")
    try:
        return IntervalBlock(channel.obis, channel.scaler_unit, first, push.period, tuple(counts))
    except ValueError as error:
        raise PayloadError(f"{push.rows}: {error}") from error


def _count(channel: PushChannel, value: object, where: str) -> int:
    """Quantise once, half to even, to the channel's resolution. Numbers, or numbers written as text to keep them exact."""
    if (isinstance(value, str) and _DECIMAL_TEXT.fullmatch(value)) or (
        isinstance(value, int | Decimal) and not isinstance(value, bool)
    ):
        number = Decimal(value)
    else:
        raise PayloadError(f"{where}: {shown(value)} is not a number")
    if len(number.as_tuple().digits) > MAX_DIGITS:
        raise PayloadError(f"{where}: more than {MAX_DIGITS} digits")
    try:
        return channel.scaler_unit.quantise(number.scaleb(channel.factor, _EXACT) if number else number)
    except (ValueError, ArithmeticError) as error:
        raise PayloadError(f"{where}: {shown(value)}: {error}") from error
