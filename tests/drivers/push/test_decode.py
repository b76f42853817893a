"""Pushed messages to interval blocks."""

import json
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError, ProfileError
from drivers.facts import IntervalBlock
from drivers.profile import MeterProfile, PushChannel
from drivers.push import PayloadError, PushMessage, decode
from drivers.push.decode import batch_of
from drivers.push.document import MAX_BYTES, MAX_DEPTH
from drivers.status import Meaning, StatusBit, StatusLayout
from drivers.units import ScalerUnit, Unit
from kernels.quality import Reason, Rule
from tests.drivers.push.fixtures import EXPORT, HALF_HOUR, IMPORT, MIDNIGHT, TOPIC, WH, iso, message, profile, row


def block(*counts: int | None, start: int = MIDNIGHT) -> IntervalBlock:
    return IntervalBlock(IMPORT, WH, start, HALF_HOUR, counts)


def facts(payload: bytes, meter: MeterProfile | None = None) -> list[IntervalBlock]:
    return decode(meter or profile(), TOPIC, payload).facts


def fault(payload: bytes, meter: MeterProfile | None = None, topic: str = TOPIC) -> str:
    with pytest.raises(PayloadError) as caught:
        decode(meter or profile(), topic, payload)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_rows_become_one_block_per_channel() -> None:
    channels = (PushChannel(IMPORT, "energy.0", WH, 3), PushChannel(EXPORT, "energy.1", WH))
    rows = [{"t": iso(0), "energy": [0.1, 7]}, {"t": iso(1), "energy": [0.2, 8]}]

    decoded = decode(profile(channels=channels), TOPIC, message(*rows, batch=17))

    expected = [block(100, 200), IntervalBlock(EXPORT, WH, MIDNIGHT, HALF_HOUR, (7, 8))]
    assert decoded == PushMessage("SIM:1001", profile().name, expected, 17)


def test_rows_out_of_order_repeated_and_with_holes_are_put_in_their_slots() -> None:
    rows = [row(4, 0.5), row(0, 0.1), row(1, None), row(0, 0.1), row(4, None)]

    assert facts(message(*rows)) == [block(100, None, None, None, 500)]


def test_one_slot_with_two_values_is_not_believed() -> None:
    assert "two values, 100 and 101" in fault(message(row(0, 0.1), row(0, 0.101)))


def test_message_without_rows_says_nothing() -> None:
    assert facts(message()) == []


@pytest.mark.parametrize(
    ("kwh", "count"),
    [
        ("0.125", 125),
        ("0.1255", 126),
        ("0.1245", 124),
        ("0.12550000000000000000000000000000001", 126),
        ("1E-7", 0),
        ("-0.5", -500),
        ("2", 2000),
        ("1e-999999999", 0),
    ],
)
def test_number_is_rounded_once_half_to_even(kwh: str, count: int) -> None:
    payload = message(row(0)).replace(b"0.125", kwh.encode())

    assert facts(payload) == [block(count)]


def test_number_written_as_text_is_exact_too() -> None:
    assert facts(message(row(0, "0.125"))) == [block(125)]


@pytest.mark.parametrize("value", [True, "", "0,125", "1e3", "nan", "0x1", [], {}, "1" * 40])
def test_what_is_no_number_is_told_with_its_place(value: Any) -> None:
    assert fault(message(row(0), row(1, value))).startswith("rows.1.kwh: ")


def test_value_beyond_32_bits_is_told() -> None:
    assert "does not fit 32 bits" in fault(message(row(0, 3_000_000)))
    assert fault(message(row(0)).replace(b"0.125", b"1e999999999")).startswith("rows.0.kwh: ")
    assert "digits" in fault(message(row(0)).replace(b"0.125", b"0." + b"1" * 100))


def test_end_stamps_become_starts() -> None:
    assert facts(message(row(1)), profile(stamp="end")) == [block(125)]


@pytest.mark.parametrize(
    ("time_format", "stamp"),
    [
        ("epoch", MIDNIGHT), ("epoch", Decimal(MIDNIGHT)), ("epoch_ms", MIDNIGHT * 1000), ("iso", "2024-01-01T00:00:00Z"),
        ("iso", "2024-01-01T05:30:00+05:30"), ("iso", "2023-12-31 19:00:00-0500"), ("iso", "2024-01-01T00:00"),
    ],
)  # fmt: skip
def test_stamps_are_instants(time_format: str, stamp: Any) -> None:
    payload = json.dumps({"meter": "m", "rows": [{"t": stamp, "kwh": 1}]}, default=float).encode()

    assert facts(payload, profile(time_format=time_format)) == [block(1000)]


