"""A meter that none of us wrote is read completely by what its object list says, and by a profile drafted from that."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.dlms.discovery import Description
from drivers.dlms.draft import draft
from drivers.profile import MeterProfile
from drivers.profile_parser import parse_profile
from drivers.units import ScalerUnit, Unit
from headend.profiles import load_documents
from tests.peers.meters import gurux_meter
from tests.peers.test_gurux_meter import (
    AUTHENTICATIONS,
    DENIED,
    FRAMINGS,
    INTERVALS,
    NOW,
    PERIOD,
    REGISTER,
    endpoint,
    session,
)

pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")

SMALL = {"max_pdu": 128}
BASE = """
inherits = "dlms-base"
abstract = true

[dlms]
meter_counters = "restarting" # with every connection to the peer
"""


@pytest.fixture(
    scope="module", params=[(framing, kind) for framing in FRAMINGS for kind in AUTHENTICATIONS], ids="-".join
)
def meter(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    framing, authentication = request.param
    with gurux_meter("--framing", framing, "--authentication", authentication) as known:
        yield known


async def described(meter: dict[str, Any], **changes: Any) -> tuple[Description, MeterProfile]:
    async with session(meter["port"], endpoint(meter, **changes)) as opened:
        description = await opened.describe()
        text = draft(description, endpoint(meter, **changes).profile, NOW)
    documents, _ = load_documents()
    return description, parse_profile("drafted", {**documents, "drafted": tomllib.loads(text)})


@pytest.mark.parametrize("changes", [{}, SMALL], ids=["whole", "in blocks"])
async def test_an_independent_meter_describes_itself(meter: dict[str, Any], changes: dict[str, Any]) -> None:
    description, profile = await described(meter, **changes)

    assert (description.name, description.firmware) == (meter["name"], meter["firmware"])
    assert [entry.class_id for entry in description.entries] == [1, 1, 8, 3, 3, 3, 3, 7, 70, 15]
    values = {str(one.logical_name): one.value for one in description.registers}
    assert values == {
        "1-0:1.8.0*255": Decimal(meter["register"] * 10),
        "1-0:2.8.0*255": None,
        "1-0:32.7.0*255": Decimal("230.4"),
        "1-0:1.29.0*255": Decimal(meter["values"][-1] * 10),
    }
    (view,) = description.profiles
    assert (view.period, view.entries, view.capacity, len(view.columns)) == (PERIOD, 48, 48, 3)
    assert [note for note in description.notes if str(DENIED) not in note] == []
    (channel,) = profile.channels
    assert (channel.obis, channel.period) == (INTERVALS, PERIOD)
    assert channel.scaler_unit == ScalerUnit(1, Unit.WATT_HOUR)
    assert profile.dlms is not None
    assert profile.dlms.framing == meter["framing"]
    assert [(column.obis, column.cumulative) for column in profile.dlms.columns] == [
        (INTERVALS, False),
        (REGISTER, True),
    ]


async def test_every_register_that_the_list_names_is_read(meter: dict[str, Any]) -> None:
    description, _ = await described(meter)
    readable = [one for one in description.registers if one.value is not None]

    async with session(meter["port"], endpoint(meter, **SMALL)) as opened:
        values = await opened.read_registers([one.logical_name for one in readable])

    assert [value.value for value in values] == [one.value for one in readable]
    assert len(values) == 3


def headend(directory: Path, *arguments: str) -> str:
    """Run a command as a user would; give its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "headend.cli", "--profiles", ".", "--data", "data", *arguments],
        cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("framing", "authentication"), [("wrapper", "none"), ("hdlc", "lls"), ("wrapper", "hls5"), ("hdlc", "hls5")]
)
def test_a_drafted_profile_reads_the_meter_end_to_end(framing: str, authentication: str, tmp_path: Path) -> None:
    with gurux_meter("--framing", framing, "--authentication", authentication) as meter:
        secrets: dict[str, str] = {}
        if authentication == "lls":
            secrets["password"] = meter["password"]
        if authentication == "hls5":
            secrets |= {key: meter[key] for key in ("encryption_key", "authentication_key")}
        for name, secret in secrets.items():
            (tmp_path / name).write_text(secret)
        flags = [part for name in secrets for part in (f"--{name.replace('_', '-')}", f"file:{name}")]
        link = f"tcp://127.0.0.1:{meter['port']}"
        (tmp_path / "base.toml").write_text(BASE)
        (tmp_path / "settings").mkdir()
        (tmp_path / "settings" / "headend.toml").write_text("[collect]\nbackfill_days = 1000\n")

        told = headend(
            tmp_path, "identify", link, "--profile", "base", "--framing", framing, "--options", f"authentication={authentication}", *flags,
            "--draft", "drafted.toml", "-o", "json",
        )  # fmt: skip
        headend(tmp_path, "profile", "check", "drafted.toml")
        columns = "".join(f",{name}" for name in secrets)
        references = "".join(f",file:{name}" for name in secrets)
        (tmp_path / "meters.csv").write_text(
            f"usage_point,meter,profile,link,address,from,to,zone{columns}\n"
            f"UP1,{meter['name']},drafted,{link},1,{meter['first_day']},2026-01-02,UTC{references}\n"
        )
        headend(tmp_path, "meter", "import", "meters.csv")
        summary = json.loads(headend(tmp_path, "--config", "settings/headend.toml", "run", "--once", "-o", "json"))
        curve = json.loads(headend(tmp_path, "curve", "UP1", "--day", "2026-01-01", "-o", "json"))
        again = json.loads(headend(tmp_path, "identify", meter["name"], "-o", "json"))

    assert json.loads(told)["meter"] == again["meter"] == meter["name"]
    assert summary["rows"][0]["new"] >= len(meter["values"])
    assert [Decimal(row["value"]) for row in curve["rows"]] == [Decimal(value * 10) for value in meter["values"]]
    assert re.search(r"^## upper =$", (tmp_path / "drafted.toml").read_text(), re.MULTILINE)
