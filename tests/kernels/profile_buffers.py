"""Load-profile buffers as Hypothesis draws them: what meters send, what they should not send, and damage."""

from hypothesis import strategies as st

from drivers.dlms import axdr
from drivers.dlms.axdr import NULL, Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.objects import CaptureObject
from drivers.obis import Obis
from drivers.profile import ClockProfile

DAY = 1_767_225_600
PERIOD = 900
CLOCK = CaptureObject(8, Obis(0, 0, 1, 0, 0), 2)
WIDTHS = {
    Tag.INTEGER: (-(2**7), 2**7 - 1), Tag.LONG: (-(2**15), 2**15 - 1), Tag.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    Tag.LONG64: (-(2**63), 2**63 - 1), Tag.UNSIGNED: (0, 2**8 - 1), Tag.LONG_UNSIGNED: (0, 2**16 - 1),
    Tag.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1), Tag.LONG64_UNSIGNED: (0, 2**64 - 1), Tag.ENUM: (0, 2**8 - 1),
}  # fmt: skip
DELTAS = {
    Tag.DELTA_INTEGER: (-(2**7), 2**7 - 1), Tag.DELTA_LONG: (-(2**15), 2**15 - 1),
    Tag.DELTA_DOUBLE_LONG: (-(2**31), 2**31 - 1), Tag.DELTA_UNSIGNED: (0, 2**8 - 1),
    Tag.DELTA_LONG_UNSIGNED: (0, 2**16 - 1), Tag.DELTA_DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
}  # fmt: skip


def _numbers(widths: dict[Tag, tuple[int, int]]) -> st.SearchStrategy[Data]:
    return st.sampled_from(sorted(widths)).flatmap(
        lambda tag: st.one_of(
            st.integers(max(0, widths[tag][0]), min(60, widths[tag][1])),
            st.integers(*widths[tag]),
            st.sampled_from(widths[tag]),
        ).map(lambda value: Data(tag, value))
    )


COUNTS = _numbers({Tag.LONG_UNSIGNED: WIDTHS[Tag.LONG_UNSIGNED], Tag.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1)})
INTEGERS = _numbers(WIDTHS)
REPEATS = st.one_of(st.just(NULL), _numbers(DELTAS))
OTHERS = st.one_of(
    st.sampled_from([Data(Tag.FLOAT32, 1.5), Data(Tag.FLOAT64, -2.25), Data(Tag.FLOAT32, float("nan"))]),
    st.sampled_from([Data(Tag.BOOLEAN, 1), Data(Tag.DONT_CARE, None), Data(Tag.BCD, b"\x12"), Data(Tag.TIME, b"\x01" * 4)]),
    st.binary(max_size=3).map(axdr.octet_string),
    st.text("01", max_size=17).map(lambda bits: Data(Tag.BIT_STRING, bits)),
    st.sampled_from([Data(Tag.VISIBLE_STRING, "abc"), Data(Tag.DATE, b"\x07\xea\x01\x01\xff")]),
)  # fmt: skip
NOT_HANDLED = st.sampled_from([Data(Tag.UTF8_STRING, "\u00e9"), axdr.array([axdr.unsigned(1)]), axdr.structure(NULL)])
UNCLEAR_STAMPS = st.sampled_from(
    [
        "ffffffffffffffffff800000", "07ea021dff0a000000000000", "07e8021dff0a000000000000", "07ea0101ff18000000000000",
        "07ea0101ff0a0000ff000001", "07ea0101ff0aff0000000000", "07ea0101ff0a00ff00000000", "00000101ff0a00ff00000000",
        "07ea0101ff0a000000034900", "07ea0101ff0a000000fcb700", "270f0c1fff173b3b00fcb8ff", "00010101ff00000000034802",
    ]
).map(bytes.fromhex)  # fmt: skip


