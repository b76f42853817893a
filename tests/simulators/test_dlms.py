import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from drivers.contract import Credentials, Endpoint
from drivers.dlms import axdr, xdlms
from drivers.dlms.ciphering import KEY_SIZES, Keys
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.driver import open_session
from drivers.dlms.events import Apdu, Connect
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.link import HdlcLink
from drivers.dlms.objects import encode_range, entry_selection
from drivers.errors import (
    CounterError,
    MeterRefused,
    ProfileError,
    RemoteProtocolError,
    SecurityError,
    TransportTimeout,
)
from drivers.facts import IntervalBlock
from drivers.obis import Obis, resolve
from drivers.profile import Authentication, Security
from drivers.transports import null_modem
from kernels.quality import Rule
from simulators.chance import seeded
from simulators.clock import WorldClock
from simulators.dlms import objects
from simulators.dlms.buffer import LOAD_PROFILE
from simulators.dlms.device import Device, Refused
from simulators.dlms.gateway import DlmsGateway, DlmsPlace, WrapperConversation
from simulators.dlms.server import DlmsServer
from simulators.dlms.settings import ClockHabit, DlmsSettings, Memory
from simulators.faults import ClockDrift, Dead, Fault, MeterSwap, Noise
from simulators.meter import Meter, position
from simulators.tcp import serving
from tests.simulators.homes import HALF_HOUR, MONDAY, FakeMonotonic, meter
from tests.simulators.reading import CLIENT_TITLE, Counters, context, counts, dlms_session, endpoint

NOW = MONDAY + 6 * HALF_HOUR
KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
SETTINGS = {
    "none": DlmsSettings(),
    "lls": DlmsSettings("lls", password=b"12345678"),
    "hls5": DlmsSettings("hls5", keys=KEYS),
}
CREDENTIALS = {
    "none": Credentials(),
    "lls": Credentials(password=b"12345678"),
    "hls5": Credentials(encryption_key=KEYS.encryption, authentication_key=KEYS.authentication),
}
ADDRESSES = {"wrapper": ("17", "18"), "hdlc": ("1/17", "1/18")}
FRAMINGS = pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
AUTHENTICATIONS = pytest.mark.parametrize("authentication", ["none", "lls", "hls5"])
ENERGY = resolve("active_energy_import")


def named(serial: int, *faults: Fault, **changes: Any) -> Meter:
    return meter(name=f"SIM{serial:013d}", serial=serial, faults=faults, **changes)


def gateway(framing: str, settings: DlmsSettings, *meters: Meter) -> DlmsGateway:
    addresses = ADDRESSES[framing]
    places = [
        DlmsPlace(position(address, placed, "SIM{:013d}"), settings)
        for address, placed in zip(addresses, meters, strict=False)
    ]
    return DlmsGateway(places, seeded(1, "test"))


@asynccontextmanager
async def served(framing: str, settings: DlmsSettings, *meters: Meter, now: int = NOW) -> AsyncIterator[str]:
    clock = WorldClock(now, 1000.0, FakeMonotonic())
    served_gateway = gateway(framing, settings, *meters)
    talk = served_gateway.wrapper_conversation if framing == "wrapper" else served_gateway.hdlc_conversation
    async with serving(clock, talk) as port:
        yield f"tcp://127.0.0.1:{port}"


def client(framing: str, authentication: str, address: int = 0, **options: str) -> Endpoint:
    return endpoint(
        f"SIM{17 + address:013d}",
        f"sim-dlms-{framing}",
        ADDRESSES[framing][address],
        CREDENTIALS[authentication],
        **{"authentication": authentication, "system_title": CLIENT_TITLE, **options},
    )


