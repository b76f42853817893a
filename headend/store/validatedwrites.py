"""The validated layer's writer: one version after the other, the newest in the day's block."""

import numpy as np

from drivers.obis import Obis
from headend.registry.model import DAY
from headend.series import Series
from headend.store.block import Block, Channel, encode
from headend.store.blockwrites import BlockWrites
from headend.store.model import Layer, VeeRun
from headend.store.retention import Kept


class ValidatedWrites(BlockWrites):
    """Writes what VEE made of a day."""

    def write_validated(self, usage_point_id: int, obis: Obis, day: int, series: Series, run: VeeRun) -> int | None:
        """Write a channel-day of a usage point and give its version; None, and nothing written, where it is the same.

        Nor is anything written of a day that retention has dropped of either layer: what it was made of is gone.
        ``series``: all slots that start within UTC day ``day``, primary values. The version before is kept beside it
        with its run. Needs a transaction. Raises `ValueError` for another span than one day.
        """
        self._require_transaction()
        offset = series.start - day * DAY
        if not 0 <= offset < series.period or series.period * len(series) != DAY:
            raise ValueError(
                f"{obis}: {len(series)} slots of {series.period} s from {series.start} on are not day {day}"
            )
        if day < max(self.floor(Kept.RAW).day, self.floor(Kept.VALIDATED).day):
            return None
        name = self._usage_point_name(usage_point_id)
        block = self._block(Layer.VALIDATED, usage_point_id, name, day) or Block.empty(Layer.VALIDATED, name, day)
        present = block.find(obis)
        version = 1 if present is None else present.version + 1
        if present is not None and _is_same(block.series(present), series):
            return None
        if present is not None:
            alone = block.with_channels([], dropped=[other for other in block.channels if other != present])
            self._run(
                "UPDATE validated_version SET block = ? WHERE usage_point_id = ? AND day = ? AND obis = ? AND version = ?",
                (encode(alone), usage_point_id, day, obis.to_bytes(), version - 1),
            )
        channel = Channel(obis, series.period, offset, series.scaler_unit, is_primary=True, version=version)
        block = block.with_channels([channel], dropped=[] if present is None else [present])
        _copy(series, block.series(channel))
        self._put_block(block, usage_point_id)
        run_id = self._run_id(run)
        seq = self._log_change(Layer.VALIDATED, usage_point_id, day, (obis,), at=run.at, version=version, run_id=run_id)
        self._run(
            "INSERT INTO validated_version (usage_point_id, day, obis, version, run_id, seq, block)"
            " VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (usage_point_id, day, obis.to_bytes(), version, run_id, seq),
        )
        return version

    def _run_id(self, run: VeeRun) -> int:
        """Find or add a run: one that changed nothing leaves no trace."""
        key = (run.rules, run.at, run.user, run.reason)
        row = self._row('SELECT id FROM vee_run WHERE rules = ? AND at = ? AND "user" = ? AND reason = ?', key)
        return (
            int(row[0])
            if row
            else self._insert('INSERT INTO vee_run (rules, at, "user", reason) VALUES (?, ?, ?, ?)', key)
        )


def _copy(source: Series, target: Series) -> None:
    """Copy a day's slots; a slot without value holds 0, as it will when decoded."""
    target.values[:] = np.where(source.has_value, source.values, 0)
    target.state[:], target.reason[:], target.rules[:] = source.state, source.reason, source.rules


def _is_same(stored: Series, series: Series) -> bool:
    return (
        (stored.start, stored.period, stored.scaler_unit) == (series.start, series.period, series.scaler_unit)
        and np.array_equal(stored.values, np.where(series.has_value, series.values, 0))
        and np.array_equal(stored.state, series.state)
        and np.array_equal(stored.reason, series.reason)
        and np.array_equal(stored.rules, series.rules)
    )
