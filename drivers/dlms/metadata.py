"""What meters of one kind say of themselves alike: columns, capture period, scalers, and which ways of reading they take.

It never changes but with the firmware, so a session that finds it in the cache asks for none of it. Pure: octets for
`drivers.contract.MetadataCache` go out and come back. See docs/decisions/metadata-cache.md for what keeps a wrong entry from
giving a wrong value.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from drivers.dlms.axdr import Tag
from drivers.dlms.objects import MAX_COLUMNS, CaptureObject
from drivers.dlms.xdlms import Attribute
from drivers.errors import RemoteProtocolError
from drivers.facts import MeterIdentity, UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, MeterProfile
from drivers.units import ScalerUnit, Unit

VERSION: Final = 1
MAX_ENTRY: Final = 65_536  # [octet]
MAX_SCALERS: Final = 1_024
MAX_KIND: Final = 512  # [character]; a name beyond is no meter's
MAX_AGE: Final = 30 * 86_400  # an older entry is read from a meter again [s]
_HEAD: Final = 4  # [octet] checksum before the text


@dataclass(slots=True)
class Metadata:
    """What a session knows of its meter's kind. ``read_at``: when the meter was last asked. [s UTC]

    ``types``: tags seen in each column.  ``refused``: ways of selective access that gave nothing.  ``proved``: ways that gave rows.
    ``is_recalled``: whether it comes from the cache.  ``is_news``: whether the cache should be told.
    """

    read_at: UtcSeconds = 0
    columns: tuple[CaptureObject, ...] = ()
    period: int = 0
    sort_method: int | None = None
    scalers: dict[Attribute, ScalerUnit] = field(default_factory=dict)
    types: tuple[frozenset[int], ...] = ()
    refused: set[str] = field(default_factory=set)
    proved: set[str] = field(default_factory=set)
    is_recalled: bool = False
    is_news: bool = False

    def note_way(self, way: str, *, works: bool) -> None:
        """Note whether a way of selective access gave rows."""
        known = self.proved if works else self.refused
        if way not in known:
            known.add(way)
            self.is_news = True

    def note_scaler(self, attribute: Attribute, scaler_unit: ScalerUnit) -> None:
        """Note what the counts of an object are worth."""
        if self.scalers.get(attribute) != scaler_unit:
            self.scalers[attribute] = scaler_unit
            self.is_news = True

    def note_columns(self, columns: tuple[CaptureObject, ...], period: int) -> None:
        """Note what the meter has just said it captures, and how often. [s]"""
        self.columns, self.period, self.is_news = columns, period, True

    def note_types(self, found: Sequence[frozenset[int]], indexes: Sequence[int]) -> None:
        """Note the tags that the rows of some columns had. Raises `RemoteProtocolError` where they are not those known of a kind."""
        known = list(self.types or (frozenset(),) * len(self.columns))
        for index, tags in zip(indexes, found, strict=False):
            if self.is_recalled and known[index] and not tags <= known[index]:
                raise RemoteProtocolError(f"column {index} holds other types than this kind of meter is known for")
            known[index] |= tags
        if tuple(known) != self.types:
            self.types = tuple(known)
            self.is_news = True

    def forget(self) -> None:
        """Forget all, for the meter says otherwise."""
        self.columns, self.period, self.sort_method, self.types = (), 0, None, ()
        self.scalers = {}
        self.refused, self.proved = set(), set()
        self.is_recalled, self.is_news, self.read_at = False, True, 0

    def agrees(self, other: "Metadata") -> bool:
        """Say whether what both know of scalers is the same."""
        return all(self.scalers.get(attribute, worth) == worth for attribute, worth in other.scalers.items())

    def encode(self) -> bytes:
        """Give the octets to keep."""
        text = json.dumps(
            {
                "version": VERSION,
                "read_at": self.read_at,
                "columns": [[one.class_id, str(one.logical_name), one.attribute, one.data_index] for one in self.columns],
                "period": self.period,
                "sort_method": self.sort_method,
                "scalers": [
                    [one.class_id, str(one.logical_name), one.index, worth.scaler, int(worth.unit)]
                    for one, worth in sorted(self.scalers.items(), key=lambda item: str(item[0]))
                ],
                "types": [sorted(tags) for tags in self.types],
                "refused": sorted(self.refused),
                "proved": sorted(self.proved),
            },
            separators=(",", ":"),
        ).encode("ascii")  # fmt: skip
        return zlib.crc32(text).to_bytes(_HEAD, "big") + text


def decode_metadata(octets: bytes, now: UtcSeconds) -> Metadata | None:
    """Read what was kept; None for damage, another version, or an age [s UTC] at which the meter is to be asked again."""
    text = octets[_HEAD:]
    if len(octets) > MAX_ENTRY or zlib.crc32(text).to_bytes(_HEAD, "big") != octets[:_HEAD]:
        return None
    try:
        found = _decode(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if found is not None and 0 <= now - found.read_at < MAX_AGE else None


def _decode(entry: dict[str, Any]) -> Metadata | None:
    if entry["version"] != VERSION:
        return None
    columns = tuple(
        CaptureObject(int(class_id), Obis.parse(name), int(index), int(data_index))
        for class_id, name, index, data_index in entry["columns"]
    )
    types = tuple(frozenset(Tag(tag) for tag in tags) for tags in entry["types"])
    scalers = {
        Attribute(int(class_id), Obis.parse(name), int(index)): ScalerUnit(int(scaler), Unit(unit))
        for class_id, name, index, scaler, unit in entry["scalers"]
    }
    if len(columns) > MAX_COLUMNS or len(scalers) > MAX_SCALERS or (types and len(types) != len(columns)):
        return None
    sort_method = entry["sort_method"]
    return Metadata(
        int(entry["read_at"]),
        columns,
        int(entry["period"]),
        None if sort_method is None else int(sort_method),
        scalers,
        types,
        set(entry["refused"]),
        set(entry["proved"]),
        is_recalled=True,
    )


def kind_of(
    profile: MeterProfile, dlms: DlmsProfile, identity: MeterIdentity, logical_device: int | None, *, is_shared: bool
) -> str:
    """Name the kind of meter that shares metadata: model, firmware and association; "" for none.

    ``dlms``: with this meter's overrides.  ``logical_device``: None where the address does not tell it.  ``is_shared``: False
    makes the meter a kind of its own, as one whose firmware is not known always is.
    """
    if dlms.metadata == "session":
        return ""
    is_own = not is_shared or dlms.metadata == "meter" or not identity.firmware
    kind = json.dumps(
        [
            "dlms", profile.name, identity.maker, identity.firmware, identity.name if is_own else "",
            [dlms.client, dlms.authentication, dlms.agreed_security, logical_device], str(dlms.load_profile or ""),
        ]
    )  # fmt: skip
    return kind if len(kind) <= MAX_KIND else ""
