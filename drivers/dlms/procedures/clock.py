"""Reading and setting a meter's clock, within a bound, verified by reading back. IEC 62056-6-2, class 8."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from drivers.dlms.axdr import Data
from drivers.dlms.datetime import ClockStatus, CosemDateTime
from drivers.dlms.objects.clocks import CLOCK, MAX_SHIFT
from drivers.dlms.procedures.steps import Procedure, Read, Write, invoke
from drivers.errors import CommandDeclined, CommandUnverified, RemoteProtocolError
from drivers.facts import ClockReading, UtcSeconds
from drivers.obis import Obis
from drivers.profile import ClockProfile

TOLERANCE = 2  # [s] that a clock may be off right after it was set, besides what the exchange took
Now = Callable[[], UtcSeconds]


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """The clock before and after; the same reading where it was right and nothing was sent."""

    before: ClockReading
    after: ClockReading


def set_clock(
    name: Obis, clock: ClockProfile, now: Now, *, limit: int, way: Literal["set", "shift"] = "set"
) -> Procedure[ClockSetting]:
    """Set the clock, written as the meter writes it, or shift it; only if it is off by ``limit`` at most. [s]

    ``way``: ``set`` writes ``time``, ``shift`` invokes ``shift_time``, which goes 900 s at most. Raises `CommandDeclined`
    beyond either bound, and `CommandUnverified` where the clock is still wrong afterwards.
    """
    written, before, _ = yield from _reading(name, clock, now)
    if abs(before.offset) > limit:
        raise CommandDeclined(f"clock is off by {before.offset} s, more than the {limit} s that may be corrected")
    if not before.offset and not before.is_invalid:
        return ClockSetting(before, before)
    if way == "shift":
        if abs(before.offset) > MAX_SHIFT:
            raise CommandDeclined(f"clock is off by {before.offset} s; shift_time moves it {MAX_SHIFT} s at most")
        yield from invoke(CLOCK, name, "shift_time", -before.offset)
    else:
        stamp = _as_written(now(), written, clock)
        yield Write(CLOCK.at(name, "time"), CLOCK.encode_to_set("time", stamp))
    _, after, took = yield from _reading(name, clock, now)
    if abs(after.offset) > TOLERANCE + took or after.is_invalid:
        doubt = " and the meter calls it invalid" if after.is_invalid else ""
        raise CommandUnverified(
            f"clock was off by {before.offset} s and is off by {after.offset} s{doubt} after setting"
        )
    return ClockSetting(before, after)


def _reading(name: Obis, clock: ClockProfile, now: Now) -> Procedure[tuple[CosemDateTime, ClockReading, int]]:
    asked = now()
    data = yield Read(CLOCK.at(name, "time"))
    answered = now()
    written = _decoded(data)
    reading = ClockReading(written.to_utc(clock), (asked + answered) // 2, written.is_doubtful(clock))
    return written, reading, answered - asked


def _decoded(data: Data | None) -> CosemDateTime:
    value = None if data is None else CLOCK.decode("time", data)
    if not isinstance(value, CosemDateTime):
        raise RemoteProtocolError("clock was read without data")
    return value


def _as_written(instant: UtcSeconds, written: CosemDateTime, clock: ClockProfile) -> CosemDateTime:
    """Write an instant with the deviation and daylight saving the meter itself has just used, else as its profile says."""
    if written.deviation is None or clock.deviation != "meter":
        made = CosemDateTime.from_utc(instant, clock.zone, specify_deviation=written.deviation is not None)
    else:
        local = datetime.fromtimestamp(instant - written.deviation * 60, UTC)
        status = ClockStatus.DAYLIGHT_SAVING if written.is_daylight_saving else ClockStatus(0)
        made = CosemDateTime(
            local.year, local.month, local.day, local.hour, local.minute, local.second, written.deviation, int(status)
        )
    return replace(made, hundredths=0)
