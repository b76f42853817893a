"""Suite 0: what must be verified is verified, and counters are used once."""

import pytest

from drivers.dlms import ciphering, xdlms
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import AUTHENTICATED, AUTHENTICATED_ENCRYPTED, ENCRYPTED, MAX_COUNTER, Keys
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.objects import decode_scaler_unit
from drivers.dlms.wrapper import WrapperLink
from drivers.errors import CounterError, LocalProtocolError, RemoteProtocolError, SecurityError
from drivers.units import ScalerUnit, Unit
from tests.drivers.dlms.cases import load

KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLIENT, SERVER = b"HDE00001", b"SIM00001"
REQUEST = bytes.fromhex("c001c1000100002b0100ff0200")


def channels() -> tuple[SecureChannel, SecureChannel]:
    client, server = SecureChannel(KEYS, CLIENT, SERVER), SecureChannel(KEYS, SERVER, CLIENT)
    client.supply(range(1, 100))
    server.supply(range(1, 100))
    return client, server


def test_what_one_side_seals_the_other_opens() -> None:
    client, server = channels()

    assert server.open(client.seal(REQUEST)) == REQUEST


def test_an_independent_meter_s_ciphered_answer_opens() -> None:
    case = load("gurux-glo-get-response")
    link = WrapperLink(16, 1)
    link.receive_data(case.frame)
    event = link.next_event()
    assert isinstance(event, Apdu)
    assert link.next_event() is NEED_DATA
    channel = SecureChannel(
        Keys(case.key("encryption_key"), case.key("authentication_key")), CLIENT, case.key("system_title")
    )

    response = xdlms.decode(channel.open(event.octets))

    assert isinstance(response, xdlms.GetResponse)
    assert response.data is not None
    assert decode_scaler_unit(response.data) == ScalerUnit(case.expect["scaler"], Unit(case.expect["unit"]))


def test_any_single_bit_flipped_in_a_ciphered_apdu_is_an_error() -> None:
    client, server = channels()
    sealed = client.seal(REQUEST)

    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SecurityError, RemoteProtocolError)):
            server.open(bytes(altered))


def test_a_replayed_apdu_is_a_counter_error() -> None:
    client, server = channels()
    first, second = client.seal(REQUEST), client.seal(REQUEST)
    server.open(second)

    for replayed in (first, second):
        with pytest.raises(CounterError, match="not above"):
            server.open(replayed)


def test_a_plain_apdu_is_a_security_error() -> None:
    _, server = channels()

    with pytest.raises(SecurityError, match="globally ciphered"):
        server.open(REQUEST)


@pytest.mark.parametrize("control", [0x00, 0x01, 0x0F, 0x10, 0x20, 0x31, 0x32, 0x70, 0xB0])
def test_a_weaker_or_other_security_control_is_a_security_error(control: int) -> None:
    client, server = channels()
    sealed = bytearray(client.seal(REQUEST))
    sealed[2] = control

    with pytest.raises(SecurityError, match="security control"):
        server.open(bytes(sealed))


@pytest.mark.parametrize("agreed", [AUTHENTICATED, ENCRYPTED, AUTHENTICATED_ENCRYPTED])
@pytest.mark.parametrize("sent", [AUTHENTICATED, ENCRYPTED, AUTHENTICATED_ENCRYPTED])
def test_what_is_at_least_as_strong_as_agreed_opens_and_nothing_weaker(sent: int, agreed: int) -> None:
    client, server = SecureChannel(KEYS, CLIENT, SERVER, sent), SecureChannel(KEYS, SERVER, CLIENT, agreed)
    client.supply(range(1, 2))
    sealed = client.seal(REQUEST)

    assert sealed[2] == sent
    if sent & agreed == agreed:
        assert server.open(sealed) == REQUEST
    else:
        with pytest.raises(SecurityError, match=f"0x{sent:02x} is weaker than the agreed 0x{agreed:02x}"):
            server.open(sealed)


@pytest.mark.parametrize("control", [AUTHENTICATED, AUTHENTICATED_ENCRYPTED])
def test_any_bit_flipped_in_what_is_authenticated_is_an_error(control: int) -> None:
    client, server = SecureChannel(KEYS, CLIENT, SERVER, control), SecureChannel(KEYS, SERVER, CLIENT, control)
    client.supply(range(1, 2))
    sealed = client.seal(REQUEST)

    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SecurityError, RemoteProtocolError)):
            server.open(bytes(altered))


def test_authenticated_only_is_readable_and_encrypted_only_has_no_tag() -> None:
    readable = ciphering.encrypt(KEYS, CLIENT, 7, REQUEST, AUTHENTICATED)
    tagless = ciphering.encrypt(KEYS, CLIENT, 7, REQUEST, ENCRYPTED)
    both = ciphering.encrypt(KEYS, CLIENT, 7, REQUEST)

    assert readable[5:-12] == REQUEST
    assert tagless[5:] == both[5:-12]


