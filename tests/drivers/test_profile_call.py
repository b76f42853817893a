"""Profiles of meters that call."""

from collections.abc import Mapping

import pytest

from drivers.errors import ProfileError
from drivers.obis import Obis
from drivers.profile import CallProfile, MeterProfile
from drivers.profile_parser import parse_profile
from drivers.units import ScalerUnit, Unit

ENERGY = {"logical_name": "1-1:1.8.0*255", "obis": "active_energy_import", "unit": "Wh", "scaler": 1}
CALLER: Mapping[str, object] = {"protocol": "push", "source": "a document", "call": {}}


def parse(**changes: object) -> MeterProfile:
    return parse_profile("caller", {"caller": {**CALLER, **changes}})


def test_meter_that_only_calls_needs_no_payload_map_and_no_channels() -> None:
    profile = parse()

    assert profile.call == CallProfile()
    assert profile.push is None


def test_object_says_what_the_message_does_not() -> None:
    profile = parse(call={"authentication_key": "withheld", "objects": [ENERGY]})

    assert profile.call is not None
    (called,) = profile.call.objects
    assert called.logical_name == Obis.parse("1-1:1.8.0*255")
    assert called.obis == Obis.parse("1-0:1.8.0*255")
    assert called.scaler_unit == ScalerUnit(1, Unit.WATT_HOUR)
    assert profile.call.authentication_key == "withheld"


def test_every_fault_is_named() -> None:
    channel = {"obis": "active_energy_import_interval", "period": 900, "unit": "Wh", "origin": "push"}
    with pytest.raises(ProfileError) as caught:
        parse(
            channels=[channel],
            registers=["active_energy_import"],
            call={
                "authentication_key": "no",
                "objekts": [],
                "objects": [ENERGY, {**ENERGY, "unit": "V"}, {"unit": "Wh"}],
            },
        )

    text = "\n".join(caught.value.faults)
    assert "call.authentication_key: is 'no', not one of required, withheld" in text
    assert "call.objekts: is unknown; did you mean objects?" in text
    assert "call.objects[1].unit: is V, but active_energy_import is counted in Wh" in text
    assert "call.objects[2].logical_name: is missing" in text
    assert "channels[0]: a meter that only calls sends register values" in text
    assert "registers: cannot be asked of a meter that only calls" in text
    assert "call.objects[1]: 1-1:1.8.0*255 is there twice" in text


def test_modbus_meter_does_not_call() -> None:
    with pytest.raises(ProfileError, match="call: has no place in a modbus profile"):
        parse(protocol="modbus", registers=["active_energy_import"])


def test_push_profile_without_call_still_needs_its_payload_map() -> None:
    with pytest.raises(ProfileError, match=r"push\.topic: is missing"):
        parse_profile("caller", {"caller": {"protocol": "push", "source": "a document", "registers": []}})
