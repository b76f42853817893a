"""Profiles: each shipped one loads, each broken one says exactly what is wrong with it."""

import tomllib
from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.obis import Obis
from drivers.profile import MeterProfile
from drivers.profile_parser import MAX_ANCESTORS, is_abstract, parse_profile
from drivers.units import ScalerUnit, Unit

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "config/profiles").glob("*.toml"))
BROKEN = sorted((ROOT / "tests/data/profiles/broken").glob("*.toml"))
ENERGY = Obis.parse("1-0:1.29.0*255")
WATT_HOUR = ScalerUnit(0, Unit.WATT_HOUR)


def documents(*paths: Path) -> dict[str, dict[str, object]]:
    return {path.stem: tomllib.loads(path.read_text()) for path in paths}


def shipped(name: str) -> MeterProfile:
    return parse_profile(name, documents(*SHIPPED))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid_or_is_so_once_inherited(path: Path) -> None:
    all_documents = documents(*SHIPPED)
    if is_abstract(all_documents[path.stem]):
        if not any(other.get("inherits") == path.stem for other in all_documents.values()):
            register = "active_energy_import"
            all_documents["acme"] = {
                "inherits": path.stem, "registers": [register], "dlms": {"registers": [{"obis": register}]},
            }  # fmt: skip
            assert parse_profile("acme", all_documents).registers
        return

    profile = parse_profile(path.stem, all_documents)

    assert profile.name == path.stem
    assert profile.source
    assert profile.channels or profile.registers or profile.call


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_profile_is_refused_with_the_expected_faults(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("# expect: ")]
    expected = sorted(line.removeprefix("# expect: ") for line in head)

    with pytest.raises(ProfileError) as caught:
        parse_profile(path.stem, documents(*SHIPPED, *BROKEN))

    assert sorted(caught.value.faults) == expected


def test_simulated_dlms_meter_is_as_the_simulator_is() -> None:
    profile = shipped("sim-dlms-wrapper")

    assert profile.dlms is not None
    assert (profile.dlms.framing, profile.dlms.client, profile.dlms.server) == ("wrapper", 16, 1)
    assert profile.dlms.identity == Obis.parse("0-0:42.0.0*255")
    assert profile.dlms.load_profile == Obis.parse("1-0:99.1.0*255")
    assert [(column.logical_name, column.obis, column.cumulative) for column in profile.dlms.columns] == [
        (ENERGY, ENERGY, False)
    ]
    assert profile.clock.stamp == "end"
    (channel,) = profile.channels
    assert (channel.obis, channel.period, channel.scaler_unit, channel.origin) == (
        ENERGY, 1800, WATT_HOUR, "load_profile",
    )  # fmt: skip


def test_child_overrides_single_keys_and_keeps_the_rest() -> None:
    wrapper, hdlc = shipped("sim-dlms-wrapper"), shipped("sim-dlms-hdlc")

    assert wrapper.dlms is not None
    assert hdlc.dlms is not None
    assert hdlc.dlms.framing == "hdlc"
    assert hdlc.dlms.columns == wrapper.dlms.columns
    assert hdlc.timing == wrapper.timing


def test_simulated_modbus_meter_is_as_the_simulator_is() -> None:
    profile = shipped("sim-modbus-rtu")

    assert profile.maker == "SIM"
    assert profile.modbus is not None
    assert profile.modbus.identity is not None
    assert (profile.modbus.identity.address, profile.modbus.identity.type, profile.modbus.identity.count) == (
        0, "uint32", 2,
    )  # fmt: skip
    (point,) = profile.modbus.points
    assert (point.address, point.type, point.word_order, point.scaler_unit, point.table) == (
        10, "uint32", "ABCD", WATT_HOUR, "holding",
    )  # fmt: skip
    (channel,) = profile.channels
    assert (channel.dials, channel.boundary_tolerance, channel.period) == (8, 45, 1800)


def test_simulated_concentrator_is_as_the_simulator_is() -> None:
    push = shipped("sim-concentrator").push

    assert push is not None
    assert push.topic == "ami/{concentrator}/{meter}/intervals"
    assert (push.meter, push.rows, push.time, push.time_format, push.stamp, push.period) == (
        "meter", "rows", "t", "iso", "start", 1800,
    )  # fmt: skip
    (channel,) = push.channels
    assert (channel.path, channel.factor, channel.scaler_unit) == ("kwh", 3, WATT_HOUR)


def test_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile("sim-modbus-rtuu", documents(*SHIPPED))

    assert caught.value.faults == (
        "sim-modbus-rtuu: there is no profile 'sim-modbus-rtuu'; did you mean sim-modbus-rtu?",
    )


def test_inheritance_without_end_is_refused() -> None:
    chain: dict[str, dict[str, object]] = {f"p{i}": {"inherits": f"p{i + 1}"} for i in range(MAX_ANCESTORS + 2)}
    chain[f"p{MAX_ANCESTORS + 2}"] = {}

    with pytest.raises(ProfileError) as caught:
        parse_profile("p0", chain)

    assert caught.value.faults == (f"inherits: goes on for more than {MAX_ANCESTORS} profiles",)


def test_number_of_faults_is_bounded() -> None:
    document: dict[str, object] = {"protocol": "dlms", **{f"key{i}": i for i in range(5_000)}}

    with pytest.raises(ProfileError) as caught:
        parse_profile("big", {"big": document})

    assert len(caught.value.faults) <= 100


def test_fixed_offset_zone_is_taken() -> None:
    all_documents = documents(*SHIPPED)
    all_documents["east"] = {"inherits": "sim-dlms-wrapper", "clock": {"zone": "UTC+10:00"}}

    assert parse_profile("east", all_documents).clock.zone == "UTC+10:00"


def test_parsing_does_not_change_the_documents() -> None:
    all_documents = documents(*SHIPPED)
    before = documents(*SHIPPED)

    parse_profile("sim-dlms-hdlc", all_documents)

    assert all_documents == before


def test_a_profile_says_what_security_is_agreed_and_an_authentication_implies_one() -> None:
    def agreed(**dlms: str) -> str:
        child: dict[str, object] = {"inherits": "sim-dlms-wrapper", "dlms": dlms}
        profile = parse_profile("east", {**documents(*SHIPPED), "east": child})
        assert profile.dlms is not None
        return profile.dlms.agreed_security

    assert [agreed(authentication=kind) for kind in ("none", "lls", "hls5")] == [
        "none",
        "none",
        "authenticated-encrypted",
    ]
    assert agreed(authentication="hls5", security="authenticated") == "authenticated"
    assert agreed(authentication_key="withheld", security="encrypted") == "encrypted"


@pytest.mark.parametrize(
    ("dlms", "why"),
    [
        ({"security": "weak"}, "not one of none, authenticated, encrypted, authenticated-encrypted"),
        ({"authentication": "hls5", "security": "none"}, "dlms.security: none is not possible with hls5"),
        ({"session_key": "dedicated", "security": "authenticated"}, "dlms.security: authenticated would send"),
        ({"session_key": "dedicated"}, "dlms.security: none would send the dedicated key in the clear"),
        ({"authentication_key": "withheld"}, "dlms.security: none cannot be sent"),
        ({"authentication": "hls5", "authentication_key": "withheld"}, "dlms.security: hls5 proves possession"),
    ],
)
def test_security_that_contradicts_itself_is_a_fault(dlms: dict[str, str], why: str) -> None:
    child: dict[str, object] = {"inherits": "sim-dlms-wrapper", "dlms": dlms}

    with pytest.raises(ProfileError, match=why):
        parse_profile("east", {**documents(*SHIPPED), "east": child})
