"""Parquet files: read back by pyarrow and by DuckDB they are the store, whatever was interrupted when."""

import errno
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import apsw
import duckdb
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from headend.registry.model import DAY
from headend.sinks import dataset as datasets
from headend.sinks.dataset import Dataset
from headend.sinks.directory import MANIFEST
from headend.sinks.journal import PREFIX, StoreJournal
from headend.sinks.model import Unavailable
from headend.sinks.sink import Sink
from headend.store.model import Layer
from headend.store.reader import StoreReader
from headend.store.retention import Floor, Kept, Plan
from headend.store.store import Store
from kernels.quality import HAS_VALUE, Reason, State
from tests.headend.collect import virtual
from tests.headend.sinks import world
from tests.headend.sinks.world import DAYS, FIRST_DAY, METERS, NOW, POINTS, REGISTER, UNITS, at_once, change, make_store

EVERY = frozenset({Layer.RAW, Layer.VALIDATED, Layer.REGISTER, Layer.EVENT})
Rows = dict[str, list[tuple[Any, ...]]]
COLUMNS = {
    "raw": "end_device, obis, epoch_ms(start), period, count, scaler, value, unit, state, reason, version",
    "validated": "usage_point, obis, epoch_ms(start), period, count, scaler, value, unit, state, reason, version",
    "register": "end_device, obis, epoch_ms(captured_at), uncertainty, count, scaler, value, unit",
    "event": "end_device, kind, code, epoch_ms(occurred_at), text",
}


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "GROUP", 2)  # the two meters and usage points lie in different files


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, and the device would be the slowest part."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    make_store(tmp_path / "headend.db")
    with Store.open(tmp_path / "headend.db", lambda: NOW) as store:
        store._connection.pragma("synchronous", 0)  # no power fails here
        alter(store, Random(7), 40)
        yield store


def alter(store: Store, random: Random, times: int) -> None:
    with store.transaction():
        for _ in range(times):
            change(store, random)


def wanted(store: StoreReader) -> Rows:
    """What the files must hold, said slot by slot."""
    found: Rows = {"raw": [], "validated": [], "register": [], "event": []}
    for number, (meter, point) in enumerate(zip(METERS, POINTS, strict=True), 1):
        for day in range(FIRST_DAY, FIRST_DAY + DAYS):
            for obis in UNITS:
                raw = store.raw_series(number, obis, day * DAY, (day + 1) * DAY)
                found["raw"] += slots(meter, str(obis), raw, None)
                if versions := store.versions(number, obis, day):
                    series = store.validated_version(number, obis, day)
                    found["validated"] += slots(point, str(obis), series, versions[-1].version)
            found["register"] += [
                (
                    meter, str(REGISTER), value.captured_at * 1_000, value.uncertainty, value.count,
                    value.scaler_unit.scaler, value.value, "Wh",
                )
                for value in store.registers(number, REGISTER, day * DAY, (day + 1) * DAY)
            ]  # fmt: skip
    names = dict(enumerate(METERS, 1))
    found["event"] = [
        (names[event.end_device_id or 0], event.kind, event.code, event.at * 1_000, event.text)
        for event in store.events()
    ]
    return {table: sorted(rows, key=str) for table, rows in found.items()}


def slots(owner: str, obis: str, series: Any, version: int | None) -> list[tuple[Any, ...]]:
    found = []
    for index, state in enumerate(series.state.tolist()):
        if state < State.MEASURED:
            continue
        count = int(series.values[index]) if state in HAS_VALUE else None
        unit, reason = series.scaler_unit, Reason(int(series.reason[index]))
        found.append((
            owner, obis, (series.start + index * series.period) * 1_000, series.period, count, unit.scaler,
            None if count is None else Decimal(count).scaleb(unit.scaler), unit.unit.symbol,
            State(state).name.lower(), "" if reason is Reason.NONE else reason.name.lower(), version,
        ))  # fmt: skip
    return found


def live(directory: Path, table: str) -> list[str]:
    files = json.loads((directory / MANIFEST).read_text())["files"]
    return [str(directory / file["name"]) for file in files if file["table"] == table]