@FRAMINGS
@AUTHENTICATIONS
async def test_a_meter_tells_its_name_clock_register_and_load_profile(framing: str, authentication: str) -> None:
    async with (
        served(framing, SETTINGS[authentication], named(17, register_start=5000)) as url,
        dlms_session(url, client(framing, authentication), context(lambda: NOW)) as session,
    ):
        identity = await session.read_identity()
        clock = await session.read_clock()
        (register,) = await session.read_registers([ENERGY])
        profile = await session.read_load_profile(MONDAY, NOW)

    assert identity.name == "SIM0000000000017"
    assert clock.offset == 0
    assert register.value == Decimal(6367)
    assert counts(profile) == [100, 0, 360, None, 7, 900]


@FRAMINGS
@AUTHENTICATIONS
async def test_a_small_pdu_is_answered_in_blocks(framing: str, authentication: str) -> None:
    settings = replace(SETTINGS[authentication], max_pdu=128)
    home = replace(named(17).household, wh=tuple(range(100)))

    async with (
        served(framing, settings, named(17, household=home), now=home.end) as url,
        dlms_session(url, client(framing, authentication), context(lambda: NOW)) as session,
    ):
        profile = await session.read_load_profile(home.start, home.end)

    assert counts(profile) == list(range(100))


@FRAMINGS
async def test_several_meters_answer_behind_one_port(framing: str) -> None:
    async with served(framing, SETTINGS["none"], named(17), named(18)) as url:
        names = []
        for address in (0, 1):
            async with dlms_session(url, client(framing, "none", address), context(lambda: NOW)) as session:
                names.append((await session.read_identity()).name)

    assert names == ["SIM0000000000017", "SIM0000000000018"]


@FRAMINGS
async def test_a_dead_meter_says_nothing_and_its_neighbor_answers(framing: str) -> None:
    quick = context(lambda: NOW, scale=0.01)
    async with served(framing, SETTINGS["none"], named(17, Dead()), named(18)) as url:
        with pytest.raises(TransportTimeout):
            async with dlms_session(url, client(framing, "none"), quick):
                pass
        async with dlms_session(url, client(framing, "none", 1), context(lambda: NOW)) as session:
            assert (await session.read_identity()).name == "SIM0000000000018"


@FRAMINGS
async def test_a_swapped_meter_answers_with_its_own_name(framing: str) -> None:
    swap = MeterSwap(at=MONDAY + HALF_HOUR, serial=99)
    async with (
        served(framing, SETTINGS["none"], named(17, swap)) as url,
        dlms_session(url, client(framing, "none"), context(lambda: NOW)) as session,
    ):
        assert (await session.read_identity()).name == "SIM0000000000099"
        assert counts(await session.read_load_profile(MONDAY, NOW)) == [None, 0, 360, None, 7, 900]


@FRAMINGS
async def test_a_fast_clock_is_told_by_the_clock_object(framing: str) -> None:
    async with (
        served(framing, SETTINGS["none"], named(17, ClockDrift(offset=240))) as url,
        dlms_session(url, client(framing, "none"), context(lambda: NOW)) as session,
    ):
        assert (await session.read_clock()).offset == 240


async def test_noise_inside_hdlc_answers_is_noticed() -> None:
    quick = context(lambda: NOW, scale=0.02)
    async with served("hdlc", SETTINGS["none"], named(17, Noise(flips=200_000))) as url:
        with pytest.raises((RemoteProtocolError, TransportTimeout)):
            async with dlms_session(url, client("hdlc", "none"), quick) as session:
                await session.read_identity()


async def test_noise_before_hdlc_answers_is_survived() -> None:
    async with (
        served("hdlc", SETTINGS["none"], named(17, Noise(before=3))) as url,
        dlms_session(url, client("hdlc", "none"), context(lambda: NOW)) as session,
    ):
        assert (await session.read_identity()).name == "SIM0000000000017"


