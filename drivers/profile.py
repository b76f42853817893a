"""A meter model as data: what a profile says.

Profiles are TOML files in ``config/profiles``. `drivers.profile_parser` makes these objects out of parsed mappings
(inherit, validate, every fault at once); neither ever opens a file.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from drivers.obis import Obis
from drivers.status import UNDECLARED, Meaning, StatusLayout
from drivers.units import ScalerUnit

Protocol = Literal["dlms", "modbus", "dlt645", "iec62056", "push"]
WordOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]
ValueType = Literal[
    "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64", "bcd16", "bcd32", "bcd64"
]
IdentityType = Literal["text", "hex", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
Parity = Literal["line", "gateway", "hidden"]
Table = Literal["holding", "input"]
Origin = Literal["load_profile", "register", "push"]
Stamp = Literal["start", "end"]
Authentication = Literal["none", "lls", "hls2", "hls3", "hls4", "hls5", "hls6", "hls7"]
Security = Literal["none", "authenticated", "encrypted", "authenticated-encrypted"]
AuthenticationKey = Literal["required", "withheld"]
Ciphering = Literal["service", "general", "identified-key", "wrapped-key", "one-pass", "static-unified"]
Referencing = Literal["logical-name", "short-name"]
OptionalService = Literal["access"]
Establishment = Literal["negotiated", "pre-established"]
Signing = Literal["none", "general"]
MetadataScope = Literal["model", "meter", "session"]
SelectiveAccess = Literal["range", "columns", "entry", "none"]
SessionKey = Literal["global", "dedicated"]
MeterCounters = Literal["rising", "restarting"]
CounterSync = Literal["refused", "always"]
Deviation = Literal["meter", "ignore"]
RangeDeviation = Literal["meter", "unspecified", "utc"]
MAKER: Final = re.compile(r"[A-Z]{3}")
"""How a maker is named: manufacturer identification of IEC 62056-21 (6.3.2) and DLMS, of which FLAG keeps the list."""


@dataclass(frozen=True, slots=True)
class ChannelProfile:
    """One interval channel this model is expected to deliver.

    ``obis``: interval channel (time integral 5).  ``period``: [s].  ``scaler_unit``: of stored counts.
    ``origin``: load profile of the meter, differences of a polled register, or pushed by a concentrator.
    ``lower``, ``upper``: plausible count per interval, inclusive (validation only).
    ``dials``: decimal digits of the register before it rolls over to 0, in counts of ``scaler_unit``; 0 = never.
    ``boundary_tolerance``: a register poll this close after the boundary counts as exact. [s]
    """

    obis: Obis
    period: int
    scaler_unit: ScalerUnit
    origin: Origin
    lower: int = 0
    upper: int = 2**31 - 1
    dials: int = 0
    boundary_tolerance: int = 0


@dataclass(frozen=True, slots=True)
class ClockProfile:
    """Habits of the meter's clock, converted to UTC once, at the driver.

    ``zone``: IANA zone of stamps whose deviation is unspecified or not to be believed; ``UTC+10:00`` for a fixed offset.
    ``stamp``: does a load-profile row's clock mark the start or the end of its interval.
    ``deviation``: believe the meter's deviation where specified (``meter``) or always use ``zone`` (``ignore``).
    ``range_deviation``: how to write the deviation in a selective-access range (some meters refuse one, others its absence).
    ``tolerance``: clock error beyond which interval data is questionable. [s]
    """

    zone: str = "UTC"
    stamp: Stamp = "end"
    deviation: Deviation = "meter"
    range_deviation: RangeDeviation = "meter"
    tolerance: int = 180


@dataclass(frozen=True, slots=True)
class TimingProfile:
    """Pace of the model on its link.

    ``latency``: longest time the meter takes before its first byte. [s]  ``turnaround``: silence to keep after an answer. [s]
    ``retries``: further attempts after a retryable failure, within one job.
    ``margin``: what the host and its adapters may take beyond that, whatever the speed of the world; no file says it. [s, real]
    """

    latency: float = 1.0
    turnaround: float = 0.0
    retries: int = 1
    margin: float = 0.1


@dataclass(frozen=True, slots=True)
class DlmsRegister:
    """One readable COSEM object. IEC 62056-6-2: class 1 Data, 3 Register, 4 Extended, 5 Demand.

    ``scaler_unit``: only where the meter has none to ask (class 1); else None and the meter is asked.
    """

    obis: Obis
    logical_name: Obis
    class_id: int = 3
    attribute: int = 2
    scaler_unit: ScalerUnit | None = None


@dataclass(frozen=True, slots=True)
class DlmsColumn:
    """What a captured column means: ``obis`` of the channel; ``cumulative`` where it is a running register's snapshot."""

    logical_name: Obis
    obis: Obis
    cumulative: bool = False


