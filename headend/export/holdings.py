"""What the store holds of one UTC day, as it was written: for files that keep it whole, not for bills.

Four tables, one per layer. Slots that nobody has tried yet are no rows; missing ones are, with their cause. What cannot be
read is a `Damage` beside the rest, and costs itself alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from drivers.facts import RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit
from headend.errors import StoreError
from headend.registry.model import DAY
from headend.series import Series
from headend.store.errors import RowError
from headend.store.model import Event, Layer
from headend.store.reader import StoreReader

T = TypeVar("T")
GROUP = 1_000
"""Owners to a file: by their local ids, which never change."""


@dataclass(frozen=True, slots=True)
class ChannelDay:
    """A channel's slots of one UTC day. ``owner``: end device of the raw layer, usage point of the validated one.

    ``version``: of the validated layer, 0 in the raw one.
    """

    owner: str
    obis: Obis
    scaler_unit: ScalerUnit
    version: int
    series: Series


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is there and cannot be read. ``owner``: whose."""

    owner: str
    where: str
    reason: str


def owners(reader: StoreReader, layer: Layer) -> dict[int, str]:
    """Give the names of all that a layer's rows can be of, by local id."""
    things = reader.usage_points() if layer is Layer.VALIDATED else reader.end_devices()
    return {thing.id: thing.name for thing in things}


def intervals(reader: StoreReader, layer: Layer, day: int, names: Mapping[int, str]) -> Iterator[ChannelDay | Damage]:
    """Give what a layer holds of a day [days since 1970 UTC] for some owners, by their ids, channels in order."""
    for number, name in sorted(names.items()):
        try:
            stored = reader.stored_channels(layer, number, day)
        except StoreError as error:
            yield Damage(name, f"{layer.name.lower()} of {name}, day {day} since 1970", str(error))
            continue
        for channel, series in stored:
            yield ChannelDay(name, channel.obis, channel.scaler_unit, channel.version, series)


def registers(reader: StoreReader, day: int, names: Mapping[int, str]) -> Iterator[tuple[str, RegisterValue] | Damage]:
    """Give the registers captured on a day at some end devices, by their ids."""
    for number, name in sorted(names.items()):
        for obis in reader.register_codes(number):
            for value in reader.registers_or_damage(number, obis, day * DAY, (day + 1) * DAY):
                if isinstance(value, RowError):
                    yield Damage(name, f"register {obis} of {name}, day {day} since 1970", str(value))
                else:
                    yield name, value


def events(reader: StoreReader, day: int, names: Mapping[int, str]) -> Iterator[tuple[str, Event] | Damage]:
    """Give the events of a day by end devices of some ids, and those of none, with the end device's name."""
    for event in reader.events_or_damage(day * DAY, (day + 1) * DAY):
        if isinstance(event, RowError):
            yield Damage("", f"an event of day {day} since 1970", str(event))
        elif event.end_device_id is None:
            yield "", event
        elif event.end_device_id in names:
            yield names[event.end_device_id], event


def sorted_out(found: Iterable[T | Damage]) -> tuple[list[T], list[Damage]]:
    """Put what can be read and what cannot apart."""
    good: list[T] = []
    damaged: list[Damage] = []
    for item in found:
        if isinstance(item, Damage):
            damaged.append(item)
        else:
            good.append(item)
    return good, damaged
