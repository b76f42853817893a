"""Parses meter profiles: mappings in, `MeterProfile` out, every fault at once. Reads no file.

A profile names its parent with ``inherits = "parent"``. Tables merge key by key, the child's key wins; lists are replaced
whole. A profile with ``abstract = true`` is there to be inherited from and is no meter model itself.
"""

import re
from collections.abc import Mapping
from typing import Final, get_args

from drivers.errors import ProfileError
from drivers.obis import Obis, resolve
from drivers.profile import (
    MAKER,
    CalledObject,
    CallProfile,
    ChannelProfile,
    Ciphering,
    ClockProfile,
    DlmsColumn,
    DlmsProfile,
    DlmsRegister,
    IdentityType,
    MeterProfile,
    ModbusBlock,
    ModbusHole,
    ModbusIdentity,
    ModbusLoadProfile,
    ModbusPoint,
    ModbusProfile,
    ModbusStatus,
    OptionalService,
    Protocol,
    PushChannel,
    PushProfile,
    Security,
    SelectiveAccess,
    Signing,
    TimingProfile,
    ValueType,
    parse_authentication,
)
from drivers.profile_dlt645 import NO_OBIS, parse_dlt645, read_scaler_unit
from drivers.profile_iec62056 import parse_iec62056
from drivers.profile_rules import REGISTERS, WIDTH, check
from drivers.profile_status import parse_status_layout
from drivers.table import MAX_FAULTS, CheckedTable, Faults, nearest, type_name
from drivers.zone import parse_zone

MAX_ANCESTORS = 8
DAY = 86_400
MAX_DIALS = 18  # decimal digits that always fit int64

_HEX = re.compile(r"[0-9A-Fa-f]*", re.ASCII)

_PROTOCOLS: Final[tuple[Protocol, ...]] = ("dlms", "modbus", "dlt645", "iec62056", "push")
_SELECTIVE: Final[tuple[SelectiveAccess, ...]] = ("range", "entry", "none")
_WAYS: Final[tuple[SelectiveAccess, ...]] = ("range", "columns", "entry", "none")


def parse_profile(name: str, documents: Mapping[str, Mapping[str, object]]) -> MeterProfile:
    """Make the profile ``name`` out of its document and those it inherits from.

    Raises `ProfileError` with every fault found; a fault in an inherited key names the profile the key comes from.
    """
    faults = Faults()
    merged, origins = _inherit(name, documents, faults)
    if not faults.lines:
        top = CheckedTable(merged, faults)
        profile = _profile(name, top)
        top.finish()
        rules = Faults()
        check(profile, rules)
        known = {line.partition(": ")[0] for line in faults.lines}
        faults.lines += [line for line in rules.lines if line.partition(": ")[0] not in known]
    if faults.lines:
        raise ProfileError(name, [_with_origin(line, name, origins) for line in faults.lines[:MAX_FAULTS]])
    return profile


def is_abstract(document: Mapping[str, object]) -> bool:
    """Say whether a document is there only to be inherited from."""
    return document.get("abstract") is True


def _inherit(
    name: str, documents: Mapping[str, Mapping[str, object]], faults: Faults
) -> tuple[dict[str, object], dict[str, str]]:
    """Merge a document over its ancestors; also say, per dotted path, which document the value came from."""
    chain: list[str] = []
    parent: object = name
    while parent is not None:
        if not isinstance(parent, str):
            faults.add("inherits", f"must be text, the name of a profile, not {type_name(parent)}")
            break
        if parent not in documents:
            faults.add("inherits" if chain else name, f"there is no profile {parent!r}" + nearest(parent, documents))
            break
        if parent in chain:
            faults.add("inherits", "goes in a circle: " + " -> ".join([*chain, parent]))
            break
        if len(chain) > MAX_ANCESTORS:
            faults.add("inherits", f"goes on for more than {MAX_ANCESTORS} profiles")
            break
        chain.append(parent)
        parent = documents[parent].get("inherits")
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    for ancestor in reversed(chain):
        own = {key: value for key, value in documents[ancestor].items() if key not in {"inherits", "abstract"}}
        _merge(merged, own, ancestor, "", origins)
    return merged, origins


