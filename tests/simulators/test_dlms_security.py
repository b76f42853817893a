"""Sessions with the simulated meter in suites 1 and 2: signed authentication, and every form of general-ciphering and signing."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from drivers.contract import Credentials, CurveKeys, Endpoint
from drivers.dlms.ciphering import KEY_SIZES, Keys
from drivers.dlms.elliptic import PrivateKey, Signer, fresh_key
from drivers.dlms.protection import Protection
from drivers.dlms.settings import settings_of
from drivers.errors import DriverError, ProfileError, SecurityError
from drivers.profile import Ciphering, Signing
from simulators.dlms.settings import DlmsSettings
from tests.drivers.dlms.test_elliptic import counting
from tests.simulators.homes import MONDAY
from tests.simulators.reading import context, counts, dlms_session
from tests.simulators.test_dlms import FRAMINGS, NOW, client, named, served

MASTER = bytes(range(0x60, 0x70))
FORMS: list[tuple[Ciphering, Signing]] = [
    ("service", "none"), ("general", "none"), ("identified-key", "none"), ("wrapped-key", "none"), ("one-pass", "none"),
    ("static-unified", "none"), ("service", "general"), ("one-pass", "general"),
]  # fmt: skip
EACH_FORM = pytest.mark.parametrize(("ciphering", "signing"), FORMS, ids=["+".join(form) for form in FORMS])


class Both:
    """The keys of both sides, of one suite."""

    def __init__(self, suite: int) -> None:
        self.suite = suite
        self.keys = Keys(bytes(range(KEY_SIZES[suite])), bytes(range(100, 100 + KEY_SIZES[suite])), suite)
        self.signs, self.agrees = fresh_key(suite, counting(1)), fresh_key(suite, counting(2))
        self.meter_signs, self.meter_agrees = fresh_key(suite, counting(3)), fresh_key(suite, counting(4))

    def meter(self, authentication: str, ciphering: Ciphering, signing: Signing) -> DlmsSettings:
        signer = Signer(self.meter_signs, self.signs.public)
        protection = Protection(ciphering, signing, MASTER, self.meter_agrees, self.agrees.public, signer, os.urandom)
        is_signed = authentication == "hls7"
        return DlmsSettings(
            "hls7" if is_signed else "hls5", keys=self.keys, signer=signer if is_signed else None,
            protection=None if (ciphering, signing) in FORMS[:2] else protection,
        )  # fmt: skip

    def client(
        self, framing: str, authentication: str, ciphering: Ciphering = "service", signing: Signing = "none"
    ) -> Endpoint:
        found = client(framing, "hls5")
        assert found.profile.dlms is not None
        dlms = replace(found.profile.dlms, security_suite=self.suite, ciphering=ciphering, signing=signing)
        curve_keys = CurveKeys(
            number(self.signs), self.meter_signs.public.octets.hex().encode(),
            number(self.agrees), self.meter_agrees.public.octets.hex().encode(),
        )  # fmt: skip
        secrets = Credentials(b"", self.keys.encryption, self.keys.authentication, MASTER, curve_keys)
        options = {**found.options, "authentication": authentication}
        return replace(found, profile=replace(found.profile, dlms=dlms), credentials=secrets, options=options)


def number(key: PrivateKey) -> bytes:
    value = key.key.private_numbers().private_value
    return f"{value:0{2 * key.key.key_size // 8}x}".encode()


@asynccontextmanager
async def read(framing: str, settings: DlmsSettings, meter: Endpoint) -> AsyncIterator[list[int | None]]:
    async with (
        served(framing, settings, named(17)) as url,
        dlms_session(url, meter, context(lambda: NOW)) as session,
    ):
        yield counts(await session.read_load_profile(MONDAY, NOW))


@FRAMINGS
@pytest.mark.parametrize("suite", [1, 2])
async def test_a_meter_is_read_after_both_sides_have_signed(framing: str, suite: int) -> None:
    both = Both(suite)

    async with read(framing, both.meter("hls7", "service", "none"), both.client(framing, "hls7")) as values:
        assert values == [100, 0, 360, None, 7, 900]


@pytest.mark.parametrize("suite", [1, 2])
@EACH_FORM
async def test_a_meter_is_read_in_each_form(ciphering: Ciphering, signing: Signing, suite: int) -> None:
    both = Both(suite)
    meter = both.client("wrapper", "hls5", ciphering, signing)

    async with read("wrapper", both.meter("hls5", ciphering, signing), meter) as values:
        assert values == [100, 0, 360, None, 7, 900]


@EACH_FORM
async def test_a_meter_that_speaks_another_form_than_agreed_is_refused(ciphering: Ciphering, signing: Signing) -> None:
    both = Both(1)
    other: tuple[Ciphering, Signing] = ("static-unified", "general")

    with pytest.raises(DriverError) as refused:
        async with read("wrapper", both.meter("hls5", ciphering, signing), both.client("wrapper", "hls5", *other)):
            pass
    assert not refused.value.retryable
    with pytest.raises(DriverError):
        async with read("wrapper", both.meter("hls5", *other), both.client("wrapper", "hls5", ciphering, signing)):
            pass


@pytest.mark.parametrize("side", ["ours", "the meter's"])
async def test_a_side_that_signs_with_another_key_is_refused(side: str) -> None:
    both, other = Both(1), Both(1)
    if side == "ours":
        other.signs = fresh_key(1, counting(9))
    else:
        other.meter_signs = fresh_key(1, counting(9))

    with pytest.raises(SecurityError):
        async with read("wrapper", both.meter("hls7", "service", "none"), other.client("wrapper", "hls7")):
            pass


async def test_keys_that_are_missing_are_named_before_a_byte_is_sent() -> None:
    both = Both(1)
    bare = Credentials(b"", both.keys.encryption, both.keys.authentication)
    cases: list[tuple[str, Ciphering, Signing, str]] = [
        ("hls7", "service", "none", "options signing_key and meter_signing_key"),
        ("hls5", "service", "general", "options signing_key and meter_signing_key"),
        ("hls5", "one-pass", "none", "options signing_key and meter_signing_key"),
        ("hls5", "static-unified", "none", "agreement keys of both sides"),
        ("hls5", "wrapped-key", "none", "a master key"),
    ]
    for authentication, ciphering, signing, why in cases:
        meter = replace(both.client("wrapper", authentication, ciphering, signing), credentials=bare)
        with pytest.raises(SecurityError, match=why):
            async with read("wrapper", both.meter("hls5", "service", "none"), meter):
                pass


@pytest.mark.parametrize(
    ("authentication", "ciphering", "signing", "why"),
    [
        ("hls7", "service", "none", "hls7 signs, and suite 0 has no signatures"),
        ("hls5", "one-pass", "none", "agrees on keys, which suite 0 cannot"),
        ("hls5", "service", "general", "signing needs security and a security_suite of 1 or 2"),
    ],
)
def test_suite_0_has_no_curves(authentication: str, ciphering: Ciphering, signing: Signing, why: str) -> None:
    meter = Both(1).client("wrapper", authentication, ciphering, signing)
    assert meter.profile.dlms is not None
    dlms = replace(meter.profile.dlms, security_suite=0)

    with pytest.raises(ProfileError, match=why):
        settings_of(replace(meter, profile=replace(meter.profile, dlms=dlms)))
