"""No octet of a key, password or secret is in a log line, a repr, an exception, a traceback, a trace file or on the screen.

A whole session for each mechanism, and sessions that go wrong in every way security can, with logging at DEBUG.
"""

import base64
import logging
import random
import traceback
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import ByteStream, Credentials, CurveKeys, Endpoint, SessionContext
from drivers.dlms.ciphering import Keys
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.elliptic import Signer, parse_private, parse_public
from drivers.dlms.protection import Protection
from drivers.errors import DriverError
from drivers.profile import Ciphering, Signing, implied_security
from headend.clock import SystemClock
from headend.trace import Tracer, read_trace
from simulators.dlms.settings import DlmsSettings
from simulators.faults import Deed, Misdeed, Stage
from tests.drivers.dlms.adversary.hostile import Line, Store, serving
from tests.simulators.homes import MONDAY
from tests.simulators.test_dlms import NOW, named

DICE = random.Random(20261120)
PASSWORD = b"xq7Zv-2Kp9w-TjR4"  # no words, which a message could say by chance
ENCRYPTION, AUTHENTICATION, DEDICATED = (DICE.randbytes(16) for _ in range(3))
MASTER, FRESH = DICE.randbytes(16), DICE.randbytes(64)
OURS, THEIRS, OUR_AGREEMENT, THEIR_AGREEMENT = (DICE.randbytes(32).hex().encode() for _ in range(4))
SECRETS = {
    "password": PASSWORD,
    "encryption key": ENCRYPTION,
    "authentication key": AUTHENTICATION,
    "dedicated key": DEDICATED,
    "signing key": bytes.fromhex(OURS.decode()),
    "agreement key": bytes.fromhex(OUR_AGREEMENT.decode()),
    "master key": MASTER,
    "what keys are made of": FRESH,
}
KEYS = Keys(ENCRYPTION, AUTHENTICATION)
WINDOW = 6  # octets of a secret that must not be seen in a row


def public(private: bytes) -> bytes:
    return parse_private(1, private).public.octets.hex().encode()


def cases() -> Iterator[tuple[str, str, dict[str, Any], DlmsSettings]]:
    """Give a name, the mechanism, what the profile says, and how the meter is set up."""
    suite_1 = Keys(ENCRYPTION, AUTHENTICATION, 1)
    signer = Signer(parse_private(1, THEIRS), parse_public(1, public(OURS)))
    yield "none", "none", {}, DlmsSettings()
    yield "lls", "lls", {}, DlmsSettings("lls", password=PASSWORD)
    for kind in ("hls3", "hls4", "hls6"):
        yield kind, kind, {}, DlmsSettings(kind, password=PASSWORD)
    yield "hls5", "hls5", {}, DlmsSettings("hls5", keys=KEYS)
    yield "hls5, dedicated key", "hls5", {"session_key": "dedicated"}, DlmsSettings("hls5", keys=KEYS)
    yield "hls5, general", "hls5", {"ciphering": "general"}, DlmsSettings("hls5", keys=KEYS)
    ciphered = {"security": "authenticated-encrypted"}
    yield (
        "lls, ciphered",
        "lls",
        ciphered,
        DlmsSettings("lls", password=PASSWORD, keys=KEYS, security="authenticated-encrypted"),
    )
    general: list[tuple[Ciphering, Signing]] = [
        ("wrapped-key", "none"),
        ("one-pass", "general"),
        ("static-unified", "none"),
    ]
    for ciphering, signing in general:
        protection = Protection(
            ciphering, signing, MASTER, parse_private(1, THEIR_AGREEMENT), parse_public(1, public(OUR_AGREEMENT)), signer,
            lambda count: bytes(range(count)),
        )  # fmt: skip
        dlms = {"ciphering": ciphering, "signing": signing, "security_suite": 1}
        yield f"hls5, {ciphering}", "hls5", dlms, DlmsSettings("hls5", keys=suite_1, protection=protection)
    yield (
        "hls7",
        "hls7",
        {"security_suite": 1},
        DlmsSettings("hls7", keys=suite_1 if needs_keys("hls7") else None, signer=signer),
    )


def needs_keys(kind: str) -> bool:
    return implied_security(kind) != "none"  # type: ignore[arg-type]


