"""Meters that call, over loopback: who they are, what is stored, and what a bad caller costs the others."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.dlms import axdr, objects
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys
from drivers.dlms.events import Apdu
from drivers.dlms.noticing import DataNotificationConfirm
from drivers.dlms.wrapper import WrapperLink
from drivers.facts import RegisterValue
from drivers.obis import CATALOGUE
from drivers.profile_parser import parse_profile
from drivers.units import ScalerUnit, Unit
from headend.clock import SystemClock
from headend.errors import SettingsError, StoreError
from headend.ingest.desk import SET_ASIDE_BURST, CallSummary, Desk
from headend.ingest.dial_in import DialIn, Pace
from headend.profiles import load_documents, load_profiles
from headend.registry import table
from headend.secrets import Secrets
from headend.service import serve
from headend.settings import PushSettings, Settings
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from kernels.quality import Rule
from tests.drivers.dlms.pushes import load, read

NOW = 1_800_000_000
AIDON, KAMSTRUP, NOE = "AID:7359992892587665", "KAM:1", "KFM:181220000009"
METERS = f"""usage_point,meter,profile,from,zone,encryption_key,authentication_key,options
UP1,{AIDON},dlms-caller,2019-01-01,UTC,,,
UP2,{KAMSTRUP},kamstrup,2019-01-01,UTC,env:EK,env:AK,system_title=4B414D4501349083;invocation_counter=5000
UP3,{NOE},noe,2019-01-01,UTC,env:NOE,,system_title=4b464d6750000009
UP4,HOME,dlms-caller,2019-01-01,UTC,,,caller=127.0.0.1
"""
SECRETS = {
    "EK": "00112233445566778899aabbccddeeff", "AK": "ffeeddccbbaa99887766554433221100",
    "NOE": "36c66639e48a8ca4d6bc8b282a793bbb",
}  # fmt: skip
PROFILES = {
    "kamstrup": {
        "inherits": "dlms-caller",
        "call": {"objects": [{"logical_name": "1-1:1.8.0*255", "obis": "active_energy_import", "unit": "Wh"}]},
    },
    "noe": {"inherits": "dlms-caller", "call": {"authentication_key": "withheld"}},
}
IMPORT = CATALOGUE["active_energy_import"].obis


class At(SystemClock):
    """A clock that stands still."""

    def now(self) -> int:
        """Always the same instant."""
        return NOW


@dataclass
class Door:
    """A listening head-end."""

    dial_in: DialIn
    port: int
    summary: CallSummary
    path: Path

    async def call(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Call, say something, hang up; returns once the head-end has closed too."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with closing(writer):
            try:
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
                writer.write_eof()
                await reader.read()
            except OSError:
                return

    def registers(self, meter: str) -> list[RegisterValue]:
        with StoreReader.open(self.path) as store:
            device = store.end_device(meter).id
            return [
                value for code in store.register_codes(device) for value in store.registers(device, code, 0, 2 * NOW)
            ]

    def reasons(self) -> list[str]:
        with StoreReader.open(self.path) as store:
            return [entry.reason for entry in store.set_asides()]


def prepare(path: Path) -> dict[str, object]:
    documents, _ = load_documents()
    documents |= PROFILES
    profiles = load_profiles() | {name: parse_profile(name, documents) for name in PROFILES}
    parsed = table.parse(METERS, profiles)
    assert not parsed.faults, parsed.faults
    with Store.open(path, lambda: NOW) as store:
        table.apply(store, parsed.rows)
    return profiles  # type: ignore[return-value]


@asynccontextmanager
async def opened(path: Path, secrets: dict[str, str] | None = None, **settings: object) -> AsyncIterator[Door]:
    profiles = prepare(path)
    stop, ports = asyncio.Event(), asyncio.Queue[int]()
    values = {"listen": ("tcp://127.0.0.1:0",), "calls_per_second": 10_000} | settings
    with Store.open(path, lambda: NOW) as store:
        writer = GroupCommitWriter(store)
        summary = CallSummary()
        secret = Secrets(SECRETS if secrets is None else secrets)
        desk = Desk(writer.submit, profiles, secret, At(), summary, system_title=b"HEADEND1")  # type: ignore[arg-type]
        dial_in = DialIn(PushSettings.model_validate(values), desk, ports.put_nowait)
        running = asyncio.ensure_future(dial_in.run(stop))
        try:
            listening = asyncio.ensure_future(ports.get())
            await asyncio.wait((listening, running), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                listening.cancel()
                running.result()
            yield Door(dial_in, listening.result(), summary, path)
        finally:
            stop.set()
            try:
                await asyncio.wait_for(running, 10)
            finally:
                await writer.close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  there is nothing to wait for but the figure
            await asyncio.sleep(0.01)


async def call_once(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("017").frame)
        await asyncio.sleep(0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headend.db"


async def test_plain_call_is_stored_for_the_meter_it_names(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("017").frame)

        values = {value.obis: value for value in door.registers(AIDON)}

    assert door.summary.messages == 1
    assert len(values) == 13
    assert (values[IMPORT].count, values[IMPORT].captured_at) == (2_272_138, 1_579_622_400)
    assert not door.reasons()


async def asked(port: int, *pieces: bytes) -> bytes:
    """Call, say something, and give what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        for piece in pieces:
            writer.write(piece)
        writer.write_eof()
        return await reader.read()