@pytest.mark.parametrize(
    ("settings", "authentication", "credentials"),
    [
        ("lls", "lls", Credentials(password=b"wrong")),
        ("lls", "none", Credentials()),
        ("none", "lls", CREDENTIALS["lls"]),
        ("hls5", "none", Credentials()),
        ("hls5", "hls5", Credentials(encryption_key=bytes(16), authentication_key=KEYS.authentication)),
        ("hls5", "hls5", Credentials(encryption_key=KEYS.encryption, authentication_key=bytes(16))),
    ],
)
async def test_who_cannot_prove_himself_is_refused(
    settings: str, authentication: str, credentials: Credentials
) -> None:
    stranger = replace(client("wrapper", authentication), credentials=credentials)
    async with served("wrapper", SETTINGS[settings], named(17)) as url:
        with pytest.raises(SecurityError):
            async with dlms_session(url, stranger, context(lambda: NOW)):
                pass


@FRAMINGS
@pytest.mark.parametrize("authentication", ["none", "lls", "hls3", "hls4", "hls5", "hls6"])
@pytest.mark.parametrize("security", ["authenticated", "encrypted", "authenticated-encrypted"])
async def test_whatever_security_is_agreed_a_meter_is_read_under_it(
    framing: str, authentication: Authentication, security: Security
) -> None:
    password = b"" if authentication in {"none", "hls5"} else b"12345678"
    settings = DlmsSettings(authentication, password, KEYS, security=security, max_pdu=200)
    meter = client(framing, "lls", security=security)
    meter = replace(meter, options={**meter.options, "authentication": authentication})
    secrets = replace(CREDENTIALS["hls5"], password=settings.password)
    async with (
        served(framing, settings, named(17)) as url,
        dlms_session(url, replace(meter, credentials=secrets), context(lambda: NOW)) as session,
    ):
        assert counts(await session.read_load_profile(MONDAY, NOW)) == [100, 0, 360, None, 7, 900]


@FRAMINGS
@pytest.mark.parametrize("authentication", ["hls3", "hls4", "hls6"])
async def test_a_secret_is_proved_both_ways_without_ciphering_too(framing: str, authentication: Authentication) -> None:
    settings = DlmsSettings(authentication, b"12345678")
    meter = client(framing, "lls")
    meter = replace(meter, options={**meter.options, "authentication": authentication})
    async with (
        served(framing, settings, named(17)) as url,
        dlms_session(url, meter, context(lambda: NOW)) as session,
    ):
        assert counts(await session.read_load_profile(MONDAY, NOW)) == [100, 0, 360, None, 7, 900]


@FRAMINGS
@pytest.mark.parametrize("authentication", ["lls", "hls5"])
@pytest.mark.parametrize("ciphering", ["service", "general"])
@pytest.mark.parametrize("session_key", ["global", "dedicated"])
@pytest.mark.parametrize("suite", [0, 1, 2])
async def test_general_ciphering_dedicated_keys_and_each_suite_read_the_same(
    framing: str, authentication: Authentication, ciphering: str, session_key: str, suite: int
) -> None:
    size = KEY_SIZES[suite]
    keys = Keys(bytes(range(size)), bytes(range(0x80, 0x80 + size)), suite)
    password = b"12345678" if authentication == "lls" else b""
    settings = DlmsSettings(authentication, password, keys, security="authenticated-encrypted", max_pdu=200)
    meter = client(framing, authentication, security="authenticated-encrypted")
    assert meter.profile.dlms is not None
    agreed: Any = {"ciphering": ciphering, "session_key": session_key, "security_suite": suite}
    profile = replace(meter.profile, dlms=replace(meter.profile.dlms, **agreed))
    secrets = Credentials(password, keys.encryption, keys.authentication)
    async with (
        served(framing, settings, named(17)) as url,
        dlms_session(url, replace(meter, profile=profile, credentials=secrets), context(lambda: NOW)) as session,
    ):
        assert counts(await session.read_load_profile(MONDAY, NOW)) == [100, 0, 360, None, 7, 900]