CASES = list(cases())
NAMES = [case[0] for case in CASES]


def forms(secret: bytes) -> Iterator[str]:
    """Give the ways in which octets could be written down."""
    yield secret.hex()
    yield secret.hex(" ")
    yield secret.hex(":")
    yield secret.hex("-")
    yield ", ".join(map(str, secret))
    yield ",".join(map(str, secret))
    yield " ".join(map(str, secret))
    yield ", ".join(f"0x{octet:02x}" for octet in secret)
    yield repr(secret)[2:-1]
    yield str(bytearray(secret))[12:-2]
    yield secret.decode("latin-1")
    yield base64.b64encode(secret)[: len(secret) * 4 // 3].decode()
    yield str(int.from_bytes(secret, "big"))
    yield str(int.from_bytes(secret, "little"))


def leaks(text: str, secrets: dict[str, bytes]) -> list[str]:
    """Name the secrets of which enough octets in a row are in a text, however they are written."""
    folded = "\n".join(dict.fromkeys(text.lower().split("\n")))
    return [name for name, secret in secrets.items() if any(form in folded for form in needles(secret))]


@cache
def needles(secret: bytes) -> tuple[str, ...]:
    windows = (secret, *(secret[at : at + WINDOW] for at in range(len(secret) - WINDOW + 1)))
    return tuple(dict.fromkeys(form.lower() for window in windows for form in forms(window)))


def reprs(*roots: object) -> Iterator[str]:
    """Give the repr of every object of ours that can be reached, and of every container of such."""
    seen: set[int] = set()
    waiting: list[object] = [*roots]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, str | bytes | bytearray | int | float | type | None):
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += list(one)
        if type(one).__module__.split(".")[0] not in {"drivers", "headend"}:
            continue
        yield repr(one)
        yield str(one)
        slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
        waiting += [getattr(one, name, None) for name in slots]
        waiting += list(getattr(one, "__dict__", {}).values())


def line_of(case: tuple[str, str, dict[str, Any], DlmsSettings], *misdeeds: Misdeed) -> Line:
    _, kind, dlms, settings = case
    line = Line("wrapper", kind, named(17, *misdeeds), dlms=dlms)
    place = next(iter(line.gateway.places.values()))
    line.gateway.places = {line.address: replace(place, settings=settings)}
    return line


def credentials_of(case: tuple[str, str, dict[str, Any], DlmsSettings]) -> Credentials:
    _, kind, dlms, settings = case
    has_keys = settings.keys is not None
    has_curves = kind == "hls7" or settings.protection is not None
    curves = CurveKeys(OURS, public(THEIRS), OUR_AGREEMENT, public(THEIR_AGREEMENT)) if has_curves else CurveKeys()
    master = MASTER if dlms.get("ciphering") == "wrapped-key" else b""
    return Credentials(
        PASSWORD if settings.password else b"",
        *((ENCRYPTION, AUTHENTICATION) if has_keys else (b"", b"")),
        master_key=master,
        curve_keys=curves,
    )


async def talk(line: Line, endpoint: Endpoint, folder: Path) -> tuple[str, BaseException | None]:
    """Hold a traced session and read all there is; give everything that was written down of it, and what it ended in."""
    calls: list[int] = []

    def generator(count: int) -> bytes:
        # The challenge goes over the line for all to see; what comes after it, of a key's size, is the dedicated key.
        calls.append(count)
        return bytes(range(0x40, 0x40 + count)) if len(calls) == 1 else (DEDICATED if is_dedicated else FRESH)[:count]

    context = SessionContext(lambda: NOW, generator, Store(), 0.02)
    is_dedicated = endpoint.profile.dlms is not None and endpoint.profile.dlms.session_key == "dedicated"
    written: list[str] = []
    caught: BaseException | None = None
    opened: DlmsSession | None = None
    with Tracer.to_directory(SystemClock(), folder) as tracer:
        async with serving(line) as near:

            async def dial(url: str) -> ByteStream:
                assert url
                return near

            stream = await tracer.opening(dial)("tcp://127.0.0.1:4059")
            driver = tracer.watching({"dlms": open_session})["dlms"]
            try:
                async with driver(stream, endpoint, context) as session:
                    assert isinstance(session, DlmsSession)
                    opened = session
                    await session.read_identity()
                    await session.read_clock()
                    await session.read_load_profile(MONDAY, NOW)
                    written += reprs(session, endpoint, context, stream)
            except DriverError as error:
                caught = error
                written += ["".join(traceback.format_exception(error)), repr(error), str(error), repr(vars(error))]
        written += reprs(opened, endpoint, context)
    for path in tracer.paths:
        written += [path.read_text(encoding="ascii"), str(read_trace(path))]
    return "\n".join(written), caught


