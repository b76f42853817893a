"""One object as a technician sees it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.inspection import AttributeView, attributes_of, view
from drivers.dlms.listing import ObjectEntry
from drivers.dlms.objects.catalogue import INTERFACE_CLASSES
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.dlms.objects.interface import AttributeType, InterfaceClass
from drivers.dlms.objects.kinds import Secret
from drivers.dlms.objects.prepay import Currency, CurrencyUnit
from drivers.dlms.objects.schedules import DayAction
from drivers.dlms.objects.security import SecurityPolicy
from drivers.dlms.objects.supply import ControlState
from drivers.dlms.objects.text import MAX_TEXT, write_value
from drivers.errors import MeterRefused
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from tests.drivers.dlms.kinds import values

SWITCH = ObjectEntry(70, 0, Obis(0, 0, 96, 3, 10))
ATTRIBUTES = [(table, one) for table in INTERFACE_CLASSES.values() for one in table.attributes]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (ControlState.READY_FOR_RECONNECTION, "ready for reconnection"),
        (SecurityPolicy.AUTHENTICATED_REQUEST | SecurityPolicy.ENCRYPTED_REQUEST, "authenticated request, encrypted request"),
        (SecurityPolicy(0), "none"),
        (b"internet", "internet"),
        (b"\x00\x01", "0001"),
        (b"", ""),
        (axdr.NULL, ""),
        (axdr.long_unsigned(7), "7"),
        (axdr.array([axdr.unsigned(1), axdr.unsigned(2)]), "[1; 2]"),
        (ScalerUnit(-1, Unit.VOLT), "10^-1 V"),
        (ScalerUnit(0, Unit.COUNT), "10^0"),
        (Currency("EUR", -2, CurrencyUnit.MONETARY), "name EUR, scale -2, unit monetary"),
        ((DayAction(CosemTime(6, 0), Obis(0, 0, 10, 0, 100), 2),), "[start 06:00:00, script 0-0:10.0.100*255, selector 2]"),
        (CosemDate(0xFFFF, 12, 25), "*-12-25"),
        (CosemDateTime(0xFFFF, 3, 0xFF, 2, 0, 0), "****-03-** 02:00:00"),
        (CosemDateTime(2026, 7, 1, 2, 0, 0, -120, 0x81), "2026-07-01 02:00:00 deviation -120 min, daylight saving, invalid or doubtful"),
        (Secret(b"12345678"), "(secret, 8 octets)"),
    ],
)  # fmt: skip
def test_values_are_written_in_words(value: Any, text: str) -> None:
    assert write_value(value) == text


@settings(max_examples=100)
@given(st.sampled_from(ATTRIBUTES), st.data())
def test_every_value_can_be_written_and_is_bounded(
    which: tuple[InterfaceClass, AttributeType], data: st.DataObject
) -> None:
    assert len(write_value(data.draw(values(which[1].kind)))) <= MAX_TEXT + 3


def test_a_long_list_is_cut() -> None:
    assert len(write_value(tuple(range(10**6)))) == MAX_TEXT + 3


def test_each_attribute_stands_for_itself() -> None:
    asked = attributes_of(SWITCH)
    answers: list[Data | MeterRefused] = [
        axdr.octet_string(SWITCH.logical_name.to_bytes()),
        MeterRefused("no", 3),
        axdr.enum(1),
        axdr.unsigned(4),
    ]

    assert view(SWITCH, asked, answers) == [
        AttributeView(1, "logical_name", "0-0:96.3.10*255"),
        AttributeView(2, "output_state", fault="no"),
        AttributeView(3, "control_state", "connected"),
        AttributeView(
            4,
            "control_mode",
            fault="disconnect control (class 70, version 0) attribute 4 control_mode: expected enum, got unsigned",
        ),
    ]


def test_a_class_without_a_table_is_asked_for_what_its_list_names_and_shown_as_it_came() -> None:
    entry = ObjectEntry(70, 9, SWITCH.logical_name, {1: 1, 5: 1, -1: 1})

    asked = attributes_of(entry)

    assert [one.index for one in asked] == [1, 5]
    shown = view(entry, asked, [axdr.octet_string(b"\x00\x00"), axdr.structure(axdr.unsigned(1))])
    assert shown == [AttributeView(1, "", "0000"), AttributeView(5, "", "[1]")]


def test_the_rows_of_a_profile_are_not_read_along() -> None:
    assert [one.index for one in attributes_of(ObjectEntry(7, 1, SWITCH.logical_name))] == [1, 3, 4, 5, 6, 7, 8]
