"""NEM12, by AEMO's specification and by an independent reader."""

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.errors import ExportError
from headend.export import nem12, quality
from headend.export.formats import FORMATS, Context, whole_days
from headend.export.readings import Freshness, rows_of
from headend.export.source import channels
from headend.registry.model import EndDevice, Installation
from kernels.quality import Reason, Rule, State
from tests.headend.export.fakes import DAY, EXPORT, IMPORT, MIDNIGHT, NOW, WH, FakeStore, house, lose, validate

DATA = Path("tests/data/export")
CHECKSUMS = tomllib.loads((DATA / "nmi_checksum.toml").read_text())


def encoded(store: FakeStore, days: int = 2, start: int = MIDNIGHT) -> str:
    found = channels(store, None, None, start, start + days * DAY)
    context = Context(NOW, tuple(found), "HEADEND", "RETAILER")
    rows = (row for channel in found for row in rows_of(store, channel, Freshness()))
    return b"".join(FORMATS["nem12"].encode(rows, context)).decode("ascii")


def records(store: FakeStore, indicator: str, **options: int) -> list[list[str]]:
    return [cells for line in encoded(store, **options).splitlines() if (cells := line.split(","))[0] == indicator]


def test_checksums_are_the_twelve_published_ones() -> None:
    assert len(CHECKSUMS) == 12
    assert {nmi: nem12.nmi_checksum(nmi) for nmi in CHECKSUMS} == CHECKSUMS


@pytest.mark.parametrize("name", ["house 1", "NAAAMYS58", "NAAAMYS5I2", "naaamys582", "NAAAMYS5826", "NAAAMYS58\n", ""])
def test_name_that_is_no_nmi_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(ExportError, match=r"is not an NMI.*export as csv"):
        nem12.check_nmi(name)


def test_nmi_with_its_check_digit_gets_a_hint() -> None:
    with pytest.raises(ExportError, match="leave the check digit off"):
        nem12.check_nmi("NAAAMYS5826")


def test_file_begins_with_100_and_ends_with_900() -> None:
    lines = encoded(house()).split("\r\n")

    assert lines[0] == "100,NEM12,202403100200,HEADEND,RETAILER"
    assert lines[-2:] == ["900", ""]


def test_day_of_actual_data_is_one_300_record() -> None:
    (first, second) = records(house(), "300")

    assert first[:5] == ["300", "20240101", "0.000", "0.001", "0.002"]
    assert first[50:] == ["A", "", "", "20240310020000", ""]
    assert second[1] == "20240102"


