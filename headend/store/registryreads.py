"""Reading the registry."""

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.errors import RegistryError
from headend.registry.model import ChannelExpectation, EndDevice, Installation, Link, TariffSince, UsagePoint
from headend.store.database import Database

_END_DEVICE = """SELECT id, name, profile, link_id, address, serial, password_ref, encryption_key_ref,
    authentication_key_ref, options, disabled, crc FROM end_device"""
_USAGE_POINT = (
    "SELECT id, name, zone, area, transformer, feeder, box, check_meter, check_ratio, tariffs, crc FROM usage_point"
)
_INSTALLATION = 'SELECT usage_point_id, end_device_id, start, "end", multiplier, dials, crc FROM installation'
_EXPECTATION = (
    """SELECT end_device_id, obis, period, "offset", scaler, unit, origin, start, "end", dials, crc FROM expectation"""
)

KEYS_AT_ONCE = 500
"""Most rows asked for by their keys in one statement."""


class RegistryReads(Database):
    """What exists. Lists come sorted by name, or by start."""

    def links(self) -> list[Link]:
        """List all links, by URL."""
        return [Link(*row) for row in self._sealed("link", "SELECT id, url, crc FROM link ORDER BY url")]

    def end_devices(self) -> list[EndDevice]:
        """List all end devices, by name."""
        return [_end_device(row) for row in self._sealed("end_device", f"{_END_DEVICE} ORDER BY name")]

    def end_device(self, name: str) -> EndDevice:
        """Find an end device by its global name. Raises `RegistryError`."""
        rows = self._sealed("end_device", f"{_END_DEVICE} WHERE name = ?", (name,))
        if not rows:
            raise RegistryError(f"no meter {name[:80]!r} is registered; `headend meter list` shows those that are")
        return _end_device(rows[0])

    def end_device_by_id(self, end_device_id: int) -> EndDevice:
        """Find an end device by its local id. Raises `RegistryError`."""
        rows = self._sealed("end_device", f"{_END_DEVICE} WHERE id = ?", (end_device_id,))
        if not rows:
            raise RegistryError(f"{self.path}: no end device has the local id {end_device_id}")
        return _end_device(rows[0])

    def usage_points(
        self,
        *,
        area: str | None = None,
        transformer: str | None = None,
        feeder: str | None = None,
        box: str | None = None,
    ) -> list[UsagePoint]:
        """List the usage points under a node of the network, all where none is named, by name."""
        under = {"area": area, "transformer": transformer, "feeder": feeder, "box": box}
        named = {column: value for column, value in under.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in named) or "1 = 1"
        rows = self._sealed("usage_point", f"{_USAGE_POINT} WHERE {where} ORDER BY name", tuple(named.values()))
        return [_usage_point(row) for row in rows]

    def usage_point(self, name: str) -> UsagePoint:
        """Find a usage point by its global name. Raises `RegistryError`."""
        point = self._usage_point_if_any(name)
        if point is None:
            raise RegistryError(
                f"no usage point {name[:80]!r} is registered; `headend meter list` shows those that are"
            )
        return point

    def _usage_point_if_any(self, name: str) -> UsagePoint | None:
        rows = self._sealed("usage_point", f"{_USAGE_POINT} WHERE name = ?", (name,))
        return _usage_point(rows[0]) if rows else None

    def usage_point_by_id(self, usage_point_id: int) -> UsagePoint:
        """Find a usage point by its local id. Raises `RegistryError`."""
        rows = self._sealed("usage_point", f"{_USAGE_POINT} WHERE id = ?", (usage_point_id,))
        if not rows:
            raise RegistryError(f"{self.path}: no usage point has the local id {usage_point_id}")
        return _usage_point(rows[0])

    def names_of(self, table: Literal["end_device", "usage_point"], ids: Sequence[int]) -> dict[int, str]:
        """Give the names of end devices or usage points, in the order of their local ids. Raises `RegistryError`."""
        sql = _END_DEVICE if table == "end_device" else _USAGE_POINT
        found = {row[0]: row[1] for row in self._sealed_of(table, f"{sql} WHERE id", ids)}
        if unknown := [number for number in ids if number not in found]:
            raise RegistryError(f"{self.path}: no {table.replace('_', ' ')} has the local id {unknown[0]}")
        return {number: found[number] for number in ids}

    def expectations_of(self, end_device_ids: Sequence[int], obis: Obis) -> dict[int, list[ChannelExpectation]]:
        """Give what each of many end devices should deliver of one channel, by start; nothing for one that should not."""
        found: dict[int, list[ChannelExpectation]] = {number: [] for number in end_device_ids}
        for row in self._sealed_of(
            "expectation", f"{_EXPECTATION} WHERE obis = ? AND end_device_id", end_device_ids, obis.to_bytes()
        ):
            found[row[0]].append(_expectation(row))
        for entries in found.values():
            entries.sort(key=lambda entry: entry.start)
        return found

    def _sealed_of(self, table: str, sql: str, ids: Sequence[int], *bindings: object) -> Iterator[tuple[Any, ...]]:
        """Run a statement that ends with a column, for the rows where that is one of ``ids``; see `_sealed`."""
        for first in range(0, len(ids), KEYS_AT_ONCE):
            some = ids[first : first + KEYS_AT_ONCE]
            yield from self._sealed(table, f"{sql} IN ({', '.join('?' * len(some))})", (*bindings, *some))

    def installations(self, usage_point_id: int | None = None, end_device_id: int | None = None) -> list[Installation]:
        """List installations, of one usage point or end device where given, by start."""
        where = "WHERE (usage_point_id = ?1 OR ?1 IS NULL) AND (end_device_id = ?2 OR ?2 IS NULL)"
        if usage_point_id is not None and end_device_id is None:
            where = "WHERE usage_point_id = ?1 AND CAST(?2 AS BIGINT) IS NULL"
        elif end_device_id is not None and usage_point_id is None:
            where = "WHERE end_device_id = ?2 AND CAST(?1 AS BIGINT) IS NULL"
        rows = self._sealed(
            "installation", f"{_INSTALLATION} {where} ORDER BY start, usage_point_id", (usage_point_id, end_device_id)
        )
        return [Installation(*row) for row in rows]

    def expectations(self, end_device_id: int) -> Sequence[ChannelExpectation]:
        """List what an end device should deliver, by channel and start."""
        rows = self._sealed(
            "expectation", f"{_EXPECTATION} WHERE end_device_id = ? ORDER BY obis, start", (end_device_id,)
        )
        return tuple(_expectation(row) for row in rows)


def _end_device(row: tuple[Any, ...]) -> EndDevice:
    number, name, profile, link_id, address, serial, password, encryption_key, authentication_key, options, disabled = (
        row
    )
    return EndDevice(
        number, name, profile, link_id, address, serial, password, encryption_key, authentication_key,
        json.loads(options), bool(disabled),
    )  # fmt: skip


def _usage_point(row: tuple[Any, ...]) -> UsagePoint:
    number, name, zone, area, transformer, feeder, box, check_meter, ratio, tariffs = row
    dated = tuple(TariffSince(*entry) for entry in json.loads(tariffs))
    return UsagePoint(number, name, zone, area, transformer, feeder, box, check_meter, Fraction(ratio), dated)


@lru_cache(maxsize=16_384)
def _expectation(row: tuple[Any, ...]) -> ChannelExpectation:
    end_device_id, code, period, offset, scaler, unit, origin, start, end, dials = row
    return ChannelExpectation(
        end_device_id, Obis.from_bytes(code), period, offset, ScalerUnit(scaler, Unit(unit)), origin, start, end, dials
    )
