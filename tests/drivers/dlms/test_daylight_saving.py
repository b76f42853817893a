"""Load profiles across the hour that comes twice and the hour that never comes, as three habits of meters stamp them.

The stamps are written here octet by octet, from the zone's rules alone; nothing of the driver makes them.
"""

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from drivers.dlms import axdr, objects
from drivers.dlms.objects import CaptureObject, Column
from drivers.obis import Obis
from drivers.profile import ChannelProfile, ClockProfile, DlmsColumn
from drivers.units import ScalerUnit, Unit

BERLIN = ZoneInfo("Europe/Berlin")
QUARTER = 900
INTERVALS = Obis.parse("1-0:1.29.0*255")
WATT_HOUR = ScalerUnit(0, Unit.WATT_HOUR)
CHANNEL = ChannelProfile(INTERVALS, QUARTER, WATT_HOUR, "load_profile")
COLUMN = Column(1, DlmsColumn(INTERVALS, INTERVALS), WATT_HOUR)
CAPTURED = (CaptureObject(8, Obis(0, 0, 1, 0, 0), 2), CaptureObject(3, INTERVALS, 2))
DAYS = {
    "hour comes twice": (datetime(2026, 10, 25, tzinfo=BERLIN), 100),
    "hour never comes": (datetime(2026, 3, 29, tzinfo=BERLIN), 92),
}
UNSPECIFIED = 0x8000 - 0x10000


def octets(wall: datetime, deviation: int, status: int) -> bytes:
    """IEC 62056-6-2, date-time: year, month, day, day of week, h, min, s, hundredths, deviation, clock status."""
    return struct.pack(
        ">HBBBBBBBhB", wall.year, wall.month, wall.day, 0xFF, wall.hour, wall.minute, wall.second, 0, deviation, status
    )  # fmt: skip


def with_deviation(instant: datetime) -> bytes:
    wall = instant.astimezone(BERLIN)
    summer = bool(wall.dst())
    return octets(wall, -120 if summer else -60, 0x80 if summer else 0)


def without_deviation(instant: datetime) -> bytes:
    wall = instant.astimezone(BERLIN)
    return octets(wall, UNSPECIFIED, 0x80 if wall.dst() else 0)


def standard_time_all_year(instant: datetime) -> bytes:
    return octets(instant.astimezone(timezone(timedelta(hours=1))), UNSPECIFIED, 0)


HABITS = [
    pytest.param(with_deviation, ClockProfile(zone="UTC"), id="with deviation"),
    pytest.param(without_deviation, ClockProfile(zone="Europe/Berlin"), id="without deviation"),
    pytest.param(standard_time_all_year, ClockProfile(zone="UTC+01:00"), id="standard time all year"),
]


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize(("stamp", "clock"), HABITS)
def test_every_quarter_of_the_day_has_its_own_instant(
    stamp: Callable[[datetime], bytes], clock: ClockProfile, day: str
) -> None:
    midnight, quarters = DAYS[day]
    start = int(midnight.timestamp())
    ends = [datetime.fromtimestamp(start + (n + 1) * QUARTER, UTC) for n in range(quarters)]
    buffer = axdr.array(
        [axdr.structure(axdr.octet_string(stamp(end)), axdr.double_long_unsigned(n)) for n, end in enumerate(ends)]
    )

    rows = objects.decode_rows(buffer, CAPTURED, QUARTER, clock)
    made = objects.interval_block(COLUMN, CHANNEL, rows, clock, start=start, end=start + quarters * QUARTER)

    assert start + quarters * QUARTER == int((midnight + timedelta(days=1)).timestamp())
    assert len({row.stamp for row in rows}) == quarters
    assert made.counts == tuple(range(quarters))
    assert not any(made.rules)
