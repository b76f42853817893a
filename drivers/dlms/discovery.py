"""What a meter is and has, by its own word: identity, firmware, objects, registers, load profiles.

Sans-IO: `describe` is a generator that asks for attributes and is sent what came of each, a value or the code of a refusal;
it returns a `Description`. What one object refuses or says wrongly costs that object alone.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from drivers.dlms import objects
from drivers.dlms.axdr import Data
from drivers.dlms.listing import (
    OBJECT_LIST,
    ObjectEntry,
    association_version,
    decode_object_list,
)
from drivers.dlms.objects import CaptureObject
from drivers.dlms.xdlms import Attribute
from drivers.errors import MeterRefused, RemoteProtocolError
from drivers.facts import UtcSeconds
from drivers.obis import Obis
from drivers.profile import ClockProfile
from drivers.units import ScalerUnit

NAME = Obis(0, 0, 42, 0, 0)  # IEC 62056-6-2, COSEM logical device name
SERIAL = Obis(0, 0, 96, 1, 0)  # IEC 62056-6-1, device ID 1
FIRMWARE = Obis(1, 0, 0, 2, 0)  # IEC 62056-6-1, active firmware identifier
MAX_PROFILES = 32  # load profiles and logs that are looked into
MAX_REGISTERS = 512  # registers whose value and scaler are asked for
REGISTERS = frozenset({objects.REGISTER, objects.EXTENDED_REGISTER, objects.DEMAND_REGISTER})

Answers = Sequence[Data | MeterRefused]
Script = Generator[Sequence[Attribute], Answers, "Description"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RegisterView:
    """A register as it stands: ``scaler_unit`` and ``value`` are None where the meter does not give or we do not know them."""

    class_id: int
    logical_name: Obis
    scaler_unit: ScalerUnit | None
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile generic. ``period``: [s], 0 for one that is not captured at a pace.  ``entries``: rows in use."""

    logical_name: Obis
    columns: tuple[CaptureObject, ...]
    scalers: tuple[ScalerUnit | None, ...]
    period: int | None
    entries: int | None
    capacity: int | None


