"""ACSE and xDLMS APDUs: there and back, cut short, with a surplus, and turned at random."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import acse, axdr, getlist, writing, xdlms
from drivers.dlms.xdlms import Attribute, Conformance
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis
from tests.drivers.dlms.cases import load

REGISTER = Attribute(3, Obis.parse("1.8.0"), 2)
XDLMS: list[xdlms.Apdu] = [
    xdlms.InitiateRequest(Conformance.GET | Conformance.ACTION, 1200),
    xdlms.InitiateResponse(Conformance.GET, 500),
    xdlms.GetRequest(0xC1, REGISTER),
    xdlms.GetRequest(0xC1, REGISTER, xdlms.Selection(2, axdr.structure(axdr.unsigned(1)))),
    xdlms.GetRequestNext(0xC1, 7),
    xdlms.GetResponse(0xC1, axdr.double_long_unsigned(5)),
    xdlms.GetResponse(0xC1, None, 3),
    xdlms.GetResponseBlock(0xC1, is_last=False, block_number=1, raw=bytes(200)),
    xdlms.GetResponseBlock(0xC1, is_last=True, block_number=2, raw=None, result=19),
    getlist.GetRequestList(0xC1, ((REGISTER, None), (REGISTER, xdlms.Selection(2, axdr.unsigned(1))))),
    getlist.GetResponseList(0xC1, (getlist.GetResult(axdr.unsigned(7)), getlist.GetResult(None, 3))),
    writing.SetRequest(0xC1, REGISTER, axdr.unsigned(5)),
    writing.SetRequest(0xC1, REGISTER, axdr.unsigned(5), xdlms.Selection(1, axdr.unsigned(1))),
    writing.SetRequestFirstBlock(0xC1, REGISTER, is_last=False, block_number=1, raw=bytes(200)),
    writing.SetRequestBlock(0xC1, is_last=True, block_number=2, raw=b"end"),
    writing.SetResponse(0xC1, 0),
    writing.SetResponse(0xC1, 3),
    writing.SetResponseBlock(0xC1, 1),
    writing.SetResponseLastBlock(0xC1, 12, 2),
    xdlms.ActionRequest(0xC1, REGISTER, axdr.octet_string(b"token")),
    xdlms.ActionRequest(0xC1, REGISTER),
    xdlms.ActionResponse(0xC1, 0, axdr.octet_string(b"token")),
    xdlms.ActionResponse(0xC1, 3),
    xdlms.ActionResponse(0xC1, 0, access_result=3),
    xdlms.DataNotification(475, bytes(12), axdr.unsigned(1)),
    xdlms.ExceptionResponse(1, 2),
    xdlms.ExceptionResponse(1, 6, 4711),
    xdlms.ConfirmedServiceError(1, 6, 2),
]
ACSE: list[acse.Aarq | acse.Aare | acse.Release] = [
    acse.Aarq(user_information=b"initiate"),
    acse.Aarq(
        acse.ApplicationContext.LOGICAL_NAME_CIPHERED, acse.Mechanism.HIGH_GMAC, bytes(64), b"HDE00001", bytes(40)
    ),
    acse.Aare(user_information=b"granted"),
    acse.Aare(
        acse.ApplicationContext.LOGICAL_NAME_CIPHERED, diagnostic=14, responding_title=b"GRX00001",
        mechanism=acse.Mechanism.HIGH_GMAC, authentication_value=bytes(16), user_information=bytes(200),
    ),
    acse.Aare(result=acse.Result.REJECTED_PERMANENT, diagnostic=2, by_provider=True),
    acse.Release(),
    acse.Release(is_response=True, reason=None),
    acse.Release(user_information=bytes(30)),
]  # fmt: skip


@pytest.mark.parametrize("apdu", XDLMS, ids=lambda apdu: type(apdu).__name__)
def test_an_xdlms_apdu_encoded_is_the_one_decoded(apdu: xdlms.Apdu) -> None:
    assert xdlms.decode(apdu.encode()) == apdu


@pytest.mark.parametrize("apdu", ACSE, ids=lambda apdu: type(apdu).__name__)
def test_an_acse_apdu_encoded_is_the_one_decoded(apdu: acse.Aarq | acse.Aare | acse.Release) -> None:
    assert acse.decode(apdu.encode()) == apdu


@pytest.mark.parametrize("apdu", XDLMS, ids=lambda apdu: type(apdu).__name__)
def test_an_xdlms_apdu_cut_short_or_with_a_surplus_is_an_error(apdu: xdlms.Apdu) -> None:
    octets = apdu.encode()

    # An exception-response without the counter it announces is a legal short form of older meters.
    ends = range(len(octets)) if not isinstance(apdu, xdlms.ExceptionResponse) else range(3)
    for end in ends:
        with pytest.raises(RemoteProtocolError):
            xdlms.decode(octets[:end])
    with pytest.raises(RemoteProtocolError, match="surplus"):
        xdlms.decode(octets + b"\x00\x00\x00\x00\x00")


@pytest.mark.parametrize("apdu", ACSE, ids=lambda apdu: type(apdu).__name__)
def test_an_acse_apdu_cut_short_or_with_a_surplus_is_an_error(apdu: acse.Aarq | acse.Aare | acse.Release) -> None:
    octets = apdu.encode()

    for end in range(len(octets)):
        with pytest.raises(RemoteProtocolError):
            acse.decode(octets[:end])
    with pytest.raises(RemoteProtocolError, match="surplus"):
        acse.decode(octets + b"\x00")


@given(st.binary(min_size=1, max_size=200), st.sampled_from(sorted({apdu.encode()[0] for apdu in [*XDLMS, *ACSE]})))
def test_any_octets_behind_any_tag_are_an_apdu_or_an_error(octets: bytes, tag: int) -> None:
    decode = acse.decode if tag in range(0x60, 0x64) else xdlms.decode
    try:
        decode(bytes([tag]) + octets)
    except RemoteProtocolError:
        return


def test_a_refusal_that_says_success_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="success"):
        xdlms.decode(bytes.fromhex("c401c10100"))


@pytest.mark.parametrize("octets", ["c403c1", "c303c1", "db00", "c103", "", "c404c100", "c104c1", "c504c1"])
def test_a_service_we_do_not_speak_is_an_error_at_once(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        xdlms.decode(bytes.fromhex(octets))


def test_a_server_says_how_it_refers_to_objects() -> None:
    response = xdlms.decode(bytes.fromhex("0800065f1f0400001c1ffffffa00"))

    assert isinstance(response, xdlms.InitiateResponse)
    assert response.name == xdlms.SHORT_NAMES


def test_a_password_is_not_shown() -> None:
    aarq = acse.decode(load("dlms-acse-047").frame)

    assert "12345678" not in repr(aarq)
    assert "31323334" not in repr(aarq)


def test_a_list_as_an_independent_decoder_publishes_it_is_read() -> None:
    asked = xdlms.decode(bytes.fromhex("c003c102000100002a0000ff020000030100010800ff0200"))
    results = getlist.decode_results(bytes.fromhex("02001200010103"))  # of two blocks, joined

    assert isinstance(asked, getlist.GetRequestList)
    assert [str(attribute) for attribute, _ in asked.items] == [
        "class 1 0-0:42.0.0*255 attribute 2",
        "class 3 1-0:1.8.0*255 attribute 2",
    ]
    assert results == (getlist.GetResult(axdr.long_unsigned(1)), getlist.GetResult(None, 3))


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        ("00", "list of 0"),
        ("820100", "list of 256"),
        ("010100", "success"),
        ("01001105ff", "surplus"),
        ("0200110a", "early"),
    ],
)
def test_a_damaged_list_of_results_is_an_error(octets: str, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        getlist.decode_results(bytes.fromhex(octets))


@given(st.binary(max_size=600), st.integers(48, 300))
def test_a_value_set_in_blocks_arrives_whole_and_no_request_is_too_large(value: bytes, room: int) -> None:
    data = axdr.octet_string(value)

    first, *more = writing.requests(0xC1, REGISTER, data, room)

    assert all(len(request.encode()) <= room for request in (first, *more))
    if isinstance(first, writing.SetRequest):
        assert (first.data, more) == (data, [])
        return
    blocks = [
        block for block in (first, *more) if isinstance(block, writing.SetRequestFirstBlock | writing.SetRequestBlock)
    ]
    assert len(blocks) == 1 + len(more)
    assert axdr.decode(b"".join(block.raw for block in blocks)) == data
    assert [block.block_number for block in blocks] == list(range(1, len(blocks) + 1))
    assert [block.is_last for block in blocks] == [False] * (len(blocks) - 1) + [True]


# What the client of gurux-dlms 1.0.203 sends for a write of octets 0, 1, 2 and for a method with integer 0.
GURUX_SET = "c101c100010000603200ff02000914000102030405060708090a0b0c0d0e0f10111213"
GURUX_ACTION = "c301c10046000060030aff01010f00"
GURUX_BLOCKS = (
    "c102c100010000603200ff020000000000012d098196" + bytes(range(42)).hex(),
    "c103c1000000000237" + bytes(range(42, 97)).hex(),
)


def test_what_an_independent_client_writes_is_what_ours_writes() -> None:
    data = xdlms.Attribute(1, Obis(0, 0, 96, 50, 0), 2)
    disconnect = xdlms.Attribute(70, Obis(0, 0, 96, 3, 10), 1)

    (request,) = writing.requests(0xC1, data, axdr.octet_string(bytes(range(20))), 0)

    assert request.encode().hex() == GURUX_SET
    assert xdlms.decode(bytes.fromhex(GURUX_SET)) == request
    assert xdlms.ActionRequest(0xC1, disconnect, axdr.integer(0)).encode().hex() == GURUX_ACTION


def test_blocks_of_an_independent_client_are_read_and_written_back() -> None:
    first, second = (xdlms.decode(bytes.fromhex(octets)) for octets in GURUX_BLOCKS)

    assert isinstance(first, writing.SetRequestFirstBlock)
    assert isinstance(second, writing.SetRequestBlock)
    assert (first.block_number, second.block_number) == (1, 2)
    assert first.raw + second.raw == bytes.fromhex("098196") + bytes(range(97))
    assert (first.encode().hex(), second.encode().hex()) == GURUX_BLOCKS
