"""Ten real households, two years each, read out of simulated meters as DLMS bytes, stored and exported: nothing lost or invented."""

import csv
import json
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest

from drivers.obis import CATALOGUE
from headend.collect.engine import Engine
from headend.export import write
from headend.ledger import coverage, holes
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.settings import CollectSettings
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from simulators.dlms.gateway import NAME_FORMAT, DlmsGateway, DlmsPlace
from simulators.household import Household, load_csv
from simulators.meter import Meter, Position
from simulators.tcp import Conversation
from tests.end_to_end.direct import DRIVERS, ManualClock, register, transports
from tests.shared import shared_data

OBIS = CATALOGUE["active_energy_import_interval"].obis
WRAPPER, HDLC = "tcp://127.0.0.1:4059", "tcp://127.0.0.1:4060"


def meters(homes: Iterable[Household], serials: Iterable[int], address: str) -> list[DlmsPlace]:
    return [
        DlmsPlace(Position(address.format(serial), (Meter(NAME_FORMAT.format(serial), serial, home, home.start, 0),)))
        for home, serial in zip(homes, serials, strict=False)
    ]


def gap_runs(values: Iterable[object]) -> list[int]:
    return [len(list(run)) for is_gap, run in groupby(values, key=lambda value: value is None) if is_gap]


def exported(path: Path) -> dict[str, list[Decimal | None]]:
    """Give each usage point's values in kWh by time, None where the export says missing."""
    found: dict[str, list[tuple[str, Decimal | None]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            value = Decimal(row["value"]) if row["value"] else None
            found.setdefault(row["usage_point"], []).append((row["start_utc"], value))
    assert all(len({at for at, _ in rows}) == len(rows) for rows in found.values())
    return {name: [value for _, value in sorted(rows)] for name, rows in found.items()}


def table_rows(homes: dict[str, Household], places: Iterable[tuple[str, str, DlmsPlace]]) -> Iterator[dict[str, str]]:
    for home, (profile, link, place) in zip(homes.values(), places, strict=True):
        yield {
            "usage_point": home.name, "meter": place.position.meters[0].name, "profile": profile, "link": link,
            "address": place.position.address, "from": instant(home.start), "to": instant(home.end), "zone": "UTC+10:00",
        }  # fmt: skip


def instant(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.timeout(300)
async def test_ten_households_come_through_to_the_last_wh(tmp_path: Path) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("needs the shared folder's sgsc data; set HEADEND_SHARED to it")
    homes = load_csv(data / "sgsc" / "sgsc_10households_30min.csv.gz")
    published = json.loads((data / "sgsc" / "expected.json").read_text())
    first, second = list(homes.values())[:5], list(homes.values())[5:]
    wrapper, hdlc = meters(first, range(17, 22), "{}"), meters(second, range(33, 38), "1/{}")
    clock = ManualClock(max(home.end for home in homes.values()) + 3600)
    gateways = DlmsGateway(wrapper, random.Random(1)), DlmsGateway(hdlc, random.Random(2))
    links: dict[str, Callable[[], Conversation]] = {
        WRAPPER: gateways[0].wrapper_conversation,
        HDLC: gateways[1].hdlc_conversation,
    }
    places = [("sim-dlms-wrapper", WRAPPER, place) for place in wrapper] + [
        ("sim-dlms-hdlc", HDLC, place) for place in hdlc
    ]
    store = Store.open(tmp_path / "headend.db", clock.now)
    register(store, list(table_rows(homes, places)))
    writer = GroupCommitWriter(store)

    async with Engine(
        writer, load_profiles(), clock, CollectSettings(backfill_days=1000, window_days=31),
        open_transport=transports(links, clock.now), drivers=DRIVERS, secrets=Secrets({}),
    ) as engine:  # fmt: skip
        summary = await engine.run_due()
    await writer.close()

    assert not summary.failed
    points = {point.name: point for point in store.usage_points()}
    devices = {device.name: device for device in store.end_devices()}
    result = write.export(
        store, "csv", None, [OBIS], min(home.start for home in homes.values()), clock.instant, tmp_path / "exports",
        clock.instant,
    )  # fmt: skip
    values = exported(result.files[0])
    for home, (_, _, place) in zip(homes.values(), places, strict=True):
        expected = published[home.name]
        raw = store.raw_series(devices[place.position.meters[0].name].id, OBIS, home.start, home.end)
        found = coverage(raw)
        runs = gap_runs(values[home.name])
        assert home.name in points
        assert found.expected == expected["expected"] == len(values[home.name])
        assert (found.measured, found.missing) == (expected["rows"], expected["missing"])
        assert len(holes(raw)) == expected["gap_runs"]
        assert sum(value for value in values[home.name] if value is not None) == Decimal(str(expected["sum"]))
        assert (len(runs), sum(runs)) == (expected["gap_runs"], expected["missing"])
        assert max(runs, default=0) == expected["longest_gap_intervals"]
        assert sum(value == 0 for value in values[home.name]) == expected["zeros"]
        wh = [None if value is None else int(value * 1000) for value in values[home.name]]
        assert wh == list(home.wh)
    assert sum(expected["rows"] for expected in published.values()) == 293_874
    store.close()