@dataclass(frozen=True, slots=True)
class DlmsProfile:
    """DLMS/COSEM session settings and objects.

    ``security``: what every APDU must be, both ways; None for what the authentication implies, see `agreed_security`.
    ``authentication_key``: ``withheld`` where the utility gives none, so that no tag can be verified.
    ``ciphering``: form of protected APDUs; the last four are general-ciphering.  ``signing``: whether each is signed too.
    ``session_key``: encrypt with the meter's key, or with a fresh one per association.
    ``meter_counters``: do the meter's own counters rise from session to session, or start again in each.
    ``counter_object``: where client ``counter_client``, without authentication, reads the counter the meter saw last; asked
    when ours is ``refused``, or ``always`` at first. It moves ours up by ``counter_margin`` at most.
    ``max_info``, ``window``: what is offered on HDLC, each way [octet, frame]; the meter's word counts.
    ``opening``: what comes before HDLC, ``mode-e`` on optical probes (IEC 62056-21), with zeros before it to ``wake_up`` a meter.
    ``inactivity_time_out``: the meter closes an HDLC link on which nothing was said for so long. [s]
    ``referencing``: how the meter knows its objects.  ``block_window``: general blocks taken at a time, 0 for none (GBT).
    ``services``: what to ask the meter for beside the usual.  ``association``: ``pre-established`` where it is open from the
    beginning, with nothing to negotiate and no authentication.
    ``status``: the load profile's column of status words, see `MeterProfile.status_layout`; None for the one that is there.
    ``metadata``: who shares columns and scalers once read: meters of one model and firmware, no other meter, no other session.
    """

    framing: Literal["hdlc", "wrapper"] = "wrapper"
    client: int = 16
    server: int = 1
    authentication: Authentication = "none"
    security: Security | None = None
    authentication_key: AuthenticationKey = "required"
    security_suite: int = 0
    ciphering: Ciphering = "service"
    signing: Signing = "none"
    session_key: SessionKey = "global"
    client_system_title: bytes = b""
    meter_counters: MeterCounters = "rising"
    counter_object: Obis | None = None
    counter_client: int = 16
    counter_sync: CounterSync = "refused"
    counter_margin: int = 10_000
    max_pdu: int = 65_535
    max_info: int = 2_030
    window: int = 1
    inactivity_time_out: int = 120
    opening: Literal["none", "mode-e"] = "none"
    wake_up: bool = False
    identity: Obis = Obis(0, 0, 42, 0, 0)
    firmware: Obis | None = None
    clock: Obis = Obis(0, 0, 1, 0, 0)
    disconnect_control: Obis | None = None
    image_transfer: Obis | None = None
    account: Obis | None = None
    token_gateway: Obis | None = None
    load_profile: Obis | None = None
    status: Obis | None = None
    columns: tuple[DlmsColumn, ...] = ()
    registers: tuple[DlmsRegister, ...] = ()
    selective_access: tuple[SelectiveAccess, ...] = ("range", "entry", "none")
    metadata: MetadataScope = "model"
    referencing: Referencing = "logical-name"
    block_window: int = 0
    services: tuple[OptionalService, ...] = ()
    association: Establishment = "negotiated"

    @property
    def agreed_security(self) -> Security:
        """What every APDU must be: as declared, else both for HLS-5 and HLS-7, and nothing for the rest."""
        return self.security or implied_security(self.authentication)


def parse_authentication(text: str) -> Authentication:
    """Read the name of an authentication mechanism. Raises `ValueError` that says what is possible, and why some are not."""
    possible = [known for known in get_args(Authentication) if known != "hls2"]
    if text in possible:
        return cast("Authentication", text)
    why = ": each maker has its own, and a profile cannot say which" if text == "hls2" else ""
    raise ValueError(f"is {text[:40]!r}, not one of {', '.join(possible)}{why}")


