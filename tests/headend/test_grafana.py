"""The dashboards of config/grafana: sound as JSON, and every query in them gives data of a real server filled by us.

No Grafana renders them here; what it would fill in, time and variables, is filled in by hand.
"""

import asyncio
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.clock import SystemClock
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.secrets import Secrets
from headend.series import Series
from headend.settings import SinkSettings
from headend.sinks.exchange import HttpExchange
from headend.sinks.influx import InfluxServer
from headend.sinks.journal import PREFIX, StoreJournal
from headend.sinks.linesink import LineSink
from headend.sinks.model import Window
from headend.sinks.run import open_sinks
from headend.store.model import VeeRun
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from kernels.quality import Reason, State
from tests.headend.sinks.victoria import Victoria, running
from tests.postgres import Postgres

FOLDER = Path(__file__).parents[2] / "config/grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
KINDS = {"victoriametrics": "prometheus", "postgresql": "postgres"}
PERIOD, SLOTS = 1_800, 48
IMPORT, EXPORT, VOLTAGE = Obis(1, 0, 1, 29, 0), Obis(1, 0, 2, 29, 0), Obis(1, 0, 32, 7, 0)
UNITS = {
    IMPORT: ScalerUnit(0, Unit.WATT_HOUR), EXPORT: ScalerUnit(0, Unit.WATT_HOUR), VOLTAGE: ScalerUnit(-1, Unit.VOLT),
}  # fmt: skip
POINTS = {"T1": "T1", "UP 1": "T1", "UP 2": "T1", "UP 3": "T2"}
"""Transformer by usage point; that of T1 bears its name, so its meter is the sum meter."""
SILENT = "UP 3"
LOAD = 2 * (3 * 111 + 165 + 150)
"""Of the area, of three values for half an hour; the sum meter's transformer ratio is 3. [W]"""
LOSS = 100 * (333 - 300) / 333
"""333 were fed in; 165 - 15 and 150 were used. [%]"""


