"""The whole store as open files: what was written can be checked, read by others, and made into an equal store again."""

import csv
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import numpy as np
import pytest

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.errors import ExportError
from headend.export import archive as archives
from headend.export import parquet, plainrows
from headend.export.archive import Archive, Part, archive
from headend.export.csv import unguard
from headend.export.errors import NotExportable
from headend.profiles import load_profiles
from headend.registry import table
from headend.registry.model import DAY, ChannelExpectation
from headend.series import Series
from headend.store.model import VeeRun
from headend.store.store import Store
from kernels.quality import Reason, State

NOW = 1_700_000_000
FIRST = NOW // DAY - 3
PERIOD, SLOTS = 21_600, 4
ENERGY, VOLTAGE, REGISTER = Obis(1, 0, 1, 29, 0), Obis(1, 0, 32, 7, 3), Obis(1, 0, 1, 8, 0)
UNITS = {ENERGY: ScalerUnit(0, Unit.WATT_HOUR), VOLTAGE: ScalerUnit(-1, Unit.VOLT)}
WHOLE = Part()
METERS = """usage_point,meter,profile,link,address,from,to,zone,area
UP1,SIM0000001,sim-dlms-wrapper,tcp://127.0.0.1:4059,1,2023-11-01,,UTC,north
UP2,SIM:17,sim-modbus-rtu,serial:///dev/ttyS9?baud=9600,17,2023-11-01,,UTC,south
"""


def new_store(path: Path, meters: str) -> Store:
    parsed = table.parse(meters, load_profiles())
    assert not parsed.faults, parsed.faults
    store = Store.open(path, lambda: NOW)
    table.apply(store, parsed.rows)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "headend.db", METERS) as store:
        store._connection.pragma("synchronous", 0)
        random = Random(4)
        with store.transaction():
            for number in (1, 2):
                for day in range(FIRST, FIRST + 3):
                    for obis, unit in UNITS.items():
                        counts = tuple(random.choice([None, random.randrange(-9, 3_000)]) for _ in range(SLOTS))
                        expect(store, number)
                        store.record(number, [IntervalBlock(obis, unit, day * DAY, PERIOD, counts)], NOW)
                        store.mark_missing(number, obis, day * DAY, (day + 1) * DAY, Reason.NO_ANSWER)
                        for value in (random.randrange(2**31), random.randrange(2**31)):
                            series = Series.empty(day * DAY, PERIOD, unit, SLOTS, State.ESTIMATED)
                            series.values[:] = np.full(SLOTS, value, np.int32)
                            store.write_validated(number, obis, day, series, VeeRun("test 1", NOW, "me", "why not"))
                    big = RegisterValue(REGISTER, random.randrange(2**62), UNITS[ENERGY], day * DAY + 7, 2)
                    store.record(number, [big], NOW)
                    store.add_event(number, "meter", day - FIRST, day * DAY, '=lid "open", twice', NOW)
            store.audit("me", "looked", "at it")
        yield store


def expect(store: Store, number: int) -> None:
    """Let channels of our own be expected beside those of the profile."""
    start = (FIRST - 1) * DAY
    entries = [ChannelExpectation(number, obis, PERIOD, 0, unit, "load_profile", start) for obis, unit in UNITS.items()]
    if not any(entry.start == start for entry in store.expectations(number)):
        for present in {entry.start for entry in store.expectations(number)}:
            store.put_expectations(number, present, [])
        store.put_expectations(number, start, entries)


def run(
    store: Store, directory: Path, form: str, part: Part = WHOLE, at_step: Callable[[str], None] = lambda _: None
) -> Archive:
    return archive(store, directory, form, part, NOW, at_step)


