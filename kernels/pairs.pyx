"""Rules over two channels of one meter on one grid: energy both ways at once, reactive beside active energy.

Each call judges one channel, ``values`` with its ``rules``, by another one. A row is as in `kernels.validate`. Rules
only ever *set* bits.
"""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from kernels.quality cimport CRule
from kernels.slots cimport carries, check_length, check_states, check_within

cdef int64_t MILLION = 1_000_000
cdef int64_t LARGEST_TANGENT = 1_000_000_000


cdef int check(
    Py_ssize_t n, const uint8_t[::1] state, Py_ssize_t others, const uint8_t[::1] other_state, Py_ssize_t masks, floor
) except -1:
    check_states(state, n)
    check_length("other", others, n)
    check_states(other_state, n)
    check_length("rules", masks, n)
    check_within("floor", floor, 0, INT32_MAX)
    return 0


def both_ways(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int32_t[::1] other not None,
    const uint8_t[::1] other_state not None,
    uint32_t[::1] rules not None,
    *,
    floor,
):
    """Flag slots in which import and export are both above ``floor`` (`Rule.BOTH_WAYS`); arrays of shape (n,).

    Both channels count in the same unit and scaler. Returns the slots that failed. Raises `ValueError` on unequal
    shapes, unknown states or a floor outside 0..2^31-1.
    """
    cdef Py_ssize_t n = values.shape[0], i, flagged = 0
    check(n, state, other.shape[0], other_state, rules.shape[0], floor)
    cdef int32_t c_floor = floor
    with nogil:
        for i in range(n):
            if carries(state[i]) and carries(other_state[i]) and values[i] > c_floor and other[i] > c_floor:
                rules[i] |= <uint32_t>CRule.BOTH_WAYS
                flagged += 1
    return flagged


def reactive(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int32_t[::1] other not None,
    const uint8_t[::1] other_state not None,
    uint32_t[::1] rules not None,
    *,
    floor,
    tangent_ppm,
):
    """Flag active energy that its reactive energy does not go with; arrays of shape (n,), both counting 10^s of Wh and
    varh.

    Where active ``values`` are above ``floor``: a slot where the reactive channel, ``other``, should have a value and
    has none fails `Rule.REACTIVE_ABSENT`; one with |reactive| > ``tangent_ppm`` / 10^6 of active fails
    `Rule.POWER_FACTOR` (tangent of the angle whose cosine is the lowest power factor; 0 leaves this out).
    Returns the slots that failed each. Raises `ValueError` on unequal shapes, unknown states, a floor outside 0..2^31-1
    or a tangent outside 0..10^9.
    """
    cdef Py_ssize_t n = values.shape[0], i, absent = 0, poor = 0
    check(n, state, other.shape[0], other_state, rules.shape[0], floor)
    check_within("tangent_ppm", tangent_ppm, 0, LARGEST_TANGENT)
    cdef int64_t c_tangent = tangent_ppm, drawn
    cdef int32_t c_floor = floor
    with nogil:
        for i in range(n):
            if not carries(state[i]) or values[i] <= c_floor:
                continue
            if not carries(other_state[i]):
                if other_state[i] != 0:
                    rules[i] |= <uint32_t>CRule.REACTIVE_ABSENT
                    absent += 1
                continue
            drawn = other[i]
            drawn = -drawn if drawn < 0 else drawn
            if c_tangent and drawn * MILLION > c_tangent * values[i]:
                rules[i] |= <uint32_t>CRule.POWER_FACTOR
                poor += 1
    return absent, poor
