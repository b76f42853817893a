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
from drivers.dlms.basenames import MAX_OBJECTS, BaseNames
from drivers.dlms.objects import MAX_COLUMNS, CaptureObject
from drivers.dlms.xdlms import Attribute
from drivers.errors import RemoteProtocolError
from drivers.facts import MeterIdentity, UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, MeterProfile
from drivers.units import ScalerUnit, Unit

VERSION: Final = 2
MAX_ENTRY: Final = 65_536  # [octet]
MAX_SCALERS: Final = 1_024
MAX_KIND: Final = 512  # [character]; a name beyond is no meter's
MAX_KINDS: Final = 4  # of one profile, whose short names are tried
MAX_AGE: Final = 30 * 86_400  # an older entry is read from a meter again [s]
_HEAD: Final = 4  # [octet] checksum before the text


@dataclass(slots=True)
class Metadata:
    """What a session knows of its meter's kind. ``read_at``: when the meter was last asked. [s UTC]

    ``names``: short names, where objects have them.  ``types``: tags seen in each column.  ``refused``: ways of selective access that gave nothing.  ``proved``: ways that gave rows.
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
    names: BaseNames | None = None

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

    def note_names(self, names: BaseNames) -> None:
        """Note the short names that the meter has just listed."""
        self.names, self.is_news = names, True

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
        self.scalers, self.names = {}, None
        self.refused, self.proved = set(), set()
        self.is_recalled, self.is_news, self.read_at = False, True, 0

    def agrees(self, other: "Metadata") -> bool:
        """Say whether what both know of scalers is the same."""
        return all(self.scalers.get(attribute, worth) == worth for attribute, worth in other.scalers.items())

    def encode(self) -> bytes:
        """Give the octets to keep."""
        return _sealed(
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
                "names": []
                if self.names is None
                else [[class_id, str(name), base] for (class_id, name), base in sorted(self.names.bases.items())],
                "types": [sorted(tags) for tags in self.types],
                "refused": sorted(self.refused),
                "proved": sorted(self.proved),
            }
        )  # fmt: skip


def encode_kinds(kinds: Sequence[str]) -> bytes:
    """Give the octets to keep of the kinds whose short names are to be tried, the likeliest first."""
    return _sealed({"version": VERSION, "kinds": list(kinds[:MAX_KINDS])})


def decode_kinds(octets: bytes | None) -> list[str]:
    """Read what `encode_kinds` made; none for damage or another version."""
    try:
        entry = _opened(octets or b"")
        return [str(kind) for kind in entry["kinds"][:MAX_KINDS]] if entry["version"] == VERSION else []
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _sealed(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode("ascii")
    return zlib.crc32(text).to_bytes(_HEAD, "big") + text


def _opened(octets: bytes) -> dict[str, Any]:
    text = octets[_HEAD:]
    if len(octets) > MAX_ENTRY or zlib.crc32(text).to_bytes(_HEAD, "big") != octets[:_HEAD]:
        raise ValueError("damaged")
    entry: dict[str, Any] = json.loads(text)
    return entry


def decode_metadata(octets: bytes, now: UtcSeconds) -> Metadata | None:
    """Read what was kept; None for damage, another version, or an age [s UTC] at which the meter is to be asked again."""
    try:
        found = _decode(_opened(octets))
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
    bases = {(int(class_id), Obis.parse(name)): int(base) for class_id, name, base in entry["names"]}
    if len(bases) > MAX_OBJECTS + 1 or any(not 0 <= base <= 0xFFFF for base in bases.values()):
        return None
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
        names=BaseNames(bases) if bases else None,
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


def names_key(profile: MeterProfile, dlms: DlmsProfile, logical_device: int | None, own: str) -> str:
    """Say where the kinds of a profile are kept whose short names are to be tried. ``own``: a meter that shares nothing, else ""."""
    key = json.dumps(
        ["dlms names", profile.name, own, [dlms.client, dlms.authentication, dlms.agreed_security, logical_device]]
    )
    return key if len(key) <= MAX_KIND else ""
