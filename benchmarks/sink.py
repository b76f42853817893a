"""Sink: our line sink against influxdb-client's own batch writer, one point per reading, into one VictoriaMetrics each.

Workload: METERS meters of ten quarter-hourly channels over DAYS days, one transaction per meter-day, as a head-end that was
off for a while would find it: all of it is waiting. Ours ends when the last reading was read back and the cursor stands at the
end of the log; the rival ends when its last batch was answered, durable or not. The last line of the output is one JSON object.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.clock import SystemClock
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.secrets import Secrets
from headend.settings import SinkSettings
from headend.sinks.journal import PREFIX
from headend.sinks.run import open_sinks
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.headend.sinks.victoria import Victoria, running

METERS, DAYS, SLOTS, PERIOD, FIRST_DAY = 200, 20, 96, 900, 19_600
RIVAL_READINGS = 200_000
WH = ScalerUnit(0, Unit.WATT_HOUR)
CODES = [Obis(1, 0, code, 29, 0) for code in range(1, 11)]


def fill(path: Path) -> int:
    """Make the store; give the number of readings."""
    random = np.random.default_rng(1)
    with Store.open(path, lambda: FIRST_DAY * DAY) as store:
        with store.transaction():
            link = store.put_link("memory://bench")
            for number in range(1, METERS + 1):
                meter, _ = store.put_end_device(f"BENCH{number:011d}", "bench", link, str(number))
                point, _ = store.put_usage_point(f"UP{number}", "UTC")
                store.put_installation(Installation(point.id, meter.id, 0))
                store.put_expectations(
                    meter.id, 0, [ChannelExpectation(meter.id, code, PERIOD, 0, WH, "push", 0) for code in CODES]
                )
        for day in range(FIRST_DAY, FIRST_DAY + DAYS):
            with store.transaction():
                for meter_id in range(1, METERS + 1):
                    counts = random.integers(0, 3_000, (len(CODES), SLOTS)).tolist()
                    blocks = [
                        IntervalBlock(code, WH, day * DAY, PERIOD, tuple(row))
                        for code, row in zip(CODES, counts, strict=True)
                    ]
                    store.record(meter_id, blocks, day * DAY)
    return METERS * DAYS * len(CODES) * SLOTS


async def ours(path: Path, server: Victoria) -> tuple[float, float, int]:
    """Deliver everything; give the time it took, by the wall and of our CPU [s], and the settings' ``settle`` [s]."""
    settings = SinkSettings(kind="victoriametrics", url=server.url)
    with Store.open(path, lambda: FIRST_DAY * DAY) as store:
        writer, stop = GroupCommitWriter(store), asyncio.Event()
        (sink,) = open_sinks({"vm": settings}, path, writer, SystemClock(), Secrets({}), stop)
        began, cpu = time.perf_counter(), time.process_time()
        delivering = asyncio.ensure_future(sink)
        while await writer.submit(lambda held: held.cursor(PREFIX + "vm") < held.last_seq()):  # noqa: ASYNC110 - the log sets no event
            await asyncio.sleep(0.2)
        took, spent = time.perf_counter() - began, time.process_time() - cpu
        stop.set()
        await delivering
        await writer.close()
    return took, spent, settings.settle


def rival(server: Victoria) -> float:
    """Send so many readings as points through the client's batching API; give the time it took [s]."""
    tags = [(f"BENCH{number:011d}", str(code)) for number in range(METERS) for code in CODES]
    began = time.perf_counter()
    with InfluxDBClient(server.url, token="none", org="-") as client:
        options = WriteOptions(batch_size=5_000, flush_interval=1_000)
        with client.write_api(write_options=options) as api:
            for number in range(RIVAL_READINGS):
                meter, channel = tags[number % len(tags)]
                point = Point("meter_interval").tag("meter", meter).tag("channel", channel).tag("unit", "Wh")
                point = point.field("value", number % 3_000).time(
                    FIRST_DAY * DAY + number // len(tags) * PERIOD, WritePrecision.S
                )
                api.write("headend", record=point, write_precision=WritePrecision.S)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        readings = fill(folder / "headend.db")
        with running(folder / "ours") as server:
            took, cpu, settle = asyncio.run(ours(folder / "headend.db", server))
        with running(folder / "rival") as server:
            rival_took = rival(server)
    rate, rival_rate = readings / took, RIVAL_READINGS / rival_took
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"headend    {readings} readings in {took:.1f} s, {rate:,.0f} readings/s, of it {settle} s until the last settled"
    )
    print(f"influxdb-client, points in batches  {RIVAL_READINGS} in {rival_took:.1f} s, {rival_rate:,.0f} readings/s")
    print(
        json.dumps({
            "readings": readings,
            "readings_per_s": round(rate),
            "readings_per_s_before_settle": round(readings / (took - settle)),
            "readings_per_cpu_s": round(readings / cpu),
            "rival_readings_per_s": round(rival_rate),
            "times_rival": round(rate / rival_rate, 1),
            "peak_mib": peak,
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
