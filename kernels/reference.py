"""The slow, obvious twin of every kernel: plain Python over plain sequences. Tests only; the truth the kernels are held to.

Sequences in, new values out: nothing is changed in place. ``None`` in a row of values stands for a slot without value
where state is not given.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from math import floor

from kernels.quality import HAS_VALUE, Reason, Rule, State

Row = Sequence[int]


def crc_bits(data: bytes, *, width: int, polynomial: int, start: int, reflect: bool, final: int) -> int:
    """Divide bit by bit, as the standards draw it. ``reflect``: lowest bit of each byte, and of the result, first."""
    register = start
    if reflect:
        register = int(f"{register:0{width}b}"[::-1], 2)
    for byte in data:
        for bit in range(8):
            incoming = byte >> (bit if reflect else 7 - bit) & 1
            outgoing = register >> (width - 1) & 1
            register = (register << 1) & ((1 << width) - 1)
            if incoming != outgoing:
                register ^= polynomial
    if reflect:
        register = int(f"{register:0{width}b}"[::-1], 2)
    return register ^ final


def crc16_modbus(data: bytes, start: int = 0xFFFF) -> int:
    """See `kernels.checksum.crc16_modbus`."""
    return crc_bits(data, width=16, polynomial=0x8005, start=start, reflect=True, final=0)


def fcs16(data: bytes, start: int = 0) -> int:
    """See `kernels.checksum.fcs16`."""
    return crc_bits(data, width=16, polynomial=0x1021, start=start ^ 0xFFFF, reflect=True, final=0xFFFF)


def crc16_ccitt(data: bytes, start: int = 0xFFFF) -> int:
    """See `kernels.checksum.crc16_ccitt`."""
    return crc_bits(data, width=16, polynomial=0x1021, start=start, reflect=False, final=0)


def crc32(data: bytes, start: int = 0) -> int:
    """See `kernels.checksum.crc32`."""
    return crc_bits(data, width=32, polynomial=0x04C11DB7, start=start ^ 0xFFFFFFFF, reflect=True, final=0xFFFFFFFF)


def encode_leb(number: int) -> bytes:
    """Write an unsigned LEB128 number."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def encode_row(values: Sequence[int | None], edges: Row) -> bytes:
    """Encode one row as `kernels.blocks.encode_rows`; None where a slot has no value."""
    out = bytearray([2])
    for first, last in pairwise(edges):
        carried = [value for value in values[first:last] if value is not None]
        if carried:
            fields = [0, *(_zigzag(later - before) for before, later in pairwise(carried))]
            packed = [fields[at : at + 16] for at in range(0, len(fields), 16)]
            widths = [max(field.bit_length() for field in block) for block in packed]
            out += encode_leb(_zigzag(carried[0])) + pack_bits([min(width, 31) for width in widths], 5)
            for width, block in zip(widths, packed, strict=True):
                out += pack_bits(block, 32 if width == 31 else width)
    return bytes(out)


def encode_old_row(values: Sequence[int | None]) -> bytes:
    """Encode one row as version 1 did; nothing but tests writes it any more."""
    base = next((value for value in values if value is not None), 0)
    out = bytearray([1]) + encode_leb(_zigzag(base))
    before = base
    fields = []
    for value in values:
        fields.append(0 if value is None else _zigzag(value - before))
        before = before if value is None else value
    for first in range(0, len(fields), 16):
        block = fields[first : first + 16]
        width = max(field.bit_length() for field in block)
        out += bytes([width]) + pack_bits(block, width)
    return bytes(out)


