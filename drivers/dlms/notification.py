"""Pushed lists to facts: what a data-notification names, and what each count is worth. IEC 62056-5-3, 9.4.6.6; pure.

Meters write the body in four ways, told apart by its shape:

- pairs: structures of logical name, value and, often, scaler_unit (Aidon, Iskra, Landis+Gyr ZMF);
- a flat list: logical name, value and sometimes scaler_unit in turn, or values alone (Kamstrup, Landis+Gyr E450, Kaifa);
- the push object list itself, then the values it names (Energomera; IEC 62056-6-2, class 40, attribute 2);
- attribute descriptors written without tags, each before its value (Sagemcom, EG.D).

What a list leaves unsaid is looked up in `drivers.dlms.layouts`, or declared by the meter's profile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from drivers.dlms import axdr, layouts, objects
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import SIZE, CosemDateTime
from drivers.dlms.events import NEED_DATA
from drivers.dlms.extent import DATA_NOTIFICATION, DESCRIPTOR_SIZE
from drivers.dlms.layouts import Meaning
from drivers.errors import RemoteProtocolError
from drivers.facts import RegisterValue, UtcSeconds
from drivers.obis import Obis
from drivers.profile import ClockProfile
from drivers.status import OF_REGISTERS, UNDECLARED, StatusLayout
from drivers.units import ScalerUnit
from kernels.quality import Rule

MAX_OBJECTS = 4_096
PUSH_SETUP = 40
_NAME_SIZE = 6
_HEAD_SIZE = 5
_NO_MEANINGS: Mapping[Obis, Meaning] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PushedObject:
    """One object of a list. ``scaler_unit``: as the message says; None where it does not.

    ``class_id``, ``attribute``, ``data_index``: 0 where the message names none. ``logical_name``: None for an item that
    only its position names; ``position`` counts items of a flat list.  ``captured_at``: where it is not the message's time.
    ``status``: word that stands beside the value.
    """

    logical_name: Obis | None
    data: Data
    scaler_unit: ScalerUnit | None = None
    class_id: int = 0
    attribute: int = 0
    data_index: int = 0
    position: int = 0
    captured_at: CosemDateTime | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class Notification:
    """One data-notification. ``count``: items of its list.  ``octets``: body of one that is no list but an octet-string.

    ``is_checked``: False for a telegram without a checksum.
    """

    long_invoke_id: int
    date_time: CosemDateTime | None
    objects: tuple[PushedObject, ...]
    count: int = 0
    octets: bytes = b""
    is_checked: bool = True

    @property
    def version(self) -> str:
        """The list's own version: its first text, else ""."""
        first = self.objects[0].data if self.objects else axdr.NULL
        return _text(first)


@dataclass(frozen=True, slots=True)
class PushedNames:
    """What a message calls its meter; "" where it does not say. ``meter_id``: device ID 1, or 2 where that is the only one."""

    logical_device_name: str = ""
    meter_id: str = ""
    meter_type: str = ""


@dataclass(frozen=True, slots=True)
class PushedFacts:
    """What a message says of its meter.

    ``captured_at``: by the meter's clock, or as received.  ``has_stamp``: which of the two.  ``unscaled``: numbers that
    neither message, layout nor profile gives a unit.
    """

    names: PushedNames
    captured_at: UtcSeconds
    has_stamp: bool
    registers: tuple[RegisterValue, ...]
    unscaled: tuple[PushedObject, ...]


def decode_notification(apdu: bytes) -> Notification:
    """Decode a plain data-notification. Raises `RemoteProtocolError` for damage, a surplus, or another APDU."""
    if len(apdu) <= _HEAD_SIZE or apdu[0] != DATA_NOTIFICATION:
        raise RemoteProtocolError(f"APDU {apdu[:1].hex() or 'without octets'} where a data-notification was expected")
    long_invoke_id = int.from_bytes(apdu[1:_HEAD_SIZE], "big")
    at = _HEAD_SIZE
    if apdu[at : at + 2] == bytes([Tag.OCTET_STRING, SIZE]):
        at += 1  # Kaifa gives the date-time a tag, which the standard does not
    length, at = axdr.parse_length(apdu, at)
    stamp = apdu[at : at + length]
    if length not in {0, SIZE} or len(stamp) != length:
        raise RemoteProtocolError(f"date-time of {length} octets in a data-notification")
    date_time = CosemDateTime.decode(stamp) if stamp else None
    body = apdu[at + length :]
    try:
        data = axdr.decode(body)
    except RemoteProtocolError as error:
        try:
            found, count = _descriptors(body)
        except RemoteProtocolError:
            raise error from None
        return Notification(long_invoke_id, date_time, found, count)
    if data.tag is Tag.OCTET_STRING:
        return Notification(long_invoke_id, date_time, (), 0, data.octets())
    items = data.items()
    if len(items) > MAX_OBJECTS:
        raise RemoteProtocolError(f"pushed list of {len(items)} items; at most {MAX_OBJECTS} are taken")
    return Notification(long_invoke_id, date_time, _objects(items), len(items))


