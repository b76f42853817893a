"""``headend sink``: how far sinks are, what ails them, what they could not deliver."""

import json
from pathlib import Path

from headend.places import store_file
from headend.store.store import Store
from tests.headend.cli.conftest import NOON, Run

SETTINGS = "[sinks.dashboards]\nkind = 'victoriametrics'\nurl = 'http://127.0.0.1:8428'\n"


def test_sink_that_never_ran_stands_at_the_beginning(run: Run, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "headend.toml").write_text(SETTINGS)

    (row,) = json.loads(run("sink", "status", "-o", "json").out)["rows"]

    assert filled
    assert (row["sink"], row["kind"], row["cursor"], row["quarantined"]) == ("dashboards", "victoriametrics", 0, 0)
    assert row["newest"] > 0
    assert row["waiting_s"] is not None


def test_status_shows_lag_trouble_and_quarantine_also_of_a_sink_no_longer_set_up(run: Run, filled: Path) -> None:
    with Store.open(store_file(filled), lambda: NOON - 60) as store, store.transaction():
        store.advance_cursor("sink/old", store.last_seq())
        store.note_sink_trouble("sink/old", "answered 503 to a write: busy")
        store.quarantine_point("sink/old", "m value=1 1", "answered 422 to a write: too old", 2)
        store.advance_cursor("vee", store.last_seq())

    (row,) = json.loads(run("sink", "status", "-o", "json").out)["rows"]

    assert (row["sink"], row["kind"], row["waiting_s"], row["quarantined"]) == ("old", None, None, 1)
    assert (row["error"], row["error_since"]) == ("answered 503 to a write: busy", "2024-11-20T11:59:00Z")
    (point,) = json.loads(run("sink", "quarantine", "old", "-o", "json").out)["rows"]
    assert (point["point"], point["reason"], point["times"]) == ("m value=1 1", "answered 422 to a write: too old", 1)


def test_without_a_sink_the_page_that_tells_how_is_named(run: Run, filled: Path) -> None:
    ran = run("sink", "status")

    assert filled
    assert ran.code == 0
    assert "docs/integrator.md" in ran.err


def test_quarantine_of_an_unknown_sink_is_a_fault(run: Run, filled: Path) -> None:
    ran = run("sink", "quarantine", "nobody")

    assert filled
    assert ran.code == 5
    assert "sinks.nobody: there is no such sink" in ran.err


def test_settings_of_a_sink_are_shown_with_their_origin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "headend.toml").write_text(SETTINGS)

    found = {row["key"]: row for row in json.loads(run("config", "show", "--origin", "-o", "json").out)["rows"]}

    assert found["sinks.dashboards.url"] == {
        "key": "sinks.dashboards.url", "value": "http://127.0.0.1:8428", "origin": "headend.toml"
    }  # fmt: skip
    assert (found["sinks.dashboards.settle"]["value"], found["sinks.dashboards.settle"]["origin"]) == (20, "default")
