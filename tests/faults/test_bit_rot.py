"""One bit of a page turns over in the dark: whatever is read wrong because of it is found, by reading or by the check."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from drivers.obis import Obis
from headend.errors import HeadendError, StoreError
from headend.registry.model import DAY
from headend.store.quarantine import mark_of
from headend.store.reader import StoreReader
from headend.store.store import Store
from tests.faults.work import METERS, Work
from tests.headend.store.builders import EXPORT, FIRST_DAY, IMPORT, NOW, REGISTER, START, open_store

PAGE = 8_192
BITS = 5
"""Bits tried in each page."""

Read = Callable[[StoreReader], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "s.db"
    with Store.open(path, lambda: NOW) as store:
        for step in islice(Work(7).steps(), 150):
            with store.transaction():
                step(store)
    return path


def reads() -> Iterator[Read]:
    """Everything that a bill, a sink or a session reads: one part after the other."""
    for meter in METERS:
        for code in (IMPORT, EXPORT):
            yield partial(_raw, meter=meter, code=code)
        for read in (_validated, _versions, _registers, _expectations, _place):
            yield partial(read, meter=meter)
    yield StoreReader.end_devices
    yield StoreReader.links
    yield StoreReader.counters
    yield StoreReader.cursors
    yield StoreReader.events
    yield StoreReader.conflicts
    yield StoreReader.set_asides
    yield StoreReader.job_runs
    yield StoreReader.audit_entries
    yield StoreReader.sink_states
    yield partial(StoreReader.quarantine, sink="sink/influx")
    yield partial(StoreReader.changes, after=0, limit=10**6)


def _raw(store: StoreReader, meter: int, code: Obis) -> object:
    return _series(store.raw_series(meter, code, START, START + 20 * DAY))


def _validated(store: StoreReader, meter: int) -> object:
    return _series(store.validated_series(meter, IMPORT, START, START + DAY))


def _versions(store: StoreReader, meter: int) -> object:
    return [
        (version.version, _series(store.validated_version(meter, IMPORT, FIRST_DAY, version.version)))
        for version in store.versions(meter, IMPORT, FIRST_DAY)
    ]


def _registers(store: StoreReader, meter: int) -> object:
    return store.registers(meter, REGISTER, 0, 2**40)


def _expectations(store: StoreReader, meter: int) -> object:
    return store.expectations(meter)


def _place(store: StoreReader, meter: int) -> object:
    return store.installations(usage_point_id=meter), store.usage_point_by_id(meter)


def _series(series: object) -> object:
    return [getattr(series, name) for name in ("start", "period", "scaler_unit")] + [
        getattr(series, name).tobytes() for name in ("values", "state", "reason", "rules")
    ]


def outcomes(path: Path, every: list[Read]) -> list[object]:
    """Read everything; an error stands for what could not be read."""
    try:
        with StoreReader.open(path) as store:
            return [_outcome(store, read) for read in every]
    except HeadendError as error:
        return [error] * len(every)


def _outcome(store: StoreReader, read: Read) -> object:
    try:
        return read(store)
    except HeadendError as error:
        return error


def test_every_wrong_value_after_one_flipped_bit_in_each_page_is_found(original: Path, tmp_path: Path) -> None:
    content = original.read_bytes()
    every = list(reads())
    with StoreReader.open(original) as store:
        truth = [read(store) for read in every]
        assert list(store.faults()) == []
    dice = random.Random(5)
    path = tmp_path / "s.db"
    harmless = told = checked = 0

    for page in range(0, len(content), PAGE):
        used = [at for at in range(page, page + PAGE) if content[at]]
        for at in dice.choices(used or range(page, page + PAGE), k=BITS):
            damaged = bytearray(content)
            damaged[at] ^= 1 << dice.randrange(8)
            path.write_bytes(damaged)
            pairs = list(zip(truth, outcomes(path, every), strict=True))
            refused = [now for _, now in pairs if isinstance(now, Exception)]
            wrong = [now for was, now in pairs if was != now and not isinstance(now, Exception)]
            if wrong:
                with StoreReader.open(path) as store:
                    assert list(store.faults()), f"byte {at}: {wrong[0]} and nobody notices"
            harmless += not wrong and not refused
            told += bool(refused)
            checked += bool(wrong) and not refused

    flips = BITS * (len(content) // PAGE)
    assert told > flips / 5, (
        f"{told} refused, {checked} found by the check alone, {harmless} without effect: too few told"
    )


def test_a_store_found_damaged_is_set_apart_named_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_store(path).close()
    content = bytearray(path.read_bytes())
    content[100:200] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(path, lambda: NOW)

    path.unlink()  # even then no empty store comes in its place
    with pytest.raises(StoreError, match=r"set apart .*headend store restore BACKUP"):
        Store.open(path, lambda: NOW)

    assert not path.exists()
    assert "malformed" in mark_of(str(path)).read_text()


def test_a_log_without_its_store_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = open_store(path)
    log = Path(f"{path}-wal").read_bytes()
    store.close()
    path.unlink()
    Path(f"{path}-wal").write_bytes(log)

    with pytest.raises(StoreError, match=r"is missing, but its log s\.db-wal is there"):
        Store.open(path, lambda: NOW)
