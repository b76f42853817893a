"""Associations that are open from the beginning: nothing is negotiated, and nothing released."""

import pytest

from drivers.dlms import axdr, xdlms
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys
from drivers.dlms.commands import Get, Received
from drivers.dlms.parameters import Parameters
from drivers.errors import LocalProtocolError, SecurityError
from tests.drivers.dlms.test_many import Meter, talking
from tests.drivers.dlms.test_services import FIVE, VALUE, answered

KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
CLIENT, SERVER = b"HDE00001", b"SIM00001"


def test_it_is_open_without_an_apdu() -> None:
    association = ClientAssociation(Parameters())

    association.assume()
    association.send(Get(VALUE))

    assert answered(association, xdlms.GetResponse(0xC1, FIVE)) == Received(FIVE)
    with pytest.raises(LocalProtocolError, match="assume"):
        association.assume()


def test_it_has_no_authentication() -> None:
    with pytest.raises(SecurityError, match="neither authentication"):
        ClientAssociation(Parameters("lls", password=b"12345678")).assume()


def test_a_protected_one_needs_the_meter_s_system_title() -> None:
    parameters = Parameters(keys=KEYS, client_title=CLIENT, security="authenticated-encrypted")

    with pytest.raises(SecurityError, match="system title"):
        ClientAssociation(parameters).assume()


def test_a_protected_one_takes_protected_answers_alone() -> None:
    parameters = Parameters(keys=KEYS, client_title=CLIENT, server_title=SERVER, security="authenticated-encrypted")
    association, meter = ClientAssociation(parameters), SecureChannel(KEYS, SERVER, CLIENT)
    assert association.channel is not None
    association.channel.supply(range(1, 10))
    meter.supply(range(1, 10))

    association.assume()
    question = xdlms.decode(meter.open(association.send(Get(VALUE))))
    association.receive_data(meter.seal(xdlms.GetResponse(0xC1, FIVE).encode()))
    first = association.next_event()
    association.send(Get(VALUE))

    assert isinstance(question, xdlms.GetRequest)
    assert first == Received(FIVE)
    with pytest.raises(SecurityError):
        answered(association, xdlms.GetResponse(0xC2, FIVE))
    assert association.state is State.FAILED


async def test_a_conversation_in_it_neither_associates_nor_releases() -> None:
    meter = Meter([xdlms.GetResponse(0xC1, axdr.unsigned(7))])

    async with talking(meter, association="pre-established") as talk:
        value = await talk.get(VALUE)

    assert value == axdr.unsigned(7)
    assert [type(apdu) for apdu in meter.asked] == [xdlms.GetRequest]
