"""Settings: order of the layers, every problem at once with file and key, and no secret in any message."""

import tomllib
from pathlib import Path

import pytest

from headend.errors import SettingsError
from headend.settings import CollectSettings, Settings, SinkSettings, load_settings

OWN = "Name a variable of your own otherwise"
EXAMPLE = Path(__file__).parents[2] / "config/headend.toml"


def faults(path: Path | None, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environment or {})
    return caught.value.faults


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "headend.toml"


def test_without_any_file_every_setting_is_at_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    loaded = load_settings(None, {})

    assert loaded.settings == Settings()
    assert not loaded.origins
    assert not loaded.files


def test_file_in_the_current_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("headend.toml").write_text("[collect]\nwindow_days = 3\n")

    assert load_settings(None, {}).settings.collect.window_days == 3


def test_layers_override_in_order_and_tell_their_origin(file: Path) -> None:
    file.write_text("[collect]\nwindow_days = 1\nbackfill_days = 1\nno_row_retries = 1\nbreaker_pause = 1\n")
    (file.parent / "conf.d").mkdir()
    (file.parent / "conf.d/10.toml").write_text("[collect]\nbackfill_days = 2\nno_row_retries = 2\nbreaker_pause = 2\n")
    environment = {"HEADEND_COLLECT__NO_ROW_RETRIES": "3", "HEADEND_COLLECT__BREAKER_PAUSE": "3"}

    loaded = load_settings(file, environment, {"collect.breaker_pause": 4})

    collect = loaded.settings.collect
    assert (collect.window_days, collect.backfill_days, collect.no_row_retries, collect.breaker_pause) == (1, 2, 3, 4)
    assert loaded.origins == {
        "collect.window_days": str(file),
        "collect.backfill_days": str(file.parent / "conf.d/10.toml"),
        "collect.no_row_retries": "HEADEND_COLLECT__NO_ROW_RETRIES",
        "collect.breaker_pause": "flag",
    }


def test_every_problem_is_reported_at_once_with_file_and_key(file: Path) -> None:
    file.write_text(
        "top = 1\n[colect]\n[collect]\nregistr_delay = 2\nbackfill_days = '40'\nprofile_schedule = 'often'\n"
        "[mqtt]\nurl = 'broker'\n"
    )

    found = faults(
        file,
        {
            "HEADEND_COLLECT__WINDOW_DAYS": "99",
            "HEADEND_LOGG__LEVEL": "info",
            "HEADEND_COLLECT__SERVICE_HOST": "h",
        },
    )

    assert sorted(fault.partition(" (is ")[0] for fault in found) == sorted([
        f"{file}: top: is unknown; known: collect, dlms, export, log, mqtt, profiles, proxy, push, retention, sinks, store, vee",
        f"{file}: colect: is unknown; did you mean collect?",
        f"{file}: collect.registr_delay: is unknown; did you mean register_delay?",
        f"{file}: collect.backfill_days: Input should be a valid integer",
        f"{file}: collect.profile_schedule: is not a cron expression such as '5 * * * *': Wrong number of fields",
        f"{file}: mqtt.url: must look like mqtt://host:1883 or mqtts://host:8883",
        "HEADEND_COLLECT__WINDOW_DAYS: collect.window_days: Input should be less than or equal to 62",
        "HEADEND_LOGG__LEVEL: logg: is unknown; did you mean log?",
        "HEADEND_COLLECT__SERVICE_HOST: collect.service_host: is unknown; known: " + ", ".join(sorted(CollectSettings.model_fields)),
    ])  # fmt: skip


def test_secret_written_out_is_refused_and_not_repeated(file: Path) -> None:
    file.write_text("[mqtt]\npassword = 'hunter2'\npassword_ref = 'hunter2'\nurl = 'mqtt://me:hunter2@host'\n")

    found = faults(file, {"HEADEND_MQTT__PASSWORD": "hunter2"})

    assert len(found) == 3
    assert "hunter2" not in "".join(found)


