"""A device that is full, read-only or slow: nothing acknowledged is lost, reading goes on, and so does everything once it is well."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import pytest
import structlog

from headend import service
from headend.store.condition import condition_of
from headend.store.errors import StoreFull, StoreUnavailable
from headend.store.quarantine import quarantine
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from tests.faults.work import Work, digest
from tests.headend.store.builders import NOW, block, open_store
from tests.shared import REPOSITORY

POSITIONS = 50


class SmallFile(apsw.VFSFile):
    def __init__(self, device: "SmallDevice", name: "apsw.URIFilename | str | None", flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._device = device
        # What a checkpoint meets is no error of the commit that set it off, but APSW would raise it all the same: the file
        # itself is filled on a real disk below.
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  SQLite's name
        if self._is_log:
            self._device.take(max(0, offset + len(data) - self.xFileSize()))
        super().xWrite(data, offset)

    def xSync(self, _flags: int) -> None:  # noqa: N802  SQLite's name
        """Not at all: no power fails here."""


class SmallDevice(apsw.VFS):
    """A device with so much room for the log to grow. [B]"""

    def __init__(self) -> None:
        super().__init__("small", "")
        self.room = 2**40

    def take(self, size: int) -> None:
        if size > self.room:
            raise apsw.FullError("no room")
        self.room -= size

    def xOpen(self, name: "apsw.URIFilename | str | None", flags: list[int]) -> apsw.VFSFile:  # noqa: N802  SQLite's name
        return SmallFile(self, name, flags)


def test_a_device_full_at_50_positions_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    device = SmallDevice()
    path = tmp_path / "s.db"
    met = 0
    try:
        for position in range(POSITIONS):
            for file in tmp_path.iterdir():
                file.unlink()
            device.room = 2**40
            with Store.open(path, lambda: NOW, vfs="small") as store:
                device.room = random.Random(position).randrange(20_000, 300_000)
                for step in islice(Work(position).steps(), 40):
                    before = digest(store)
                    try:
                        with store.transaction():
                            step(store)
                    except StoreFull:
                        met += 1
                        assert digest(store) == before
                        with StoreReader.open(path) as reader:
                            assert digest(reader) == before, "reading goes on"
                        device.room = 2**40
                        with store.transaction():
                            step(store)
                assert list(store.faults()) == []
    finally:
        device.unregister()
    assert met == POSITIONS, "at some positions there was room enough"


only_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root mounts a small disk, with unshare"
)


def seen_by(module: str, directory: Path) -> dict[str, Any]:
    """Run a module of this package in a mount namespace of its own, and give what it saw."""
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-m", f"tests.faults.{module}", str(directory)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "permission" in done.stderr.lower() or "not permitted" in done.stderr.lower():
        pytest.skip(f"nothing may be mounted here: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@only_root
def test_a_real_disk_is_filled_freed_and_mounted_read_only(tmp_path: Path) -> None:
    seen = seen_by("small_disk", tmp_path)

    assert seen["before"] == ""
    assert "no room left" in seen["full"]
    assert "kept for commands and audit" in seen["condition when full"]
    assert seen["condition with room"] == ""
    assert "read-only" in seen["condition read-only"]
    assert seen["refused"] is True
    assert seen["acknowledged"] == seen["present when full"] > 0
    assert seen["present with room"] == seen["present read-only"] == seen["acknowledged"] + 480
    assert seen["present in the end"] == seen["acknowledged"] + 960
    assert seen["faults"] == []


@pytest.mark.nightly
@pytest.mark.timeout(300)
@only_root
def test_a_running_headend_says_within_5_s_that_its_device_is_full_and_goes_on_by_itself(tmp_path: Path) -> None:
    seen = seen_by("full_device", tmp_path)

    full = seen["full"]
    assert full["said_after_s"] <= 5
    assert (full["polled"], full["read_meanwhile"], full["condition"]) == (0, 0, "degraded")
    assert "kept for commands and audit" in full["why"]
    if slow := seen.get("slow"):
        assert slow["said_after_s"] <= 5, "counted from when it began, not from the next poll"
        assert (slow["polled"], slow["read_meanwhile"]) == (0, 0)
    silences = [silence["said_after_s"] for silence in seen.get("hanging", [])]
    print(
        f"full, slow and hanging: said after {full['said_after_s']:.2f} s, {slow and slow['said_after_s']} s, {silences} s"
    )
    assert all(said <= 5 for said in silences), silences
    assert seen["audited_from_reserve"] is True
    assert seen["faults"] == []


def record(slot: int) -> Callable[[Store], object]:
    return lambda store: store.record(1, [block(slot, [slot])], NOW)


def audit(store: Store) -> object:
    return store.audit("anna", "disconnect", "SIM:1")


async def test_below_the_reserve_commands_and_audit_are_stored_and_readings_are_not(tmp_path: Path) -> None:
    with open_store(tmp_path / "s.db") as store:
        trouble = "no room but the reserve"
        writer = GroupCommitWriter(store, condition=lambda: trouble)
        with pytest.raises(StoreFull, match="nothing but commands and audit is stored: no room but the reserve"):
            await writer.submit(record(0))

        assert await writer.from_reserve.submit(audit) == 1
        trouble = ""
        await writer.submit(record(0))
        await writer.close()


async def test_a_device_that_hangs_is_noticed_and_readings_are_refused_until_it_answers(tmp_path: Path) -> None:
    now, hangs = 0.0, threading.Event()
    with open_store(tmp_path / "s.db") as store:
        writer = GroupCommitWriter(store, monotonic=lambda: now)
        begun = threading.Event()

        def hang(_: Store) -> bool:
            begun.set()
            return hangs.wait(60)

        waiting = asyncio.ensure_future(writer.submit(hang))
        await asyncio.to_thread(begun.wait, 60)
        now = 1.0
        assert writer.trouble() == ""
        now = 4.0
        assert "at one transaction for 4 s" in writer.trouble()
        with pytest.raises(StoreFull):
            await writer.submit(record(0))

        hangs.set()
        await waiting
        await writer.from_reserve.submit(audit)
        assert writer.trouble() == ""
        await writer.close()


def test_the_condition_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "s.db"

    assert condition_of(path, 0) == ""
    assert "kept for commands and audit" in condition_of(path, 2**60)
    assert "No such file" in condition_of(tmp_path / "gone" / "s.db", 0)
    quarantine(str(path), "a page makes no sense")
    assert "a page makes no sense" in condition_of(path, 0)


async def test_trouble_is_logged_once_and_its_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WATCH_PACE", 0)
    words = iter(["", "full", "full", "full", "", ""])
    with structlog.testing.capture_logs() as logs, pytest.raises(RuntimeError):  # the words run out
        await service.watch(lambda: next(words))

    assert [log["event"].partition(";")[0] for log in logs] == ["health: degraded", "health: ok"]


async def test_a_device_that_failed_is_opened_again_until_it_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "REOPEN_PACE", 0)
    tries: list[int] = []

    async def serve_until(_stop: asyncio.Event) -> service.ServiceSummary:
        tries.append(1)
        if len(tries) < 4:
            raise StoreUnavailable("the device failed")
        return service.ServiceSummary()

    with structlog.testing.capture_logs() as logs:
        await service.serve_on(serve_until, asyncio.Event())

    assert len(tries) == 4
    assert len(logs) == 1, "an outage is told once"


async def test_being_told_to_stop_ends_what_is_served_and_the_wait_for_the_device() -> None:
    stop = asyncio.Event()

    async def serve_until(attempt: asyncio.Event) -> service.ServiceSummary:
        stop.set()
        await attempt.wait()
        raise StoreUnavailable("the device failed")

    with pytest.raises(StoreUnavailable):
        await service.serve_on(serve_until, stop)
