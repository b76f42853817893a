"""The export formats by name: what each can carry, how it is written and read back."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from drivers.facts import UtcSeconds
from headend.export import csv, nem12
from headend.export.errors import NotExportable
from headend.export.rows import Row, Slot, instant
from headend.export.source import Channel

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Context:
    """What a format may need beside the rows."""

    created: UtcSeconds
    channels: tuple[Channel, ...]
    sender: str
    receiver: str


@dataclass(frozen=True, slots=True)
class Format:
    """One format. ``offset``: of its days from UTC. [s]"""

    name: str
    suffix: str
    offset: int
    check_period: Callable[[UtcSeconds, UtcSeconds], None]
    check_channel: Callable[[Channel], None]
    encode: Callable[[Iterable[Row], Context], Iterator[bytes]]
    decode: Callable[[Iterable[str]], Iterator[Slot]]


def _csv_period(start: UtcSeconds, end: UtcSeconds) -> None:
    if start >= end:
        raise NotExportable(f"the period is empty: {instant(start)} is not before {instant(end)}")


def _csv_encode(rows: Iterable[Row], _: Context) -> Iterator[bytes]:
    return csv.encode(rows)


def _nem12_channel(channel: Channel) -> None:
    nem12.check_nmi(channel.usage_point.name)
    for period in channel.periods:
        nem12.check_channel(channel.obis, period)


def _nem12_encode(rows: Iterable[Row], context: Context) -> Iterator[bytes]:
    header = nem12.Header(context.created, context.sender, context.receiver)
    return nem12.encode(rows, header, [(channel.usage_point.name, channel.obis) for channel in context.channels])


FORMATS = {
    known.name: known
    for known in (
        Format("csv", csv.SUFFIX, 0, _csv_period, lambda _: None, _csv_encode, csv.decode),
        Format("nem12", nem12.SUFFIX, nem12.OFFSET, nem12.check_period, _nem12_channel, _nem12_encode, nem12.decode),
    )
}


def whole_days(name: str, first: int, last: int) -> tuple[UtcSeconds, UtcSeconds]:
    """Give ``[start, end)`` [s UTC] of days ``first`` to ``last`` inclusive, as the format counts days.

    A day is counted since 1970-01-01: of UTC for csv, of UTC+10 for NEM12. Raises `NotExportable`.
    """
    if name not in FORMATS:
        raise NotExportable(f"unknown export format {name[:40]!r}; known: {', '.join(FORMATS)}")
    offset = FORMATS[name].offset
    return first * DAY - offset, (last + 1) * DAY - offset
