"""`MeterDays`: one UTC day of many meters as arrays, what a back-fill or a gateway delivers in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drivers.facts import INT32_MAX, IntervalBlock
from headend.registry.model import DAY
from headend.series import Int32, UInt32
from headend.store.block import Channel, Layout, layout_of
from kernels.quality import Rule

_TELLS_A_CAUSE = np.uint32(Rule.POWER_FAILURE | Rule.CLOCK_SET)


@dataclass(frozen=True, slots=True, eq=False)
class MeterDays:
    """What meters that record the same channels said of one day: a row for each, the slots of all channels side by side.

    ``channels``: sorted; each has ``86400 / period`` columns.  ``values``: int32, shape (meters, slots).
    ``has_value``: bool, same shape; None: everywhere. A slot without is left as it is in the store.
    ``rules``: uint32, same shape, rules the driver already saw broken (`Rule.METER_STATUS`: the value is questionable);
    None: none.
    """

    day: int
    end_device_ids: Sequence[int]
    channels: tuple[Channel, ...]
    values: Int32
    has_value: npt.NDArray[np.bool_] | None = None
    rules: UInt32 | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit, a meter that stands there twice, and what no raw block holds. Raises `ValueError`."""
        if self.layout.channels != self.channels or not self.channels:
            raise ValueError("there is no channel, or they are not sorted")
        if any(channel.is_primary or channel.version for channel in self.channels):
            raise ValueError("raw channels have neither versions nor primary values")
        shape = (len(self.end_device_ids), self.layout.slots)
        for name, dtype in (("values", np.int32), ("has_value", np.bool_), ("rules", np.uint32)):
            array = getattr(self, name)
            if array is not None and (array.dtype != dtype or array.shape != shape):
                raise ValueError(f"{name} is {array.dtype}{array.shape}, not {np.dtype(dtype)}{shape}")
        if len(set(self.end_device_ids)) != shape[0]:
            raise ValueError("a meter stands there twice")
        if self.values.min(initial=0) < -INT32_MAX:
            held = True if self.has_value is None else self.has_value
            for row in np.flatnonzero(((self.values < -INT32_MAX) & held).any(axis=1)).tolist():
                raise ValueError(
                    f"meter {self.end_device_ids[row]}: {-INT32_MAX - 1} is no count; choose a coarser scaler"
                )

    @property
    def layout(self) -> Layout:
        """Where each channel's columns lie."""
        return layout_of(self.channels)

    def facts(self, row: int) -> list[IntervalBlock]:
        """Give one meter's row as a driver would hand it over."""
        return [self._fact(row, channel, span) for channel, span in self.layout.spans.items()]

    def explained(self) -> list[int]:
        """Give the rows in which the meter says of a slot without a value why it has none."""
        if self.has_value is None or self.rules is None:
            return []
        told = ~self.has_value & (self.rules & _TELLS_A_CAUSE != 0)
        rows: list[int] = np.flatnonzero(told.any(axis=1)).tolist()
        return rows

    def _fact(self, row: int, channel: Channel, span: slice) -> IntervalBlock:
        counts: list[int | None] = self.values[row, span].tolist()
        if self.has_value is not None:
            held = self.has_value[row, span].tolist()
            counts = [count if has else None for count, has in zip(counts, held, strict=True)]
        rules = () if self.rules is None else tuple(map(Rule, self.rules[row, span].tolist()))
        start = self.day * DAY + channel.offset
        return IntervalBlock(channel.obis, channel.scaler_unit, start, channel.period, tuple(counts), rules)
