"""Every published push decodes to its published answer."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.notification import Notification, PushedFacts, PushedObject, _text, decode_notification, facts
from drivers.dlms.unprotect import parse_protected, unprotect
from drivers.facts import RegisterValue
from drivers.obis import CATALOGUE, Obis
from drivers.profile import ClockProfile
from kernels.quality import Rule
from tests.drivers.dlms.pushes import Push, load, load_all, read
from tests.shared import shared_data

PUBLISHED = 19
RECEIVED = 1_800_000_000
UTC_CLOCK = ClockProfile()


def understood(case: Push) -> tuple[Notification, PushedFacts]:
    plain = unprotect(case.apdu, case.keys)
    notification = decode_notification(plain.apdu)
    return notification, facts(notification, UTC_CLOCK, RECEIVED, uncertainty=60)


def number(item: PushedObject) -> Decimal:
    count = item.data.integer()
    return item.scaler_unit.to_decimal(count) if item.scaler_unit else Decimal(count)


def written(item: PushedObject) -> str:
    if isinstance(item.data.value, bytes) and len(item.data.value) == 12 and not _text(item.data):
        return str(CosemDateTime.decode(item.data.value).local())
    return _text(item.data)


def check_dlms_parser(case: Push) -> None:
    """Names in six parts; numbers are what the message scales them to, or counts where it does not."""
    notification, made = understood(case)
    named = {item.logical_name: item for item in notification.objects if item.logical_name is not None}
    assert len(named) <= case.expect["objects"] <= len(notification.objects)
    for code, text in case.expect["strings"].items():
        if code == "0.0.0.0.0.0":
            assert written(notification.objects[0]) == text
        elif (item := named.get(Obis.parse(code))) is not None:
            assert written(item) == text, code
        else:
            assert (code, made.names.meter_id) == ("0.0.96.1.0.255", text)
    for code, value in case.expect["numbers"].items():
        item = named[Obis.parse(code)]
        if "energomera" in case.name:
            assert item.data_index == value  # the published reading takes each object's data index for its number
        else:
            assert number(item) == Decimal(str(value)), code


def check_amshan(case: Push) -> None:
    """Quantities by name, each in its base unit."""
    notification, made = understood(case)
    registers = {register.obis: register for register in made.registers}
    names = {name: value for name, value in case.expect.items() if isinstance(value, int | float)}
    for name, value in names.items():
        known = name.removesuffix("_total")
        register = registers[CATALOGUE[known.replace("_power_", "_energy_") if known != name else known].obis]
        assert register.value == Decimal(str(value)), name
        assert (
            register.scaler_unit.unit
            is CATALOGUE[known.replace("_power_", "_energy_") if known != name else known].unit
        )
    assert len(registers) == len(names)
    assert notification.version == case.expect["list_ver_id"]
    assert (made.names.meter_id, made.names.meter_type) == (case.expect["meter_id"], case.expect["meter_type"])
    assert made.has_stamp is ("meter_datetime" in case.expect)
    if made.has_stamp:
        moment = dt.datetime.fromisoformat(case.expect["meter_datetime"])
        assert made.captured_at == int(moment.replace(tzinfo=moment.tzinfo or dt.UTC).timestamp())
    else:
        assert {(r.captured_at, r.uncertainty) for r in made.registers} == {(RECEIVED, 60)}


def check_wrapped(case: Push) -> None:
    protected = parse_protected(case.apdu)
    assert protected is not None
    assert protected.system_title.hex() == case.expect["system_title"]
    plain = unprotect(case.apdu, case.keys)
    assert (plain.counter, plain.apdu[:1].hex()) == (case.expect["invocation_counter"], case.expect["plain_tag"])
    assert plain.is_authenticated
    assert decode_notification(plain.apdu).octets.hex().startswith("125a85")


CHECKS: dict[str, Any] = {
    "esphome-libs/dlms_parser": check_dlms_parser, "toreamun/amshan": check_amshan, "u9n/dlms-cosem": check_wrapped,
}  # fmt: skip


def test_every_published_push_decodes_to_its_published_answer() -> None:
    ran = 0

    for case in load_all():
        CHECKS[case.expected["origin"]["repo"]](case)
        ran += 1

    assert ran == PUBLISHED


def test_no_published_push_is_missing_or_altered() -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the whole collection, ../shared/data/vectors.json, is not here; the carried cases ran")
    vectors = json.loads((data / "vectors.json").read_text())["vectors"]
    published = {vector["id"]: vector for vector in vectors if vector["protocol"] == "dlms-push"}

    carried = {case.expected["origin"]["id"]: case for case in load_all()}

    assert carried.keys() == published.keys()
    for name, case in carried.items():
        vector = published[name]
        assert case.frame.hex() == vector.get("frame_hex", vector.get("llc_hex"))
        assert case.expect == vector["expect"]
        assert case.expected.get("keys") == vector.get("keys")


def test_frame_with_a_wrong_checksum_as_published_is_refused() -> None:
    case = load("005")

    found, errors = read(case.frame)

    assert not found
    assert case.error is not None
    assert case.error in errors[0]


@pytest.mark.parametrize(
    ("number", "framing", "source"),
    [("001", "hdlc", "1/17"), ("002", "hdlc", "1/0"), ("009", "mbus", "255/1"), ("010", "bare", ""), ("016", "bare", ""),
     ("034", "wrapper", "1")],
)  # fmt: skip
def test_framing_and_sender_are_told(number: str, framing: str, source: str) -> None:
    (pushed,), errors = read(load(number).frame)

    assert (pushed.framing, pushed.source, errors) == (framing, source, [])


def test_scaler_and_unit_of_the_message_are_exact() -> None:
    _, made = understood(load("001"))

    by_code = {str(register.obis): register for register in made.registers}
    voltage = by_code["1-0:32.7.0*255"]
    assert (voltage.count, str(voltage.scaler_unit.unit.symbol), voltage.scaler_unit.scaler) == (2364, "V", -1)
    assert str(voltage.value) == "236.4"
    instant = int(dt.datetime(2023, 4, 1, 19, 32, 35, tzinfo=dt.UTC).timestamp())
    assert (made.captured_at, voltage.captured_at, voltage.uncertainty) == (instant, instant, 0)
    assert made.names.meter_id == "84895126"


def test_deviation_and_daylight_saving_of_the_meter_give_utc() -> None:
    _, made = understood(load("009"))

    assert made.captured_at == int(dt.datetime(2021, 9, 27, 7, 47, 15, tzinfo=dt.UTC).timestamp())
    assert made.names.meter_id == "181220000009"


def test_time_without_deviation_is_local_time_of_the_clock_profile() -> None:
    notification, _ = understood(load("008"))

    made = facts(notification, ClockProfile(zone="Europe/Oslo"), RECEIVED)

    assert made.captured_at == int(dt.datetime(2019, 12, 16, 6, 59, 40, tzinfo=dt.UTC).timestamp())


def test_numbers_that_nothing_gives_a_unit_are_kept_apart_and_become_no_facts() -> None:
    notification, made = understood(load("004"))

    assert made.registers == ()
    assert len(made.unscaled) == 16
    assert notification.date_time is not None


def test_logical_device_name_is_found_where_it_is_sent() -> None:
    _, czech = understood(load("010"))
    _, energomera = understood(load("011"))

    assert (czech.names.logical_device_name, czech.names.meter_id) == ("EGD012345", "0123456789")
    assert (energomera.names.logical_device_name, energomera.names.meter_id) == ("EMR0222173608710", "012415173608710")


def test_content_nobody_vouches_for_is_marked() -> None:
    case = load("009")
    plain = unprotect(case.apdu, case.keys)

    made = facts(decode_notification(plain.apdu), UTC_CLOCK, RECEIVED, rules=Rule.METER_STATUS)

    assert not plain.is_authenticated
    assert {register.rules for register in made.registers} == {Rule.METER_STATUS}
    assert all(isinstance(register, RegisterValue) for register in made.registers)
