"""What a meter says unasked, while an answer is awaited or not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import noticing, xdlms
from drivers.dlms.association import State
from drivers.dlms.commands import Get, Noticed, Received
from drivers.dlms.noticing import DataNotificationConfirm, EventNotification
from drivers.errors import MeterRefused, RemoteProtocolError
from tests.drivers.dlms.both_ways import assert_apdu_or_error, assert_both_ways
from tests.drivers.dlms.test_services import FIVE, TEXT, VALUE, answered, opened

EVENT = EventNotification(bytes(12), VALUE, TEXT)
APDUS: list[xdlms.Apdu] = [
    EVENT,
    EventNotification(b"", VALUE, FIVE),
    DataNotificationConfirm(0x4000_0001),
    DataNotificationConfirm(7, bytes(12)),
]


@pytest.mark.parametrize("apdu", APDUS, ids=lambda apdu: type(apdu).__name__)
def test_an_apdu_encoded_is_the_one_decoded_and_cut_short_or_longer_an_error(apdu: xdlms.Apdu) -> None:
    assert_both_ways(apdu)


@given(st.binary(max_size=60), st.sampled_from([0xC2, 0x10]))
def test_any_octets_behind_any_tag_are_an_apdu_or_an_error(octets: bytes, tag: int) -> None:
    assert_apdu_or_error(bytes([tag]) + octets)


def test_an_event_before_the_answer_is_noticed_and_the_answer_taken() -> None:
    association = opened()

    association.send(Get(VALUE))
    noticed = answered(association, EVENT)
    state = association.state
    received = answered(association, xdlms.GetResponse(0xC1, FIVE))

    assert (noticed, state, received) == (Noticed(EVENT), State.ASKING, Received(FIVE))


def test_an_event_that_comes_when_nothing_was_asked_is_an_error() -> None:
    association = opened()

    with pytest.raises(RemoteProtocolError, match="nothing was asked"):
        answered(association, EVENT)


def test_a_data_notification_is_confirmed_where_its_sender_wants_it() -> None:
    assert noticing.confirmation_of(0x4000_0007) == DataNotificationConfirm(0x4000_0007)
    assert noticing.confirmation_of(7) is None


@pytest.mark.parametrize(
    ("apdu", "complaint"),
    [
        (xdlms.ExceptionResponse(1, 4), "service not allowed.*PDU too long"),
        (xdlms.ExceptionResponse(2, 2), "service unknown.*service not supported"),
        (xdlms.ExceptionResponse(9, 9), "unknown"),
        (xdlms.ConfirmedServiceError(5, 5, 3), "5/3 .access"),
    ],
)
def test_a_refusal_of_an_apdu_says_why_in_words(apdu: xdlms.Apdu, complaint: str) -> None:
    association = opened()

    association.send(Get(VALUE))
    with pytest.raises(MeterRefused, match=complaint):
        answered(association, apdu)