def test_local_stamp_is_placed_in_the_profiles_zone() -> None:
    payload = message({"t": "2024-01-01T10:00:00", "kwh": 1})

    assert facts(payload, profile(zone="UTC+10:00")) == [block(1000)]
    assert facts(payload, profile(zone="Australia/Brisbane")) == [block(1000)]


@pytest.mark.parametrize("local", ["2024-03-31T02:30:00", "2024-10-27T02:30:00"])
def test_local_stamp_that_daylight_saving_skips_or_repeats_is_not_guessed(local: str) -> None:
    assert "skipped or repeated" in fault(message({"t": local, "kwh": 1}), profile(zone="Europe/Berlin"))


@pytest.mark.parametrize(
    ("time_format", "stamp"),
    [
        ("iso", None), ("iso", 5), ("iso", "2024-01-01"), ("iso", "yesterday at noon"), ("iso", "2024-13-01T00:00:00Z"),
        ("iso", "2024-01-01T00:00:00.5Z"), ("iso", "1999-12-31T23:30:00Z"), ("iso", "2100-01-01T00:00:00Z"), ("iso", "x" * 500),
        ("epoch", "1704067200"), ("epoch", True), ("epoch", -1), ("epoch", 10**30), ("epoch", 1704067200.5), ("epoch_ms", 1704067200001),
        ("iso", "0001-01-01T00:00:00+23:00"), ("iso", "9999-12-31T23:30:00-23:00"),
    ],
)  # fmt: skip
def test_impossible_stamp_is_told_with_its_place(time_format: str, stamp: Any) -> None:
    assert fault(message({"t": stamp, "kwh": 1}), profile(time_format=time_format)).startswith("rows.0.t: ")


def test_stamp_off_the_grid_is_told() -> None:
    assert "not on the grid" in fault(message({"t": "2024-01-01T00:00:07Z", "kwh": 1}))
    assert "not on the grid" in fault(message(row(0), {"t": "2024-01-01T00:45:00Z", "kwh": 1}))


def test_hourly_grid_of_a_half_hour_zone_is_a_grid() -> None:
    rows = [{"t": f"2024-01-01T{hour:02}:00:00+05:30", "kwh": 1} for hour in (6, 7)]

    (found,) = facts(message(*rows), profile(period=3600))

    assert (found.start % 3600, found.counts) == (1800, (1000, 1000))


def test_rows_over_more_than_forty_days_are_refused_before_the_slots_are_made() -> None:
    assert facts(message(row(0), row(40 * 48 - 1)))[0].counts.count(None) == 40 * 48 - 2
    assert "40 days" in fault(message(row(0), row(40 * 48)))
    assert "40 days" in fault(message(row(0), {"t": "2099-01-01T00:00:00Z", "kwh": 1}))


def test_field_that_no_row_has_is_told_but_one_that_some_have_is_a_hole() -> None:
    assert "no row has a field kwh" in fault(message({"t": iso(0), "kWh": 1}))
    assert facts(message({"t": iso(0)}, row(1, 1))) == [block(None, 1000)]


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"", "not JSON at line 1 column 1"),
        (b'{"meter": "?", "rows": [', "not JSON at line 1"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[1, 2]", "meter: not there"),
        (b'{"meter": "m"}', "rows: not there"),
        (b'{"meter": "m", "rows": {"t": 1}}', "rows: dict is not a list"),
        (b'{"meter": "m", "rows": [1]}', "rows.0.t: not there"),
        (b'{"meter": "m", "meter": "n", "rows": []}', "a field occurs twice"),
        (b'{"meter": "m", "rows": [NaN]}', "NaN is not a JSON number"),
        (b'{"meter": "m", "rows": [' + b"1" * 5000 + b"]}", "not usable JSON"),
        (b'{"meter": "", "rows": []}', "meter: ''"),
        (b'{"meter": true, "rows": []}', "meter: True"),
        (b'{"meter": "a\\nb", "rows": []}', "printable"),
        (b'{"meter": "' + b"m" * 129 + b'", "rows": []}', "1 to 128"),
        (b'{"meter": "m", "rows": [], "batch": [1]}', "batch: list"),
        (b'{"meter": "m", "rows": [], "batch": 99999999999999999999}', "batch: 9999"),
        (b"[" * 100_000, f"deeper than {MAX_DEPTH}"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, f"deeper than {MAX_DEPTH}"),
        (b" " * (MAX_BYTES + 1), f"at most {MAX_BYTES}"),
    ],
)
def test_malformed_message_is_told_where_and_what(payload: bytes, told: str) -> None:
    assert told in fault(payload)


