"""From a real store to a file, as billing will do it."""

import csv
from collections import Counter
from decimal import Decimal
from pathlib import Path

from drivers.facts import IntervalBlock
from headend.export.formats import whole_days
from headend.export.write import export, verify
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.store.model import VeeRun
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import Reason, State
from tests.headend.export.fakes import IMPORT, NOW, WH

FIRST = 19_722  # 2023-12-31
START = FIRST * DAY


def record(store: Store, first: int, counts: tuple[int | None, ...]) -> None:
    with store.transaction():
        store.record(1, [IntervalBlock(IMPORT, WH, START + first * 1_800, 1_800, counts)], NOW)


def filled(path: Path) -> Store:
    """Four UTC days of half-hours from one meter with multiplier 10; slots 60 to 63 were never answered for."""
    store = Store.open(path, lambda: NOW)
    with store.transaction():
        link = store.put_link("memory://x")
        meter, _ = store.put_end_device("SIM:1", "sim", link, "1", serial="1")
        point, _ = store.put_usage_point("NAAAMYS582", "UTC+10:00")
        store.put_installation(Installation(point.id, meter.id, START, None, 10))
        store.put_expectations(
            meter.id, START, [ChannelExpectation(meter.id, IMPORT, 1_800, 0, WH, "load_profile", START)]
        )
    record(store, 0, tuple(range(60)))
    record(store, 64, tuple(range(64, 4 * 48)))
    with store.transaction():
        store.mark_missing(meter.id, IMPORT, START + 60 * 1_800, START + 64 * 1_800, Reason.NO_ANSWER, None)
    return store


def test_stored_readings_come_out_whole_then_late_then_validated(tmp_path: Path) -> None:
    start, end = whole_days("csv", FIRST, FIRST + 3)
    out = tmp_path / "out"
    with filled(tmp_path / "store.db") as store, StoreReader.open(tmp_path / "store.db") as reader:
        first = export(reader, "csv", None, None, start, end, out, NOW)
        again = export(reader, "csv", None, None, start, end, out, NOW + 1)
        record(store, 60, (1, 2, 3, 4))
        late = export(reader, "csv", None, None, start, end, out, NOW + 2)
        with store.transaction():
            validated = store.raw_series(1, IMPORT, START, START + DAY)
            validated.values[:] *= 10
            validated.state[7] = State.QUESTIONABLE
            store.write_validated(1, IMPORT, FIRST, validated, VeeRun("residential 1", NOW))
        changed = export(reader, "csv", None, None, start, end, out, NOW + 3)

    total = Decimal(sum(range(192)) - sum(range(60, 64))) / 100
    (account,) = first.channels.values()
    assert (first.rows, account.total) == (192, total)
    assert account.missing == Counter(no_answer=4)
    assert (first.is_new, again.is_new, late.replaces) == (True, False, 1)
    assert [(one.slots, one.old_total, one.new_total) for one in late.changes] == [(4, total, total + Decimal("0.10"))]
    # 47 slots differ in their source alone, one in its quality as well; the multiplier was applied once.
    assert [(one.slots, one.old_total) for one in changed.changes] == [(48, one.new_total) for one in changed.changes]
    with changed.files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["quality"], row["version"]) for row in rows[6:9]] == [
        ("validated", "measured", "1"),
        ("validated", "questionable", "1"),
        ("validated", "measured", "1"),
    ]
    assert (rows[47]["value"], rows[48]["value"], rows[48]["source"]) == ("0.470", "0.480", "raw")
    assert verify(out).sequences == (1, 2, 3)


def test_nem12_of_a_store_keeps_to_its_own_days(tmp_path: Path) -> None:
    start, end = whole_days("nem12", FIRST + 1, FIRST + 3)
    with filled(tmp_path / "store.db"), StoreReader.open(tmp_path / "store.db") as reader:
        result = export(reader, "nem12", ["NAAAMYS582"], [IMPORT], start, end, tmp_path / "out", NOW)

    lines = [line.split(",") for line in result.files[0].read_text().splitlines()]
    assert result.rows == 144
    assert [cells[1] for cells in lines if cells[0] == "300"] == ["20240101", "20240102", "20240103"]
    assert lines[2][2] == "0.280"  # 2023-12-31T14:00Z is slot 28, times 10
    assert lines[4][1:] == ["33", "36", "N", "76", "no answer"]
