"""The meter table: CSV in, CSV out."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.obis import Obis
from drivers.profile import ChannelProfile, MeterProfile
from drivers.units import ScalerUnit, Unit
from headend.errors import RegistryError
from headend.registry import cells, table
from headend.registry.table import COLUMNS, Applied
from headend.store.store import Store

WH = ScalerUnit(0, Unit.WATT_HOUR)
IMPORT, EXPORT = Obis(1, 0, 1, 29, 0), Obis(1, 0, 2, 29, 0)
PROFILES: Mapping[str, MeterProfile] = {
    "dlms": MeterProfile("dlms", "dlms", "test", channels=(ChannelProfile(IMPORT, 1_800, WH, "load_profile"),)),
    "modbus": MeterProfile("modbus", "modbus", "test", channels=(ChannelProfile(IMPORT, 900, WH, "register"),)),
    "hourly": MeterProfile("hourly", "push", "test", channels=(ChannelProfile(EXPORT, 3_600, WH, "push"),)),
}
HEADING = "usage_point,meter,profile,link,address,from,to,zone,area,multiplier,password,options"
ROW = "UP1,SIM:1,dlms,tcp://h:4059,1,2026-01-01,,Europe/Vienna,North,40,env:SIM_1,max_pdu=512;client=1"
ADDED = Applied(1, 0, 0)


def lines(*rows: str) -> str:
    return "\n".join([HEADING, *rows]) + "\n"


def faults(*rows: str) -> list[tuple[int, str, str]]:
    return [(fault.row, fault.column, fault.what) for fault in table.parse(lines(*rows), PROFILES).faults]


def put(store: Store, *rows: str, dry_run: bool = False) -> Applied:
    parsed = table.parse(lines(*rows), PROFILES)
    assert parsed.faults == ()
    return table.apply(store, parsed.rows, dry_run=dry_run)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db", lambda: 0) as opened:
        yield opened


def test_a_row_becomes_meter_usage_point_installation_and_expectations(store: Store) -> None:
    assert put(store, ROW) == ADDED

    device, point = store.end_device("SIM:1"), store.usage_point("UP1")
    assert (device.profile, device.serial, device.address, device.password_ref) == ("dlms", "1", "1", "env:SIM_1")
    assert device.options == {"client": "1", "max_pdu": "512"}
    assert [link.url for link in store.links()] == ["tcp://h:4059"]
    assert (point.zone, point.area) == ("Europe/Vienna", "North")
    (place,) = store.installations()
    assert (place.start, place.end, place.multiplier) == (1_767_222_000, None, 40)
    (entry,) = store.expectations(device.id)
    assert (entry.obis, entry.period, entry.offset, entry.origin, entry.start) == (
        IMPORT, 1_800, 0, "load_profile", place.start,
    )  # fmt: skip


def test_the_same_table_again_changes_nothing(store: Store) -> None:
    put(store, ROW)

    assert put(store, ROW) == Applied(0, 0, 1)
    assert len(store.audit_entries()) == 1


def test_a_changed_cell_is_a_changed_row(store: Store) -> None:
    put(store, ROW)

    for cell, other in (
        ("North", "South"),
        (",40,", ",41,"),
        ("tcp://h:4059", "tcp://h:4060"),
        ("client=1", "client=2"),
    ):
        assert put(store, ROW.replace(cell, other)) == Applied(0, 1, 0)


def test_a_dry_run_says_what_would_change_and_changes_nothing(store: Store) -> None:
    assert put(store, ROW, dry_run=True) == ADDED
    assert store.end_devices() == []
    assert store.audit_entries() == []


def test_what_comes_out_goes_in_again_unchanged(store: Store) -> None:
    put(store, ROW, "UP2,'=cmd,hourly,,,2026-01-01T00:00:00+05:30,,Asia/Kolkata,'-north,,,")
    text = table.dump(store)

    parsed = table.parse(text, PROFILES)

    assert parsed.faults == ()
    assert table.apply(store, parsed.rows) == Applied(0, 0, 2)
    assert table.dump(store) == text
    assert next(csv.reader(io.StringIO(text))) == list(COLUMNS)
    assert store.end_device("=cmd").link_id == next(link.id for link in store.links() if link.url == "mqtt:")
    assert ",'=cmd," in text


def test_a_swap_is_two_rows_that_adjoin(store: Store) -> None:
    put(store, ROW)
    old = ROW.replace("2026-01-01,,", "2026-01-01,2026-06-01T12:00:00Z,")
    new = ROW.replace("SIM:1", "SIM:2").replace("2026-01-01,,", "2026-06-01T12:00:00Z,,")

    assert put(store, new, old) == Applied(1, 1, 0)

    first, second = store.installations(usage_point_id=store.usage_point("UP1").id)
    assert first.end == second.start
    assert store.expectations(first.end_device_id)[0].end == first.end


def test_hourly_grids_begin_at_local_midnight(store: Store) -> None:
    put(store, "UP2,X:1,hourly,,,2026-01-01,,Asia/Kolkata,,,,", "UP3,X:2,hourly,,,2026-01-01,,UTC-03:00,,,,")

    offsets = [store.expectations(store.end_device(name).id)[0].offset for name in ("X:1", "X:2")]

    assert offsets == [1_800, 0]


def test_all_faults_of_all_rows_are_named_at_once() -> None:
    found = faults(
        ROW,
        ",SIM:9,dlsm,ftp://x,1,yesterday,,Europe/Wien,,0,secret,a",
        "UP2,SIM:2,modbus,serial:///dev/ttyS0,999,2026-01-02,2026-01-01,UTC,,1,file:/k,",
        "UP3,SIM:3",
    )

    assert [(row, column) for row, column, _ in found] == [
        (3, "profile"), (3, "zone"), (3, "from"), (3, "usage_point"), (3, "link"), (3, "password"), (3, "multiplier"),
        (3, "options"), (4, "to"), (4, "address"), (5, ""),
    ]  # fmt: skip
    words = " ".join(what for _, _, what in found)
    assert "did you mean dlms?" in words
    assert "secret," not in words


def test_a_secret_written_out_is_not_repeated() -> None:
    ((_, column, what),) = faults(ROW.replace("env:SIM_1", "hunter2"))

    assert column == "password"
    assert "hunter2" not in what


@pytest.mark.parametrize(
    ("other", "column", "what"),
    [
        ("UP2,SIM:1,dlms,tcp://h:4059,1,2026-02-01,,UTC,,,env:SIM_1,max_pdu=512;client=1", "from", "is in row 2 too"),
        ("UP1,SIM:2,modbus,tcp://h:502,1,2026-02-01,,Europe/Vienna,North,,,", "from", "already has 1-0:1.29.0"),
        ("UP2,SIM:2,dlms,tcp://h:4059,1,2026-02-01,,UTC,,,,", "address", "SIM:1 answers there"),
        ("UP1,SIM:2,hourly,,,2026-02-01,,UTC,North,,,", "zone", "differs from row 2"),
        (
            "UP2,SIM:1,dlms,tcp://h:4059,7,2025-02-01,2026-01-01,UTC,,,env:SIM_1,max_pdu=512;client=1",
            "address",
            "differs",
        ),
    ],
)
def test_rows_that_contradict_each_other_are_named(other: str, column: str, what: str) -> None:
    found = faults(ROW, other)

    assert any(fault[0] == 3 and fault[1] == column and what in fault[2] for fault in found), found


def test_two_meters_with_other_channels_may_share_a_usage_point() -> None:
    assert faults(ROW, "UP1,SIM:2,hourly,,,2026-02-01,,Europe/Vienna,North,,,") == []


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (
            "UP2,SIM:1,dlms,tcp://h:4059,1,2026-02-01,,UTC,,,env:SIM_1,max_pdu=512;client=1",
            "row 2: meter SIM:1 hangs at",
        ),
        ("UP1,SIM:2,modbus,tcp://h:502,1,2026-02-01,,Europe/Vienna,North,,,", "UP1 would have 1-0:1.29.0"),
        ("UP2,SIM:2,dlms,tcp://h:4059,1,2026-02-01,,UTC,,,,", "one address, 1"),
    ],
)
def test_rows_that_contradict_the_store_change_nothing(store: Store, other: str, what: str) -> None:
    put(store, ROW)
    before = table.dump(store)

    with pytest.raises(RegistryError, match=what.replace(".", r"\.")):
        put(store, other)

    assert table.dump(store) == before


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no heading"),
        ("usage_point;meter;profile;from;zone\n", "semicolons"),
        ("usage_point;meter\n", "semicolons"),
        ("usage_point\tmeter\tprofile\tfrom\tzone\n", "tabs"),
        ("usage_point,meter,profile,from,zone,\n", "column 6 has no name"),
        ("usage_point,meter,profile,from,zome\n", "did you mean zone?"),
        ("usage_point,meter,profile,from,zone,zone\n", "more than once"),
        ('usage_point,meter,profile,from,zone\n"a"b,c,d,e,f\n', "not comma-separated"),
        ("usage_point,meter,profile,from,zone\n" + "x" * 200_000 + ",c,d,e,f\n", "not comma-separated"),
        ("usage_point,meter,profile,from,zone\n" + "x" * 2_000 + ",c,d,e,f\n", "longer than 1024"),
        ("usage_point,meter,profile,from,zone\nU,a\tb,dlms,2026-01-01,UTC\n", "control character"),
    ],
)
def test_text_that_is_no_table_is_a_fault(text: str, what: str) -> None:
    found = table.parse(text, PROFILES)

    assert any(what in fault.what for fault in found.faults), found.faults
    assert all(len(str(fault)) < 500 for fault in found.faults)


def test_a_byte_order_mark_crlf_and_empty_lines_are_harmless() -> None:
    parsed = table.parse("\ufeff" + lines(ROW, "", ",,,,,,,,,,,").replace("\n", "\r\n"), PROFILES)

    assert (parsed.faults, len(parsed.rows)) == ((), 1)


def test_thousands_of_faults_are_cut_short() -> None:
    parsed = table.parse(lines(*["x"] * 3_000), PROFILES)

    assert len(parsed.faults) == 1_001
    assert "not listed" in parsed.faults[-1].what


@given(st.text(max_size=300))
@settings(deadline=None)
def test_no_text_raises(text: str) -> None:
    table.parse(text, PROFILES)
    table.parse(lines(text), PROFILES)


@given(st.text(max_size=40))
def test_escaping_is_undone_by_reading(cell: str) -> None:
    escaped = cells.escape(cell)

    assert cells.unescape(escaped) == cell
    assert escaped[:1] not in {"=", "+", "-", "@", "\t", "\r"}


@pytest.mark.parametrize(
    "cell", ["2026-13-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00.5Z", "1969-12-31", "now", "20260101"]
)
def test_an_instant_that_is_none_is_refused(cell: str) -> None:
    from drivers.zone import parse_zone

    with pytest.raises(ValueError, match=r"instant|offset|whole second"):
        cells.parse_instant(cell, parse_zone("UTC"))


@pytest.mark.parametrize(
    ("link", "what"),
    [
        ("tcp://h", "needs a host and a port"),
        ("tcp://h:99999", "tcp://host:port"),
        ("tcp://[::1:4059", "is no link"),
        ("serial://ttyUSB0", "needs three slashes"),
        ("serial:///dev/ttyUSB0?baud=fast", "not a whole number"),
        ("serial:///dev/ttyUSB0?bauds=9600", "unknown setting bauds; known: baud"),
        ("modbus://h:502", "is no link"),
    ],
)
def test_a_link_that_could_never_be_opened_is_refused_at_the_door(link: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        cells.parse_link(link, None)
