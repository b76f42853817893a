"""COSEM date-time and UTC, through the hours that come twice and never."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms.datetime import ClockStatus, CosemDateTime, find_zone
from drivers.errors import ProfileError, RemoteProtocolError
from drivers.profile import ClockProfile

ZONES = ["UTC", "UTC+10:00", "UTC-03:30", "Europe/Berlin", "Australia/Sydney", "Asia/Kolkata", "America/St_Johns"]
VIENNA = ClockProfile(zone="Europe/Vienna")


def utc(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp())


@given(
    instant=st.integers(utc("2000-01-01T00:00:00+00:00"), utc("2099-12-31T00:00:00+00:00")),
    zone=st.sampled_from(ZONES),
    specify=st.booleans(),
)
def test_an_instant_written_in_any_zone_is_the_instant_read(instant: int, zone: str, *, specify: bool) -> None:
    octets = CosemDateTime.from_utc(instant, zone, specify_deviation=specify).encode()

    assert CosemDateTime.decode(octets).to_utc(ClockProfile(zone=zone)) == instant


@pytest.mark.parametrize(
    ("status", "expected"),
    [(ClockStatus.DAYLIGHT_SAVING, "2024-10-27T00:30:00+00:00"), (ClockStatus(0), "2024-10-27T01:30:00+00:00")],
)
def test_the_status_bit_tells_the_two_hours_of_the_autumn_night_apart(status: ClockStatus, expected: str) -> None:
    stamp = CosemDateTime(2024, 10, 27, 2, 30, 0, None, int(status))

    assert stamp.to_utc(VIENNA) == utc(expected)


def test_a_time_that_never_was_in_spring_follows_the_status_bit() -> None:
    stamp = CosemDateTime(2024, 3, 31, 2, 30, 0, None, 0)

    assert stamp.to_utc(VIENNA) == utc("2024-03-31T01:30:00+00:00")


def test_a_deviation_not_to_be_believed_is_replaced_by_the_zone() -> None:
    stamp = CosemDateTime(2024, 1, 1, 12, 0, 0, 60)  # the sign is wrong

    assert stamp.to_utc(ClockProfile(zone="UTC+01:00", deviation="ignore")) == utc("2024-01-01T11:00:00+00:00")


@pytest.mark.parametrize(
    "octets",
    [
        "ffff0101ff00000000800000",  # year not specified
        "07e4ff01ff00000000800000",  # month
        "07e40101ffff000000800000",  # hour
        "07e4021eff00000000800000",  # 30 February
        "07e40101ff18000000800000",  # hour 24
        "07e40101ff00000000ff0000"[:-2],
    ],
)
def test_a_date_time_that_is_no_instant_is_a_protocol_error(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        CosemDateTime.decode(bytes.fromhex(octets)).to_utc(ClockProfile())


def test_a_deviation_of_more_than_a_day_is_a_protocol_error() -> None:
    with pytest.raises(RemoteProtocolError, match="deviation"):
        CosemDateTime.decode(bytes.fromhex("07e40101ff0000000007d000"))


def test_unspecified_seconds_count_as_zero() -> None:
    assert CosemDateTime(2024, 1, 1, 12, 0, 0xFF, 0).to_utc(ClockProfile()) == utc("2024-01-01T12:00:00+00:00")


def test_an_unspecified_status_is_no_doubt_and_no_daylight_saving() -> None:
    stamp = CosemDateTime(2024, 1, 1, 12, 0, 0, 0, 0xFF)

    assert not stamp.is_invalid
    assert not stamp.is_daylight_saving
    assert CosemDateTime(2024, 1, 1, 12, 0, 0, 0, 0x01).is_invalid


@pytest.mark.parametrize("name", ["Nowhere/Land", "UTC+99:00", "UTC+1", "../etc/passwd", ""])
def test_an_unknown_zone_is_a_profile_error(name: str) -> None:
    with pytest.raises(ProfileError, match="neither"):
        find_zone(name)