def name(notification: Notification) -> PushedNames:
    """Say what a message calls its meter."""
    layout = layouts.find_layout(notification.version, notification.count)
    names, positions = (layout.names, layout.positions) if layout else (_NO_MEANINGS, {})
    found: dict[str, str] = {}
    for item in notification.objects:
        if text := _text(item.data):
            found.setdefault(_meaning(item, names, positions).role, text)
    meter_id = found.get("meter_id") or found.get("second_id", "")
    return PushedNames(found.get("logical_device_name", ""), meter_id, found.get("meter_type", ""))


def facts(
    notification: Notification,
    clock: ClockProfile,
    received_at: UtcSeconds,
    *,
    uncertainty: int = 0,
    declared: Mapping[Obis, Meaning] = _NO_MEANINGS,
    rules: Rule = Rule(0),
    status_layout: StatusLayout = UNDECLARED,
) -> PushedFacts:
    """Make facts of a message.

    ``received_at`` [s UTC] and ``uncertainty`` [s] stamp values of a meter that sends no time, or one with unspecified
    fields.  ``declared``: what the meter's profile says of objects by name; the message's own scaler and unit go first,
    then these, then the layout's.  ``rules``: broken already, such as `Rule.METER_STATUS` for content nobody vouches for.
    ``status_layout``: of a status word that stands beside a value, or in the list for all of it (IEC 62056-6-1, 0-b:96.10.e).
    One value that is no count costs no other; of two for one quantity the first is kept, marked `Rule.CONFLICT`. Raises
    `RemoteProtocolError` for a time that is none.
    """
    layout = layouts.find_layout(notification.version, notification.count)
    meanings = {**(layout.names if layout else {}), **declared}
    positions = layout.positions if layout else {}
    stamp = notification.date_time
    values: list[tuple[Obis, PushedObject, ScalerUnit]] = []
    unscaled: list[PushedObject] = []
    for item in notification.objects:
        meaning = _meaning(item, meanings, positions)
        if item.logical_name and (item.logical_name.c, item.logical_name.d) == objects.PROFILE_STATUS:
            rules |= status_layout.rules(objects.decode_status(item.data)) & OF_REGISTERS
        if meaning.role == "clock":
            stamp = _stamp(item.data) or stamp
        elif not meaning.role and _is_number(item.data) and item.attribute in {0, 2}:
            obis, worth = meaning.obis or item.logical_name, item.scaler_unit or meaning.scaler_unit
            if obis is None or worth is None:
                unscaled.append(item)
            else:
                values.append((obis, item, worth))
    instant, is_doubtful = _instant(stamp, clock)
    if is_doubtful:
        rules |= Rule.METER_STATUS
    captured_at = received_at if instant is None else instant
    spread = uncertainty if instant is None else 0
    registers = _registers(values, captured_at, spread, rules, clock, status_layout)
    return PushedFacts(name(notification), captured_at, instant is not None, registers, tuple(unscaled))


def _registers(
    values: Sequence[tuple[Obis, PushedObject, ScalerUnit]],
    captured_at: UtcSeconds,
    uncertainty: int,
    rules: Rule,
    clock: ClockProfile,
    status_layout: StatusLayout,
) -> tuple[RegisterValue, ...]:
    found: dict[Obis, RegisterValue] = {}
    for obis, item, worth in values:
        try:
            count, coarse = objects.decode_count(item.data, worth, worth, str(obis))
            own, is_doubtful = _instant(item.captured_at, clock)
            coarse |= status_layout.rules(item.status) & OF_REGISTERS
            coarse |= Rule.METER_STATUS if is_doubtful else Rule(0)
            at, spread = (captured_at, uncertainty) if own is None else (own, 0)
            value = RegisterValue(obis, count, worth, at, spread, rules | coarse)
        except (RemoteProtocolError, ValueError):
            continue
        first = found.setdefault(obis, value)
        if first.value != value.value:
            found[obis] = replace(first, rules=first.rules | Rule.CONFLICT)
    return tuple(found.values())


def _meaning(item: PushedObject, names: Mapping[Obis, Meaning], positions: Mapping[int, Meaning]) -> Meaning:
    if item.logical_name is None:
        return positions.get(item.position, Meaning())
    if (role := layouts.ROLES.get(item.logical_name)) is not None:
        return Meaning(role=role)
    return names.get(item.logical_name, Meaning())


def _stamp(data: Data) -> CosemDateTime | None:
    return CosemDateTime.decode(data.value) if isinstance(data.value, bytes) and len(data.value) == SIZE else None


def _instant(stamp: CosemDateTime | None, clock: ClockProfile) -> tuple[UtcSeconds | None, bool]:
    """Give the instant, None where the meter leaves it open, and whether the meter or the calendar makes it doubtful."""
    if stamp is None:
        return None, False
    if 0xFF in {stamp.month, stamp.day, stamp.hour, stamp.minute} or stamp.year == 0xFFFF:
        return None, False
    return stamp.to_utc(clock), stamp.is_doubtful(clock)


