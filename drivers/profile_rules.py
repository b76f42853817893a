"""Rules between the parts of a profile: what each channel needs so that it can be read at all."""

import re
from collections.abc import Callable, Hashable, Iterable
from itertools import pairwise

from drivers.obis import Obis, interval_of, register_of
from drivers.profile import (
    CallProfile,
    ChannelProfile,
    DlmsProfile,
    MeterProfile,
    ModbusLoadProfile,
    ModbusProfile,
    PushProfile,
)
from drivers.profile_dlt645 import check_dlt645
from drivers.profile_iec62056 import check_iec62056
from drivers.table import Faults

WIDTH = {
    "uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "uint64": 4, "int64": 4, "float32": 2, "float64": 4,
    "bcd16": 1, "bcd32": 2, "bcd64": 4,
}  # fmt: skip
"""Registers (16 bit) per Modbus value type."""
RECORDS = 10_000  # same, 6.14: record numbers 0 to 9999
DAY = 86_400
REGISTERS = 65_536  # Modbus application protocol 1.1b3, 4.3: data addresses 0 to 65535
INTERVAL = 29  # value group D, IEC 62056-6-1: time integral 5
_LEVEL = re.compile(r"\{([a-z][a-z0-9_]*)\}", re.ASCII)
_PATH = re.compile(r"[^.\s]+(\.[^.\s]+){0,15}")  # depth 16, as parsers are limited


def check(profile: MeterProfile, faults: Faults) -> None:
    """Note every contradiction between the parts of one profile."""
    _distinct("channels", [channel.obis for channel in profile.channels], faults)
    _distinct("registers", list(profile.registers), faults)
    if not profile.channels and not profile.registers and not profile.call:
        faults.add("channels", "neither channels nor registers: nothing would ever be read")
    for index, channel in enumerate(profile.channels):
        _channel(f"channels[{index}]", channel, faults)
    if profile.dlms:
        _dlms(profile, profile.dlms, faults)
    if profile.modbus:
        _modbus(profile, profile.modbus, faults)
    if profile.dlt645:
        _origins(profile, ("load_profile", "register"), faults)
        _readable(profile, {point.obis for point in profile.dlt645.points}, "dlt645.points", faults)
        check_dlt645(profile, profile.dlt645, faults)
    if profile.iec62056:
        _origins(profile, ("load_profile", "register"), faults)
        check_iec62056(profile, profile.iec62056, faults)
    if profile.push:
        _push(profile, profile.push, faults)
    if profile.call:
        _call(profile, profile.call, faults)


def _distinct(where: str, keys: Iterable[Hashable], faults: Faults, what: str = "is there twice") -> None:
    seen = set()
    for index, key in enumerate(keys):
        if key in seen:
            faults.add(f"{where}[{index}]", f"{key} {what}")
        seen.add(key)


def _channel(where: str, channel: ChannelProfile, faults: Faults) -> None:
    if channel.obis.d != INTERVAL:
        hint = f"; {interval_of(channel.obis)} is" if channel.obis.d == 8 else ""
        faults.add(f"{where}.obis", f"{channel.obis} is not an interval channel (value group D 29){hint}")
    if channel.lower > channel.upper:
        faults.add(f"{where}.lower", f"{channel.lower} is above upper {channel.upper}")
    if channel.boundary_tolerance >= channel.period:
        faults.add(f"{where}.boundary_tolerance", f"{channel.boundary_tolerance} s is not shorter than the period")
    if channel.origin != "register" and channel.boundary_tolerance:
        faults.add(f"{where}.boundary_tolerance", f"means nothing for origin {channel.origin}; only for register")


def _origins(profile: MeterProfile, allowed: tuple[str, ...], faults: Faults) -> None:
    for index, channel in enumerate(profile.channels):
        if channel.origin not in allowed:
            where = f"channels[{index}].origin"
            faults.add(where, f"{channel.origin} is not possible over {profile.protocol}; {' or '.join(allowed)} is")


def _of_origin(profile: MeterProfile, origin: str) -> Iterable[tuple[str, ChannelProfile]]:
    return ((f"channels[{i}]", channel) for i, channel in enumerate(profile.channels) if channel.origin == origin)


def _dlms(profile: MeterProfile, dlms: DlmsProfile, faults: Faults) -> None:
    _origins(profile, ("load_profile", "register"), faults)
    if dlms.counter_sync == "always" and dlms.counter_object is None:
        faults.add("dlms.counter_sync", "always needs counter_object, the object to read")
    for line in security_faults(dlms):
        faults.add("dlms.security", line)
    _distinct("dlms.registers", [register.obis for register in dlms.registers], faults)
    _distinct("dlms.columns", [column.logical_name for column in dlms.columns], faults)
    columns = {column.obis for column in dlms.columns if not column.cumulative}
    recorded = list(_of_origin(profile, "load_profile"))
    if recorded and dlms.load_profile is None:
        faults.add("dlms.load_profile", "is missing, but a channel has origin load_profile")
    for where, channel in recorded:
        if channel.obis not in columns:
            faults.add(f"{where}.obis", f"no column of dlms.columns delivers {channel.obis}; a cumulative one does not")
    for (_, one), (where, other) in pairwise(recorded):
        if one.period != other.period:
            faults.add(f"{where}.period", f"{other.period} s, but one load profile has one period ({one.period} s)")
    _readable(profile, {register.obis for register in dlms.registers}, "dlms.registers", faults)