async def test_a_meter_that_answers_weaker_than_agreed_is_refused() -> None:
    settings = replace(SETTINGS["hls5"], security="encrypted", takes="authenticated-encrypted")
    async with served("wrapper", settings, named(17)) as url:
        with pytest.raises(SecurityError, match="weaker than the agreed"):
            async with dlms_session(url, client("wrapper", "hls5"), context(lambda: NOW)):
                pass


async def test_a_client_weaker_than_the_meter_asks_is_refused() -> None:
    async with served("wrapper", SETTINGS["hls5"], named(17)) as url:
        weaker = client("wrapper", "hls5", security="encrypted")
        with pytest.raises(SecurityError, match="refuses the association"):
            async with dlms_session(url, weaker, context(lambda: NOW)):
                pass


async def test_without_the_authentication_key_every_value_is_doubtful_and_the_session_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = DlmsSettings(keys=KEYS, security="authenticated-encrypted", takes="encrypted")
    secrets = Credentials(encryption_key=KEYS.encryption)
    meter = replace(client("wrapper", "none", security="encrypted", authentication_key="withheld"), credentials=secrets)
    async with (
        served("wrapper", settings, named(17)) as url,
        dlms_session(url, meter, context(lambda: NOW)) as session,
    ):
        (register,) = await session.read_registers([ENERGY])
        (block,) = await session.read_load_profile(MONDAY, NOW)

    doubt = Rule.METER_STATUS
    assert register.rules == doubt
    assert isinstance(block, IntervalBlock)
    assert block.rules == (doubt, doubt, doubt, Rule(0), doubt, doubt)
    assert [record.getMessage() for record in caplog.records] == [
        "meter SIM0000000000017: the authentication key is withheld; what it says is not verified"
    ]


@pytest.mark.parametrize(
    ("options", "secrets", "error"),
    [
        ({}, CREDENTIALS["none"], SecurityError),
        ({}, Credentials(encryption_key=KEYS.encryption), SecurityError),
        ({"authentication_key": "withheld"}, CREDENTIALS["hls5"], SecurityError),
        ({"security": "authenticated-encrypted", "authentication_key": "withheld"}, CREDENTIALS["none"], ProfileError),
        ({"authentication": "hls5", "authentication_key": "withheld"}, CREDENTIALS["none"], ProfileError),
        ({"authentication": "hls5", "security": "none"}, CREDENTIALS["none"], ProfileError),
        ({"security": "strong"}, CREDENTIALS["none"], ProfileError),
    ],
)
async def test_keys_and_security_that_do_not_fit_are_refused_before_a_byte_is_sent(
    options: dict[str, str], secrets: Credentials, error: type[Exception]
) -> None:
    wanted = {"security": "encrypted", "authentication": "none", **options}
    meter = client("wrapper", wanted.pop("authentication"), **wanted)  # type: ignore[arg-type]
    near, far = null_modem()

    with pytest.raises(error):
        async with open_session(near, replace(meter, credentials=secrets), context(lambda: NOW)):
            pass
    assert far.discard_input() == b""


async def test_an_invocation_counter_seen_before_is_refused() -> None:
    async with served("wrapper", SETTINGS["hls5"], named(17)) as url:
        for counters in (Counters(5000), Counters(9000)):
            async with dlms_session(url, client("wrapper", "hls5"), context(lambda: NOW, counters=counters)) as session:
                await session.read_identity()
        with pytest.raises((CounterError, SecurityError)):
            async with dlms_session(url, client("wrapper", "hls5"), context(lambda: NOW, counters=Counters(5000))):
                pass


def test_a_request_before_any_association_is_refused() -> None:
    server = DlmsServer(named(17), SETTINGS["none"], Memory(), seeded(1).randbytes)
    get = xdlms.GetRequest(0xC1, xdlms.Attribute(1, objects.LOGICAL_DEVICE_NAME, 2))

    assert server.receive(get.encode(), NOW) == xdlms.ExceptionResponse(1, 1).encode()


