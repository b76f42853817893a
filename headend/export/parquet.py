"""What the store holds as Parquet (extra ``parquet``): tables in memory, and their bytes. Touches no file.

Numbers are exact. ``count`` (int64) times ten to the ``scaler`` is the value; ``value`` is the same as decimal128(38, 12), null
where the scaler is outside -12 to 7, which no meter known to us sends. Nothing passes through a float.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drivers.facts import RegisterValue
from headend.export.holdings import ChannelDay, Damage, events, intervals, registers, sorted_out
from headend.export.rows import channel_name, rule_words, word
from headend.store.model import Event, Layer
from headend.store.reader import StoreReader
from kernels.quality import HAS_VALUE, Reason, Rule, State

SUFFIX = ".parquet"
PLACES = 12
"""Decimal places of ``value``."""
_SCALERS = range(-PLACES, 8)
"""Those with which any int64 fits into 38 digits."""
_ROW_GROUP = 262_144
_OWNERS_AT_ONCE = 50
"""Whose channels are made into rows at once: on the way they take four times what the rows do."""
_MOMENT = pa.timestamp("ms", "UTC")
_VALUE = pa.decimal128(38, PLACES)
_WORDS = pa.dictionary(pa.int32(), pa.string())

_INTERVAL = [
    ("usage_point", _WORDS), ("end_device", _WORDS), ("obis", _WORDS), ("channel", _WORDS), ("start", _MOMENT), ("period", pa.int32()),
    ("count", pa.int64()), ("scaler", pa.int8()), ("value", _VALUE), ("unit", _WORDS), ("state", _WORDS), ("reason", _WORDS),
    ("rules", _WORDS), ("version", pa.int32()), ("seq", pa.int64()),
]  # fmt: skip
_REGISTER = [
    ("end_device", _WORDS), ("obis", _WORDS), ("channel", _WORDS), ("captured_at", _MOMENT), ("uncertainty", pa.int64()),
    ("count", pa.int64()), ("scaler", pa.int8()), ("value", _VALUE), ("unit", _WORDS), ("rules", _WORDS), ("seq", pa.int64()),
]  # fmt: skip
_EVENT = [
    ("end_device", _WORDS), ("kind", _WORDS), ("code", pa.int64()), ("occurred_at", _MOMENT), ("text", pa.string()),
    ("received_at", _MOMENT), ("seq", pa.int64()),
]  # fmt: skip
SCHEMAS = {
    Layer.RAW: pa.schema(_INTERVAL),
    Layer.VALIDATED: pa.schema(_INTERVAL),
    Layer.REGISTER: pa.schema(_REGISTER),
    Layer.EVENT: pa.schema(_EVENT),
}
"""Columns of each layer's files. ``seq``: the store's commit number as of which the file was written."""
OWNER = {
    Layer.RAW: "end_device",
    Layer.VALIDATED: "usage_point",
    Layer.REGISTER: "end_device",
    Layer.EVENT: "end_device",
}
"""Whose a layer's rows are; the other name of `_INTERVAL` is null, the registry's dated installations join the two."""

KEYS = {
    Layer.RAW: ("end_device",),
    Layer.VALIDATED: ("usage_point",),
    Layer.REGISTER: ("end_device", "obis", "captured_at"),
    Layer.EVENT: ("end_device", "kind", "code", "occurred_at", "text"),
}
"""What of a day the store takes away, or holds, as a whole."""

Ints = npt.NDArray[np.int64]


def interval_table(layer: Layer, found: Sequence[ChannelDay], seq: int) -> pa.Table:
    """Make the rows of some channel-days: one per slot that was measured, filled or missed."""
    kept = [np.flatnonzero(item.series.state >= int(State.MEASURED)) for item in found]
    sizes = [len(rows) for rows in kept]

    def of_slots(part: str) -> npt.NDArray[Any]:
        arrays = [getattr(item.series, part)[rows] for item, rows in zip(found, kept, strict=True)]
        return np.concatenate(arrays) if arrays else np.empty(0, np.int64)

    def of_channels(numbers: Iterable[int]) -> Ints:
        return np.repeat(np.fromiter(numbers, np.int64, len(found)), sizes)

    state, reason, rules = of_slots("state"), of_slots("reason"), of_slots("rules")
    starts = [item.series.start + rows * item.series.period for item, rows in zip(found, kept, strict=True)]
    lacks = ~np.isin(state, [int(one) for one in HAS_VALUE])
    counts = of_slots("values").astype(np.int64)
    scalers = of_channels(item.scaler_unit.scaler for item in found)
    columns = {
        OWNER[layer]: _repeated([item.owner for item in found], sizes),
        "obis": _repeated([str(item.obis) for item in found], sizes),
        "channel": _repeated([channel_name(item.obis) for item in found], sizes),
        "start": _instants(np.concatenate(starts) if starts else np.empty(0, np.int64)),
        "period": of_channels(item.series.period for item in found).astype(np.int32),
        "count": pa.array(counts, mask=lacks),
        "scaler": scalers.astype(np.int8),
        "value": _values(counts, scalers, lacks),
        "unit": _repeated([item.scaler_unit.unit.symbol for item in found], sizes),
        "state": _coded(state, lambda code: word(State(code))),
        "reason": _coded(reason, lambda code: word(Reason(code))),
        "rules": _coded(rules, lambda code: rule_words(Rule(code))),
        "version": of_channels(item.version for item in found).astype(np.int32),
    }
    if layer is Layer.RAW:
        del columns["version"]
    return _table(layer, columns, len(state), seq)


def register_table(found: Sequence[tuple[str, RegisterValue]], seq: int) -> pa.Table:
    """Make the rows of some registers' values, by end device."""
    values = [value for _, value in found]
    counts = np.array([value.count for value in values], np.int64)
    scalers = np.array([value.scaler_unit.scaler for value in values], np.int64)
    columns = {
        "end_device": _words([name for name, _ in found]),
        "obis": _words([str(value.obis) for value in values]),
        "channel": _words([channel_name(value.obis) for value in values]),
        "captured_at": _instants(np.array([value.captured_at for value in values], np.int64)),
        "uncertainty": pa.array([value.uncertainty for value in values], pa.int64()),
        "count": counts,
        "scaler": scalers.astype(np.int8),
        "value": _values(counts, scalers, np.zeros(len(values), np.bool_)),
        "unit": _words([value.scaler_unit.unit.symbol for value in values]),
        "rules": _words([rule_words(value.rules) for value in values]),
    }
    return _table(Layer.REGISTER, columns, len(found), seq)