def notified(long_invoke_id: int, name: str = AIDON[4:]) -> bytes:
    """Give a plain notification of a meter."""
    apdu = axdr.encode(
        axdr.structure(
            axdr.structure(axdr.octet_string(bytes([0, 0, 96, 1, 0, 255])), axdr.octet_string(name.encode())),
            axdr.structure(
                axdr.octet_string(IMPORT.to_bytes()),
                axdr.double_long_unsigned(77),
                objects.encode_scaler_unit(ScalerUnit(0, Unit.WATT_HOUR)),
            ),
        )
    )
    return bytes([0x0F]) + long_invoke_id.to_bytes(4, "big") + b"\0" + apdu


def wrapped(apdu: bytes) -> bytes:
    return WrapperLink(1, 16).send(Apdu(apdu))


async def test_a_notification_that_wants_a_confirmation_is_confirmed_when_it_is_stored(path: Path) -> None:
    async with opened(path) as door:
        silence = await asked(door.port, wrapped(notified(7)))
        answer = await asked(door.port, wrapped(notified(0x4000_0008)), wrapped(notified(0x4000_0009)))
        unstored = await asked(door.port, wrapped(notified(0x4000_000A, "9" * 16)))
        one_way = await asked(door.port, notified(0x4000_000B))

        assert door.registers(AIDON)[0].count == 77

    assert silence == unstored == one_way == b""
    assert answer == b"".join(
        WrapperLink(16, 1).send(Apdu(DataNotificationConfirm(0x4000_0000 + number).encode())) for number in (8, 9)
    )


async def test_a_ciphered_notification_is_confirmed_ciphered_by_a_counter_of_its_own(path: Path) -> None:
    keys = Keys(bytes.fromhex(SECRETS["EK"]), bytes.fromhex(SECRETS["AK"]))
    title, ours = bytes.fromhex("4B414D4501349083"), b"HEADEND1"
    meter = SecureChannel(keys, title, ours, ciphering="general", is_server=True)
    meter.supply(range(100, 200))
    body = notified(0x4000_0008, KAMSTRUP)

    async with opened(path) as door:
        answers = [await asked(door.port, wrapped(meter.seal(body))) for _ in range(2)]

    used = []
    for answer in answers:
        link = WrapperLink(1, 16)
        link.receive_data(answer)
        event = link.next_event()
        assert isinstance(event, Apdu)
        assert meter.open(event.octets) == DataNotificationConfirm(0x4000_0008).encode()
        used.append(meter.last_seen)
    assert used == [5_000, 5_001]