def test_missing_file_that_was_named_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path / "no.toml") == (f"{tmp_path / 'no.toml'}: there is no such file",)


def test_file_that_is_not_toml_is_a_fault(file: Path) -> None:
    file.write_text("[collect\n")

    (fault,) = faults(file)

    assert fault.startswith(f"{file}: is not TOML: ")


def test_section_that_is_no_table_is_a_fault(file: Path) -> None:
    file.write_text("collect = 1\n")

    assert faults(file) == (f"{file}: collect: must be a table, written [collect]",)


def test_environment_text_becomes_the_type_its_key_wants() -> None:
    environment = {
        "HEADEND_PROFILES__DIRECTORIES": "/a:/b",
        "HEADEND_STORE__PATH": "17",
        "HEADEND_COLLECT__REGISTER_DELAY": "5",
        "HEADEND_CHECKED_KERNELS": "1",
    }

    settings = load_settings(None, environment).settings

    assert settings.profiles.directories == ("/a", "/b")
    assert settings.store.path == "17"
    assert settings.collect.register_delay == 5


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("HEADEND_COLLECT_BACKFILL_DAYS", "did you mean HEADEND_COLLECT__BACKFILL_DAYS?"),
        ("HEADEND_COLECT_BACKFIL_DAYS", "did you mean HEADEND_COLLECT__BACKFILL_DAYS?"),
        ("HEADEND_STORE_PATH", "did you mean HEADEND_STORE__PATH?"),
        ("HEADEND_SINKS_MY_ONE_TOKEN_REF", "did you mean HEADEND_SINKS__MY_ONE__TOKEN_REF?"),
        (
            "HEADEND_DATA",
            f"a setting is HEADEND_SECTION__KEY, with two underscores between. {OWN}",
        ),
    ],
)
def test_variable_that_is_no_setting_is_named_with_the_nearest(name: str, told: str) -> None:
    assert faults(None, {name: "3"}) == (f"{name}: is unknown; {told}",)


def test_variables_of_others_that_begin_alike_are_none_of_ours(file: Path) -> None:
    file.write_text("[mqtt]\nurl = 'mqtt://h'\npassword_ref = 'env:HEADEND_MQTT_PASSWORD'\n")
    others = (
        "HEADEND_MQTT_PASSWORD", "HEADEND_CHECKED_KERNELS", "HEADEND_SHARED", "HEADEND_TEST_SINK_KILLS",
        "HEADEND_PORT", "HEADEND_PORT_8080_TCP_ADDR", "HEADEND_SERVICE_HOST", "HEADEND_DB_SERVICE_PORT_HTTP",
    )  # fmt: skip

    loaded = load_settings(file, dict.fromkeys(others, "x"))

    assert set(loaded.origins.values()) == {str(file)}


def test_environment_text_of_the_wrong_type_is_a_fault() -> None:
    (fault,) = faults(None, {"HEADEND_COLLECT__REGISTER_DELAY": "soon"})

    assert (
        fault == "HEADEND_COLLECT__REGISTER_DELAY: collect.register_delay: Input should be a valid integer (is 'soon')"
    )


def test_example_shows_every_setting_at_its_default() -> None:
    lines = EXAMPLE.read_text().splitlines()
    shown = [line.removeprefix("# ") if line.startswith("# ") else line for line in lines if not line.startswith("##")]

    document = tomllib.loads("\n".join(shown))

    assert document == {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for section, values in Settings().model_dump().items()
    }
    assert load_settings(EXAMPLE, {}).settings == Settings()


def test_system_title_must_be_eight_octets(file: Path) -> None:
    file.write_text("[dlms]\nsystem_title = '48'\n")

    assert "is not 16 hexadecimal digits" in faults(file)[0]


