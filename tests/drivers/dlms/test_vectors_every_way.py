"""Every published frame is fed whole, octet by octet and amid rubbish, and with each single bit flipped; none is left out.

What pushes do behind their framings is in `test_push`; that each decodes to its published answer is in `test_vectors` and
`test_push_vectors`. Here are all the others, and the count of them all. No bit is sampled: each one is flipped.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from drivers.dlms import acse, axdr, ciphering, objects, xdlms
from drivers.dlms.channel import SecureChannel
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.descriptor import Cursor
from drivers.dlms.events import NEED_DATA, Apdu, Connect
from drivers.dlms.hdlc import Frame, FrameReader, HdlcAddress, Kind, parse_frame
from drivers.dlms.link import HdlcLink
from drivers.dlms.objects import CaptureObject
from drivers.dlms.wrapper import WrapperLink
from drivers.errors import DriverError, LocalProtocolError, RemoteProtocolError, SecurityError
from drivers.obis import Obis
from drivers.profile import ClockProfile
from tests.drivers.dlms import pushes, test_push
from tests.drivers.dlms.cases import Case, load, load_all
from tests.drivers.dlms.test_vectors import PUBLISHED

CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
RUBBISH = [
    b"\x00",
    b"\xff" * 9,
    b"\x7e" * 3000,
    bytes.fromhex("7ea0270002"),
    bytes.fromhex("0001000100"),
    bytes(range(256)),
]
STREAMS = [case for case in load_all("hdlc") if not case.name.startswith("hdlc-048")]
APDUS = [case for protocol in ("dlms-apdu", "dlms-acse") for case in load_all(protocol)]
CAPTURED = tuple(
    CaptureObject(int(class_id), Obis.parse(name), int(attribute))
    for class_id, name, attribute in (text.split(";") for text in load("dlms-profile-036").expected["columns"])
)


def named(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def flips(octets: bytes) -> Iterator[tuple[int, bytes]]:
    for bit in range(8 * len(octets)):
        flipped = bytearray(octets)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(flipped)


def read(*pieces: bytes) -> tuple[list[bytes], int]:
    """Give what a reader of HDLC frames finds in pieces, and how often it raised."""
    reader, found, errors = FrameReader(), [], 0
    for piece in pieces:
        reader.receive_data(piece)
        while True:
            try:
                event = reader.next_event()
            except LocalProtocolError:
                raise
            except DriverError:
                errors += 1
                continue
            if event is NEED_DATA:
                break
            found.append(event.information)
    return found, errors


def protected(octets: bytes) -> set[int]:
    """Give the offsets of the octets that the checksums of good frames protect: all between two flags."""
    covered: set[int] = set()
    for start in range(len(octets) - 3):
        length = (octets[start + 1] & 7) << 8 | octets[start + 2]
        if octets[start] == 0x7E and octets[start + 1 + length : start + 2 + length] == b"\x7e":
            try:
                parse_frame(octets[start + 1 : start + 1 + length])
            except DriverError:
                continue
            covered.update(range(start + 1, start + 1 + length))
    return covered


# -- frames


@pytest.mark.parametrize("case", STREAMS, ids=named(STREAMS))
def test_frames_are_the_same_whole_octet_by_octet_and_amid_rubbish(case: Case) -> None:
    whole, errors = read(case.frame)

    assert len(whole) == (0 if case.error else case.expect.get("frames", 1))
    assert read(*(bytes([octet]) for octet in case.frame)) == (whole, errors)
    for rubbish in RUBBISH:
        assert read(rubbish, case.frame)[0] == whole
        assert read(rubbish + case.frame + rubbish)[0] == whole


def test_each_bit_that_a_checksum_protects_is_an_error_and_no_other_bit_makes_a_value() -> None:
    counts: Counter[str] = Counter()

    for case in STREAMS:
        clean, errors = read(case.frame)
        covered = protected(case.frame)
        for bit, flipped in flips(case.frame):
            found, faults = read(flipped)
            if bit // 8 in covered:
                counts["protected"] += 1
                assert len(found) < len(clean), f"{case.name}, bit {bit}"
                # An error, or nothing that looks like a frame any more; where the length field is hit, still waiting.
                assert faults > errors or not found or found == clean[:-1]
            else:
                counts["other"] += 1
            assert all(value in clean for value in found), f"{case.name}, bit {bit}"

    assert counts == {"protected": 8 * (42 + 39 + 12), "other": 8 * (2 + 2 + 9 + 9)}


def test_each_bit_of_the_published_addresses_is_another_address_or_an_error() -> None:
    case = load("hdlc-048")

    for octets in case.frames:
        address = HdlcAddress.decode(octets)
        for _, flipped in flips(octets):
            try:
                # Whether an octet is the last of an address is told by its lowest bit, which the frame reader looks at.
                assert (
                    HdlcAddress.decode(flipped) != address or flipped[-1] & 1 == 0 or any(o & 1 for o in flipped[:-1])
                )
            except RemoteProtocolError:
                continue


# -- APDUs in both framings


def through_wrapper(*pieces: bytes) -> list[bytes]:
    link = WrapperLink(16, 1)
    return list(drained(link, pieces))


def through_hdlc(*pieces: bytes) -> list[bytes]:
    link = HdlcLink("client", CLIENT, SERVER)
    link.send(Connect())
    link.receive_data(Frame(CLIENT, SERVER, Kind.UA).encode())
    link.next_event()
    return list(drained(link, pieces))


def drained(link: WrapperLink | HdlcLink, pieces: tuple[bytes, ...]) -> Iterator[bytes]:
    for piece in pieces:
        link.receive_data(piece)
        while (event := link.next_event()) is not NEED_DATA:
            assert isinstance(event, Apdu)
            yield event.octets


def framed(apdu: bytes) -> list[tuple[bytes, Callable[..., list[bytes]]]]:
    whole = b"\xe6\xe7\x00" + apdu
    pieces = [whole[at : at + 100] for at in range(0, len(whole), 100)]
    frames = [
        Frame(CLIENT, SERVER, Kind.I, number, 0, segmented=number + 1 < len(pieces), information=piece).encode()
        for number, piece in enumerate(pieces)
    ]
    header = b"\x00\x01\x00\x01\x00\x10" + len(apdu).to_bytes(2, "big")
    return [(b"".join(frames), through_hdlc), (header + apdu, through_wrapper)]


def sealed(case: Case) -> bytes:
    """The published ciphered GET-request as a meter's counterpart would send it: behind its tag and length."""
    octets = ciphering.encrypt(keys_of(case), title_of(case), case.expected["invocation_counter"], case.frame)
    return bytes([0xC8, len(octets)]) + octets


