"""ACCESS: reading, writing and invoking in one request, plain and protected."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import accessing, acse, axdr, xdlms
from drivers.dlms.accessing import AccessItem, AccessRequest, AccessResponse, AccessResult
from drivers.dlms.association import ClientAssociation, State
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys
from drivers.dlms.commands import Accepted, Access, Associate, Received
from drivers.dlms.parameters import Parameters
from drivers.dlms.xdlms import Conformance
from drivers.errors import LocalProtocolError, MeterRefused, RemoteProtocolError
from tests.drivers.dlms.both_ways import assert_apdu_or_error, assert_both_ways
from tests.drivers.dlms.test_services import FIVE, METHOD, NAME, TEXT, VALUE, answered

GET, SET, ACT = AccessItem("get", VALUE), AccessItem("set", NAME), AccessItem("action", METHOD)
ALL = Access(((GET, axdr.NULL), (SET, TEXT), (ACT, FIVE)))
RESULTS = (AccessResult("get", 0, FIVE), AccessResult("set", 3, axdr.NULL), AccessResult("action", 0, TEXT))
NUMBER = 1  # of the first request


def opened(*, may_write: bool = True, granted: Conformance = Conformance.GET | Conformance.ACCESS) -> ClientAssociation:
    association = ClientAssociation(Parameters(may_write=may_write, services=("access",)))
    sent = acse.decode(association.send(Associate()))
    assert isinstance(sent, acse.Aarq)
    offer = xdlms.decode(sent.user_information)
    assert isinstance(offer, xdlms.InitiateRequest)
    assert offer.conformance & Conformance.ACCESS
    answer = acse.Aare(user_information=xdlms.InitiateResponse(granted, 0).encode())
    association.receive_data(answer.encode())
    assert isinstance(association.next_event(), Accepted)
    return association


def test_three_kinds_of_access_go_in_one_request() -> None:
    association = opened()

    request = xdlms.decode(association.send(ALL))
    event = answered(association, AccessResponse(NUMBER, RESULTS))

    assert isinstance(request, AccessRequest)
    assert request.items == (GET, SET, ACT)
    assert request.values == (axdr.NULL, TEXT, FIVE)
    assert request.long_invoke_id == accessing.CONFIRMED | accessing.HIGH_PRIORITY | NUMBER
    assert event == Received(RESULTS)
    assert association.state is State.OPEN


def test_the_bits_say_to_break_on_error_and_to_describe_itself() -> None:
    association = opened()

    request = xdlms.decode(association.send(replace(ALL, breaks_on_error=True, is_self_descriptive=True)))
    event = answered(association, AccessResponse(NUMBER, RESULTS[:2], (GET, SET, ACT)))

    assert isinstance(request, AccessRequest)
    assert request.long_invoke_id == 0xF000_0000 | NUMBER
    assert event == Received(RESULTS[:2])


@pytest.mark.parametrize(
    "answer",
    [
        AccessResponse(NUMBER, RESULTS[:2]),
        AccessResponse(NUMBER, RESULTS[::-1]),
        AccessResponse(NUMBER, (*RESULTS, RESULTS[0])),
        AccessResponse(NUMBER + 1, RESULTS),
        AccessResponse(NUMBER, RESULTS, (GET, GET, GET)),
        xdlms.GetResponse(0xC1, FIVE),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error(answer: xdlms.Apdu) -> None:
    association = opened()

    association.send(ALL)
    with pytest.raises(RemoteProtocolError):
        answered(association, answer)

    assert association.state is State.FAILED


def test_access_that_was_not_granted_is_refused_before_it_is_sent() -> None:
    association = opened(granted=Conformance.GET)

    with pytest.raises(MeterRefused, match="does not grant access"):
        association.send(ALL)

    assert association.state is State.OPEN


def test_access_that_changes_nothing_needs_no_right_to_write() -> None:
    association = opened(may_write=False)

    with pytest.raises(LocalProtocolError, match="opened for reading"):
        association.send(ALL)
    association.send(Access(((GET, axdr.NULL),)))

    assert answered(association, AccessResponse(NUMBER, RESULTS[:1])) == Received(RESULTS[:1])


def test_protected_access_has_a_general_form_alone() -> None:
    keys = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
    ours, theirs = (
        SecureChannel(keys, one, other) for one, other in ((b"HDE00001", b"SIM00001"), (b"SIM00001", b"HDE00001"))
    )
    ours.supply(range(1, 10))
    request = AccessRequest(1, (GET,), (axdr.NULL,)).encode()

    sealed = ours.seal(request)

    assert sealed[0] == 0xDB
    assert theirs.open(sealed) == request


# The layout octet by octet of IEC 62056-5-3, Access-Request and Access-Response; put together by hand from its ASN.1.
BY_HAND_REQUEST = "d9c000000100020100030100010800ff020400070100630100ff02021105020000"
BY_HAND_RESPONSE = "dac0000001000002110500020100010b"


def test_the_layout_of_the_standard_is_read_and_written() -> None:
    selected = AccessItem(
        "get",
        replace(VALUE, class_id=7, logical_name=type(VALUE.logical_name)(1, 0, 99, 1, 0)),
        xdlms.Selection(2, FIVE),
    )
    request = AccessRequest(0xC0000001, (GET, selected), (axdr.NULL, axdr.NULL))
    response = AccessResponse(0xC0000001, (AccessResult("get", 0, FIVE), AccessResult("get", 11, axdr.NULL)))

    assert request.encode().hex() == BY_HAND_REQUEST
    assert response.encode().hex() == BY_HAND_RESPONSE


APDUS: list[xdlms.Apdu] = [
    AccessRequest(
        7, (GET, replace(GET, selection=xdlms.Selection(1, FIVE)), SET, ACT), (FIVE, FIVE, TEXT, axdr.NULL), bytes(12)
    ),
    AccessResponse(7, RESULTS),
    AccessResponse(7, RESULTS, (GET, SET, ACT), bytes(12)),
]


@pytest.mark.parametrize("apdu", APDUS, ids=lambda apdu: type(apdu).__name__)
def test_an_apdu_encoded_is_the_one_decoded_and_cut_short_or_longer_an_error(apdu: xdlms.Apdu) -> None:
    assert_both_ways(apdu)


@given(st.binary(max_size=100), st.sampled_from([0xD9, 0xDA]))
def test_any_octets_behind_any_tag_are_an_apdu_or_an_error(octets: bytes, tag: int) -> None:
    assert_apdu_or_error(bytes([tag]) + octets)


# What the client of gurux-dlms 1.0.203 sends for data 0-0:96.50.0 attribute 2 and register 1-0:1.8.0 attribute 3.
GURUX_REQUEST = "d9c000000100020100010000603200ff020100030100010800ff03020000"


def test_a_request_of_an_independent_client_is_read_and_written_back() -> None:
    request = xdlms.decode(bytes.fromhex(GURUX_REQUEST))

    assert isinstance(request, AccessRequest)
    assert [str(item.target) for item in request.items] == [
        "class 1 0-0:96.50.0*255 attribute 2",
        "class 3 1-0:1.8.0*255 attribute 3",
    ]
    assert request.encode().hex() == GURUX_REQUEST
