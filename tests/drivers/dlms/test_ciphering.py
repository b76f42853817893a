"""Suite 0: what must be verified is verified, and counters are used once."""

import pytest

from drivers.dlms import ciphering, xdlms
from drivers.dlms.ciphering import MAX_COUNTER, Keys, SecureChannel
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


@pytest.mark.parametrize("control", [0x00, 0x10, 0x20, 0x31, 0x70, 0xB0])
def test_a_weaker_or_other_security_control_is_a_security_error(control: int) -> None:
    client, server = channels()
    sealed = bytearray(client.seal(REQUEST))
    sealed[2] = control

    with pytest.raises(SecurityError, match="only 0x30"):
        server.open(bytes(sealed))


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