@pytest.mark.parametrize(
    "payload", [b'"\\' * 500_000, b'"' * 1_000_000, b"[]" * 500_000, b"9" * 1_000_000, b"[1," * 300_000]
)
def test_hostile_megabyte_is_refused_quickly(payload: bytes) -> None:
    began = time.perf_counter()

    fault(payload)

    assert time.perf_counter() - began < 3


def test_bracket_inside_text_is_no_depth() -> None:
    assert facts(message(row(0), note="[" * 50 + '\\"{')) == [block(125)]


def test_other_topic_is_told() -> None:
    assert "is not of the form ami/" in fault(message(row(0)), topic="ami/c7/intervals")


def test_meter_is_named_by_the_topic_or_by_a_number_too() -> None:
    assert decode(profile(meter="topic:meter"), TOPIC, message(row(0), meter="other")).meter_name == "SIM:1001"
    assert decode(profile(), TOPIC, message(row(0), meter=1001)).meter_name == "1001"


@pytest.mark.parametrize("batch", [17, "b-17", None])
def test_batch_is_the_senders_own_name_for_the_message(batch: Any) -> None:
    assert decode(profile(), TOPIC, message(row(0), batch=batch)).batch == batch
    assert batch_of(message({"t": "?"}, batch=batch)) == batch


def test_batch_of_what_cannot_be_read_is_none() -> None:
    assert batch_of(b"{") is None
    assert batch_of(message(batch={})) is None


def test_payload_fault_is_set_aside_and_not_retried() -> None:
    assert issubclass(PayloadError, DriverError)
    assert not PayloadError.retryable
    assert PayloadError.cause is Reason.SET_ASIDE


def test_profile_without_payload_map_is_told() -> None:
    with pytest.raises(ProfileError, match="push"):
        decode(MeterProfile("dlms", "dlms", "nowhere"), TOPIC, message(row(0)))


@given(
    st.dictionaries(st.integers(0, 100), st.one_of(st.none(), st.integers(-(10**6), 10**6)), min_size=1), st.randoms()
)
def test_blocks_hold_exactly_what_the_rows_said(said: dict[int, int | None], random: Any) -> None:
    meter = profile(channels=(PushChannel(IMPORT, "kwh", ScalerUnit(-1, Unit.WATT_HOUR), 3),))
    rows = [row(slot, None if count is None else f"{Decimal(count).scaleb(-4):f}") for slot, count in said.items()] * 2
    random.shuffle(rows)

    (found,) = facts(message(*rows), meter)

    first = (found.start - MIDNIGHT) // HALF_HOUR
    assert first == min(said)
    assert len(found.counts) == max(said) - min(said) + 1
    assert {first + slot: count for slot, count in enumerate(found.counts) if count is not None} == {
        slot: count for slot, count in said.items() if count is not None
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["meter", "rows", "t", "kwh", "batch"]), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_document_is_decoded_or_refused_and_nothing_else(document: Any) -> None:
    try:
        decoded = decode(profile(), TOPIC, json.dumps(document).encode())
    except PayloadError:
        return
    assert isinstance(decoded, PushMessage)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused_and_nothing_else(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(profile(), TOPIC, payload)


def status_profile() -> MeterProfile:
    bits = (StatusBit(0, "no supply", Meaning.POWER_FAILURE), StatusBit(3, "not valid", Meaning.DOUBTFUL))
    return replace(profile(status="flags.0"), status_layout=StatusLayout("test", "tests", bits))


def test_the_status_of_a_row_becomes_rules_and_a_null_without_supply_had_no_power() -> None:
    rows = [row(0, 0.1), row(1, None) | {"flags": [1]}, row(2, 0.2) | {"flags": ["0x08"]}, row(3, 0.3) | {"flags": [2]}]

    (found,) = facts(message(*rows), status_profile())

    assert found.counts == (100, None, 200, 300)
    assert found.rules == (Rule(0), Rule.POWER_FAILURE, Rule.METER_STATUS, Rule.STATUS_UNKNOWN)
    assert [said.word for said in found.status] == [1, 8, 2]


def test_holes_in_a_message_have_no_cause_though_the_row_behind_tells_of_a_power_failure() -> None:
    (found,) = facts(message(row(0, 0.1), row(5, 0.2) | {"flags": [1]}), status_profile())

    assert [bool(rule) for rule in found.rules] == [False] * 5 + [True]


@pytest.mark.parametrize("flag", [True, -1, 2**32, "8", 1.5, []])
def test_a_status_that_is_no_word_is_a_fault(flag: Any) -> None:
    assert "flags.0" in fault(message(row(0, 0.1) | {"flags": [flag]}), status_profile())
