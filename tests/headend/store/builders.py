"""A store with one or two meters, and facts for it."""

from collections.abc import Sequence

import pytest

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.store.place import Place
from headend.store.store import Store

sqlite_alone = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""For a test of what only SQLite has."""
NOW = 1_700_000_000
IMPORT = Obis(1, 0, 1, 29, 0)
EXPORT = Obis(1, 0, 2, 29, 0)
REGISTER = Obis(1, 0, 1, 8, 0)
WH = ScalerUnit(0, Unit.WATT_HOUR)
PERIOD = 1_800
FIRST_DAY = 19_000
START = FIRST_DAY * DAY


def expect(
    store: Store, meter: int, codes: Sequence[Obis] = (IMPORT, EXPORT), start: int = START, end: int | None = None,
    *, period: int = PERIOD, offset: int = 0,
) -> None:  # fmt: skip
    store.put_expectations(
        meter,
        start,
        [ChannelExpectation(meter, code, period, offset, WH, "load_profile", start, end) for code in codes],
    )


def open_store(place: Place) -> Store:
    """Open a store with meter SIM:1 (id 1) at usage point UP1 (id 1): import and export, half-hourly from START on."""
    store = Store.open(place, lambda: NOW)
    with store.transaction():
        link = store.put_link("memory://one")
        meter, _ = store.put_end_device("SIM:1", "sim", link, "1", serial="1")
        point, _ = store.put_usage_point("UP1", "UTC")
        store.put_installation(Installation(point.id, meter.id, START))
        expect(store, meter.id)
    return store


def block(first: int, counts: Sequence[int | None], obis: Obis = IMPORT) -> IntervalBlock:
    """Half-hours from slot ``first`` after START on."""
    return IntervalBlock(obis, WH, START + first * PERIOD, PERIOD, tuple(counts))
