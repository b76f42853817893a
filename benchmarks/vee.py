"""VEE: a week of a fleet out of the store, validated, estimated and written back. ``make bench-vee``.

METERS meters of ten quarter-hourly channels (`benchmarks/workload.py`) over a week, five weeks of history before it, under the rule set
for homes. Three ways in turn, by CPU time, each on a fresh copy: usage points together (`headend.vee.fleet`); each channel by itself
(`headend.vee.service.run`, on fewer meters, since it takes long); and pandas over one SQLite row per reading (`benchmarks/vee_rival.py`),
which does fewer rules and no like days. A figure is the lower quartile of the rounds' ratios, by readings a second. First of all the results
are compared: with each channel by itself, all that is stored, byte by byte; with pandas, every slot, but those that like days
filled, which it leaves missing. Last, what lane tiles would save is measured in place (`benchmarks/vee_tiles.py`). The last line is
one JSON object.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import apsw
import numpy as np
import pandas as pd

from benchmarks import vee_rival, vee_tiles
from benchmarks.workload import CHANNELS, SLOTS, Fleet, fleet
from drivers.facts import RegisterValue
from drivers.obis import Obis, register_of
from drivers.units import ScalerUnit, Unit
from headend.registry.model import DAY, ChannelExpectation, Installation
from headend.store.block import Block, channel_of
from headend.store.model import Layer
from headend.store.store import Store
from headend.vee.fleet import run_fleet
from headend.vee.rules import MEAN_POWER_UNITS, RuleSet, load_rules
from headend.vee.service import channels, run
from kernels.quality import Reason, Rule, State

METERS, FEW, HISTORY, DAYS, ROUNDS = 200, 20, 35, 7, 3
FIRST = 20_454
"""2026-01-01. [d]"""
FROM, TO = FIRST + HISTORY, FIRST + HISTORY + DAYS
ZONE, PERIOD = "Europe/Berlin", 900
WH, VARH = ScalerUnit(0, Unit.WATT_HOUR), ScalerUnit(0, Unit.VAR_HOUR)
VOLT, AMPERE = ScalerUnit(-1, Unit.VOLT), ScalerUnit(-3, Unit.AMPERE)
KINDS = [
    *((Obis(1, 0, c, 29, 0), unit) for c, unit in ((1, WH), (2, WH), (3, VARH), (4, VARH))),
    *((Obis(1, 0, c, 7, 0), VOLT) for c in (32, 52, 72)),
    *((Obis(1, 0, c, 7, 0), AMPERE) for c in (31, 51, 71)),
]
"""The channels of `benchmarks.workload`, in its order."""
COMPARED = int(Rule.RANGE | Rule.SPIKE | Rule.ZERO_RUN | Rule.CONSTANT_RUN)
AROUND = 3 * DAY
"""Context that pandas is given: its longest run is of 48 h. [s]"""


def cpu(work: Callable[[], object]) -> float:
    """Measure CPU time. [s]"""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def lower_quartile(ratios: list[float]) -> float:
    """Give what three quarters of the rounds reach."""
    return statistics.quantiles(ratios, n=4, method="inclusive")[0]


def raw_day(meters: int, day: int) -> Fleet:
    """Make a day as it was read: nothing judged yet but what came twice."""
    made = fleet(meters, day)
    spiky = made.rules & np.uint32(Rule.SPIKE) != 0
    made.rules[spiky] &= ~np.uint32(Rule.SPIKE)
    made.state[spiky & (made.rules == 0)] = State.MEASURED
    return made


def make_store(path: Path, days: list[Fleet], *, with_registers: bool = False) -> None:
    """Write the raw days of a fleet, and register readings at midnight UTC where wanted."""
    meters = len(days[0].values)
    heads = [channel_of(obis, PERIOD, 0, unit) for obis, unit in KINDS]
    with Store.open(path, lambda: 0) as store:
        with store.transaction():
            link = store.put_link("memory://bench")
            for number in range(1, meters + 1):
                device, _ = store.put_end_device(f"BENCH{number:06d}", "bench", link, str(number))
                point, _ = store.put_usage_point(f"UP{number:06d}", ZONE)
                store.put_installation(Installation(point.id, device.id, FIRST * DAY))
                store.put_expectations(
                    device.id, FIRST * DAY,
                    [ChannelExpectation(device.id, obis, PERIOD, 0, unit, "load_profile", FIRST * DAY) for obis, unit in KINDS],
                )  # fmt: skip
        total = np.zeros((meters, CHANNELS), np.int64)
        for number, day in enumerate(days, FIRST):
            with store.transaction():
                for meter in range(meters):
                    block = Block.empty(Layer.RAW, f"BENCH{meter + 1:06d}", number, heads)
                    for channel, head in enumerate(heads):
                        cut = slice(channel * SLOTS, (channel + 1) * SLOTS)
                        series = block.series(head)
                        series.values[:], series.state[:] = day.values[meter, cut], day.state[meter, cut]
                        series.reason[:], series.rules[:] = day.reason[meter, cut], day.rules[meter, cut]
                    store._put_block(block, meter + 1)  # noqa: SLF001  as a collector would have, only sooner
                    if with_registers:
                        said = [
                            RegisterValue(register_of(obis), int(total[meter, channel]), unit, number * DAY)
                            for channel, (obis, unit) in enumerate(KINDS[:2])
                        ]
                        store.record(meter + 1, said, 0)
            # What was not read was counted all the same.
            total += (day.values + 100 * (day.state == State.MISSING)).reshape(meters, CHANNELS, SLOTS).sum(axis=2)


def together(path: Path, rules: RuleSet) -> None:
    """Validate the week, usage points together."""
    with Store.open(path, lambda: 0) as store, store.transaction():
        wanted = [(point, channels(store, point)) for point in store.usage_points()]
        run_fleet(store, wanted, FROM, TO, rules, TO * DAY)


def one_by_one(path: Path, rules: RuleSet) -> None:
    """Validate the week, each channel by itself."""
    with Store.open(path, lambda: 0) as store, store.transaction():
        for point in store.usage_points():
            for obis in channels(store, point):
                run(store, point, obis, FROM, TO, rules, TO * DAY)


def with_pandas(path: Path, rules: RuleSet) -> list[vee_rival.Judged]:
    """Validate the week with pandas; gives what came out, by channel."""
    constant = rules.checks["constant_run"]["hours"] * 3_600 // PERIOD
    return [
        vee_rival.validate(
            path, channel, rules.for_channel(unit, PERIOD), (FROM * DAY, TO * DAY), AROUND, ZONE,
            constant=constant, is_energy=unit.unit in MEAN_POWER_UNITS,
        )
        for channel, (_, unit) in enumerate(KINDS)
    ]  # fmt: skip


def rows_of(days: list[Fleet]) -> pd.DataFrame:
    """Give the readings as one row each."""
    meters, parts = len(days[0].values), []
    for number, day in enumerate(days, FIRST):
        shape = (meters, CHANNELS, SLOTS)
        meter, channel, slot = (index.reshape(-1) for index in np.indices(shape))
        value = np.where(day.state == State.MISSING, np.nan, day.values).reshape(-1)
        doubted = (day.state == State.QUESTIONABLE).astype(np.int64).reshape(-1)
        parts.append(pd.DataFrame(
            {"channel": channel, "at": number * DAY + slot * PERIOD, "meter": meter, "value": value, "doubted": doubted}
        ))  # fmt: skip
    return pd.concat(parts)


def content(path: Path) -> list[object]:
    """Give all that validation writes."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    return [
        list(connection.execute(query))
        for query in (
            "SELECT k, block FROM validated ORDER BY k",
            "SELECT usage_point_id, day, obis, version, block FROM validated_version ORDER BY 1, 2, 3, 4",
        )
    ]


