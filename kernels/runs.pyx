"""Rules over neighboring slots of one row: runs of one kind, steps from slot to slot, local peaks.

A row is as in `kernels.validate`; a slot without value ends a run and is nobody's neighbor. Rules only ever *set* bits.
Sources: consecutive-intervals test (Oracle Utilities, D2-CONSINTRV), consecutive-demand tolerance (Itron).
"""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from kernels.quality cimport CRule
from kernels.slots cimport carries, check_length, check_states, check_within

cdef enum Kind:
    NEGATIVE
    CONSTANT
    NEVER_ZERO

cdef enum:
    PERMILLE = 1000

cdef int64_t LARGEST_PERMILLE = 1_000_000_000


cdef inline bint belongs(Kind kind, int32_t value, int32_t before) noexcept nogil:
    """Say whether a value is of a kind of run; ``before``: the run's own first value."""
    if kind == Kind.NEGATIVE:
        return value < 0
    if kind == Kind.CONSTANT:
        return value != 0 and value == before
    return value != 0


cdef Py_ssize_t flag_runs(
    const int32_t[::1] values, const uint8_t[::1] state, Kind kind, Py_ssize_t shortest, uint32_t bit, uint32_t[::1] rules
) except -1 nogil:
    cdef Py_ssize_t n = values.shape[0], i, j, first = 0, flagged = 0
    if shortest == 0:
        return 0
    for i in range(n + 1):
        if i < n and carries(state[i]) and belongs(kind, values[i], values[first]):
            continue
        if i - first >= shortest:
            for j in range(first, i):
                rules[j] |= bit
            flagged += i - first
        first = i + 1
        if kind == Kind.CONSTANT and i < n and carries(state[i]) and values[i] != 0:
            first = i
    return flagged


def runs(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    uint32_t[::1] rules not None,
    *,
    negative,
    constant,
    never_zero,
):
    """Flag runs of at least so many slots: values below 0, one same value other than 0, values none of which is 0.

    Arrays of shape (n,). ``negative``, ``constant``, ``never_zero``: shortest run that fails `Rule.NEGATIVE_RUN`,
    `Rule.CONSTANT_RUN` and `Rule.NEVER_ZERO`, whole; 0 leaves a rule out. Returns the slots that failed each.
    Raises `ValueError` on unequal shapes, unknown states or a negative length.
    """
    cdef Py_ssize_t n = values.shape[0], negatives, constants, nevers
    check_states(state, n)
    check_length("rules", rules.shape[0], n)
    for name, length in (("negative", negative), ("constant", constant), ("never_zero", never_zero)):
        if length < 0:
            raise ValueError(f"{name} {length} is below 0")
    cdef Py_ssize_t c_negative = min(negative, n + 1), c_constant = min(constant, n + 1), c_never = min(never_zero, n + 1)
    with nogil:
        negatives = flag_runs(values, state, Kind.NEGATIVE, c_negative, CRule.NEGATIVE_RUN, rules)
        constants = flag_runs(values, state, Kind.CONSTANT, c_constant, CRule.CONSTANT_RUN, rules)
        nevers = flag_runs(values, state, Kind.NEVER_ZERO, c_never, CRule.NEVER_ZERO, rules)
    return negatives, constants, nevers


def steps(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    uint32_t[::1] rules not None,
    *,
    permille,
    floor,
):
    """Flag each slot that differs too much from the one before (`Rule.STEP`); arrays of shape (n,).

    Value v after u fails if |v - u| > ``floor`` and |v - u| > ``permille`` / 1000 of |u|. Returns the slots that
    failed.
    Raises `ValueError` on unequal shapes, unknown states, permille outside 1..10^9 or floor outside 0..2^31-1.
    """
    cdef Py_ssize_t n = values.shape[0], i, flagged = 0
    check_states(state, n)
    check_length("rules", rules.shape[0], n)
    check_within("permille", permille, 1, LARGEST_PERMILLE)
    check_within("floor", floor, 0, INT32_MAX)
    cdef int64_t c_permille = permille, c_floor = floor, step, before
    with nogil:
        for i in range(1, n):
            if carries(state[i - 1]) and carries(state[i]):
                before = values[i - 1]
                step = values[i] - before
                step = -step if step < 0 else step
                before = -before if before < 0 else before
                if step > c_floor and step * PERMILLE > c_permille * before:
                    rules[i] |= <uint32_t>CRule.STEP
                    flagged += 1
    return flagged


def local_peaks(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    uint32_t[::1] rules not None,
    *,
    permille,
    floor,
):
    """Flag each slot that stands far above both neighbors (`Rule.LOCAL_PEAK`); arrays of shape (n,).

    With m the larger of its two neighbors, value v fails if v > ``floor``, m > 0 and (v - m) / m > ``permille`` / 1000.
    A slot without a value on both sides is not judged. Returns the slots that failed.
    Raises `ValueError` on unequal shapes, unknown states, permille outside 1..10^9 or floor outside 0..2^31-1.
    """
    cdef Py_ssize_t n = values.shape[0], i, flagged = 0
    check_states(state, n)
    check_length("rules", rules.shape[0], n)
    check_within("permille", permille, 1, LARGEST_PERMILLE)
    check_within("floor", floor, 0, INT32_MAX)
    cdef int64_t c_permille = permille, c_floor = floor, higher
    with nogil:
        for i in range(1, n - 1):
            if carries(state[i - 1]) and carries(state[i]) and carries(state[i + 1]) and values[i] > c_floor:
                higher = max(values[i - 1], values[i + 1])
                if higher > 0 and (values[i] - higher) * PERMILLE > c_permille * higher:
                    rules[i] |= <uint32_t>CRule.LOCAL_PEAK
                    flagged += 1
    return flagged