@pytest.mark.parametrize("period", [300, 900, 1_800])
def test_record_holds_all_intervals_of_the_day(period: int) -> None:
    store = house(days=1, period=period)

    (record,) = records(store, "300", days=1)

    assert len(record) == 2 + DAY // period + 5
    assert records(store, "200", days=1)[0][8] == str(period // 60)


def test_both_directions_stand_in_the_configuration() -> None:
    found = records(house("NBBBX11110", obis=(IMPORT, EXPORT)), "200")

    assert [cells[1:8] for cells in found] == [
        ["NBBBX11110", "B1E1", "E1", "E1", "", "S1", "kWh"],
        ["NBBBX11110", "B1E1", "B1", "B1", "", "S1", "kWh"],
    ]


def test_gap_is_null_data_with_value_zero_and_its_cause() -> None:
    store = house()
    lose(store.raw[1, IMPORT], 10, 14, Reason.NO_ANSWER)

    day = records(store, "300")[0]

    assert day[12:16] == ["0"] * 4
    assert day[50:53] == ["V", "", ""]
    assert records(store, "400") == [
        ["400", "1", "10", "A", "", ""],
        ["400", "11", "14", "N", "76", "no answer"],
        ["400", "15", "48", "A", "", ""],
    ]


def test_day_without_any_value_is_null_throughout() -> None:
    store = house()
    lose(store.raw[1, IMPORT], 0, 48, Reason.NO_ROUTE)

    assert records(store, "300")[0][2:] == ["0"] * 48 + ["N", "76", "no route", "", ""]


def test_estimates_are_substitutes_with_method_and_reason() -> None:
    store = house()
    lose(store.raw[1, IMPORT], 0, 4, Reason.POWER_OFF)
    series = validate(store)
    series.state[0:6] = State.ESTIMATED
    series.reason[0:4] = Reason.LINEAR
    series.reason[4:6] = Reason.LIKE_DAY
    series.state[6] = State.EDITED
    series.reason[6] = Reason.MANUAL

    assert records(store, "400")[:3] == [
        ["400", "1", "4", "S17", "79", "power off"],
        ["400", "5", "6", "S15", "24", "like day"],
        ["400", "7", "7", "S18", "24", "manual"],
    ]


def test_questionable_value_is_actual_with_the_failed_rules() -> None:
    store = house()
    series = validate(store)
    series.state[0], series.rules[0] = State.QUESTIONABLE, Rule.RANGE | Rule.SPIKE

    assert records(store, "400")[0] == ["400", "1", "1", "A", "45", "range spike"]


def test_slots_before_the_meter_was_there_are_null() -> None:
    store = house()
    store.raw[1, IMPORT].state[:20] = State.NOT_EXPECTED

    assert records(store, "400")[0] == ["400", "1", "20", "N", "78", "not metered"]


def test_slots_not_read_yet_are_null() -> None:
    store = house()
    store.raw[1, IMPORT].state[90:] = State.EXPECTED
    store.raw[1, IMPORT].values[90:] = 0

    assert records(store, "400")[-1] == ["400", "43", "48", "N", "78", "not yet read"]


def test_swapped_meter_gets_its_serial_from_the_day_of_the_swap() -> None:
    store = house()
    swap = MIDNIGHT + DAY + 3_600
    store.installed = [Installation(1, 1, MIDNIGHT, swap), Installation(1, 2, swap)]
    store.meters.append(EndDevice(2, "HED0000000000002", "m", 1, "2", serial="NEW"))
    store.expected.append(type(store.expected[0])(2, IMPORT, 1_800, 0, WH, "load_profile", MIDNIGHT))
    store.raw[2, IMPORT] = store.raw[1, IMPORT]

    assert [cells[6] for cells in records(store, "200")] == ["S1", "NEW"]
    assert [len(cells) for cells in records(store, "300")] == [55, 55]


def test_serial_that_does_not_fit_is_left_blank() -> None:
    store = house()
    store.meters[0] = EndDevice(1, "HED0000000000001", "m", 1, "1", serial="LONGER-THAN-12")

    assert records(store, "200")[0][6] == ""


def test_negative_value_is_refused_with_its_place() -> None:
    store = house()
    store.raw[1, IMPORT].values[2] = -5

    with pytest.raises(ExportError, match=r"-0\.005 kWh at 2024-01-01 01:00 \(UTC\+10\)"):
        encoded(store)


def test_hourly_channel_is_refused() -> None:
    store = house(period=3_600)
    channel = channels(store, None, None, MIDNIGHT, MIDNIGHT + DAY)[0]

    with pytest.raises(ExportError, match="5, 15 or 30 minutes, not 3600 s"):
        FORMATS["nem12"].check_channel(channel)


def test_channel_without_data_stream_is_refused() -> None:
    with pytest.raises(ExportError, match=r"no data stream for 1-0:9\.29\.0\*255"):
        nem12.check_channel(Obis.parse("9.29.0"), 1_800)


@pytest.mark.parametrize(("start", "end"), [(0, DAY), (MIDNIGHT, MIDNIGHT + 3_600), (MIDNIGHT, MIDNIGHT)])
def test_period_that_is_not_whole_days_of_utc_plus_10_is_refused(start: int, end: int) -> None:
    with pytest.raises(ExportError, match=r"whole days of UTC\+10"):
        nem12.check_period(start, end)


def test_days_are_counted_as_the_format_counts_them() -> None:
    first = 19_723  # 2024-01-01

    assert whole_days("nem12", first, first + 1) == (MIDNIGHT, MIDNIGHT + 2 * DAY)
    assert whole_days("csv", first, first) == (first * DAY, (first + 1) * DAY)


@pytest.mark.parametrize("text", ["A", "N", "V", "S11", "S14", "S17", "F25", "E52", "E75", "S54"])
def test_allowed_quality_methods_pass(text: str) -> None:
    quality.check_quality_method(text)


@pytest.mark.parametrize(
    "text",
    ["", "A17", "V14", "N78", "S", "S16", "S10", "S26", "S99", "E14", "E17", "E54", "E55", "S1", "S171", "X14", "S1x"],
)
def test_quality_methods_outside_the_tables_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"quality|method"):
        quality.check_quality_method(text)


