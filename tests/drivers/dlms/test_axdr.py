"""A-XDR data: every type there and back; damaged, incomplete and hostile input."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import axdr
from drivers.dlms.axdr import MAX_DEPTH, NULL, Data, Tag, decode, encode, parse
from drivers.dlms.events import NEED_DATA
from drivers.errors import LocalProtocolError, RemoteProtocolError


def whole(low: int, high: int, *tags: Tag) -> list[st.SearchStrategy[Data]]:
    return [st.builds(Data, st.just(tag), st.integers(low, high)) for tag in tags]


SIMPLE: st.SearchStrategy[Data] = st.one_of(
    st.just(NULL),
    st.builds(Data, st.just(Tag.BOOLEAN), st.booleans()),
    *whole(-(2**31), 2**31 - 1, Tag.DOUBLE_LONG, Tag.DELTA_DOUBLE_LONG),
    *whole(0, 2**32 - 1, Tag.DOUBLE_LONG_UNSIGNED, Tag.DELTA_DOUBLE_LONG_UNSIGNED),
    *whole(-128, 127, Tag.INTEGER, Tag.DELTA_INTEGER),
    *whole(-(2**15), 2**15 - 1, Tag.LONG, Tag.DELTA_LONG),
    *whole(0, 255, Tag.UNSIGNED, Tag.ENUM, Tag.DELTA_UNSIGNED),
    *whole(0, 2**16 - 1, Tag.LONG_UNSIGNED, Tag.DELTA_LONG_UNSIGNED),
    *whole(-(2**63), 2**63 - 1, Tag.LONG64),
    *whole(0, 2**64 - 1, Tag.LONG64_UNSIGNED),
    st.builds(Data, st.just(Tag.OCTET_STRING), st.binary(max_size=300)),
    st.builds(Data, st.just(Tag.UTF8_STRING), st.text(max_size=20)),
    st.builds(Data, st.just(Tag.BIT_STRING), st.text("01", max_size=40)),
    st.builds(Data, st.just(Tag.DATE_TIME), st.binary(min_size=12, max_size=12)),
    st.builds(Data, st.just(Tag.FLOAT32), st.floats(width=32, allow_nan=False, allow_infinity=False).map(Decimal)),
)
ANY = st.recursive(
    SIMPLE,
    lambda inner: st.builds(Data, st.sampled_from([Tag.ARRAY, Tag.STRUCTURE]), st.lists(inner, max_size=5).map(tuple)),
    max_leaves=20,
)


@given(ANY)
def test_data_encoded_is_the_data_decoded(data: Data) -> None:
    assert decode(encode(data)) == data


@given(ANY)
def test_data_cut_short_asks_for_more_and_is_an_error_where_no_more_can_come(data: Data) -> None:
    octets = encode(data)

    for end in range(len(octets)):
        assert parse(octets[:end]) is NEED_DATA
        with pytest.raises(RemoteProtocolError, match="ends early"):
            decode(octets[:end])


@given(ANY)
def test_surplus_octets_are_an_error_but_parsing_says_where_the_item_ends(data: Data) -> None:
    octets = encode(data)

    assert parse(octets + b"\x00") == (data, len(octets))
    with pytest.raises(RemoteProtocolError, match="surplus"):
        decode(octets + b"\x00")


@given(st.binary(max_size=400))
def test_any_octets_are_data_an_error_or_incomplete(octets: bytes) -> None:
    try:
        outcome = parse(octets)
    except RemoteProtocolError:
        return
    assert outcome is NEED_DATA or outcome[1] <= len(octets)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("07", "unknown data tag 7"),
        ("0980", "length field 0x80"),
        ("0985ffffffffff", "length field 0x85"),
        ("0984ffffffff", "exceeds the limit"),
        ("0184ffffffff", "exceeds the limit"),
        ("0c01ff", "not UTF-8"),
        ("1313", "compact-array inside"),
        ("13000100", "does not fit"),
        ("1302001000", "ends early|does not fit"),
    ],
)
def test_damage_is_named(octets: str, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode(bytes.fromhex(octets))


def test_nesting_is_bounded() -> None:
    fits = NULL
    for _ in range(MAX_DEPTH):
        fits = axdr.structure(fits)

    assert decode(encode(fits)) == fits
    with pytest.raises(RemoteProtocolError, match="nested deeper"):
        decode(encode(axdr.structure(fits)))
    with pytest.raises(RemoteProtocolError, match="nested deeper"):
        decode(b"\x02\x01" * 3000 + b"\x00")


def test_the_number_of_items_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(axdr, "MAX_ITEMS", 100)

    with pytest.raises(RemoteProtocolError, match="more than 100 items"):
        decode(b"\x01\x81\xff" + bytes(255))


def test_a_compact_array_of_structures_comes_out_as_rows() -> None:
    # IEC 62056-6-2, compact-array: description structure(long-unsigned, octet-string), then the values without tags.
    octets = bytes.fromhex("13 02 02 12 09 0b 0001 02 aabb 0002 03 ccddee".replace(" ", ""))

    rows = decode(octets).items()

    assert rows == (
        axdr.structure(axdr.long_unsigned(1), axdr.octet_string(b"\xaa\xbb")),
        axdr.structure(axdr.long_unsigned(2), axdr.octet_string(b"\xcc\xdd\xee")),
    )


def test_a_compact_array_within_a_structure_ends_where_its_length_says() -> None:
    octets = bytes.fromhex("0202 13 01 0002 11 04 01020304 1107".replace(" ", ""))

    first, second = decode(octets).items()

    assert [[item.value for item in row.items()] for row in first.items()] == [[1, 2], [3, 4]]
    assert second.value == 7


def test_a_compact_array_element_that_overruns_its_array_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="does not fit"):
        decode(bytes.fromhex("0202 13 12 03 000102 1107".replace(" ", "")))


@pytest.mark.parametrize(
    "data", [Data(Tag.UNSIGNED, 256), Data(Tag.OCTET_STRING, 5), Data(Tag.DATE_TIME, b"short"), Data(Tag.INTEGER, "x")]
)
def test_a_value_that_its_tag_cannot_carry_is_our_mistake(data: Data) -> None:
    with pytest.raises(LocalProtocolError):
        encode(data)


def test_asking_for_the_wrong_kind_of_value_is_a_protocol_error() -> None:
    with pytest.raises(RemoteProtocolError, match="expected an integer"):
        axdr.octet_string(b"1").integer()
    with pytest.raises(RemoteProtocolError, match="expected an octet-string"):
        axdr.unsigned(1).octets()
    with pytest.raises(RemoteProtocolError, match="expected an array"):
        axdr.unsigned(1).items()
