"""What is made of a meter's own description, also where it is strange, silent or boundless."""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from drivers.dlms import axdr, objects
from drivers.dlms.axdr import Data
from drivers.dlms.discovery import MAX_PROFILES, MAX_REGISTERS, Description, ProfileView, describe
from drivers.dlms.draft import draft, find_load_profile
from drivers.dlms.listing import ObjectEntry, encode_object_list
from drivers.dlms.objects import CLOCK_COLUMN, CaptureObject
from drivers.dlms.xdlms import Attribute
from drivers.errors import MeterRefused, ProfileError, RemoteProtocolError
from drivers.obis import Obis
from drivers.profile import ClockProfile, MeterProfile
from drivers.profile_parser import parse_profile
from drivers.status import UNDECLARED
from drivers.units import ScalerUnit, Unit
from headend.profiles import load_documents
from tests.drivers.dlms.meter import DAY, PROFILE, stamp

ENERGY, EXPORT, INTERVALS = Obis.parse("1.8.0"), Obis.parse("2.8.0"), Obis.parse("1.29.0")
POWER = Obis.parse("1.5.0")
LOAD_PROFILE, LOG = Obis.parse("1-0:99.1.0"), Obis.parse("1-0:99.98.0")
WATT_HOUR = ScalerUnit(-1, Unit.WATT_HOUR)
NAME = axdr.octet_string(b"TST0000000000001")
COUNT, SCALER = axdr.double_long_unsigned(1234), objects.encode_scaler_unit(WATT_HOUR)
Answers = Mapping[tuple[int, Obis, int], Data]

ENTRIES = (
    ObjectEntry(1, 0, Obis(0, 0, 42, 0, 0)),
    ObjectEntry(8, 0, Obis(0, 0, 1, 0, 0)),
    ObjectEntry(3, 0, ENERGY),
    ObjectEntry(3, 0, EXPORT, {2: 0, 3: 0}),
    ObjectEntry(3, 0, INTERVALS),
    ObjectEntry(7, 1, LOAD_PROFILE),
)


def captured(*columns: CaptureObject) -> Data:
    return axdr.array(column.encode() for column in columns)


def answers(entries: tuple[ObjectEntry, ...] = ENTRIES) -> dict[tuple[int, Obis, int], Data]:
    columns = captured(CLOCK_COLUMN, CaptureObject(3, INTERVALS, 2), CaptureObject(3, ENERGY, 2))
    return {
        (1, Obis(0, 0, 42, 0, 0), 2): NAME,
        (15, Obis(0, 0, 40, 0, 0), 2): encode_object_list(entries),
        (8, Obis(0, 0, 1, 0, 0), 2): stamp(DAY),
        (3, ENERGY, 2): COUNT, (3, ENERGY, 3): SCALER, (3, INTERVALS, 2): COUNT, (3, INTERVALS, 3): SCALER,
        (7, LOAD_PROFILE, 3): columns,
        (7, LOAD_PROFILE, 4): axdr.double_long_unsigned(900),
        (7, LOAD_PROFILE, 7): axdr.double_long_unsigned(96),
        (7, LOAD_PROFILE, 8): axdr.double_long_unsigned(4000),
    }  # fmt: skip


def asked_and_described(known: Answers) -> tuple[list[Attribute], Description]:
    script = describe(ClockProfile())
    asked: list[Attribute] = []
    wanted = next(script)
    while True:
        asked += wanted
        replies = [
            known.get((one.class_id, one.logical_name, one.index)) or MeterRefused(f"{one}: object-undefined", 4)
            for one in wanted
        ]
        try:
            wanted = script.send(replies)
        except StopIteration as finished:
            return asked, finished.value


def described(known: Answers) -> Description:
    return asked_and_described(known)[1]


def drafted(description: Description) -> tuple[str, MeterProfile]:
    text = draft(description, PROFILE, DAY)
    documents, _ = load_documents()
    return text, parse_profile("drafted", {**documents, "drafted": tomllib.loads(text)})


def test_a_meter_is_described_and_nothing_is_asked_twice_or_in_vain() -> None:
    asked, description = asked_and_described(answers())

    assert (description.name, description.clock, description.notes) == ("TST0000000000001", DAY, ())
    assert [(one.logical_name, one.value) for one in description.registers] == [
        (ENERGY, Decimal("123.4")),
        (EXPORT, None),
        (INTERVALS, Decimal("123.4")),
    ]
    assert [(view.period, view.entries, view.capacity) for view in description.profiles] == [(900, 96, 4000)]
    assert len(asked) == len(set(asked))
    assert not [one for one in asked if one.logical_name == EXPORT]  # its list says that it cannot be read


def test_a_draft_holds_what_was_described() -> None:
    text, profile = drafted(described(answers()))

    (channel,) = profile.channels
    assert (channel.obis, channel.period, channel.scaler_unit) == (INTERVALS, 900, WATT_HOUR)
    assert profile.registers == (ENERGY,)
    assert profile.dlms is not None
    assert [(column.obis, column.cumulative) for column in profile.dlms.columns] == [
        (INTERVALS, False),
        (ENERGY, True),
    ]
    assert "## 96 rows in use of 4000" in text