def rows_of(directory: Path, name: str) -> list[dict[str, Any]]:
    """Read a table by means that are not ours: the csv module, or DuckDB."""
    files = [
        file["name"] for file in json.loads((directory / "manifest.json").read_text())["files"] if file["table"] == name
    ]
    found: list[dict[str, Any]] = []
    for file in sorted(files):
        if file.endswith(".csv"):
            with (directory / file).open(newline="") as lines:
                found += [{key: unguard(cell) for key, cell in row.items()} for row in csv.DictReader(lines)]
        else:
            result = duckdb.execute("SELECT * FROM read_parquet(?)", [str(directory / file)])
            names = [column[0] for column in result.description or ()]
            found += [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return [{key: None if cell == "" else cell for key, cell in row.items()} for row in found]


def at(cell: Any) -> int:
    return int((cell if isinstance(cell, datetime) else datetime.fromisoformat(cell)).astimezone(UTC).timestamp())


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_archive_makes_an_equal_store_again(store: Store, tmp_path: Path, form: str) -> None:
    directory = tmp_path / "left"
    run(store, directory, form)

    with new_store(tmp_path / "other.db", (directory / "meters.csv").read_text()) as other, other.transaction():
        ids = {device.name: device.id for device in other.end_devices()}
        points = {point.name: point.id for point in other.usage_points()}
        for number in ids.values():
            expect(other, number)
        versions = {
            (row["usage_point"], row["day"], row["obis"], int(row["version"])): row
            for row in rows_of(directory, "version")
        }
        for row in rows_of(directory, "raw"):
            refill(other, ids[row["end_device"]], row)
        for row in rows_of(directory, "superseded") + rows_of(directory, "validated"):
            revalidate(other, points[row["usage_point"]], row, versions)
        for row in rows_of(directory, "register"):
            unit = ScalerUnit(int(row["scaler"]), Unit.WATT_HOUR)
            value = RegisterValue(
                Obis.parse(row["obis"]), int(row["count"]), unit, at(row["captured_at"]), int(row["uncertainty"])
            )
            other.record(ids[row["end_device"]], [value], NOW)
        for row in rows_of(directory, "event"):
            other.add_event(ids.get(row["end_device"]), row["kind"], int(row["code"]), at(row["occurred_at"]), row["text"], at(row["received_at"]))  # fmt: skip

        for number in (1, 2):
            for obis in UNITS:
                start, end = FIRST * DAY, (FIRST + 3) * DAY
                assert_equal(other.raw_series(number, obis, start, end), store.raw_series(number, obis, start, end))
                for day in range(FIRST, FIRST + 3):
                    for version in (1, 2):
                        assert_equal(
                            other.validated_version(number, obis, day, version),
                            store.validated_version(number, obis, day, version),
                        )
            assert other.registers(number, REGISTER, 0, NOW) == store.registers(number, REGISTER, 0, NOW)
        told = [
            [(event.end_device_id, event.kind, event.code, event.at, event.text) for event in held.events()]
            for held in (other, store)
        ]
        assert told[0] == told[1]
        assert table.dump(other) == table.dump(store)


def assert_equal(one: Series, other: Series) -> None:
    for part in ("values", "state", "reason", "rules"):
        assert getattr(one, part).tolist() == getattr(other, part).tolist()
    assert (one.start, one.period, one.scaler_unit) == (other.start, other.period, other.scaler_unit)


def refill(store: Store, number: int, row: dict[str, Any]) -> None:
    obis, start = Obis.parse(row["obis"]), at(row["start"])
    if row["state"] == "missing":
        store.mark_missing(number, obis, start, start + int(row["period"]), Reason[row["reason"].upper()])
        return
    count, unit = int(row["count"]), UNITS[obis]
    assert Decimal(row["value"]) == Decimal(count).scaleb(int(row["scaler"]))
    assert (row["unit"], int(row["scaler"])) == (unit.unit.symbol, unit.scaler)
    store.record(number, [IntervalBlock(obis, unit, start, int(row["period"]), (count,))], NOW)


def revalidate(store: Store, number: int, row: dict[str, Any], versions: dict[Any, Any]) -> None:
    """Write a validated day from its first slot; all four carry one value here."""
    start = at(row["start"])
    if start % DAY:
        return
    obis, day = Obis.parse(row["obis"]), start // DAY
    shown = datetime.fromtimestamp(start, UTC).date().isoformat()
    version = versions[row["usage_point"], shown, row["obis"], int(row["version"])]
    series = Series.empty(start, PERIOD, UNITS[obis], SLOTS, State[row["state"].upper()])
    series.values[:] = int(row["count"])
    run = VeeRun(version["rules"], at(version["made_at"]), version["user"], version["reason"])
    assert store.write_validated(number, obis, day, series, run) is not None


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_every_file_is_in_the_manifest_with_its_sum_and_the_usual_tool_checks_them(
    store: Store, tmp_path: Path, form: str
) -> None:
    directory = tmp_path / "left"
    done = run(store, directory, form)

    files = {file["name"]: file for file in json.loads((directory / "manifest.json").read_text())["files"]}
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert found == {*files, "manifest.json", "SHA256SUMS"}
    for name, file in files.items():
        content = (directory / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file["sha256"], file["bytes"])
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=directory, check=True)
    assert done.seq == store.last_seq()
    assert {file["table"] for file in files.values()} >= {"raw", "validated", "superseded", "version", "event", "audit"}