def by_duckdb(directory: Path) -> Rows:
    found: Rows = {}
    for table, columns in COLUMNS.items():
        files = live(directory, table)
        rows = duckdb.execute(f"SELECT {columns} FROM read_parquet({files!r})").fetchall() if files else []
        found[table] = sorted(rows, key=str)
    return found


def by_pyarrow(directory: Path) -> Rows:
    found: Rows = {}
    for table, columns in COLUMNS.items():
        names = [name.removeprefix("epoch_ms(").removesuffix(")") for name in columns.split(", ")]
        rows = [row for name in live(directory, table) for row in pq.read_table(name, partitioning=None).to_pylist()]
        found[table] = sorted((tuple(plain(row[name]) for name in names) for row in rows), key=str)
    return found


def plain(value: Any) -> Any:
    return int(value.timestamp()) * 1_000 if hasattr(value, "timestamp") else value


def same(one: Rows, other: Rows) -> bool:
    """Compare; equal decimals may be written with more or fewer zeros, so they are not sorted by them."""
    return {name: sorted(map(digest, rows)) for name, rows in one.items()} == {
        name: sorted(map(digest, rows)) for name, rows in other.items()
    }


def digest(row: tuple[Any, ...]) -> str:
    return str([format(cell.normalize(), "f") if isinstance(cell, Decimal) else cell for cell in row])


def on_disk(directory: Path) -> set[str]:
    return {
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file() and path.suffix != ".lock"
    }


