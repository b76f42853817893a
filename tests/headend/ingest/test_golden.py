"""Golden frames of every shipped meter that calls: through the door, by its own profile, to stored values with name, unit and instant."""

import asyncio
import datetime as dt
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from drivers.obis import by_obis
from headend.ingest.desk import CallSummary, Desk
from headend.ingest.dial_in import DialIn
from headend.profiles import load_profiles
from headend.registry import table
from headend.secrets import Secrets
from headend.settings import PushSettings
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.drivers.dlms.pushes import load
from tests.headend.ingest.test_dial_in import NOW, At

DATA = Path(__file__).resolve().parents[2] / "data"
CASES = sorted(
    (*DATA.glob("dlms-push/*/facts.toml"), *DATA.glob("p1/*/facts.toml"), *DATA.glob("household/*/facts.toml"))
)
PROFILES = load_profiles()
WITHOUT_MODEL = {
    "dlms-push-010-raw-egd-example": "no public document says what its counts are worth",
    "dlms-push-011-raw-energomera": "it pushes alarms and no quantity",
    "dlms-push-034-udp-push-wrapper": "its list is an octet-string of a maker nobody names",
}
DSMR_NAMES = {
    "ELECTRICITY_USED_TARIFF_1": "active_energy_import_tariff_1", "ELECTRICITY_USED_TARIFF_2": "active_energy_import_tariff_2",
    "ELECTRICITY_DELIVERED_TARIFF_1": "active_energy_export_tariff_1",
    "ELECTRICITY_DELIVERED_TARIFF_2": "active_energy_export_tariff_2",
    "CURRENT_ELECTRICITY_USAGE": "active_power_import", "CURRENT_ELECTRICITY_DELIVERY": "active_power_export",
    "INSTANTANEOUS_VOLTAGE_L1": "voltage_l1", "INSTANTANEOUS_VOLTAGE_L2": "voltage_l2", "INSTANTANEOUS_VOLTAGE_L3": "voltage_l3",
    "INSTANTANEOUS_CURRENT_L1": "current_l1", "INSTANTANEOUS_CURRENT_L2": "current_l2", "INSTANTANEOUS_CURRENT_L3": "current_l3",
    "1-0:1.8.0": "active_energy_import", "1-0:32.7.0": "voltage_l1", "HOURLY_GAS_METER_READING": "0-1:24.2.1*255",
}  # fmt: skip


def golden(folder: Path) -> tuple[bytes, dict[str, str], dict[str, Any]]:
    """The octets as the meter sends them, its keys, and what it must become; of the frame published damaged, what is in it."""
    facts = tomllib.loads((folder / "facts.toml").read_text())
    if folder.parent.name != "dlms-push":
        return bytes.fromhex((folder / "frame.hex").read_text()), {}, facts
    case = load(folder.name.split("-")[2])
    return case.frame if case.error is None else b"\xe6\xe7\x00" + case.apdu, case.expected.get("keys", {}), facts


def meter_row(facts: dict[str, Any], frame: bytes, keys: dict[str, str]) -> tuple[str, str]:
    """A meter's name, and its row in the meter table."""
    maker = PROFILES[facts["profile"]].maker or "ANY"
    name = facts.get("meter_name") or f"{maker}:{facts['meter_id'] or 1}"
    at = frame.find(b"\xdb\x08")
    title = f"system_title={frame[at + 2 : at + 10].hex()}" if at >= 0 else ""
    caller = "" if facts["meter_id"] or title else "caller=127.0.0.1"
    references = ["env:EK", "env:AK" if "authentication_key" in keys else ""] if keys else ["", ""]
    return name, ",".join(["UP1", name, facts["profile"], "2010-01-01", "UTC", *references, title or caller])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
async def test_golden_frame_of_a_meter_becomes_its_published_values(path: Path, tmp_path: Path) -> None:
    frame, keys, facts = golden(path.parent)
    name, row = meter_row(facts, frame, keys)
    parsed = table.parse(
        f"usage_point,meter,profile,from,zone,encryption_key,authentication_key,options\n{row}\n", PROFILES
    )
    assert not parsed.faults
    secrets = Secrets({"EK": keys.get("encryption_key", ""), "AK": keys.get("authentication_key", "")})
    summary = CallSummary()
    with Store.open(tmp_path / "headend.db", lambda: NOW) as store:
        table.apply(store, parsed.rows)
        writer = GroupCommitWriter(store)
        ports, stop = asyncio.Queue[int](), asyncio.Event()
        desk = Desk(writer.submit, PROFILES, secrets, At(), summary)
        door = DialIn(PushSettings(listen=("tcp://127.0.0.1:0",)), desk, ports.put_nowait)
        running = asyncio.ensure_future(door.run(stop))
        reader, caller = await asyncio.open_connection("127.0.0.1", await ports.get())
        caller.write(frame)
        caller.write_eof()
        await reader.read()
        caller.close()
        stop.set()
        await running
        await writer.close()

    with StoreReader.open(tmp_path / "headend.db") as store:
        assert not [entry.reason for entry in store.set_asides()]
        device = store.end_device(name).id
        values = [one for code in store.register_codes(device) for one in store.registers(device, code, 0, 2 * NOW)]

    stamp = facts.get("captured_at")
    expected = int(stamp.timestamp()) if isinstance(stamp, dt.datetime) else NOW
    found = {}
    for value in values:
        entry = by_obis(value.obis)
        name = entry.name if entry else str(value.obis)
        own = facts.get("times", {}).get(name)
        assert value.captured_at == (int(own.timestamp()) if own else expected), name
        found[name] = f"{value.value:f} {value.scaler_unit.unit.symbol}"
    assert found == facts["facts"]


@pytest.mark.parametrize("path", [path for path in CASES if path.parts[-3] == "p1"], ids=lambda path: path.parent.name)
def test_values_of_a_telegram_are_those_an_independent_reader_publishes(path: Path) -> None:
    facts, published = (tomllib.loads((path.parent / name).read_text()) for name in ("facts.toml", "expected.toml"))
    checked = 0

    for key, text in published["expect"].items():
        if key == "P1_MESSAGE_TIMESTAMP":
            assert facts["captured_at"] == dt.datetime.fromisoformat(text)
        elif key in DSMR_NAMES:
            number, unit = text.split()
            scale = 1_000 if unit.startswith("k") else 1
            ours, symbol = facts["facts"][DSMR_NAMES[key]].split()
            assert (Decimal(ours), symbol) == (Decimal(number) * scale, unit.removeprefix("k"))
            checked += 1

    assert checked >= 2


def test_every_model_that_calls_has_a_golden_frame_and_every_published_push_a_model() -> None:
    used = {tomllib.loads(path.read_text())["profile"] for path in CASES}
    shipped = {name for name, profile in PROFILES.items() if profile.call is not None}

    assert used == shipped - {"dlms-caller"}
    page = (DATA.parents[1] / "docs" / "meters.md").read_text().partition("\n## Read by us")[0]
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == used
    folders = {path.name for path in DATA.glob("dlms-push/*")}
    assert folders - {path.parent.name for path in CASES} == set(WITHOUT_MODEL)
