"""The codecs inside a stored block: values as packed deltas, qualities as runs.

Values, version 1 (n, and which slots carry a value, are known from the qualities):

    0x01 | base | mini-block of 16 slots | mini-block ...       the last one may be shorter
    base        first value of the row, zigzag, LEB128, at most 5 bytes; 0 where no slot has a value
    mini-block  width w in bits (1 byte, 0..32), then one w-bit field per slot, lowest bit first,
                filled up to a whole byte with zero bits
    field       zigzag(value - value of the nearest slot with a value before), modulo 2**32; the base before the first.
                A slot without value costs a zero field.

Runs, version 1 (n is known):

    0x01 | (code, length >= 1)* | code      LEB128, at most 5 bytes each; the last code holds for all slots that remain

There is exactly one encoding of any input but for the widths; decoders refuse everything else, so damage that survives
cannot change the length of a row. Their time and memory are bounded by n, whatever the input says.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

VALUES_VERSION = 1
RUNS_VERSION = 1

cdef enum:
    VERSION = 1
    MINI_BLOCK = 16
    MAX_WIDTH = 32
    MAX_LEB = 5

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

cdef dict FAULTS = {
    <int>TRUNCATED: "ends too early",
    <int>TRAILING: "goes on behind its last slot",
    <int>UNKNOWN_VERSION: "has a codec version this program does not know",
    <int>BAD_NUMBER: "holds a number that is longer than 32 bits or needlessly long",
    <int>BAD_WIDTH: "holds a bit width above 32",
    <int>BAD_PADDING: "has bits set in its padding",
    <int>VALUE_WITHOUT_SLOT: "holds a value for a slot that has none",
    <int>BAD_RUN: "holds a run that is empty, repeats the code before it, or is longer than the row",
}


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


cdef inline int take_leb(const uint8_t[::1] data, Py_ssize_t* at, uint32_t* number) except -1 nogil:
    cdef uint64_t result = 0
    cdef uint8_t byte
    cdef int i
    for i in range(MAX_LEB):
        if at[0] >= data.shape[0]:
            return TRUNCATED
        byte = data[at[0]]
        at[0] += 1
        result |= <uint64_t>(byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if result > <uint64_t>0xFFFFFFFF or (byte == 0 and i > 0):
                return BAD_NUMBER
            number[0] = <uint32_t>result
            return FINE
    return BAD_NUMBER


cdef Py_ssize_t pack(const int32_t[::1] values, const uint8_t[::1] has_value, uint8_t* out) except -1 nogil:
    cdef uint32_t[MINI_BLOCK] fields
    cdef uint32_t before = 0, delta, all_bits
    cdef uint64_t waiting
    cdef Py_ssize_t n = values.shape[0], block, first, i, size, used = 1
    cdef int width, held
    out[0] = VERSION
    for i in range(n):
        if has_value[i]:
            before = <uint32_t>values[i]
            break
    used += put_leb(out + used, zigzag(before))
    for block in range((n + MINI_BLOCK - 1) // MINI_BLOCK):
        first = block * MINI_BLOCK
        size = min(<Py_ssize_t>MINI_BLOCK, n - first)
        all_bits = 0
        for i in range(size):
            delta = 0
            if has_value[first + i]:
                delta = <uint32_t>values[first + i] - before
                before = <uint32_t>values[first + i]
            fields[i] = zigzag(delta)
            all_bits |= fields[i]
        width = 0
        while width < MAX_WIDTH and all_bits >> width:
            width += 1
        out[used] = <uint8_t>width
        used += 1
        waiting = 0
        held = 0
        for i in range(size):
            waiting |= <uint64_t>fields[i] << held
            held += width
            while held >= 8:
                out[used] = <uint8_t>waiting
                used += 1
                waiting >>= 8
                held -= 8
        if held:
            out[used] = <uint8_t>waiting
            used += 1
    return used


cdef int unpack(const uint8_t[::1] data, const uint8_t[::1] has_value, int32_t[::1] out) except -1 nogil:
    cdef uint32_t before, field
    cdef uint64_t waiting, mask
    cdef Py_ssize_t n = out.shape[0], length = data.shape[0], block, first, i, size, at = 1
    cdef int width, held, fault
    if length < 1:
        return TRUNCATED
    if data[0] != VERSION:
        return UNKNOWN_VERSION
    before = 0
    fault = take_leb(data, &at, &before)
    if fault != FINE:
        return fault
    before = unzigzag(before)
    for block in range((n + MINI_BLOCK - 1) // MINI_BLOCK):
        first = block * MINI_BLOCK
        size = min(<Py_ssize_t>MINI_BLOCK, n - first)
        if at >= length:
            return TRUNCATED
        width = data[at]
        at += 1
        if width > MAX_WIDTH:
            return BAD_WIDTH
        if length - at < (size * width + 7) // 8:
            return TRUNCATED
        mask = (<uint64_t>1 << width) - 1
        waiting = 0
        held = 0
        for i in range(size):
            while held < width:
                waiting |= <uint64_t>data[at] << held
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
    return FINE if at == length else TRAILING


def encode_values(const int32_t[::1] values not None, const uint8_t[::1] has_value not None):
    """Encode a row of counts; those where ``has_value`` is 0 are left out. Both of shape (n,). Returns bytes.

    Raises `ValueError` if shapes or types differ from that.
    """
    cdef Py_ssize_t n = values.shape[0], used
    if has_value.shape[0] != n:
        raise ValueError(f"has_value has {has_value.shape[0]} slots, values has {n}")
    cdef Py_ssize_t room = 1 + MAX_LEB + (n // MINI_BLOCK + 1) * (1 + 4 * MINI_BLOCK)
    cdef uint8_t* out = <uint8_t*>malloc(room)
    if out == NULL:
        raise MemoryError
    try:
        with nogil:
            used = pack(values, has_value, out)
        return PyBytes_FromStringAndSize(<char*>out, used)
    finally:
        free(out)


def decode_values(const uint8_t[::1] data not None, const uint8_t[::1] has_value not None, int32_t[::1] out not None):
    """Decode a row of counts into ``out``; 0 where ``has_value`` is 0. Both of shape (n,).

    Raises `ValueError` on damaged data (``out`` is then undefined) or if shapes differ.
    """
    cdef Py_ssize_t n = out.shape[0], length = data.shape[0]
    cdef int fault
    if has_value.shape[0] != n:
        raise ValueError(f"has_value has {has_value.shape[0]} slots, out has {n}")
    with nogil:
        fault = unpack(data, has_value, out)
    if fault != FINE:
        raise ValueError(f"encoded row of {n} values, {length} bytes, {FAULTS[fault]}")


def encode_runs(const uint32_t[::1] codes not None):
    """Encode a row of quality codes, shape (n,), as runs of equal codes. Returns bytes. Raises `ValueError` from 2**32 slots."""
    cdef Py_ssize_t n = codes.shape[0], first, i, used = 1
    if n > 0xFFFFFFFF:
        raise ValueError(f"a row of {n} slots is too long")
    cdef Py_ssize_t runs = 1
    with nogil:
        for i in range(1, n):
            runs += codes[i] != codes[i - 1]
    cdef uint8_t* out = <uint8_t*>malloc(1 + 2 * MAX_LEB * runs)
    if out == NULL:
        raise MemoryError
    try:
        with nogil:
            out[0] = VERSION
            first = 0
            for i in range(1, n):
                if codes[i] != codes[first]:
                    used += put_leb(out + used, codes[first])
                    used += put_leb(out + used, <uint32_t>(i - first))
                    first = i
            if n:
                used += put_leb(out + used, codes[first])
        return PyBytes_FromStringAndSize(<char*>out, used)
    finally:
        free(out)


def decode_runs(const uint8_t[::1] data not None, uint32_t[::1] out not None):
    """Decode a row of quality codes into ``out``, shape (n,). Raises `ValueError` on damaged data (``out`` is then undefined)."""
    cdef Py_ssize_t n = out.shape[0], length = data.shape[0]
    cdef int fault
    with nogil:
        fault = unroll(data, out)
    if fault != FINE:
        raise ValueError(f"encoded runs of {n} slots, {length} bytes, {FAULTS[fault]}")


cdef int unroll(const uint8_t[::1] data, uint32_t[::1] out) except -1 nogil:
    cdef Py_ssize_t n = out.shape[0], length = data.shape[0], at = 1, slot = 0, i
    cdef uint32_t code = 0, before = 0, run = 0
    cdef int fault
    if length < 1:
        return TRUNCATED
    if data[0] != VERSION:
        return UNKNOWN_VERSION
    while slot < n:
        fault = take_leb(data, &at, &code)
        if fault != FINE:
            return fault
        if slot and code == before:
            return BAD_RUN
        before = code
        if at == length:
            run = <uint32_t>(n - slot)
        else:
            fault = take_leb(data, &at, &run)
            if fault != FINE:
                return fault
            if run == 0 or run >= n - slot:
                return BAD_RUN
        for i in range(slot, slot + run):
            out[i] = code
        slot += run
    return FINE if at == length else TRAILING
