"""A concentrator's payload map and messages for it."""

import json
from datetime import UTC, datetime
from typing import Any

from drivers.obis import Obis
from drivers.profile import ClockProfile, MeterProfile, PushChannel, PushProfile
from drivers.units import ScalerUnit, Unit

IMPORT = Obis(1, 0, 1, 29, 0)
EXPORT = Obis(1, 0, 2, 29, 0)
WH = ScalerUnit(0, Unit.WATT_HOUR)
TOPIC = "ami/c7/SIM:1001/intervals"
MIDNIGHT = 1_704_067_200  # 2024-01-01T00:00:00Z
HALF_HOUR = 1800


def profile(zone: str = "UTC", **changes: Any) -> MeterProfile:
    push: dict[str, Any] = {
        "topic": "ami/{concentrator}/{meter}/intervals",
        "meter": "meter",
        "rows": "rows",
        "time": "t",
        "period": HALF_HOUR,
        "channels": (PushChannel(IMPORT, "kwh", WH, 3),),
    }
    return MeterProfile("test", "push", "nowhere", clock=ClockProfile(zone=zone), push=PushProfile(**push | changes))


def iso(slot: int) -> str:
    return datetime.fromtimestamp(MIDNIGHT + slot * HALF_HOUR, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def message(*rows: Any, **fields: Any) -> bytes:
    return json.dumps({"meter": "SIM:1001", "rows": list(rows)} | fields).encode()


def row(slot: int, kwh: Any = 0.125) -> dict[str, Any]:
    return {"t": iso(slot), "kwh": kwh}
