"""First validation rules over one row of slots: missing, range, zero run, spike, sum of intervals against the register.

A row is three arrays of shape (n,): ``values`` int32 counts, ``state`` uint8 (`State`), ``rules`` uint32 (bits of `Rule`).
Only slots whose state carries a value are judged. Rules only ever *set* bits: the caller decides what a failed rule means.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from kernels.quality cimport CRule, CState
from kernels.slots cimport carries, check_edges, check_states

cdef enum:
    PERMILLE = 1000

cdef int64_t LARGEST_PERMILLE = 1_000_000_000
cdef int64_t LARGEST_DELTA = <int64_t>1 << 62


cdef Py_ssize_t flag_range(
    const int32_t[::1] values, const uint8_t[::1] state, int32_t low, int32_t high, uint32_t[::1] rules
) except -1 nogil:
    cdef Py_ssize_t i, flagged = 0
    for i in range(values.shape[0]):
        if carries(state[i]) and (values[i] < low or values[i] > high):
            rules[i] |= <uint32_t>CRule.RANGE
            flagged += 1
    return flagged


cdef Py_ssize_t flag_zero_runs(
    const int32_t[::1] values, const uint8_t[::1] state, Py_ssize_t shortest, uint32_t[::1] rules
) except -1 nogil:
    cdef Py_ssize_t n = values.shape[0], i, j, first = 0, flagged = 0
    for i in range(n + 1):
        if i < n and carries(state[i]) and values[i] == 0:
            continue
        if i - first >= shortest:
            for j in range(first, i):
                rules[j] |= <uint32_t>CRule.ZERO_RUN
            flagged += i - first
        first = i + 1
    return flagged


cdef Py_ssize_t flag_spikes(
    const int32_t[::1] values,
    const uint8_t[::1] state,
    const int64_t[::1] edges,
    int64_t permille,
    int32_t floor,
    uint32_t[::1] rules,
) except -1 nogil:
    cdef Py_ssize_t day, i, flagged = 0
    cdef int64_t first, second, third, value
    cdef int64_t none = -((<int64_t>1) << 40)
    for day in range(edges.shape[0] - 1):
        first = second = third = none
        for i in range(edges[day], edges[day + 1]):
            if carries(state[i]):
                value = values[i]
                if value > first:
                    first, second, third = value, first, second
                elif value > second:
                    second, third = value, second
                elif value > third:
                    third = value
        if third <= 0 or first <= floor or (first - third) * PERMILLE <= permille * third:
            continue
        for i in range(edges[day], edges[day + 1]):
            if carries(state[i]) and values[i] > floor and (values[i] - third) * PERMILLE > permille * third:
                rules[i] |= <uint32_t>CRule.SPIKE
                flagged += 1
    return flagged


def validate(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int64_t[::1] edges not None,
    uint32_t[::1] rules not None,
    *,
    low,
    high,
    zero_run,
    spike_permille,
    spike_floor,
):
    """Judge one row and set the bits of failed rules in ``rules``; arrays of shape (n,), ``edges`` of shape (days + 1,).

    ``low``, ``high``: smallest and largest plausible count, inclusive (`Rule.RANGE`).
    ``zero_run``: from how many zeros in a row on each of them fails `Rule.ZERO_RUN`; a slot without value ends a run.
    ``edges``: slot offset at which each day starts, and the end of the last; slots outside belong to no day.
    ``spike_permille``: a value v of a day fails `Rule.SPIKE` if (v - third highest) / third highest > spike_permille / 1000
    and v > ``spike_floor``. Not judged: a day of fewer than three values, or whose third highest is 0
    or less, which leaves no ratio.

    Returns slots expected that have no value, and slots that failed range, zero run and spike.
    Raises `ValueError` on unequal shapes, unknown states, edges outside the row, limits outside their type.
    """
    cdef Py_ssize_t n = values.shape[0], i, missing = 0, ranges, zeros, spikes
    check_states(state, n)
    if rules.shape[0] != n:
        raise ValueError(f"rules has {rules.shape[0]} slots, values has {n}")
    check_edges(edges, n)
    for name, limit in (("low", low), ("high", high), ("spike_floor", spike_floor)):
        if not -(2**31) <= limit < 2**31:
            raise ValueError(f"{name} {limit} does not fit 32 bits")
    if low > high:
        raise ValueError(f"low {low} is above high {high}")
    if zero_run < 1:
        raise ValueError(f"zero_run {zero_run} is less than one slot")
    if not 0 < spike_permille <= LARGEST_PERMILLE:
        raise ValueError(f"spike_permille {spike_permille} is not in 1..{LARGEST_PERMILLE}")
    cdef int32_t c_low = low, c_high = high, c_floor = spike_floor
    cdef Py_ssize_t c_zero_run = min(zero_run, n + 1)
    cdef int64_t c_permille = spike_permille
    with nogil:
        for i in range(n):
            missing += state[i] == CState.EXPECTED or state[i] == CState.MISSING
        ranges = flag_range(values, state, c_low, c_high, rules)
        zeros = flag_zero_runs(values, state, c_zero_run, rules)
        spikes = flag_spikes(values, state, edges, c_permille, c_floor, rules)
    return missing, ranges, zeros, spikes


def sum_check(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    uint32_t[::1] rules not None,
    *,
    register_delta,
    tolerance,
):
    """Compare the sum of all slots with the register difference over the same span; arrays of shape (n,).

    Where they differ by more than ``tolerance`` counts, sets `Rule.SUM_CHECK` on every slot. Returns sum minus
    ``register_delta``, or None where a slot has no value, which leaves nothing to compare.
    Raises `ValueError` on unequal shapes, unknown states, a negative tolerance or a difference beyond 2**62.
    """
    cdef Py_ssize_t n = values.shape[0], i
    cdef int64_t total = 0
    cdef bint is_complete = True
    check_states(state, n)
    if rules.shape[0] != n:
        raise ValueError(f"rules has {rules.shape[0]} slots, values has {n}")
    if tolerance < 0:
        raise ValueError(f"tolerance {tolerance} is negative")
    if not -LARGEST_DELTA <= register_delta <= LARGEST_DELTA:
        raise ValueError(f"register_delta {register_delta} does not fit 62 bits")
    with nogil:
        for i in range(n):
            if carries(state[i]):
                total += values[i]
            else:
                is_complete = False
    if not is_complete:
        return None
    difference = total - register_delta
    if abs(difference) > tolerance:
        with nogil:
            for i in range(n):
                rules[i] |= <uint32_t>CRule.SUM_CHECK
    return difference