def event_table(found: Sequence[tuple[str, Event]], seq: int) -> pa.Table:
    """Make the rows of some events, by end device; the name is empty where it was none."""
    events = [event for _, event in found]
    columns = {
        "end_device": _words([name for name, _ in found]),
        "kind": _words([event.kind for event in events]),
        "code": pa.array([event.code for event in events], pa.int64()),
        "occurred_at": _instants(np.array([event.at for event in events], np.int64)),
        "text": pa.array([event.text for event in events], pa.string()),
        "received_at": _instants(np.array([event.received_at for event in events], np.int64)),
    }
    return _table(Layer.EVENT, columns, len(found), seq)


def load(
    reader: StoreReader, layer: Layer, day: int, names: Mapping[int, str], seq: int
) -> tuple[pa.Table, list[Damage]]:
    """Read what the store holds of one layer and day for some owners, and what of it is damaged."""
    if layer is Layer.EVENT:
        happened, damaged = sorted_out(events(reader, day, names))
        return event_table(happened, seq), damaged
    if layer is Layer.REGISTER:
        rows, damaged = sorted_out(registers(reader, day, names))
        return register_table(rows, seq), damaged
    tables, damaged = [], []
    owners = sorted(names.items())
    for first in range(0, len(owners), _OWNERS_AT_ONCE) or [0]:
        some = dict(owners[first : first + _OWNERS_AT_ONCE])
        channels, faults = sorted_out(intervals(reader, layer, day, some))
        tables.append(interval_table(layer, channels, seq))
        damaged += faults
    return pa.concat_tables(tables), damaged


