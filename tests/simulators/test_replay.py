"""All ten households of the Smart Grid, Smart City trial, replayed through DLMS bytes."""

import json
import time
from itertools import groupby

import pytest

from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.dlms.gateway import NAME_FORMAT, DlmsGateway, DlmsPlace
from simulators.household import load_csv
from simulators.meter import Meter, Position
from simulators.tcp import serving
from tests.shared import shared_data
from tests.simulators.reading import context, counts, dlms_session, endpoint

SHARED = shared_data()
WINDOW = 40 * 86_400  # [s]


@pytest.mark.skipif(SHARED is None, reason="the shared data is not there: see tests/shared.py")
async def test_ten_households_come_out_of_dlms_bytes_with_the_published_sums_and_gaps() -> None:
    assert SHARED is not None
    expected = json.loads((SHARED / "sgsc" / "expected.json").read_text())
    homes = load_csv(SHARED / "sgsc" / "sgsc_10households_30min.csv.gz")
    meters = [Meter(NAME_FORMAT.format(int(name)), int(name), home, home.start) for name, home in homes.items()]
    clock = WorldClock(max(home.end for home in homes.values()), 1000.0, time.monotonic)
    places = [DlmsPlace(Position(str(port), (meter,))) for port, meter in enumerate(meters, start=1)]
    found = {}

    async with serving(clock, DlmsGateway(places, seeded(1)).wrapper_conversation) as port:
        for place in places:
            (meter,) = place.position.meters
            home = meter.household
            values: list[int | None] = []
            reader = endpoint(meter.name, "sim-dlms-wrapper", place.position.address)
            async with dlms_session(f"tcp://127.0.0.1:{port}", reader, context(clock.now)) as session:
                for start in range(home.start, home.end, WINDOW):
                    facts = await session.read_load_profile(start, min(start + WINDOW, home.end))
                    values += counts(facts)
            assert tuple(values) == home.wh
            found[home.name] = {
                "sum": round(sum(value or 0 for value in values) / 1000, 3),
                "missing": values.count(None),
                "gap_runs": sum(is_gap for is_gap, _ in groupby(values, lambda value: value is None)),
                "zeros": values.count(0),
            }

    assert found == {name: {key: published[key] for key in found[name]} for name, published in expected.items()}
