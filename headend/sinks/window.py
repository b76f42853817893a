"""Turns what changed after a cursor into lines: each channel-day once, as the store holds it now. Reads only.

The change log says which channel-days changed, not which slots, so a channel-day goes out whole. What changed several times
within a window goes out once; what changes after it is in a later window.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from drivers.obis import Obis
from headend.registry.model import DAY
from headend.sinks.lines import channel_name, head, quote, register_line
from headend.sinks.model import Poison, Window
from headend.store.errors import BlockError, RowError
from headend.store.model import Change, Event, Layer
from headend.store.reader import StoreReader
from kernels.lineprotocol import format_slots

MEASUREMENTS = {
    Layer.RAW: "meter_interval",
    Layer.VALIDATED: "usage_point_interval",
    Layer.REGISTER: "meter_register",
    Layer.EVENT: "meter_event",
}
"""Name of the measurement of each layer that goes out."""
MOST_CHANGES = 1_000
"""Most commit numbers in one window."""


@dataclass(frozen=True, slots=True)
class Form:
    """How lines are made. ``layers``: those that go out.

    ``replaces``: the server lets a later line replace an earlier one of the same key. If so, missing slots have lines too,
    and versions of the validated layer follow each other under one key. If not, nothing is sent that may change under its
    key: a validated line's key holds its version, and a raw line is its value alone, which never changes once it is there.
    """

    layers: frozenset[Layer]
    replaces: bool


def read_window(reader: StoreReader, after: int, form: Form, most_lines: int) -> Window:
    """Read what changed after commit number ``after``: at least one number, and no more once there are ``most_lines``.

    Raises `StoreError`. What is damaged, or cannot be written as a line, is poison and stops nothing else.
    """
    lines: list[bytes] = []
    poison: list[Poison] = []
    done: set[tuple[Layer, int, int, Obis | None]] = set()
    events = _Events(reader)
    with reader.snapshot():
        for seq, changes in groupby(reader.changes(after, MOST_CHANGES), key=lambda change: change.seq):
            fresh = [change for change in changes if change.layer in form.layers and _key(change) not in done]
            done.update(map(_key, fresh))
            for (layer, entity_id, day), group in groupby(
                fresh, key=lambda item: (item.layer, item.entity_id, item.day)
            ):
                codes = [change.obis for change in group if change.obis is not None]
                for found in _channel_days(reader, layer, entity_id, day, codes, form, events):
                    if isinstance(found, Poison):
                        poison.append(found)
                    else:
                        lines.extend(found)
            after = seq
            if len(lines) >= most_lines:
                break
    return Window(after, lines, poison)


def _key(change: Change) -> tuple[Layer, int, int, Obis | None]:
    return change.layer, change.entity_id, change.day, change.obis


def _channel_days(
    reader: StoreReader, layer: Layer, entity_id: int, day: int, codes: Sequence[Obis], form: Form, events: "_Events"
) -> Iterator[Sequence[bytes] | Poison]:
    """Make the lines of some channels of one day; an error of one channel costs that channel alone."""
    try:
        tags = _owner(reader, layer, entity_id)
    except RowError as error:
        yield Poison(f"{MEASUREMENTS[layer]} of local id {entity_id}, day {day} since 1970", str(error))
        return
    if layer is Layer.EVENT:
        yield from _event_day(events[day], entity_id, tags, form)
        yield from events.damaged.pop(day, ())
        return
    where = f"{MEASUREMENTS[layer]} of {', '.join(tags.values())}, day {day} since 1970"
    if layer is Layer.REGISTER:
        for obis in codes:
            yield from _register_day(reader, entity_id, day, obis, tags)
        return
    try:
        stored = reader.stored_channels(layer, entity_id, day, codes)
    except BlockError as error:
        yield Poison(where, str(error))
        return
    for channel, series in stored:
        unit = channel.scaler_unit
        key = tags | {"channel": channel_name(channel.obis), "unit": unit.unit.symbol, "period": str(channel.period)}
        if layer is Layer.VALIDATED and not form.replaces:
            key["version"] = str(channel.version)
        try:
            yield format_slots(
                head(MEASUREMENTS[layer], key), series.start, series.period, unit.scaler, series.values, series.state,
                series.reason, series.rules, with_missing=form.replaces, with_quality=form.replaces or layer is Layer.VALIDATED,
            ).splitlines()  # fmt: skip
        except ValueError as error:
            yield Poison(f"{where}, {channel.obis}", str(error))


def _owner(reader: StoreReader, layer: Layer, entity_id: int) -> dict[str, str]:
    if layer is Layer.VALIDATED:
        return {"usage_point": reader.usage_point_by_id(entity_id).name}
    return {"meter": reader.end_device_by_id(entity_id).name} if entity_id else {}


class _Events(dict[int, list[Event]]):
    """The events of each day that is asked for, read once: their table has no index by day."""

    def __init__(self, reader: StoreReader) -> None:
        super().__init__()
        self._reader = reader
        self.damaged: dict[int, list[Poison]] = {}

    def __missing__(self, day: int) -> list[Event]:
        found = self._reader.events_or_damage(day * DAY, (day + 1) * DAY)
        self[day] = [event for event in found if not isinstance(event, RowError)]
        faults = [str(event) for event in found if isinstance(event, RowError)]
        # Whose they were is not known for certain: they are said once, with the first of their day.
        self.damaged[day] = [Poison(f"an event of day {day} since 1970: {fault}", fault) for fault in faults]
        return self[day]


def _event_day(
    events: Iterable[Event], end_device_id: int, tags: dict[str, str], form: Form
) -> Iterator[Sequence[bytes] | Poison]:
    """Make a line for each kind and code at an instant; what was said of it goes where a line may be replaced."""
    texts: dict[tuple[str, int, int], list[str]] = {}
    for event in events:
        if (event.end_device_id or 0) == end_device_id:
            texts.setdefault((event.kind, event.code, event.at), []).append(event.text)
    for (kind, code, at), said in texts.items():
        try:
            names = head(MEASUREMENTS[Layer.EVENT], tags | {"kind": kind, "code": str(code)})
        except ValueError as error:
            yield Poison(f"event {kind!r} {code} of {tags.get('meter', 'no meter')} at {at}", str(error))
            continue
        text = f",text={quote('; '.join(said))}" if form.replaces else ""
        yield [names + f" value=1i{text} {at}".encode()]


def _register_day(
    reader: StoreReader, end_device_id: int, day: int, obis: Obis, tags: dict[str, str]
) -> Iterable[Sequence[bytes] | Poison]:
    for value in reader.registers_or_damage(end_device_id, obis, day * DAY, (day + 1) * DAY):
        if isinstance(value, RowError):
            yield Poison(f"register {obis} of {tags['meter']}, day {day} since 1970: {value}", str(value))
            continue
        key = tags | {"channel": channel_name(obis), "unit": value.scaler_unit.unit.symbol}
        try:
            yield [register_line(head(MEASUREMENTS[Layer.REGISTER], key), value)]
        except ValueError as error:
            yield Poison(f"register {obis} of {tags['meter']} at {value.captured_at}", str(error))
