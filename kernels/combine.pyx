"""Sums that keep their quality: channels of several meters into a virtual one, slots of one channel into longer ones.

What a sum is worth is what its worst part is worth: missing, then not yet read, questionable, estimated, edited,
measured. Its reason is that of the first part in that state, its rule mask has the bits of all. A part that is not
expected adds nothing and spoils nothing; a sum of such parts alone is not expected.
"""

from libc.stdint cimport INT32_MAX, INT32_MIN, int32_t, int64_t, uint8_t, uint32_t
from kernels.quality cimport CState
from kernels.slots cimport carries, check_length, check_states

cdef int64_t LARGEST_FACTOR = 1_000_000


cdef inline int worth(uint8_t state) noexcept nogil:
    """Rank a state, the worst highest."""
    if state == CState.MISSING:
        return 6
    if state == CState.EXPECTED:
        return 5
    if state == CState.QUESTIONABLE:
        return 4
    if state == CState.ESTIMATED:
        return 3
    if state == CState.EDITED:
        return 2
    return state == CState.MEASURED


cdef struct Sum:
    int64_t total
    int worst
    uint8_t state
    uint8_t reason
    uint32_t rules


cdef inline void begin(Sum* sum) noexcept nogil:
    sum.total = 0
    sum.worst = 0
    sum.state = CState.NOT_EXPECTED
    sum.reason = 0
    sum.rules = 0


cdef inline void add(Sum* sum, int64_t value, uint8_t state, uint8_t reason, uint32_t rules) noexcept nogil:
    """Add one part; ``value`` counts where its state carries one."""
    if state == CState.NOT_EXPECTED:
        return
    sum.rules |= rules
    if worth(state) > sum.worst:
        sum.worst = worth(state)
        sum.state = state
        sum.reason = reason
    if carries(state):
        sum.total += value


cdef inline bint write(
    const Sum* sum,
    Py_ssize_t i,
    int32_t[::1] values,
    uint8_t[::1] state,
    uint8_t[::1] reason,
    uint32_t[::1] rules,
) noexcept nogil:
    """Write a sum; says whether it fits 32 bits."""
    cdef int64_t total = sum.total if carries(sum.state) else 0
    values[i] = <int32_t>total
    state[i] = sum.state
    reason[i] = sum.reason
    rules[i] = sum.rules
    return INT32_MIN <= total <= INT32_MAX


cdef int check_rows(
    const uint8_t[:, ::1] state, const uint8_t[:, ::1] reason, const uint32_t[:, ::1] rules, Py_ssize_t rows, Py_ssize_t n
) except -1:
    cdef Py_ssize_t row
    if state.shape[0] != rows or reason.shape[0] != rows or rules.shape[0] != rows:
        raise ValueError(f"values has {rows} rows, state {state.shape[0]}, reason {reason.shape[0]}, rules {rules.shape[0]}")
    check_length("reason", reason.shape[1], n)
    check_length("rules", rules.shape[1], n)
    for row in range(rows):
        check_states(state[row], n)
    return 0


cdef int check_out(
    Py_ssize_t n, const int32_t[::1] values, const uint8_t[::1] state, const uint8_t[::1] reason, const uint32_t[::1] rules
) except -1:
    if values.shape[0] != n or state.shape[0] != n or reason.shape[0] != n or rules.shape[0] != n:
        raise ValueError(
            f"the sum has {n} slots; out_values has {values.shape[0]}, out_state {state.shape[0]}, out_reason {reason.shape[0]}, "
            f"out_rules {rules.shape[0]}"
        )
    return 0


def combine(
    const int32_t[:, ::1] values not None,
    const uint8_t[:, ::1] state not None,
    const uint8_t[:, ::1] reason not None,
    const uint32_t[:, ::1] rules not None,
    const int64_t[::1] factors not None,
    int32_t[::1] out_values not None,
    uint8_t[::1] out_state not None,
    uint8_t[::1] out_reason not None,
    uint32_t[::1] out_rules not None,
):
    """Add up channels slot by slot, each times its factor (1, -1, or a whole weight).

    Shapes: values, state, reason, rules (channels, n), factors (channels,), the four ``out`` arrays (n,), overwritten.
    A sum without value holds 0. Raises `ValueError` on unequal shapes, unknown states, a factor beyond 10^6, or a sum
    that does not fit 32 bits.
    """
    cdef Py_ssize_t channels = values.shape[0], n = values.shape[1], channel, i, too_large = -1
    cdef Sum sum
    check_rows(state, reason, rules, channels, n)
    check_out(n, out_values, out_state, out_reason, out_rules)
    if factors.shape[0] != channels:
        raise ValueError(f"factors has {factors.shape[0]}, values {channels} channels")
    for channel in range(channels):
        if not -LARGEST_FACTOR <= factors[channel] <= LARGEST_FACTOR:
            raise ValueError(f"factor {factors[channel]} is beyond {LARGEST_FACTOR}")
    if channels > 2000:
        raise ValueError(f"{channels} channels are more than 2000")
    with nogil:
        for i in range(n):
            begin(&sum)
            for channel in range(channels):
                add(
                    &sum,
                    factors[channel] * values[channel, i],
                    state[channel, i],
                    reason[channel, i],
                    rules[channel, i],
                )
            if not write(&sum, i, out_values, out_state, out_reason, out_rules) and too_large < 0:
                too_large = i
    if too_large >= 0:
        raise ValueError(f"the sum of slot {too_large} does not fit 32 bits; choose a coarser scaler")


def coarsen(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const uint8_t[::1] reason not None,
    const uint32_t[::1] rules not None,
    int32_t[::1] out_values not None,
    uint8_t[::1] out_state not None,
    uint8_t[::1] out_reason not None,
    uint32_t[::1] out_rules not None,
    *,
    width,
):
    """Add up each ``width`` slots of one channel into a longer one.

    Shapes: values, state, reason, rules (n,), the four ``out`` arrays (n / width,), overwritten. A sum without value
    holds 0. Raises `ValueError` on unequal shapes, unknown states, n that is no multiple of ``width``, or a sum that
    does not fit 32 bits.
    """
    cdef Py_ssize_t n = values.shape[0], i, j, too_large = -1
    cdef Sum sum
    check_states(state, n)
    check_length("reason", reason.shape[0], n)
    check_length("rules", rules.shape[0], n)
    if width < 1 or n % width:
        raise ValueError(f"{n} slots are no multiple of {width}")
    cdef Py_ssize_t c_width = width
    check_out(n // c_width, out_values, out_state, out_reason, out_rules)
    with nogil:
        for j in range(n // c_width):
            begin(&sum)
            for i in range(j * c_width, (j + 1) * c_width):
                add(&sum, values[i], state[i], reason[i], rules[i])
            if not write(&sum, j, out_values, out_state, out_reason, out_rules) and too_large < 0:
                too_large = j
    if too_large >= 0:
        raise ValueError(f"the sum of slot {too_large} does not fit 32 bits; choose a coarser scaler")
