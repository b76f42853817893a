"""One simulated meter as its COSEM objects see it, and what a COSEM object is: functions by attribute and method number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from drivers.dlms.axdr import Data
from drivers.dlms.xdlms import Conformance, DataAccessResult
from drivers.obis import Obis
from simulators.dlms.deviance import Deviance
from simulators.dlms.settings import DlmsSettings, Memory
from simulators.faults import ClockDrift
from simulators.meter import Meter

NOTHING = Conformance(0)


class Refused(Exception):  # the meter's answer, not a failure of ours
    """The meter does not give or do this; ``result`` says why."""

    def __init__(self, result: DataAccessResult) -> None:
        super().__init__(result.name)
        self.result = result


@dataclass(slots=True)
class Device:
    """A meter during one request. ``now``: [s UTC]  ``granted``: services of the association that asks."""

    meter: Meter
    now: int
    settings: DlmsSettings = field(default_factory=DlmsSettings)
    memory: Memory = field(default_factory=Memory)
    deviance: Deviance | None = None
    granted: Conformance = NOTHING

    def __post_init__(self) -> None:
        """Let the clock go as it was set last."""
        if self.memory.adjustments:
            self.meter = replace(self.meter, faults=(*self.meter.faults, *self.memory.adjustments))

    @property
    def clock(self) -> int:
        """What the meter's clock shows. [s UTC]"""
        return self.meter.clock(self.now)

    def set_clock(self, instant: int) -> None:
        """Set the meter's clock; it goes on from there with the drift it has."""
        adjustment = ClockDrift(self.now, instant - self.clock)
        self.memory.adjustments = (*self.memory.adjustments, adjustment)
        self.meter = replace(self.meter, faults=(*self.meter.faults, adjustment))


Read = Callable[[Device], Data]
Write = Callable[[Device, Data], None]
Method = Callable[[Device, Data], Data | None]


@dataclass(frozen=True, slots=True)
class Item:
    """One COSEM object, the same in every meter. ``reads``, ``writes``, ``methods``: by number, without the logical name."""

    class_id: int
    version: int
    name: Obis
    reads: Mapping[int, Read]
    writes: Mapping[int, Write] = field(default_factory=dict)
    methods: Mapping[int, Method] = field(default_factory=dict)
