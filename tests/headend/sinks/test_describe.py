"""What is not in the change log: where meters are, and how complete the collection is."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from headend.registry.model import DAY, Installation
from headend.sinks.describe import describe
from headend.sinks.influx import InfluxServer
from headend.sinks.journal import PREFIX
from headend.sinks.lines import parse
from headend.sinks.linesink import DESCRIBE_PACE, LineSink
from headend.store.store import Store
from kernels.quality import Reason
from tests.headend.collect import virtual
from tests.headend.sinks.fake_influx import FakeInflux
from tests.headend.sinks.test_sink import APPEND
from tests.headend.sinks.world import ENERGY, FIRST_DAY, NOW, journal, make_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    make_store(tmp_path / "headend.db")
    with Store.open(tmp_path / "headend.db", lambda: NOW) as store:
        yield store


def test_place_of_a_meter_and_of_its_usage_point_are_told_as_of_now(store: Store) -> None:
    with store.transaction():
        store.put_usage_point("UP1", "UTC", area="North", transformer="T 1")
        store.put_installation(Installation(2, 2, FIRST_DAY * DAY, NOW - 10))

    points = [parse(line) for line in describe(store, NOW)]

    places = {point.tags["meter"]: point for point in points if point.measurement == "meter_info"}
    assert list(places) == ["SIM:1"]  # the other was taken down
    assert places["SIM:1"].tags == {"meter": "SIM:1", "usage_point": "UP1", "area": "North", "transformer": "T 1"}
    assert places["SIM:1"].at == places["SIM:1"].fields["value"] == NOW
    infos = [point.tags for point in points if point.measurement == "usage_point_info"]
    assert infos == [
        {"usage_point": "UP 2", "zone": "UTC"},
        {"usage_point": "UP1", "zone": "UTC", "area": "North", "transformer": "T 1"},
    ]


def test_slots_are_counted_by_link_with_the_cause_of_each_miss(store: Store) -> None:
    day = NOW // DAY
    with store.transaction():
        store.mark_missing(1, ENERGY, (day - 1) * DAY, day * DAY, Reason.NO_ANSWER)

    counts = {
        (point.tags["state"], point.tags.get("cause")): int(point.fields["value"])
        for line in describe(store, NOW)
        if (point := parse(line)).measurement == "collection_slots"
    }

    assert counts["missing", "no_answer"] == 4
    assert counts["measured", None] == 0
    assert counts["missing", "not_tried"] > 0


def test_description_goes_out_at_first_and_each_hour_and_moves_no_cursor(store: Store) -> None:
    clock = virtual.LoopClock()
    server = FakeInflux(Random(1), clock.monotonic)
    view = journal("one", store, APPEND, 100)
    sink = LineSink(
        "one", view, InfluxServer(server, reads_back=True), clock, lambda: 0.0, settle=15.0, describe=view.describe
    )

    async def main() -> None:
        await sink.deliver()
        assert clock.monotonic() >= 15.0, "what is told is read back, too"
        await clock.sleep(DESCRIBE_PACE / 2)
        await sink.deliver()
        assert len(infos(server)) == 2
        await clock.sleep(DESCRIBE_PACE / 2)
        await sink.deliver()

    virtual.run(main)

    assert len(infos(server)) == 4
    assert store.cursor(PREFIX + "one") == store.last_seq()


def infos(server: FakeInflux) -> list[object]:
    return [key for key in server.held if key[0] == "usage_point_info"]
