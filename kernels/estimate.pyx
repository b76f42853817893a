"""First estimates of missing slots: linear interpolation, average of like days, spread of a register difference.

A gap is a run of slots in state MISSING. A slot missing with reason POWER_OFF is never estimated here: it ends a gap,
and no energy is drawn into it. All arithmetic is on integers; a mean is rounded half up (towards plus infinity).
"""

from libc.stdint cimport INT32_MAX, INT32_MIN, int32_t, int64_t, uint8_t
from kernels.quality cimport CReason, CState

cdef int64_t LARGEST_TOTAL = <int64_t>1 << 62


cdef inline int64_t floor_div(int64_t dividend, int64_t divisor) noexcept nogil:
    """Divide by a positive number, rounding down; C rounds towards zero."""
    cdef int64_t quotient = dividend // divisor
    return quotient - (dividend % divisor < 0)


cdef inline bint is_gap(uint8_t state, uint8_t reason) noexcept nogil:
    return state == CState.MISSING and reason != CReason.POWER_OFF


cdef inline bint is_end(uint8_t state, uint8_t reason) noexcept nogil:
    return state == CState.MEASURED and reason != CReason.POWER_OFF


cdef int check_row(Py_ssize_t n, const uint8_t[::1] state, const uint8_t[::1] reason) except -1:
    if state.shape[0] != n or reason.shape[0] != n:
        raise ValueError(f"values has {n} slots, state {state.shape[0]}, reason {reason.shape[0]}")
    return 0


cdef inline bint is_doubted(const uint8_t[::1] doubted, Py_ssize_t i) noexcept nogil:
    return doubted is not None and doubted[i]


def linear(
    int32_t[::1] values not None,
    uint8_t[::1] state not None,
    uint8_t[::1] reason not None,
    const uint8_t[::1] doubted=None,
    *,
    longest,
):
    """Fill gaps of at most ``longest`` slots on the line between the values at their ends; arrays of shape (n,), in place.

    Both ends must be measured, neither with a power failure in it, nor where ``doubted`` (if given) is not 0. Filled slots become ESTIMATED with reason LINEAR.
    Rounded half up to the integer unit, each from the two ends, so errors do not add up. Returns the slots filled.
    Raises `ValueError` on unequal shapes or a negative ``longest``. Source: CPUC VEE, section 4 (point to point).
    """
    cdef Py_ssize_t n = values.shape[0], i, j, first = 0, filled = 0
    check_row(n, state, reason)
    if doubted is not None and doubted.shape[0] != n:
        raise ValueError(f"values has {n} slots, doubted {doubted.shape[0]}")
    if longest < 0:
        raise ValueError(f"longest {longest} is negative")
    cdef Py_ssize_t c_longest = min(longest, n)
    cdef int64_t steps, rise
    with nogil:
        for i in range(n):
            if is_gap(state[i], reason[i]):
                continue
            steps = i - first + 1
            if (
                1 < steps <= c_longest + 1
                and first > 0
                and is_end(state[i], reason[i])
                and is_end(state[first - 1], reason[first - 1])
                and not is_doubted(doubted, i)
                and not is_doubted(doubted, first - 1)
            ):
                rise = <int64_t>values[i] - values[first - 1]
                for j in range(first, i):
                    values[j] = <int32_t>(
                        values[first - 1] + floor_div(2 * rise * (j - first + 1) + steps, 2 * steps)
                    )
                    state[j] = CState.ESTIMATED
                    reason[j] = CReason.LINEAR
                    filled += 1
            first = i + 1
    return filled


def like_day(
    int32_t[::1] values not None,
    uint8_t[::1] state not None,
    uint8_t[::1] reason not None,
    const int32_t[:, ::1] reference not None,
    const uint8_t[:, ::1] usable not None,
    *,
    most,
):
    """Fill each missing slot with the mean of the same slot of like days; rows of shape (n,), in place.

    ``reference``, ``usable``: shape (days, n), nearest day first; a value counts where ``usable`` is not 0.
    The first ``most`` usable ones are averaged, rounded half up; where there is none the slot stays missing.
    Filled slots become ESTIMATED with reason LIKE_DAY. Returns the slots filled.
    Raises `ValueError` on unequal shapes or ``most`` below 1. Source: CPUC VEE, section 4 (average of reference days).
    """
    cdef Py_ssize_t n = values.shape[0], days = reference.shape[0], i, day, filled = 0
    check_row(n, state, reason)
    if usable.shape[0] != days or reference.shape[1] != n or usable.shape[1] != n:
        raise ValueError(
            f"reference is {reference.shape[0]} x {reference.shape[1]}, usable {usable.shape[0]} x {usable.shape[1]}; "
            f"both must be days x {n}"
        )
    if most < 1:
        raise ValueError(f"most {most} is less than one day")
    cdef Py_ssize_t c_most = min(most, days + 1)
    cdef int64_t total, count
    with nogil:
        for i in range(n):
            if not is_gap(state[i], reason[i]):
                continue
            total = 0
            count = 0
            for day in range(days):
                if usable[day, i]:
                    total += reference[day, i]
                    count += 1
                    if count == c_most:
                        break
            if count:
                values[i] = <int32_t>floor_div(2 * total + count, 2 * count)
                state[i] = CState.ESTIMATED
                reason[i] = CReason.LIKE_DAY
                filled += 1
    return filled