def _is_number(data: Data) -> bool:
    return data.tag in {Tag.FLOAT32, Tag.FLOAT64} or (isinstance(data.value, int) and data.tag not in _NO_NUMBERS)


_NO_NUMBERS = frozenset({Tag.BOOLEAN, Tag.ENUM}) | axdr.DELTAS


def _text(data: Data) -> str:
    """Give printable text without what pads it, else ""."""
    value = data.value.decode("latin-1") if isinstance(data.value, bytes) else data.value
    if data.tag not in {Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING} or not isinstance(value, str):
        return ""
    text = value.rstrip("\x00 ")
    return text if text.isascii() and text.isprintable() else ""


def _objects(items: Sequence[Data]) -> tuple[PushedObject, ...]:
    if items and all(_is_pair(item) for item in items):
        return tuple(_pair(item.items()) for item in items)
    definitions = _definitions(items)
    if definitions:
        return definitions
    return _flat(items)


def _is_pair(item: Data) -> bool:
    return item.tag is Tag.STRUCTURE and len(item.value) in {2, 3} and _name(item.value[0]) is not None


def _pair(parts: tuple[Data, ...]) -> PushedObject:
    return PushedObject(_name(parts[0]), parts[1], _scaler_unit(parts[2]) if len(parts) == 3 else None)


def _flat(items: Sequence[Data]) -> tuple[PushedObject, ...]:
    found: list[PushedObject] = []
    at = 0
    while at < len(items):
        name = _name(items[at])
        if name is None or at + 1 == len(items):
            found.append(PushedObject(None, items[at], position=at))
            at += 1
            continue
        has_scaler = at + 2 < len(items) and _is_scaler_unit(items[at + 2])
        found.append(
            PushedObject(name, items[at + 1], _scaler_unit(items[at + 2]) if has_scaler else None, position=at)
        )
        at += 3 if has_scaler else 2
    return tuple(found)


def _definitions(items: Sequence[Data]) -> tuple[PushedObject, ...]:
    """Pair a push object list with the values behind it; empty where the first item is none."""
    if not items or items[0].tag is not Tag.ARRAY or not items[0].value:
        return ()
    found: list[PushedObject] = []
    for position, item in enumerate(items[0].value):
        parts: Sequence[Data] = item.items() if item.tag is Tag.STRUCTURE else ()
        name = _name(parts[1]) if len(parts) >= 4 else None
        if name is None:
            return ()
        numbers = [parts[index].integer() for index in (0, 2, 3)]
        found.append(PushedObject(name, axdr.NULL, None, numbers[0], numbers[1], numbers[2], position))
    if len(found) != len(items):
        raise RemoteProtocolError(f"push object list of {len(found)} objects before {len(items) - 1} values")
    return tuple(replace(item, data=data) for item, data in zip(found, items, strict=True))


def _descriptors(body: bytes) -> tuple[tuple[PushedObject, ...], int]:
    """Read a structure of an enum and an array of pairs: a descriptor without tags, and a value."""
    if len(body) < 6 or body[:3] != bytes([Tag.STRUCTURE, 2, Tag.ENUM]) or body[4] != Tag.ARRAY:
        raise RemoteProtocolError("no list of descriptors")
    count, at = axdr.parse_length(body, 5)
    if count > MAX_OBJECTS:
        raise RemoteProtocolError(f"pushed list of {count} items; at most {MAX_OBJECTS} are taken")
    found: list[PushedObject] = []
    for _ in range(count):
        descriptor = body[at + 2 : at + 2 + DESCRIPTOR_SIZE]
        if body[at : at + 2] != bytes([Tag.STRUCTURE, 2]) or len(descriptor) != DESCRIPTOR_SIZE:
            raise RemoteProtocolError(f"no descriptor at offset {at}")
        outcome = axdr.parse(body, at + 2 + DESCRIPTOR_SIZE)
        if outcome is NEED_DATA:
            raise RemoteProtocolError("list of descriptors ends early")
        data, at = outcome
        name = Obis.from_bytes(descriptor[2:8])
        found.append(PushedObject(name, data, None, int.from_bytes(descriptor[:2], "big"), descriptor[8]))
    if at != len(body):
        raise RemoteProtocolError(f"{len(body) - at} surplus octets behind a list of descriptors")
    return tuple(found), count


def _name(data: Data) -> Obis | None:
    if data.tag is Tag.OCTET_STRING and len(data.value) == _NAME_SIZE:
        return Obis.from_bytes(data.value)
    return None


def _is_scaler_unit(data: Data) -> bool:
    return data.tag is Tag.STRUCTURE and [item.tag for item in data.value] == [Tag.INTEGER, Tag.ENUM]


def _scaler_unit(data: Data) -> ScalerUnit | None:
    """Read scaler and unit; None for a unit the catalogue does not have, which costs its own value alone."""
    try:
        return objects.decode_scaler_unit(data)
    except RemoteProtocolError:
        return None
