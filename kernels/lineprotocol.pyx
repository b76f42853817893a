"""InfluxDB line protocol: the slots of one channel as lines, each value as the exact decimal that it is.

    <prefix> value=<decimal>,state=<code>i,reason=<code>i,rules=<mask>i <start of the slot, s UTC>\n

``prefix`` is measurement and tags, escaped. A slot without value has no ``value`` field, and a line only where it is missing
and ``with_missing`` asks for it; slots that are expected or not expected have none. Without ``with_quality`` there is the value
alone, and no line for a slot that has none. A value is ``count * 10**scaler``,
written out: all digits of the count, no exponent, never through a float.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from kernels.quality cimport CState

MAX_SCALER = 30
"""Largest power of ten, either way, that a value is written out with."""

cdef enum:
    SCALER_LIMIT = 30
    NUMBERS = 160  # longest that a line may be behind its prefix: 42 of the value, 4 + 4 + 11 + 21 of the rest, and the words


cdef inline char* put_text(char* at, const char* text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef inline char* put_number(char* at, int64_t number) noexcept nogil:
    cdef char[20] digits
    cdef int n = 0
    cdef uint64_t left = <uint64_t>number
    if number < 0:
        at[0] = b"-"
        at += 1
        left = 0 - left
    while True:
        digits[n] = <char>(48 + left % 10)
        n += 1
        left //= 10
        if not left:
            break
    while n:
        n -= 1
        at[0] = digits[n]
        at += 1
    return at


cdef inline char* put_decimal(char* at, int32_t count, int scaler) noexcept nogil:
    cdef char[10] digits
    cdef int n = 0, i
    cdef uint32_t left = <uint32_t>count
    if count < 0:
        at[0] = b"-"
        at += 1
        left = 0 - left
    while left:
        digits[n] = <char>(48 + left % 10)
        n += 1
        left //= 10
    if n == 0 or n <= -scaler:
        at[0] = b"0"
        at += 1
    for i in range(n - 1, -scaler - 1 if scaler < 0 else -1, -1):
        at[0] = digits[i]
        at += 1
    if scaler < 0:
        at[0] = b"."
        at += 1
        for i in range(-scaler - 1, -1, -1):
            at[0] = digits[i] if i < n else b"0"
            at += 1
    elif n:
        for i in range(scaler):
            at[0] = b"0"
            at += 1
    return at


cdef Py_ssize_t write_lines(
    const uint8_t[::1] prefix, int64_t start, int64_t period, int scaler, const int32_t[::1] values,
    const uint8_t[::1] state, const uint8_t[::1] reason, const uint32_t[::1] rules, bint with_missing, bint with_quality, char* out,
) noexcept nogil:
    cdef char* at = out
    cdef Py_ssize_t i
    cdef bint has_value
    for i in range(values.shape[0]):
        has_value = CState.MEASURED <= state[i] <= CState.EDITED
        if not has_value and not (with_missing and with_quality and state[i] == CState.MISSING):
            continue
        at = put_text(at, <const char*>&prefix[0], prefix.shape[0])
        at = put_text(at, b" ", 1)
        if has_value:
            at = put_text(at, b"value=", 6)
            at = put_decimal(at, values[i], scaler)
        if with_quality:
            if has_value:
                at = put_text(at, b",", 1)
            at = put_text(at, b"state=", 6)
            at = put_number(at, state[i])
            at = put_text(at, b"i,reason=", 9)
            at = put_number(at, reason[i])
            at = put_text(at, b"i,rules=", 8)
            at = put_number(at, rules[i])
            at = put_text(at, b"i", 1)
        at = put_text(at, b" ", 1)
        at = put_number(at, start + i * period)
        at = put_text(at, b"\n", 1)
    return at - out


def format_slots(
    const uint8_t[::1] prefix not None,
    int64_t start,
    int64_t period,
    int scaler,
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const uint8_t[::1] reason not None,
    const uint32_t[::1] rules not None,
    *,
    bint with_missing,
    bint with_quality=True,
):
    """Format the slots of one channel, one line each, and give the bytes; empty where no slot has a line.

    ``prefix``: measurement and tags, escaped, without blank or line end that is not escaped.  ``start``: of the first slot
    [s UTC].  ``period``: [s].  ``values``: counts of ``10**scaler``.  ``state``, ``reason``, ``rules``: codes of
    `kernels.quality`. Raises `ValueError` for arrays of unequal lengths, an empty prefix or a scaler beyond `MAX_SCALER`.
    """
    cdef Py_ssize_t n = values.shape[0], used
    cdef char* out
    if state.shape[0] != n or reason.shape[0] != n or rules.shape[0] != n:
        raise ValueError(f"{n} values, {state.shape[0]} states, {reason.shape[0]} reasons, {rules.shape[0]} rule masks")
    if prefix.shape[0] == 0:
        raise ValueError("a line needs a measurement")
    if not -SCALER_LIMIT <= scaler <= SCALER_LIMIT:
        raise ValueError(f"a value of 10^{scaler} is not written out; at most 10^{SCALER_LIMIT} either way is")
    if n == 0:
        return b""
    out = <char*>malloc(n * (prefix.shape[0] + NUMBERS))
    if out is NULL:
        raise MemoryError
    try:
        with nogil:
            used = write_lines(prefix, start, period, scaler, values, state, reason, rules, with_missing, with_quality, out)
        return PyBytes_FromStringAndSize(out, used)
    finally:
        free(out)
