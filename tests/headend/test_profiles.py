"""Profiles as files: shipped ones, extra directories, and files that are none."""

from pathlib import Path

import pytest

from drivers.errors import ProfileError
from drivers.profile_parser import is_abstract, parse_profile
from headend.profiles import load_documents, load_profile_file, load_profiles
from headend.toml_file import MAX_BYTES

CHILD = 'inherits = "sim-modbus-rtu"\nmaker = "{maker}"\n'


def test_shipped_profiles_are_loaded_without_the_abstract_ones() -> None:
    profiles = load_profiles()

    assert {"sim-dlms-wrapper", "sim-dlms-hdlc", "sim-modbus-rtu", "sim-concentrator"} <= profiles.keys()
    assert not any(name.endswith("-base") for name in profiles)


def test_extra_directory_adds_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "sim-modbus-rtu.toml").write_text('inherits = "sim-dlms-wrapper"\n')
    (tmp_path / "mine.toml").write_text('inherits = "sim-dlms-hdlc"\nmaker = "MIN"\n')

    profiles = load_profiles([tmp_path])

    assert profiles["mine"].maker == "MIN"
    assert profiles["sim-modbus-rtu"].protocol == "dlms"


def test_faults_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('inherits = "sim-modbus-rtu"\nmakr = "X"\n')
    (tmp_path / "two.toml").write_text("this is not TOML")
    (tmp_path / "three.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "four.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "five.toml").write_bytes(b"\xef\xbb\xbf" + b'inherits = "sim-modbus-rtu"\n')

    with pytest.raises(ProfileError) as caught:
        load_profiles([tmp_path, tmp_path / "nowhere"])

    text = "\n".join(caught.value.faults)
    assert "one: makr: is unknown; did you mean maker?" in text
    assert "two: file: is not TOML" in text
    assert "three: file: is not UTF-8 (byte 0)" in text
    assert f"four: file: is larger than {MAX_BYTES} bytes" in text
    assert "five: file: begins with a byte-order mark" in text
    assert "nowhere: is no directory" in text


def test_file_is_loaded_with_its_parents_beside_it(tmp_path: Path) -> None:
    (tmp_path / "parent.toml").write_text(CHILD.format(maker="PAR"))
    (tmp_path / "child.toml").write_text('inherits = "parent"\nmodel = "C"\n')

    profile = load_profile_file(tmp_path / "child.toml")

    assert (profile.name, profile.maker, profile.model) == ("child", "PAR", "C")


def test_missing_file_is_a_profile_error(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        load_profile_file(tmp_path / "none.toml")


def test_abstract_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("abstract = true\n")

    with pytest.raises(ProfileError, match="check a child of it"):
        load_profile_file(tmp_path / "base.toml")


@pytest.mark.parametrize(
    "name", sorted(name for name, document in load_documents()[0].items() if is_abstract(document))
)
def test_each_shipped_base_has_a_child_that_every_rule_passes(name: str) -> None:
    documents, _ = load_documents()
    kinds = {"idis-base": "dlms", "dsmr-base": "dlms", "vdew-base": "iec62056"}
    protocol = documents[name].get("protocol") or kinds.get(name, "push")
    channel = {"obis": "active_energy_import_interval", "period": 900, "unit": "Wh"}
    children: dict[str, dict[str, object]] = {
        "dlms": {
            "registers": ["active_energy_import"], "channels": [channel | {"origin": "load_profile"}],
            "dlms": {
                "load_profile": "1-0:99.1.0*255", "registers": [{"obis": "active_energy_import"}],
                "columns": [{"logical_name": "1-0:1.29.0*255", "obis": "active_energy_import_interval"}],
            },
        },
        "dlt645": {"maker": "ACM", "registers": ["active_energy_import"]},
        "iec62056": {"registers": ["active_energy_import"]},
        "modbus": {
            "channels": [channel | {"origin": "register"}],
            "modbus": {"points": [{"obis": "active_energy_import", "address": 0, "type": "uint32", "unit": "Wh"}]},
        },
        "push": {"call": {}} if name == "p1-base" else {
            "channels": [channel | {"origin": "push"}],
            "push": {
                "topic": "a/{meter}", "meter": "topic:meter", "rows": "r", "time": "t", "period": 900,
                "channels": [{"obis": "active_energy_import_interval", "path": "v", "unit": "Wh"}],
            },
        },
    }  # fmt: skip

    profile = parse_profile("child", {**documents, "child": {"inherits": name, **children[str(protocol)]}})

    assert profile.source
    assert profile.protocol == protocol


def test_every_shipped_model_names_its_source_and_status() -> None:
    for name, profile in load_profiles().items():
        assert profile.source, name
        # No published frame proves a Modbus model: they are made from maps alone.
        assert profile.status == ("simulator" if name.startswith("sim-") or profile.modbus else "laboratory"), name
