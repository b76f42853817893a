"""Holds what was stored against the source that the simulated meters replay, to the last digit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivers.facts import UtcSeconds
from headend.errors import HeadendError
from headend.ledger import Coverage, coverage
from headend.registry.model import Link
from headend.store.reader import StoreReader


@dataclass(frozen=True, slots=True)
class Comparison:
    """One meter's raw slots beside its source. Energy in counts of the channel, which the world keeps in Wh.

    ``measured_wh``: of all slots with a value, questionable ones too.
    ``unequal``: slots whose value is not the source's.  ``unread``: slots the source has a value for and we do not.
    """

    meter: str
    usage_point: str
    link: str
    coverage: Coverage
    measured_wh: int
    source_wh: int
    unequal: int
    unread: int

    @property
    def read(self) -> int:
        """Count the slots with a value, questionable ones too."""
        return self.coverage.expected - self.coverage.missing

    @property
    def is_equal(self) -> bool:
        """Say whether every slot with a value holds the source's value and the totals agree."""
        return not self.unequal and self.measured_wh == self.source_wh


def compare(reader: StoreReader, truth_file: Path, end: UtcSeconds) -> list[Comparison]:
    """Compare each registered meter's raw values before ``end`` [s UTC] with the world's truth. Raises `HeadendError`."""
    truth: dict[str, dict[str, Any]] = json.loads(truth_file.read_text())
    links: dict[int, Link] = {link.id: link for link in reader.links()}
    points = {point.id: point.name for point in reader.usage_points()}
    comparisons = []
    for device in reader.end_devices():
        if device.name not in truth:
            raise HeadendError(f"{truth_file}: the world does not say what {device.name} measured")
        source = truth[device.name]
        (installation,) = reader.installations(end_device_id=device.id)
        (expectation,) = reader.expectations(device.id)
        start = expectation.start
        until = min(end, installation.end or end)
        series = reader.raw_series(device.id, expectation.obis, start, until)
        first = (start - int(source["start"])) // int(source["period"])
        values: list[int | None] = source["wh"][first : first + len(series)]
        values += [None] * (len(series) - len(values))
        has_source = np.array([value is not None for value in values], dtype=np.bool_)
        wh = np.array([value or 0 for value in values], dtype=np.int64)
        has_value = series.has_value
        comparisons.append(
            Comparison(
                device.name,
                points[installation.usage_point_id],
                links[device.link_id].url,
                coverage(series),
                int(series.values[has_value].sum(dtype=np.int64)),
                int(wh[has_value].sum()),
                int((has_value & ((series.values != wh) | ~has_source)).sum()),
                int((has_source & ~has_value).sum()),
            )
        )
    return comparisons
