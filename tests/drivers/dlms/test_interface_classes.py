"""The tables of interface classes: what they hold, both ways, and what they refuse."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects import kinds
from drivers.dlms.objects.catalogue import CLASS_NAMES, INTERFACE_CLASSES, decode_attribute, find_class
from drivers.dlms.objects.clocks import CLOCK, PresetTime
from drivers.dlms.objects.dates import CosemDate, CosemTime
from drivers.dlms.objects.interface import AttributeType, InterfaceClass
from drivers.dlms.objects.kinds import Secret
from drivers.dlms.objects.profiles import CaptureObject
from drivers.dlms.objects.pushing import RestrictionType
from drivers.dlms.objects.schedules import ACTIVITY_CALENDAR, DayAction
from drivers.dlms.objects.supply import DISCONNECT_CONTROL, ControlState
from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.obis import Obis
from drivers.units import Unit
from tests.drivers.dlms.kinds import values

DATA = Path(__file__).resolve().parents[2] / "data"
TABLES = list(INTERFACE_CLASSES.values())
ATTRIBUTES = [(table, one) for table in TABLES for one in table.attributes]
METHODS = [(table, one) for table in TABLES for one in table.methods]
WRONG = [
    Data(Tag.FLOAT64, 1),
    Data(Tag.BCD, b"\x12"),
    Data(Tag.DONT_CARE, None),
    axdr.structure(Data(Tag.DONT_CARE, None)),
    axdr.array([Data(Tag.DONT_CARE, None)]),
]


def test_all_the_classes_of_a_meter_have_a_table_of_each_version_that_is_known() -> None:
    wanted = {
        1: {0}, 3: {0}, 4: {0}, 5: {0}, 6: {0}, 7: {1}, 8: {0}, 9: {0}, 10: {0}, 11: {0}, 12: {0, 1, 2, 3, 4},
        15: {0, 1, 2, 3}, 17: {0}, 18: {0}, 19: {1}, 20: {0}, 21: {0}, 22: {0}, 23: {0, 1}, 25: {0}, 26: {0},
        40: {0, 1, 2}, 41: {0}, 42: {0}, 45: {0}, 47: {0, 1}, 48: {0}, 64: {0, 1}, 70: {0, 1}, 71: {0}, 72: {0, 1},
        111: {0}, 112: {0}, 113: {0}, 115: {0},
    }  # fmt: skip

    found: dict[int, set[int]] = {}
    for class_id, version in INTERFACE_CLASSES:
        found.setdefault(class_id, set()).add(version)

    assert found == wanted
    assert set(CLASS_NAMES) == set(wanted)


def test_the_attributes_of_each_class_are_numbered_from_the_logical_name_on() -> None:
    for table in TABLES:
        assert [one.index for one in table.attributes] == list(range(1, len(table.attributes) + 1)), table
        assert not table.attributes[0].is_writable
        for one in table.attributes:
            assert one.scaled_by is None or table.attribute(one.scaled_by).name in {"scaler_unit", "currency"}


@pytest.mark.parametrize(("table", "attribute"), ATTRIBUTES, ids=lambda one: getattr(one, "name", ""))
@settings(max_examples=6)
@given(data=st.data())
def test_every_attribute_comes_back_as_it_was_written(
    table: InterfaceClass, attribute: AttributeType, data: st.DataObject
) -> None:
    value = data.draw(values(attribute.kind))

    octets = axdr.encode(table.encode(attribute.index, value))

    assert decode_attribute(table.class_id, table.version, attribute.index, axdr.decode(octets)) == value


@pytest.mark.parametrize(("table", "method"), METHODS, ids=lambda one: getattr(one, "name", ""))
@settings(max_examples=4)
@given(data=st.data())
def test_every_methods_parameter_comes_back_as_it_was_written(
    table: InterfaceClass, method: AttributeType, data: st.DataObject
) -> None:
    value = data.draw(values(table.method(method.index).parameter))

    octets = axdr.encode(table.encode_parameter(method.index, value))

    assert table.decode_parameter(method.index, axdr.decode(octets)) == value


@pytest.mark.parametrize(("table", "attribute"), ATTRIBUTES, ids=lambda one: getattr(one, "name", ""))
def test_another_type_is_an_error_that_names_class_and_attribute(
    table: InterfaceClass, attribute: AttributeType
) -> None:
    for wrong in WRONG:
        if isinstance(attribute.kind, kinds.Choice) and (
            not attribute.kind.is_simple or wrong.tag not in {Tag.STRUCTURE, Tag.ARRAY}
        ):
            continue
        if wrong.tag is Tag.ARRAY and isinstance(attribute.kind, kinds.Repeated):
            item = attribute.kind.item
            if isinstance(item, kinds.Choice):
                continue
        with pytest.raises(RemoteProtocolError) as caught:
            table.decode(attribute.index, wrong)

        assert f"class {table.class_id}, version {table.version}) attribute {attribute.index} {attribute.name}" in str(
            caught.value
        )
        assert len(str(caught.value)) < 300


@settings(max_examples=300)
@given(st.sampled_from(ATTRIBUTES), st.binary(max_size=40))
def test_noise_in_an_attribute_is_a_value_or_an_error_of_ours(
    which: tuple[InterfaceClass, AttributeType], noise: bytes
) -> None:
    try:
        data = axdr.decode(noise)
    except RemoteProtocolError:
        return

    try:
        which[0].decode(which[1].index, data)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize(("table", "attribute"), ATTRIBUTES, ids=lambda one: getattr(one, "name", ""))
def test_a_value_of_another_kind_is_never_written(table: InterfaceClass, attribute: AttributeType) -> None:
    with pytest.raises(LocalProtocolError, match=rf"attribute {attribute.index} "):
        table.encode(attribute.index, object())


def test_what_the_class_does_not_let_be_set_is_not_encoded_for_it() -> None:
    with pytest.raises(LocalProtocolError, match="attribute 2 output_state cannot be set"):
        DISCONNECT_CONTROL.encode_to_set("output_state", value=True)

    assert DISCONNECT_CONTROL.encode("output_state", value=True) == Data(Tag.BOOLEAN, value=True)


def test_a_class_version_or_attribute_without_a_table_is_given_as_it_came() -> None:
    came = axdr.structure(axdr.unsigned(1))

    assert find_class(8, 1) is None
    assert decode_attribute(8, 1, 2, came) is came
    assert decode_attribute(9999, 0, 2, came) is came
    assert decode_attribute(8, 0, 99, came) is came


def test_what_a_table_has_not_cannot_be_asked_of_it() -> None:
    with pytest.raises(LocalProtocolError, match=r"clock \(class 8, version 0\) has no attribute 10"):
        CLOCK.decode(10, axdr.unsigned(1))
    with pytest.raises(LocalProtocolError, match="has no method nonsense"):
        CLOCK.encode_parameter("nonsense")


@pytest.mark.parametrize(
    ("class_id", "version", "index", "octets", "said"),
    [
        (8, 0, 3, "11 05", "expected long, got unsigned"),
        (8, 0, 7, "0f 7f", "127 is outside -120 to 120"),
        (8, 0, 9, "16 09", "9 is no ClockBase"),
        (70, 0, 4, "16 07", "7 is no ControlMode"),
        (7, 1, 3, "01 01 02 04 12 0008 09 05 0000010000 0f 02 12 0000", "item 1: logical_name: a logical name has 6"),
        (7, 1, 3, "01 01 02 03 12 0008 09 06 0000010000ff 0f 02", "item 1: structure of 3 items, expected 4"),
        (11, 0, 2, "01 01 02 03 12 0001 09 05 07ea0d01ff 11 01", "is no date"),
        (22, 0, 4, "01 01 02 02 09 04 18000000 09 05 ffffffffff", "is no time of day"),
        (3, 0, 3, "02 02 0f 00 16 3a", "unit 58 is not one we know"),
        (112, 0, 7, "04 07 80", "bit-string of 7 bits, expected 5"),
        (112, 0, 7, "04 08 84", "bit-string of 8 bits, expected 5"),
        (40, 0, 3, "02 03 16 09 09 00 16 00", "service: 9 is no TransportService"),
        (64, 0, 5, "09 09 000102030405060708", "octet-string of 9 octets, expected 0 to 8"),
        (
            15,
            0,
            5,
            "02 06 04 08 ff 12 0400 12 0400 11 06 0f 00 09 00",
            "conformance: bit-string of 8 bits, expected 24",
        ),
        (15, 0, 4, "09 02 6085", "is no object identifier of DLMS"),
        (23, 1, 3, "11 08", "8 is outside 1 to 7"),
    ],
)
def test_what_is_out_of_bounds_is_told(class_id: int, version: int, index: int, octets: str, said: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_attribute(class_id, version, index, axdr.decode(bytes.fromhex(octets)))

    assert said in str(caught.value)


def test_a_makers_own_number_is_kept_where_the_standard_leaves_it_room() -> None:
    came = axdr.decode(bytes.fromhex("02 03 16 c8 09 02 4142 16 80"))

    found = decode_attribute(40, 0, 3, came)

    assert (found.service, found.destination, found.message) == (200, b"AB", 128)


def test_passwords_and_keys_are_in_no_text() -> None:
    secret = decode_attribute(15, 1, 7, axdr.octet_string(b"12345678"))

    assert secret == Secret(b"12345678")
    assert "1234" not in repr(secret) + str(secret) + f"{secret}"
    with pytest.raises(LocalProtocolError) as caught:
        INTERFACE_CLASSES[15, 1].encode(7, b"12345678")
    assert "1234" not in str(caught.value)
    assert "3132" not in str(caught.value)


# Layouts written out by hand from the tables of IEC 62056-6-2, so that no encoder of ours vouches for its own decoder.


def test_a_disconnect_control_reads_as_the_standard_lays_it_out() -> None:
    assert DISCONNECT_CONTROL.decode("output_state", axdr.decode(b"\x03\x01")) is True
    assert DISCONNECT_CONTROL.decode("control_state", axdr.decode(b"\x16\x02")) is ControlState.READY_FOR_RECONNECTION
    assert axdr.encode(DISCONNECT_CONTROL.encode_parameter("remote_disconnect")) == b"\x0f\x00"


def test_a_day_profile_reads_as_the_standard_lays_it_out() -> None:
    octets = bytes.fromhex("01 01 02 02 11 01 01 01 02 03 09 04 06000000 09 06 00000a0064ff 12 0002")

    (day,) = ACTIVITY_CALENDAR.decode("day_profile_table_active", axdr.decode(octets))

    assert (day.day_id, day.actions) == (1, (DayAction(CosemTime(6, 0), Obis(0, 0, 10, 0, 100), 2),))
    assert axdr.encode(ACTIVITY_CALENDAR.encode_to_set("day_profile_table_passive", (day,))) == octets


def test_a_preset_time_is_written_as_the_standard_lays_it_out() -> None:
    at = CosemDateTime(2026, 11, 20, 22, 0, 0, deviation=0)
    octets = bytes.fromhex("0203" + "090c07ea0b14ff160000" + "00000000" + ("090c07ea0b14ff160000" + "00000000") * 2)

    assert axdr.encode(CLOCK.encode_parameter("preset_adjusting_time", PresetTime(at, at, at))) == octets


def test_a_window_of_days_and_dates_says_what_is_left_open() -> None:
    assert str(CosemDate.decode(bytes.fromhex("ffff0c19ff"))) == "*-12-25"
    assert str(CosemDate.decode(bytes.fromhex("07eafefe07"))) == "2026-dst begin-last weekday 7"
    assert str(CosemTime.decode(bytes.fromhex("ff1e00ff"))) == "*:30:00"


def test_names_of_the_association_are_read_in_both_forms() -> None:
    in_ber = decode_attribute(15, 0, 4, axdr.decode(bytes.fromhex("0907 60857405080101")))
    as_numbers = decode_attribute(15, 0, 4, axdr.decode(bytes.fromhex("0207 1102 1110 1202f4 1105 1108 1101 1101")))

    assert in_ber == as_numbers == (2, 16, 756, 5, 8, 1, 1)


def test_flags_of_a_bit_string_begin_with_its_first_bit() -> None:
    status = decode_attribute(111, 0, 4, axdr.decode(bytes.fromhex("04 08 42")))

    assert status == 0x02 | 0x40  # low credit, out of credit


def test_a_range_selectors_column_is_the_capture_object_of_a_published_request() -> None:
    # vectors.json, dlms-apdu-044 (u9n/dlms-cosem, tests/test_xdlms/test_selective_access.py): its restricting object
    octets = bytes.fromhex("020412000809060000010000ff0f02120000")

    assert INTERFACE_CLASSES[7, 1].decode("sort_object", axdr.decode(octets)) == CaptureObject(
        8, Obis(0, 0, 1, 0, 0), 2
    )


# What real meters sent, as published.


def test_the_push_object_list_that_an_energomera_sent_is_of_class_version_2() -> None:
    folder = (
        DATA / "dlms-push" / "dlms-push-011-raw-energomera"
    )  # esphome-libs/dlms_parser, tests/expected/raw_energomera.h
    body = axdr.decode(bytes.fromhex((folder / "frame.hex").read_text())[18:])  # behind invoke-id and date-time

    pushed = INTERFACE_CLASSES[40, 2].decode("push_object_list", body.items()[0])

    names = ["25.9.0", "96.5.134", "42.0.0", "96.1.0", "97.98.0", "97.98.10", "96.5.135"]
    assert [str(one.logical_name) for one in pushed] == [f"0-0:{name}*255" for name in names]
    assert [(one.class_id, one.attribute) for one in pushed] == [(40, 2), *[(1, 2)] * 6]
    assert {(one.restriction.kind, one.restriction.value, one.columns) for one in pushed} == {
        (RestrictionType.NONE, axdr.NULL, axdr.array([]))
    }
    assert INTERFACE_CLASSES[40, 2].encode("push_object_list", pushed) == body.items()[0]
    with pytest.raises(RemoteProtocolError, match="structure of 6 items, expected 5"):
        INTERFACE_CLASSES[40, 1].decode("push_object_list", body.items()[0])


def test_an_object_that_an_e450_pushes_is_of_class_version_0() -> None:
    folder = DATA / "household" / "landis-gyr-e450-vse-2026"  # scs/smartmeter-datacollector, tests/testdata/lg_e450.py
    octets = bytes.fromhex((folder / "frame.hex").read_text().split()[0])
    at = octets.index(bytes.fromhex("0204120028"))

    pushed = INTERFACE_CLASSES[40, 0].decode("push_object_list", axdr.decode(b"\x01\x01" + octets[at : at + 18]))

    assert pushed == (CaptureObject(40, Obis(0, 8, 25, 9, 0), 2),)


@pytest.mark.parametrize("octets", ["04 05 80", "04 08 80"])
def test_bits_counted_to_the_end_of_their_octet_are_taken_where_they_are_0(octets: str) -> None:
    assert decode_attribute(112, 0, 7, axdr.decode(bytes.fromhex(octets))) == "10000"


def test_every_unit_of_the_standard_has_a_symbol_of_its_own() -> None:
    reserved = {0, 58, 59, 68, 69, *range(73, 128), *range(175, 253)}

    assert {int(unit) for unit in Unit} == set(range(256)) - reserved
    assert [Unit.parse(unit.symbol) for unit in Unit if unit.symbol] == [unit for unit in Unit if unit.symbol]
