"""A device is asked whether it answers, also while nothing is written."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from headend import service
from headend.store import pulse
from headend.store.place import parse_place
from headend.store.pulse import Pulse
from headend.store.writer import SLOW


class Device:
    """Answers, fails or hangs as it is told; the clock is its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.error: OSError | None = None
        self._hangs = self.is_hanging = False
        self._answered = 0
        self._changed = threading.Condition()

    def flush(self, _: int) -> None:
        with self._changed:
            while self._hangs:
                self.is_hanging = True
                self._changed.notify_all()
                assert self._changed.wait(60)
            self.is_hanging = False
            self._answered += 1
            self._changed.notify_all()
            if self.error is not None:
                raise self.error

    def hang(self) -> None:
        """Hang; returns once someone has asked."""
        with self._changed:
            self._hangs = True
            assert self._changed.wait_for(lambda: self.is_hanging, 60)

    def answer(self, error: OSError | None = None) -> None:
        """Answer; returns once it has been heard, for the next question has come too."""
        with self._changed:
            self._hangs, self.error = False, error
            self._changed.notify_all()
            enough = self._answered + 2
            assert self._changed.wait_for(lambda: self._answered >= enough, 60)

    def end(self) -> None:
        """Answer whoever still waits."""
        with self._changed:
            self._hangs = False
            self._changed.notify_all()


@contextmanager
def asked(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pulse]:
    monkeypatch.setattr(pulse, "PACE", 0.001)
    (tmp_path / "s.db.lock").touch()
    with closing(Pulse(tmp_path / "s.db", lambda: device.now, device.flush)) as asking:
        yield asking


def test_a_device_that_hangs_while_nothing_is_written_is_noticed_until_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device()
    with asked(device, tmp_path, monkeypatch) as asking:
        device.answer()
        assert asking.trouble() == ""

        device.hang()
        device.now = SLOW
        assert asking.trouble() == "", "a slow one is not yet a hanging one"
        device.now = SLOW + 1
        assert asking.trouble() == "the store's device has not answered for 3 s"

        device.answer()
        assert asking.trouble() == ""


def test_a_device_that_fails_is_named_until_it_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    with asked(device, tmp_path, monkeypatch) as asking:
        device.answer(OSError(5, "Input/output error"))
        assert asking.trouble() == f"{tmp_path}: the device failed (Input/output error)"

        device.answer()
        assert asking.trouble() == ""


def test_closing_does_not_wait_for_a_device_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    with asked(device, tmp_path, monkeypatch) as asking:
        device.hang()

        asking.close()

        assert device.is_hanging
        device.end()


def test_a_server_is_not_asked() -> None:
    with closing(Pulse(parse_place("postgresql://one/two"), float)) as asking:
        assert asking.trouble() == ""


def test_what_is_synced_is_a_file_in_which_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "s.db.lock"
    names: list[str] = []
    device = Device()

    def flush(handle: int) -> None:
        names.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        device.flush(handle)

    monkeypatch.setattr(pulse, "PACE", 0.001)
    lock.write_text("7\n")
    written = lock.stat().st_mtime_ns
    with closing(Pulse(tmp_path / "s.db", float, flush)):
        device.answer()

    assert set(names) == {str(lock)}
    assert (lock.stat().st_mtime_ns, lock.read_text()) == (written, "7\n")


def test_it_is_asked_and_looked_at_often_enough_to_be_told_within_5_s() -> None:
    assert pulse.PACE + SLOW + service.WATCH_PACE < 5