async def test_ciphered_call_is_verified_and_found_by_its_system_title(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("003").frame)

        (value,) = door.registers(KAMSTRUP)

    assert (value.obis, value.count, value.rules) == (IMPORT, 6_307_498, Rule(0))


async def test_ciphered_message_that_comes_again_is_refused_also_after_a_restart(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("003").frame)
    async with opened(path) as again:
        await again.call(load("003").frame)

    assert (door.summary.messages, again.summary.messages) == (1, 0)
    assert "is not above" in again.reasons()[0]


async def test_wrong_key_stores_nothing(path: Path) -> None:
    async with opened(path, SECRETS | {"AK": "00" * 16}) as door:
        await door.call(load("003").frame)

        assert not door.registers(KAMSTRUP)

    (reason,) = door.reasons()
    assert "authentication tag is wrong" in reason
    assert SECRETS["EK"] not in reason


async def test_key_that_leads_nowhere_is_a_reason_and_no_end(path: Path) -> None:
    async with opened(path, {}) as door:
        await door.call(load("003").frame)
        await door.call(load("017").frame)

    assert "env:EK" in door.reasons()[0]
    assert door.summary.messages == 1


async def test_meter_whose_authentication_key_is_withheld_has_its_values_marked(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("009").frame)

        values = door.registers(NOE)

    assert len(values) == 11
    assert {value.rules for value in values} == {Rule.METER_STATUS}


async def test_plain_message_of_a_meter_with_keys_is_refused(path: Path) -> None:
    forged = load("017").frame.replace(b"7359992892587665", b"181220000009".ljust(16, b"\x00"))

    async with opened(path) as door:
        await door.call(forged)

        assert not door.registers(NOE)

    assert "has keys, and this message came plain" in door.reasons()[0]


async def test_unknown_caller_is_set_aside_with_its_reason(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("001").frame)
        await door.call(load("004").frame)

    assert (door.summary.messages, door.summary.set_aside) == (0, 2)
    reasons = " ".join(door.reasons())
    assert "no registered meter may call as meter id '84895126'" in reasons
    assert "no keys for system title 4c475a677370b177" in reasons


async def test_message_that_names_nobody_is_of_the_meter_that_calls_from_there(path: Path) -> None:
    async with opened(path) as door:
        await door.call(load("008").frame)

        assert len(door.registers("HOME")) == 26


async def test_meter_registered_while_we_listen_may_call(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headend.ingest.desk.REGISTRY_PACE", 0)
    async with opened(path) as door:
        await door.call(load("001").frame)
        row = "usage_point,meter,profile,from,zone\nUP9,ISK:84895126,dlms-caller,2019-01-01,UTC\n"
        parsed = table.parse(row, load_profiles())
        await door.dial_in._desk._submit(lambda store: table.apply(store, parsed.rows))

        await door.call(load("001").frame)

        assert len(door.registers("ISK:84895126")) == 14


async def test_several_messages_of_one_call_in_any_pieces_are_all_taken(path: Path) -> None:
    octets = load("017").frame + load("016").frame
    async with opened(path) as door:
        await door.call(*(octets[at : at + 7] for at in range(0, len(octets), 7)))

    assert (door.summary.calls, door.summary.messages) == (1, 2)


async def test_datagrams_are_taken_one_by_one(path: Path) -> None:
    async with opened(path, listen=("udp://127.0.0.1:0",)) as door:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as meter:
            for octets in (load("017").frame, b"rubbish", load("009").frame, load("017").frame[:50]):
                meter.sendto(octets, ("127.0.0.1", door.port))
        await until(lambda: door.summary.messages + door.summary.set_aside == 4)

    assert (door.summary.calls, door.summary.messages, door.summary.set_aside) == (4, 2, 2)


async def test_burst_of_2000_calls_at_once_is_admitted_at_a_bounded_rate_and_number(path: Path) -> None:
    frame = load("017").frame
    async with opened(path, max_calls=20, calls_per_second=800) as door:
        started = time.monotonic()
        await asyncio.gather(*(door.call(frame) for _ in range(2_000)))
        took = time.monotonic() - started

    assert (door.summary.calls, door.summary.messages, door.summary.set_aside) == (2_000, 2_000, 0)
    assert door.dial_in.most_in_call <= 20
    assert door.dial_in.in_call == 0
    assert took >= 1.5  # a burst of 800, then 1200 at 800 a second


async def test_caller_that_drips_is_cut_while_others_are_served(path: Path) -> None:
    frame = load("017").frame
    async with opened(path, max_calls=2, message_timeout=1) as door:
        started = time.monotonic()
        dripping = asyncio.ensure_future(door.call(*(frame[at : at + 1] for at in range(len(frame))), pause=0.05))
        await door.call(frame)
        assert door.summary.messages == 1
        await until(lambda: door.summary.set_aside > 0)
        took = time.monotonic() - started
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)

    assert 0.9 < took < 5
    assert "did not become whole in time" in door.reasons()[0]