@st.composite
def stamps(draw: st.DrawFn, slot: int) -> Data:
    """Mostly the stamp of the slot; else null, unclear, out of order or off the grid, without deviation, doubted."""
    kind = draw(st.integers(0, 19))
    if kind < 3:
        return NULL
    if kind == 3:
        return axdr.octet_string(draw(UNCLEAR_STAMPS))
    if kind == 4:
        slot = draw(st.integers(0, 12))
    instant = DAY + slot * PERIOD + (draw(st.integers(0, PERIOD)) if kind == 5 else 0)
    written = CosemDateTime.from_utc(instant, draw(st.sampled_from(["UTC", "UTC", "Europe/Berlin", "UTC-09:30"])))
    octets = written.encode()
    if kind == 6:
        octets = octets[:9] + b"\x80\x00" + octets[11:]
    if kind == 7:
        octets = octets[:11] + bytes([draw(st.integers(0, 255))])
    return Data(Tag.DATE_TIME, octets) if kind == 8 else axdr.octet_string(octets)


@st.composite
def buffers(draw: st.DrawFn) -> tuple[Data, list[CaptureObject]]:
    """A buffer as an item, and its columns; the stamps are in any of them."""
    width, stamp_at = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    stamp_at = min(stamp_at, width - 1)
    captured = [CLOCK if at == stamp_at else CaptureObject(3, Obis(1, 0, at + 1, 29, 0), 2) for at in range(width)]
    is_odd = draw(st.integers(0, 3)) == 0
    cells = st.one_of(COUNTS, COUNTS, REPEATS, INTEGERS, *([OTHERS, NOT_HANDLED] if is_odd else []))
    rows: list[Data] = []
    for slot in range(draw(st.integers(0, 9))):
        items = [draw(stamps(slot)) if at == stamp_at else draw(cells) for at in range(width)]
        if draw(st.integers(0, 29)) == 0:
            rows.append(NULL)
        elif draw(st.integers(0, 59)) == 0:
            rows.append(draw(st.sampled_from([axdr.structure(*items[1:]), axdr.unsigned(1), axdr.array(items)])))
        else:
            rows.append(axdr.structure(*items))
    if draw(st.booleans()):
        rows.reverse()
    return axdr.array(rows), captured


CLOCKS = st.builds(
    ClockProfile,
    zone=st.sampled_from(["UTC", "UTC+05:30", "Europe/Berlin", "Etc/GMT+3"]),
    stamp=st.sampled_from(["start", "end"]),
    deviation=st.sampled_from(["meter", "meter", "ignore"]),
)
STEPS = st.sampled_from([0, PERIOD, -PERIOD, 2**31])


@st.composite
def compact_buffers(draw: st.DrawFn) -> tuple[bytes, list[CaptureObject]]:
    """A buffer as the octets of a compact-array, and its columns; the stamps are in any of them."""
    width = draw(st.integers(1, 4))
    stamp_at = draw(st.integers(0, width - 1))
    captured = [CLOCK if at == stamp_at else CaptureObject(3, Obis(1, 0, at + 1, 29, 0), 2) for at in range(width)]
    cells = st.one_of(COUNTS, INTEGERS, REPEATS, OTHERS, NOT_HANDLED)
    models = [draw(stamps(0)) if at == stamp_at else draw(cells) for at in range(width)]
    content = b""
    for slot in range(draw(st.integers(0, 9))):
        for at, model in enumerate(models):
            item = draw(stamps(slot) if at == stamp_at else cells)
            content += axdr.encode(item if item.tag is model.tag else model)[1:]
    described = bytes(model.tag for model in models)
    return compact(described, content), captured


def compact(described: bytes, content: bytes) -> bytes:
    """Give the octets of a compact-array of structures of simple items."""
    head = bytes((Tag.COMPACT_ARRAY, Tag.STRUCTURE)) + axdr.encode_length(len(described)) + described
    return head + axdr.encode_length(len(content)) + content