def test_substitute_without_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a reason code"):
        quality.Nem12Quality("S17")


@pytest.mark.parametrize("state", [state for state in State if state is not State.NOT_EXPECTED])
@pytest.mark.parametrize("reason", list(Reason))
def test_every_code_of_ours_has_a_quality_that_may_be_written(state: State, reason: Reason) -> None:
    store = house(days=1)
    series = validate(store)
    series.state[:], series.reason[:] = state, reason

    (record,) = records(store, "300", days=1)

    quality.check_quality_method(record[50])
    assert record[50][0] != "E"


def nemreader(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "tests/headend/export/read_nem12.py", str(path)],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nemreader_reads_back_every_value_and_quality(tmp_path: Path) -> None:
    pytest.importorskip("nemreader", reason="install the extra 'peers'")
    store = house("NAAAMYS582", days=3, period=1_800, obis=(IMPORT, EXPORT))
    house("VKTS876510", days=3, period=300, scaler_unit=ScalerUnit(-1, Unit.WATT_HOUR), store=store)
    lose(store.raw[1, IMPORT], 60, 70, Reason.NO_ROW)
    series = validate(store)
    series.state[60:64], series.reason[60:64], series.values[60:64] = State.ESTIMATED, Reason.LINEAR, 42
    path = tmp_path / "out.csv"
    path.write_text(encoded(store, days=3), newline="")

    found = nemreader(path)

    house_one = found["readings"]["NAAAMYS582"]["E1"]
    assert (found["version"], found["from"]) == ("NEM12", "HEADEND")
    assert [len(found["readings"][nmi][suffix]) for nmi, suffix in (("NAAAMYS582", "B1"), ("VKTS876510", "E1"))] == [
        144,
        864,
    ]
    assert house_one[0] == ["2024-01-01 00:00:00", "2024-01-01 00:30:00", 0.0, "kWh", "A", "", "", "S1"]
    assert house_one[60] == ["2024-01-02 06:00:00", "2024-01-02 06:30:00", 0.042, "kWh", "S17", "78", "no row", "S1"]
    assert house_one[64][2:7] == [0.0, "kWh", "N", "78", "no row"]
    assert [one[2] for one in house_one[70:]] == [count / 1000 for count in range(70, 144)]
    assert [one[2] for one in found["readings"]["VKTS876510"]["E1"]] == [count / 10_000 for count in range(864)]


def test_own_reader_gives_back_what_was_written() -> None:
    store = house(obis=(IMPORT, EXPORT))
    lose(store.raw[1, IMPORT], 10, 14, Reason.NO_ANSWER)

    slots = list(nem12.decode(io.StringIO(encoded(store), newline="")))

    assert len(slots) == 192
    assert slots[0] == (("NAAAMYS582", "1-0:1.29.0*255", "202401010000"), ("0.000", "A ", "S1"))
    assert slots[10][1] == ("", "N no answer", "S1")
    assert sum(float(cells[0] or 0) for _, cells in slots[96:]) == pytest.approx(np.arange(96).sum() / 1000)


@pytest.mark.parametrize(
    "damaged", ["300,20240101,1\r\n", "200,X,E1,E1,Z9,,,kWh,30,\r\n", "777\r\n", "400,1,2,A,,\r\n"]
)
def test_damaged_file_is_refused_with_its_line(damaged: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        list(nem12.decode([damaged]))


def test_rows_out_of_order_are_refused() -> None:
    store = house()
    channel = channels(store, None, None, MIDNIGHT, MIDNIGHT + 2 * DAY)[0]
    rows = list(rows_of(store, channel, Freshness()))

    with pytest.raises(ExportError, match="twice or out of order"):
        list(nem12.encode([rows[1], rows[0]], nem12.Header(NOW), [("NAAAMYS582", IMPORT)]))


def test_participant_that_is_no_identifier_is_refused() -> None:
    with pytest.raises(ExportError, match="participant identifier"):
        nem12.Header(NOW, sender="my,company")