def implied_security(authentication: Authentication) -> Security:
    """Say what security an authentication brings with it where none is declared."""
    return "authenticated-encrypted" if authentication in {"hls5", "hls7"} else "none"


@dataclass(frozen=True, slots=True)
class ModbusPoint:
    """One quantity in the register map. ``address``: zero-based, as on the wire. ``scaler_unit``: declared resolution.

    ``factor``: for float points, unit of the float in ``scaler_unit.unit`` as a power of ten (kWh -> 3).
    ``mask``: bits of an unsigned value that are the quantity's, 0 for all; they are counted from the lowest of them.
    ``absent``: what the registers hold, as an unsigned number, where the meter has no value.
    ``lower``, ``upper``: plausible counts, inclusive; a value outside is kept and marked. None for no limit.
    """

    obis: Obis
    address: int
    type: ValueType
    scaler_unit: ScalerUnit
    table: Table = "holding"
    word_order: WordOrder = "ABCD"
    factor: int = 0
    mask: int = 0
    absent: tuple[int, ...] = ()
    lower: int | None = None
    upper: int | None = None


@dataclass(frozen=True, slots=True)
class ModbusBlock:
    """Registers that the meter gives all at once or not at all: ``count`` from zero-based ``address``."""

    address: int
    count: int


@dataclass(frozen=True, slots=True)
class ModbusIdentity:
    """Registers that hold the serial number. ``block``: what has to be read to get at them, None for no more than they are.

    ``type``: a number (uint32 and the like), ASCII ``text`` (two characters per register, or one and a NUL), or the registers'
    own ``hex`` digits, where the number is put together of fields.
    """

    address: int
    type: IdentityType
    count: int = 2
    table: Table = "holding"
    word_order: WordOrder = "ABCD"
    block: ModbusBlock | None = None


@dataclass(frozen=True, slots=True)
class ModbusHole:
    """Registers that must not be read over: ``count`` from zero-based ``address``."""

    address: int
    count: int = 1
    table: Table = "holding"


@dataclass(frozen=True, slots=True)
class ModbusStatus:
    """Registers of a status word, the highest first: one, or two."""

    address: int
    type: Literal["uint16", "uint32"] = "uint16"
    table: Table = "holding"


@dataclass(frozen=True, slots=True)
class ModbusLoadProfile:
    """A load profile in file records (function 20): a ring of rows, each as long as the next.

    ``file``, ``record``: where the first row begins.  ``rows``: how many there are.  ``width``: of one. [register]
    ``time``: offset within the row of its instant, two registers with the seconds since 1970 UTC; 0 and FFFFFFFF hex for a row
    that was not written yet.  ``period``: from row to row. [s]
    ``columns``: what a row holds; ``address`` is the offset within it.
    """

    file: int
    rows: int
    width: int
    period: int
    columns: tuple[ModbusPoint, ...]
    record: int = 0
    time: int = 0


@dataclass(frozen=True, slots=True)
class ModbusProfile:
    """Modbus settings and register map. ``max_registers``: largest read the model takes (at most 125).

    ``holes``: what no read may go over; others are learned.  ``pipeline``: requests over Modbus TCP that may be in flight at
    once, where a trial with two of them works.
    ``parity``: whether the link shows us wrong parity (``line``), a gateway drops what has it (``gateway``), or nobody looks
    (``hidden``); values read where nobody looks are doubtful, and energy is then read twice. Modbus TCP has no need of it.
    ``status``: where the status word of the moment is, see `MeterProfile.status_layout`.
    """

    framing: Literal["rtu", "tcp", "rtu-over-tcp", "ascii"] = "rtu"
    points: tuple[ModbusPoint, ...] = ()
    identity: ModbusIdentity | None = None
    max_registers: int = 125
    holes: tuple[ModbusHole, ...] = ()
    pipeline: int = 1
    parity: Parity = "line"
    load_profile: ModbusLoadProfile | None = None
    status: ModbusStatus | None = None


@dataclass(frozen=True, slots=True)
class Dlt645Point:
    """One data item. ``di``: its identifier, hexadecimal, DI3 first.  ``octets``: of BCD; ``signed``: the top bit is a sign.

    ``scaler_unit``: what one in the last digit is worth.  ``block``: identifier that gives this item and its neighbours in one
    answer, empty for none, where it is number ``place``, from 0. All items of a block have the same ``octets``.
    """

    obis: Obis
    di: str
    octets: int
    scaler_unit: ScalerUnit
    signed: bool = False
    block: str = ""
    place: int = 0