def queries(name: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{panel['title']} {target['refId']}", panel | {"target": target})
        for panel in DASHBOARDS[name]["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_is_sound(name: str) -> None:
    dashboard, kind = DASHBOARDS[name], KINDS[name.partition("-")[0]]

    panels = dashboard["panels"]
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["id"] is None
    assert (
        len({panel["id"] for panel in panels})
        == len({panel["title"] + panel["type"] for panel in panels})
        == len(panels)
    )
    for panel in panels:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": kind, "uid": "${datasource}"} for source in sources)
        assert panel["description"]
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", kind)
    used = set(re.findall(r"\$\{?(?!__)([a-z]\w*)", json.dumps(panels)))
    assert used <= variables.keys() | {"$1"}
    assert variables.keys() - used - {"datasource"} == set(), "a variable that nothing asks for"


def test_uids_and_titles_differ() -> None:
    assert len(DASHBOARDS) == 4
    for key in ("uid", "title"):
        assert len({dashboard[key] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


def fill(store: Store, today: int) -> None:
    """Three days of four meters: one silent, one volt too high, misses with a cause, and a tenth of what T1 fed in lost."""
    with store.transaction():
        link = store.put_link("tcp://127.0.0.1:1")
        for number, (name, transformer) in enumerate(POINTS.items(), 1):
            meter, _ = store.put_end_device(f"SIM:{number}", "sim", link, str(number))
            point, _ = store.put_usage_point(name, "UTC", area="north", transformer=transformer)
            first = (today - 3) * DAY
            store.put_installation(Installation(point.id, meter.id, first, multiplier=3 if name == "T1" else 1))
            expected = [
                ChannelExpectation(meter.id, obis, PERIOD, 0, unit, "load_profile", first)
                for obis, unit in UNITS.items()
            ]
            store.put_expectations(meter.id, first, expected)
            for day in range(today - 3, today):
                if name != SILENT:
                    record(store, meter.id, day, 111 if name == "T1" else 150, 15 if name == "UP 1" else 0)
            store.mark_missing(meter.id, IMPORT, (today - 1) * DAY, today * DAY, Reason.NO_ANSWER)
            store.add_event(meter.id, "meter", 4, (today - 1) * DAY + 3_600, "lid opened", today * DAY)
            store.record_job(meter.id, "load_profile", today * DAY - 60, today * DAY - 50, cause=Reason.NO_ANSWER)
        store.advance_cursor("sink/other", 1)


def record(store: Store, number: int, day: int, imported: int, exported: int) -> None:
    counts = {
        IMPORT: (imported + exported,) * (SLOTS - 1) + (None,),
        EXPORT: (exported,) * (SLOTS - 1) + (None,),
        VOLTAGE: (2_300,) * (SLOTS - 1) + (2_600,),
    }
    for obis, values in counts.items():
        store.record(number, [IntervalBlock(obis, UNITS[obis], day * DAY, PERIOD, values)], day * DAY)
        if obis != VOLTAGE:
            series = Series.empty(day * DAY, PERIOD, UNITS[obis], SLOTS, State.MEASURED)
            series.values[:] = np.full(SLOTS, values[0] or 0, np.int32) * (3 if number == 1 else 1)
            store.write_validated(number, obis, day, series, VeeRun("test 1", day * DAY))


# VictoriaMetrics


class Past(SystemClock):
    """A clock that stands at an instant [s UTC]."""

    def __init__(self, at: int) -> None:
        self._at = at

    def now(self) -> int:
        return self._at


@pytest.fixture(scope="module")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    folder = tmp_path_factory.mktemp("grafana")
    with running(folder / "victoria") as server, Store.open(folder / "headend.db", lambda: int(time.time())) as store:
        fill(store, int(time.time()) // DAY)
        asyncio.run(deliver(store, folder / "headend.db", server))
        server.flush()
        yield server


async def deliver(store: Store, path: Path, server: Victoria) -> None:
    settings = SinkSettings(kind="victoriametrics", url=server.url, settle=2, pace=1)
    writer = GroupCommitWriter(store)
    (sink,) = open_sinks({"vm": settings}, path, writer, SystemClock(), Secrets({}), asyncio.Event(), once=True)
    await sink
    with StoreReader.open(path) as reader, closing(HttpExchange(settings, "")) as exchange:
        for hours in range(1, 28):  # as it would have told each hour since yesterday
            journal = StoreJournal("vm", reader, writer.submit, lambda _, after: Window(after))
            server_of_lines = InfluxServer(exchange, reads_back=False)
            clock = Past(int(time.time()) - hours * 3_600)
            await LineSink("vm", journal, server_of_lines, clock, lambda: 0.0, describe=journal.describe).deliver()
    await writer.close()
    assert store.cursor(PREFIX + "vm") == store.last_seq()


def ask(server: Victoria, panel: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask as Grafana's Prometheus data source does, for the last four days."""
    target, end = panel["target"], int(time.time())
    step = {"1d": DAY}.get(panel.get("interval", ""), 3_600)
    expression = target["expr"]
    for name, value in {
        "$__interval_ms": str(step * 1_000), "$__interval": f"{step}s", "$__range": f"{4 * DAY}s", "$area": ".*", "$link": ".*",
        "$nominal": "230",
    }.items():  # fmt: skip
        expression = expression.replace(name, value)
    form = {"query": expression}
    form |= (
        {"time": str(end)} if target["instant"] else {"start": str(end - 4 * DAY), "end": str(end), "step": str(step)}
    )
    where = "query" if target["instant"] else "query_range"
    request = f"{server.url}/api/v1/{where}?{urllib.parse.urlencode(form)}"
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def values_of(result: dict[str, Any]) -> list[float]:
    return [float(value) for _, value in result.get("values", [result.get("value")])]


@pytest.mark.parametrize("name", [name for name in DASHBOARDS if name.startswith("victoria")])
def test_every_query_gives_data_of_victoriametrics(victoria: Victoria, name: str) -> None:
    empty = [title for title, panel in queries(name) if not ask(victoria, panel)]

    assert queries(name)
    assert empty == []


def panel_of(name: str, title: str) -> dict[str, Any]:
    return next(panel for shown, panel in queries(name) if shown == title)


def test_figures_of_victoriametrics_are_those_of_the_store(victoria: Victoria) -> None:
    network, collection = "victoriametrics-network", "victoriametrics-collection"

    by_area = ask(victoria, panel_of(network, "Load by area A"))
    losses = ask(victoria, panel_of(network, "Losses by transformer A"))
    silent = ask(victoria, panel_of(collection, "Which meters are silent A"))
    causes = ask(victoria, panel_of(collection, "Not read, by cause A"))

    (area,) = by_area
    assert area["metric"] == {"area": "north"}
    assert max(values_of(area)) == pytest.approx(
        2 * (3 * 111 + 165 + 150)
    )  # Wh of a half hour; the sum meter is times 3
    (loss,) = losses
    assert loss["metric"] == {"transformer": "T1"}
    assert values_of(loss) == pytest.approx([LOSS] * len(values_of(loss)))
    assert [one["metric"]["usage_point"] for one in silent] == [SILENT]
    assert {one["metric"]["cause"] for one in causes} >= {"no_answer", "not_tried"}


# PostgreSQL


@pytest.fixture(scope="module")
def server_of_stores(postgres: Postgres) -> Postgres:
    with Store.open(postgres.place("dashboards"), lambda: int(time.time())) as opened:
        fill(opened, int(time.time()) // DAY)
    return postgres


@pytest.mark.parametrize("name", [name for name in DASHBOARDS if name.startswith("postgres")])
def test_every_query_gives_data_of_postgresql(server_of_stores: Postgres, name: str) -> None:
    empty = [title for title, panel in queries(name) if not server_of_stores.sql(sql_of(panel["target"]))]

    assert queries(name)
    assert empty == []


def test_figures_of_postgresql_are_those_of_the_store(server_of_stores: Postgres) -> None:
    network, collection = "postgresql-network", "postgresql-collection"

    load, losses, silent = (
        server_of_stores.sql(sql_of(panel_of(name, f"{title} A")["target"]))
        for name, title in (
            (network, "Load by area"),
            (network, "Losses by transformer"),
            (collection, "Silent meters"),
        )
    )

    assert max(float(row.split("|")[2]) for row in load.splitlines()) == LOAD
    assert [float(row.split("|")[2]) for row in losses.splitlines()] == pytest.approx([LOSS] * 3)
    assert silent == "1"


def sql_of(target: dict[str, Any]) -> str:
    """Fill in what Grafana's PostgreSQL data source would, for the last four days."""
    text: str = target["rawSql"]
    for name, value in {
        "$__timeFrom()": "(now() - INTERVAL '4 days')", "$__timeTo()": "now()", "${schema}": "dashboards", "${nominal}": "230",
        "${area:sqlstring}": "'north'", "${link:sqlstring}": "'tcp://127.0.0.1:1'",
    }.items():  # fmt: skip
        text = text.replace(name, value)
    assert "$" not in text
    return text
