"""The registry as plain tables, which join meters, usage points and places: no key, no reference to one, no address.

The table that ``headend meter import`` takes is another one, `headend.registry.table`.
"""

from collections.abc import Sequence
from typing import Any

from headend.export.rows import channel_name
from headend.store.reader import StoreReader

Table = tuple[tuple[str, ...], list[Sequence[Any]]]
"""Header and rows."""


def registry_tables(reader: StoreReader) -> dict[str, Table]:
    """Give the tables by name, rows in order; instants in seconds UTC, ``end`` None: until further notice."""
    with reader.snapshot():
        devices, points = reader.end_devices(), reader.usage_points()
        places = reader.installations()
        expected = [entry for device in devices for entry in reader.expectations(device.id)]
    meters = {device.id: device.name for device in devices}
    names = {point.id: point.name for point in points}
    return {
        "usage_point": (
            ("usage_point", "zone", "area", "transformer", "feeder", "box"),
            [(point.name, point.zone, point.area, point.transformer, point.feeder, point.box) for point in points],
        ),
        "end_device": (
            ("end_device", "profile", "serial", "disabled"),
            [(device.name, device.profile, device.serial, device.disabled) for device in devices],
        ),
        "installation": (
            ("usage_point", "end_device", "start", "end", "multiplier"),
            [
                (names[place.usage_point_id], meters[place.end_device_id], place.start, place.end, place.multiplier)
                for place in places
            ],
        ),
        "expectation": (
            ("end_device", "obis", "channel", "period", "offset", "scaler", "unit", "origin", "start", "end"),
            [
                (
                    meters[entry.end_device_id], str(entry.obis), channel_name(entry.obis), entry.period, entry.offset,
                    entry.scaler_unit.scaler, entry.scaler_unit.unit.symbol, entry.origin, entry.start, entry.end,
                )
                for entry in expected
            ],
        ),
    }  # fmt: skip
