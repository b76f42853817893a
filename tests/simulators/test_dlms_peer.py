"""The simulated meter read by gurux-dlms in its own process: our codecs on one side only."""

import asyncio
import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from simulators.clock import WorldClock
from simulators.dlms.gateway import DlmsGateway
from simulators.tcp import serving
from tests.simulators.homes import HALF_HOUR, MONDAY, FakeMonotonic
from tests.simulators.test_dlms import ADDRESSES, AUTHENTICATIONS, FRAMINGS, KEYS, NOW, SETTINGS, gateway, named

READER = Path(__file__).parents[1] / "peers" / "gurux_reader.py"
pytestmark = pytest.mark.skipif(find_spec("gurux_dlms") is None, reason="needs pip install -e '.[peers]'")
ROWS = [(1, 100), (2, 0), (3, 360), (5, 7), (6, 900)]


async def read(served: DlmsGateway, framing: str, authentication: str, *more: str) -> dict[str, Any]:
    talk = served.wrapper_conversation if framing == "wrapper" else served.hdlc_conversation
    secrets = {
        "none": (),
        "lls": ("--password", "12345678"),
        "hls5": ("--encryption-key", KEYS.encryption.hex(), "--authentication-key", KEYS.authentication.hex()),
    }
    async with serving(WorldClock(NOW, 1000.0, FakeMonotonic()), talk) as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(READER), "--port", str(port), "--framing", framing, "--server", ADDRESSES[framing][0],
            "--authentication", authentication, *secrets[authentication], *more,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    told: dict[str, Any] = json.loads(output)
    return told


@FRAMINGS
@AUTHENTICATIONS
async def test_gurux_reads_the_simulated_meter(framing: str, authentication: str) -> None:
    told = await read(
        gateway(framing, SETTINGS[authentication], named(17, register_start=5000)), framing, authentication
    )

    assert told == {
        "name": "SIM0000000000017",
        "clock": NOW,
        "register": 6367,
        "unit": 30,
        "rows": [[MONDAY + slot * HALF_HOUR, wh] for slot, wh in ROWS],
    }


@FRAMINGS
async def test_gurux_reads_a_range_of_the_load_profile(framing: str) -> None:
    first, last = MONDAY + 2 * HALF_HOUR, MONDAY + 5 * HALF_HOUR

    told = await read(
        gateway(framing, SETTINGS["none"], named(17)), framing, "none", "--from", str(first), "--to", str(last)
    )

    assert [wh for _, wh in told["rows"]] == [0, 360, 7]


@FRAMINGS
@pytest.mark.parametrize(("entries", "expected"), [("2,4", [0, 360, 7]), ("1,5", [100, 0, 360, 7, 900])])
async def test_gurux_reads_rows_by_entry_in_blocks(framing: str, entries: str, expected: list[int]) -> None:
    settings = replace(SETTINGS["hls5"], max_pdu=128)

    told = await read(gateway(framing, settings, named(17)), framing, "hls5", "--entries", entries)

    assert [wh for _, wh in told["rows"]] == expected


@FRAMINGS
@AUTHENTICATIONS
async def test_gurux_sets_the_clock_and_switches_the_supply(framing: str, authentication: str) -> None:
    wanted = NOW + 3600

    told = await read(gateway(framing, SETTINGS[authentication], named(17)), framing, authentication, "--changes", str(wanted))  # fmt: skip

    assert told == {"clock": wanted, "outputs": [False, True]}


@FRAMINGS
@AUTHENTICATIONS
@pytest.mark.parametrize("max_pdu", [0xFFFF, 128])
async def test_gurux_reads_the_object_list_and_several_registers_at_once(
    framing: str, authentication: str, max_pdu: int
) -> None:
    settings = replace(SETTINGS[authentication], max_pdu=max_pdu)

    told = await read(gateway(framing, settings, named(17, register_start=5000)), framing, authentication, "--objects")

    assert [(item["class"], item["name"]) for item in told["objects"]] == [
        (15, "0.0.40.0.0.255"), (1, "0.0.42.0.0.255"), (1, "0.0.96.1.0.255"), (1, "1.0.0.2.0.255"), (1, "0.0.43.1.0.255"),
        (8, "0.0.1.0.0.255"), (3, "1.0.1.8.0.255"), (3, "1.0.1.29.0.255"), (3, "1.0.32.7.0.255"), (3, "1.0.31.7.0.255"),
        (7, "1.0.99.1.0.255"), (17, "0.0.41.0.0.255"), (11, "0.0.11.0.0.255"), (18, "0.0.44.0.0.255"),
        (64, "0.0.43.0.0.255"), (70, "0.0.96.3.10.255"), (9, "0.0.10.0.106.255"), (9, "0.0.10.0.107.255"),
    ]  # fmt: skip
    assert [item["access"] for item in told["objects"] if item["class"] == 3] == [[1, 1, 1]] * 4
    assert told["registers"][0] == ["1.0.1.8.0.255", 6367, 30]
    assert [name for name, _, _ in told["registers"]] == [
        "1.0.1.8.0.255", "1.0.1.29.0.255", "1.0.32.7.0.255", "1.0.31.7.0.255",
    ]  # fmt: skip
    assert told["several"][0] == 6367
    assert len(told["several"]) == 3


# Not HLS-5: 1.0.203 cannot cipher READ (it asserts that nothing comes of it), and invokes reply_to_HLS by WRITE, which returns nothing.
@FRAMINGS
@pytest.mark.parametrize("authentication", ["none", "lls"])
@pytest.mark.parametrize("max_pdu", [0xFFFF, 128])
async def test_gurux_reads_and_changes_the_simulated_meter_by_short_names(
    framing: str, authentication: str, max_pdu: int
) -> None:
    settings = replace(SETTINGS[authentication], referencing="short-name", max_pdu=max_pdu)
    served = gateway(framing, settings, named(17, register_start=5000))
    short = ("--referencing", "short-name")
    first, last = MONDAY + 2 * HALF_HOUR, MONDAY + 5 * HALF_HOUR

    told = await read(served, framing, authentication, *short)
    some = await read(served, framing, authentication, *short, "--from", str(first), "--to", str(last))
    changed = await read(served, framing, authentication, *short, "--changes", str(NOW + 60))

    assert told["register"] == 6367
    assert told["rows"] == [[MONDAY + slot * HALF_HOUR, wh] for slot, wh in ROWS]
    assert [wh for _, wh in some["rows"]] == [0, 360, 7]
    assert changed == {"clock": NOW + 60, "outputs": [False, True]}
