"""A meter as such: what it measured, what its clock says, what it remembers. No protocol, no I/O.

The household's load is what the meter recorded by its own clock: a meter whose clock is fast closes each interval early, with the same energy in it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from drivers.status import Meaning
from simulators import faults as fault
from simulators.faults import Fault
from simulators.household import Household

NOMINAL_VOLTAGE = 2300  # [dV]
VOLTAGE_SWING = 30  # [dV]


class Row(NamedTuple):
    """One row of the load profile: ``end`` of the interval by the meter's clock [s UTC], energy in it [Wh]."""

    end: int
    wh: int


@dataclass(frozen=True, slots=True)
class Meter:
    """One device.

    ``name``: global name.  ``installed_at``: it remembers nothing before. [s UTC]  ``register_start``: its register then. [Wh]
    ``dials``: digits of the register, 0 for as many as needed.  ``refresh``: the register is renewed on each multiple of this. [s]
    """

    name: str
    serial: int
    household: Household
    installed_at: int
    register_start: int = 0
    dials: int = 0
    refresh: int = 1
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        """Let a declared rollover set dials and starting register; refuse a register that does not fit its dials."""
        for declared in self.faults:
            if isinstance(declared, fault.Rollover):
                object.__setattr__(self, "dials", declared.dials)
                object.__setattr__(self, "register_start", 10**declared.dials - declared.left_wh)
        if self.refresh <= 0:
            raise ValueError(f"{self.name}: a register is refreshed every 1 s or more, not {self.refresh}")
        if self.register_start < 0 or (self.dials and self.register_start >= 10**self.dials):
            raise ValueError(f"{self.name}: register {self.register_start} does not fit {self.dials} dials")

    def is_silent(self, now: int) -> bool:
        """Say whether the meter keeps quiet at ``now``. [s UTC]"""
        return fault.is_silent(self.faults, now)

    def clock(self, now: int) -> int:
        """What the meter's clock shows when it is ``now``. [s UTC]"""
        return now + fault.clock_error(self.faults, now)

    def register(self, now: int) -> int:
        """What the running register shows at ``now`` [s UTC]: the value at the last refresh, rolled over. [Wh]"""
        shown_at = self.clock(now) // self.refresh * self.refresh
        return self.register_at(max(shown_at, self.installed_at))

    def register_at(self, instant: int) -> int:
        """The register at an instant of the meter's clock [s UTC], rolled over. [Wh]"""
        used = self._drawn_until(instant) - self._drawn_until(self.installed_at)
        value = self.register_start + used
        return value % 10**self.dials if self.dials else value

    def _drawn_until(self, instant: int) -> int:
        """Energy drawn up to an instant [s UTC]; none without power. [Wh]"""
        until = self.household.energy_until
        lost = (
            until(max(cut.start, min(instant, cut.end))) - until(cut.start) for cut in fault.power_cuts(self.faults)
        )
        return until(instant) - sum(lost)

    def said_of(self, start: int) -> frozenset[Meaning]:
        """What the meter's status says of the interval from ``start``. [s UTC]"""
        return fault.meanings(self.faults, start, start + self.household.period)

    def voltage(self, now: int) -> int:
        """Voltage, wavering a little with time. [dV]"""
        return NOMINAL_VOLTAGE - VOLTAGE_SWING + (now // 60 * 7919 + self.serial) % (2 * VOLTAGE_SWING + 1)

    def current(self, now: int) -> int:
        """Current that carries the running interval's mean power. [mA]"""
        grid = self.household
        start = now - (now - grid.start) % grid.period
        power = (grid.interval(start) or 0) * 3600 // grid.period
        return power * 10_000 // self.voltage(now)

    def row(self, start: int) -> int | None:
        """What the load profile holds for the interval from ``start`` [s UTC], once it is closed; None for no row. [Wh]"""
        if start < self.installed_at or not fault.has_row(self.faults, start):
            return None
        wh, end = self.household.interval(start), start + self.household.period
        cuts = fault.power_cuts(self.faults)
        if wh is None or not cuts:
            return wh
        return (
            None
            if any(cut.start < end < cut.end for cut in cuts)
            else self._drawn_until(end) - self._drawn_until(start)
        )

    def rows(self, now: int, first: int | None = None, last: int | None = None) -> list[Row]:
        """Rows of the load profile that end within ``[first, last]`` by the meter's clock [s UTC], oldest first."""
        grid = self.household
        shown = self.clock(now)
        lowest = self.installed_at if first is None else max(first - grid.period, self.installed_at)
        start = lowest + (grid.start - lowest) % grid.period
        newest = (shown if last is None else min(last, shown)) - grid.period
        if not grid.repeats:
            newest = min(newest, grid.end - grid.period)
        found = ((begin, self.row(begin)) for begin in range(start, newest + 1, grid.period))
        return [Row(begin + grid.period, wh) for begin, wh in found if wh is not None]


@dataclass(frozen=True, slots=True)
class Position:
    """One address on a link, and the devices that have answered there: the last installed by now does."""

    address: str
    meters: tuple[Meter, ...]

    def __post_init__(self) -> None:
        """Refuse an empty position, or devices out of order."""
        installed = [meter.installed_at for meter in self.meters]
        if not installed or installed != sorted(set(installed)):
            raise ValueError(f"address {self.address}: needs devices in order of installation")

    def at(self, now: int) -> Meter:
        """The device that answers at ``now``. [s UTC]"""
        return next((meter for meter in reversed(self.meters) if meter.installed_at <= now), self.meters[0])


def position(address: str, meter: Meter, name_format: str) -> Position:
    """Put a meter at an address, and after it the device of each declared swap, named by ``name_format.format(serial)``."""
    swaps = sorted((made for made in meter.faults if isinstance(made, fault.MeterSwap)), key=lambda swap: swap.at)
    line_faults = tuple(made for made in meter.faults if isinstance(made, fault.Noise))
    later = (
        replace(
            meter,
            name=name_format.format(swap.serial),
            serial=swap.serial,
            installed_at=swap.at,
            register_start=0,
            faults=line_faults,
        )
        for swap in swaps
    )
    return Position(address, (meter, *later))
