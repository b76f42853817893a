"""What a session is opened with: the profile's settings with one meter's overrides, checked before a byte is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast, get_args

from drivers.contract import Credentials, CurveKeys, Endpoint, SessionContext
from drivers.dlms.ciphering import KEY_SIZES, Keys
from drivers.dlms.elliptic import Signer, parse_private, parse_public
from drivers.dlms.gateway import Gateway
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.hls import BY_SECRET, HIGH
from drivers.dlms.opening import Opening
from drivers.dlms.parameters import Parameters
from drivers.dlms.protection import FORMS, Protection
from drivers.errors import LocalProtocolError, ProfileError, SecurityError
from drivers.profile import AuthenticationKey, DlmsProfile, Security, parse_authentication
from drivers.profile_rules import security_faults

KEPT_IN_PUBLIC: Final = frozenset({"address_size", "gateway", "optical_address"})  # options that say where the meter is
CHALLENGE_SIZE: Final = 16  # 8 to 64 by IEC 62056-5-3, 9.2.2.2; some meters take 16 only [octet]


@dataclass(frozen=True, slots=True)
class Settings:
    """The profile's session settings with this meter's overrides. ``floor``: lowest invocation counter to use.

    ``gateway``: where behind one the meter is, None for a meter that is called itself.
    ``optical_address``: by which it answers in mode E, empty for whatever is under the probe.
    """

    dlms: DlmsProfile
    server: HdlcAddress
    server_title: bytes = b""
    floor: int = 1
    gateway: Gateway | None = None
    optical_address: str = ""


def settings_of(endpoint: Endpoint) -> Settings:
    """Combine profile, address and options. Raises `ProfileError` listing everything that is wrong."""
    dlms = endpoint.profile.dlms
    where = f"{endpoint.profile.name} for meter {endpoint.name}"
    if dlms is None:
        raise ProfileError(where, ["dlms: the table is missing"])
    faults: list[str] = []
    options = endpoint.options
    client = _number(options, "client", dlms.client, faults, 0x7F if dlms.framing == "hdlc" else 0xFFFF)
    floor = _number(options, "invocation_counter", 1, faults, 2**32 - 2)
    size = _number(options, "address_size", 0, faults, 4) if "address_size" in options else 0
    authentication = dlms.authentication
    try:
        authentication = parse_authentication(options.get("authentication", authentication))
    except ValueError as error:
        faults.append(f"option authentication: {error}")
    security = _choice(options, "security", dlms.security or "", get_args(Security), faults)
    withheld = _choice(options, "authentication_key", dlms.authentication_key, get_args(AuthenticationKey), faults)
    if dlms.security_suite not in KEY_SIZES:
        faults.append(f"dlms.security_suite: {dlms.security_suite} is none of {', '.join(map(str, KEY_SIZES))}")
    client_title = _title(options, "system_title", dlms.client_system_title, faults)
    server_title = _title(options, "server_system_title", b"", faults)
    server = HdlcAddress(dlms.server)
    try:
        server = HdlcAddress.parse(endpoint.address or str(dlms.server))
        if size:
            server = HdlcAddress(server.upper, server.lower, size)
    except LocalProtocolError as error:
        faults.append(f"address: {error}")
    if server.upper == 0:
        faults.append(f"address: {endpoint.address!r} names no logical device; 0 is nobody")
    gateway = None
    try:
        gateway = Gateway.parse(options["gateway"]) if "gateway" in options else None
    except LocalProtocolError as error:
        faults.append(f"option gateway: {error}")
    optical_address = options.get("optical_address", "")
    try:
        Opening(optical_address)
    except LocalProtocolError as error:
        faults.append(f"option optical_address: {error}")
    if dlms.opening != "none" and dlms.framing != "hdlc":
        faults.append(f"opening: {dlms.opening} goes on in HDLC, not in framing {dlms.framing}")
    if dlms.framing == "wrapper" and server.lower is not None:
        faults.append(f"address: {endpoint.address!r} has a physical part; the wrapper knows logical devices only")
    chosen = replace(
        dlms,
        client=client,
        authentication=authentication,
        security=cast("Security", security) or None,
        authentication_key=cast("AuthenticationKey", withheld),
        client_system_title=client_title,
    )
    faults += [f"security: {line}" for line in security_faults(chosen)]
    if faults:
        raise ProfileError(where, faults)
    return Settings(chosen, server, server_title, floor, gateway, optical_address)


def _number(options: Mapping[str, str], name: str, default: int, faults: list[str], largest: int) -> int:
    text = options.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= largest:
        return int(text)
    faults.append(f"option {name}: {text!r} is not a number from 1 to {largest}")
    return default


def _choice(options: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...], faults: list[str]) -> str:
    text = options.get(name, default)
    if text in allowed or text == default:
        return text
    faults.append(f"option {name}: {text!r} is not one of {', '.join(allowed)}")
    return default


def _title(options: Mapping[str, str], name: str, default: bytes, faults: list[str]) -> bytes:
    text = options.get(name)
    if text is None:
        return default
    try:
        title = bytes.fromhex(text)
    except ValueError:
        title = b""
    if len(title) != 8:
        faults.append(f"option {name}: {text!r} is not 16 hexadecimal digits")
    return title


def parameters_of(endpoint: Endpoint, settings: Settings, context: SessionContext) -> Parameters:
    """Give what the association is opened with: secrets, and a fresh challenge. Raises `SecurityError` for keys that are missing."""
    secrets = endpoint.credentials
    dlms = settings.dlms
    keys = None
    signer = signer_of(secrets.curve_keys, dlms.security_suite) if dlms.authentication == "hls7" else None
    if dlms.agreed_security != "none":
        is_withheld = dlms.authentication_key == "withheld"
        if not secrets.encryption_key or not (secrets.authentication_key or is_withheld):
            what = "HLS-5" if dlms.authentication == "hls5" else f"security {dlms.agreed_security}"
            raise SecurityError(f"meter {endpoint.name}: {what} needs an encryption key and an authentication key")
        if secrets.authentication_key and is_withheld:
            raise SecurityError(f"meter {endpoint.name}: has an authentication key that is said to be withheld")
        keys = Keys(secrets.encryption_key, secrets.authentication_key, dlms.security_suite)
    return Parameters(
        authentication=dlms.authentication,
        max_pdu=dlms.max_pdu,
        password=secrets.password if dlms.authentication == "lls" or dlms.authentication in BY_SECRET else b"",
        keys=keys,
        client_title=dlms.client_system_title,
        server_title=settings.server_title,
        challenge=context.random_bytes(CHALLENGE_SIZE) if dlms.authentication in HIGH else b"",
        security=dlms.security,
        ciphering=dlms.ciphering,
        referencing=dlms.referencing,
        block_window=dlms.block_window,
        services=dlms.services,
        protection=None if keys is None else protection_of(endpoint, dlms, context),
        signer=signer,
        dedicated_key=context.random_bytes(KEY_SIZES[dlms.security_suite]) if dlms.session_key == "dedicated" else b"",
    )


def signer_of(keys: CurveKeys, suite: int) -> Signer:
    """Give both ends' signing keys. Raises `SecurityError` for what is missing or no key of the suite."""
    if not keys.signing or not keys.meter_signing:
        raise SecurityError(
            "signing needs options signing_key and meter_signing_key, references to our key and the meter's"
        )
    return Signer(parse_private(suite, keys.signing), parse_public(suite, keys.meter_signing))


