"""A store filled without any meter, and a way to run the command line in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.facts import IntervalBlock, RegisterValue
from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.cli import main
from headend.clock import SystemClock
from headend.places import store_file
from headend.profiles import load_profiles
from headend.registry import table
from headend.store.store import Store
from kernels.quality import Reason

NOON = 1_732_104_000  # 2024-11-20T12:00:00Z
MIDNIGHT = NOON - 12 * 3_600
ENERGY = Obis.parse("1-0:1.29.0*255")
REGISTER = Obis.parse("1-0:1.8.0*255")
WATT_HOUR = ScalerUnit(0, Unit.WATT_HOUR)
METERS = """usage_point,meter,profile,link,address,from,to,zone,area
UP1,SIM0000001,sim-dlms-wrapper,tcp://127.0.0.1:4059,1,2024-11-19,,UTC,north
UP2,SIM:17,sim-modbus-rtu,serial:///dev/ttyS9?baud=9600,17,2024-11-19,,UTC,south
"""


@dataclass(frozen=True)
class Ran:
    """What a run of the command line left."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Directory of a store that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line at noon of a fixed day, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SystemClock, "now", lambda _: NOON)
    for name in ("NO_COLOR", "XDG_DATA_HOME", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ran:
        code = main.run(["--data", str(data), *arguments])
        captured = capsys.readouterr()
        return Ran(int(code), captured.out, captured.err)

    return run


@pytest.fixture
def filled(data: Path) -> Path:
    """A store of two meters: today one has 20 half-hours, a gap of 2 without row, and 2 not tried; the other answers nothing."""
    data.mkdir()
    parsed = table.parse(METERS, load_profiles())
    assert not parsed.faults
    counts = (*range(100, 110), None, None, *range(112, 122))
    with Store.open(store_file(data), lambda: NOON) as store:
        table.apply(store, parsed.rows)
        one, other = store.end_device("SIM0000001"), store.end_device("SIM:17")
        with store.transaction():
            store.record(one.id, [IntervalBlock(ENERGY, WATT_HOUR, MIDNIGHT, 1800, counts)], NOON)
            store.record(one.id, [RegisterValue(REGISTER, 123_456, WATT_HOUR, NOON - 60)], NOON)
            store.mark_missing(one.id, ENERGY, MIDNIGHT + 10 * 1800, MIDNIGHT + 12 * 1800, Reason.NO_ROW, None)
            store.mark_missing(other.id, ENERGY, MIDNIGHT, NOON, Reason.NO_ANSWER, None)
            store.record_job(one.id, "load_profile", NOON - 70, NOON - 60, window=(MIDNIGHT, NOON))
    return data
