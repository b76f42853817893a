"""Sessions traced, taken apart and replayed: the replay of a trace gives the facts of the session that was recorded."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import ByteStream, Credentials, Driver, Endpoint, ReadsLoadProfile, ReadsRegisters, SessionContext
from drivers.dlms import xdlms
from drivers.dlms.ciphering import Keys
from drivers.dlms.getlist import GetRequestList
from drivers.errors import ConnectionLost, DriverError, TransportTimeout
from drivers.profile import Authentication
from drivers.trace.text import Record, Trace, TraceError
from drivers.trace.tree import take_apart
from drivers.transports import null_modem, open_transport
from headend import trace as tracing
from headend.clock import SystemClock
from headend.collect.line import Open
from headend.profiles import load_profiles
from headend.service import DRIVERS
from headend.trace import TraceFileError, Tracer, read_trace
from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.server import DlmsSettings
from simulators.faults import Noise
from simulators.meter import Meter, Position
from simulators.modbus import ModbusBus, ModbusTcpConversation
from simulators.replay import ReplayBus, ReplayConversation, Script
from simulators.tcp import Conversation, serving
from tests.end_to_end.direct import DirectStream, transports
from tests.peers.meters import gurux_meter
from tests.simulators.homes import HALF_HOUR, HOUSEHOLD, MONDAY, FakeMonotonic
from tests.simulators.reading import Counters

NOW = MONDAY + 6 * HALF_HOUR
PASSWORD = b"canary-in-LLS"
KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
PROFILES = load_profiles()
SECRETS = (PASSWORD, KEYS.encryption, KEYS.authentication)
COUNTS = HOUSEHOLD.wh
URL = "tcp://127.0.0.1:4059"


def meter(name: str = "SIM0000000000007", **changes: Any) -> Meter:
    return Meter(**{"name": name, "serial": 7, "household": HOUSEHOLD, "installed_at": MONDAY, **changes})


def conversation(
    framing: str, authentication: Authentication = "none", max_pdu: int = 65_535, **changes: Any
) -> Callable[[], Conversation]:
    settings = DlmsSettings(
        authentication,
        password=PASSWORD if authentication == "lls" else b"",
        keys=KEYS if authentication == "hls5" else None,
        max_pdu=max_pdu,
    )
    address = "1/17" if framing == "hdlc" else "17"
    place = DlmsPlace(Position(address, (meter(**changes),)), settings)
    gateway = DlmsGateway([place], seeded(1, "trace"))
    return gateway.hdlc_conversation if framing == "hdlc" else gateway.wrapper_conversation


def endpoint(framing: str, authentication: Authentication = "none", **options: str) -> Endpoint:
    credentials = Credentials(
        PASSWORD if authentication == "lls" else b"",
        *((KEYS.encryption, KEYS.authentication) if authentication == "hls5" else ()),
    )
    profile = PROFILES[f"sim-dlms-{framing}"]
    assert profile.dlms is not None
    profile = replace(profile, dlms=replace(profile.dlms, client_system_title=bytes.fromhex("4845440000000001")))
    address = "1/17" if framing == "hdlc" else "17"
    return Endpoint("SIM0000000000007", address, profile, credentials, {"authentication": authentication, **options})


async def facts(open_link: Open, drivers: Mapping[str, Driver], end: Endpoint, url: str = URL) -> list[Any]:
    """All that a meter says when asked who it is, for its registers, and for its load profile."""
    stream = await open_link(url)
    try:
        context = SessionContext(lambda: NOW, os.urandom, Counters())
        async with drivers[end.profile.protocol](stream, end, context) as session:
            found: list[Any] = [await session.read_identity()]
            if isinstance(session, ReadsRegisters):
                found += await session.read_registers(end.profile.registers)
            if isinstance(session, ReadsLoadProfile):
                found += await session.read_load_profile(MONDAY, NOW)
            return found
    finally:
        await stream.close()


def to(talk: Callable[[], Conversation]) -> Open:
    return transports({URL: talk}, lambda: NOW)


async def traced(path: Path, open_link: Open, end: Endpoint, url: str = URL) -> tuple[list[Any], Trace]:
    with Tracer.to_file(SystemClock(), path) as tracer:
        found = await facts(tracer.opening(open_link), tracer.watching(DRIVERS), end, url)
    return found, read_trace(path)


def replayed(trace: Trace, told: list[str] | None = None) -> Open:
    script = Script(trace, (told if told is not None else []).append)
    return to(lambda: ReplayConversation(script))


def assert_clean(path: Path) -> None:
    text = path.read_bytes()
    for secret in SECRETS:
        assert secret not in text
        assert secret.hex().encode() not in text


@pytest.mark.parametrize("max_pdu", [65_535, 128])
@pytest.mark.parametrize("authentication", ["none", "lls"])
@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_a_replay_gives_the_facts_of_the_session_that_was_recorded(
    framing: str, authentication: Authentication, max_pdu: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.trace"

    recorded, trace = await traced(
        path, to(conversation(framing, authentication, max_pdu)), endpoint(framing, authentication)
    )
    told: list[str] = []
    open_again = replayed(trace, told)
    first = await facts(open_again, DRIVERS, endpoint(framing, authentication))
    second = await facts(open_again, DRIVERS, endpoint(framing, authentication))

    assert len(recorded) > 2
    assert recorded == first == second
    assert not told
    assert_clean(path)
    steps = list(take_apart(trace))
    assert not [step.fault for step in steps if step.fault]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_replay_fits_its_numbers_to_a_client_that_asks_less(tmp_path: Path) -> None:
    _, trace = await traced(tmp_path / "a.trace", to(conversation("hdlc", "lls")), endpoint("hdlc", "lls"))
    stream = await replayed(trace)(URL)

    async with DRIVERS["dlms"](
        stream, endpoint("hdlc", "lls"), SessionContext(lambda: NOW, os.urandom, Counters())
    ) as session:
        assert isinstance(session, ReadsLoadProfile)
        (block, *_) = await session.read_load_profile(MONDAY, NOW)

    assert list(getattr(block, "counts", ())) == list(COUNTS)


async def test_another_range_is_answered_as_recorded_and_told(tmp_path: Path) -> None:
    _, trace = await traced(tmp_path / "a.trace", to(conversation("wrapper")), endpoint("wrapper"))
    told: list[str] = []
    stream = await replayed(trace, told)(URL)

    async with DRIVERS["dlms"](
        stream, endpoint("wrapper"), SessionContext(lambda: NOW, os.urandom, Counters())
    ) as session:
        assert isinstance(session, ReadsLoadProfile)
        (block, *_) = await session.read_load_profile(MONDAY + HALF_HOUR, NOW)

    assert list(getattr(block, "counts", ())) == list(COUNTS[1:])
    assert any("another range" in text for text in told)


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_what_was_recorded_in_a_list_is_answered_alone_and_in_another_list(framing: str, tmp_path: Path) -> None:
    recorded, trace = await traced(tmp_path / "a.trace", to(conversation(framing, "lls")), endpoint(framing, "lls"))
    script = Script(trace, print)
    questions: list[Any] = [exchange.question for exchange in script.exchanges]
    listed = next(question for question in questions if getattr(question, "apdu", b"")[:2] == b"\xc0\x03")
    request: Any = xdlms.decode(listed.apdu)
    (scaler, _), (value, _) = request.items

    answers: list[Any] = []
    for apdu in (
        xdlms.GetRequest(0xC5, value).encode(), GetRequestList(0xC6, ((value, None), (scaler, None))).encode(),
    ):  # fmt: skip
        question = replace(listed, apdu=apdu)
        exchange = script.find(question)
        assert exchange is not None
        answers.append(xdlms.decode(question.heard(exchange.answers[0].data)))

    assert [answer.invoke_id for answer in answers] == [0xC5, 0xC6]
    assert answers[1].results[0].data == answers[0].data
    assert answers[0].data.integer() in {getattr(fact, "count", None) for fact in recorded}
    assert script.find(replace(listed, apdu=xdlms.GetRequest(0xC5, replace(value, index=9)).encode())) is None


async def test_a_trace_tells_all_though_the_store_knows_the_meter(tmp_path: Path) -> None:
    class Cache:
        async def load(self, kind: str) -> bytes | None:
            raise AssertionError(kind)

        keep = drop = load

    with Tracer.to_file(SystemClock(), tmp_path / "a.trace") as tracer:
        stream = await tracer.opening(to(conversation("wrapper")))(URL)
        context = SessionContext(lambda: NOW, os.urandom, Counters(), metadata=Cache())  # type: ignore[arg-type]
        async with tracer.watching(DRIVERS)["dlms"](stream, endpoint("wrapper"), context) as session:
            assert isinstance(session, ReadsRegisters)
            await session.read_registers(endpoint("wrapper").profile.registers)


async def test_what_was_never_asked_is_answered_by_silence_and_told(tmp_path: Path) -> None:
    _, trace = await traced(tmp_path / "a.trace", to(conversation("wrapper")), endpoint("wrapper"))
    told: list[str] = []
    stream = await replayed(trace, told)(URL)

    context = SessionContext(lambda: NOW, os.urandom, Counters(), 0.01)
    with pytest.raises(TransportTimeout):
        async with DRIVERS["dlms"](stream, endpoint("wrapper"), context) as session:
            await session.read_clock()  # type: ignore[attr-defined]

    assert any("never asked" in text for text in told)


async def test_a_ciphered_session_is_opened_with_keys_and_refuses_to_be_replayed(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    _, trace = await traced(path, to(conversation("wrapper", "hls5")), endpoint("wrapper", "hls5"))

    closed, opened = list(take_apart(trace)), list(take_apart(trace, KEYS))

    assert_clean(path)
    assert "active_energy_import" not in repr(closed)
    assert "active_energy_import" in repr(opened)
    assert not [step.fault for step in opened if step.fault]
    assert not [secret for secret in SECRETS if secret.hex() in repr(opened)]
    with pytest.raises(TraceError, match="counters and challenges are new each time"):
        Script(trace, print)


@asynccontextmanager
async def over_null_modem(bus: ModbusBus | ReplayBus) -> AsyncIterator[Open]:
    """The far end of a null modem is a bus of meters."""
    near, far = null_modem(bits_per_second=9600)

    async def answer() -> None:
        while True:
            heard = await far.read(60)
            if (said := bus.receive(heard, NOW)) is not None:
                await far.write(said.data)

    async def open_near(_: str) -> ByteStream:
        return near

    task = asyncio.create_task(answer())
    yield open_near
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_modbus_line_is_traced_and_replayed_over_a_null_modem(tmp_path: Path) -> None:
    end = Endpoint("SIM:7", "1", PROFILES["sim-modbus-rtu"])
    link = "serial:///dev/ttyUSB0?baud=9600"

    async with over_null_modem(ModbusBus([Position("1", (meter("SIM:7"),))], seeded(1, "m"))) as open_link:
        recorded, trace = await traced(tmp_path / "a.trace", open_link, end, link)
    async with over_null_modem(ReplayBus(Script(trace, print))) as open_again:
        again = await facts(open_again, DRIVERS, end, link)

    assert recorded == again
    modbus = end.profile.modbus
    assert modbus is not None
    steps = list(take_apart(trace, points=modbus.points))
    assert "active_energy_import" in repr(steps)
    assert not [step.fault for step in steps if step.fault]


async def test_modbus_over_tcp_is_traced_and_replayed_with_other_transactions(tmp_path: Path) -> None:
    modbus = PROFILES["sim-modbus-rtu"].modbus
    assert modbus is not None
    end = Endpoint("SIM:7", "1", replace(PROFILES["sim-modbus-rtu"], modbus=replace(modbus, framing="tcp")))

    def talk() -> Conversation:
        return ModbusTcpConversation([Position("1", (meter("SIM:7"),))])

    recorded, trace = await traced(tmp_path / "a.trace", to(talk), end)

    assert recorded == await facts(replayed(trace), DRIVERS, end)


async def test_sessions_over_tcp_are_traced_and_replayed(tmp_path: Path) -> None:
    clock = WorldClock(NOW, 1.0, FakeMonotonic())
    async with serving(clock, conversation("hdlc", "lls")) as port:
        url = f"tcp://127.0.0.1:{port}"
        recorded, trace = await traced(tmp_path / "a.trace", open_transport, endpoint("hdlc", "lls"), url)
    script = Script(trace, print)
    async with serving(clock, lambda: ReplayConversation(script)) as port:
        again = await facts(open_transport, DRIVERS, endpoint("hdlc", "lls"), f"tcp://127.0.0.1:{port}")

    assert recorded == again
    assert trace.header.link == url


async def test_noise_on_the_line_is_in_the_trace_and_in_the_replay(tmp_path: Path) -> None:
    talk = conversation("hdlc", faults=(Noise(MONDAY, NOW + HALF_HOUR, before=3),))

    recorded, trace = await traced(tmp_path / "a.trace", to(talk), endpoint("hdlc"))

    assert recorded == await facts(replayed(trace), DRIVERS, endpoint("hdlc"))
    assert any("noise" in step.fault for step in take_apart(trace))


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_an_independent_meter_is_traced_in_blocks_and_replayed(framing: str, tmp_path: Path) -> None:
    pytest.importorskip("gurux_dlms", reason="the peer is not installed: pip install 'headend[peers]'")
    from tests.peers import test_gurux_meter as peer

    path = tmp_path / "a.trace"
    async with AsyncExitStack() as stack:
        known = stack.enter_context(gurux_meter("--framing", framing, "--authentication", "lls"))
        end = peer.endpoint(known, max_pdu=300, max_info=90)
        url = f"tcp://127.0.0.1:{known['port']}"
        with Tracer.to_file(SystemClock(), path) as tracer:
            recorded = await peer_facts(tracer.opening(open_transport), tracer.watching(DRIVERS), end, url)
    trace = read_trace(path)

    assert recorded == await peer_facts(replayed(trace), DRIVERS, end, URL)
    assert len(recorded) == 51
    steps = list(take_apart(trace))
    assert not [step.fault for step in steps if step.fault]
    assert "data of all blocks" in repr(steps)
    password = end.credentials.password
    octets = b"".join(record.octets for record in trace.records if record.mark == ">")
    assert password not in octets
    assert password.hex() not in path.read_text()


async def peer_facts(open_link: Open, drivers: Mapping[str, Driver], end: Endpoint, url: str) -> list[Any]:
    from tests.peers import test_gurux_meter as peer

    stream = await open_link(url)
    async with drivers["dlms"](stream, end, SessionContext(lambda: peer.NOW, os.urandom, Counters())) as session:
        assert isinstance(session, ReadsRegisters)
        assert isinstance(session, ReadsLoadProfile)
        found: list[Any] = [await session.read_identity(), *await session.read_registers([peer.REGISTER])]
        found += await session.read_load_profile(peer.DAY, peer.DAY + 86_400)
    await stream.close()
    return found


async def test_a_failure_ends_its_session_with_words(tmp_path: Path) -> None:
    end = endpoint("wrapper", "lls")
    wrong = replace(end, credentials=Credentials(b"not the word"))

    with Tracer.to_file(SystemClock(), tmp_path / "a.trace") as tracer, pytest.raises(DriverError):
        await facts(tracer.opening(to(conversation("wrapper", "lls"))), tracer.watching(DRIVERS), wrong)

    last = read_trace(tmp_path / "a.trace").records[-1]
    assert last.mark == "!"
    assert last.text.startswith("ended by ")


async def test_a_far_end_that_hung_up_hangs_up_again(tmp_path: Path) -> None:
    records = (
        Record(1, 0, "@", text="2026-01-01T00:00:00Z"), Record(1, 1, ">", bytes.fromhex("000100100001000dc001c1000100002a0000ff0200")),
        Record(1, 2, "!", text="ConnectionLost: the other side hung up"),
    )  # fmt: skip
    _, trace = await traced(tmp_path / "a.trace", to(conversation("wrapper")), endpoint("wrapper"))

    talk = ReplayConversation(Script(replace(trace, records=records), print))

    with pytest.raises(ConnectionLost):
        talk.receive(records[1].octets, 0)


async def test_each_meter_of_a_directory_has_its_own_file(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "traces"
    with Tracer.to_directory(SystemClock(), directory) as tracer:
        for name in ("SIM:1", "SIM_1", "../../etc/passwd"):
            tracer._file(URL, replace(endpoint("wrapper"), name=name)).begin(endpoint("wrapper"))

    assert sorted(path.name for path in directory.iterdir()) == ["SIM_1.trace", "SIM_1_.trace", "_.._etc_passwd.trace"]


def test_a_file_that_is_no_trace_is_never_replaced(tmp_path: Path) -> None:
    table = tmp_path / "meters.csv"
    table.write_text("usage_point,meter\n")

    with pytest.raises(TraceFileError, match="exists and is no trace"):
        Tracer.to_file(SystemClock(), table)
    with pytest.raises(TraceFileError, match="no directory"):
        Tracer.to_file(SystemClock(), tmp_path / "no" / "a.trace")

    assert table.read_text() == "usage_point,meter\n"


async def test_a_trace_that_could_not_be_begun_says_why(tmp_path: Path) -> None:
    with Tracer.to_file(SystemClock(), tmp_path / "a.trace") as tracer:
        (tmp_path / "a.trace").mkdir()
        tracer._file(URL, endpoint("wrapper")).begin(endpoint("wrapper"))

    assert not tracer.paths
    assert len(tracer.faults) == 1
    assert tracer.faults[0].endswith("is no file")


async def test_a_trace_stops_at_its_bound_with_a_note_and_the_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "MAX_FILE", 500)

    recorded, trace = await traced(tmp_path / "a.trace", to(conversation("wrapper")), endpoint("wrapper"))

    assert len(recorded) > 2
    assert trace.records[-1].text == "the trace stops here, at 500 bytes"
    assert (tmp_path / "a.trace").stat().st_size < 600


async def test_without_a_tracer_a_stream_is_not_wrapped() -> None:
    stream = await to(conversation("wrapper"))(URL)

    assert isinstance(stream, DirectStream)
