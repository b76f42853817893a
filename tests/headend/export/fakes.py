"""A store in memory, as much of one as an export reads."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import ChannelExpectation, EndDevice, Installation, UsagePoint
from headend.series import Series
from headend.store.model import Layer, VeeRun, Version
from kernels.quality import Reason, State

IMPORT = Obis.parse("1-0:1.29.0*255")
EXPORT = Obis.parse("1-0:2.29.0*255")
WH = ScalerUnit(0, Unit.WATT_HOUR)
DAY = 86_400
MIDNIGHT = 1_704_031_200  # 2023-12-31T14:00:00Z, midnight of 2024-01-01 in UTC+10
NOW = 1_710_000_000
Key = tuple[int, Obis]


@dataclass
class FakeStore:
    points: list[UsagePoint] = field(default_factory=list)
    meters: list[EndDevice] = field(default_factory=list)
    installed: list[Installation] = field(default_factory=list)
    expected: list[ChannelExpectation] = field(default_factory=list)
    raw: dict[Key, Series] = field(default_factory=dict)
    validated: dict[Key, Series] = field(default_factory=dict)
    version_of: dict[tuple[int, Obis, int], int] = field(default_factory=dict)
    seq: int = 1

    def end_devices(self) -> list[EndDevice]:
        return self.meters

    def usage_points(self) -> list[UsagePoint]:
        return self.points

    def installations(self, usage_point_id: int | None = None, end_device_id: int | None = None) -> list[Installation]:
        assert end_device_id is None
        return [one for one in self.installed if one.usage_point_id == usage_point_id]

    def expectations(self, end_device_id: int) -> list[ChannelExpectation]:
        return [one for one in self.expected if one.end_device_id == end_device_id]

    def raw_series(self, end_device_id: int, obis: Obis, start: int, end: int) -> Series:
        return self.raw[end_device_id, obis].window(start, end)

    def validated_series(self, usage_point_id: int, obis: Obis, start: int, end: int) -> Series:
        series = self.validated.get((usage_point_id, obis))
        if series is None:  # nothing is validated yet
            return Series.empty(start, end - start, WH, 1, State.EXPECTED)
        return series.window(start, end)

    def series(self, channels: Sequence[tuple[int, Obis]], start: int, end: int, layer: Layer) -> list[Series]:
        read = self.raw_series if layer is Layer.RAW else self.validated_series
        return [read(number, obis, start, end) for number, obis in channels]

    def newest_versions(self, usage_point_id: int, first: int, last: int) -> dict[tuple[int, Obis], Version]:
        return {
            (day, obis): self.versions(number, obis, day)[-1]
            for number, obis, day in self.version_of
            if number == usage_point_id and first <= day < last
        }

    def versions(self, usage_point_id: int, obis: Obis, day: int) -> list[Version]:
        version = self.version_of.get((usage_point_id, obis, day), 0)
        return [
            Version(number, 1, VeeRun("residential 1", NOW - 1000 + number), self.seq, number == version)
            for number in range(1, version + 1)
        ]

    def last_seq(self) -> int:
        return self.seq

    def snapshot(self) -> AbstractContextManager[None]:
        return nullcontext()


def house(
    name: str = "NAAAMYS582",
    *,
    days: int = 2,
    period: int = 1_800,
    obis: tuple[Obis, ...] = (IMPORT,),
    scaler_unit: ScalerUnit = WH,
    start: int = MIDNIGHT,
    store: FakeStore | None = None,
    **installation: Any,
) -> FakeStore:
    """A usage point with one meter, every slot measured: slot i holds i."""
    store = store or FakeStore()
    number = len(store.points) + 1
    store.points.append(UsagePoint(number, name, "UTC"))
    store.meters.append(EndDevice(number, f"HED{number:013}", "m", 1, str(number), serial=f"S{number}"))
    store.installed.append(Installation(number, number, start, **installation))
    slots = days * DAY // period
    for code in obis:
        store.expected.append(
            ChannelExpectation(
                number, code, period, start % period, scaler_unit, "load_profile", start, start + days * DAY
            )
        )
        series = Series.empty(start, period, scaler_unit, slots, State.MEASURED)
        series.values[:] = np.arange(slots)
        store.raw[number, code] = series
    return store


def lose(series: Series, first: int, last: int, cause: Reason) -> None:
    """Make slots ``first`` to ``last - 1`` missing."""
    series.values[first:last] = 0
    series.state[first:last] = State.MISSING
    series.reason[first:last] = cause


def copy(series: Series) -> Series:
    return replace(
        series,
        values=series.values.copy(),
        state=series.state.copy(),
        reason=series.reason.copy(),
        rules=series.rules.copy(),
    )


def validate(store: FakeStore, number: int = 1, obis: Obis = IMPORT) -> Series:
    """Give every day of a channel a validated version, for now the same as its raw layer."""
    series = store.validated[number, obis] = copy(store.raw[number, obis])
    for day in range(series.start // DAY, -(-series.end // DAY)):
        store.version_of[number, obis, day] = 1
    return series