def unequal(path: Path, theirs: list[vee_rival.Judged]) -> int:
    """Count the slots of the week in which pandas found something else."""
    found = 0
    with Store.open(path, lambda: 0) as store:
        for channel, (obis, _) in enumerate(KINDS):
            judged = theirs[channel]
            for point in store.usage_points():
                series = store.validated_series(point.id, obis, FROM * DAY, TO * DAY)
                further = series.reason == Reason.LIKE_DAY
                values, state = np.where(further, 0, series.values), np.where(further, State.MISSING, series.state)
                meter = point.id - 1
                found += int(
                    (
                        (values != judged.values[:, meter])
                        | (state != judged.state[:, meter])
                        | (series.rules & np.uint32(COMPARED) != judged.rules[:, meter])
                    ).sum()
                )
    return found


def main() -> None:
    """Compare, measure, print a table and the figures as JSON."""
    rules = load_rules("residential")
    days = [raw_day(METERS, day) for day in range(HISTORY + DAYS)]
    few = [Fleet(day.values[:FEW], day.state[:FEW], day.reason[:FEW], day.rules[:FEW]) for day in days]
    readings = CHANNELS * SLOTS * DAYS
    speeds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="headend-bench-") as name:
        folder = Path(name)
        make_store(folder / "many.db", days)
        make_store(folder / "few.db", few)
        make_store(folder / "registers.db", few, with_registers=True)
        vee_rival.load(folder / "rows.db", rows_of(days))
        work: dict[str, tuple[str, int, Callable[[Path, RuleSet], object]]] = {
            "together": ("many.db", METERS, together),
            "one_by_one": ("few.db", FEW, one_by_one),
            "pandas": ("rows.db", METERS, with_pandas),
            "together_registers": ("registers.db", FEW, together),
            "one_by_one_registers": ("registers.db", FEW, one_by_one),
        }
        results: dict[str, Path] = {}
        for turn in range(ROUNDS):
            for way, (store, meters, function) in work.items():
                path = results[way] = Path(shutil.copy(folder / store, folder / f"{way}-{turn}.db"))
                taken = cpu(lambda path=path, function=function: function(path, rules))  # type: ignore[misc]
                speeds.setdefault(way, []).append(meters * readings / taken)
            taken = cpu(lambda: together(results["together"], rules))
            speeds.setdefault("again", []).append(METERS * readings / taken)
        together(folder / "few.db", rules)
        is_same = content(folder / "few.db") == content(results["one_by_one"]) and content(
            results["together_registers"]
        ) == content(results["one_by_one_registers"])
        differing = unequal(results["together"], with_pandas(folder / "rows.db", rules))
        near = replace(rules, longest_span=0, weeks=0, longest_gap=0)
        with Store.open(folder / "many.db", lambda: 0) as opened:
            turns = [vee_tiles.in_place(opened, FROM, TO, near, ZONE) for _ in range(9)]
    by_rows, by_tiles = statistics.median(turn[0] for turn in turns), statistics.median(turn[1] for turn in turns)
    differing += sum(turn[2] for turn in turns)
    print(
        f"{METERS * readings:,} readings; byte for byte as each channel by itself: {is_same}; other than pandas: {differing}"
    )
    for way, found in speeds.items():
        print(f"{way:<24}{statistics.median(found):>14,.0f} readings/s of CPU")

    print(f"limits, spikes, zero runs and lines: {by_rows:.1f} ns a slot by rows, {by_tiles:.1f} by tiles")

    def ratio(ours: str, theirs: str) -> float:
        return round(lower_quartile([one / other for one, other in zip(speeds[ours], speeds[theirs], strict=True)]), 1)

    print(
        json.dumps({
            "readings_s": round(statistics.median(speeds["together"])),
            "readings_s_unchanged": round(statistics.median(speeds["again"])),
            "readings_s_registers": round(statistics.median(speeds["together_registers"])),
            "vs_one_by_one": ratio("together", "one_by_one"),
            "vs_one_by_one_registers": ratio("together_registers", "one_by_one_registers"),
            "vs_pandas": ratio("together", "pandas"),
            "rules_by_rows_ns": round(by_rows, 1),
            "rules_by_tiles_ns": round(by_tiles, 1),
            "identical": is_same and differing == 0,
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
