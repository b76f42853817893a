"""Doctor's single checks, each with what it would find elsewhere."""

from pathlib import Path

from headend.doctor import BUILT, Verdict, checks, clock, disk, interpreter, owners, ports, sqlite, store
from headend.store.quarantine import quarantine
from tests.headend.store.builders import open_store

OURS = {name: ["headend"] for name in ("headend", "drivers", "kernels", "simulators")}


def test_own_environment_passes_and_the_systems_warns() -> None:
    assert interpreter("/opt/headend", "/usr").verdict is Verdict.PASS
    shared = interpreter("/usr", "/usr")
    assert shared.verdict is Verdict.WARN
    assert "venv" in shared.fix


def test_package_that_another_distribution_owns_too_fails_and_names_it() -> None:
    found = {check.subject: check for check in owners(OURS | {"drivers": ["headend", "drivers-of-others"]})}

    assert found["package kernels"].verdict is Verdict.PASS
    assert found["package drivers"].verdict is Verdict.FAIL
    assert "pip uninstall drivers-of-others" in found["package drivers"].fix


def test_sqlite_that_may_corrupt_a_store_fails() -> None:
    assert sqlite("3.7.0").verdict is Verdict.FAIL
    assert sqlite("3.51.2").verdict is Verdict.FAIL
    assert sqlite("3.51.3").verdict is Verdict.PASS


def test_store_that_is_none_fails_and_a_missing_one_warns(tmp_path: Path) -> None:
    (tmp_path / "headend.db").write_text("this is no database" * 100)

    assert store(tmp_path / "headend.db").verdict is Verdict.FAIL
    assert store(tmp_path / "other.db").verdict is Verdict.WARN
    assert not (tmp_path / "other.db").exists()


def test_store_that_is_set_apart_fails_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "headend.db"
    open_store(path).close()
    quarantine(str(path), "a page makes no sense")

    found = store(path)

    assert found.verdict is Verdict.FAIL
    assert "a page makes no sense" in found.found
    assert "headend store restore" in found.fix


def test_disk_is_checked_where_the_store_will_be(tmp_path: Path) -> None:
    found = disk(tmp_path / "not" / "yet")

    assert found.verdict in {Verdict.PASS, Verdict.WARN}
    assert str(tmp_path) in found.found


def test_clock_before_the_program_existed_fails() -> None:
    assert clock(BUILT - 1, is_synchronized=True).verdict is Verdict.FAIL
    assert clock(BUILT, is_synchronized=None).verdict is Verdict.WARN
    assert clock(BUILT, is_synchronized=True).verdict is Verdict.PASS


def test_port_without_permission_warns_with_the_group() -> None:
    (denied,) = ports(["/dev/ttyUSB0"], lambda *_: False)
    (allowed,) = ports(["/dev/ttyUSB0"], lambda *_: True)
    (none,) = ports([], lambda *_: True)

    assert denied.verdict is Verdict.WARN
    assert "dialout" in denied.fix
    assert allowed.verdict is none.verdict is Verdict.PASS


def test_whoever_does_not_pass_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("inherits = 1\n")

    found = list(checks(tmp_path / "no.toml", tmp_path, [tmp_path], {}, 0))

    assert {check.subject for check in found if check.verdict is Verdict.FAIL} == {"settings", "profiles", "clock"}
    assert all(check.fix for check in found if check.verdict is not Verdict.PASS)