def associated(settings: DlmsSettings = SETTINGS["none"]) -> DlmsServer:
    from drivers.dlms.acse import Aarq

    server = DlmsServer(named(17), settings, Memory(), seeded(1).randbytes)
    initiate = xdlms.InitiateRequest(xdlms.Conformance.GET, 0xFFFF)
    assert server.receive(Aarq(user_information=initiate.encode()).encode(), NOW) is not None
    return server


@pytest.mark.parametrize("apdu", [b"\xc0\x03\xc1\x00", b"\x00", b"\xc0\x01", b"\x60\x01", b"\xff" * 40])
def test_what_cannot_be_understood_gets_an_exception_response(apdu: bytes) -> None:
    answer = associated().receive(apdu, NOW)

    assert answer == xdlms.ExceptionResponse(2, 2).encode()


def test_a_block_out_of_turn_is_refused() -> None:
    server = associated(DlmsSettings(max_pdu=64))
    get = xdlms.GetRequest(0xC1, xdlms.Attribute(7, LOAD_PROFILE, 2))
    server.receive(get.encode(), NOW)

    answer = xdlms.decode(server.receive(xdlms.GetRequestNext(0xC1, 2).encode(), NOW) or b"")
    again = xdlms.decode(server.receive(xdlms.GetRequestNext(0xC1, 1).encode(), NOW) or b"")

    assert isinstance(answer, xdlms.GetResponseBlock)
    assert answer.result == xdlms.DataAccessResult.DATA_BLOCK_NUMBER_INVALID
    assert isinstance(again, xdlms.GetResponseBlock)
    assert again.result == xdlms.DataAccessResult.NO_LONG_GET_IN_PROGRESS


def rows(selection: xdlms.Selection | None, habit: ClockHabit | None = None) -> list[int]:
    device = Device(named(17), NOW, DlmsSettings(clock=habit or ClockHabit()))
    octets = objects.read(device, xdlms.Attribute(7, LOAD_PROFILE, 2), selection)
    return [row.items()[1].integer() for row in axdr.decode(octets).items()]


def span(first: int, last: int, zone: str = "UTC") -> xdlms.Selection:
    return encode_range(CosemDateTime.from_utc(first, zone), CosemDateTime.from_utc(last, zone))


def test_a_range_is_inclusive_at_both_ends() -> None:
    assert rows(span(MONDAY + HALF_HOUR, MONDAY + 3 * HALF_HOUR)) == [100, 0, 360]
    assert rows(span(MONDAY + HALF_HOUR + 1, MONDAY + 3 * HALF_HOUR - 1)) == [0]
    assert rows(None) == [100, 0, 360, 7, 900]


def test_a_range_in_another_zone_means_the_same_instants() -> None:
    assert rows(span(MONDAY + HALF_HOUR, MONDAY + HALF_HOUR, "Australia/Sydney")) == [100]


@pytest.mark.parametrize(
    ("first", "last", "expected"), [(1, 2, [100, 0]), (4, 0, [7, 900]), (5, 99, [900]), (9, 10, [])]
)
def test_entries_count_from_one_and_zero_means_the_newest(first: int, last: int, expected: object) -> None:
    assert rows(entry_selection(first, last)) == expected