def test_files_are_the_store_for_pyarrow_and_for_duckdb(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    dataset, random, at = Dataset(directory, EVERY), Random(3), 0

    for _ in range(6):
        at = dataset.update(store, at).seq

        assert at == store.last_seq()
        assert same(by_duckdb(directory), wanted(store))
        assert same(by_pyarrow(directory), wanted(store))
        alter(store, random, 4)


def test_energy_is_never_a_float(store: Store, tmp_path: Path) -> None:
    Dataset(tmp_path / "files", EVERY).update(store, 0)

    types = {
        field.name: str(field.type)
        for table in ("raw", "validated", "register")
        for field in pq.read_schema(live(tmp_path / "files", table)[0])
    }
    assert (types["count"], types["scaler"], types["value"]) == ("int64", "int8", "decimal128(38, 12)")
    assert not {kind for kind in types.values() if "float" in kind or "double" in kind}


def test_doing_the_same_again_doubles_nothing(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    Dataset(directory, EVERY).update(store, 0)

    Dataset(directory, EVERY).update(store, 0)  # it was written, and the cursor did not move
    Dataset(directory, EVERY).update(store, 1)

    assert same(by_duckdb(directory), wanted(store))


def test_only_files_that_changed_are_written_anew(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    dataset = Dataset(directory, EVERY)
    at = dataset.update(store, 0).seq
    before = on_disk(directory)
    with store.transaction():
        store.add_event(1, "meter", 77, FIRST_DAY * DAY, "lid opened", NOW)

    at = dataset.update(store, at).seq

    assert [name.split("/")[0] for name in on_disk(directory) - before] == ["event"]
    assert before <= on_disk(directory)  # a reader may still be at the one that was superseded
    with store.transaction():
        store.add_event(1, "meter", 78, FIRST_DAY * DAY, "lid closed", NOW)
    dataset.update(store, at)
    assert len(before - on_disk(directory)) == 1


def steps_of(store: Store, directory: Path, after: int) -> list[str]:
    taken: list[str] = []
    Dataset(directory, EVERY, at_step=taken.append).update(store, after)
    return taken


def failing_at(number: int, error: Callable[[], BaseException]) -> Callable[[str], None]:
    count = 0

    def at_step(_: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise error()

    return at_step


@pytest.mark.usefixtures("no_fsync")
def test_interrupted_at_some_steps_it_ends_equal(store: Store, tmp_path: Path) -> None:
    interrupt(store, tmp_path, 14)


@pytest.mark.nightly
@pytest.mark.usefixtures("no_fsync")
@pytest.mark.timeout(3_600)
def test_interrupted_at_any_step_it_ends_equal(store: Store, tmp_path: Path) -> None:
    interrupt(store, tmp_path, 1)


def interrupt(store: Store, tmp_path: Path, pace: int) -> None:
    """Interrupt a first update before each ``pace``-th of its steps, by a crash, a full disk and a failing one in turn."""
    shown = wanted(store)
    total = len(steps_of(store, tmp_path / "whole", 0))
    assert total > 50
    errors: list[Callable[[], BaseException]] = [
        Crash,
        lambda: OSError(errno.ENOSPC, "No space left"),
        lambda: OSError(errno.EIO, "Input/output error"),
    ]
    for number in range(1, total + 1, pace):
        directory, error = tmp_path / str(number), errors[number % 3]
        dataset = Dataset(directory, EVERY, at_step=failing_at(number, error))

        with pytest.raises(Crash if error is Crash else Unavailable):
            dataset.update(store, 0)

        (Dataset(directory, EVERY) if error is Crash else dataset).update(store, 0)
        assert same(by_pyarrow(directory), shown)
        named = {file["name"] for file in json.loads((directory / MANIFEST).read_text())["files"]}
        assert {name for name in on_disk(directory) if "parquet" in name} == named


@pytest.mark.usefixtures("no_fsync")
def test_reader_sees_the_old_state_or_the_new_one_at_every_step(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    at = Dataset(directory, EVERY).update(store, 0).seq
    before = wanted(store)
    alter(store, Random(11), 6)
    after = wanted(store)
    seen = []

    def look(_: str) -> None:
        found = by_pyarrow(directory)
        seen.append([same(found, before), same(found, after)])

    Dataset(directory, EVERY, at_step=look).update(store, at)

    assert all(any(states) for states in seen)
    assert seen[0] == [True, False]
    assert seen[-1] == [False, True]


@pytest.mark.usefixtures("no_fsync")
def test_seeded_troubles_end_equal_to_the_store(store: Store, tmp_path: Path) -> None:
    trouble(store, tmp_path, range(2))


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@pytest.mark.usefixtures("no_fsync")
def test_two_hundred_seeded_troubles_end_equal_to_the_store(store: Store, tmp_path: Path) -> None:
    trouble(store, tmp_path, range(200))


def trouble(store: Store, folder: Path, seeds: range) -> None:
    """Changes of the store and updates take turns; an update may end in the middle, as sink or as process."""
    for seed in seeds:
        random, directory, name = Random(seed), folder / f"seed{seed}", f"files{seed}"

        def at_step(_: str, random: Random = random) -> None:
            if random.random() < 0.03:
                raise random.choice([Crash(), OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")])

        async def submit(work: Callable[[Store], Any]) -> Any:
            with store.transaction():
                return work(store)

        async def deliver(dataset: Dataset, name: str = name) -> None:
            view = StoreJournal(name, store, submit, dataset.update, call=at_once)
            await Sink(name, view, virtual.LoopClock(), lambda: 0.5).deliver()

        with capture_logs():
            for turn in range(4):
                alter(store, random, 3)
                for calm in (False, False, True):
                    dataset = Dataset(directory, EVERY, at_step=(lambda _: None) if calm else at_step)
                    try:
                        virtual.run(lambda dataset=dataset: deliver(dataset))  # type: ignore[misc]
                    except Crash:
                        continue
                    break
                assert store.cursor(PREFIX + name) == store.last_seq(), (seed, turn)
                assert same(by_pyarrow(directory), wanted(store)), (seed, turn)


def test_damaged_block_is_poison_and_its_last_good_rows_stay(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    dataset = Dataset(directory, EVERY)
    at, before = dataset.update(store, 0).seq, wanted(store)
    damage(
        Path(store.path),
        "UPDATE raw SET block = CAST(substr(block, 1, length(block) - 1) || x'55' AS BLOB) WHERE k = ?",
    )

    window = dataset.update(store, 0)

    assert [item.point for item in window.poison] == [f"raw of {METERS[0]}, day {FIRST_DAY} since 1970"]
    assert "is damaged" in window.poison[0].reason
    assert at == window.seq
    assert same(by_duckdb(directory), before)


@pytest.mark.parametrize("table", ["register", "event"])
def test_damaged_row_is_poison_and_the_rest_is_written(store: Store, tmp_path: Path, table: str) -> None:
    path, directory = tmp_path / "headend.db", tmp_path / "files"
    rows = wanted(store)
    foreign = apsw.Connection(str(path))
    first = {"register": "(end_device_id, captured_at)", "event": "id"}[table]
    foreign.execute(
        f"UPDATE {table} SET crc = crc + 1 WHERE {first} = (SELECT {first.strip('()')} FROM {table} ORDER BY 1 LIMIT 1)"
    )
    foreign.close()

    window = Dataset(directory, EVERY).update(store, 0)

    assert window.seq == store.last_seq()
    assert len(window.poison) == 1
    written = by_duckdb(directory)
    assert len(written[table]) == len(rows[table]) - 1
    assert {name: len(found) for name, found in written.items() if name != table} == {
        name: len(found) for name, found in rows.items() if name != table
    }


def test_what_retention_takes_from_the_store_stays_in_the_files(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    dataset = Dataset(directory, EVERY)
    dataset.update(store, 0)
    before = wanted(store)
    damage(Path(store.path), "DELETE FROM raw WHERE k = ?")

    dataset.update(store, 0)

    assert same(by_duckdb(directory), before)


def damage(path: Path, sql: str) -> None:
    foreign = apsw.Connection(str(path))
    foreign.execute(sql, (FIRST_DAY << 32 | 1,))
    foreign.close()


def test_where_the_log_was_cut_before_the_sink_came_everything_is_written_anew(store: Store, tmp_path: Path) -> None:
    directory, written = tmp_path / "files", Dataset(tmp_path / "files", EVERY)
    at = written.update(store, 0).seq
    alter(store, Random(8), 40)
    with store.transaction():
        store.raise_floors(Plan(store.last_seq(), {Kept.CHANGE: Floor(0, store.last_seq() - 1, NOW)}))
        store.drop(store.doomed(Kept.CHANGE, "none", 10_000))

    written.update(store, at)

    assert same(by_duckdb(directory), wanted(store))


@pytest.mark.parametrize("loss", ["manifest", "file", "manifest cut", "all"])
def test_what_is_lost_of_the_directory_is_written_anew(store: Store, tmp_path: Path, loss: str) -> None:
    directory = tmp_path / "files"
    at = Dataset(directory, EVERY).update(store, 0).seq
    if loss == "file":
        Path(live(directory, "raw")[0]).unlink()
    elif loss == "manifest cut":
        (directory / MANIFEST).write_text((directory / MANIFEST).read_text()[:100])
    else:
        (directory / MANIFEST).unlink()
    if loss == "all":
        for table in COLUMNS:
            for name in live_files(directory, table):
                name.unlink()

    with capture_logs():
        Dataset(directory, EVERY).update(store, at)

    assert same(by_duckdb(directory), wanted(store))


def test_other_peoples_files_in_the_directory_and_another_sinks_below_it_stay(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    Dataset(directory / "below", EVERY).update(store, 0)
    (directory / "raw" / "day=2024-01-01").mkdir(parents=True)
    others = [directory / "mine.parquet", directory / "raw" / "day=2024-01-01" / "mine.parquet"]
    for other in others:
        other.write_bytes(b"somebody's")
    before = on_disk(directory)

    Dataset(directory, EVERY).update(store, 0)

    assert before <= on_disk(directory)


def live_files(directory: Path, table: str) -> list[Path]:
    return list((directory / table).rglob("*.parquet"))


def test_store_put_back_from_a_backup_is_written_whole(store: Store, tmp_path: Path) -> None:
    directory, backup = tmp_path / "files", tmp_path / "backup.db"
    at = Dataset(directory, EVERY).update(store, 0).seq
    store.copy_to(backup)
    alter(store, Random(5), 20)
    Dataset(directory, EVERY).update(store, at)

    with Store.open(backup, lambda: NOW) as restored:
        Dataset(directory, EVERY).update(restored, at)

        held = by_duckdb(directory)
        lacking = {
            table: set(map(digest, rows)) - set(map(digest, held[table])) for table, rows in wanted(restored).items()
        }
    assert lacking == {"raw": set(), "validated": set(), "register": set(), "event": set()}


def test_store_made_anew_with_other_local_ids_doubles_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "files"
    Dataset(directory, EVERY).update(store, 0)
    before = by_pyarrow(directory)
    for name in ("METERS", "POINTS"):
        turned = tuple(reversed(getattr(world, name)))
        monkeypatch.setattr(world, name, turned)
        monkeypatch.setitem(globals(), name, turned)
    make_store(tmp_path / "anew.db")

    with Store.open(tmp_path / "anew.db", lambda: NOW) as anew:
        alter(anew, Random(7), 12)
        Dataset(directory, EVERY).update(anew, 0)

        held, now = by_pyarrow(directory), wanted(anew)
    for table in ("raw", "validated"):
        keys = [row[:3] for row in held[table]]
        assert len(keys) == len(set(keys))
        days_now = {(row[0], row[2] // 86_400_000) for row in now[table]}
        kept = [row for row in before[table] if (row[0], row[2] // 86_400_000) not in days_now]
        assert kept
        assert sorted(map(digest, held[table])) == sorted(map(digest, [*now[table], *kept]))


def test_directory_belongs_to_one_process(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    refused: list[bool] = []

    def again(_: str) -> None:
        if not refused:
            with pytest.raises(Unavailable, match="another process writes"):
                Dataset(directory, EVERY).update(store, 0)
            refused.append(True)

    Dataset(directory, EVERY, at_step=again).update(store, 0)

    assert refused == [True]


def test_being_told_to_stop_ends_it_between_files_and_leaves_the_cursor(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    asked: list[bool] = []

    def is_stopped() -> bool:
        asked.append(True)
        return len(asked) > 3

    window = Dataset(directory, EVERY, is_stopped=is_stopped).update(store, 0)

    assert window.seq == 0
    Dataset(directory, EVERY).update(store, 0)
    assert same(by_duckdb(directory), wanted(store))


def test_registry_tables_join_meters_and_usage_points(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    Dataset(directory, EVERY).update(store, 0)
    (raw, installation) = (live(directory, table) for table in ("raw", "installation"))

    pairs = duckdb.execute(
        f"SELECT DISTINCT i.usage_point, r.end_device FROM read_parquet({raw!r}) AS r"
        f" JOIN read_parquet({installation!r}) AS i ON r.end_device = i.end_device AND epoch(r.start) >= i.start"
        ' AND (i."end" IS NULL OR epoch(r.start) < i."end")'
    ).fetchall()

    assert set(pairs) == set(zip(POINTS, METERS, strict=True))


def test_manifest_that_names_files_elsewhere_is_not_followed(store: Store, tmp_path: Path) -> None:
    directory, other = tmp_path / "files", tmp_path / "other.parquet"
    Dataset(directory, EVERY).update(store, 0)
    other.write_bytes(b"not ours")
    document = json.loads((directory / MANIFEST).read_text())
    document["retired"] = ["../other.parquet"]
    (directory / MANIFEST).write_text(json.dumps(document))

    with capture_logs() as logs:
        Dataset(directory, EVERY).update(store, 1)

    assert other.exists()
    assert "cannot be read" in logs[0]["event"]


def test_query_that_the_integrators_page_shows_gives_the_validated_values(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    Dataset(directory, EVERY).update(store, 0)
    page = (Path(__file__).parents[3] / "docs/integrator.md").read_text()
    (text,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)

    with closing(duckdb.connect()) as connection:
        rows = connection.execute(text.replace("/srv/headend/files", str(directory))).fetchall()

    energy = [row for row in wanted(store)["validated"] if row[1] == "1-0:1.29.0*255"]
    assert sorted((point, value) for point, _, value, _ in rows if value is not None) == sorted(
        (row[0], row[6]) for row in energy if row[6] is not None
    )
    assert len(rows) == len(energy)
