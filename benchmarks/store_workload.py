"""What the benchmarks of the store insert: days of the shared made-up fleet, in batches of a collection round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.workload import CHANNELS, SLOTS, fleet
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import ChannelExpectation, Installation
from headend.store.block import Channel
from headend.store.meterdays import MeterDays
from headend.store.place import Place
from headend.store.store import Store

METERS, DAYS = 500, 30
PERIOD = 900
FIRST_DAY = 20_000
BATCH = 50
"""Meters of a collection batch: a commit each day."""
CODES = [Obis(1, 0, code, 29, 0) for code in range(1, CHANNELS + 1)]
WH = ScalerUnit(0, Unit.WATT_HOUR)
HEADS = tuple(Channel(code, PERIOD, 0, WH) for code in CODES)


@dataclass(frozen=True, slots=True)
class Batch:
    """A day of ``meters``; arrays of shape (meters, CHANNELS, SLOTS)."""

    day: int
    meters: range
    values: npt.NDArray[np.int32]
    has_value: npt.NDArray[np.bool_]

    @property
    def readings(self) -> int:
        return self.values.size

    def meter_days(self) -> MeterDays:
        """As the store takes it."""
        shape = len(self.meters), CHANNELS * SLOTS
        return MeterDays(self.day, self.meters, HEADS, self.values.reshape(shape), self.has_value.reshape(shape))


def batches(meters: int, number: int, seed: int) -> list[Batch]:
    """Make day ``number`` of a fleet, whose meters' ids begin at 1, in batches."""
    made = fleet(meters, seed)
    shape = meters, CHANNELS, SLOTS
    values, has_value = made.values.reshape(shape), made.has_value.reshape(shape)
    return [
        Batch(FIRST_DAY + number, range(at + 1, at + BATCH + 1), values[at : at + BATCH], has_value[at : at + BATCH])
        for at in range(0, meters, BATCH)
    ]


def open_store(path: Place, meters: int = METERS) -> Store:
    """Make a store and register the meters, ten to a transformer."""
    store = Store.open(path, lambda: 0)
    with store.transaction():
        link = store.put_link("memory://bench")
        for number in range(1, meters + 1):
            meter, _ = store.put_end_device(f"BENCH{number:011d}", "bench", link, str(number))
            point, _ = store.put_usage_point(f"UP{number}", "UTC", area="A", transformer=f"T{number // 10}")
            store.put_installation(Installation(point.id, meter.id, 0))
            store.put_expectations(
                meter.id, 0, [ChannelExpectation(meter.id, code, PERIOD, 0, WH, "push", 0) for code in CODES]
            )
    return store


def record(store: Store, batch: Batch) -> None:
    """Record a batch durably: slots merged, ledger, checksums and change log."""
    with store.transaction():
        store.record_days(batch.meter_days(), 0)


def size(store: Store) -> int:
    """Give the file's size with everything in it. [B]"""
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # noqa: SLF001  no caller of the store needs that
    return Path(store.path).stat().st_size