def text_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """Make a table of the registry: text and whole numbers, as they are."""
    return pa.table({name: [row[index] for row in rows] for index, name in enumerate(header)})


def encode(table: pa.Table) -> bytes:
    """Write a table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=_ROW_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode(data: bytes, layer: Layer) -> pa.Table:
    """Read a file of `encode` again."""
    return pq.read_table(pa.BufferReader(data)).cast(SCHEMAS[layer])


def owners_of(layer: Layer, rows: pa.Table) -> set[str]:
    """Name all whose rows there are."""
    return set(pc.unique(rows[OWNER[layer]].cast(pa.string())).to_pylist())


def others(layer: Layer, rows: pa.Table, present: pa.Table) -> pa.Table:
    """Give the rows that ``present`` has nothing for: of owners it lacks, of the event log and of registers row by row."""
    keys = KEYS[layer]
    if len(keys) == 1:
        known = pc.unique(present[keys[0]].cast(pa.string()))
        return rows.filter(pc.invert(pc.is_in(rows[keys[0]].cast(pa.string()), known)))
    there = set(_keys(present, keys))
    return rows.filter(pa.array([key not in there for key in _keys(rows, keys)], pa.bool_()))


def _keys(table: pa.Table, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table[key].to_pylist() for key in keys), strict=True))


def _table(layer: Layer, columns: dict[str, Any], rows: int, seq: int) -> pa.Table:
    schema = SCHEMAS[layer]
    columns["seq"] = np.full(rows, seq, np.int64)
    return pa.table(
        [columns[field.name] if field.name in columns else pa.nulls(rows, field.type) for field in schema],
        schema=schema,
    )


def _values(counts: Ints, scalers: Ints, lacks: npt.NDArray[np.bool_]) -> pa.Array:
    """Give ``counts * 10**scalers`` as decimals, null where there is none or it may not fit."""
    halves = np.zeros((len(counts), 2), np.int64)
    fits = ~lacks
    for scaler in np.unique(scalers).tolist():
        here = scalers == scaler
        if scaler not in _SCALERS:
            fits &= ~here
            continue
        whole = pa.array(counts[here]).cast(pa.decimal128(19, 0)).buffers()[1]
        scaled = pa.Array.from_buffers(pa.decimal128(38, -scaler), int(here.sum()), [None, whole]).cast(_VALUE)
        halves[here] = np.frombuffer(scaled.buffers()[1], np.int64).reshape(-1, 2)[: len(scaled)]
    valid = pa.array(fits).buffers()[1]
    return pa.Array.from_buffers(_VALUE, len(counts), [valid, pa.py_buffer(halves)])


def _instants(seconds: Ints) -> pa.Array:
    return pa.array(seconds * 1_000, pa.int64()).cast(_MOMENT)


def _words(texts: Sequence[str]) -> pa.Array:
    return pa.array(texts, pa.string()).dictionary_encode()


def _repeated(texts: Sequence[str], sizes: Sequence[int]) -> pa.Array:
    encoded = _words(texts)
    return pa.DictionaryArray.from_arrays(
        np.repeat(encoded.indices.to_numpy(zero_copy_only=False), sizes), encoded.dictionary
    )


def _coded(codes: npt.NDArray[Any], shown: Any) -> pa.Array:
    known, indices = np.unique(codes, return_inverse=True)
    return pa.DictionaryArray.from_arrays(
        indices.astype(np.int32), pa.array([shown(code) for code in known.tolist()], pa.string())
    )
