"""Forms of protected APDUs: by service or general, with the global or a dedicated key; and what does not fit what was agreed."""

import tomllib
from pathlib import Path

import pytest

from drivers.dlms import xdlms
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys, encrypt
from drivers.errors import CounterError, RemoteProtocolError, SecurityError
from drivers.profile import Ciphering

KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
DEDICATED = bytes(range(0x40, 0x50))
CLIENT, SERVER = b"HDE00001", b"SIM00001"
REQUEST = bytes.fromhex("c001c1000100002b0100ff0200")
INITIATE = xdlms.InitiateRequest(xdlms.Conformance.GET, 500).encode()
PUSHED = Path(__file__).resolve().parents[2] / "data/dlms-push/dlms-push-034-udp-push-wrapper"


def sides(ciphering: Ciphering = "service", *, is_dedicated: bool = False) -> tuple[SecureChannel, SecureChannel]:
    client = SecureChannel(KEYS, CLIENT, SERVER, ciphering=ciphering)
    server = SecureChannel(KEYS, SERVER, CLIENT, ciphering=ciphering)
    for side in (client, server):
        side.supply(range(1, 100))
        if is_dedicated:
            side.use_dedicated(DEDICATED)
    return client, server


@pytest.mark.parametrize(
    ("ciphering", "is_dedicated", "head"),
    [("service", False, "c81e30"), ("general", False, "db08"), ("service", True, "d01e30"), ("general", True, "dc08")],
)
def test_each_form_begins_as_the_standard_says_and_opens(
    ciphering: Ciphering, head: str, *, is_dedicated: bool
) -> None:
    client, server = sides(ciphering, is_dedicated=is_dedicated)
    sealed = client.seal(REQUEST)

    assert sealed.hex().startswith(head + (CLIENT.hex() if ciphering == "general" else ""))
    assert server.open(sealed) == REQUEST
    with pytest.raises(CounterError, match="not above"):
        server.open(sealed)
    initiate = client.seal(INITIATE)
    assert initiate[0] == 0x21  # always global, by its own tag
    assert server.open(initiate) == INITIATE


@pytest.mark.parametrize("ciphering", ["service", "general"])
@pytest.mark.parametrize("is_dedicated", [False, True])
def test_any_bit_flipped_in_any_form_is_an_error(ciphering: Ciphering, *, is_dedicated: bool) -> None:
    client, server = sides(ciphering, is_dedicated=is_dedicated)
    sealed = client.seal(REQUEST)

    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SecurityError, RemoteProtocolError)):
            server.open(bytes(altered))


def test_where_a_dedicated_key_is_agreed_the_global_one_is_refused_and_the_other_way_round() -> None:
    globally, _ = sides()
    client, server = sides(is_dedicated=True)
    _, plain_server = sides()

    with pytest.raises(SecurityError, match="dedicated key was agreed"):
        server.open(globally.seal(REQUEST))
    with pytest.raises(SecurityError, match="globally ciphered one was agreed"):
        plain_server.open(client.seal(REQUEST))
    with pytest.raises(SecurityError, match="dedicated key was agreed"):
        server.open(REQUEST)


def test_another_dedicated_key_does_not_open() -> None:
    client, server = sides(is_dedicated=True)
    server.use_dedicated(bytes(16))

    with pytest.raises(SecurityError, match="tag is wrong"):
        server.open(client.seal(REQUEST))
    with pytest.raises(SecurityError, match="octets"):
        server.use_dedicated(bytes(15))


def test_a_general_form_of_another_sender_is_refused_and_an_empty_title_means_the_known_one() -> None:
    client, server = sides("general")
    sealed = client.seal(REQUEST)

    with pytest.raises(SecurityError, match="the other side's is"):
        server.open(sealed[:2] + b"HDE00009" + sealed[10:])
    assert server.open(sealed[:1] + b"\x00" + sealed[10:]) == REQUEST
    for end in range(1, len(sealed)):
        with pytest.raises((SecurityError, RemoteProtocolError)):
            server.open(sealed[:end])


def test_a_general_form_with_a_ciphered_apdu_inside_is_refused() -> None:
    client, server = sides()
    inner = client.seal(REQUEST)
    client.ciphering = "general"
    protected = encrypt(KEYS, CLIENT, 50, inner)

    with pytest.raises(SecurityError, match="another service"):
        server.open(b"\xdb\x08" + CLIENT + bytes([len(protected)]) + protected)


def test_a_published_general_glo_ciphered_apdu_opens() -> None:
    expected = tomllib.loads((PUSHED / "expected.toml").read_text())
    apdu = bytes.fromhex((PUSHED / "frame.hex").read_text())[8:]  # behind the wrapper's header
    encryption, authentication = (
        bytes.fromhex(expected["keys"][f"{name}_key"]) for name in ("encryption", "authentication")
    )
    keys = Keys(encryption, authentication)
    channel = SecureChannel(keys, CLIENT, bytes.fromhex(expected["expect"]["system_title"]))

    plain = channel.open(apdu)

    assert plain[0] == xdlms.DATA_NOTIFICATION
    assert channel.last_seen == expected["expect"]["invocation_counter"]


def test_a_dedicated_key_is_offered_and_never_shown() -> None:
    offer = xdlms.InitiateRequest(xdlms.Conformance.GET, 500, dedicated_key=DEDICATED)

    assert xdlms.decode(offer.encode()) == offer
    assert offer.encode()[:3] == b"\x01\x01\x10"
    assert DEDICATED.hex() not in repr(offer)
    assert "@AB" not in repr(offer)
