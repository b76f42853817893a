"""The manifest: what an export holds, what it replaces, and the link to the one before it. Pure.

A data file is an export only through its manifest. Manifests of one directory are numbered 1, 2, 3, ... without gaps and
each carries the SHA-256 of the one before, so that a lost, altered or slipped-in export shows. The last manifest has no
successor to vouch for it: hand its SHA-256 over by another way where that matters.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby

from drivers.facts import UtcSeconds
from drivers.obis import Obis
from headend.export.rows import Row, Slot, instant, word
from kernels.quality import State

SCHEMA = "headend.export/1"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAME = re.compile(r"headend-[0-9]{6,}[a-z0-9.-]*", re.ASCII)


@dataclass(slots=True)
class Account:
    """Totals of one channel of one meter at one usage point, and slots by quality and by cause.

    ``total``: exact sum, None where no slot has a value.
    """

    unit: str
    name: str
    total: Decimal | None = None
    slots: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)


Accounts = dict[tuple[str, str, str], Account]
"""By (usage point, meter, channel)."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file of an export."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Selection:
    """What was asked for; None asks for everything there is. Two exports of one selection replace each other."""

    format: str
    start: UtcSeconds
    end: UtcSeconds
    usage_points: tuple[str, ...] | None
    obis: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from the replaced export in one channel. A total is None where that export has no value of the channel."""

    usage_point: str
    obis: str
    slots: int
    old_total: Decimal | None
    new_total: Decimal | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is needed of a manifest read back; ``document`` is all of it, ``sha256`` of its bytes."""

    sequence: int
    selection: Selection
    files: tuple[DataFile, ...]
    previous: str | None
    sha256: str
    document: Mapping[str, object]


def tally(rows: Iterable[Row], accounts: Accounts) -> Iterator[Row]:
    """Pass rows on, adding each to its account."""
    whose: tuple[str, str, Obis] | None = None
    for row in rows:
        if whose != (row.usage_point, row.meter, row.obis):
            whose = row.usage_point, row.meter, row.obis
            account = accounts.setdefault((row.usage_point, row.meter, str(row.obis)), Account(row.unit, row.name))
        account.slots[word(row.state)] += 1
        if row.state is State.MISSING:
            account.missing[word(row.reason) or "unknown"] += 1
        if row.value is not None:
            account.total = _added(account.total, row.value)
        yield row


def _added(total: Decimal | None, value: Decimal) -> Decimal:
    return value if total is None else total + value


def compare(old: Iterator[Slot], new: Iterator[Slot]) -> list[Change]:
    """Say per channel how many slots differ, walking both exports once, in step. Both are in the order of their keys."""
    changes = []
    channels = _by_channel(old), _by_channel(new)
    left, right = next(channels[0], None), next(channels[1], None)
    while left or right:
        key = min(side[0] for side in (left, right) if side)
        before = left[1] if left and left[0] == key else None
        after = right[1] if right and right[0] == key else None
        differing, old_total, new_total = _walk(before or iter(()), after or iter(()))
        if differing:
            changes.append(Change(*key, differing, old_total, new_total))
        left = next(channels[0], None) if before is not None else left
        right = next(channels[1], None) if after is not None else right
    return changes


def _by_channel(slots: Iterator[Slot]) -> Iterator[tuple[tuple[str, str], Iterator[Slot]]]:
    yield from groupby(slots, lambda slot: slot[0][:2])


def _walk(old: Iterator[Slot], new: Iterator[Slot]) -> tuple[int, Decimal | None, Decimal | None]:
    differing = 0
    old_total: Decimal | None = None
    new_total: Decimal | None = None
    left, right = next(old, None), next(new, None)
    while left or right:
        key = min(side[0] for side in (left, right) if side)
        before = left[1] if left and left[0] == key else None
        after = right[1] if right and right[0] == key else None
        differing += before != after
        if before and before[0]:
            old_total = _added(old_total, Decimal(before[0]))
        if after and after[0]:
            new_total = _added(new_total, Decimal(after[0]))
        left = next(old, None) if before else left
        right = next(new, None) if after else right
    return differing, old_total, new_total


def encode(
    *,
    sequence: int,
    created: UtcSeconds,
    selection: Selection,
    files: Sequence[DataFile],
    accounts: Accounts,
    change_log: int,
    previous: str | None,
    replaces: tuple[int, Sequence[Change]] | None,
    notes: Sequence[str] = (),
) -> bytes:
    """Make the manifest: JSON, keys in a fixed order, decimals as text."""
    document = {
        "schema": SCHEMA,
        "sequence": sequence,
        "created": instant(created),
        "format": selection.format,
        "period": {"start": instant(selection.start), "end": instant(selection.end)},
        "selection": {
            "start": selection.start,
            "end": selection.end,
            "usage_points": selection.usage_points,
            "obis": selection.obis,
        },
        "files": [{"name": file.name, "sha256": file.sha256, "bytes": file.size} for file in files],
        "rows": sum(account.slots.total() for account in accounts.values()),
        "channels": [
            {
                "usage_point": usage_point,
                "meter": meter,
                "obis": obis,
                "name": account.name,
                "total": _written(account.total),
                "unit": account.unit,
                "rows": account.slots.total(),
                "slots": dict(sorted(account.slots.items())),
                "missing": dict(sorted(account.missing.items())),
            }
            for (usage_point, meter, obis), account in accounts.items()
        ],
        "change_log": change_log,
        "previous": previous and {"sequence": sequence - 1, "sha256": previous},
        "replaces": replaces
        and {
            "sequence": replaces[0],
            "changes": [
                {
                    "usage_point": change.usage_point,
                    "obis": change.obis,
                    "slots": change.slots,
                    "old_total": _written(change.old_total),
                    "new_total": _written(change.new_total),
                }
                for change in replaces[1]
            ],
        },
        "notes": list(notes),
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _written(total: Decimal | None) -> str | None:
    return None if total is None else format(total, "f")


def decode(data: bytes) -> Manifest:
    """Read a manifest back. Raises `ValueError` that says what is wrong with it."""
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r} is not {SCHEMA}")
        asked = document["selection"]
        manifest = Manifest(
            sequence=_integer(document["sequence"]),
            selection=Selection(
                _text(document["format"]),
                _integer(asked["start"]),
                _integer(asked["end"]),
                _texts(asked["usage_points"]),
                _texts(asked["obis"]),
            ),
            files=tuple(
                DataFile(_matched(_NAME, file["name"]), _matched(_SHA256, file["sha256"]), _integer(file["bytes"]))
                for file in document["files"]
            ),
            previous=document["previous"] and _matched(_SHA256, document["previous"]["sha256"]),
            sha256=hashlib.sha256(data).hexdigest(),
            document=document,
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return manifest


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r:.40} is not a whole number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _texts(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is not a list")
    return tuple(map(_text, value))


def _matched(pattern: re.Pattern[str], value: object) -> str:
    text = _text(value)
    if not pattern.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not of the form {pattern.pattern}")
    return text