def test_both_formats_have_the_same_columns() -> None:
    assert {layer: tuple(schema.names) for layer, schema in parquet.SCHEMAS.items()} == plainrows.HEADERS


def test_part_holds_that_period_and_area_alone(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "left"

    run(store, directory, "csv", Part((FIRST + 1) * DAY, (FIRST + 2) * DAY, "south"))

    for name in ("raw", "register", "event"):
        rows = rows_of(directory, name)
        assert rows
        assert {row["end_device"] for row in rows} == {"SIM:17"}
    assert {at(row["start"]) // DAY for row in rows_of(directory, "raw")} == {FIRST + 1}
    assert {row["usage_point"] for row in rows_of(directory, "validated")} == {"UP2"}
    assert "UP1" not in (directory / "meters.csv").read_text()
    assert {row["usage_point"] for row in rows_of(directory, "installation")} == {"UP2"}


def test_area_that_no_usage_point_is_in_is_an_error_and_leaves_nothing(store: Store, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())

    with pytest.raises(NotExportable, match="no usage point is in area 'nowhere'"):
        run(store, tmp_path / "left", "csv", Part(area="nowhere"))

    assert set(tmp_path.iterdir()) == before


class Crash(BaseException):
    """The process ends here."""


def test_interrupted_at_any_step_there_is_no_archive_and_the_next_run_makes_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    steps: list[str] = []
    run(store, tmp_path / "whole", "csv", at_step=steps.append)
    for number in range(0, len(steps) - 1, 13):
        directory, count = tmp_path / str(number), iter(range(len(steps)))

        def at_step(_: str, number: int = number, count: Iterator[int] = count) -> None:
            if next(count) == number:
                raise Crash if number % 2 else OSError(28, "No space left on device")

        with pytest.raises((Crash, ExportError)):
            run(store, directory, "csv", at_step=at_step)

        assert not directory.exists()
        run(store, directory, "csv")
        assert (directory / "SHA256SUMS").read_bytes() == (tmp_path / "whole/SHA256SUMS").read_bytes()
        assert not directory.with_name(f"{number}.partial").exists()


def test_directory_that_is_there_is_not_touched(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "yours.partial").mkdir()

    with pytest.raises(NotExportable, match="is there already"):
        run(store, tmp_path / "mine", "csv")
    with pytest.raises(NotExportable, match="none of ours"):
        run(store, tmp_path / "yours", "csv")


def test_damaged_block_is_named_and_the_rest_is_there(store: Store, tmp_path: Path) -> None:
    foreign = store._connection  # the schema's triggers make checksums by functions of ours
    foreign.execute("UPDATE raw SET block = zeroblob(20) WHERE k = ?", (FIRST << 32 | 1,))
    foreign.execute(
        "UPDATE validated_version SET block = zeroblob(20) WHERE version = 1 AND usage_point_id = 2 AND day = ?",
        (FIRST,),
    )

    done = run(store, tmp_path / "left", "csv")

    assert [item.where for item in done.damaged] == [
        f"raw of SIM0000001, day {FIRST} since 1970",
        *(f"version 1 of {obis} of UP2, day {FIRST} since 1970" for obis in UNITS),
    ]
    listed, *_ = json.loads((tmp_path / "left/manifest.json").read_text())["damaged"]
    assert "is damaged" in listed["reason"]
    assert {row["end_device"] for row in rows_of(tmp_path / "left", "raw")} == {"SIM0000001", "SIM:17"}


def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(archives, "import_module", missing)

    with pytest.raises(NotExportable, match=r"install headend\[parquet\]"):
        run(store, tmp_path / "left", "parquet")