@dataclass(frozen=True, slots=True)
class Description:
    """What a meter says of itself. ``notes``: what it did not give, in words.  ``clock``: its own time. [s UTC]"""

    name: str = ""
    serial: str = ""
    firmware: str = ""
    firmware_object: Obis | None = None
    clock: UtcSeconds | None = None
    clock_object: Obis | None = None
    entries: tuple[ObjectEntry, ...] = ()
    registers: tuple[RegisterView, ...] = ()
    profiles: tuple[ProfileView, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """Answers so far, and what was noted about them."""

    answers: dict[Attribute, Data | MeterRefused] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def get(self, attribute: Attribute, decode: Callable[[Data], T]) -> T | None:
        """Decode an answer; None, with a note, where there is none that can be decoded."""
        answer = self.answers.get(attribute)
        if answer is None:
            return None
        if isinstance(answer, MeterRefused):
            self.notes.append(str(answer))
            return None
        try:
            return decode(answer)
        except (RemoteProtocolError, ValueError) as error:
            self.notes.append(f"{attribute}: {error}")
            return None


def describe(clock: ClockProfile, name: Obis = NAME) -> Script:
    """Ask a meter what it is and has. ``name``: object of its global name.

    Raises `RemoteProtocolError` for an object list that is none; one that is refused is noted.
    """
    found = _Found()
    own = Attribute(objects.DATA, name, 2)
    yield from _ask(found, [own, OBJECT_LIST])
    listed = found.answers[OBJECT_LIST]
    if isinstance(listed, MeterRefused):
        found.notes.append(f"{listed}: the object list is not shown to this client")
        entries: tuple[ObjectEntry, ...] = ()
    else:
        entries = decode_object_list(listed)
    readable = _Readable(entries)
    clocks = [one.logical_name for one in entries if one.class_id == objects.CLOCK]
    clock_object = objects.CLOCK_OBJECT if objects.CLOCK_OBJECT in clocks or not clocks else clocks[0]
    texts = [Attribute(objects.DATA, code, 2) for code in (SERIAL, FIRMWARE)]
    now = Attribute(objects.CLOCK, clock_object, 2)
    yield from _ask(found, [one for one in (*texts, now) if one in readable])
    yield from _ask(found, [one for one in _profile_attributes(entries, found) if one in readable])
    columns = {
        entry.logical_name: found.get(
            Attribute(objects.PROFILE_GENERIC, entry.logical_name, objects.CAPTURE_OBJECTS),
            objects.decode_capture_objects,
        )
        for entry in entries
        if entry.class_id == objects.PROFILE_GENERIC
    }
    captured = [column for some in columns.values() for column in some or ()]
    yield from _ask(found, [one for one in _register_attributes(entries, captured, found) if one in readable])
    reading = found.get(now, lambda data: objects.decode_instant(data, clock))
    return Description(
        name=found.get(own, lambda data: objects.decode_text(data, "logical device name")) or "",
        serial=found.get(texts[0], lambda data: objects.decode_text(data, "device ID")) or "",
        firmware=found.get(texts[1], lambda data: objects.decode_text(data, "firmware identifier")) or "",
        firmware_object=FIRMWARE if texts[1] in found.answers else None,
        clock=reading[0] if reading else None,
        clock_object=clock_object if clocks else None,
        entries=entries,
        registers=tuple(_register(entry, found) for entry in entries if entry.class_id in REGISTERS),
        profiles=tuple(
            _profile(logical_name, some, found) for logical_name, some in columns.items() if some is not None
        ),
        notes=tuple(dict.fromkeys(found.notes)),
    )


def _ask(found: _Found, attributes: Sequence[Attribute]) -> Generator[Sequence[Attribute], Answers, None]:
    wanted = list(dict.fromkeys(one for one in attributes if one not in found.answers))
    if wanted:
        found.answers.update(zip(wanted, (yield wanted), strict=True))


class _Readable:
    """Whether an attribute may be asked for: its object is listed, and nothing says that it cannot be read."""

    def __init__(self, entries: Sequence[ObjectEntry]) -> None:
        self._version = association_version(entries)
        self._entries = {(entry.class_id, entry.logical_name): entry for entry in entries}

    def __contains__(self, attribute: Attribute) -> bool:
        entry = self._entries.get((attribute.class_id, attribute.logical_name))
        return entry is not None and entry.is_readable(attribute.index, self._version)


def _profile_attributes(entries: Sequence[ObjectEntry], found: _Found) -> list[Attribute]:
    names = [entry.logical_name for entry in entries if entry.class_id == objects.PROFILE_GENERIC]
    if len(names) > MAX_PROFILES:
        found.notes.append(f"{len(names)} profiles are listed; the first {MAX_PROFILES} were looked into")
    wanted = (objects.CAPTURE_OBJECTS, objects.CAPTURE_PERIOD, objects.ENTRIES_IN_USE, 8)  # 8: profile_entries
    return [Attribute(objects.PROFILE_GENERIC, name, index) for name in names[:MAX_PROFILES] for index in wanted]


def _register_attributes(
    entries: Sequence[ObjectEntry], captured: Sequence[CaptureObject], found: _Found
) -> list[Attribute]:
    listed = [entry for entry in entries if entry.class_id in REGISTERS]
    if len(listed) > MAX_REGISTERS:
        found.notes.append(f"{len(listed)} registers are listed; the first {MAX_REGISTERS} were read")
    scalers = [scaler for one in captured if (scaler := objects.scaler_attribute(one)) is not None]
    for entry in listed[:MAX_REGISTERS]:
        scalers.append(Attribute(entry.class_id, entry.logical_name, objects.SCALER_UNIT_ATTRIBUTE[entry.class_id]))
        scalers.append(Attribute(entry.class_id, entry.logical_name, 2))
    return scalers


def _register(entry: ObjectEntry, found: _Found) -> RegisterView:
    worth = _scaler(CaptureObject(entry.class_id, entry.logical_name, 2), found)
    value: Decimal | None = None
    if worth is not None:
        known = worth
        count = found.get(
            Attribute(entry.class_id, entry.logical_name, 2),
            lambda data: objects.decode_count(data, known, known, str(entry.logical_name))[0],
        )
        value = None if count is None else worth.to_decimal(count)
    return RegisterView(entry.class_id, entry.logical_name, worth, value)


def _scaler(column: CaptureObject, found: _Found) -> ScalerUnit | None:
    attribute = objects.scaler_attribute(column)
    return None if attribute is None else found.get(attribute, objects.decode_scaler_unit)


def _profile(name: Obis, columns: tuple[CaptureObject, ...], found: _Found) -> ProfileView:
    def number(index: int) -> int | None:
        return found.get(Attribute(objects.PROFILE_GENERIC, name, index), Data.integer)

    return ProfileView(
        name,
        columns,
        tuple(_scaler(column, found) for column in columns),
        number(objects.CAPTURE_PERIOD),
        number(objects.ENTRIES_IN_USE),
        number(8),
    )
