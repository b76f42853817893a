"""A meter's keys are changed: cut off anywhere, no state loses both pairs, and what was sent is never sent again."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeVar, cast

import pytest

from drivers.contract import ByteStream, Credentials, Endpoint, SessionContext
from drivers.dlms.ciphering import Keys
from drivers.dlms.keychange import OPEN, TRANSITIONS, Phase, Step, move
from drivers.dlms.procedures.keys import fingerprint
from drivers.dlms.session import Conversation
from drivers.errors import ConnectionLost, DriverError, LocalProtocolError, SecurityError
from drivers.transports import open_transport
from drivers.transports.passing import PassingStream
from headend.collect.keychange import KeyChanger
from headend.collect.ports import StoredCounters
from headend.errors import StoreError
from headend.registry.model import EndDevice
from headend.secrets import Secrets
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from simulators.clock import WorldClock
from simulators.dlms.settings import DlmsSettings
from simulators.tcp import serving
from tests.simulators.homes import FakeMonotonic
from tests.simulators.reading import CLIENT_TITLE, endpoint
from tests.simulators.test_dlms import KEYS, NOW, gateway, named

MASTER = bytes(range(0x60, 0x70))
NEW = Keys(bytes(range(0x10, 0x20)), bytes(range(0x30, 0x40)))
METER = DlmsSettings("hls5", keys=KEYS, master_key=MASTER)
ENVIRONMENT = {
    "OLD_EK": KEYS.encryption.hex(), "OLD_AK": KEYS.authentication.hex(), "KEK": MASTER.hex(),
    "NEW_EK": NEW.encryption.hex(), "NEW_AK": NEW.authentication.hex(),
}  # fmt: skip
NEW_REFS = ("env:NEW_EK", "env:NEW_AK")
T = TypeVar("T")
ACTION = 0xCB  # glo-action-request, behind the wrapper's 8 octets


class Cut(PassingStream):
    """A stream that is lost at the second ACTION, the transfer (the first proves HLS-5): before it is sent, or behind it."""

    def __init__(self, stream: ByteStream, *, is_sent: bool) -> None:
        super().__init__(stream)
        self._is_sent, self._actions = is_sent, 0

    async def write(self, data: bytes) -> None:
        self._actions += data[8] == ACTION
        if self._actions < 2 or self._is_sent:
            await self._stream.write(data)
        if self._actions >= 2 and self._is_sent:
            await self._stream.read(1.0)  # so that the meter has done it
        if self._actions >= 2:
            raise ConnectionLost("cut")


class Scene:
    """A store that names one meter, and that meter."""

    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path
        self.environment = dict(ENVIRONMENT)
        self.cut: bool | None = None
        self.connections = 0
        self._open()
        with self.store.transaction():
            self.store.put_end_device(
                "SIM0000000000017", "sim-dlms-wrapper", self.store.put_link(url), "17",
                encryption_key_ref="env:OLD_EK", authentication_key_ref="env:OLD_AK",
                options={"authentication": "hls5", "system_title": CLIENT_TITLE, "master_key": "env:KEK"},
            )  # fmt: skip
        self._begin()

    def _open(self) -> None:
        self.store = Store.open(self.path, lambda: NOW)

    def _begin(self) -> None:
        self.device = self.store.end_device("SIM0000000000017")
        self.writer = GroupCommitWriter(self.store)

    async def restart(self) -> None:
        """End, and begin again with what is durable."""
        await self.writer.close()
        self.store.close()
        self._open()
        self._begin()

    async def end(self) -> None:
        await self.writer.close()
        self.store.close()

    @property
    def context(self) -> SessionContext:
        return SessionContext(lambda: NOW, os.urandom, StoredCounters(self.writer), 1.0)

    def endpoint(self, device: EndDevice, credentials: Credentials) -> Endpoint:
        return endpoint(device.name, device.profile, device.address, credentials, **device.options)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[ByteStream]:
        self.connections += 1
        if self.cut is not None and self.connections > 1:
            raise ConnectionLost("the line is down from then on")
        stream = await open_transport(self.url)
        try:
            yield stream if self.cut is None else Cut(stream, is_sent=self.cut)
        finally:
            await stream.close()

    @property
    def changer(self) -> KeyChanger:
        secrets = Secrets(self.environment)
        return KeyChanger(self.writer, secrets, self.endpoint, self.stream, self.context, self.device, "a tester")

    async def opens(self, keys: Keys) -> bool:
        """Say whether the meter takes a pair."""
        credentials = Credentials(encryption_key=keys.encryption, authentication_key=keys.authentication)
        self.cut = None
        async with self.stream() as stream:
            conversation = Conversation(stream, self.endpoint(self.device, credentials), self.context)
            try:
                await conversation.open()
            except DriverError:
                return False
            finally:
                await conversation.close()
        return True


@asynccontextmanager
async def scene(path: Path, settings: DlmsSettings = METER) -> AsyncIterator[Scene]:
    clock = WorldClock(NOW, 1000.0, FakeMonotonic())
    async with serving(clock, gateway("wrapper", settings, named(17)).wrapper_conversation) as port:
        opened = Scene(f"tcp://127.0.0.1:{port}", path / "store")
        try:
            yield opened
        finally:
            await opened.end()


async def test_new_keys_are_proven_before_the_old_are_dropped(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        prepared = await world.changer.begin(*NEW_REFS)
        done = await world.changer.send()

        assert (prepared.phase, done.phase) == (Phase.PREPARED, Phase.DONE)
        await world.restart()
        assert (world.device.encryption_key_ref, world.device.authentication_key_ref) == NEW_REFS
        assert world.device.options["master_key"] == "env:KEK"
        assert await world.opens(NEW)
        assert not await world.opens(KEYS)
        told = [entry.detail for entry in world.store.audit_entries()]
    assert told == ["prepared", "send: sent", "new answers: proven", "drop old: done"]


@pytest.mark.parametrize("is_sent", [True, False], ids=["the meter has done it", "it never came to the meter"])
async def test_a_lost_answer_is_settled_by_asking_the_meter_and_sends_nothing_again(
    tmp_path: Path, *, is_sent: bool
) -> None:
    async with scene(tmp_path) as world:
        await world.changer.begin(*NEW_REFS)
        world.cut = is_sent

        with pytest.raises(ConnectionLost):
            await world.changer.send()  # the meter is not reached afterwards, either
        await world.restart()
        change = world.store.key_change_under_way(world.device.id)

        assert change is not None
        assert change.phase is Phase.SENT
        assert world.device.encryption_key_ref == "env:OLD_EK"
        world.cut = None
        with pytest.raises(LocalProtocolError, match="cannot send while sent"):
            await world.changer.send()
        settled = await world.changer.settle()
        assert settled.phase is (Phase.DONE if is_sent else Phase.ABANDONED)
        assert await world.opens(NEW if is_sent else KEYS)
        assert world.store.end_device(world.device.name).encryption_key_ref == (
            "env:NEW_EK" if is_sent else "env:OLD_EK"
        )


class Crash(Exception):
    """The process ends here."""


class Crashing:
    """A writer with which the process ends at its ``last`` change: just before it is durable, or just behind."""

    def __init__(self, writer: GroupCommitWriter, last: int, *, is_durable: bool) -> None:
        self._writer, self._left, self._is_durable = writer, last, is_durable

    async def submit(self, change: Callable[[Store], T]) -> T:
        self._left -= 1
        if self._left == 0 and not self._is_durable:
            raise Crash
        done = await self._writer.submit(change)
        if self._left <= 0:
            raise Crash
        return done


@pytest.mark.parametrize("is_durable", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("last", range(1, 17))
async def test_wherever_it_crashes_the_meter_is_opened_in_the_end_by_what_the_registry_names(
    tmp_path: Path, last: int, *, is_durable: bool
) -> None:
    async with scene(tmp_path) as world:
        writer = world.writer
        world.writer = cast("GroupCommitWriter", Crashing(writer, last, is_durable=is_durable))
        with suppress(Crash):
            await world.changer.begin(*NEW_REFS)
            await world.changer.send()
        world.writer = writer
        await world.restart()

        if (change := world.store.key_change_under_way(world.device.id)) is not None:
            change = await world.changer.settle()
            assert change.phase in {Phase.PREPARED, Phase.DONE, Phase.ABANDONED}
            await world.restart()

        is_new = world.device.encryption_key_ref == "env:NEW_EK"
        assert await world.opens(NEW if is_new else KEYS)
        assert not await world.opens(KEYS if is_new else NEW)


async def test_a_crash_behind_the_proof_ends_without_the_meter(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        change = await world.changer.begin(*NEW_REFS)
        for step in (Step.SEND, Step.NEW_ANSWERS):
            await world.writer.submit(lambda store, step=step: store.move_key_change(change.id, step, "a tester"))  # type: ignore[misc]
        await world.restart()

        assert (await world.changer.settle()).phase is Phase.DONE
        assert world.connections == 0


async def test_a_meter_that_answers_to_neither_pair_leaves_both_known(tmp_path: Path) -> None:
    other = replace(METER, keys=Keys(bytes(16), bytes(16)))
    async with scene(tmp_path, other) as world:
        change = await world.changer.begin(*NEW_REFS)
        await world.writer.submit(lambda store: store.move_key_change(change.id, Step.SEND, "a tester"))

        with pytest.raises(SecurityError, match="answers neither to its old keys nor to the new"):
            await world.changer.settle()

        found = world.store.key_change_under_way(world.device.id)
        assert found is not None
        assert (found.phase, found.old, found.new) == (Phase.SENT, change.old, change.new)


async def test_a_meter_that_refuses_keeps_its_old_keys(tmp_path: Path) -> None:
    async with scene(tmp_path, replace(METER, master_key=bytes(16))) as world:
        await world.changer.begin(*NEW_REFS)

        assert (await world.changer.send()).phase is Phase.ABANDONED
        assert await world.opens(KEYS)
        assert (await world.changer.begin(*NEW_REFS)).phase is Phase.PREPARED  # a new change is a new command


async def test_what_cannot_be_sent_stays_prepared_and_can_be_given_up(tmp_path: Path) -> None:
    async with scene(tmp_path, replace(METER, keys=NEW)) as world:
        await world.changer.begin(*NEW_REFS)

        with pytest.raises(SecurityError):
            await world.changer.send()  # the old keys open nothing
        with pytest.raises(StoreError, match="is under way"):
            await world.changer.begin(*NEW_REFS)
        assert (await world.changer.settle()).phase is Phase.PREPARED
        assert (await world.changer.cancel()).phase is Phase.ABANDONED
        with pytest.raises(StoreError, match="is in no key change"):
            await world.changer.settle()


@pytest.mark.parametrize("name", ["OLD_AK", "NEW_EK"])
async def test_other_keys_behind_the_same_reference_are_noticed(tmp_path: Path, name: str) -> None:
    async with scene(tmp_path) as world:
        await world.changer.begin(*NEW_REFS)
        world.environment[name] = "77" * 16

        with pytest.raises(SecurityError, match="lead to other keys") as failure:
            await world.changer.send()

        assert "7777" not in str(failure.value)
        assert world.connections == 0


async def test_what_proves_nothing_is_refused_before_it_begins(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        with pytest.raises(StoreError, match="are the old ones"):
            await world.changer.begin("env:OLD_EK", "env:OLD_AK")
        with pytest.raises(SecurityError, match="needs both keys and a master key"):
            await world.changer.begin("env:NEW_EK", "")
        world.device = replace(
            world.device, options={**world.device.options, "authentication": "none", "security": "encrypted"}
        )
        with pytest.raises(SecurityError, match="only an authenticated association proves a key"):
            await world.changer.begin(*NEW_REFS)
        assert world.store.key_changes(world.device.id) == []


def everything(path: Path) -> bytes:
    return b"".join(entry.read_bytes() for entry in path.iterdir() if entry.is_file())


async def test_no_key_is_in_the_store_a_log_or_a_repr(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with scene(tmp_path) as world:
        change = await world.changer.begin(*NEW_REFS)
        done = await world.changer.send()
        shown = f"{change!r} {done!r} {world.changer!r} {caplog.text}".encode()
        await world.restart()
    stored = everything(tmp_path)

    for key in (MASTER, KEYS.encryption, KEYS.authentication, NEW.encryption, NEW.authentication):
        for text in (key, key.hex().encode(), repr(key)[2:-1].encode()):
            assert text not in shown
            assert text not in stored


def test_nothing_leads_back_to_sending_and_every_open_phase_has_a_way_out() -> None:
    assert [phase for phase, step in TRANSITIONS if step is Step.SEND] == [Phase.PREPARED]
    assert Phase.PREPARED not in TRANSITIONS.values()
    assert {phase for phase, _ in TRANSITIONS} == OPEN
    for phase, step in set(product(Phase, Step)) - set(TRANSITIONS):
        with pytest.raises(LocalProtocolError, match="a key change cannot"):
            move(phase, step)
    assert fingerprint(KEYS) != fingerprint(replace(KEYS, authentication=bytes(16)))