@pytest.fixture
def at_debug(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize("case", CASES, ids=NAMES)
async def test_a_whole_session_tells_no_secret(
    case: tuple[str, str, dict[str, Any], DlmsSettings],
    tmp_path: Path,
    at_debug: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    line = line_of(case)

    text, caught = await talk(line, line.endpoint(credentials_of(case)), tmp_path)
    said = capfd.readouterr()

    assert caught is None
    assert "SIM0000000000017" in text
    assert not leaks(text, SECRETS)
    assert not leaks(at_debug.text + said.out + said.err, SECRETS)
    assert not said.out


WRONG = [
    Misdeed(deed, stage=stage)
    for deed in (Deed.WRONG_TAG, Deed.PLAIN_ANSWER, Deed.WEAKER_ANSWER, Deed.REPLAYED_ANSWER)
    for stage in (Stage.AARE, Stage.PROOF, Stage.GET)
] + [
    Misdeed(deed)
    for deed in (
        Deed.REFLECTED_CHALLENGE, Deed.REFLECTED_PROOF, Deed.WRONG_PROOF, Deed.SKIPPED_PROOF, Deed.CLIENT_TITLE,
        Deed.OTHER_TITLE, Deed.WRONG_INVOKE_ID, Deed.TRUNCATED_ANSWER, Deed.NESTED_ANSWER, Deed.HANG_UP,
    )
]  # fmt: skip


@pytest.mark.parametrize("case", CASES[1:], ids=NAMES[1:])
async def test_a_session_that_goes_wrong_tells_no_secret(
    case: tuple[str, str, dict[str, Any], DlmsSettings],
    tmp_path: Path,
    at_debug: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    failures = 0
    for number, misdeed in enumerate(WRONG):
        line = line_of(case, misdeed)
        folder = tmp_path / str(number)
        folder.mkdir()

        text, caught = await talk(line, line.endpoint(credentials_of(case)), folder)

        failures += caught is not None
        assert not leaks(text, SECRETS), misdeed
    said = capfd.readouterr()

    assert failures >= 5
    assert not leaks(at_debug.text + said.out + said.err, SECRETS)


@pytest.mark.parametrize("case", CASES[1:], ids=NAMES[1:])
async def test_secrets_that_are_wrong_are_refused_without_being_told(
    case: tuple[str, str, dict[str, Any], DlmsSettings], tmp_path: Path, at_debug: pytest.LogCaptureFixture
) -> None:
    right = credentials_of(case)
    other = DICE.randbytes(16)
    attempts = [
        Credentials(),
        replace(right, password=b"wrong-" + other if right.password else b""),
        replace(right, encryption_key=other if right.encryption_key else b""),
        replace(right, authentication_key=other[:15] if right.authentication_key else b""),
        replace(right, encryption_key=right.encryption_key[:15]),
        replace(right, curve_keys=CurveKeys(OURS[:-1], b"not a key at all")),
    ]
    refused = 0
    for number, credentials in enumerate(attempts):
        line = line_of(case)
        folder = tmp_path / str(number)
        folder.mkdir()

        text, caught = await talk(line, line.endpoint(credentials), folder)

        refused += caught is not None
        assert not leaks(text, {**SECRETS, "wrong key": other}), credentials

    assert refused >= 2
    assert not leaks(at_debug.text, {**SECRETS, "wrong key": other})


@pytest.mark.parametrize("name", list(SECRETS))
def test_a_secret_written_in_any_of_its_forms_would_be_found(name: str) -> None:
    secret = SECRETS[name]

    for form in (*forms(secret), secret[3:11].hex(), repr(secret[5:13])[2:-1]):
        assert leaks(f"... {form} ...", SECRETS) == [name], form
    assert not leaks("nothing to see", SECRETS)