def test_without_the_authentication_key_what_was_authenticated_is_read_and_nothing_is_sent_as_if_it_were() -> None:
    withheld = Keys(KEYS.encryption, b"")
    client, server = SecureChannel(withheld, CLIENT, SERVER, ENCRYPTED), SecureChannel(KEYS, SERVER, CLIENT)
    client.supply(range(1, 3))
    server.supply(range(1, 3))

    assert client.open(server.seal(REQUEST)) == REQUEST
    assert ciphering.decrypt(KEYS, CLIENT, client.seal(REQUEST)[2:], ENCRYPTED) == (1, REQUEST)
    with pytest.raises(SecurityError, match="nothing can be authenticated"):
        ciphering.encrypt(withheld, CLIENT, 3, REQUEST)
    with pytest.raises(SecurityError, match="nothing can be authenticated"):
        client.prove(b"challenge")


def test_keys_have_the_length_of_their_suite() -> None:
    assert Keys(bytes(32), bytes(32), 2).suite == 2
    for size, suite in ((32, 0), (32, 1), (16, 2), (16, 3)):
        with pytest.raises(SecurityError, match="suite"):
            Keys(bytes(size), bytes(size), suite)


def test_aes_256_of_suite_2_protects_likewise_and_names_its_suite() -> None:
    keys = Keys(bytes(range(32)), bytes(range(0xC0, 0xE0)), 2)
    client, server = SecureChannel(keys, CLIENT, SERVER), SecureChannel(keys, SERVER, CLIENT)
    client.supply(range(1, 3))
    sealed = client.seal(REQUEST)

    assert sealed[2] == 0x32
    assert server.open(sealed) == REQUEST
    server.verify(b"challenge", client.prove(b"challenge"))


@pytest.mark.parametrize(
    "channel",
    [
        SecureChannel(Keys(bytes(16), KEYS.authentication), SERVER, CLIENT),
        SecureChannel(Keys(KEYS.encryption, bytes(16)), SERVER, CLIENT),
        SecureChannel(KEYS, SERVER, b"HDE00002"),
    ],
    ids=["encryption key", "authentication key", "system title"],
)
def test_a_wrong_key_or_title_is_a_security_error(channel: SecureChannel) -> None:
    client, _ = channels()

    with pytest.raises(SecurityError, match="tag is wrong"):
        channel.open(client.seal(REQUEST))


def test_a_service_ciphered_under_another_service_s_tag_is_a_security_error() -> None:
    client, server = channels()
    sealed = bytearray(client.seal(REQUEST))
    sealed[0] = 0xCB  # glo-action-request; the tag octet itself is not authenticated

    with pytest.raises(SecurityError, match="another service"):
        server.open(bytes(sealed))


def test_counters_are_used_in_order_once_and_then_missing() -> None:
    client, _ = channels()
    client = SecureChannel(KEYS, CLIENT, SERVER)
    client.supply(range(7, 8))
    client.supply(range(300, 301))

    used = [int.from_bytes(client.seal(REQUEST)[3:7], "big") for _ in range(2)]

    assert used == [7, 300]
    assert client.counters_left == 0
    with pytest.raises(CounterError, match="reserved"):
        client.seal(REQUEST)


def test_the_last_counter_is_refused_and_never_wraps() -> None:
    assert MAX_COUNTER == 2**32 - 1
    assert ciphering.encrypt(KEYS, CLIENT, MAX_COUNTER - 1, REQUEST)

    with pytest.raises(CounterError, match="change the key"):
        ciphering.encrypt(KEYS, CLIENT, MAX_COUNTER, REQUEST)
    with pytest.raises(CounterError):
        ciphering.gmac_token(KEYS, CLIENT, MAX_COUNTER, b"challenge")
    with pytest.raises(CounterError):
        SecureChannel(KEYS, CLIENT, SERVER).supply(range(MAX_COUNTER, MAX_COUNTER + 1))


def test_a_reflected_title_or_one_of_another_length_is_a_security_error() -> None:
    with pytest.raises(SecurityError, match="our own"):
        SecureChannel(KEYS, CLIENT, CLIENT)
    with pytest.raises(SecurityError, match="octets"):
        SecureChannel(KEYS, CLIENT, b"short")
    with pytest.raises(SecurityError, match="octets"):
        SecureChannel(KEYS, b"", SERVER)


def test_a_wrong_token_is_a_security_error() -> None:
    client, server = channels()
    token = bytearray(client.prove(b"challenge"))
    server.verify(b"challenge", bytes(token))
    token[-1] ^= 1

    with pytest.raises(SecurityError, match="does not know"):
        server.verify(b"challenge", bytes(token))
    with pytest.raises(SecurityError, match="form"):
        server.verify(b"challenge", bytes(token[:-1]))


def test_keys_are_never_shown() -> None:
    assert "000102" not in repr(KEYS)
    assert "\\x01" not in repr(KEYS)
    with pytest.raises(SecurityError) as caught:
        Keys(b"secret", bytes(16))
    assert "secret" not in str(caught.value)


def test_an_apdu_without_a_ciphered_form_is_our_mistake() -> None:
    client, _ = channels()

    with pytest.raises(LocalProtocolError, match="0x60"):
        client.seal(b"\x60")