def _merge(
    base: dict[str, object], over: Mapping[str, object], source: str, path: str, origins: dict[str, str]
) -> None:
    for key, value in over.items():
        where = f"{path}.{key}" if path else key
        below = base.get(key)
        if isinstance(value, dict) and (below is None or isinstance(below, dict)):
            deeper = dict(below or {})
            _merge(deeper, value, source, where, origins)
            base[key] = deeper
        else:
            base[key] = value
            origins[where] = source


def _with_origin(line: str, name: str, origins: Mapping[str, str]) -> str:
    where, _, what = line.partition(": ")
    found = [path for path in origins if where == path or where.startswith((path + ".", path + "["))]
    source = origins[max(found, key=len)] if found else name
    return line if source == name else f"{where} (inherited from {source}): {what}"


def _profile(name: str, top: CheckedTable) -> MeterProfile:
    protocol: Protocol = top.choice("protocol", _PROTOCOLS)
    for other in _PROTOCOLS:
        if top.has(other) and other != protocol:
            top.fault(other, f"has no place in a {protocol} profile")
    clock, timing = top.table("clock"), top.table("timing")
    profile = MeterProfile(
        name=name,
        protocol=protocol,
        source=top.text("source"),
        maker=top.parsed("maker", _maker, ""),
        model=top.text("model", ""),
        status=top.choice("status", ("simulator", "laboratory", "field"), "simulator"),
        channels=tuple(_channel(row) for row in top.tables("channels")),
        registers=_obis_list(top, "registers"),
        clock=_clock(clock),
        timing=_timing(timing),
        dlms=_dlms(top.table("dlms")) if protocol == "dlms" else None,
        modbus=_modbus(top.table("modbus")) if protocol == "modbus" else None,
        dlt645=parse_dlt645(top.table("dlt645")) if protocol == "dlt645" else None,
        iec62056=parse_iec62056(top.table("iec62056")) if protocol == "iec62056" else None,
        push=_push(top.table("push")) if protocol == "push" and (top.has("push") or not top.has("call")) else None,
        call=_call(top.table("call")) if top.has("call") else None,
        status_layout=parse_status_layout(top),
    )
    clock.finish()
    timing.finish()
    return profile


def _obis_list(table: CheckedTable, key: str) -> tuple[Obis, ...]:
    found = []
    for index, word in enumerate(table.words(key)):
        try:
            found.append(resolve(word))
        except ValueError as error:
            table.fault(f"{key}[{index}]", str(error))
    return tuple(found)


def _period(table: CheckedTable) -> int:
    period = table.integer("period", None, 1, DAY)
    if DAY % period:
        table.fault("period", f"{period} s does not divide a day")
    return period


def _channel(row: CheckedTable) -> ChannelProfile:
    obis = row.required("obis", resolve, NO_OBIS)
    channel = ChannelProfile(
        obis=obis,
        period=_period(row),
        scaler_unit=read_scaler_unit(row, obis),
        origin=row.choice("origin", ("load_profile", "register", "push")),
        lower=row.integer("lower", 0, -(2**31) + 1, 2**31 - 1),
        upper=row.integer("upper", 2**31 - 1, -(2**31) + 1, 2**31 - 1),
        dials=row.integer("dials", 0, 0, MAX_DIALS),
        boundary_tolerance=row.integer("boundary_tolerance", 0, 0, DAY),
    )
    row.finish()
    return channel


def _clock(table: CheckedTable) -> ClockProfile:
    return ClockProfile(
        zone=table.parsed("zone", _zone_name, "UTC"),
        stamp=table.choice("stamp", ("start", "end"), "end"),
        deviation=table.choice("deviation", ("meter", "ignore"), "meter"),
        range_deviation=table.choice("range_deviation", ("meter", "unspecified", "utc"), "meter"),
        tolerance=table.integer("tolerance", 180, 0, DAY),
    )