def test_a_draft_names_the_status_column_and_asks_what_its_bits_mean() -> None:
    status = Obis(0, 0, 96, 10, 1)
    columns = captured(CLOCK_COLUMN, CaptureObject(1, status, 2), CaptureObject(3, INTERVALS, 2))

    text, profile = drafted(described(answers() | {(7, LOAD_PROFILE, 3): columns}))

    assert profile.dlms is not None
    assert (profile.dlms.status, profile.status_layout) == (status, UNDECLARED)
    assert "## What do the bits of its status mean?" in text


def test_a_meter_that_hides_its_list_still_says_its_name() -> None:
    known = answers()
    del known[15, Obis(0, 0, 40, 0, 0), 2]

    description = described(known)

    assert (description.name, description.entries) == ("TST0000000000001", ())
    assert "not shown to this client" in description.notes[0]
    with pytest.raises(ProfileError, match="nothing would ever be read"):
        drafted(description)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({(1, Obis(0, 0, 42, 0, 0), 2): axdr.octet_string(b"\x00\xff\n")}, "not printable"),
        ({(3, ENERGY, 3): axdr.structure(axdr.integer(0), axdr.enum(200))}, "not one we know"),
        ({(3, ENERGY, 2): axdr.octet_string(b"12")}, "expected an integer"),
        ({(7, LOAD_PROFILE, 3): axdr.array([])}, "0 columns"),
        ({(7, LOAD_PROFILE, 4): axdr.octet_string(b"900")}, "expected an integer"),
        ({(8, Obis(0, 0, 1, 0, 0), 2): axdr.octet_string(b"noon")}, "octets"),
    ],
)
def test_what_one_object_says_wrongly_costs_that_object_alone(change: dict[Any, Data], note: str) -> None:
    description = described(answers() | change)

    assert len(description.notes) == 1
    assert note in description.notes[0]
    assert len(description.entries) == len(ENTRIES)
    drafted(description)


def test_an_object_list_that_is_none_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="expected an array"):
        described(answers() | {(15, Obis(0, 0, 40, 0, 0), 2): axdr.unsigned(1)})


def test_what_a_boundless_meter_makes_us_ask_is_bounded() -> None:
    many = tuple(ObjectEntry(3, 0, Obis(1, 0, number % 256, 8, number // 256)) for number in range(3000))
    logs = tuple(ObjectEntry(7, 1, Obis(1, 0, 99, number % 256, number // 256)) for number in range(1000))

    asked, description = asked_and_described(answers((*many, *logs)))

    assert len(asked) <= 2 + 4 * MAX_PROFILES + 2 * MAX_REGISTERS
    assert sum("are listed; the first" in note for note in description.notes) == 2


def test_a_name_cannot_break_out_of_the_text() -> None:
    hostile = b'X"]\\x = 1 # """'

    text, profile = drafted(described(answers() | {(1, Obis(0, 0, 42, 0, 0), 2): axdr.octet_string(hostile)}))

    assert hostile.decode() in profile.source
    assert "x" not in tomllib.loads(text)


def test_without_an_interval_column_registers_are_proposed_and_nothing_is_invented() -> None:
    columns = captured(CLOCK_COLUMN, CaptureObject(3, ENERGY, 2), CaptureObject(3, POWER, 2), CaptureObject(1, LOG, 2))

    text, profile = drafted(described(answers() | {(7, LOAD_PROFILE, 3): columns}))

    assert profile.channels == ()
    assert 'origin = "register"' in text
    assert f"## {POWER} class 3 attribute 2, scaler and unit not known: what does it mean?" in text


@pytest.mark.parametrize(
    "worth", [ScalerUnit(0, Unit.WATT), ScalerUnit(30, Unit.WATT_HOUR)], ids=["another unit", "beyond all scalers"]
)
def test_an_interval_column_that_no_profile_could_declare_is_left_as_a_question(worth: ScalerUnit) -> None:
    text, profile = drafted(described(answers() | {(3, INTERVALS, 3): objects.encode_scaler_unit(worth)}))

    assert profile.channels == ()
    assert f"## {INTERVALS} class 3 attribute 2" in text


def view(name: Obis, period: int | None = 900, *, has_clock: bool = True, intervals: int = 1) -> ProfileView:
    columns = tuple(CaptureObject(3, Obis(1, 0, 1 + number, 29, 0), 2) for number in range(intervals))
    columns += (CLOCK_COLUMN,) * has_clock
    return ProfileView(name, columns, (WATT_HOUR,) * len(columns), period, 1, 1)


def test_the_load_profile_is_the_standards_else_the_one_with_most_intervals() -> None:
    standard, daily, odd = view(LOAD_PROFILE), view(LOG, 86_400, intervals=0), view(LOG, 1000, intervals=3)
    rich, blind, event = view(LOG, intervals=2), view(LOG, has_clock=False, intervals=4), view(LOG, 0, intervals=4)

    assert find_load_profile([daily, odd, rich, blind, event, standard]) is standard
    assert find_load_profile([daily, odd, rich, blind, event]) is rich
    assert find_load_profile([odd, blind, event, view(LOG, None)]) is None


def test_other_profiles_are_named_in_the_draft() -> None:
    entries = (*ENTRIES, ObjectEntry(7, 1, LOG))
    log = {(7, LOG, 3): captured(CLOCK_COLUMN), (7, LOG, 4): axdr.double_long_unsigned(0)}

    text, profile = drafted(described(answers(entries) | log))

    assert profile.dlms is not None
    assert profile.dlms.load_profile == LOAD_PROFILE
    assert f"##   {LOG} every 0 s" in text
