"""Rules over the days of one row: how many of their slots have a value, and their usage against an earlier period's."""

from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint32_t
from kernels.quality cimport CRule, CState
from kernels.slots cimport carries, check_edges, check_length, check_states, check_within

cdef enum:
    PERMILLE = 1000

cdef int64_t LARGEST_USAGE = <int64_t>1 << 45
cdef int64_t LARGEST_FACTOR = 100_000


def incomplete_days(
    const uint8_t[::1] state not None,
    const int64_t[::1] edges not None,
    uint32_t[::1] rules not None,
    *,
    permille,
):
    """Flag all slots of a day of which too few have a value (`Rule.INCOMPLETE_DAY`).

    Shapes: state and rules (n,), edges (days + 1,) as in `kernels.validate`: a day has as many slots as its edges say,
    of which those not expected do not count. It fails where slots with a value are fewer than ``permille`` / 1000 of
    those expected. Returns the days that failed.
    Raises `ValueError` on unequal shapes, unknown states, bad edges or permille outside 0..1000.
    """
    cdef Py_ssize_t n = state.shape[0], day, i, failed = 0
    cdef int64_t expected, valued
    check_states(state, n)
    check_length("rules", rules.shape[0], n)
    check_edges(edges, n)
    check_within("permille", permille, 0, PERMILLE)
    cdef int64_t c_permille = permille
    with nogil:
        for day in range(edges.shape[0] - 1):
            expected = valued = 0
            for i in range(edges[day], edges[day + 1]):
                expected += state[i] != CState.NOT_EXPECTED
                valued += carries(state[i])
            if valued * PERMILLE < c_permille * expected:
                failed += 1
                for i in range(edges[day], edges[day + 1]):
                    rules[i] |= <uint32_t>CRule.INCOMPLETE_DAY
    return failed


def high_low(
    const int64_t[::1] usage not None,
    const int64_t[::1] base not None,
    const uint8_t[::1] known not None,
    const int64_t[::1] edges not None,
    uint32_t[::1] rules not None,
    *,
    low_permille,
    high_permille,
    least,
    rule,
):
    """Flag all slots of a day whose period's usage is out of proportion to an earlier period's.

    Shapes: usage, base and known (days,), edges (days + 1,), rules (n,). ``usage``: of the period that ends with the
    day;
    ``base``: of the earlier period of the same length; days where ``known`` is 0 are not judged. A day fails the bit
    ``rule`` if usage < ``low_permille`` / 1000 of base, or usage > ``high_permille`` / 1000 of base; not where neither
    is above ``least``.
    Returns the days that failed. Raises `ValueError` on unequal shapes, bad edges, factors outside 0..100000 or out of
    order, usage beyond 2^45.
    """
    cdef Py_ssize_t days = edges.shape[0] - 1, day, i, failed = 0
    check_edges(edges, rules.shape[0])
    if usage.shape[0] != days or base.shape[0] != days or known.shape[0] != days:
        raise ValueError(f"usage has {usage.shape[0]}, base {base.shape[0]}, known {known.shape[0]} days, edges make {days}")
    check_within("low_permille", low_permille, 0, high_permille)
    check_within("high_permille", high_permille, 0, LARGEST_FACTOR)
    check_within("least", least, 0, LARGEST_USAGE)
    cdef int64_t low = low_permille, high = high_permille, c_least = least
    cdef uint32_t bit = rule
    for day in range(days):
        if known[day] and not (-LARGEST_USAGE <= usage[day] <= LARGEST_USAGE and -LARGEST_USAGE <= base[day] <= LARGEST_USAGE):
            raise ValueError(f"usage {usage[day]} or base {base[day]} of day {day} is beyond 2^45")
    with nogil:
        for day in range(days):
            if not known[day] or (usage[day] <= c_least and base[day] <= c_least):
                continue
            if usage[day] * PERMILLE < low * base[day] or usage[day] * PERMILLE > high * base[day]:
                failed += 1
                for i in range(edges[day], edges[day + 1]):
                    rules[i] |= bit
    return failed