def keys_of(case: Case) -> ciphering.Keys:
    return ciphering.Keys(case.key("encryption_key"), case.key("authentication_key"))


def title_of(case: Case) -> bytes:
    return bytes.fromhex(case.expected["system_title"])


def carried() -> list[bytes]:
    return [case.frame for case in APDUS] + [sealed(load("dlms-crypto-032")), load("dlms-profile-036").frame]


def test_apdus_pass_both_framings_whole_octet_by_octet_and_none_amid_rubbish() -> None:
    for apdu in carried():
        for octets, through in framed(apdu):
            assert through(octets) == [apdu]
            assert through(*(bytes([octet]) for octet in octets)) == [apdu]
            for rubbish in RUBBISH:
                found = found_within_errors(through, rubbish + octets + rubbish)
                assert found in ([], [apdu])


def found_within_errors(through: Callable[..., list[bytes]], octets: bytes) -> list[bytes]:
    try:
        return through(octets)
    except LocalProtocolError:
        raise
    except RemoteProtocolError:
        return []


def test_each_bit_flipped_in_an_hdlc_frame_around_an_apdu_is_an_error_or_silence() -> None:
    counts = 0
    for apdu in carried():
        octets, through = framed(apdu)[0]
        for bit, flipped in flips(octets):
            counts += 1
            found = found_within_errors(through, flipped)
            assert not found or (found == [apdu] and octets[bit // 8] == 0x7E), f"{apdu[:8].hex()}, bit {bit}"

    assert counts > 8 * sum(map(len, carried()))


# -- what no checksum protects: every cut, surplus and flip


def decoders() -> list[tuple[str, bytes, Callable[[bytes], object]]]:
    found: list[tuple[str, bytes, Callable[[bytes], object]]] = []
    for case in APDUS:
        if case.name.startswith("dlms-apdu-044"):
            found.append((case.name, case.frame, whole_selection))
        else:
            found.append((case.name, case.frame, acse.decode if case.name.startswith("dlms-acse") else xdlms.decode))
    found += [(case.name, case.frame, whole_rows) for case in load_all("dlms-profile")]
    found += [(case.name, case.frame, whole_stamp) for case in load_all("dlms-datetime")]
    return found


def whole_selection(octets: bytes) -> object:
    cursor = Cursor(b"\x01" + octets, 0)
    selection = cursor.selection()
    if cursor.left:
        raise RemoteProtocolError("surplus")
    return selection


def whole_rows(octets: bytes) -> object:
    return objects.decode_rows(axdr.decode(octets), CAPTURED, 3600, ClockProfile())


def whole_stamp(octets: bytes) -> object:
    stamp = CosemDateTime.decode(octets)
    stamp.to_utc(ClockProfile(zone="Europe/Berlin"))
    stamp.is_doubtful(ClockProfile(zone="Europe/Berlin"))
    return stamp


DECODERS = decoders()


@pytest.mark.parametrize(("octets", "decode"), [one[1:] for one in DECODERS], ids=[one[0] for one in DECODERS])
def test_what_is_cut_short_or_has_a_surplus_is_an_error(octets: bytes, decode: Callable[[bytes], object]) -> None:
    decode(octets)

    for end in range(len(octets)):
        with pytest.raises(RemoteProtocolError):
            decode(octets[:end])
    for rubbish in RUBBISH:
        with pytest.raises(RemoteProtocolError):
            decode(octets + rubbish)


@pytest.mark.parametrize(("octets", "decode"), [one[1:] for one in DECODERS], ids=[one[0] for one in DECODERS])
def test_any_flipped_bit_or_rubbish_in_front_raises_the_drivers_errors_only(
    octets: bytes, decode: Callable[[bytes], object]
) -> None:
    altered = [flipped for _, flipped in flips(octets)] + [rubbish + octets for rubbish in RUBBISH]
    raised = 0

    for some in altered:
        try:
            decode(some)
        except LocalProtocolError:
            raise
        except DriverError:
            raised += 1

    assert raised
    assert len(altered) == 8 * len(octets) + len(RUBBISH)


def test_data_that_is_not_all_there_yet_is_never_a_value() -> None:
    octets = load("dlms-profile-036").frame

    outcomes = [axdr.parse(octets[:end]) for end in range(len(octets))]

    assert all(outcome is NEED_DATA for outcome in outcomes)
    assert axdr.parse(octets) == (axdr.decode(octets), len(octets))
    assert axdr.parse(octets + b"\xff" * 9) == axdr.parse(octets)


# -- what a tag protects


def test_each_bit_of_the_published_ciphered_apdu_of_its_keys_and_of_its_title_is_a_security_error() -> None:
    case = load("dlms-crypto-032")
    keys, title = keys_of(case), title_of(case)
    octets = ciphering.encrypt(keys, title, case.expected["invocation_counter"], case.frame)
    counts: Counter[str] = Counter()

    assert ciphering.decrypt(keys, title, octets)[1] == case.frame
    for _, flipped in flips(octets):
        counts["octets"] += 1
        with pytest.raises(SecurityError):
            ciphering.decrypt(keys, title, flipped)
    for _, flipped in flips(keys.encryption + keys.authentication + title):
        counts["secrets"] += 1
        with pytest.raises(SecurityError):
            ciphering.decrypt(ciphering.Keys(flipped[:16], flipped[16:32]), flipped[32:], octets)
    for _, flipped in flips(sealed(case)):
        counts["apdu"] += 1
        with pytest.raises((SecurityError, RemoteProtocolError)):
            SecureChannel(keys, b"HDE00001", title).open(flipped)
    for end in range(len(octets)):
        with pytest.raises(SecurityError):
            ciphering.decrypt(keys, title, octets[:end])

    size = 5 + len(case.frame) + 12
    assert counts == {"octets": 8 * size, "secrets": 8 * 40, "apdu": 8 * (size + 2)}


def test_each_bit_of_the_published_token_of_its_challenge_and_of_its_keys_is_a_security_error() -> None:
    case = load("dlms-crypto-033")
    keys, title, counter = keys_of(case), title_of(case), case.expected["invocation_counter"]
    token = bytes.fromhex(case.expect["token_hex"])

    assert ciphering.verify_gmac_token(keys, title, case.frame, token) == counter
    for _, flipped in flips(token):
        with pytest.raises(SecurityError):
            ciphering.verify_gmac_token(keys, title, case.frame, flipped)
    for _, flipped in flips(case.frame):
        with pytest.raises(SecurityError):
            ciphering.verify_gmac_token(keys, title, flipped, token)
    for _, flipped in flips(keys.encryption + keys.authentication + title):
        with pytest.raises(SecurityError):
            ciphering.verify_gmac_token(ciphering.Keys(flipped[:16], flipped[16:32]), flipped[32:], case.frame, token)
    for wrong in (b"", token[:-1], token + b"\x00", b"\xff" * 17):
        with pytest.raises(SecurityError):
            ciphering.verify_gmac_token(keys, title, case.frame, wrong)


# -- the push whose frame is damaged as published, and the count of all


def test_the_content_of_the_frame_that_is_damaged_as_published_stays_within_the_drivers_errors() -> None:
    case = pushes.load("005")

    for octets in (case.apdu, *(flipped for _, flipped in flips(case.apdu))):
        try:
            test_push.understand(case, octets)
        except LocalProtocolError:
            raise
        except DriverError:
            assert octets != case.apdu


def test_no_published_frame_is_left_out() -> None:
    here = {case.name for case in STREAMS} | {name for name, _, _ in DECODERS} | {"hdlc-048-addresses"}
    here |= {load("dlms-crypto-032").name, load("dlms-crypto-033").name}
    pushed = {case.name for case in test_push.WHOLE} | {pushes.load("005").name}

    assert here == {case.name for protocol in PUBLISHED for case in load_all(protocol)}
    assert pushed == {case.name for case in pushes.load_all()}
    assert len(here) + len(pushed) == 16 + 19
