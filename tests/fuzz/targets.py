"""What is fuzzed: one target per parser that sees bytes of others, each with the inputs it starts from.

A target takes octets and does with them all that a session would. It may raise `DriverError`, but not `LocalProtocolError`:
what others send is never our bug. To add a parser, add a line to `TARGETS`.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from drivers.dlms import acse, axdr, general, getlist, listing, notification, objects, xdlms
from drivers.dlms.association import ClientAssociation
from drivers.dlms.basenames import BaseNames
from drivers.dlms.blocks import BlockAssembler
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import AUTHENTICATED, ENCRYPTED, Keys
from drivers.dlms.commands import Associate, BlockTaken, Get, GetList, MoreBlocks, NextBlock, Prove, Set
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.events import NEED_DATA, Apdu, Connect
from drivers.dlms.hdlc import (
    Frame,
    FrameReader,
    HdlcAddress,
    Kind,
    LinkParameters,
    decode_parameters,
    encode_parameters,
)
from drivers.dlms.link import HdlcLink
from drivers.dlms.mbus import MbusReader
from drivers.dlms.objects import CaptureObject
from drivers.dlms.objects.catalogue import INTERFACE_CLASSES
from drivers.dlms.opening import Opening
from drivers.dlms.parameters import Parameters
from drivers.dlms.push import PushReader
from drivers.dlms.rows import Buffer, Rows
from drivers.dlms.telegram import decode_telegram
from drivers.dlms.transfer import BlockTransfer
from drivers.dlms.unprotect import PushKeys, unprotect
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import Attribute
from drivers.dlt645 import control as dlt645_control
from drivers.dlt645 import frame as dlt645_frame
from drivers.dlt645 import load as dlt645_load
from drivers.dlt645 import records as dlt645_records
from drivers.dlt645 import services as dlt645_services
from drivers.dlt645 import values as dlt645_values
from drivers.errors import DriverError, LineNoise, RemoteProtocolError
from drivers.iec62056 import datasets as iec62056_datasets
from drivers.iec62056 import events as iec62056_events
from drivers.iec62056 import load as iec62056_load
from drivers.iec62056 import message as iec62056_message
from drivers.iec62056 import opening as iec62056_opening
from drivers.iec62056 import unasked as iec62056_unasked
from drivers.iec62056 import values as iec62056_values
from drivers.modbus import ascii as modbus_ascii
from drivers.modbus import functions, learned, mbap, pdu, rtu, sunspec
from drivers.obis import Obis
from drivers.profile import (
    ChannelProfile,
    ClockProfile,
    DlmsColumn,
    Dlt645Events,
    Iec62056Column,
    Iec62056LoadProfile,
    ModbusHole,
)
from drivers.status import UNDECLARED, marked
from drivers.trace import text, tree
from drivers.transports.echo import EchoFilter
from drivers.transports.marks import MarkReader
from drivers.transports.rfc2217 import COM_PORT, NOTIFY_LINESTATE, SET_BAUDRATE, ComPort, command
from drivers.units import ScalerUnit, Unit
from kernels.checksum import crc16_modbus
from tests.drivers.dlms import cases, pushes
from tests.fuzz import limits

BERLIN = ClockProfile(zone="Europe/Berlin")
WATT_HOUR = ScalerUnit(0, Unit.WATT_HOUR)
CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
TITLES = b"HDE00001", b"SIM00001"
ENERGY = Obis(1, 0, 1, 8, 0)
CAPTURED = (
    CaptureObject(8, Obis(0, 0, 1, 0, 0), 2),
    CaptureObject(1, Obis(0, 0, 96, 10, 1), 2),
    CaptureObject(3, ENERGY, 2),
)
MAX_ROUNDS = 10_000


class _Stream(Protocol):
    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> Any: ...


@dataclass(frozen=True)
class Target:
    """One parser. ``largest``: octets of an input, at most; the limits on time and memory hold up to there."""

    feed: Callable[[bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    largest: int = 4096


# -- streams


def drain(stream: _Stream, data: bytes) -> list[object]:
    """Feed octets and take what comes, errors by their class; a stream that never comes to rest is a fault of its own."""
    stream.receive_data(data)
    found: list[object] = []
    for _ in range(MAX_ROUNDS):
        try:
            event = stream.next_event()
        except RemoteProtocolError as error:
            found.append(type(error))
            continue
        if event is NEED_DATA or event is pdu.NEED_DATA or event is dlt645_frame.NEED_DATA:
            return found
        found.append(event)
    raise AssertionError(f"{MAX_ROUNDS} events of {len(data)} octets")


def in_pieces(make: Callable[[], _Stream], data: bytes) -> None:
    """Feed a stream whole and in two pieces: what is found must not depend on how it was cut."""
    whole = drain(make(), data)
    stream = make()
    half = len(data) // 2
    found = drain(stream, data[:half]) + drain(stream, data[half:])
    assert found == whole, "what is found depends on how the stream is cut"


def until_damage(make: Callable[[], _Stream], data: bytes) -> None:
    """Feed a stream that ends with its first error."""
    stream = make()
    stream.receive_data(data)
    for _ in range(MAX_ROUNDS):
        if stream.next_event() in {NEED_DATA, pdu.NEED_DATA, iec62056_events.NEED_DATA}:
            return
    raise AssertionError(f"{MAX_ROUNDS} events of {len(data)} octets")


def hdlc_link(data: bytes) -> None:
    link = HdlcLink("client", CLIENT, SERVER, window=3)
    link.send(Connect())
    link.receive_data(
        Frame(CLIENT, SERVER, Kind.UA, information=encode_parameters(LinkParameters(128, 128, 3, 3))).encode()
    )
    link.next_event()
    link.send(Apdu(b"\xc0\x01\xc1"))
    drain(link, data)
    link.data_to_send()


def push(data: bytes) -> None:
    reader = PushReader()
    drain(reader, data)
    reader.receive_end()


def pushed(apdu: bytes) -> None:
    plain = unprotect(
        apdu, lambda title: PushKeys(KEYS.encryption, b"", is_authentication_withheld=True) if title else None
    )
    told = notification.decode_notification(plain.apdu)
    notification.name(told)
    notification.facts(told, BERLIN, 1_800_000_000)


def general_blocks(data: bytes) -> None:
    assembler = BlockAssembler()
    for piece in counted(data):
        assembler.add(piece)


def two_way_blocks(data: bytes) -> None:
    transfer = BlockTransfer(3, 3)
    transfer.send(bytes(200), 20)
    for piece in counted(data):
        transfer.receive(b"\xe0" + piece)


def counted(data: bytes) -> Iterator[bytes]:
    """Cut octets into APDUs, each behind two octets that count it."""
    at = 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + size]
        at += 2 + size


def count(*apdus: bytes) -> bytes:
    return b"".join(len(apdu).to_bytes(2, "big") + apdu for apdu in apdus)


# -- application layer


def whole_apdu(apdu: bytes) -> None:
    decoded = xdlms.decode(apdu)
    repr(decoded)
    with suppress(DriverError):  # a request we never send; a compact-array, which is only read
        decoded.encode()
    xdlms.decode(apdu, leaves_data=True)


def whole_acse(apdu: bytes) -> None:
    acse.decode(apdu).encode()


def whole_data(octets: bytes) -> None:
    data = axdr.decode(octets)
    if len(octets) > 1024:
        return  # what is checked beyond would cost more than what is measured
    with suppress(DriverError):  # compact-arrays are read, never written
        assert axdr.decode(axdr.encode(data)) == data or "nan" in repr(data).lower()


def conversation(data: bytes) -> None:
    """Hold an association with a meter that answers anything: opening, reading, a list, writing."""
    manner = data[0] if data else 0
    secret = manner & 1
    keys = KEYS if secret else None
    association = ClientAssociation(
        Parameters(
            "hls5" if secret else "none",
            keys=keys,
            client_title=TITLES[0],
            challenge=bytes(16),
            may_write=True,
            referencing="short-name" if manner & 2 else "logical-name",
            block_window=3 if manner & 4 else 0,
        )
    )
    if association.channel is not None:
        association.channel.supply(range(1, 1000))
    association.send(Associate())
    commands: list[Any] = [
        Get(Attribute(7, Obis(1, 0, 99, 1, 0), 2)),
        GetList((Attribute(3, ENERGY, 2), Attribute(3, ENERGY, 3))),
        Set(Attribute(1, ENERGY, 2), axdr.octet_string(bytes(300))),
    ]
    for apdu in counted(data[1:]):
        association.receive_data(apdu)
        event = association.next_event()
        if isinstance(event, MoreBlocks | BlockTaken):
            association.send(NextBlock())
        elif event.__class__.__name__ == "Challenged":
            association.send(Prove())
        elif commands:
            association.send(commands.pop(0))
        else:
            return


def ciphered(apdu: bytes) -> None:
    channel = SecureChannel(KEYS, *TITLES)
    channel.open(apdu)


def ciphered_unverified(apdu: bytes) -> None:
    """Without the authentication key whatever comes is deciphered, so the layers below see it."""
    plain = SecureChannel(Keys(KEYS.encryption, b""), *TITLES, ENCRYPTED).open(apdu)
    xdlms.decode(plain)


def sealed(apdu: bytes, control: int) -> bytes:
    meter = SecureChannel(KEYS, TITLES[1], TITLES[0], control)
    meter.supply(range(1, 2))
    return meter.seal(apdu)


# -- objects


def short_names(octets: bytes) -> None:
    BaseNames.of_list(axdr.decode(octets))


def interface_classes(octets: bytes) -> None:
    """Decode data as an attribute of each class in turn, named by the first octet."""
    if not octets:
        return
    classes = list(INTERFACE_CLASSES.values())
    table, data = classes[octets[0] % len(classes)], axdr.decode(octets[1:])
    for attribute in table.attributes:
        with suppress(DriverError):
            table.decode(attribute.index, data)
    for method in table.methods:
        with suppress(DriverError):
            table.decode_parameter(method.index, data)


def load_profile(octets: bytes) -> None:
    """Decode the buffer of a load profile both ways: the kernel and the Python codec must agree on every fact."""
    step = 900
    try:
        slow = objects.decode_rows(axdr.decode(octets), CAPTURED, step, BERLIN)
    except DriverError as error:
        slow = [error]  # type: ignore[list-item]
    try:
        buffer = Buffer(octets, CAPTURED, BERLIN)
        fast = buffer.rows(step).one_by_one()
    except DriverError as error:
        fast = [error]  # type: ignore[list-item]
    assert repr(fast) == repr(slow), "kernel and Python disagree on the rows"
    if not fast or isinstance(fast[0], DriverError):
        return
    column = objects.Column(2, DlmsColumn(ENERGY, ENERGY), WATT_HOUR)
    channel = ChannelProfile(Obis(1, 0, 1, 29, 0), 900, WATT_HOUR, "load_profile")
    start = fast[0].stamp // 900 * 900
    laid = buffer.rows(step).interval_block(column, channel, BERLIN, start=start, end=start + 86_400)
    stated = buffer.rows(step).stated(1)
    assert stated == Rows((slow,)).stated(1), "the words of the status column depend on the way they are read"
    marked(laid, UNDECLARED, stated, 900)
    buffer.rows(step).register_values(column, BERLIN, 900, start=start, end=start + 86_400)


def date_time(octets: bytes) -> None:
    stamp = CosemDateTime.decode(octets)
    assert stamp.encode() == octets
    for clock in (ClockProfile(), BERLIN, ClockProfile(zone="Europe/Berlin", deviation="ignore")):
        with suppress(DriverError):
            stamp.to_utc(clock)
        with suppress(DriverError):
            stamp.is_doubtful(clock)
    stamp.local()


def attributes(octets: bytes) -> None:
    """Decode what objects hold, whatever was asked for."""
    data = axdr.decode(octets)
    for read in (
        objects.decode_scaler_unit,
        objects.decode_capture_objects,
        listing.decode_object_list,
        partial(objects.decode_instant, clock=BERLIN),
        partial(objects.decode_text, what="text"),
        partial(objects.decode_count, worth=WATT_HOUR, target=ScalerUnit(3, Unit.WATT_HOUR), what="count"),
        partial(objects.lacks_stamps, captured=CAPTURED),
    ):
        with suppress(DriverError):
            read(data)


def trace(octets: bytes) -> None:
    for _ in tree.take_apart(text.parse_trace(octets), KEYS):
        pass


def telegram(octets: bytes) -> None:
    told = decode_telegram(octets)
    notification.name(told)
    notification.facts(told, BERLIN, 1_800_000_000)


def signed_telegram(octets: bytes) -> None:
    """Give what stands in a telegram a checksum that fits, so that it is looked at."""
    body = b"/TST5X\r\n\r\n" + octets.replace(b"!", b"") + b"!"
    telegram(body + b"%04X\r\n" % crc16_modbus(body, 0))


# -- Modbus


def modbus_response(octets: bytes) -> None:
    pdu.decode_response(octets, MODBUS)


def modbus_answers(octets: bytes) -> None:
    """An answer to each kind of question, and the same octets as a question to a server."""
    for request in MODBUS_REQUESTS:
        with suppress(RemoteProtocolError):
            pdu.decode_response(octets, request)
    functions.decode_any_request(octets).encode()


def modbus_line(octets: bytes) -> None:
    for request in MODBUS_REQUESTS:
        for reader in (rtu.ResponseReader(1, request), modbus_ascii.AsciiResponseReader(1, request)):
            with suppress(RemoteProtocolError):
                reader.receive_data(octets)
                while reader.next_event() is not pdu.NEED_DATA:
                    pass


def modbus_learned(octets: bytes) -> None:
    body = octets[4:]
    learned.decode_learned(zlib.crc32(body).to_bytes(4, "big") + body, 1_800_000_000)


def sunspec_device(octets: bytes) -> None:
    """Registers as two octets each, from the first base on; beyond them every read is refused."""
    registers = [0x5375, 0x6E53, *(word for (word,) in struct.iter_unpack(">H", octets[: len(octets) // 2 * 2]))]
    walk = sunspec.discover()
    try:
        address, count = next(walk)
        while True:
            piece = registers[address - 40_000 : address - 40_000 + count] if address >= 40_000 else []
            address, count = walk.send(piece if len(piece) == count else None)
    except StopIteration as end:
        if end.value is not None:
            sunspec.draft(end.value, "rtu")


MODBUS = pdu.ReadRequest(pdu.Function.READ_HOLDING_REGISTERS, 0, 4)
MODBUS_REQUESTS = (
    MODBUS,
    functions.ReadBits(pdu.Function.READ_COILS, 0, 12),
    functions.WriteOne(pdu.Function.WRITE_SINGLE_REGISTER, 1, 3),
    functions.WriteCoils(0, (True, False, True)),
    functions.WriteRegisters(0, (1, 2)),
    functions.MaskWrite(4, 0xF2, 0x25),
    functions.ReadWrite(0, 2, 4, (1,)),
    functions.ReadFile((functions.RecordRequest(4, 1, 2), functions.RecordRequest(3, 9, 2))),
    functions.ReadDevice(1, 0),
)


# -- what they start from


def frames() -> Iterator[bytes]:
    for protocol in ("hdlc", "gurux"):
        for case in cases.load_all(protocol):
            yield case.frame
    for push_case in pushes.load_all():
        yield push_case.frame


def apdus() -> Iterator[bytes]:
    for hexadecimal in (
        "050102fa00",
        "0c0100110 5".replace(" ", ""),
        "060102fa000105",
        "0d0100",
        "0e010203",
        "d90012345600000102030405",
        "da4000000100000100",
    ):
        yield bytes.fromhex(hexadecimal)
    yield from (case.frame for case in cases.load_all("dlms-apdu"))
    yield xdlms.GetResponse(0xC1, axdr.array([axdr.structure(axdr.unsigned(1), axdr.octet_string(b"text"))])).encode()
    yield xdlms.GetResponse(0xC1, None, 3).encode()
    yield xdlms.GetResponseBlock(0xC1, is_last=False, block_number=1, raw=b"\x01\x01").encode()
    yield getlist.GetResponseList(0xC1, (getlist.GetResult(axdr.unsigned(1)), getlist.GetResult(None, 3))).encode()
    yield xdlms.ActionResponse(0xC1, 0, axdr.octet_string(bytes(17))).encode()
    yield xdlms.ExceptionResponse(1, 2).encode()
    yield INITIATE.encode()
    yield xdlms.InitiateRequest(xdlms.Conformance.GET, 500).encode()


INITIATE = xdlms.InitiateResponse(xdlms.Conformance(0x1FFFFF), 500)
AARE = acse.Aare(user_information=INITIATE.encode())


def items() -> Iterator[bytes]:
    yield from (case.frame for case in cases.load_all("dlms-profile"))
    yield from (bytes([9, 12]) + case.frame for case in cases.load_all("dlms-datetime"))
    yield bytes.fromhex("13020209060606240c07ea0101ff001e00ff8000000000000100000002")
    yield axdr.encode(axdr.array([column.encode() for column in CAPTURED]))
    yield axdr.encode(objects.encode_scaler_unit(WATT_HOUR))
    yield bytes.fromhex("010203170000000018000000000000000016ff0f8010800004070a0501020304")


def classes() -> Iterator[bytes]:
    """Give each class an array of what a structure may hold."""
    inside = list(items())
    yield from (bytes([number]) + inside[number % len(inside)] for number in range(len(INTERFACE_CLASSES)))


def rows() -> Iterator[bytes]:
    yield from (case.frame for case in cases.load_all("dlms-profile"))
    first = axdr.octet_string(CosemDateTime.from_utc(1_792_800_000, "Europe/Berlin").encode())
    for value in (
        axdr.double_long_unsigned(7),
        axdr.Data(axdr.Tag.FLOAT32, 1),
        axdr.Data(axdr.Tag.LONG64, -1),
        axdr.NULL,
    ):
        row = axdr.structure(first, axdr.unsigned(8), value)
        null = axdr.structure(axdr.NULL, axdr.NULL, axdr.Data(axdr.Tag.DELTA_INTEGER, 3))
        yield axdr.encode(axdr.array([row, null, axdr.structure(axdr.NULL, axdr.NULL, axdr.NULL)]))


def talks() -> Iterator[bytes]:
    block = xdlms.GetResponseBlock(0xC1, is_last=False, block_number=1, raw=b"\x12").encode()
    last = xdlms.GetResponseBlock(0xC1, is_last=True, block_number=2, raw=b"\x00\x01").encode()
    some = getlist.GetResponseList(0xC2, (getlist.GetResult(axdr.unsigned(1)), getlist.GetResult(None, 3)))
    yield b"\x00" + count(AARE.encode(), block, last, some.encode(), bytes.fromhex("c501c300"))
    yield b"\x00" + count(AARE.encode(), xdlms.GetResponse(0xC1, axdr.unsigned(1)).encode())
    hls = acse.Aare(
        acse.ApplicationContext.LOGICAL_NAME_CIPHERED, diagnostic=14, responding_title=TITLES[1],
        mechanism=acse.Mechanism.HIGH_GMAC, authentication_value=b"12345678", user_information=sealed(INITIATE.encode(), 0x30),
    )  # fmt: skip
    yield b"\x01" + count(
        hls.encode(), sealed(xdlms.ActionResponse(0xC1, 0, axdr.octet_string(bytes(17))).encode(), 0x30)
    )


def acse_apdus() -> Iterator[bytes]:
    yield from (case.frame for case in cases.load_all("dlms-acse"))
    yield AARE.encode()
    yield acse.Aare(result=acse.Result.REJECTED_PERMANENT, diagnostic=13, by_provider=True).encode()
    yield acse.Release(is_response=True, user_information=b"123").encode()


def blocks() -> Iterator[bytes]:
    yield count(bytes.fromhex("e0000001000003c10102"), bytes.fromhex("e08000020000020304"))


def protected() -> Iterator[bytes]:
    for control in (AUTHENTICATED, ENCRYPTED, 0x30):
        for apdu in (xdlms.GetResponse(0xC1, axdr.unsigned(1)).encode(), INITIATE.encode()):
            yield sealed(apdu, control)
    yield bytes.fromhex("db08") + TITLES[1] + b"\x06\x20\x00\x00\x00\x01\x02"


def general_apdus() -> Iterator[bytes]:
    yield bytes.fromhex("dd0112340848444530303030310853494d30303030310000000102000530000000010011")
    yield bytes.fromhex("df0112340848444530303030310853494d303030303100000304c1c20140" + "00" * 64)


def short_lists() -> Iterator[bytes]:
    entry = axdr.structure(
        axdr.Data(axdr.Tag.LONG, 0x100), axdr.long_unsigned(3), axdr.unsigned(0), axdr.octet_string(ENERGY.to_bytes())
    )
    yield axdr.encode(axdr.array([entry, entry]))


def telegrams() -> Iterator[bytes]:
    yield from (bytes.fromhex(path.read_text()) for path in sorted((limits.CASES.parent / "p1").glob("*/frame.hex")))


def traces() -> Iterator[bytes]:
    for framing, octets in (
        ("hdlc", Frame(SERVER, CLIENT, Kind.SNRM).encode()),
        ("wrapper", bytes.fromhex("0001001000010003c401c1")),
    ):
        header = text.header_line(text.Header("M1", "dlms-base", framing))
        lines = [
            text.session_line(1_800_000_000),
            text.record_line(text.Record(1, 5, ">", octets)),
            text.record_line(text.Record(1, 9, "<", octets)),
        ]
        yield (header + "".join(lines)).encode()


def modbus_frames() -> Iterator[bytes]:
    yield bytes.fromhex("0103080001000200030004f2d4")
    yield bytes.fromhex("000100000007010304000100020001000000030103")
    yield bytes.fromhex("0308000100020003ffff")
    yield modbus_ascii.encode_frame(rtu.RtuFrame(1, bytes.fromhex("03080001000200030004")))
    yield bytes.fromhex("2b0e01010000010006576964676574")
    yield bytes.fromhex("140c05060dfe0020050633cd0040")
    yield from (request.encode() for request in MODBUS_REQUESTS)


def modbus_knowledge() -> Iterator[bytes]:
    yield learned.Learned(1_799_990_000, {ModbusHole(5, 2)}, 60, pipelines=True, latency=12).encode()
    yield learned.Learned(1_799_990_000).encode()


def sunspec_models() -> Iterator[bytes]:
    common = b"\0\1\0\x42" + b"ACME".ljust(132, b"\0")
    yield common + b"\0\xcb\0\x69" + bytes(210) + b"\xff\xff\0\0"
    yield common + b"\0\xd5\0\x7c" + bytes(248) + b"\xff\xff\0\0"


# -- DL/T 645


def dlt645_stream(octets: bytes) -> None:
    """Frames in pieces, and all that a session or a simulated meter reads in them."""
    reader = dlt645_frame.FrameReader()
    frames = drain(reader, octets[: len(octets) // 2])
    reader.receive_damage()
    frames += drain(reader, octets[len(octets) // 2 :])
    for frame in frames:
        if isinstance(frame, dlt645_frame.Frame):
            for edition in dlt645_control.Edition:
                dlt645_answer(frame, edition)


def dlt645_answer(frame: dlt645_frame.Frame, edition: dlt645_control.Edition) -> None:
    control = dlt645_control.decode_control(frame.control)
    readers: tuple[Callable[[], object], ...] = (
        lambda: dlt645_services.decode_data(frame, control, edition),
        lambda: dlt645_services.decode_address_answer(frame),
        lambda: dlt645_services.decode_broadcast_time(frame),
        lambda: dlt645_services.decode_relay(frame),
        lambda: dlt645_services.decode_authentication_answer(frame),
        lambda: dlt645_services.decode_authority(frame.data),
        lambda: dlt645_control.refusal(frame, edition, "it"),
    )
    for read in readers:
        with suppress(RemoteProtocolError):
            read()


def dlt645_data(octets: bytes) -> None:
    """What stands behind an identifier: numbers, stamps, load records."""
    for layout in ("YYMMDDhhmm", "YYMMDDhhmmss", "hhmmssYYMMDDWW"):
        with suppress(RemoteProtocolError):
            dlt645_values.decode_instant(octets[: len(layout) // 2], layout, "UTC+08:00")
    for signed in (False, True):
        with suppress(RemoteProtocolError):
            dlt645_values.decode_count(octets[:8], signed=signed)
    for offset in (0, 4):
        dlt645_load.decode_told(octets, Dlt645Events("03110001", 1, 0, "x", offset), "UTC+08:00")
    dlt645_records.decode_records(octets, 16, "UTC+08:00")


def dlt645_frames() -> Iterator[bytes]:
    for path in sorted((limits.CASES.parent / "dlt645").glob("*/frame.hex")):
        yield bytes.fromhex(path.read_text())


def dlt645_values_seen() -> Iterator[bytes]:
    yield bytes.fromhex("56341200")
    yield dlt645_records.LoadRecord(1_800_000_000, bytes(16)).encode(4, "UTC+08:00")


# -- transports


def parity_marks(data: bytes) -> None:
    """What is good, and where something was damaged, must not depend on how the kernel cut it."""

    def found(*pieces: bytes) -> list[bytes | None]:
        reader = MarkReader()
        joined: list[bytes | None] = [b""]
        for item in [item for piece in pieces for item in reader.receive_data(piece)]:
            if item is not None and joined[-1] is not None:
                joined[-1] += item
            elif item is not None or joined[-1] is not None:
                joined.append(item)
        return [item for item in joined if item != b""]

    half = len(data) // 2
    assert found(data[:half], data[half:]) == found(data), "what is good depends on how the stream is cut"


def echo(data: bytes) -> None:
    """The first octets are sent, the rest comes back; what comes out is part of what came in."""
    half = len(data) // 2
    for is_sure in (False, True):
        line = EchoFilter(is_sure=is_sure)
        line.sent(data[:half])
        out = b""
        for piece in (data[half : half + half // 2], data[half + half // 2 :]):
            with suppress(LineNoise):
                out += line.received(piece)
        out += line.release()
        assert len(out) <= len(data) - half


def com_port(data: bytes) -> None:
    """Telnet in two pieces: the data in it, and what is answered, must not depend on how it was cut."""

    def heard(*pieces: bytes) -> tuple[bytes, bytes, dict[int, bytes], bool]:
        port = ComPort()
        port.open()
        out = b"".join(port.receive_data(piece) for piece in pieces)
        return out, port.data_to_send(), port.confirmed, port.has_fault

    half = len(data) // 2
    assert heard(data[:half], data[half:]) == heard(data), "what is heard depends on how the stream is cut"


def telnet() -> Iterator[bytes]:
    yield command(SET_BAUDRATE + 100, b"\0\0\x25\x80") + b"a\xff\xffb" + command(NOTIFY_LINESTATE, b"\x04")
    yield bytes((255, 253, COM_PORT, 255, 251, 0, 255, 254, 1, 255, 241))


def iec62056_readout(octets: bytes) -> None:
    for is_checked in (True, False):
        reader = iec62056_message.MessageReader(is_checked=is_checked)
        reader.receive_data(octets)
        for _ in range(MAX_ROUNDS):
            with suppress(RemoteProtocolError):
                event = reader.next_event()
                if event is iec62056_events.NEED_DATA:
                    break
                if isinstance(event, iec62056_message.Message):
                    iec62056_block(event.data)
    iec62056_block(octets)


def iec62056_block(data: bytes) -> None:
    for one in iec62056_datasets.decode_answer(data).sets:
        repr(one.obis)
        for value in one.values:
            for decode in (
                iec62056_values.decode_number,
                iec62056_values.decode_errors,
                lambda value: iec62056_values.decode_stamp(value.text, BERLIN.zone),
            ):
                with suppress(RemoteProtocolError):
                    decode(value)


def iec62056_readouts() -> list[bytes]:
    lines = b"0.9.2(0220127)\r\n1.8.0(0000502.853*kWh)\r\nF.F(00000000)\r\nP.01(1)(2.5)\r\n(3*V)\r\n!\r\n"
    commands = ("R1", b"1.8.0()"), ("P0", b"(1234567)"), ("B0", b""), ("", b"(ER01)"), ("", lines)
    return [lines, *(iec62056_message.Message(*command).encode() for command in commands)]


IEC62056_LAYOUTS = [
    Iec62056LoadProfile("P.01", (Iec62056Column(Obis(1, 0, 1, 29, 0), "1.29"),)),
    Iec62056LoadProfile(
        "P.01", (Iec62056Column(ENERGY, "1.8", WATT_HOUR),), header=(), row=("stamp", "skip", "values", "status")
    ),
]


def iec62056_profile(octets: bytes) -> None:
    block = iec62056_datasets.decode_answer(octets)
    with suppress(DriverError):
        iec62056_load.decode_events(block, "P.98", "log", BERLIN.zone, UNDECLARED)
    for layout in IEC62056_LAYOUTS:
        with suppress(DriverError):
            found = iec62056_load.decode_rows(block, layout, 900, BERLIN.zone)
            channel = ChannelProfile(Obis(1, 0, 1, 29, 0), 900, WATT_HOUR, "load_profile")
            start = found[0].stamp // 900 * 900 if found else 0
            list(iec62056_load.snapshots(ENERGY, found, 0, None, BERLIN, 900))
            laid = iec62056_load.interval_block(channel, found, 0, WATT_HOUR, BERLIN, start, start + 86_400)
            marked(laid, UNDECLARED, iec62056_load.stated(found), 900)


def iec62056_profiles() -> Iterator[bytes]:
    yield b"P.01(1220823161500)(00)(15)(2)(1.29)(kWh)(1.5)(kW)\r\n(0.18374)(0.00078)\r\n(0.16832)(0)\r\nP.98(0220101000000)(40)()(0)"
    yield b"P.01(27-01-01,00:15)(9)(5.25)(00)\r\nP.01(27-01-01,00:30)(9)(5.5)(01)"


def iec62056_unasked_stream(octets: bytes) -> None:
    reader = iec62056_unasked.UnaskedReader()
    reader.receive_data(octets)
    for _ in range(MAX_ROUNDS):
        with suppress(RemoteProtocolError):
            event = reader.next_event()
            if event is iec62056_events.NEED_DATA:
                return
            iec62056_block(event.data)
    raise AssertionError(f"{MAX_ROUNDS} events of {len(octets)} octets")


TARGETS = {
    "parity-marks": Target(parity_marks, lambda: (b"a\xff\xffb\xff\x00\x41c", b"\xff\x00\xff\xff\x00\x00")),
    "echo": Target(echo, lambda: (b"question" * 2 + b"answer", b"questionquestioN")),
    "com-port": Target(com_port, telnet),
    "dlt645-stream": Target(dlt645_stream, dlt645_frames),
    "dlt645-data": Target(dlt645_data, dlt645_values_seen),
    "hdlc": Target(partial(in_pieces, FrameReader), frames),
    "hdlc-link": Target(
        hdlc_link,
        lambda: (
            Frame(CLIENT, SERVER, Kind.I, 0, 1, information=b"\xe6\xe7\x00\xc4\x01").encode(),
            Frame(CLIENT, SERVER, Kind.RR, receive_number=0).encode(),
            Frame(CLIENT, SERVER, Kind.DM).encode(),
        ),
    ),
    "hdlc-parameters": Target(decode_parameters, lambda: (encode_parameters(LinkParameters(128, 2030, 1, 7)),)),
    "wrapper": Target(
        partial(until_damage, lambda: WrapperLink(16, 1)), lambda: (bytes.fromhex("0001000100100002c401"),)
    ),
    "mbus": Target(partial(in_pieces, MbusReader), frames),
    "push-stream": Target(push, frames),
    "push-facts": Target(pushed, lambda: [case.apdu for case in pushes.load_all()], 16_384),
    "blocks-both-ways": Target(two_way_blocks, blocks),
    "blocks": Target(general_blocks, blocks),
    "acse": Target(whole_acse, acse_apdus),
    "xdlms": Target(whole_apdu, apdus),
    "lists": Target(getlist.decode_results, lambda: (bytes.fromhex("02001101010b"),)),
    "association": Target(conversation, talks),
    "ciphered": Target(ciphered, protected),
    "ciphered-unverified": Target(ciphered_unverified, protected),
    "axdr": Target(whole_data, items, 16_384),
    "rows": Target(load_profile, rows),
    "date-time": Target(date_time, lambda: [case.frame for case in cases.load_all("dlms-datetime")]),
    "attributes": Target(attributes, items, 16_384),
    "general-ciphering": Target(general.decode, general_apdus),
    "short-names": Target(short_names, short_lists),
    "interface-classes": Target(interface_classes, classes),
    "telegram": Target(telegram, telegrams, 8192),
    "telegram-signed": Target(signed_telegram, telegrams),
    "opening": Target(
        partial(until_damage, Opening), lambda: (b"/ACM5\\2E40\r\n", b"\x00/?!\r\n/ACM5\\2E40\r\n\x062452\r\n")
    ),
    "iec62056-opening": Target(
        partial(until_damage, iec62056_opening.Opening), lambda: (b"/LGZ5ABC\r\n", b"/LGZBABC\r\n", b"/LGZxABC\r\n")
    ),
    "iec62056-messages": Target(iec62056_readout, iec62056_readouts, 16_384),
    "iec62056-load-profile": Target(iec62056_profile, iec62056_profiles, 16_384),
    "iec62056-unasked": Target(
        iec62056_unasked_stream, lambda: (b"x/ESY5Q3D V3\r\n\r\n1-0:1.8.0*255(1.5*kWh)\r\n!\r\n", b"/A" * 50), 16_384
    ),
    "trace": Target(trace, traces),
    "modbus-pdu": Target(modbus_response, modbus_frames),
    "modbus-rtu": Target(partial(until_damage, lambda: rtu.ResponseReader(1, MODBUS)), modbus_frames),
    "modbus-answers": Target(modbus_answers, modbus_frames),
    "modbus-line": Target(modbus_line, modbus_frames),
    "modbus-ascii": Target(partial(in_pieces, modbus_ascii.AsciiReader), modbus_frames),
    "modbus-learned": Target(modbus_learned, modbus_knowledge),
    "sunspec": Target(sunspec_device, sunspec_models),
    "modbus-tcp": Target(partial(until_damage, mbap.MbapReader), modbus_frames),
}
