"""Small builders shared by the collection tests."""

from collections.abc import Mapping

import numpy as np

from drivers.obis import CATALOGUE, Obis
from drivers.profile import ChannelProfile, MeterProfile, Origin, TimingProfile
from drivers.units import ScalerUnit, Unit
from headend.collect.latency import Latency
from headend.collect.schedule import Meter
from headend.registry.model import ChannelExpectation, EndDevice
from headend.series import Series
from headend.settings import CollectSettings
from headend.store.model import JobRun
from kernels.quality import Reason, State

WH = ScalerUnit(0, Unit.WATT_HOUR)
IMPORT = CATALOGUE["active_energy_import_interval"].obis
EXPORT = CATALOGUE["active_energy_export_interval"].obis
IMPORT_REGISTER = CATALOGUE["active_energy_import"].obis
HALF_HOUR = 1800
HOUR = 3600
DAY = 86_400
MIDNIGHT = 19_723 * DAY  # 2024-01-01T00:00:00Z
SETTINGS = CollectSettings()


def channel(
    origin: Origin = "load_profile", obis: Obis = IMPORT, period: int = HALF_HOUR, **more: int
) -> ChannelProfile:
    return ChannelProfile(obis, period, WH, origin, **more)


def profile(
    *channels: ChannelProfile,
    protocol: str = "dlms",
    registers: tuple[Obis, ...] = (),
    retries: int = 1,
    name: str = "model",
) -> MeterProfile:
    return MeterProfile(
        name,
        protocol,  # type: ignore[arg-type]
        "tests",
        channels=channels,
        registers=registers,
        timing=TimingProfile(latency=0.1, turnaround=0.0, retries=retries),
    )


def device(number: int = 1, *, disabled: bool = False, link: int = 1, model: str = "model") -> EndDevice:
    return EndDevice(number, f"TST:{number}", model, link, str(number), disabled=disabled)


def expectation(
    what: ChannelProfile, start: int = MIDNIGHT, end: int | None = None, number: int = 1
) -> ChannelExpectation:
    return ChannelExpectation(number, what.obis, what.period, 0, what.scaler_unit, what.origin, start, end)


def meter(
    *channels: ChannelProfile,
    start: int = MIDNIGHT,
    number: int = 1,
    disabled: bool = False,
    protocol: str = "dlms",
    registers: tuple[Obis, ...] = (),
) -> Meter:
    return Meter(
        device(number, disabled=disabled),
        profile(*channels, protocol=protocol, registers=registers),
        tuple(expectation(item, start, number=number) for item in channels),
    )


def series(start: int, end: int, holes: Mapping[int, Reason | None], period: int = HALF_HOUR) -> Series:
    """Make a measured series with holes: slot start -> cause, None for a slot nobody tried."""
    made = Series.empty(start, period, WH, (end - start) // period, State.MEASURED)
    for slot, cause in holes.items():
        index = (slot - start) // period
        made.state[index] = State.EXPECTED if cause is None else State.MISSING
        made.reason[index] = 0 if cause is None else cause
    return made


def run(window: tuple[int, int], at: int, cause: Reason = Reason.NONE, kind: str = "load_profile") -> JobRun:
    return JobRun(at, 1, kind, at, at, cause is Reason.NONE, cause, "", window)


def values(made: Series) -> list[int | None]:
    return [int(v) if has else None for v, has in zip(made.values, np.asarray(made.has_value), strict=True)]


def taught(times: list[float]) -> Latency:
    latency = Latency()
    for seconds in times:
        latency.heard(seconds)
    return latency