async def test_silent_caller_is_cut(path: Path) -> None:
    async with opened(path, idle_timeout=1) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)

        with closing(writer):
            assert await asyncio.wait_for(reader.read(), 5) == b""

    assert not door.reasons()


@pytest.mark.parametrize(
    "octets",
    [bytes.fromhex("0f00000000000183030d40"), b"\x55" * 11, bytes.fromhex("00010001000100ffdb08")],
    ids=["bare", "noise", "wrapper"],
)
async def test_caller_that_never_ends_a_frame_is_cut_in_bounded_room(path: Path, octets: bytes) -> None:
    async with opened(path, message_timeout=3) as door:
        await door.call(octets, *([b"\x00" * 8_192] * 64))

        assert door.dial_in.in_call == 0

    assert door.summary.messages == 0
    with StoreReader.open(path) as store:
        kept = store.set_asides()
    assert kept
    assert max(len(entry.payload) for entry in kept) <= 4_096


async def test_call_ends_after_three_damaged_messages(path: Path) -> None:
    damaged = bytearray(load("001").frame)
    damaged[40] ^= 1
    async with opened(path) as door:
        await door.call(bytes(damaged) * 5 + load("017").frame)

    assert door.summary.messages == 0
    assert door.summary.set_aside == 3


async def test_nobody_fills_the_store_with_refused_messages(path: Path) -> None:
    async with opened(path) as door:
        octets = read(load("001").frame)[0][0].octets
        for number in range(SET_ASIDE_BURST + 20):
            await door.dial_in._desk.refuse(octets, f"host {number}", "unknown")

    assert (door.summary.set_aside, door.summary.dropped) == (SET_ASIDE_BURST, 20)


async def test_place_where_nobody_can_listen_is_a_fault_of_the_settings(path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        place = f"tcp://127.0.0.1:{busy.getsockname()[1]}"

        with pytest.raises(SettingsError, match=r"push\.listen: .*cannot listen there"):
            async with opened(path, listen=(place,)) as door:
                raise AssertionError(door)


async def test_failure_of_the_store_ends_listening_and_is_raised(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StoreError("the device is gone")

    monkeypatch.setattr(Desk, "take", broken)
    with pytest.raises(StoreError, match="the device is gone"):
        await call_once(path)


async def test_pace_lets_a_burst_pass_and_then_so_many_a_second() -> None:
    pace = Pace(50)
    started = time.monotonic()

    for _ in range(60):
        await pace.wait()

    assert 0.15 < time.monotonic() - started < 2


async def test_service_listens_where_the_settings_say(path: Path) -> None:
    profiles = prepare(path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(push=PushSettings(listen=(f"tcp://127.0.0.1:{port}",)))
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(path, settings, profiles, At(), Secrets(SECRETS), stop))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.05)

    writer.write(load("017").frame)
    await writer.drain()
    writer.close()
    await asyncio.sleep(0.5)
    stop.set()
    summary = await asyncio.wait_for(running, 20)

    assert summary.calls.messages == 1