@dataclass(frozen=True, slots=True)
class Dlt645Column:
    """A running register within a load record of one kind. ``offset``: its first octet there."""

    obis: Obis
    offset: int
    octets: int
    scaler_unit: ScalerUnit
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Dlt645LoadRecord:
    """Load records to read (2007). ``kind``: 1 to 6 of the standard.  ``size``: octets of that kind in a record."""

    kind: int
    size: int
    columns: tuple[Dlt645Column, ...]


@dataclass(frozen=True, slots=True)
class Dlt645Freeze:
    """A memory of registers frozen again and again. Identifiers are those of the last one; older ones count up DI0 to ``depth``.

    ``stamp``: identifier of when it was frozen (YYMMDDhhmm), or else ``day``: of the day and hour of each month (DDhh).
    """

    name: str
    depth: int
    points: tuple[Dlt645Point, ...]
    stamp: str = ""
    day: str = ""


@dataclass(frozen=True, slots=True)
class Dlt645Events:
    """A log of one kind of event. ``di``: of the last one.  ``offset``: octet of a record at which the instant of the event is
    (YYMMDDhhmmss), and behind it, where ``means`` says something of intervals, the one at which it ended.
    """

    di: str
    depth: int
    code: int
    text: str
    offset: int = 0
    means: Meaning = Meaning.NOTHING


@dataclass(frozen=True, slots=True)
class Dlt645Profile:
    """DL/T 645 settings and data items. ``edition``: of the standard.  ``wake_up``: octets FE in front of each request.

    ``parity``: whether the link shows us wrong parity (``line``), a gateway drops what has it (``gateway``), or nobody looks
    (``hidden``); values read where nobody looks are doubtful, and energy is then read twice.
    ``identity``: identifier of the meter's own address; empty to go by the address its answers come from.
    ``date``, ``time``: identifiers of YYMMDDWW and hhmmss.
    """

    edition: Literal["2007", "1997"] = "2007"
    wake_up: int = 4
    parity: Literal["line", "gateway", "hidden"] = "line"
    identity: str = ""
    date: str = ""
    time: str = ""
    points: tuple[Dlt645Point, ...] = ()
    load_record: Dlt645LoadRecord | None = None
    freezes: tuple[Dlt645Freeze, ...] = ()
    events: tuple[Dlt645Events, ...] = ()


ReadForm = Literal["R1", "R2", "R3", "R4", "R5", "R6"]
Field = Literal["stamp", "status", "period", "count", "columns", "values", "skip"]


@dataclass(frozen=True, slots=True)
class Iec62056Point:
    """One data set. ``address``: as the meter prints it; empty for the code itself, in full or reduced.

    ``scaler_unit``: what a printed 1 is worth where the meter prints no unit beside it.  ``form``: of reads by address.
    """

    obis: Obis
    address: str = ""
    scaler_unit: ScalerUnit | None = None
    form: ReadForm = "R1"


@dataclass(frozen=True, slots=True)
class Iec62056Column:
    """A column of the load profile: ``address`` as its header prints it, or in the order of the rows.

    ``obis``: an interval channel, or a register whose snapshots stand there.  ``scaler_unit``: as of `Iec62056Point`.
    """

    obis: Obis
    address: str
    scaler_unit: ScalerUnit | None = None


@dataclass(frozen=True, slots=True)
class Iec62056LoadProfile:
    """How a model gives its load profile. ``form``: of the read, or ``readout`` where it is printed there.

    ``window``: how start and end are written, of YY MM DD hh mm ss and Z, which says the time kept; empty to ask for all.
    ``header``, ``row``: what stands in the parentheses behind the address, and then again and again.
    ``days``: of the window that one question is for.
    """

    address: str
    columns: tuple[Iec62056Column, ...]
    form: ReadForm | Literal["readout"] = "R5"
    window: str = "ZYYMMDDhhmm"
    header: tuple[Field, ...] = ("stamp", "status", "period", "count", "columns")
    row: tuple[Field, ...] = ("values",)
    days: int = 1


@dataclass(frozen=True, slots=True)
class Iec62056Log:
    """A log of events: data sets that begin with when it happened and a status, whose number is the event's code."""

    address: str
    text: str
    form: ReadForm = "R5"


