"""The list of objects that an association shows, with their access rights. IEC 62056-6-2, class 15, attribute 2 ``object_list``.

Pure, both ways. What a meter can make us keep is bounded by `MAX_OBJECTS`, and by what an A-XDR item may hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.descriptor import number_of
from drivers.dlms.xdlms import Attribute
from drivers.errors import RemoteProtocolError
from drivers.obis import Obis

ASSOCIATION = 15
CURRENT_ASSOCIATION = Obis(0, 0, 40, 0, 0)
OBJECT_LIST = Attribute(ASSOCIATION, CURRENT_ASSOCIATION, 2)
MAX_OBJECTS = 4_096
BY_BITS = 3  # version of class 15 from which an access mode is a set of bits, the lowest of them reading
READABLE = frozenset({1, 3, 4, 6})  # access modes of versions before: read-only, read-and-write, and authenticated
READ_ONLY = 1


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object. ``attributes``, ``methods``: access mode by index, as the meter gives it; what is not there is not said."""

    class_id: int
    version: int
    logical_name: Obis
    attributes: Mapping[int, int] = field(default_factory=dict)
    methods: Mapping[int, int] = field(default_factory=dict)

    def is_readable(self, index: int, association_version: int = 0) -> bool:
        """Say whether an attribute may be read; one of which nothing is said may be tried."""
        mode = self.attributes.get(index)
        if mode is None:
            return True
        return bool(mode & 1) if association_version >= BY_BITS else mode in READABLE


def association_version(entries: Sequence[ObjectEntry]) -> int:
    """Give the version of the association's own entry, which says how access modes are written; 0 where it is not listed."""
    own = [entry for entry in entries if entry.class_id == ASSOCIATION]
    current = [entry for entry in own if entry.logical_name == CURRENT_ASSOCIATION]
    return (current or own)[0].version if own else 0


def decode_object_list(data: Data) -> tuple[ObjectEntry, ...]:
    """Read ``object_list_type``. Raises `RemoteProtocolError` for another shape, or more than `MAX_OBJECTS`."""
    items = data.items()
    if len(items) > MAX_OBJECTS:
        raise RemoteProtocolError(f"object list of {len(items)} objects; at most {MAX_OBJECTS} are taken")
    return tuple(_entry(item) for item in items)


def encode_object_list(entries: Sequence[ObjectEntry]) -> Data:
    """Give ``object_list_type``, for an association of version 1 or 2."""
    return axdr.array(
        axdr.structure(
            axdr.long_unsigned(entry.class_id),
            axdr.unsigned(entry.version),
            axdr.octet_string(entry.logical_name.to_bytes()),
            axdr.structure(
                axdr.array(
                    axdr.structure(axdr.integer(index), axdr.enum(mode), Data(Tag.NULL, None))
                    for index, mode in sorted(entry.attributes.items())
                ),
                axdr.array(
                    axdr.structure(axdr.integer(index), axdr.enum(mode))
                    for index, mode in sorted(entry.methods.items())
                ),
            ),
        )
        for entry in entries
    )


def _entry(item: Data) -> ObjectEntry:
    parts = item.items()
    if len(parts) != 4:
        raise RemoteProtocolError(f"object list element of {len(parts)} items, expected 4")
    try:
        name = Obis.from_bytes(parts[2].octets())
    except ValueError as error:
        raise RemoteProtocolError(f"object list: {error}") from None
    rights = parts[3].items()
    if len(rights) != 2:
        raise RemoteProtocolError(f"access rights of {len(rights)} items for {name}, expected 2")
    class_id = number_of(parts[0], 0, 0xFFFF, f"class of {name}")
    version = number_of(parts[1], 0, 0xFF, f"version of {name}")
    return ObjectEntry(class_id, version, name, _modes(rights[0], name), _modes(rights[1], name))


def _modes(data: Data, name: Obis) -> Mapping[int, int]:
    modes: dict[int, int] = {}
    for item in data.items():
        parts = item.items()
        if len(parts) < 2:
            raise RemoteProtocolError(f"access right of {len(parts)} items for {name}, expected at least 2")
        mode = parts[1]
        modes[parts[0].integer()] = int(mode.value) if mode.tag is Tag.BOOLEAN else mode.integer()
    return modes
