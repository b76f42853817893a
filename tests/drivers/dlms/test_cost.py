"""What a visit is said to cost, against the octets that a session of the driver exchanges with a simulated meter."""

import asyncio
import random
from contextlib import suppress
from dataclasses import replace

import pytest

from drivers.contract import Credentials, Endpoint, SessionContext
from drivers.cost import Ask, Cost, Medium, NotComputed
from drivers.dlms.ciphering import Keys
from drivers.dlms.cost import FIRMWARE, visit_cost
from drivers.dlms.driver import open_session
from drivers.errors import ConnectionLost
from drivers.obis import Obis
from drivers.profile import DlmsProfile
from drivers.transports import null_modem
from simulators.dlms.gateway import DlmsGateway, DlmsPlace
from simulators.dlms.settings import DlmsSettings
from simulators.household import Household
from simulators.meter import Meter, Position
from tests.simulators.reading import PROFILES, Counters

DAY = 86_400
MIDNIGHT = 1_772_409_600  # 2026-03-02T00:00:00Z
NAME = "SIM0000000000001"
METER = Meter(NAME, 1, Household("h", MIDNIGHT - DAY, 1800, tuple(range(100, 196)), repeats=True), MIDNIGHT - DAY)
KEY, OTHER_KEY = bytes(range(16)), bytes(range(16, 32))
CREDENTIALS = Credentials(b"password", KEY, OTHER_KEY)
IMPORT = Obis(1, 0, 1, 8, 0)
VOLTAGE = Obis(1, 0, 32, 7, 0)
LATENCY = 0.05
SHORTER = len(b"1.0") - FIRMWARE  # the meter's firmware identifier than was reckoned with
PLAIN = DlmsSettings()
CIPHERED = DlmsSettings("hls5", keys=Keys(KEY, OTHER_KEY))


class Kept:
    """A metadata cache in memory."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}

    async def load(self, kind: str) -> bytes | None:
        return self._entries.get(kind)

    async def keep(self, kind: str, entry: bytes) -> None:
        self._entries[kind] = entry

    async def drop(self, kind: str) -> None:
        del self._entries[kind]


def endpoint(profile: str = "sim-dlms-hdlc", credentials: Credentials = Credentials(), **settings: object) -> Endpoint:
    shipped = PROFILES[profile]
    assert shipped.dlms is not None
    title = bytes.fromhex("4845440000000001")
    dlms: DlmsProfile = replace(shipped.dlms, client_system_title=title, **{"max_info": 128, **settings})  # type: ignore[arg-type]
    return Endpoint(NAME, "1/17" if dlms.framing == "hdlc" else "1", replace(shipped, dlms=dlms), credentials)


async def exchanged(meter: Endpoint, settings: DlmsSettings, ask: Ask) -> Cost:
    """Count what the second session with a kind of meter exchanges: its turns are the times that the meter begins to answer."""
    gateway = DlmsGateway([DlmsPlace(Position(meter.address, (METER,)), settings)], random.Random(1))
    context = SessionContext(lambda: MIDNIGHT, random.Random(2).randbytes, Counters(), metadata=Kept())
    cost = Cost()
    for _ in range(2):
        is_hdlc = meter.profile.dlms is not None and meter.profile.dlms.framing == "hdlc"
        talk = gateway.hdlc_conversation() if is_hdlc else gateway.wrapper_conversation()
        near, far = null_modem()
        cost = Cost()

        async def serve() -> None:
            nonlocal cost
            with suppress(ConnectionLost):
                while True:
                    question = await far.read(60)  # noqa: B023  it ends within the turn of the loop
                    answers = talk.receive(question, MIDNIGHT)  # noqa: B023
                    cost += Cost(len(question), sum(len(answer.data) for answer in answers), len(answers))
                    await far.write(b"".join(answer.data for answer in answers))  # noqa: B023

        serving = asyncio.create_task(serve())
        async with open_session(near, meter, context) as session:
            await session.read_identity()
            if ask.clock:
                await session.read_clock()
            if ask.window is not None:
                await session.read_load_profile(*ask.window)
            if ask.registers:
                await session.read_registers(ask.registers)
        await near.close()
        await serving
    return cost


@pytest.mark.parametrize(
    ("meter", "settings"),
    [
        (endpoint(), PLAIN),
        (endpoint(max_info=512, window=3), PLAIN),
        (endpoint("sim-dlms-wrapper"), PLAIN),
        (endpoint(credentials=CREDENTIALS, authentication="lls"), DlmsSettings("lls", b"password")),
        (endpoint(credentials=CREDENTIALS, authentication="hls5"), CIPHERED),
        (endpoint("sim-dlms-wrapper", CREDENTIALS, authentication="hls5", ciphering="general"), CIPHERED),
        (endpoint(credentials=CREDENTIALS, authentication="hls6"), DlmsSettings("hls6", b"password")),
        (endpoint(max_pdu=300), PLAIN),
    ],
    ids=["hdlc", "window", "wrapper", "password", "ciphered", "general", "sha-256", "blocks"],
)
@pytest.mark.parametrize(
    "ask",
    [
        Ask(),
        Ask(clock=True),
        Ask((IMPORT,)),
        Ask((IMPORT, VOLTAGE)),
        Ask(window=(MIDNIGHT - DAY // 2, MIDNIGHT), clock=True),
    ],
    ids=["identity", "clock", "register", "list", "half a day"],
)
async def test_a_visit_costs_what_it_was_said_to_cost(meter: Endpoint, settings: DlmsSettings, ask: Ask) -> None:
    said = visit_cost(meter, ask, Medium(9600), LATENCY)

    found = await exchanged(meter, settings, ask)

    assert (said.sent, said.received + SHORTER, said.turns) == (found.sent, found.received, found.turns)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"referencing": "short-name"}, "short names"),
        ({"block_window": 3}, "general block transfer"),
        ({"opening": "mode-e"}, "mode E"),
        ({"metadata": "session"}, "in each session"),
        ({"selective_access": ("entry",)}, "first way: entry"),
    ],
)
def test_what_nobody_has_counted_is_named(settings: dict[str, object], what: str) -> None:
    with pytest.raises(NotComputed, match=what):
        visit_cost(endpoint(**settings), Ask(window=(0, 1800)), Medium(9600), LATENCY)  # type: ignore[arg-type]
