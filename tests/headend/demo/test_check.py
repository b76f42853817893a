"""What was stored against the world's truth, and how a value that its meter doubts comes out everywhere."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from drivers.facts import IntervalBlock
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.demo.check import compare
from headend.export.write import export
from headend.profiles import load_profiles
from headend.registry import table
from headend.report import Recent, coverage_by_link, day_slots
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.vee.rules import load_rules
from headend.vee.service import run
from kernels.quality import Rule, State

DAY = 86_400
START = 19_783 * DAY  # 2024-03-01
NOW = START + DAY
ENERGY = Obis.parse("1-0:1.29.0*255")
COUNTS = tuple(range(100, 148))
DOUBTED = 40
METERS = """usage_point,meter,profile,link,address,from,to,zone
UP1,SIM1,sim-dlms-wrapper,tcp://h:4059,1,2024-03-01,,UTC
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    parsed = table.parse(METERS, load_profiles())
    rules = tuple(Rule.METER_STATUS if slot == DOUBTED else Rule(0) for slot in range(len(COUNTS)))
    block = IntervalBlock(ENERGY, ScalerUnit(0, Unit.WATT_HOUR), START, 1800, COUNTS, rules)
    with Store.open(tmp_path / "store.db", lambda: NOW) as opened:
        table.apply(opened, parsed.rows)
        with opened.transaction():
            opened.record(opened.end_device("SIM1").id, [block], NOW)
        run(opened, opened.usage_point("UP1"), ENERGY, START // DAY, START // DAY + 1, load_rules("residential"), NOW)
        yield opened


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("wrong", [0, 1])
def test_a_questionable_value_is_compared_with_its_source_too(tmp_path: Path, wrong: int) -> None:
    truth = {"SIM1": {"start": START, "period": 1800, "wh": [*COUNTS[:DOUBTED], 140 + wrong, *COUNTS[DOUBTED + 1 :]]}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))

    with StoreReader.open(tmp_path / "store.db") as reader:
        (found,) = compare(reader, tmp_path / "truth.json", NOW)

    assert (found.measured_wh, found.unequal, found.unread) == (sum(COUNTS), wrong, 0)
    assert found.is_equal == (not wrong)


@pytest.mark.usefixtures("store")
def test_a_value_its_meter_doubts_is_questionable_in_status_curve_and_export(tmp_path: Path) -> None:
    with StoreReader.open(tmp_path / "store.db") as reader:
        (link,) = coverage_by_link(reader, Recent(NOW, 2), NOW)
        slots, _ = day_slots(reader, "UP1", ENERGY, datetime.fromtimestamp(START, UTC).date(), NOW)
        result = export(reader, "csv", None, None, START, NOW, tmp_path / "out", NOW)

    assert (link.coverage.measured, link.coverage.questionable) == (47, 1)
    assert (slots[DOUBTED].state, slots[DOUBTED].value) == (State.QUESTIONABLE, Decimal(140))
    with result.files[0].open(newline="") as file:
        row = list(csv.DictReader(file))[DOUBTED]
    assert [row[column] for column in ("value", "quality", "rules")] == ["0.140", "questionable", "meter_status"]
