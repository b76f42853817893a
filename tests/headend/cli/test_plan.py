"""``headend plan``, before anything is deployed and on what is registered."""

import json
from pathlib import Path

import pytest

from drivers.cost import Medium
from headend.cli.plan import medium_of
from headend.collect.latency import MODEL, Latency
from headend.collect.latency_entry import encode_latencies
from headend.places import store_file
from headend.store.store import Store
from tests.headend.cli.conftest import METERS, Run

HEADING = "usage_point,meter,profile,link,address,from,to,zone\n"
MANY = """inherits = "sim-modbus-rtu"
model = "sixteen registers that are far from each other"
registers = []

[timing]
latency = 1.013

[modbus]
points = [
  {points}
]

{channels}
"""
CHANNEL = """[[channels]]
obis = "1-0:{number}.29.0*255"
period = 900
unit = "Wh"
scaler = 0
origin = "register"
upper = 34500
boundary_tolerance = 890
"""
POINT = '{{ obis = "1-0:{number}.8.0*255", address = {address}, type = "uint32", unit = "Wh", scaler = 0 }},'


def table_of(number: int, profile: str, link: str) -> str:
    rows = [f"UP{at},SIM:{at},{profile},{link},{at},2027-01-01,,UTC\n" for at in range(1, number + 1)]
    return HEADING + "".join(rows)


@pytest.fixture
def too_big(tmp_path: Path) -> Path:
    """A table of 57 meters on one line, none of them registered, of a model that lies beside it."""
    numbers = range(101, 117)  # of no quantity that has a unit of its own
    points = "\n  ".join(POINT.format(number=number, address=200 * number) for number in numbers)
    channels = "\n".join(CHANNEL.format(number=number) for number in numbers)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "many.toml").write_text(MANY.format(points=points, channels=channels))
    path = tmp_path / "meters.csv"
    path.write_text(table_of(57, "many", "serial:///dev/ttyS1?baud=9600&parity=E"))
    return path


def test_a_table_of_meters_that_is_not_imported_yet_is_told_that_it_is_too_big(
    run: Run, too_big: Path, data: Path
) -> None:
    ran = run("--profiles", str(too_big.parent / "models"), "plan", "--meters", str(too_big))

    assert ran.code == 8
    assert "does not fit" in ran.out
    assert (
        "this plan needs 112 % of a 9600 baud line; drop to 30 min and tolerate 1007 s after a boundary (56 %),"
        " or split the bus into 2 (57 % each)"
    ) in ran.err
    assert not data.exists()


def test_a_what_if_shows_what_would_be(run: Run, too_big: Path) -> None:
    ran = run(
        "--profiles", str(too_big.parent / "models"), "plan", "--meters", str(too_big), "-o", "json",
        "--period", "1h", "--latency", "0.1", "--baud", "19200",
    )  # fmt: skip

    (row,) = json.loads(ran.out)["rows"]
    assert ran.code == 0
    assert (row["baud"], row["verdict"], row["meters"]) == (19200, "fits", 57)
    assert float(row["load_percent"]) < 5


def test_the_registered_meters_are_planned_for_by_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "meters.csv").write_text(METERS)
    run("meter", "import", "meters.csv")

    ran = run("plan", "-o", "json", "--night", "22:00-06:00", "--backfill", "7")

    document = json.loads(ran.out)
    modbus, dlms = document["rows"]
    assert ran.code == 0
    assert document["schema"] == "headend.plan/1"
    assert (modbus["link"], modbus["baud"]) == ("serial:///dev/ttyS9?baud=9600", 9600)
    assert (dlms["baud"], dlms["backfill_text"]) == (None, "7 days for 1 meter: 1 night")
    assert "no speed is known" in ran.err
    assert [json.loads(line)["link"] for line in run("plan", "--link", "ttyS9", "-o", "ndjson").out.splitlines()] == [
        modbus["link"]
    ]


def test_what_a_model_was_timed_at_on_its_link_goes_before_what_it_declares(
    run: Run, tmp_path: Path, data: Path
) -> None:
    (tmp_path / "meters.csv").write_text(METERS)
    run("meter", "import", "meters.csv")
    declared = json.loads(run("plan", "-o", "json", "--link", "ttyS9").out)
    timed = Latency()
    for _ in range(30):
        timed.heard(0.02)

    with Store.open(store_file(data), lambda: 0) as store, store.transaction():
        entry = encode_latencies({MODEL + "sim-modbus-rtu": timed})
        assert entry is not None
        store.keep_latencies("serial:///dev/ttyS9?baud=9600", entry)
    ran = run("plan", "-o", "json", "--link", "ttyS9")

    before, after = (document["rows"][0]["last_poll_s"] for document in (declared, json.loads(ran.out)))
    assert float(before) == pytest.approx(2 + 2 * 1.03, abs=0.1)  # two answers, a second each
    assert float(after) == pytest.approx(2 + 2 * 0.05, abs=0.1)
    assert "--latency" not in ran.err


def test_meters_that_speak_first_are_said_to(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "pushed.csv"
    path.write_text(HEADING + "UP1,SIM0000001,sim-concentrator,mqtt://192.0.2.9:1883,,2027-01-01,,UTC\n")

    ran = run("plan", "--meters", str(path), "-o", "csv")

    assert ran.code == 0
    assert "speaks first" in ran.out
    assert "not counted, as they speak first: 1 meter" in ran.err


def test_what_cannot_be_computed_is_named_and_is_no_success(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "names.toml").write_text(
        'inherits = "sim-dlms-wrapper"\nmodel = "short names"\n[dlms]\nreferencing = "short-name"\n'
    )
    path = tmp_path / "meters.csv"
    path.write_text(HEADING + "UP1,SIM0000001,names,tcp://192.0.2.1:4059,1,2027-01-01,,UTC\n")

    ran = run("--profiles", str(tmp_path / "models"), "plan", "--meters", str(path))

    assert ran.code == 3
    assert "not computed for 1 meter: DLMS with short names" in ran.err


def test_a_faulty_table_is_told_its_faults(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "meters.csv"
    path.write_text(HEADING + "UP1,SIM:1,no-such,tcp://192.0.2.1:4059,1,2027-01-01,,UTC\n")

    ran = run("plan", "--meters", str(path))

    assert ran.code == 5
    assert "no-such" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [("--night", "22-06"), ("--period", "7min"), ("--period", "half"), ("--baud", "9"), ("--link", "nowhere")],
)
def test_what_is_no_what_if_is_refused(run: Run, tmp_path: Path, arguments: tuple[str, str]) -> None:
    path = tmp_path / "meters.csv"
    path.write_text(table_of(1, "sim-modbus-rtu", "serial:///dev/ttyS1"))

    ran = run("plan", "--meters", str(path), *arguments)

    assert ran.code == 2
    assert arguments[1] in ran.err


@pytest.mark.parametrize(
    ("url", "medium"),
    [
        ("serial:///dev/ttyS1?baud=2400&parity=E", Medium(2400, 11, has_parity=True)),
        ("serial:///dev/ttyS1", Medium(9600, 10)),
        ("rfc2217://192.0.2.1:2217?baud=1200&parity=E", Medium(1200, 11)),
        ("tcp://192.0.2.1:4001?baud=4800&parity=E", Medium(4800, 11)),
        ("tcp://192.0.2.1:4059", Medium()),
        ("udp://192.0.2.1:4059", Medium()),
        ("mqtt://192.0.2.1", Medium()),
        ("call:", Medium()),
    ],
)
def test_a_link_is_as_fast_as_its_url_says(url: str, medium: Medium) -> None:
    assert medium_of(url) == medium
