"""A meter scripted in the test: our codecs' server side, answers from a table, and what goes wrong on request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from drivers.contract import ByteStream
from drivers.dlms import acse, axdr, objects, xdlms
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.events import NEED_DATA, Apdu
from drivers.dlms.gateway import REQUEST, RESPONSE, Gateway
from drivers.dlms.hdlc import HdlcAddress
from drivers.dlms.link import HdlcLink
from drivers.dlms.objects import CaptureObject
from drivers.dlms.wrapper import WrapperLink
from drivers.dlms.xdlms import Attribute, Selection
from drivers.errors import ConnectionLost
from drivers.obis import Obis
from drivers.profile import (
    ChannelProfile,
    ClockProfile,
    DlmsColumn,
    DlmsProfile,
    DlmsRegister,
    MeterProfile,
    TimingProfile,
)
from drivers.units import ScalerUnit, Unit

DAY = 1_767_225_600
PERIOD = 1800
INTERVALS, REGISTER, LOAD_PROFILE = Obis.parse("1.29.0"), Obis.parse("1.8.0"), Obis.parse("1-0:99.1.0")
DEMAND = Obis.parse("1.6.0")
WATT_HOUR, TEN_WATT_HOURS = ScalerUnit(0, Unit.WATT_HOUR), ScalerUnit(1, Unit.WATT_HOUR)
GRANTED = xdlms.Conformance.GET | xdlms.Conformance.SELECTIVE_ACCESS | xdlms.Conformance.BLOCK_TRANSFER_GET
PROFILE = MeterProfile(
    "scripted",
    "dlms",
    "tests/drivers/dlms/meter.py",
    channels=(ChannelProfile(INTERVALS, PERIOD, WATT_HOUR, "load_profile"),),
    timing=TimingProfile(latency=0.1),
    dlms=DlmsProfile(
        load_profile=LOAD_PROFILE,
        columns=(DlmsColumn(INTERVALS, INTERVALS),),
        registers=(DlmsRegister(REGISTER, REGISTER), DlmsRegister(DEMAND, DEMAND, class_id=4)),
    ),
)


def stamp(instant: int) -> Data:
    return axdr.octet_string(CosemDateTime.from_utc(instant).encode())


def rows_of(values: list[int], first: int = DAY + PERIOD, skip: frozenset[int] = frozenset()) -> list[tuple[int, int]]:
    return [(first + slot * PERIOD, value) for slot, value in enumerate(values) if slot not in skip]


@dataclass
class Meter:
    """``rows``: (stamp, count). ``takes``: ways of selection answered rightly; others are refused, or empty if ``is_mute``."""

    rows: list[tuple[int, int]] = field(default_factory=lambda: rows_of(list(range(1, 49))))
    takes: frozenset[str] = frozenset({"range", "entry", "none"})
    is_mute: bool = False
    sort_method: int = objects.FIRST_IN_FIRST_OUT
    capture_period: int = PERIOD
    values: dict[str, Data] = field(default_factory=dict)
    hdlc: HdlcAddress | None = None
    gateway: Gateway | None = None
    disturb: Callable[[int, bytes], bytes] = field(default=lambda _, octets: octets)
    asked: list[str] = field(default_factory=list)
    row_counts: list[int] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)

    def value(self, attribute: Attribute, selection: Selection | None) -> Data | int:
        if attribute.class_id == 7:
            return self.profile(attribute.index, selection)
        key = f"{attribute.class_id}/{attribute.logical_name}/{attribute.index}"
        standard = {
            "1/0-0:42.0.0*255/2": axdr.octet_string(b"TST0000000000001"),
            "8/0-0:1.0.0*255/2": stamp(DAY + 5),
            "3/1-0:1.8.0*255/2": axdr.double_long_unsigned(1234),
            "3/1-0:1.8.0*255/3": objects.encode_scaler_unit(TEN_WATT_HOURS),
            "3/1-0:1.29.0*255/3": objects.encode_scaler_unit(WATT_HOUR),
            "4/1-0:1.6.0*255/2": axdr.long_unsigned(77),
            "4/1-0:1.6.0*255/3": objects.encode_scaler_unit(ScalerUnit(0, Unit.WATT)),
            "4/1-0:1.6.0*255/5": stamp(DAY - 3600),
        }
        return self.values.get(key) or standard.get(key) or xdlms.DataAccessResult.OBJECT_UNDEFINED

    def profile(self, index: int, selection: Selection | None) -> Data | int:
        columns = (CaptureObject(8, Obis(0, 0, 1, 0, 0), 2), CaptureObject(3, INTERVALS, 2))
        match index:
            case 2:
                return self.buffer(selection)
            case 3:
                return axdr.array([column.encode() for column in columns])
            case 4:
                return axdr.double_long_unsigned(self.capture_period)
            case 5:
                return axdr.enum(self.sort_method)
            case 7:
                return axdr.double_long_unsigned(len(self.rows))
        return xdlms.DataAccessResult.READ_WRITE_DENIED

    def buffer(self, selection: Selection | None) -> Data | int:
        way = {0: "none", 1: "range", 2: "entry"}[selection.selector if selection else 0]
        self.asked.append(way)
        if way not in self.takes:
            return axdr.array([]) if self.is_mute else xdlms.DataAccessResult.OTHER_REASON
        rows = self.rows if self.sort_method == objects.FIRST_IN_FIRST_OUT else self.rows[::-1]
        if selection and way == "range":
            items = selection.parameters.items()
            first, last = (CosemDateTime.decode(items[at].octets()).to_utc(ClockProfile()) for at in (1, 2))
            rows = [row for row in rows if first <= row[0] <= last]
        elif selection and way == "entry":
            first, last = (item.integer() for item in selection.parameters.items()[:2])
            rows = rows[first - 1 : last]
        self.row_counts.append(len(rows))
        return axdr.array([axdr.structure(stamp(at), Data(Tag.LONG_UNSIGNED, value)) for at, value in rows])

    def answer(self, apdu: bytes) -> bytes:
        if self.gateway is not None:
            return self.gateway.wrap(self.plain_answer(self.gateway.unwrap(apdu, REQUEST)), RESPONSE)
        return self.plain_answer(apdu)

    def plain_answer(self, apdu: bytes) -> bytes:
        self.received.append(apdu)
        if apdu[0] == acse.AARQ:
            return acse.Aare(user_information=xdlms.InitiateResponse(GRANTED, 0).encode()).encode()
        if apdu[0] == acse.RLRQ:
            return acse.Release(is_response=True).encode()
        request = xdlms.decode(apdu)
        assert isinstance(request, xdlms.GetRequest)
        value = self.value(request.attribute, request.selection)
        if isinstance(value, int):
            return xdlms.GetResponse(request.invoke_id, None, value).encode()
        return xdlms.GetResponse(request.invoke_id, value).encode()

    async def serve(self, stream: ByteStream) -> None:
        link = WrapperLink(1, None) if self.hdlc is None else HdlcLink("server", self.hdlc, None)
        number = 0
        with suppress(ConnectionLost):
            while True:
                link.receive_data(await stream.read(60))
                octets = b""
                while (event := link.next_event()) is not NEED_DATA:
                    octets += link.data_to_send()
                    if isinstance(event, Apdu):
                        octets += link.send(Apdu(self.answer(event.octets)))
                octets += link.data_to_send()
                if octets and (octets := self.disturb(number, octets)):
                    await stream.write(octets)
                number += 1


@asynccontextmanager
async def serving(meter: Meter, stream: ByteStream) -> AsyncIterator[None]:
    task = asyncio.create_task(meter.serve(stream))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