def security_faults(dlms: DlmsProfile) -> list[str]:
    """Say what in the agreed security contradicts itself, in words; empty where all is well."""
    security, faults = dlms.agreed_security, []
    if dlms.authentication == "hls5" and security == "none":
        faults.append("none is not possible with hls5, which needs the keys anyway; choose what its APDUs must be")
    if dlms.authentication == "hls7" and dlms.security_suite == 0:
        faults.append("hls7 signs, and suite 0 has no signatures; set security_suite to 1 or 2")
    if dlms.signing != "none" and (dlms.security_suite == 0 or security == "none"):
        faults.append("signing needs security and a security_suite of 1 or 2")
    if dlms.ciphering in {"one-pass", "static-unified"} and dlms.security_suite == 0:
        faults.append(f"ciphering {dlms.ciphering} agrees on keys, which suite 0 cannot; set security_suite to 1 or 2")
    if dlms.ciphering in {"identified-key", "wrapped-key", "one-pass", "static-unified"}:
        if security == "none":
            faults.append(f"ciphering {dlms.ciphering} needs security")
        if dlms.session_key == "dedicated":
            faults.append(f"ciphering {dlms.ciphering} has a key of its own; session_key cannot be dedicated")
    if dlms.association == "pre-established" and (dlms.authentication != "none" or dlms.session_key == "dedicated"):
        faults.append("a pre-established association has neither authentication nor a dedicated key")
    if dlms.session_key == "dedicated" and "encrypted" not in security:
        faults.append(f"{security} would send the dedicated key in the clear; it needs encryption")
    if dlms.authentication_key == "withheld":
        if dlms.authentication == "hls5":
            faults.append("hls5 proves possession of the authentication key, which is withheld; it can have no session")
        elif security != "encrypted":
            faults.append(f"{security} cannot be sent, as the authentication key is withheld; it must be encrypted")
    return faults


def _modbus(profile: MeterProfile, modbus: ModbusProfile, faults: Faults) -> None:
    records = modbus.load_profile
    _origins(profile, ("register", "load_profile") if records else ("register",), faults)
    if records:
        _file_records(profile, records, faults)
    _distinct("modbus.points", [point.obis for point in modbus.points], faults)
    for index, point in enumerate(modbus.points):
        where = f"modbus.points[{index}]"
        if point.address + WIDTH[point.type] > REGISTERS:
            faults.add(f"{where}.address", f"{point.type} at {point.address} ends beyond register {REGISTERS - 1}")
        if point.factor and not point.type.startswith("float"):
            faults.add(f"{where}.factor", f"is for floats only; a {point.type} takes its power of ten from scaler")
        if point.mask and (not point.type.startswith("uint") or point.mask >> 16 * WIDTH[point.type]):
            faults.add(
                f"{where}.mask", f"{point.mask:#x} does not cut bits out of a {point.type}; it needs uint16 to uint64"
            )
        if any(word >> 16 * WIDTH[point.type] for word in point.absent):
            faults.add(f"{where}.absent", f"more bits than a {point.type} has")
        if point.lower is not None and point.upper is not None and point.lower > point.upper:
            faults.add(f"{where}.lower", f"{point.lower} is above upper, {point.upper}")
        if any(
            hole.table == point.table
            and hole.address < point.address + WIDTH[point.type]
            and point.address < hole.address + hole.count
            for hole in modbus.holes
        ):
            faults.add(f"{where}.address", "lies in modbus.holes, so it could not be read")
        if WIDTH[point.type] > modbus.max_registers:
            faults.add(f"{where}.type", f"{point.type} takes {WIDTH[point.type]} registers, more than max_registers")
    scalers = {point.obis: point.scaler_unit for point in modbus.points}
    _readable(profile, set(scalers), "modbus.points", faults)
    for where, channel in _of_origin(profile, "register"):
        found = scalers.get(register_of(channel.obis), channel.scaler_unit)
        if found != channel.scaler_unit:
            faults.add(f"{where}.scaler", f"differs from the register's ({found.scaler}, {found.unit.symbol})")
    _modbus_identity(profile, modbus, faults)