def substitute(
    int32_t[::1] values not None,
    uint8_t[::1] state not None,
    uint8_t[::1] reason not None,
    const int32_t[::1] source not None,
    const uint8_t[::1] usable not None,
    *,
    method,
):
    """Fill each missing slot with the same slot of another row (previous year, class profile, check meter); shape (n,), in place.

    Only where ``usable`` is not 0. Filled slots become ESTIMATED with reason ``method``. Returns the slots filled.
    Raises `ValueError` on unequal shapes or a method that is no estimate's.
    """
    cdef Py_ssize_t n = values.shape[0], i, filled = 0
    check_row(n, state, reason)
    if source.shape[0] != n or usable.shape[0] != n:
        raise ValueError(f"values has {n} slots, source {source.shape[0]}, usable {usable.shape[0]}")
    if not CReason.LINEAR <= method < CReason.MANUAL:
        raise ValueError(f"method {method} is no method of an estimate")
    cdef uint8_t c_method = method
    with nogil:
        for i in range(n):
            if is_gap(state[i], reason[i]) and usable[i]:
                values[i] = source[i]
                state[i] = CState.ESTIMATED
                reason[i] = c_method
                filled += 1
    return filled


def zero(int32_t[::1] values not None, uint8_t[::1] state not None, uint8_t[::1] reason not None):
    """Give each slot missing because the power was off the value 0, ESTIMATED with reason ZERO; shape (n,), in place.

    Nothing was drawn, so nothing is guessed. Returns the slots filled. Raises `ValueError` on unequal shapes.
    """
    cdef Py_ssize_t n = values.shape[0], i, filled = 0
    check_row(n, state, reason)
    with nogil:
        for i in range(n):
            if state[i] == CState.MISSING and reason[i] == CReason.POWER_OFF:
                values[i] = 0
                state[i] = CState.ESTIMATED
                reason[i] = CReason.ZERO
                filled += 1
    return filled


def gap_lengths(const uint8_t[::1] state not None, const uint8_t[::1] reason not None, int64_t[::1] lengths not None):
    """Write how many slots the gap has that each slot lies in, 0 outside of gaps; arrays of shape (n,). Raises `ValueError` on unequal shapes."""
    cdef Py_ssize_t n = state.shape[0], i, j, first = 0
    if reason.shape[0] != n or lengths.shape[0] != n:
        raise ValueError(f"state has {n} slots, reason {reason.shape[0]}, lengths {lengths.shape[0]}")
    with nogil:
        for i in range(n + 1):
            if i < n and is_gap(state[i], reason[i]):
                continue
            for j in range(first, i):
                lengths[j] = i - first
            if i < n:
                lengths[i] = 0
            first = i + 1


def spread(int32_t[::1] values not None, const uint8_t[::1] gap not None, total):
    """Share ``total`` out over the slots where ``gap`` is not 0, in proportion to their values; shape (n,), in place.

    What is there before is the shape: 0 or more each; all 0 means equal shares. The new values sum to ``total`` exactly:
    each slot takes the whole part of what is due so far and passes the rest on, so the same input gives the same shares.
    Raises `ValueError`, with nothing changed, on unequal shapes, no slot in the gap, a negative shape, or a share that does not fit
    32 bits, or a shape whose sum times its largest value does not fit 62 bits. Source: Elhub (estimates sum to the register difference).
    """
    cdef Py_ssize_t n = values.shape[0], i, slots = 0
    cdef int64_t whole = 0, rest, carry = 0, share, weight, times, largest = 0
    cdef bint is_negative = False, is_equal, is_write, is_fitting = True
    if gap.shape[0] != n:
        raise ValueError(f"gap has {gap.shape[0]} slots, values has {n}")
    if not -LARGEST_TOTAL <= total <= LARGEST_TOTAL:
        raise ValueError(f"total {total} does not fit 62 bits")
    with nogil:
        for i in range(n):
            if gap[i]:
                slots += 1
                whole += values[i]
                largest = max(largest, <int64_t>values[i])
                is_negative = is_negative or values[i] < 0
    if slots == 0:
        raise ValueError("the gap has no slot to spread over")
    if is_negative:
        raise ValueError("the shape has a negative value; spread over an equal shape instead")
    is_equal = whole == 0
    if is_equal:
        whole = slots
        largest = 1
    if whole >= LARGEST_TOTAL // largest:
        raise ValueError(f"a shape of sum {whole} and largest value {largest} is too large to spread by")
    times, rest = divmod(total, whole)
    if not <int64_t>INT32_MIN - 1 <= times <= <int64_t>INT32_MAX + 1:
        raise ValueError(f"total {total} over {slots} slots does not fit 32 bits a slot")
    for is_write in (False, True):
        carry = 0
        with nogil:
            for i in range(n):
                if gap[i]:
                    weight = 1 if is_equal else values[i]
                    carry += rest * weight
                    share = times * weight + carry // whole
                    carry %= whole
                    is_fitting = is_fitting and INT32_MIN <= share <= INT32_MAX
                    if is_write:
                        values[i] = <int32_t>share
        if not is_fitting:
            raise ValueError(f"total {total} over {slots} slots does not fit 32 bits a slot")
