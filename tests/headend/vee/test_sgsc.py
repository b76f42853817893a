"""Ten real households of the Smart Grid, Smart City trial: what the rules make of them."""

import csv
import gzip
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest

from drivers.zone import parse_zone
from headend.series import Series
from headend.vee.localtime import Span, edges, utc_offsets
from headend.vee.rules import load_rules
from headend.vee.run import run_series
from kernels.quality import Reason, Rule, State
from tests.headend.vee.series import DAY, WH
from tests.shared import shared_data

TEN_HOURS = 36_000
Households = dict[str, Series]


@pytest.fixture(scope="module")
def households() -> Households:
    data = shared_data()
    if data is None or not (data / "sgsc").is_dir():
        pytest.skip("shared data is absent: set HEADEND_SHARED, or put it beside the checkout")
    rows: dict[str, dict[int, int]] = defaultdict(dict)
    with gzip.open(data / "sgsc" / "sgsc_10households_30min.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            local = datetime.fromisoformat(row["ts"]).replace(tzinfo=UTC)
            rows[row["id"]][int(local.timestamp()) - TEN_HOURS] = WH.quantise(Decimal(row["kwh"]) * 1000)
    made = {}
    for name, values in rows.items():
        first, last = min(values), max(values)
        series = Series.empty(first, 1800, WH, (last - first) // 1800 + 1, State.MISSING)
        series.reason[:] = Reason.NO_ROW
        slots = (np.array(list(values)) - first) // 1800
        series.values[slots] = list(values.values())
        series.state[slots], series.reason[slots] = State.MEASURED, 0
        made[name] = series
    return made


def spike_days(series: Series, permille: int) -> tuple[int, int]:
    """Count the complete local days, and those of them with a spike."""
    zone = parse_zone("UTC+10:00")
    rules = replace(load_rules("commercial"), spike_permille=permille, spike_floor=0)
    judged = run_series(series, zone, rules)
    cuts = edges(Span.DAY, utc_offsets(zone, series.start, 1800, len(series)), series.start, 1800)
    complete = spiked = 0
    for first, last in pairwise(cuts.tolist()):
        if last - first == DAY // 1800 and (series.state[first:last] == State.MEASURED).all():
            complete += 1
            spiked += bool((judged.rules[first:last] & np.uint32(Rule.SPIKE)).any())
    return complete, spiked


def test_687_of_6050_complete_days_fail_at_180_percent(households: Households) -> None:
    found = [spike_days(series, 1_800) for series in households.values()]

    assert sum(len(np.flatnonzero(series.state == State.MEASURED)) for series in households.values()) == 293_874
    assert (sum(complete for complete, _ in found), sum(spiked for _, spiked in found)) == (6_050, 687)


def test_about_one_day_in_a_hundred_passes_ratio_12_and_the_floor_leaves_fewer(households: Households) -> None:
    by_ratio = sum(spike_days(series, 12_000)[1] for series in households.values())
    zone, home = parse_zone("UTC+10:00"), load_rules("residential")
    flagged = sum(
        int(np.count_nonzero(run_series(series, zone, home).rules & np.uint32(Rule.SPIKE)))
        for series in households.values()
    )

    assert 50 <= by_ratio <= 70
    assert flagged < by_ratio


def test_gaps_are_estimated_and_every_measured_value_stays(households: Households) -> None:
    zone, home = parse_zone("UTC+10:00"), load_rules("residential")
    missing = left = 0
    for series in households.values():
        result = run_series(series, zone, home)
        measured = series.state == State.MEASURED
        assert np.array_equal(result.values[measured], series.values[measured])
        missing += int((~measured).sum())
        left += int((result.state == State.MISSING).sum())
    assert missing > 0
    assert left < missing // 10