def pack_bits(fields: Row, width: int) -> bytes:
    """Write fields of ``width`` bits, lowest first, filled up to a whole byte."""
    bits = sum(field << (width * place) for place, field in enumerate(fields))
    return bits.to_bytes((width * len(fields) + 7) // 8, "little")


def runs_of(codes: Row) -> list[tuple[int, int]]:
    """List the runs of equal codes, each with its length."""
    return [(code, len(list(run))) for code, run in groupby(codes)]


def encode_runs(codes: Row) -> bytes:
    """See `kernels.blocks.encode_runs`."""
    runs = runs_of(codes)
    out = bytearray([2])
    if runs:
        out += encode_leb(runs[0][0])
    for at, ((_, length), (code, _)) in enumerate(pairwise(runs)):
        if at and code == runs[at - 1][0]:
            out += encode_leb(2 * length + 1)
        else:
            out += encode_leb(2 * length) + encode_leb(code)
    return bytes(out)


def encode_old_runs(codes: Row) -> bytes:
    """Encode a row of codes as version 1 did; nothing but tests writes it any more."""
    runs = runs_of(codes)
    out = bytearray([1])
    for code, length in runs[:-1]:
        out += encode_leb(code) + encode_leb(length)
    return bytes(out) + encode_leb(runs[-1][0]) if runs else bytes(out)


def encode_body(values: Row, state: Row, reason: Row, rules: Row, edges: Row) -> bytes:
    """Encode one row with its qualities as `kernels.blocks.encode_bodies`."""
    carried = [value if State(code) in HAS_VALUE else None for value, code in zip(values, state, strict=True)]
    codes = [code + 256 * why for code, why in zip(state, reason, strict=True)]
    parts = (encode_row(carried, edges), encode_runs(codes), encode_runs(rules))
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def lay_facts(
    counts: Sequence[Sequence[int | None]], masks: Sequence[Row], places: Sequence[Row]
) -> dict[tuple[int, int], tuple[int | None, int]]:
    """See `kernels.counts.lay_facts`: count and mask of each slot spoken of, by row and column."""
    slots: dict[tuple[int, int], tuple[int | None, int]] = {}
    for said, mask, (row, column, width, first) in zip(counts, masks, places, strict=True):
        for index, count in enumerate(said):
            down, along = divmod(first + index, width)
            slots[row + down, column + along] = count, mask[index] if mask else 0
    return slots


def format_slots(
    prefix: bytes,
    start: int,
    period: int,
    scaler: int,
    rows: Sequence[tuple[int, int, int, int]],
    *,
    with_missing: bool,
    with_quality: bool,
) -> bytes:
    """See `kernels.lineprotocol.format_slots`; ``rows``: value, state, reason and rule mask of each slot."""
    lines = []
    for index, (value, state, reason, rules) in enumerate(rows):
        digits = str(abs(value)).zfill(1 - min(scaler, 0))
        cut = len(digits) + min(scaler, 0)
        shown = ("-" if value < 0 else "") + digits[:cut]
        shown += f".{digits[cut:]}" if scaler < 0 else "0" * scaler if value else ""
        fields = [f"value={shown}"] if state in HAS_VALUE else []
        if with_quality and (fields or (with_missing and state == State.MISSING)):
            fields += [f"state={state}i", f"reason={reason}i", f"rules={rules}i"]
        if fields:
            lines.append(prefix + f" {','.join(fields)} {start + index * period}\n".encode())
    return b"".join(lines)


def failed_rules(
    values: Row,
    state: Row,
    edges: Row,
    *,
    low: int,
    high: int,
    zero_run: int,
    spike_permille: int,
    spike_floor: int,
) -> list[Rule]:
    """Give each slot's rule mask as `kernels.validate.validate` sets it."""
    masks = [Rule(0)] * len(values)
    valued = [State(code) in HAS_VALUE for code in state]
    for slot, value in enumerate(values):
        if valued[slot] and not low <= value <= high:
            masks[slot] |= Rule.RANGE
        if valued[slot] and value == 0:
            run = [slot]
            while run[0] > 0 and valued[run[0] - 1] and values[run[0] - 1] == 0:
                run.insert(0, run[0] - 1)
            while run[-1] < len(values) - 1 and valued[run[-1] + 1] and values[run[-1] + 1] == 0:
                run.append(run[-1] + 1)
            if len(run) >= zero_run:
                masks[slot] |= Rule.ZERO_RUN
    for first, last in pairwise(edges):
        day = [slot for slot in range(first, last) if valued[slot]]
        if len(day) < 3:
            continue
        third = sorted((values[slot] for slot in day), reverse=True)[2]
        if third <= 0:
            continue
        for slot in day:
            is_far = values[slot] > third * (1 + Fraction(spike_permille, 1000))
            if values[slot] > spike_floor and is_far:
                masks[slot] |= Rule.SPIKE
    return masks


def missing(state: Row) -> int:
    """Count slots that should have a value and have none."""
    return sum(code in (State.EXPECTED, State.MISSING) for code in state)


def sum_difference(values: Row, state: Row, register_delta: int) -> int | None:
    """See `kernels.validate.sum_check`: sum minus register difference, None where a slot has no value."""
    if any(State(code) not in HAS_VALUE for code in state):
        return None
    return sum(values) - register_delta


def gaps(state: Row, reason: Row) -> list[tuple[int, int]]:
    """List the gaps to estimate as ``[first, last)``: runs of missing slots, cut where the power was off."""
    found: list[tuple[int, int]] = []
    for slot, (code, why) in enumerate(zip(state, reason, strict=True)):
        if code != State.MISSING or why == Reason.POWER_OFF:
            continue
        if found and found[-1][1] == slot:
            found[-1] = (found[-1][0], slot + 1)
        else:
            found.append((slot, slot + 1))
    return found


def half_up(value: Fraction) -> int:
    """Round to the nearest integer, halves towards plus infinity."""
    return floor(value + Fraction(1, 2))


def linear(values: Row, state: Row, reason: Row, doubted: Row | None = None, *, longest: int) -> dict[int, int]:
    """Give the slots `kernels.estimate.linear` fills, with their values."""
    filled: dict[int, int] = {}
    for first, last in gaps(state, reason):
        if first == 0 or last == len(values) or last - first > longest:
            continue
        ends = (first - 1, last)
        if any(state[end] != State.MEASURED or reason[end] == Reason.POWER_OFF for end in ends):
            continue
        if doubted is not None and any(doubted[end] for end in ends):
            continue
        before, after = values[first - 1], values[last]
        for slot in range(first, last):
            step = Fraction(slot - first + 1, last - first + 1)
            filled[slot] = half_up(before + (after - before) * step)
    return filled


def like_day(state: Row, reason: Row, reference: Sequence[Row], usable: Sequence[Row], *, most: int) -> dict[int, int]:
    """Give the slots `kernels.estimate.like_day` fills, with their values."""
    filled: dict[int, int] = {}
    for first, last in gaps(state, reason):
        for slot in range(first, last):
            days = [row[slot] for row, good in zip(reference, usable, strict=True) if good[slot]][:most]
            if days:
                filled[slot] = half_up(Fraction(sum(days), len(days)))
    return filled


def spread(shape: Row, total: int) -> list[int]:
    """Give the shares of `kernels.estimate.spread` for the gap's slots: differences of the rounded-down running total."""
    weights = list(shape) if any(shape) else [1] * len(shape)
    whole = sum(weights)
    quotient, rest = divmod(total, whole)
    due = [quotient * sofar + rest * sofar // whole for sofar in accumulate(weights, initial=0)]
    return [later - earlier for earlier, later in pairwise(due)]


def aggregate(values: Row, state: Row, edges: Row) -> list[tuple[int, list[int]]]:
    """Give each bucket's sum and its counts by state, as `kernels.aggregate.aggregate`."""
    result = []
    for first, last in pairwise(edges):
        slots = range(first, last)
        total = sum(values[slot] for slot in slots if State(state[slot]) in HAS_VALUE)
        result.append((total, [sum(state[slot] == code for slot in slots) for code in State]))
    return result


def maximum_demand(
    values: Row, state: Row, edges: Row, *, width: int, step: int | None = None
) -> list[tuple[int, int]]:
    """Give each bucket's greatest demand and its first slot, as `kernels.aggregate.maximum_demand`."""
    result = []
    for start, end in pairwise(edges):
        blocks = {}
        for first in range(start, end - width + 1, step or width):
            slots = range(first, first + width)
            if all(State(state[slot]) in HAS_VALUE for slot in slots):
                blocks[first] = sum(values[slot] for slot in slots)
        at = max(blocks, key=lambda first: blocks[first], default=-1)
        result.append((blocks.get(at, 0), at))
    return result


def extremes(values: Row, state: Row, edges: Row) -> list[tuple[int, int, int, int]]:
    """Give each bucket's least value, its slot, greatest value and its slot, as `kernels.aggregate.extremes`."""
    result = []
    for first, last in pairwise(edges):
        slots = [slot for slot in range(first, last) if State(state[slot]) in HAS_VALUE]
        low = min(slots, key=lambda slot: values[slot], default=-1)
        high = max(slots, key=lambda slot: values[slot], default=-1)
        result.append((values[low] if slots else 0, low, values[high] if slots else 0, high))
    return result


def _zigzag(number: int) -> int:
    """Fold a 32-bit difference into an unsigned 32-bit number, small ones first."""
    wrapped = (number + 2**31) % 2**32 - 2**31
    return 2 * wrapped if wrapped >= 0 else -2 * wrapped - 1
