"""What the store holds as rows of text, for CSV: the columns are those of the Parquet files. Touches no file.

Text is guarded as in the canonical CSV (`headend.export.csv.guard`); instants are RFC 3339 in UTC, nothing is rounded.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from drivers.facts import RegisterValue
from headend.export.csv import guard, number
from headend.export.holdings import ChannelDay, Damage, events, intervals, registers, sorted_out
from headend.export.rows import channel_name, instant, rule_words, word
from headend.store.model import Event, Layer
from headend.store.reader import StoreReader
from kernels.quality import HAS_VALUE, Reason, Rule, State

SUFFIX = ".csv"
INTERVAL = (
    "usage_point", "end_device", "obis", "channel", "start", "period", "count", "scaler", "value", "unit", "state", "reason",
    "rules", "version", "seq",
)  # fmt: skip
REGISTER = (
    "end_device", "obis", "channel", "captured_at", "uncertainty", "count", "scaler", "value", "unit", "rules", "seq",
)  # fmt: skip
EVENT = ("end_device", "kind", "code", "occurred_at", "text", "received_at", "seq")
HEADERS = {Layer.RAW: INTERVAL, Layer.VALIDATED: INTERVAL, Layer.REGISTER: REGISTER, Layer.EVENT: EVENT}

Row = Sequence[Any]


def load(
    reader: StoreReader, layer: Layer, day: int, names: dict[int, str], seq: int
) -> tuple[list[Row], list[Damage]]:
    """Read what the store holds of one layer and day for some owners as rows of `HEADERS`, and what of it is damaged."""
    if layer is Layer.EVENT:
        happened, damaged = sorted_out(events(reader, day, names))
        return [_event_row(name, event, seq) for name, event in happened], damaged
    if layer is Layer.REGISTER:
        values, damaged = sorted_out(registers(reader, day, names))
        return [_register_row(name, value, seq) for name, value in values], damaged
    channels, damaged = sorted_out(intervals(reader, layer, day, names))
    return [row for channel in channels for row in interval_rows(layer, channel, seq)], damaged


def interval_rows(layer: Layer, found: ChannelDay, seq: int) -> Iterator[Row]:
    """Make the rows of a channel-day: one per slot that was measured, filled or missed."""
    series, unit = found.series, found.scaler_unit
    is_raw = layer is Layer.RAW
    owner = ("", found.owner) if is_raw else (found.owner, "")
    for index, code in enumerate(series.state.tolist()):
        state = State(code)
        if state < State.MEASURED:
            continue
        count = int(series.values[index]) if state in HAS_VALUE else None
        yield (
            *owner, str(found.obis), channel_name(found.obis), instant(series.start + index * series.period), series.period,
            count, unit.scaler, number(None if count is None else unit.to_decimal(count)), unit.unit.symbol, word(state),
            word(Reason(int(series.reason[index]))), rule_words(Rule(int(series.rules[index]))),
            None if is_raw else found.version, seq,
        )  # fmt: skip


def encode(header: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Write a CSV file, RFC 4180: text is quoted and guarded, numbers are bare, None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(header)
    numbers = {"value"}
    columns = [name in numbers for name in header]
    for row in rows:
        writer.writerow([
            guard(cell) if isinstance(cell, str) and not bare else cell
            for cell, bare in zip(row, columns, strict=True)
        ])  # fmt: skip
    return text.getvalue().encode()


def _register_row(name: str, value: RegisterValue, seq: int) -> Row:
    unit = value.scaler_unit
    return (
        name, str(value.obis), channel_name(value.obis), instant(value.captured_at), value.uncertainty, value.count,
        unit.scaler, number(value.value), unit.unit.symbol, rule_words(value.rules), seq,
    )  # fmt: skip


def _event_row(name: str, event: Event, seq: int) -> Row:
    return name, event.kind, event.code, instant(event.at), event.text, instant(event.received_at), seq
