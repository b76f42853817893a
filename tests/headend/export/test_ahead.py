"""What is read ahead makes the rows that reading each day of each channel by itself makes."""

import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from headend.errors import HeadendError
from headend.export import ahead
from headend.export.ahead import ReadAhead
from headend.export.readings import Freshness, rows_of
from headend.export.rows import Row
from headend.export.source import Channel, channels
from headend.registry.model import DAY, Installation
from headend.series import Series
from headend.store.model import Layer, VeeRun
from headend.store.reader import StoreReader
from headend.store.store import Store
from kernels.quality import Reason, State
from tests.faults.work import METERS, Work
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, START, WH, expect, open_store

DAYS = 6


def exchange_meters(store: Store, dice: random.Random) -> None:
    """Add usage points whose meter is exchanged within a day, perhaps for one of another grid, and validate some of their days."""
    for point in (len(METERS) + 1, len(METERS) + 2):
        store.put_usage_point(f"UP{point}", "UTC")
        at = START + dice.randrange(1, DAYS * 24) * 3_600
        for start, end in ((START, at), (at, None)):
            period = dice.choice((900, 900, 1_800))
            meter, _ = store.put_end_device(f"SIM:{point}-{start}", "sim", 1, f"{point}-{start}")
            store.put_installation(Installation(point, meter.id, start, end, dice.choice((1, 40))))
            expect(store, meter.id, (IMPORT, EXPORT), START, period=period)
            for code in (IMPORT, EXPORT):
                counts = [
                    dice.choice((None, dice.randrange(10**6))) for _ in range(dice.randrange(DAYS * DAY // period))
                ]
                store.record(meter.id, [IntervalBlock(code, WH, START, period, tuple(counts))], NOW)
            store.mark_missing(meter.id, IMPORT, start, start + 4 * period, Reason.NO_ANSWER)
        for day in dice.sample(range(DAYS), 3):
            for version in range(dice.choice((1, 1, 2))):
                made = Series.empty(START + day * DAY, period, WH, DAY // period, State.MEASURED)
                made.values[:] = np.arange(len(made)) + version
                made.state[::5], made.reason[::5] = State.ESTIMATED, Reason.LINEAR
                made.state[::7] = State.NOT_EXPECTED
                store.write_validated(
                    point, dice.choice((IMPORT, EXPORT)), FIRST_DAY + day, made, VeeRun("r 1", NOW + version)
                )


def outcome(reader: StoreReader, found: Sequence[Channel], read_ahead: ReadAhead | None) -> tuple[list[Row], int, str]:
    """Give the rows there are before the first that cannot be exported, the values that came late, and why it ends."""
    rows: list[Row] = []
    freshness = Freshness()
    try:
        for channel in found:
            rows.extend(rows_of(reader, channel, freshness, read_ahead))
    except HeadendError as error:
        return rows, freshness.slots, str(error)
    return rows, freshness.slots, ""


@pytest.mark.parametrize("seed", range(12))
def test_random_stores_give_the_same_rows_read_ahead(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr(ahead, "MOST_SLOTS", dice.choice((50, 700, 500_000)))
    with Store.open(tmp_path / "s.db", lambda: NOW) as store, store.transaction():
        work = Work(seed)
        for step in islice(work.steps(), 25):
            step(store)
        exchange_meters(store, dice)
        if seed % 3 == 0:
            work._next = dict.fromkeys(METERS, 2 * 48)
            work._retention()(store)  # the first day is dropped

    with StoreReader.open(tmp_path / "s.db") as reader:
        for _ in range(4):
            start = START + dice.randrange(DAYS * 24) * 3_600
            end = start + dice.randrange(1, DAYS * 24) * 3_600
            found = channels(reader, None, None, start, end)

            assert outcome(reader, found, ReadAhead(reader, found)) == outcome(reader, found, None)


def test_all_channels_and_days_of_a_meter_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path / "s.db") as store, store.transaction():
        store.record(1, [IntervalBlock(code, WH, START, 1_800, tuple(range(96))) for code in (IMPORT, EXPORT)], NOW)
    asked: list[int] = []
    series = StoreReader.series

    def counted(
        self: StoreReader, wanted: Sequence[tuple[int, Obis]], start: int, end: int, layer: Layer = Layer.RAW
    ) -> list[Series]:
        asked.append(len(wanted))
        return series(self, wanted, start, end, layer)

    monkeypatch.setattr(StoreReader, "series", counted)
    for name in ("raw_series", "validated_series", "versions"):
        monkeypatch.delattr(f"headend.store.seriesreads.SeriesReads.{name}")
    with StoreReader.open(tmp_path / "s.db") as reader:
        found = channels(reader, None, None, START, START + 2 * DAY)
        rows, _, why = outcome(reader, found, ReadAhead(reader, found))

    assert (asked, len(rows), why) == ([2, 2], 192, "")


def test_a_damaged_block_is_named_as_it_is_day_by_day(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        with store.transaction():
            store.record(1, [IntervalBlock(IMPORT, WH, START, 1_800, tuple(range(144)))], NOW)
        store._run("UPDATE raw SET block = zeroblob(30) WHERE k >> 32 = ?", (FIRST_DAY + 1,))

    with StoreReader.open(tmp_path / "s.db") as reader:
        found = channels(reader, None, None, START, START + 3 * DAY)
        rows, late, why = outcome(reader, found, ReadAhead(reader, found))

        assert (rows, late, why) == outcome(reader, found, None)
    assert (len(rows), "is damaged" in why) == (48, True)