def _maker(text: str) -> str:
    if not MAKER.fullmatch(text):
        raise ValueError(f"is {text[:40]!r}, not three capital letters A to Z")
    return text


def _zone_name(text: str) -> str:
    parse_zone(text)
    return text


def _timing(table: CheckedTable) -> TimingProfile:
    return TimingProfile(
        latency=table.seconds("latency", 1.0, 60),
        turnaround=table.seconds("turnaround", 0.0, 60),
        retries=table.integer("retries", 1, 0, 10),
    )


def _system_title(text: str) -> bytes:
    if not _HEX.fullmatch(text) or len(text) != 16:
        raise ValueError(f"{text!r} is not 16 hexadecimal digits (8 octets)")
    return bytes.fromhex(text)


def _dlms(table: CheckedTable) -> DlmsProfile:
    profile = DlmsProfile(
        framing=table.choice("framing", ("hdlc", "wrapper"), "wrapper"),
        client=table.integer("client", 16, 1, 0x7F),  # IEC 62056-46: client addresses are one byte
        server=table.integer("server", 1, 1, 0x3FFF),  # 14 bits: the longest HDLC upper address
        authentication=table.parsed("authentication", parse_authentication, "none"),
        security=_security(table),
        authentication_key=table.choice("authentication_key", ("required", "withheld"), "required"),
        security_suite=table.integer("security_suite", 0, 0, 2),
        ciphering=table.choice("ciphering", get_args(Ciphering), "service"),
        signing=table.choice("signing", get_args(Signing), "none"),
        referencing=table.choice("referencing", ("logical-name", "short-name"), "logical-name"),
        block_window=table.integer("block_window", 0, 0, 63),
        session_key=table.choice("session_key", ("global", "dedicated"), "global"),
        client_system_title=table.parsed("client_system_title", _system_title, b""),
        meter_counters=table.choice("meter_counters", ("rising", "restarting"), "rising"),
        counter_object=table.parsed("counter_object", Obis.parse, NO_OBIS) if table.has("counter_object") else None,
        counter_client=table.integer("counter_client", 16, 1, 0x7F),
        counter_sync=table.choice("counter_sync", ("refused", "always"), "refused"),
        counter_margin=table.integer("counter_margin", 10_000, 1, 2**24),
        max_pdu=table.integer("max_pdu", 65_535, 64, 65_535),
        max_info=table.integer("max_info", 2_030, 32, 2_030),
        window=table.integer("window", 1, 1, 7),  # IEC 62056-46: numbers count modulo 8
        opening=table.choice("opening", ("none", "mode-e"), "none"),
        wake_up=table.boolean("wake_up", default=False),
        inactivity_time_out=table.integer("inactivity_time_out", 120, 2, 65_535),  # IEC 62056-6-2, class 23
        identity=table.parsed("identity", Obis.parse, Obis(0, 0, 42, 0, 0)),
        firmware=table.parsed("firmware", Obis.parse, NO_OBIS) if table.has("firmware") else None,
        clock=table.parsed("clock", Obis.parse, Obis(0, 0, 1, 0, 0)),
        disconnect_control=_optional(table, "disconnect_control"),
        image_transfer=_optional(table, "image_transfer"),
        account=_optional(table, "account"),
        token_gateway=_optional(table, "token_gateway"),
        load_profile=table.parsed("load_profile", Obis.parse, NO_OBIS) if table.has("load_profile") else None,
        status=_optional(table, "status"),
        columns=tuple(_column(row) for row in table.tables("columns")),
        registers=tuple(_dlms_register(row) for row in table.tables("registers")),
        selective_access=_selective_access(table),
        services=_services(table),
        association=table.choice("association", ("negotiated", "pre-established"), "negotiated"),
        metadata=table.choice("metadata", ("model", "meter", "session"), "model"),
    )
    table.finish()
    return profile


