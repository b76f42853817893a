"""A load profile's buffer, from A-XDR octets straight to columns; and a column of counts onto its grid of intervals.

IEC 62056-6-2, class 7 (profile generic): an array of rows, each a structure of as many items as there are columns. Null-data in a
row repeats the value before; in the column of stamps it means one step after the row before. A delta is added to the value before.

What comes out is what the Python codec (``drivers.dlms.axdr`` and ``drivers.dlms.objects``) makes of the same octets, for the
buffers that meters mostly send: an array of rows, or a compact-array, whose rows are described once and have no tags. Others are
told apart, never guessed: `NOT_HANDLED` where an item is an array, a structure, a compact-array or a UTF-8 string, where an integer leaves 64 signed bits, where a stamp's instant depends on a time zone, and from
`MAX_ITEMS` on. Then the caller takes the Python codec. There is no recursion: an item below a row's items is not handled.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kernels.quality cimport CRule

NOT_HANDLED = -1
NEEDS_STEP = -2
MAX_COLUMNS = 255
MAX_ITEMS = 1_000_000
MAX_LENGTH = 8 * 2**20
MAX_STEP = 2**32

cdef enum:
    C_NOT_HANDLED = -1
    C_NEEDS_STEP = -2
    TRUNCATED = -3
    SURPLUS = -4
    UNKNOWN_TAG = -5
    BAD_LENGTH = -6
    BAD_WIDTH = -7
    BAD_STAMP = -8
    NOTHING_BEFORE = -9
    C_MAX_COLUMNS = 255
    C_MAX_ITEMS = 1000000
    C_MAX_LENGTH = 8388608
    STAMP_SIZE = 12
    MAX_DEVIATION = 840  # [min]
    UNSPECIFIED = 0xFF
    UNTRUSTED = 0x03  # clock status: invalid value, doubtful value
    TAG_NULL = 0
    TAG_ARRAY = 1
    TAG_STRUCTURE = 2
    TAG_OCTET_STRING = 9
    TAG_COMPACT_ARRAY = 19
    TAG_FLOAT32 = 23
    TAG_FLOAT64 = 24
    TAG_DATE_TIME = 25

cdef dict FAULTS = {
    <int>TRUNCATED: "ends too early",
    <int>SURPLUS: "goes on behind its last row",
    <int>UNKNOWN_TAG: "holds a tag that does not exist",
    <int>BAD_LENGTH: "holds a length field that cannot be",
    <int>BAD_WIDTH: "holds a row of another width",
    <int>BAD_STAMP: "holds a stamp that is no date-time",
    <int>NOTHING_BEFORE: "holds a delta or a null stamp with nothing before it to count from",
}

cdef enum Kind:
    UNKNOWN = 0
    NULL_DATA
    SIGNED
    UNSIGNED
    DELTA_SIGNED
    DELTA_UNSIGNED
    OPAQUE  # kept by its place: no integer
    OCTETS  # the same, with a length in octets
    BITS  # the same, with a length in bits
    COMPOSITE

cdef uint8_t[256] KIND
cdef uint8_t[256] SIZE  # of the content [octet]


cdef void describe(int tag, Kind kind, int size) noexcept:
    KIND[tag] = kind
    SIZE[tag] = size


cdef void fill_tables() noexcept:
    # IEC 62056-6-2, table of common data types.
    describe(0, NULL_DATA, 0)
    describe(1, COMPOSITE, 0)
    describe(2, COMPOSITE, 0)
    describe(3, OPAQUE, 1)
    describe(4, BITS, 0)
    describe(5, SIGNED, 4)
    describe(6, UNSIGNED, 4)
    describe(9, OCTETS, 0)
    describe(10, OCTETS, 0)
    describe(12, COMPOSITE, 0)  # whether a string is UTF-8 is for the Python codec to say
    describe(13, OPAQUE, 1)
    describe(15, SIGNED, 1)
    describe(16, SIGNED, 2)
    describe(17, UNSIGNED, 1)
    describe(18, UNSIGNED, 2)
    describe(19, COMPOSITE, 0)
    describe(20, SIGNED, 8)
    describe(21, UNSIGNED, 8)
    describe(22, UNSIGNED, 1)
    describe(23, OPAQUE, 4)
    describe(24, OPAQUE, 8)
    describe(25, OPAQUE, 12)
    describe(26, OPAQUE, 5)
    describe(27, OPAQUE, 4)
    describe(28, DELTA_SIGNED, 1)
    describe(29, DELTA_SIGNED, 2)
    describe(30, DELTA_SIGNED, 4)
    describe(31, DELTA_UNSIGNED, 1)
    describe(32, DELTA_UNSIGNED, 2)
    describe(33, DELTA_UNSIGNED, 4)
    describe(255, OPAQUE, 0)


fill_tables()


cdef inline int take_length(const uint8_t[::1] data, Py_ssize_t* at, Py_ssize_t* length) noexcept nogil:
    """Read an A-XDR length: one octet below 128, else 1 to 4 octets follow. Advances ``at``."""
    cdef uint64_t result = 0
    cdef int first, size, i
    if at[0] >= data.shape[0]:
        return TRUNCATED
    first = data[at[0]]
    at[0] += 1
    if first < 0x80:
        length[0] = first
        return 0
    size = first - 0x80
    if size < 1 or size > 4:
        return BAD_LENGTH
    if data.shape[0] - at[0] < size:
        return TRUNCATED
    for i in range(size):
        result = result << 8 | data[at[0] + i]
    at[0] += size
    if result > C_MAX_LENGTH:
        return BAD_LENGTH
    length[0] = <Py_ssize_t>result
    return 0


cdef struct Compact:
    Py_ssize_t described  # where the tags of the columns stand, one octet each
    Py_ssize_t columns
    Py_ssize_t content  # where the first row begins


cdef Py_ssize_t find_compact(const uint8_t[::1] data, Compact* found) noexcept nogil:
    """Read the description of a compact-array and count its rows. IEC 62056-6-2, ``compact-array``.

    `NOT_HANDLED` unless its rows are structures of simple items and fill it to its end, which is the end of the data.
    """
    cdef Py_ssize_t at = 2, size = 0, width = 0, rows = 0, column
    cdef bint is_fixed = True
    cdef int tag
    if data.shape[0] < 2 or data[1] != TAG_STRUCTURE or take_length(data, &at, &found.columns):
        return C_NOT_HANDLED
    if not 1 <= found.columns <= C_MAX_COLUMNS or data.shape[0] - at < found.columns:
        return C_NOT_HANDLED
    found.described = at
    for column in range(found.columns):
        tag = data[at + column]
        if KIND[tag] == COMPOSITE or KIND[tag] == UNKNOWN:
            return C_NOT_HANDLED
        is_fixed = is_fixed and KIND[tag] != OCTETS and KIND[tag] != BITS
        width += SIZE[tag]
    at += found.columns
    if take_length(data, &at, &size) or data.shape[0] - at != size:
        return C_NOT_HANDLED
    found.content = at
    if is_fixed:
        return size // width if width and size % width == 0 else C_NOT_HANDLED
    while at < data.shape[0]:
        if rows * (found.columns + 1) >= C_MAX_ITEMS:
            return C_NOT_HANDLED
        for column in range(found.columns):
            tag = data[found.described + column]
            size = SIZE[tag]
            if (KIND[tag] == OCTETS or KIND[tag] == BITS) and take_length(data, &at, &size):
                return C_NOT_HANDLED
            if KIND[tag] == BITS:
                size = (size + 7) // 8
            if data.shape[0] - at < size:
                return C_NOT_HANDLED
            at += size
        rows += 1
    return rows


cdef inline int64_t days_from_civil(int year, int month, int day) noexcept nogil:
    """Count days since 1970-01-01 in the Gregorian calendar, years beginning in March so that 29 February comes last."""
    cdef int64_t y = year - (month <= 2)
    cdef int64_t day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return y * 365 + y // 4 - y // 100 + y // 400 + day_of_year - 719468


cdef inline int days_in(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef struct Clock:
    bint has_offset  # is local time a fixed time away from UTC
    int64_t offset  # [s], positive east
    bint believes  # the deviation, where it is specified


cdef int read_stamp(
    const uint8_t[::1] data, Py_ssize_t at, Clock* clock, bint* has_instant, int64_t* instant
) noexcept nogil:
    """Read the 12 octets of a date-time; ``has_instant`` is 0 where its fields leave open which instant is meant."""
    cdef int year = data[at] << 8 | data[at + 1]
    cdef int month = data[at + 2], day = data[at + 3], hour = data[at + 5], minute = data[at + 6], second = data[at + 7]
    cdef int deviation = data[at + 9] << 8 | data[at + 10]
    cdef int64_t local
    if deviation >= 0x8000:
        deviation -= 0x10000
    if deviation != -0x8000 and (deviation > MAX_DEVIATION or deviation < -MAX_DEVIATION):
        return BAD_STAMP
    if second == UNSPECIFIED:
        second = 0
    has_instant[0] = False
    if year < 1 or year > 9999 or month < 1 or month > 12 or hour > 23 or minute > 59 or second > 59:
        return 0
    if day < 1 or day > days_in(year, month):
        return 0
    local = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
    if deviation != -0x8000 and clock.believes:
        instant[0] = local + deviation * 60
    elif clock.has_offset:
        instant[0] = local - clock.offset
    else:
        return C_NOT_HANDLED
    has_instant[0] = True
    return 0


cdef Py_ssize_t decode_into(
    const uint8_t[::1] data,
    Compact* compact,  # NULL for an array
    Py_ssize_t stamp_column,
    int64_t step,
    Clock* clock,
    int64_t[:, ::1] values,
    uint8_t[:, ::1] types,
    int64_t[::1] stamps,
    uint8_t[::1] status,
) noexcept nogil:
    cdef Py_ssize_t columns = values.shape[0], rows = values.shape[1], length = data.shape[0]
    cdef Py_ssize_t at = 1, count = 0, row, column, start, size, emitted = 0
    cdef int64_t[C_MAX_COLUMNS] value
    cdef uint8_t[C_MAX_COLUMNS] type_
    cdef bint has_before = False, has_instant = False, lacks_stamp = False
    cdef int64_t instant = 0, number
    cdef uint64_t raw
    cdef uint8_t instant_status = 0
    cdef int tag, kind, fault, i
    if compact != NULL:
        at = compact.content
    else:
        fault = take_length(data, &at, &count)
        if fault:
            return fault
    for row in range(rows):
        if compact == NULL:
            if at >= length:
                return TRUNCATED
            tag = data[at]
            at += 1
            if tag == TAG_NULL:
                has_instant = False
                continue
            if tag != TAG_STRUCTURE and tag != TAG_ARRAY:
                return C_NOT_HANDLED if KIND[tag] != UNKNOWN else UNKNOWN_TAG
            fault = take_length(data, &at, &count)
            if fault:
                return fault
            if count != columns:
                return BAD_WIDTH
        for column in range(columns):
            if compact != NULL:
                tag = data[compact.described + column]
            elif at >= length:
                return TRUNCATED
            else:
                tag = data[at]
                at += 1
            start = at
            kind = KIND[tag]
            if kind == NULL_DATA:
                if not has_before:
                    value[column] = 0
                    type_[column] = TAG_NULL
                if column == stamp_column:
                    lacks_stamp = True
                    if step == 0:
                        has_instant = False
                    elif not has_before:
                        return NOTHING_BEFORE
                    else:
                        instant += step
                continue
            size = SIZE[tag]
            if kind == OCTETS or kind == BITS:
                fault = take_length(data, &at, &size)
                if fault:
                    return fault
                if kind == BITS:
                    size = (size + 7) // 8
            elif kind == COMPOSITE:
                return C_NOT_HANDLED
            elif kind == UNKNOWN:
                return UNKNOWN_TAG
            if length - at < size:
                return TRUNCATED
            if column == stamp_column:
                if (tag != TAG_OCTET_STRING and tag != TAG_DATE_TIME) or size != STAMP_SIZE:
                    return C_NOT_HANDLED if tag == 10 else BAD_STAMP
                fault = read_stamp(data, at, clock, &has_instant, &instant)
                if fault:
                    return fault
                instant_status = data[at + 11]
            if kind >= OPAQUE:
                value[column] = start
                type_[column] = tag
                at += size
                continue
            raw = 0
            for i in range(<int>size):
                raw = raw << 8 | data[at + i]
            at += size
            if kind == SIGNED or kind == DELTA_SIGNED:
                number = <int64_t>(raw << (64 - 8 * size)) >> (64 - 8 * size)
            elif raw > <uint64_t>INT64_MAX:
                return C_NOT_HANDLED
            else:
                number = <int64_t>raw
            if kind == SIGNED or kind == UNSIGNED:
                value[column] = number
                type_[column] = tag
                continue
            if not has_before or (KIND[type_[column]] != SIGNED and KIND[type_[column]] != UNSIGNED):
                return NOTHING_BEFORE
            if (number > 0 and value[column] > INT64_MAX - number) or (number < 0 and value[column] < INT64_MIN - number):
                return C_NOT_HANDLED
            value[column] += number
        has_before = True
        if has_instant:
            for column in range(columns):
                values[column, emitted] = value[column]
                types[column, emitted] = type_[column]
            stamps[emitted] = instant
            status[emitted] = instant_status
            emitted += 1
    if at != length:
        return SURPLUS
    if lacks_stamp and step == 0:
        return C_NEEDS_STEP
    return emitted


def count_rows(const uint8_t[::1] data not None):
    """Give the number of rows that a buffer says it has, or `NOT_HANDLED` where it is no array of rows that we read.

    Raises `ValueError` where it cannot have that many.
    """
    cdef Py_ssize_t at = 1, count = 0
    cdef int fault
    cdef Compact compact
    if data.shape[0] > C_MAX_LENGTH:
        raise ValueError(f"buffer of {data.shape[0]} octets is larger than {MAX_LENGTH}")
    if data.shape[0] == 0:
        raise ValueError("buffer of 0 octets ends too early")
    if data[0] == TAG_COMPACT_ARRAY:
        return find_compact(data, &compact)
    if data[0] != TAG_ARRAY and data[0] != TAG_STRUCTURE:
        return NOT_HANDLED
    fault = take_length(data, &at, &count)
    if fault == 0 and count > data.shape[0] - at:
        fault = TRUNCATED
    if fault:
        raise ValueError(f"buffer of {data.shape[0]} octets {FAULTS[fault]}")
    return count


def decode_profile(
    const uint8_t[::1] data not None,
    Py_ssize_t stamp_column,
    int64_t step,
    offset,
    bint believes_deviation,
    int64_t[:, ::1] values not None,
    uint8_t[:, ::1] types not None,
    int64_t[::1] stamps not None,
    uint8_t[::1] status not None,
):
    """Decode a buffer into columns; return how many rows say an instant, in the order sent. Only those are written.

    ``values``, ``types``: shape (columns, rows), rows as `count_rows` gives them. ``types`` is each item's tag with null-data and
    deltas undone, 0 where nothing came yet. ``values`` is the number of an integer, the offset of the content of anything else, behind its tag.
    ``stamps``: shape (rows,), UTC of the column ``stamp_column``. [s]  ``status``: its clock status octet.
    ``step``: what a null stamp adds to the one before [s], 0 where that is not known; the answer is then `NEEDS_STEP` if one occurs.
    ``offset``: local time minus UTC, where it is always the same [s]; None where it is not. ``believes_deviation``: use a stamp's own.

    `NOT_HANDLED` where the buffer may be right, but not for this decoder. Raises `ValueError` for damage, for arrays of other
    shapes, and for columns, rows or a step out of bounds.
    """
    cdef Py_ssize_t columns = values.shape[0], rows = values.shape[1], outcome
    cdef Clock clock
    cdef Compact compact
    cdef Compact* described = NULL
    if not 1 <= columns <= C_MAX_COLUMNS or not 0 <= stamp_column < columns:
        raise ValueError(f"column {stamp_column} of {columns}; 1 to {MAX_COLUMNS} columns are taken")
    if types.shape[0] != columns or types.shape[1] != rows or stamps.shape[0] != rows or status.shape[0] != rows:
        raise ValueError(f"types, stamps and status do not have the shape of values, {columns} columns of {rows} rows")
    if not -MAX_STEP <= step <= MAX_STEP:
        raise ValueError(f"step {step} s is not in -{MAX_STEP}..{MAX_STEP}")
    outcome = count_rows(data)
    if outcome == C_NOT_HANDLED:
        return NOT_HANDLED
    if outcome != rows:
        raise ValueError(f"buffer of {outcome} rows, values has room for {rows}")
    if rows * (columns + 1) >= C_MAX_ITEMS:
        return NOT_HANDLED
    if data[0] == TAG_COMPACT_ARRAY:
        find_compact(data, &compact)
        if compact.columns != columns:
            return NOT_HANDLED
        described = &compact
    clock.has_offset = offset is not None
    clock.offset = 0 if offset is None else offset
    clock.believes = believes_deviation
    with nogil:
        outcome = decode_into(data, described, stamp_column, step, &clock, values, types, stamps, status)
    if outcome <= TRUNCATED:
        raise ValueError(f"buffer of {rows} rows, {data.shape[0]} octets, {FAULTS[outcome]}")
    return outcome


cdef int lay(
    const int64_t[::1] values, const uint8_t[::1] types, const int64_t[::1] stamps, const uint8_t[::1] status,
    int64_t first, int64_t period, int exponent, int32_t[::1] counts, uint8_t[::1] has_value, uint32_t[::1] rules,
) noexcept nogil:
    cdef Py_ssize_t i, slot
    cdef int64_t away, number, factor = 1
    cdef bint fits
    cdef int digit
    for digit in range(min(18, exponent if exponent > 0 else -exponent)):
        factor *= 10
    for i in range(values.shape[0]):
        away = stamps[i] - first
        if types[i] == TAG_NULL or away < 0 or away % period or away // period >= counts.shape[0]:
            continue
        slot = <Py_ssize_t>(away // period)
        if types[i] == TAG_FLOAT32 or types[i] == TAG_FLOAT64:
            return C_NOT_HANDLED
        number = values[i]
        fits = KIND[types[i]] == SIGNED or KIND[types[i]] == UNSIGNED
        if fits and exponent < 0:
            # From 10^19 on, no whole number of 64 bits but 0 can be divided.
            fits = number == 0 or (exponent >= -18 and number % factor == 0)
            number = number // factor
        if fits and exponent > 0 and number != 0:
            # The first bound keeps the product within 64 bits.
            fits = exponent <= 9 and -<int64_t>0x7FFFFFFF <= number <= 0x7FFFFFFF
            if fits:
                number *= factor
        if not fits or number > 0x7FFFFFFF or number < -<int64_t>0x7FFFFFFF:
            rules[slot] |= CRule.RANGE
        elif not has_value[slot]:
            has_value[slot] = 1
            counts[slot] = <int32_t>number
            rules[slot] = CRule.METER_STATUS if status[i] != UNSPECIFIED and status[i] & UNTRUSTED else 0
        elif counts[slot] != number:
            rules[slot] |= CRule.CONFLICT
    return 0


def lay_intervals(
    const int64_t[::1] values not None,
    const uint8_t[::1] types not None,
    const int64_t[::1] stamps not None,
    const uint8_t[::1] status not None,
    int64_t first,
    int64_t period,
    int exponent,
    int32_t[::1] counts not None,
    uint8_t[::1] has_value not None,
    uint32_t[::1] rules not None,
):
    """Lay one column of `decode_profile` onto slots; what lies in them already counts as come before. Returns 0.

    ``values``, ``types``, ``stamps``, ``status``: shape (rows,). ``counts``, ``has_value``, ``rules``: shape (slots,), to begin with
    all 0. ``first``: stamp of the first slot [s], ``period``: distance of slots [s]. A stamp off these is left out, and so is a null.
    Counts are multiplied by 10 to the ``exponent``, exactly. Bits of ``rules``: RANGE for what is no count, would lose a digit or does
    not fit 31 bits and a sign; CONFLICT for a second count that differs, the first is kept; METER_STATUS where the clock status of
    a kept count says that the stamp is not to be trusted.

    `NOT_HANDLED` where a value is a float; the slots are then undefined. Raises `ValueError` for arrays of other shapes or a period
    below 1.
    """
    cdef Py_ssize_t n = values.shape[0]
    cdef int outcome
    if types.shape[0] != n or stamps.shape[0] != n or status.shape[0] != n:
        raise ValueError(f"types, stamps and status do not have the shape of values, {n} rows")
    if has_value.shape[0] != counts.shape[0] or rules.shape[0] != counts.shape[0]:
        raise ValueError(f"has_value and rules do not have the shape of counts, {counts.shape[0]} slots")
    if period < 1:
        raise ValueError(f"period {period} s is not above 0")
    with nogil:
        outcome = lay(values, types, stamps, status, first, period, exponent, counts, has_value, rules)
    return outcome
