"""Canonical CSV: lossless, and safe in a spreadsheet."""

import csv as stdlib
import io
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.export import csv
from headend.export.rows import Row
from kernels.quality import Reason, Rule, State
from tests.headend.export.fakes import IMPORT, MIDNIGHT

ROW = Row(
    usage_point="NAAAMYS582",
    meter="HED0000000000001",
    serial="S1",
    obis=IMPORT,
    name="active_energy_import_interval",
    start=MIDNIGHT,
    end=MIDNIGHT + 1_800,
    value=Decimal("0.440"),
    unit="kWh",
    state=State.ESTIMATED,
    method=Reason.LINEAR,
    reason=Reason.NO_ANSWER,
    rules=Rule.SPIKE | Rule.RANGE,
    version=2,
    source="validated",
)


def text(*rows: Row) -> str:
    return b"".join(csv.encode(rows)).decode()


def test_row_is_written_in_full() -> None:
    written = text(ROW)

    assert written.splitlines()[1] == (
        '"NAAAMYS582","HED0000000000001","1-0:1.29.0*255","active_energy_import_interval","2023-12-31T14:00:00Z",'
        '"2023-12-31T14:30:00Z",0.440,"kWh","estimated","linear","no_answer","range|spike",2,"validated"'
    )


def test_lines_end_as_rfc_4180_says() -> None:
    written = text(ROW, ROW)

    assert written.count("\r\n") == written.count("\n") == 3
    assert written.endswith("\r\n")


def test_csv_module_reads_back_every_cell() -> None:
    found = list(stdlib.DictReader(io.StringIO(text(ROW), newline="")))

    assert tuple(found[0]) == csv.HEADER
    assert Decimal(found[0]["value"]) == ROW.value
    assert found[0]["usage_point"] == "NAAAMYS582"


def test_missing_value_is_an_empty_cell_and_never_zero() -> None:
    row = replace(ROW, value=None, state=State.MISSING, method=Reason.NONE)

    assert next(iter(stdlib.DictReader(io.StringIO(text(row), newline=""))))["value"] == ""


def test_negative_number_stays_a_number() -> None:
    assert ",-12.3," in text(replace(ROW, value=Decimal("-12.3")))


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", " ="])
def test_text_that_a_spreadsheet_would_run_is_guarded(first: str) -> None:
    row = replace(ROW, usage_point=f"{first}1+1;cmd", meter='=HYPERLINK("http://x")')

    cells = next(stdlib.reader(io.StringIO(text(row).split("\r\n", 1)[1], newline="")))

    assert cells[0] == f"'{first}1+1;cmd"
    assert cells[1] == '\'=HYPERLINK("http://x")'


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_guard_can_be_taken_off_again(cell: str) -> None:
    assert csv.unguard(csv.guard(cell)) == cell


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.decimals(allow_nan=False, allow_infinity=False)
)
def test_any_text_and_number_survives_the_csv_module(name: str, value: Decimal) -> None:
    written = text(replace(ROW, usage_point=name, value=value))

    (key, cells) = next(csv.decode(io.StringIO(written, newline="")))

    assert key == (name, "1-0:1.29.0*255", "2023-12-31T14:00:00Z")
    assert Decimal(cells[0]) == value


def test_large_files_come_in_chunks() -> None:
    chunks = list(csv.encode([ROW] * 5_000))

    assert len(chunks) == 3
    assert b"".join(chunks).count(b"\r\n") == 5_001


@pytest.mark.parametrize("damaged", ["", "a,b\r\n", text(ROW) + '"x"\r\n', text(ROW) + '"unfinished'])
def test_damaged_file_is_refused_with_its_line(damaged: str) -> None:
    with pytest.raises(ValueError, match=r"line [0-9]+"):
        list(csv.decode(io.StringIO(damaged, newline="")))