def _optional(table: CheckedTable, name: str) -> Obis | None:
    return table.parsed(name, Obis.parse, NO_OBIS) if table.has(name) else None


def _security(table: CheckedTable) -> Security | None:
    return table.choice("security", get_args(Security)) if table.has("security") else None


def _selective_access(table: CheckedTable) -> tuple[SelectiveAccess, ...]:
    if not table.has("selective_access"):
        return _SELECTIVE
    words = table.words("selective_access")
    for index, word in enumerate(words):
        if word not in _WAYS:
            table.fault(f"selective_access[{index}]", f"is {word[:40]!r}, not one of {', '.join(_WAYS)}")
    if not words:
        table.fault("selective_access", "must not be empty")
    return tuple(way for word in words for way in _WAYS if way == word)


def _services(table: CheckedTable) -> tuple[OptionalService, ...]:
    words = table.words("services") if table.has("services") else ()
    for index, word in enumerate(words):
        if word not in get_args(OptionalService):
            table.fault(f"services[{index}]", f"is {word[:40]!r}, not one of {', '.join(get_args(OptionalService))}")
    return tuple(service for service in get_args(OptionalService) if service in words)


def _column(row: CheckedTable) -> DlmsColumn:
    logical_name = row.required("logical_name", Obis.parse, NO_OBIS)
    column = DlmsColumn(
        logical_name=logical_name,
        obis=row.parsed("obis", resolve, logical_name),
        cumulative=row.boolean("cumulative", default=False),
    )
    row.finish()
    return column


def _dlms_register(row: CheckedTable) -> DlmsRegister:
    obis = row.required("obis", resolve, NO_OBIS)
    register = DlmsRegister(
        obis=obis,
        logical_name=row.parsed("logical_name", Obis.parse, obis),
        class_id=row.integer("class_id", 3, 1, 65_535),
        attribute=row.integer("attribute", 2, 1, 127),
        scaler_unit=read_scaler_unit(row, obis) if row.has("unit") or row.has("scaler") else None,
    )
    row.finish()
    return register


def _modbus(table: CheckedTable) -> ModbusProfile:
    identity = table.table("identity")
    base = table.integer("base", 0, 0, 1)  # of addresses as the maker writes them; on the wire they begin at 0
    profile = ModbusProfile(
        framing=table.choice("framing", ("rtu", "tcp", "rtu-over-tcp", "ascii"), "rtu"),
        points=tuple(_point(row, base) for row in table.tables("points")),
        identity=_modbus_identity(identity, base) if table.has("identity") else None,
        max_registers=table.integer("max_registers", 125, 1, 125),  # Modbus application protocol 1.1b3, 6.3
        holes=tuple(_hole(row, base) for row in table.tables("holes")),
        pipeline=table.integer("pipeline", 1, 1, 16),  # Messaging on TCP/IP V1.0b, 4.2: a server may have 1 to 16
        parity=table.choice("parity", ("line", "gateway", "hidden"), "line"),
        load_profile=_file_records(table.table("load_profile")) if table.has("load_profile") else None,
        status=_modbus_status(table.table("status"), base) if table.has("status") else None,
    )
    table.finish()
    return profile


def _modbus_status(row: CheckedTable, base: int) -> ModbusStatus:
    status = ModbusStatus(
        address=row.integer("address", None, base, REGISTERS - 2 + base) - base,
        type=row.choice("type", ("uint16", "uint32"), "uint16"),
        table=row.choice("table", ("holding", "input"), "holding"),
    )
    row.finish()
    return status


def _file_records(table: CheckedTable) -> ModbusLoadProfile:
    records = ModbusLoadProfile(
        file=table.integer("file", None, 1, 65_535),
        rows=table.integer("rows", None, 1, 10_000),
        width=table.integer("width", None, 3, 121),  # Modbus application protocol 1.1b3, 6.14: 245 bytes of one answer
        period=table.integer("period", None, 1, 86_400),
        columns=tuple(_point(row, 0) for row in table.tables("columns")),
        record=table.integer("record", 0, 0, 9_999),
        time=table.integer("time", 0, 0, 119),
    )
    table.finish()
    return records


