"""Every published frame decodes to its published answer; where bytes can be sent, encoding gives them back."""

import datetime as dt
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from drivers.dlms import acse, axdr, ciphering, objects, xdlms
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.events import NEED_DATA
from drivers.dlms.hdlc import FrameReader, HdlcAddress
from drivers.dlms.objects import CaptureObject
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis
from drivers.profile import ClockProfile
from tests.drivers.dlms.cases import Case, load_all
from tests.shared import shared_data

PUBLISHED = {"hdlc": 5, "dlms-apdu": 4, "dlms-acse": 1, "dlms-crypto": 2, "dlms-profile": 1, "dlms-datetime": 3}


def read_frames(octets: bytes) -> tuple[list[bytes], list[str]]:
    reader = FrameReader()
    found: list[bytes] = []
    errors: list[str] = []
    reader.receive_data(octets)
    while True:
        try:
            frame = reader.next_event()
        except RemoteProtocolError as error:
            errors.append(str(error))
            continue
        if frame is NEED_DATA:
            return found, errors
        found.append(frame.information)


def check_hdlc(case: Case) -> None:
    if "server_1_17_hex" in case.expect:
        addresses = [HdlcAddress(1, 17), HdlcAddress(16), HdlcAddress(74)]
        assert [address.encode() for address in addresses] == case.frames
        assert [HdlcAddress.decode(octets) for octets in case.frames] == addresses
        return
    found, errors = read_frames(case.frame)
    if case.error is not None:
        assert not found
        assert len(errors) == 1
        assert case.error in errors[0]
        return
    assert not errors
    assert len(found) == case.expect.get("frames", 1)
    if "payload_hex" in case.expect:
        assert found[0].hex() == case.expect["payload_hex"]


def check_apdu(case: Case) -> None:
    if case.name.startswith("dlms-apdu-044"):
        check_range(case)
        return
    apdu = xdlms.decode(case.frame)
    assert apdu.encode() == case.frame
    match apdu:
        case xdlms.DataNotification():
            assert apdu.long_invoke_id == case.expect["long_invoke_id"]
            assert apdu.date_time == b""
            assert apdu.body.octets().hex() == case.expect["body_octets"]
        case xdlms.GetRequest():
            wanted = xdlms.Attribute(case.expect["class"], Obis.parse(case.expect["obis"]), case.expect["attribute"])
            assert apdu.attribute == wanted
            assert apdu.invoke_id & 0x0F == case.expect["invoke_id"]
            assert bool(apdu.invoke_id & xdlms.CONFIRMED) is case.expect["confirmed"]
            assert bool(apdu.invoke_id & xdlms.HIGH_PRIORITY) is case.expect["high_priority"]
        case xdlms.ActionResponse():
            assert apdu.result == case.expect["result"]
            assert apdu.data is not None
            assert apdu.data.octets().hex() == case.expect["token_hex"]
        case _:
            pytest.fail(f"{case.name}: decoded to {apdu}")


def check_range(case: Case) -> None:
    ends = []
    for text in (case.expect["from"], case.expect["to"]):
        moment = dt.datetime.fromisoformat(text)
        zone = f"UTC{text[-6:]}"
        ends.append(replace(CosemDateTime.from_utc(int(moment.timestamp()), zone), status=0))
    assert objects.encode_range(ends[0], ends[1]).encode() == case.frame
    assert axdr.encode(axdr.decode(case.frame[1:])) == case.frame[1:]


def check_acse(case: Case) -> None:
    aarq = acse.decode(case.frame)
    assert isinstance(aarq, acse.Aarq)
    assert aarq.mechanism == case.expect["mechanism"]
    assert aarq.authentication_value.decode() == case.expect["password"]
    assert aarq.encode() == case.frame
    assert isinstance(xdlms.decode(aarq.user_information), xdlms.InitiateRequest)


def check_crypto(case: Case) -> None:
    keys = ciphering.Keys(case.key("encryption_key"), case.key("authentication_key"))
    title = bytes.fromhex(case.expected["system_title"])
    counter = case.expected["invocation_counter"]
    if "token_hex" in case.expect:
        token = ciphering.gmac_token(keys, title, counter, case.frame)
        assert token.hex() == case.expect["token_hex"]
        assert ciphering.verify_gmac_token(keys, title, case.frame, token) == counter
        return
    protected = ciphering.encrypt(keys, title, counter, case.frame)
    assert protected[5:].hex() == case.expect["cipher_and_tag_hex"]
    assert ciphering.decrypt(keys, title, protected) == (counter, case.frame)


def check_profile(case: Case) -> None:
    columns = []
    for text in case.expected["columns"]:
        class_id, name, attribute = text.split(";")
        columns.append(CaptureObject(int(class_id), Obis.parse(name), int(attribute)))
    rows = objects.decode_rows(axdr.decode(case.frame), columns, case.expected["capture_period_s"], ClockProfile())
    assert len(rows) == case.expect["rows"]
    stamps = [dt.datetime.fromtimestamp(row.stamp, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for row in rows]
    assert stamps == case.expect["times_utc"]
    assert [value.value for value in rows[0].values[1:]] == case.expect["row0"]


def check_datetime(case: Case) -> None:
    stamp = CosemDateTime.decode(case.frame)
    assert stamp.encode() == case.frame
    if "utc" in case.expect:
        assert stamp.to_utc(ClockProfile()) == int(dt.datetime.fromisoformat(case.expect["utc"]).timestamp())
        assert stamp.is_daylight_saving is case.expect["dst"]
        return
    published = dt.datetime.fromisoformat(case.expect["iso"])
    assert stamp.local() == published.replace(tzinfo=None)
    if published.tzinfo is None:
        assert stamp.deviation is None
    else:
        assert stamp.to_utc(ClockProfile(zone="Asia/Tokyo")) == int(published.timestamp())


CHECKS: dict[str, Any] = {
    "hdlc": check_hdlc, "dlms-apdu": check_apdu, "dlms-acse": check_acse, "dlms-crypto": check_crypto,
    "dlms-profile": check_profile, "dlms-datetime": check_datetime,
}  # fmt: skip


def test_every_published_frame_decodes_to_its_published_answer() -> None:
    ran: Counter[str] = Counter()

    for protocol, check in CHECKS.items():
        for case in load_all(protocol):
            check(case)
            ran[protocol] += 1

    assert ran == PUBLISHED


def test_no_published_frame_is_missing_or_altered() -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the whole collection, ../shared/data/vectors.json, is not here; the carried cases ran")
    vectors = json.loads((data / "vectors.json").read_text())["vectors"]
    published = {vector["id"]: vector for vector in vectors if vector["protocol"] in PUBLISHED}

    carried = [case for protocol in PUBLISHED for case in load_all(protocol)]

    assert {case.expected["origin"]["id"] for case in carried} == set(published)
    for case in carried:
        expect = published[case.expected["origin"]["id"]]["expect"]
        assert case.expect == {name: value for name, value in expect.items() if value is not None}
