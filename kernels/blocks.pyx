"""The codecs inside a stored block: values as packed differences, qualities as runs, and both together as the block's body.

A row is what one block holds: the slots of all its channels, one after the other. ``edges`` cut it into channels: int64,
shape (channels + 1,), from 0 to the row's slots, never falling. Which slots have a value is known from the qualities.

Values, version 2:

    0x02 | channel | channel ...     a channel without any value takes no byte
    channel     base | widths | mini-blocks, over the c values of the channel; a slot without value costs nothing
    base        its first value, zigzag, LEB128, at most 5 bytes
    widths      for every 16 values 5 bits, lowest first, filled up to a whole byte with zero bits; 31 stands for 32
    mini-block  one field of that width for each of the 16 values, lowest bit first; only the last one is shorter,
                filled up to a whole byte with zero bits
    field       zigzag(value - value before), modulo 2**32; 0 for the channel's first

Values, version 1, which are read and no more written, are one channel whatever the edges are, with the slots in place of the
values and a zero field for a slot without:

    0x01 | base | (width in a byte | mini-block)*              base 0 where no slot has a value

Runs, version 2:

    0x02 | code | (2 * length + 1 | 2 * length, code)*         LEB128, at most 5 bytes each
    length      slots that the code before goes on for, at least 1; the last code holds for all slots that remain
    + 1         the next code is the one before the last; so a gap amid measured slots costs two bytes

Runs, version 1, which are read and no more written:

    0x01 | (code, length >= 1)* | code

Body, as it stands between the head and the checksum of a stored block (docs/decisions/block-format.md):

    (length in 4 bytes, little-endian | part) three times: values, runs of state + 256 * reason, runs of rule masks

There is exactly one encoding of any input but for the widths; decoders refuse everything else, so damage that survives
cannot change the length of a row. Their time and memory are bounded by the row, whatever the input says.

Long, since encoder and decoder of both halves share their inner functions, which only within one module are compiled into the loops.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from kernels.quality import HAS_VALUE as _HAS_VALUE
from kernels.quality import State as _State

cdef extern from "miniblock.h" nogil:
    const int SLACK, SEGMENT_FINE, SEGMENT_TRUNCATED
    size_t segment_bound(size_t count)
    size_t encode_segment(const int32_t* values, size_t count, uint8_t* out)
    int decode_segment(
        const uint8_t** at, const uint8_t* end, const uint8_t* readable, size_t count, uint32_t base, int32_t* out
    )
    int skip_segment(const uint8_t** at, const uint8_t* end, size_t count)

ctypedef const uint8_t* Octets

VALUES_VERSION = 2
RUNS_VERSION = 2

cdef enum:
    VERSION = 2
    OLD_VERSION = 1
    MINI_BLOCK = 16
    MAX_WIDTH = 32
    MAX_LEB = 5
    LENGTH = 4  # octets before each part of a body
    PARTS = 3
    MAX_RUN_COST = 6  # octets of a run by slot: a length above 63 takes more than one, but is that many slots

cdef enum Fault:
    FINE = 0
    TRUNCATED
    TRAILING
    UNKNOWN_VERSION
    BAD_NUMBER
    BAD_WIDTH
    BAD_PADDING
    VALUE_WITHOUT_SLOT
    BAD_RUN
    BAD_BASE
    BAD_STATE
    BAD_SPAN

cdef struct Run:
    uint32_t code
    uint32_t end  # first slot behind it

cdef dict FAULTS = {
    <int>TRUNCATED: "ends too early",
    <int>TRAILING: "goes on behind its last slot",
    <int>UNKNOWN_VERSION: "has a codec version this program does not know",
    <int>BAD_NUMBER: "holds a number that is longer than 32 bits or needlessly long",
    <int>BAD_WIDTH: "holds a bit width above 32",
    <int>BAD_PADDING: "has bits set in its padding",
    <int>VALUE_WITHOUT_SLOT: "holds a value for a slot that has none",
    <int>BAD_RUN: "holds a run that is empty, repeats a code, or is longer than the row",
    <int>BAD_BASE: "holds a channel that does not begin with its base",
    <int>BAD_STATE: "holds a state this program does not know",
    <int>BAD_SPAN: "does not lie within its buffer",
}

cdef uint8_t[256] CARRIES_VALUE
memset(CARRIES_VALUE, 0, 256)
for _state in _HAS_VALUE:
    CARRIES_VALUE[<uint8_t>_state] = 1
cdef uint32_t NEWEST_STATE = max(_State)


cdef inline uint32_t zigzag(uint32_t delta) noexcept nogil:
    return (delta << 1) ^ (0 - (delta >> 31))


cdef inline uint32_t unzigzag(uint32_t code) noexcept nogil:
    return (code >> 1) ^ (0 - (code & 1))


cdef inline Py_ssize_t put_leb(uint8_t* out, uint32_t number) noexcept nogil:
    cdef Py_ssize_t used = 0
    while number >= 0x80:
        out[used] = <uint8_t>(number | 0x80)
        number >>= 7
        used += 1
    out[used] = <uint8_t>number
    return used + 1


cdef inline Fault take_leb(const uint8_t** at, const uint8_t* end, uint32_t* number) noexcept nogil:
    cdef uint64_t result = 0
    cdef uint8_t byte
    cdef int i
    for i in range(MAX_LEB):
        if at[0] == end:
            return TRUNCATED
        byte = at[0][0]
        at[0] += 1
        result |= <uint64_t>(byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if result > <uint64_t>0xFFFFFFFF or (byte == 0 and i > 0):
                return BAD_NUMBER
            number[0] = <uint32_t>result
            return FINE
    return BAD_NUMBER


cdef inline Py_ssize_t count_values(const uint8_t* has_value, Py_ssize_t n) noexcept nogil:
    cdef uint32_t count = 0
    cdef Py_ssize_t i
    for i in range(n):
        count += has_value[i] != 0
    return count


cdef Py_ssize_t pack(
    const int32_t* values, const uint8_t* has_value, const int64_t[::1] edges, int32_t* dense, uint8_t* out
) noexcept nogil:
    """Write one row; ``dense`` has room for its longest channel. Returns bytes used."""
    cdef Py_ssize_t channel, first, n, count, i, used = 1
    cdef const int32_t* source
    out[0] = VERSION
    for channel in range(edges.shape[0] - 1):
        first = edges[channel]
        n = edges[channel + 1] - first
        count = count_values(has_value + first, n)
        if count == 0:
            continue
        source = values + first
        if count < n:
            count = 0
            for i in range(n):
                # Written always, kept where there is a value: no branch to guess wrong.
                dense[count] = values[first + i]
                count += has_value[first + i] != 0
            source = dense
        used += put_leb(out + used, zigzag(<uint32_t>source[0]))
        used += encode_segment(source, count, out + used)
    return used


cdef Fault unpack(
    const uint8_t* at, const uint8_t* end, const uint8_t* readable, const uint8_t* has_value, const int64_t[::1] edges,
    Py_ssize_t first_channel, Py_ssize_t last_channel, int32_t* dense, int32_t* out,
) noexcept nogil:
    """Read the channels from ``first_channel`` up to ``last_channel``, exclusive, of one row; `pack`."""
    cdef Py_ssize_t channel, first, n, count, i
    cdef uint32_t base = 0
    cdef int32_t* target
    cdef int32_t* slots
    cdef int fault
    if at >= end:
        return TRUNCATED
    at += 1
    if (at - 1)[0] == OLD_VERSION:
        # One channel whatever the edges are: all of it is read.
        fault = unpack_old(at, end, has_value, edges[edges.shape[0] - 1], dense)
        first = edges[first_channel]
        if fault == FINE and edges[last_channel] > first:
            memcpy(out, dense + first, (edges[last_channel] - first) * sizeof(int32_t))
        return <Fault>fault
    if (at - 1)[0] != VERSION:
        return UNKNOWN_VERSION
    for channel in range(last_channel):
        first = edges[channel]
        n = edges[channel + 1] - first
        count = count_values(has_value + first, n)
        if count == 0:
            if n and channel >= first_channel:
                memset(out + (first - edges[first_channel]), 0, n * sizeof(int32_t))
            continue
        fault = take_leb(&at, end, &base)
        if fault != FINE:
            return <Fault>fault
        if channel < first_channel:
            if skip_segment(&at, end, count) != SEGMENT_FINE:
                return TRUNCATED
            continue
        slots = out + (first - edges[first_channel])
        target = slots if count == n else dense
        fault = decode_segment(&at, end, readable, count, unzigzag(base), target)
        if fault != SEGMENT_FINE:
            return TRUNCATED if fault == SEGMENT_TRUNCATED else BAD_PADDING
        if <uint32_t>target[0] != unzigzag(base):
            return BAD_BASE
        if count < n:
            count = 0
            for i in range(n):
                if has_value[first + i]:
                    slots[i] = dense[count]
                    count += 1
                else:
                    slots[i] = 0
    return FINE if at == end or last_channel < edges.shape[0] - 1 else TRAILING


cdef Fault unpack_old(
    const uint8_t* at, const uint8_t* end, const uint8_t* has_value, Py_ssize_t n, int32_t* out
) noexcept nogil:
    """Read a row of version 1, behind its version byte."""
    cdef uint32_t before = 0, field
    cdef uint64_t waiting, mask
    cdef Py_ssize_t block, first, i, size
    cdef int width, held
    cdef Fault fault = take_leb(&at, end, &before)
    if fault != FINE:
        return fault
    before = unzigzag(before)
    for block in range((n + MINI_BLOCK - 1) // MINI_BLOCK):
        first = block * MINI_BLOCK
        size = min(<Py_ssize_t>MINI_BLOCK, n - first)
        if at == end:
            return TRUNCATED
        width = at[0]
        at += 1
        if width > MAX_WIDTH:
            return BAD_WIDTH
        if end - at < (size * width + 7) // 8:
            return TRUNCATED
        mask = (<uint64_t>1 << width) - 1
        waiting = 0
        held = 0
        for i in range(size):
            while held < width:
                waiting |= <uint64_t>at[0] << held
                at += 1
                held += 8
            field = <uint32_t>(waiting & mask)
            waiting >>= width
            held -= width
            if has_value[first + i]:
                before += unzigzag(field)
                out[first + i] = <int32_t>before
            else:
                if field:
                    return VALUE_WITHOUT_SLOT
                out[first + i] = 0
        if waiting:
            return BAD_PADDING
    return FINE if at == end else TRAILING


cdef inline Py_ssize_t run_end(const uint32_t* codes, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    cdef uint32_t code = codes[first], differs
    cdef Py_ssize_t at = first + 1, i
    while n - at >= 16:
        differs = 0
        for i in range(16):
            differs |= codes[at + i] ^ code
        if differs:
            break
        at += 16
    while at < n and codes[at] == code:
        at += 1
    return at


cdef Py_ssize_t roll(const uint32_t* codes, Py_ssize_t n, uint8_t* out) noexcept nogil:
    """Write a row of codes as runs. Returns bytes used."""
    cdef Py_ssize_t first = 0, last, used = 1
    cdef uint32_t before = 0
    cdef bint has_before = False
    out[0] = VERSION
    if n == 0:
        return used
    used += put_leb(out + used, codes[0])
    while True:
        last = run_end(codes, first, n)
        if last == n:
            return used
        if has_before and codes[last] == before:
            used += put_leb(out + used, <uint32_t>(last - first) << 1 | 1)
        else:
            used += put_leb(out + used, <uint32_t>(last - first) << 1)
            used += put_leb(out + used, codes[last])
        before = codes[first]
        has_before = True
        first = last


cdef Fault unroll(
    const uint8_t* at, const uint8_t* end, Py_ssize_t n, Run* runs, Py_ssize_t* count
) noexcept nogil:
    """Read a row of codes as runs, which have room for one of each slot; `roll`."""
    cdef Py_ssize_t used = 0
    cdef uint32_t slot = 0, code = 0, before = 0, number = 0
    cdef bint has_before = False
    cdef Fault fault
    if at >= end:
        return TRUNCATED
    at += 1
    if (at - 1)[0] == OLD_VERSION:
        return unroll_old(at, end, n, runs, count)
    if (at - 1)[0] != VERSION:
        return UNKNOWN_VERSION
    if n:
        fault = take_leb(&at, end, &code)
        if fault != FINE:
            return fault
    while at < end and n:
        fault = take_leb(&at, end, &number)
        if fault != FINE:
            return fault
        if number >> 1 == 0 or number >> 1 >= n - slot:
            return BAD_RUN
        slot += number >> 1
        runs[used] = Run(code, slot)
        used += 1
        if number & 1:
            if not has_before:
                return BAD_RUN
            number = before
        else:
            fault = take_leb(&at, end, &number)
            if fault != FINE:
                return fault
            if number == code or (has_before and number == before):
                return BAD_RUN
        before = code
        has_before = True
        code = number
    if n:
        runs[used] = Run(code, <uint32_t>n)
        used += 1
    count[0] = used
    return FINE if at == end else TRAILING


cdef Fault unroll_old(
    const uint8_t* at, const uint8_t* end, Py_ssize_t n, Run* runs, Py_ssize_t* count
) noexcept nogil:
    """Read a row of codes of version 1, behind its version byte."""
    cdef Py_ssize_t used = 0
    cdef uint32_t slot = 0, code = 0, before = 0, run = 0
    cdef Fault fault
    while slot < n:
        fault = take_leb(&at, end, &code)
        if fault != FINE:
            return fault
        if slot and code == before:
            return BAD_RUN
        before = code
        if at == end:
            run = <uint32_t>(n - slot)
        else:
            fault = take_leb(&at, end, &run)
            if fault != FINE:
                return fault
            if run == 0 or run >= n - slot:
                return BAD_RUN
        slot += run
        runs[used] = Run(code, slot)
        used += 1
    count[0] = used
    return FINE if at == end else TRAILING


cdef void lay_out(
    const Run* runs, Py_ssize_t count, uint32_t first, uint32_t last, uint32_t* out
) noexcept nogil:
    """Write the codes of the slots from ``first`` up to ``last``, exclusive."""
    cdef uint32_t slot = first, i
    cdef Py_ssize_t run
    for run in range(count):
        for i in range(slot, min(runs[run].end, last)):
            out[i - first] = runs[run].code
        slot = max(slot, runs[run].end)


cdef inline Py_ssize_t put_length(uint8_t* out, Py_ssize_t length) noexcept nogil:
    cdef int i
    for i in range(LENGTH):
        out[i] = <uint8_t>(length >> (8 * i))
    return LENGTH + length


cdef Py_ssize_t pack_body(
    const int32_t* values, const uint8_t* state, const uint8_t* reason, const uint32_t* rules, const int64_t[::1] edges,
    uint8_t* has_value, int32_t* dense, uint32_t* codes, uint8_t* out,
) noexcept nogil:
    """Write one body; ``has_value``, ``dense`` and ``codes`` have room for a row. Returns bytes used."""
    cdef Py_ssize_t n = edges[edges.shape[0] - 1], i, used
    for i in range(n):
        has_value[i] = CARRIES_VALUE[state[i]]
        codes[i] = state[i] | <uint32_t>reason[i] << 8
    used = put_length(out, pack(values, has_value, edges, dense, out + LENGTH))
    used += put_length(out + used, roll(codes, n, out + used + LENGTH))
    return used + put_length(out + used, roll(rules, n, out + used + LENGTH))


cdef Fault unpack_body(
    const uint8_t* at, const uint8_t* end, const uint8_t* readable, const int64_t[::1] edges,
    Py_ssize_t first_channel, Py_ssize_t last_channel,
    uint8_t* has_value, int32_t* dense, Run* runs,
    int32_t* values, uint8_t* state, uint8_t* reason, uint32_t* rules,
) noexcept nogil:
    """Read the channels from ``first_channel`` up to ``last_channel``, exclusive, of one body; `pack_body`."""
    cdef Octets[PARTS] starts, ends
    cdef Py_ssize_t n = edges[edges.shape[0] - 1], first = edges[first_channel], last = edges[last_channel]
    cdef Py_ssize_t count = 0, number, begin, slot = 0, length
    cdef Run run
    cdef Fault fault
    cdef int part
    for part in range(PARTS):
        if end - at < LENGTH:
            return TRUNCATED
        length = at[0] | at[1] << 8 | at[2] << 16 | <Py_ssize_t>at[3] << 24
        at += LENGTH
        if length < 0 or length > end - at:
            return TRUNCATED
        starts[part] = at
        at += length
        ends[part] = at
    if at != end:
        return TRAILING
    fault = unroll(starts[1], ends[1], n, runs, &count)
    if fault != FINE:
        return fault
    # Runs are few where slots are many: what can be said of a run is not said of each slot.
    for number in range(count):
        run = runs[number]
        if run.code > 0xFFFF or run.code & 0xFF > NEWEST_STATE:
            return BAD_STATE
        memset(has_value + slot, CARRIES_VALUE[<uint8_t>run.code], run.end - slot)
        begin = max(slot, first)
        slot = run.end
        if begin < min(slot, last):
            memset(state + begin - first, <uint8_t>run.code, min(slot, last) - begin)
            memset(reason + begin - first, <uint8_t>(run.code >> 8), min(slot, last) - begin)
    fault = unroll(starts[2], ends[2], n, runs, &count)
    if fault != FINE:
        return fault
    lay_out(runs, count, <uint32_t>first, <uint32_t>last, rules)
    return unpack(starts[0], ends[0], readable, has_value, edges, first_channel, last_channel, dense, values)


cdef Py_ssize_t check_edges(const int64_t[::1] edges, Py_ssize_t slots) except -1:
    """Refuse edges that do not cut a row of ``slots``. Returns the longest channel."""
    cdef Py_ssize_t i, longest = 0, first = 0
    if slots > INT32_MAX:
        raise ValueError(f"a row of {slots} slots is too long")
    if edges.shape[0] == 0 or edges[0] != 0 or edges[edges.shape[0] - 1] != slots:
        raise ValueError(f"edges do not go from 0 to {slots}, the slots of a row")
    for i in range(1, edges.shape[0]):
        if edges[i] < first or edges[i] > slots:
            raise ValueError(f"edge {i} is {edges[i]}, behind {first}: edges never fall")
        longest = max(longest, edges[i] - first)
        first = edges[i]
    return longest


cdef int check_shape(str name, Py_ssize_t rows, Py_ssize_t slots, Py_ssize_t others, Py_ssize_t theirs) except -1:
    if (others, theirs) != (rows, slots):
        raise ValueError(f"{name} has the shape ({others}, {theirs}), values ({rows}, {slots})")
    return 0


cdef int check_ends(str name, Py_ssize_t found, Py_ssize_t rows) except -1:
    if found != rows:
        raise ValueError(f"{name} has {found} entries, there are {rows} rows")
    return 0


cdef int check_room(Py_ssize_t room, Py_ssize_t rows, Py_ssize_t bound) except -1:
    if room // bound < rows:
        raise ValueError(f"out has {room} bytes; {rows} rows may take {bound} each")
    return 0


cdef str fault_text(str what, Py_ssize_t row, Py_ssize_t slots, Py_ssize_t length, Fault fault):
    return f"encoded {what} {row} of {slots} slots, {length} bytes, {FAULTS[<int>fault]}"


cdef Py_ssize_t values_bound(const int64_t[::1] edges) noexcept:
    cdef Py_ssize_t i, bound = 1 + SLACK
    for i in range(1, edges.shape[0]):
        bound += MAX_LEB + segment_bound(edges[i] - edges[i - 1])
    return bound


cdef Py_ssize_t runs_bound(Py_ssize_t slots) noexcept:
    return 1 + MAX_LEB + MAX_RUN_COST * slots


cdef Py_ssize_t bodies_bound(const int64_t[::1] edges) noexcept:
    return PARTS * LENGTH + values_bound(edges) + 2 * runs_bound(edges[edges.shape[0] - 1])


def row_bound(const int64_t[::1] edges not None):
    """Compute the bytes that `encode_rows` wants for each row. Raises `ValueError` for edges that fall."""
    check_edges(edges, edges[edges.shape[0] - 1] if edges.shape[0] else 0)
    return values_bound(edges)


def body_bound(const int64_t[::1] edges not None):
    """Compute the bytes that `encode_bodies` wants for each row. Raises `ValueError` for edges that fall."""
    check_edges(edges, edges[edges.shape[0] - 1] if edges.shape[0] else 0)
    return bodies_bound(edges)


@cython.internal
@cython.auto_pickle(False)
cdef class Scratch:
    """Room for one row while it is worked on."""

    cdef int32_t* dense
    cdef uint32_t* codes
    cdef Run* runs
    cdef uint8_t* has_value

    def __cinit__(self, Py_ssize_t slots):
        # One slot more: what follows the last value of a channel is written, too, before it is known to have none.
        self.dense = <int32_t*>malloc((slots + 1) * (sizeof(int32_t) + sizeof(Run) + 1))
        if self.dense == NULL:
            raise MemoryError
        self.runs = <Run*>(self.dense + slots + 1)
        self.codes = <uint32_t*>self.runs  # an encoder wants these, a decoder those
        self.has_value = <uint8_t*>(self.runs + slots + 1)

    def __dealloc__(self):
        free(self.dense)


def encode_rows(
    const int32_t[:, ::1] values not None, const uint8_t[:, ::1] has_value not None, const int64_t[::1] edges not None,
    uint8_t[::1] out not None, int64_t[::1] ends not None,
):
    """Encode rows of counts into ``out`` one after the other; those where ``has_value`` is 0 are left out.

    ``values`` and ``has_value`` have the shape (rows, slots); ``ends``, shape (rows,), is set to where each row ends in
    ``out``, which has at least rows * `row_bound` bytes. Returns the bytes used. Raises `ValueError` if shapes, types or
    edges differ from that.
    """
    cdef Py_ssize_t rows = values.shape[0], slots = values.shape[1], row, used = 0
    check_shape("has_value", rows, slots, has_value.shape[0], has_value.shape[1])
    check_edges(edges, slots)
    check_ends("ends", ends.shape[0], rows)
    check_room(out.shape[0], rows, values_bound(edges))
    cdef Scratch scratch = Scratch(slots)
    cdef const int32_t* first = &values[0, 0] if rows and slots else NULL
    cdef const uint8_t* has_first = &has_value[0, 0] if rows and slots else NULL
    with nogil:
        for row in range(rows):
            used += pack(first + row * slots, has_first + row * slots, edges, scratch.dense, &out[used])
            ends[row] = used
    return used


def decode_rows(
    const uint8_t[::1] data not None, const int64_t[::1] ends not None, const uint8_t[:, ::1] has_value not None,
    const int64_t[::1] edges not None, int32_t[:, ::1] out not None,
):
    """Decode rows of counts into ``out``, shape (rows, slots); 0 where ``has_value`` is 0.

    Row i lies in ``data`` from where row i - 1 ends to ``ends[i]``. Raises `ValueError` on damaged data (``out`` is then
    undefined), which names the row, or if shapes, types or edges differ.
    """
    cdef Py_ssize_t rows = out.shape[0], slots = out.shape[1], row
    cdef int64_t start = 0, end = 0
    cdef Fault fault = FINE
    check_shape("has_value", rows, slots, has_value.shape[0], has_value.shape[1])
    check_edges(edges, slots)
    check_ends("ends", ends.shape[0], rows)
    cdef Scratch scratch = Scratch(slots)
    cdef const uint8_t* bytes_ = &data[0] if data.shape[0] else NULL
    cdef const uint8_t* has_first = &has_value[0, 0] if rows and slots else NULL
    cdef int32_t* first = &out[0, 0] if rows and slots else NULL
    with nogil:
        for row in range(rows):
            start, end = end, ends[row]
            if end < start or end > data.shape[0]:
                fault = BAD_SPAN
            else:
                fault = unpack(
                    bytes_ + start, bytes_ + end, bytes_ + data.shape[0], has_first + row * slots, edges,
                    0, edges.shape[0] - 1, scratch.dense, first + row * slots,
                )
            if fault != FINE:
                break
    if fault != FINE:
        raise ValueError(fault_text("row", row, slots, end - start, fault))
    if end != data.shape[0]:
        raise ValueError(f"{data.shape[0] - end} bytes lie behind the last row")


def encode_runs(const uint32_t[::1] codes not None):
    """Encode a row of quality codes, shape (n,), as runs of equal codes. Returns bytes. Raises `ValueError` from 2**31 slots."""
    cdef Py_ssize_t n = codes.shape[0], used
    if n > INT32_MAX:
        raise ValueError(f"a row of {n} slots is too long")
    cdef uint8_t* out = <uint8_t*>malloc(runs_bound(n))
    if out == NULL:
        raise MemoryError
    try:
        with nogil:
            used = roll(&codes[0] if n else NULL, n, out)
        return PyBytes_FromStringAndSize(<char*>out, used)
    finally:
        free(out)


def decode_runs(const uint8_t[::1] data not None, uint32_t[::1] out not None):
    """Decode a row of quality codes into ``out``, shape (n,). Raises `ValueError` on damaged data (``out`` is then undefined)."""
    cdef Py_ssize_t n = out.shape[0], length = data.shape[0]
    cdef Fault fault
    if n > INT32_MAX:
        raise ValueError(f"a row of {n} slots is too long")
    cdef const uint8_t* start = &data[0] if length else NULL
    cdef uint32_t* first = &out[0] if n else NULL
    cdef Py_ssize_t count = 0
    cdef Scratch scratch = Scratch(n)
    with nogil:
        fault = unroll(start, start + length, n, scratch.runs, &count)
        if fault == FINE:
            lay_out(scratch.runs, count, 0, <uint32_t>n, first)
    if fault != FINE:
        raise ValueError(fault_text("runs", 0, n, length, fault))


def encode_bodies(
    const int32_t[:, ::1] values not None, const uint8_t[:, ::1] state not None, const uint8_t[:, ::1] reason not None,
    const uint32_t[:, ::1] rules not None, const int64_t[::1] edges not None, uint8_t[::1] out not None,
    int64_t[::1] ends not None,
):
    """Encode rows of counts with their qualities, each as the body of a block, into ``out`` one after the other.

    Arrays have the shape (rows, slots); ``ends``, shape (rows,), is set to where each body ends in ``out``, which has at
    least rows * `body_bound` bytes. Returns the bytes used. Raises `ValueError` if shapes, types or edges differ from that.
    """
    cdef Py_ssize_t rows = values.shape[0], slots = values.shape[1], row, at, used = 0
    check_shape("state", rows, slots, state.shape[0], state.shape[1])
    check_shape("reason", rows, slots, reason.shape[0], reason.shape[1])
    check_shape("rules", rows, slots, rules.shape[0], rules.shape[1])
    check_ends("ends", ends.shape[0], rows)
    check_edges(edges, slots)
    check_room(out.shape[0], rows, bodies_bound(edges))
    cdef Scratch scratch = Scratch(slots)
    cdef bint has_slots = rows > 0 and slots > 0
    cdef const int32_t* values_at = &values[0, 0] if has_slots else NULL
    cdef const uint8_t* state_at = &state[0, 0] if has_slots else NULL
    cdef const uint8_t* reason_at = &reason[0, 0] if has_slots else NULL
    cdef const uint32_t* rules_at = &rules[0, 0] if has_slots else NULL
    with nogil:
        for row in range(rows):
            at = row * slots
            used += pack_body(
                values_at + at, state_at + at, reason_at + at, rules_at + at, edges,
                scratch.has_value, scratch.dense, scratch.codes, &out[used],
            )
            ends[row] = used
    return used


@cython.internal
@cython.auto_pickle(False)
cdef class Spans:
    """Where bodies lie: from ``starts[i]`` to ``ends[i]``, in memory that may be read up to ``readable[i]``."""

    cdef Octets* starts
    cdef Octets* ends
    cdef Octets* readable
    cdef Py_ssize_t rows

    def __cinit__(self, Py_ssize_t rows):
        self.rows = rows
        self.starts = <Octets*>malloc(3 * rows * sizeof(Octets) + 1)
        if self.starts == NULL:
            raise MemoryError
        self.ends = self.starts + rows
        self.readable = self.ends + rows

    def __dealloc__(self):
        free(self.starts)

    cdef int put(
        self, Py_ssize_t row, const uint8_t* data, Py_ssize_t length, int64_t start, int64_t end, Py_ssize_t slots
    ) except -1:
        if start < 0 or end < start or end > length:
            raise ValueError(fault_text("body", row, slots, end - start, BAD_SPAN))
        self.starts[row] = data + start
        self.ends[row] = data + end
        self.readable[row] = data + length
        return 0


cdef int unpack_bodies(
    Spans spans, const int64_t[::1] edges, Py_ssize_t first, Py_ssize_t last, int32_t[:, ::1] values,
    uint8_t[:, ::1] state, uint8_t[:, ::1] reason, uint32_t[:, ::1] rules,
) except -1:
    """Decode bodies into the arrays; raises `ValueError` naming the row that is damaged."""
    cdef Py_ssize_t rows = values.shape[0], slots = values.shape[1], row, at, whole = edges[edges.shape[0] - 1]
    cdef Fault fault = FINE
    cdef Scratch scratch = Scratch(whole)
    cdef bint has_slots = rows > 0 and slots > 0
    cdef int32_t* values_at = &values[0, 0] if has_slots else NULL
    cdef uint8_t* state_at = &state[0, 0] if has_slots else NULL
    cdef uint8_t* reason_at = &reason[0, 0] if has_slots else NULL
    cdef uint32_t* rules_at = &rules[0, 0] if has_slots else NULL
    with nogil:
        for row in range(rows):
            at = row * slots
            fault = unpack_body(
                spans.starts[row], spans.ends[row], spans.readable[row], edges, first, last,
                scratch.has_value, scratch.dense, scratch.runs,
                values_at + at, state_at + at, reason_at + at, rules_at + at,
            )
            if fault != FINE:
                break
    if fault != FINE:
        raise ValueError(fault_text("body", row, whole, spans.ends[row] - spans.starts[row], fault))
    return 0


cdef Py_ssize_t check_arrays(
    const int64_t[::1] edges, Py_ssize_t first, Py_ssize_t last, int32_t[:, ::1] values, uint8_t[:, ::1] state,
    uint8_t[:, ::1] reason, uint32_t[:, ::1] rules,
) except -1:
    """Refuse arrays that do not hold the channels from ``first`` to ``last``, -1 for all behind. Returns the last."""
    cdef Py_ssize_t rows = values.shape[0], slots = values.shape[1], channels = edges.shape[0] - 1, whole = slots
    check_shape("state", rows, slots, state.shape[0], state.shape[1])
    check_shape("reason", rows, slots, reason.shape[0], reason.shape[1])
    check_shape("rules", rows, slots, rules.shape[0], rules.shape[1])
    if channels >= 0 and (first, last) != (0, -1):
        whole = edges[channels]
    check_edges(edges, whole)
    last = channels if last == -1 else last
    if not 0 <= first <= last <= channels:
        raise ValueError(f"channels {first} to {last} are not among {channels}")
    if edges[last] - edges[first] != slots:
        raise ValueError(f"channels {first} to {last} have {edges[last] - edges[first]} slots, not {slots}")
    return last


def decode_bodies(
    const uint8_t[::1] data not None, const int64_t[::1] starts not None, const int64_t[::1] ends not None,
    const int64_t[::1] edges not None, int32_t[:, ::1] values not None, uint8_t[:, ::1] state not None,
    uint8_t[:, ::1] reason not None, uint32_t[:, ::1] rules not None, *, Py_ssize_t first=0, Py_ssize_t last=-1,
):
    """Decode bodies into arrays of the shape (rows, slots); body i lies in ``data`` from ``starts[i]`` to ``ends[i]``.

    ``first``, ``last``: only these channels, last exclusive, -1 for all behind; ``slots`` are theirs alone, and of the others'
    values no more is looked at than needed. Raises `ValueError` on damaged data (the arrays are then undefined), which names the
    row, or if shapes, types or edges differ.
    """
    cdef Py_ssize_t rows = values.shape[0], row
    last = check_arrays(edges, first, last, values, state, reason, rules)
    check_ends("starts", starts.shape[0], rows)
    check_ends("ends", ends.shape[0], rows)
    cdef const uint8_t* bytes_ = &data[0] if data.shape[0] else NULL
    cdef Spans spans = Spans(rows)
    for row in range(rows):
        spans.put(row, bytes_, data.shape[0], starts[row], ends[row], edges[edges.shape[0] - 1])
    unpack_bodies(spans, edges, first, last, values, state, reason, rules)


def decode_blocks(
    list blocks not None, const int64_t[::1] starts not None, Py_ssize_t tail, const int64_t[::1] edges not None,
    int32_t[:, ::1] values not None, uint8_t[:, ::1] state not None, uint8_t[:, ::1] reason not None,
    uint32_t[:, ::1] rules not None, *, Py_ssize_t first=0, Py_ssize_t last=-1,
):
    """Do as `decode_bodies`, of bodies that each lie in bytes of their own: from ``starts[i]`` on, up to ``tail`` before the end.

    Blocks are used where they lie: fetching and decoding many touches no memory but theirs and the caller's.
    """
    cdef Py_ssize_t rows = values.shape[0], row
    cdef bytes block
    last = check_arrays(edges, first, last, values, state, reason, rules)
    check_ends("starts", starts.shape[0], rows)
    check_ends("blocks", len(blocks), rows)
    cdef Spans spans = Spans(rows)
    for row in range(rows):
        block = blocks[row]
        spans.put(
            row, <const uint8_t*>PyBytes_AS_STRING(block), len(block), starts[row], len(block) - tail,
            edges[edges.shape[0] - 1],
        )
    unpack_bodies(spans, edges, first, last, values, state, reason, rules)


def begin_with(
    list blocks not None, const uint8_t[::1] heads not None, const int64_t[::1] starts not None, Py_ssize_t tail
):
    """Say whether each of some bytes begins with a head of its own and goes on behind it for ``tail`` octets or more.

    ``heads``: one after the other.  ``starts``: where each block goes on, so how long its head is. Raises `ValueError`.
    """
    cdef Py_ssize_t row, length, at = 0
    cdef bytes block
    check_ends("starts", starts.shape[0], len(blocks))
    for row in range(len(blocks)):
        length = starts[row]
        if not 0 <= length <= heads.shape[0] - at:
            raise ValueError(f"head {row} of {length} octets does not lie within its buffer")
        block = blocks[row]
        if len(block) - length < tail or (length and memcmp(PyBytes_AS_STRING(block), &heads[at], length) != 0):
            return False
        at += length
    return True