def _hole(row: CheckedTable, base: int) -> ModbusHole:
    hole = ModbusHole(
        address=row.integer("address", None, base, REGISTERS - 1 + base) - base,
        count=row.integer("count", 1, 1, REGISTERS),
        table=row.choice("table", ("holding", "input"), "holding"),
    )
    row.finish()
    return hole


def _point(row: CheckedTable, base: int) -> ModbusPoint:
    obis = row.required("obis", resolve, NO_OBIS)
    limit = 2**63 - 1
    point = ModbusPoint(
        obis=obis,
        address=row.integer("address", None, base, REGISTERS - 1 + base) - base,
        type=row.choice("type", get_args(ValueType)),
        scaler_unit=read_scaler_unit(row, obis),
        table=row.choice("table", ("holding", "input"), "holding"),
        word_order=row.choice("word_order", ("ABCD", "CDAB", "BADC", "DCBA"), "ABCD"),
        factor=row.integer("factor", 0, -18, 18),
        mask=row.integer("mask", 0, 0, 2**64 - 1),
        absent=tuple(row.integers("absent", 0, 2**64 - 1)),
        lower=row.integer("lower", None, -limit, limit) if row.has("lower") else None,
        upper=row.integer("upper", None, -limit, limit) if row.has("upper") else None,
    )
    row.finish()
    return point


def _modbus_identity(row: CheckedTable, base: int) -> ModbusIdentity:
    kind: IdentityType = row.choice("type", get_args(IdentityType))
    identity = ModbusIdentity(
        address=row.integer("address", None, base, REGISTERS - 1 + base) - base,
        type=kind,
        count=row.integer("count", WIDTH.get(kind), 1, 125),
        table=row.choice("table", ("holding", "input"), "holding"),
        word_order=row.choice("word_order", ("ABCD", "CDAB", "BADC", "DCBA"), "ABCD"),
        block=_block(row.table("block"), base) if row.has("block") else None,
    )
    row.finish()
    return identity


def _block(row: CheckedTable, base: int) -> ModbusBlock:
    block = ModbusBlock(
        address=row.integer("address", None, base, REGISTERS - 1 + base) - base,
        count=row.integer("count", None, 1, 125),
    )
    row.finish()
    return block


def _push(table: CheckedTable) -> PushProfile:
    profile = PushProfile(
        topic=table.text("topic"),
        meter=table.text("meter"),
        rows=table.text("rows"),
        time=table.text("time"),
        period=_period(table),
        channels=tuple(_push_channel(row) for row in table.tables("channels")),
        time_format=table.choice("time_format", ("epoch", "epoch_ms", "iso"), "iso"),
        stamp=table.choice("stamp", ("start", "end"), "start"),
        status=table.text("status", ""),
    )
    table.finish()
    return profile


def _call(table: CheckedTable) -> CallProfile:
    profile = CallProfile(
        authentication_key=table.choice("authentication_key", ("required", "withheld"), "required"),
        checksum=table.choice("checksum", ("required", "absent"), "required"),
        objects=tuple(_called_object(row) for row in table.tables("objects")),
    )
    table.finish()
    return profile


def _called_object(row: CheckedTable) -> CalledObject:
    logical_name = row.required("logical_name", Obis.parse, NO_OBIS)
    obis = row.parsed("obis", resolve, logical_name)
    called = CalledObject(logical_name, obis, read_scaler_unit(row, obis))
    row.finish()
    return called


def _push_channel(row: CheckedTable) -> PushChannel:
    obis = row.required("obis", resolve, NO_OBIS)
    channel = PushChannel(
        obis=obis,
        path=row.text("path"),
        scaler_unit=read_scaler_unit(row, obis),
        factor=row.integer("factor", 0, -18, 18),
    )
    row.finish()
    return channel