def _file_records(profile: MeterProfile, records: ModbusLoadProfile, faults: Faults) -> None:
    where = "modbus.load_profile"
    if records.record + records.rows * records.width > RECORDS:
        faults.add(f"{where}.rows", f"{records.rows} rows of {records.width} registers end beyond record {RECORDS - 1}")
    if records.period <= 0 or DAY % records.period:
        faults.add(f"{where}.period", f"{records.period} s does not divide a day")
    for index, column in enumerate(records.columns):
        end = column.address + WIDTH[column.type]
        if end > records.width or (column.address < records.time + 2 and records.time < end):
            faults.add(f"{where}.columns[{index}].address", "lies beyond the row, or in its time")
    if records.time + 2 > records.width:
        faults.add(f"{where}.time", f"takes two registers, and a row has {records.width}")
    _distinct(f"{where}.columns", [column.obis for column in records.columns], faults)
    scalers = {column.obis: column.scaler_unit for column in records.columns}
    for spot, channel in _of_origin(profile, "load_profile"):
        if channel.obis not in scalers:
            faults.add(f"{spot}.obis", f"{channel.obis} is in no column of {where}")
        elif channel.scaler_unit != scalers[channel.obis]:
            faults.add(f"{spot}.scaler", "differs from the column's")
        if channel.period != records.period:
            faults.add(f"{spot}.period", f"{channel.period} s, but {where} has {records.period} s")


def _modbus_identity(profile: MeterProfile, modbus: ModbusProfile, faults: Faults) -> None:
    identity = modbus.identity
    if identity is None:
        return
    if not profile.maker:
        faults.add("maker", "is missing; a Modbus meter is named maker:serial")
    if identity.count != WIDTH.get(identity.type, identity.count):
        faults.add("modbus.identity.count", f"{identity.type} takes {WIDTH[identity.type]} registers")
    block, where = (identity.block, "modbus.identity.block") if identity.block else (identity, "modbus.identity")
    if not 0 <= identity.address - block.address <= block.count - identity.count:
        faults.add(f"{where}.address", "does not hold the registers of modbus.identity whole")
    if block.address + block.count > REGISTERS:
        faults.add(f"{where}.address", f"ends beyond register {REGISTERS - 1}")
    if block.count > modbus.max_registers:
        faults.add(f"{where}.count", f"{block.count} is more than max_registers {modbus.max_registers}")


def _readable(profile: MeterProfile, readable: set[Obis], place: str, faults: Faults) -> None:
    """Registers asked for, and those that register channels are made from, must be in the meter's own list."""
    for index, obis in enumerate(profile.registers):
        if obis not in readable:
            faults.add(f"registers[{index}]", f"{obis} is not in {place}")
    for where, channel in _of_origin(profile, "register"):
        if register_of(channel.obis) not in readable:
            faults.add(f"{where}.obis", f"its register {register_of(channel.obis)} is not in {place}")


def _push(profile: MeterProfile, push: PushProfile, faults: Faults) -> None:
    _origins(profile, ("push",), faults)
    _distinct("push.channels", [channel.obis for channel in push.channels], faults)
    if profile.registers:
        faults.add("registers", "cannot be asked of a concentrator that pushes")
    pushed = {channel.obis: channel.scaler_unit for channel in push.channels}
    for where, channel in _of_origin(profile, "push"):
        if channel.obis not in pushed:
            faults.add(f"{where}.obis", f"{channel.obis} is not in push.channels")
        elif pushed[channel.obis] != channel.scaler_unit:
            faults.add(f"{where}.scaler", "differs from the one in push.channels")
        if channel.period != push.period:
            faults.add(f"{where}.period", f"{channel.period} s, but push.period is {push.period} s")
    _topic(push, faults)
    paths: list[tuple[str, str]] = [("push.rows", push.rows), ("push.time", push.time)]
    paths += [(f"push.channels[{index}].path", channel.path) for index, channel in enumerate(push.channels)]
    if push.status:
        paths.append(("push.status", push.status))
    if not push.meter.startswith("topic:"):
        paths.append(("push.meter", push.meter))
    _each(paths, lambda text: bool(_PATH.fullmatch(text)), "is not field names and list indexes joined by dots", faults)


def _call(profile: MeterProfile, call: CallProfile, faults: Faults) -> None:
    if profile.protocol in {"modbus", "dlt645", "iec62056"}:
        faults.add("call", f"has no place in a {profile.protocol} profile; meters call over DLMS/COSEM")
    if profile.protocol == "push" and not profile.push:
        for index in range(len(profile.channels)):
            faults.add(f"channels[{index}]", "a meter that only calls sends register values, no intervals")
        if profile.registers:
            faults.add("registers", "cannot be asked of a meter that only calls")
    _distinct("call.objects", [called.logical_name for called in call.objects], faults)


def _topic(push: PushProfile, faults: Faults) -> None:
    levels = push.topic.split("/")
    names = [match.group(1) for level in levels if (match := _LEVEL.fullmatch(level))]
    for level in levels:
        if not _LEVEL.fullmatch(level) and any(sign in level for sign in "{}+#"):
            faults.add("push.topic", f"level {level!r} must be plain text or a name in braces, such as {{meter}}")
    _distinct("push.topic", names, faults)
    if push.meter.startswith("topic:") and push.meter.removeprefix("topic:") not in names:
        faults.add("push.meter", f"{push.meter} names no level of the topic; it has {', '.join(names) or 'none'}")


def _each(pairs: list[tuple[str, str]], is_right: Callable[[str], bool], what: str, faults: Faults) -> None:
    for where, text in pairs:
        if text and not is_right(text):
            faults.add(where, f"{text[:60]!r} {what}")