@dataclass(frozen=True, slots=True)
class Iec62056Profile:
    """IEC 62056-21 settings and data sets. ``opening``: what registers come from; the identification tells the mode.

    ``unasked`` is mode D.  ``first_baud``, ``max_baud``: of the opening, and the fastest we agree to. [bit/s]
    ``check_character``: False for meters of modes A and B that send none.  ``level``: what the password is sent as.
    ``parity``: as of DL/T 645.  ``identity``: data sets of the serial number, the first that is there counts.
    ``date`` and ``time``, or ``clock`` with both: data sets of the meter's clock.
    ``readout``: how long the model's readout is, from STX to the check character, 0 where nobody has said; for the forecast
    of a line alone. [octet]
    """

    opening: Literal["readout", "programming", "unasked"] = "readout"
    first_baud: int = 300
    max_baud: int = 19_200
    characters: Literal["7E1", "8N1"] = "7E1"
    check_character: bool = True
    wake_up: bool = False
    level: Literal["none", "P1", "P2"] = "none"
    parity: Literal["line", "gateway", "hidden"] = "line"
    identity: tuple[str, ...] = ("0.0.0", "C.1.0")
    date: str = ""
    time: str = ""
    clock: str = ""
    readout: int = 0
    points: tuple[Iec62056Point, ...] = ()
    load_profile: Iec62056LoadProfile | None = None
    events: tuple[Iec62056Log, ...] = ()


@dataclass(frozen=True, slots=True)
class PushChannel:
    """One channel in a pushed message: ``path`` of its value within a row; ``unit_factor`` as ModbusPoint.factor."""

    obis: Obis
    path: str
    scaler_unit: ScalerUnit
    factor: int = 0


@dataclass(frozen=True, slots=True)
class PushProfile:
    """How to read a concentrator's JSON: a declarative payload map.

    ``topic``: MQTT filter with named levels, for example ``ami/{concentrator}/{meter}/intervals``; a name matches one level.
    ``meter``: where the meter's global name is: ``topic:meter`` or a field path ``header.meter``.
    ``rows``: path of the list of rows.  ``time``: path within a row.  ``time_format``: how it is written.
    ``stamp``: start or end of the interval.  ``period``: [s].  ``status``: path of a row's status word; empty where it has none.
    A path is field names and list indexes joined by dots.
    """

    topic: str
    meter: str
    rows: str
    time: str
    period: int
    channels: tuple[PushChannel, ...]
    time_format: Literal["epoch", "epoch_ms", "iso"] = "iso"
    stamp: Stamp = "start"
    status: str = ""


@dataclass(frozen=True, slots=True)
class CalledObject:
    """What an object of a pushed list means whose scaler and unit the meter does not send. ``logical_name``: the meter's."""

    logical_name: Obis
    obis: Obis
    scaler_unit: ScalerUnit


@dataclass(frozen=True, slots=True)
class CallProfile:
    """How to understand a meter that calls us with data-notifications.

    ``authentication_key``: ``withheld`` where the utility gives none, so that no tag can be verified; values are then
    questionable.  ``objects``: only those the message itself leaves without scaler and unit.  ``checksum``: ``absent`` for meters
    whose telegrams have none (P1, versions 2.2 and 3); what they print nobody vouches for.
    """

    authentication_key: AuthenticationKey = "required"
    checksum: Literal["required", "absent"] = "required"
    objects: tuple[CalledObject, ...] = ()


@dataclass(frozen=True, slots=True)
class MeterProfile:
    """One meter model. ``source``: the public document the figures come from. ``maker`` makes ``maker:serial`` names.

    ``status_layout``: what the bits of its status words mean.
    """

    name: str
    protocol: Protocol
    source: str
    maker: str = ""
    model: str = ""
    status: Literal["simulator", "laboratory", "field"] = "simulator"
    channels: tuple[ChannelProfile, ...] = ()
    registers: tuple[Obis, ...] = ()
    clock: ClockProfile = field(default_factory=ClockProfile)
    timing: TimingProfile = field(default_factory=TimingProfile)
    dlms: DlmsProfile | None = None
    modbus: ModbusProfile | None = None
    dlt645: Dlt645Profile | None = None
    iec62056: Iec62056Profile | None = None
    push: PushProfile | None = None
    call: CallProfile | None = None
    status_layout: StatusLayout = UNDECLARED