@pytest.mark.parametrize(
    "selection",
    [
        xdlms.Selection(3, axdr.NULL),
        xdlms.Selection(1, axdr.NULL),
        xdlms.Selection(1, axdr.structure(axdr.NULL)),
        xdlms.Selection(2, axdr.structure(*[axdr.double_long_unsigned(0)] * 4)),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(selection: xdlms.Selection) -> None:
    with pytest.raises(Refused):
        rows(selection)


@pytest.mark.parametrize(
    ("class_id", "name", "index", "result"),
    [
        (3, "1-0:9.8.0*255", 2, "OBJECT_UNDEFINED"),
        (1, "1-0:1.8.0*255", 2, "OBJECT_CLASS_INCONSISTENT"),
        (3, "1-0:1.8.0*255", 9, "READ_WRITE_DENIED"),
    ],
)
def test_what_the_meter_has_not_is_refused_by_its_result(class_id: int, name: str, index: int, result: str) -> None:
    with pytest.raises(Refused) as refused:
        objects.read(Device(named(17), NOW), xdlms.Attribute(class_id, Obis.parse(name), index))

    assert refused.value.result.name == result


def test_rows_are_written_in_the_meters_zone_with_its_deviation() -> None:
    device = Device(named(17), NOW, DlmsSettings(clock=ClockHabit("Europe/Berlin")))
    octets = objects.read(device, xdlms.Attribute(7, LOAD_PROFILE, 2))
    stamp = CosemDateTime.decode(axdr.decode(octets).items()[0].items()[0].octets())

    assert (stamp.hour, stamp.minute, stamp.deviation) == (1, 30, -60)


async def test_an_unknown_register_is_refused_and_the_association_goes_on() -> None:
    async with (
        served("wrapper", SETTINGS["none"], named(17)) as url,
        dlms_session(url, client("wrapper", "none"), context(lambda: NOW)) as session,
    ):
        with pytest.raises(MeterRefused):
            await session.read_registers([resolve("active_energy_export")])
        assert (await session.read_identity()).name == "SIM0000000000017"


def test_frames_in_any_pieces_are_answered_and_strangers_get_silence() -> None:
    aarq = bytes.fromhex("601d a109060760857405080101 be10040e01000000065f1f040000101cffff")
    frame = struct.pack(">HHHH", 1, 16, 17, len(aarq)) + aarq
    stranger = struct.pack(">HHHH", 1, 16, 99, len(aarq)) + aarq

    def answers(*pieces: bytes) -> int:
        talk = WrapperConversation(gateway("wrapper", SETTINGS["none"], named(17)))
        return sum(len(talk.receive(piece, NOW)) for piece in pieces)

    assert answers(frame + frame) == 2
    assert answers(*(frame[at : at + 1] for at in range(len(frame)))) == 1
    assert answers(stranger, frame) == 1


def test_a_stream_that_is_not_wrapper_is_hung_up_on() -> None:
    talk = WrapperConversation(gateway("wrapper", SETTINGS["none"], named(17)))

    with pytest.raises(RemoteProtocolError):
        talk.receive(b"GET / HTTP/1.0\r\n\r\n", NOW)


def test_a_damaged_hdlc_frame_is_dropped_and_the_next_one_answered() -> None:
    talk = gateway("hdlc", SETTINGS["none"], named(17)).hdlc_conversation()
    snrm = HdlcLink("client", HdlcAddress(16), HdlcAddress.parse("1/17")).send(Connect())
    damaged = bytes([*snrm[:-3], snrm[-3] ^ 1, *snrm[-2:]])

    assert talk.receive(damaged, NOW) == []
    assert len(talk.receive(b"\x00\xff" + snrm, NOW)) == 1


def test_an_hdlc_frame_without_a_connection_is_not_served() -> None:
    talk = gateway("hdlc", SETTINGS["none"], named(17)).hdlc_conversation()
    link = HdlcLink("client", HdlcAddress(16), HdlcAddress.parse("1/17"))
    link.send(Connect())
    link.state = "open"

    assert talk.receive(link.send(Apdu(b"\xc0")), NOW) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"authentication": "hls5"},
        {"keys": KEYS},
        {"authentication": "lls"},
        {"password": b"1"},
        {"max_pdu": 20},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        DlmsSettings(**changes)


def test_secrets_are_not_in_the_repr() -> None:
    text = repr(SETTINGS["lls"]) + repr(SETTINGS["hls5"])

    assert "12345678" not in text
    assert "keys" not in text or KEYS.encryption.hex() not in text