def protection_of(endpoint: Endpoint, dlms: DlmsProfile, context: SessionContext) -> Protection | None:
    """Give the keys of general-ciphering and general-signing, None where neither is agreed. Raises `SecurityError`."""
    if dlms.ciphering not in FORMS and dlms.signing == "none":
        return None
    suite, texts = dlms.security_suite, endpoint.credentials.curve_keys
    needs_signer = dlms.signing != "none" or dlms.ciphering == "one-pass"
    return Protection(
        dlms.ciphering,
        dlms.signing,
        endpoint.credentials.master_key,
        parse_private(suite, texts.agreement) if texts.agreement else None,
        parse_public(suite, texts.meter_agreement) if texts.meter_agreement else None,
        signer_of(texts, suite) if needs_signer else None,
        context.random_bytes,
    )


def public_endpoint(endpoint: Endpoint, dlms: DlmsProfile) -> Endpoint:
    """Give the same meter as the public client sees it: no authentication, no security, no secrets."""
    public = replace(
        dlms,
        client=dlms.counter_client,
        authentication="none",
        security=None,
        authentication_key="required",
        counter_object=None,
        session_key="global",
        ciphering="service",
        signing="none",
    )
    kept = {name: text for name, text in endpoint.options.items() if name in KEPT_IN_PUBLIC}
    return replace(endpoint, profile=replace(endpoint.profile, dlms=public), credentials=Credentials(), options=kept)
