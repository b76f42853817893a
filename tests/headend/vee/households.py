"""The ten real households of the shared data: Smart Grid, Smart City trial, half-hours, standard time all year."""

import csv
import gzip
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from headend.series import Series
from kernels.quality import Reason, State
from tests.headend.vee.series import WH
from tests.shared import shared_data

TEN_HOURS = 36_000
Households = dict[str, Series]


def load_households() -> Households | None:
    """Read them, by id; None where the shared data is absent."""
    data = shared_data()
    if data is None or not (data / "sgsc").is_dir():
        return None
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