def test_sink_is_a_table_of_its_own_and_layers_apply_to_each_key(file: Path) -> None:
    file.write_text("[sinks.one]\nkind = 'influxdb'\nurl = 'http://h:8086'\nbatch = 5\n")
    (file.parent / "conf.d").mkdir()
    (file.parent / "conf.d/10.toml").write_text("[sinks.one]\nbatch = 6\n[sinks.two]\nkind = 'victoriametrics'\n")
    environment = {"HEADEND_SINKS__TWO__URL": "http://v:8428", "HEADEND_SINKS__TWO__SETTLE": "30"}

    loaded = load_settings(file, environment)

    sinks = loaded.settings.sinks
    assert (sinks["one"].kind, sinks["one"].batch) == ("influxdb", 6)
    assert (sinks["two"].kind, sinks["two"].url, sinks["two"].settle) == ("victoriametrics", "http://v:8428", 30)
    assert loaded.origins["sinks.one.batch"] == str(file.parent / "conf.d/10.toml")
    assert loaded.origins["sinks.two.url"] == "HEADEND_SINKS__TWO__URL"


def test_every_fault_of_a_sink_is_named_with_its_table(file: Path) -> None:
    file.write_text(
        "[sinks.one]\nkind = 'influx'\nbatsch = 5\nlayers = ['raw', 'registry']\n[sinks.two]\n[sinks]\nthree = 3\n"
        "[sinks.four]\nkind = 'influxdb'\nurl = 'http://me:hunter2@h'\ntoken_ref = 'hunter2'\n"
    )

    found = faults(file)

    assert [fault.partition(" (is ")[0] for fault in found if "batsch" in fault] == [
        f"{file}: sinks.one.batsch: is unknown; did you mean batch?"
    ]
    assert {fault.split(": ")[1] for fault in found} == {
        "sinks.one.kind", "sinks.one.url", "sinks.one.layers", "sinks.one.batsch", "sinks.two.kind", "sinks.two.url",
        "sinks.three", "sinks.four.url", "sinks.four.token_ref",
    }  # fmt: skip
    assert all(fault.startswith(f"{file}: ") for fault in found), found
    assert "hunter2" not in "".join(found)


def test_sink_of_files_has_a_directory_and_others_have_none(file: Path) -> None:
    file.write_text(
        "[sinks.one]\nkind = 'parquet'\n[sinks.two]\nkind = 'parquet'\ndirectory = 'd'\nurl = 'http://h'\n"
        "[sinks.three]\nkind = 'influxdb'\nurl = 'http://h'\ndirectory = 'd'\n[sinks.four]\nkind = 'parquet'\ndirectory = 'd'\n"
    )

    assert {fault.split(": ")[1] for fault in faults(file)} == {
        "sinks.one.directory", "sinks.two.url", "sinks.three.directory",
    }  # fmt: skip


def test_name_of_a_sink_that_would_not_stand_in_a_key_is_a_fault(file: Path) -> None:
    file.write_text("[sinks.'a b']\nkind = 'influxdb'\nurl = 'http://h'\n")

    (fault,) = faults(file)

    assert "'a b' is no name of a sink" in fault


def test_example_of_a_sink_is_valid(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().partition("\n[sinks]\n")[2].partition("\n[")[0].splitlines()
    shown = [line.removeprefix("##   ") for line in lines if line.startswith("##   ")]
    (tmp_path / "headend.toml").write_text("\n".join(shown))

    (sink,) = load_settings(tmp_path / "headend.toml", {}).settings.sinks.values()

    assert sink == SinkSettings(kind=sink.kind, url=sink.url, token_ref=sink.token_ref)
    assert {line.partition(" = ")[0] for line in shown[1:]} == set(SinkSettings.model_fields)


def test_terms_of_retention_that_would_drop_what_is_fetched_again_are_faults(file: Path) -> None:
    file.write_text("[retention]\nraw_days = 60\njob_run_days = 40\n[collect]\nbackfill_days = 61\n")

    found = faults(file, {})

    assert [fault.partition(":")[2].strip() for fault in found] == [
        f"retention.{name}: at least collect.backfill_days (61), within which holes are fetched again"
        for name in ("raw_days", "job_run_days")
    ]
    file.write_text("[retention]\nevent_days = 34\n")
    assert "at least 35 days, or 0" in faults(file, {})[0]
