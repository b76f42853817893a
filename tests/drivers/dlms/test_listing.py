"""The object list: there and back, in each way of writing access, and bounded."""

import pytest

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.listing import (
    MAX_OBJECTS,
    ObjectEntry,
    association_version,
    decode_object_list,
    encode_object_list,
)
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis

REGISTER = ObjectEntry(3, 0, Obis.parse("1.8.0"), {1: 1, 2: 1, 3: 1})
ASSOCIATION = ObjectEntry(15, 1, Obis(0, 0, 40, 0, 0), {1: 1, 2: 1}, {1: 1})
RIGHTS = axdr.structure(axdr.array([]), axdr.array([]))
NAME = axdr.octet_string(Obis.parse("1.8.0").to_bytes())


def element(*items: Data) -> Data:
    return axdr.array([axdr.structure(*items)])


@pytest.mark.parametrize(("class_id", "version"), [(70_000, 0), (-1, 0), (3, 256), (3, -1)])
def test_a_class_or_version_that_no_request_could_name_is_an_error(class_id: int, version: int) -> None:
    entry = element(Data(Tag.LONG64, class_id), Data(Tag.LONG64, version), NAME, RIGHTS)

    with pytest.raises(RemoteProtocolError, match="is not 0 to"):
        decode_object_list(entry)


def test_a_list_encoded_is_the_one_decoded() -> None:
    entries = (REGISTER, ASSOCIATION)

    assert decode_object_list(axdr.decode(axdr.encode(encode_object_list(entries)))) == entries


def test_access_to_a_method_may_be_a_boolean_as_in_version_0() -> None:
    right = axdr.structure(axdr.integer(1), Data(Tag.BOOLEAN, value=True))
    listed = element(
        axdr.long_unsigned(70), axdr.unsigned(0), NAME, axdr.structure(axdr.array([]), axdr.array([right]))
    )

    (entry,) = decode_object_list(listed)

    assert entry.methods == {1: 1}


@pytest.mark.parametrize(
    ("mode", "version", "is_readable"),
    [(0, 1, False), (1, 1, True), (2, 1, False), (3, 2, True), (4, 2, True), (5, 2, False), (6, 2, True),
     (4, 3, False), (5, 3, True), (2, 3, False), (0x29, 3, True)],
)  # fmt: skip
def test_an_access_mode_means_what_its_version_says(mode: int, version: int, is_readable: bool) -> None:
    assert ObjectEntry(3, 0, REGISTER.logical_name, {2: mode}).is_readable(2, version) is is_readable


def test_an_attribute_of_which_nothing_is_said_may_be_tried() -> None:
    assert ObjectEntry(3, 0, REGISTER.logical_name).is_readable(2)


def test_the_version_is_that_of_the_association_itself() -> None:
    other = ObjectEntry(15, 3, Obis(0, 0, 40, 0, 2))

    assert association_version([REGISTER, other, ASSOCIATION]) == 1
    assert association_version([REGISTER, other]) == 3
    assert association_version([REGISTER]) == 0


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (axdr.unsigned(1), "expected an array"),
        (element(axdr.long_unsigned(3), axdr.unsigned(0), NAME), "of 3 items"),
        (element(axdr.long_unsigned(3), axdr.unsigned(0), axdr.octet_string(b"12345"), RIGHTS), "6 octets"),
        (element(axdr.long_unsigned(3), axdr.unsigned(0), NAME, axdr.structure(axdr.array([]))), "rights of 1 items"),
        (element(NAME, axdr.unsigned(0), NAME, RIGHTS), "expected an integer"),
        (
            element(
                axdr.long_unsigned(3),
                axdr.unsigned(0),
                NAME,
                axdr.structure(axdr.array([axdr.structure(axdr.integer(1))]), axdr.array([])),
            ),
            "right of 1 items",
        ),
        (axdr.array([Data(Tag.NULL, None)] * (MAX_OBJECTS + 1)), "at most 4096"),
    ],
)
def test_another_shape_is_an_error(data: Data, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_object_list(data)
