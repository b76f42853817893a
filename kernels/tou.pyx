"""Time of use: sums and maximum demand per tariff bucket within periods, energy per price step, time within a voltage
band.

A slot's bucket (register, rate) is a small code the caller makes from a calendar. Period j holds slots ``edges[j]`` to
``edges[j + 1]``, exclusive.
"""

from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t
from kernels.quality cimport CState
from kernels.slots cimport carries, check_edges, check_length, check_states, check_within


cdef int check_buckets(
    const uint8_t[::1] bucket, const int64_t[::1] edges, Py_ssize_t n, Py_ssize_t rows, Py_ssize_t columns, str name
) except -1:
    cdef Py_ssize_t i
    check_length("bucket", bucket.shape[0], n)
    check_edges(edges, n)
    if rows != edges.shape[0] - 1:
        raise ValueError(f"{name} has {rows} periods, edges make {edges.shape[0] - 1}")
    for i in range(n):
        if bucket[i] >= columns:
            raise ValueError(f"bucket of slot {i} is {bucket[i]}; {name} has {columns} buckets")
    return 0


def by_bucket(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const uint8_t[::1] bucket not None,
    const int64_t[::1] edges not None,
    int64_t[:, ::1] sums not None,
    int64_t[:, :, ::1] counts not None,
):
    """Sum the slots that carry a value by period and bucket, and count slots by state.

    Shapes: values, state, bucket (n,), edges (m + 1,), sums (m, k), counts (m, k, 7) with the code of `State` as last
    index; both are overwritten.
    Raises `ValueError` on other shapes, unknown states, bad edges or a bucket of k or more.
    """
    cdef Py_ssize_t n = values.shape[0], period, i, code
    check_states(state, n)
    check_buckets(bucket, edges, n, sums.shape[0], sums.shape[1], "sums")
    if counts.shape[0] != sums.shape[0] or counts.shape[1] != sums.shape[1] or counts.shape[2] != CState.MISSING + 1:
        raise ValueError(f"counts is {counts.shape[0]} x {counts.shape[1]} x {counts.shape[2]}; sums wants {sums.shape[0]} x {sums.shape[1]} x 7")
    with nogil:
        for period in range(sums.shape[0]):
            for i in range(sums.shape[1]):
                sums[period, i] = 0
                for code in range(counts.shape[2]):
                    counts[period, i, code] = 0
            for i in range(edges[period], edges[period + 1]):
                counts[period, bucket[i], state[i]] += 1
                if carries(state[i]):
                    sums[period, bucket[i]] += values[i]


def demand_by_bucket(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const uint8_t[::1] bucket not None,
    const int64_t[::1] edges not None,
    int64_t[:, ::1] maxima not None,
    int64_t[:, ::1] slots not None,
    *,
    width,
    step,
):
    """Find each bucket's greatest demand per period: the sum of ``width`` slots in a row, one such span every ``step``
    slots from the period's start.

    ``step`` = ``width`` gives block demand, less sliding demand. Shapes: values, state, bucket (n,), edges (m + 1,),
    maxima and slots (m, k). A span counts where all of its slots carry a value and lie in one period and one bucket.
    ``slots``: where the earliest greatest span starts, -1 (and maximum 0) where there is none. Raises `ValueError` on
    other shapes, unknown states, bad edges, a bucket of k or more, or a width or step below 1.
    """
    cdef Py_ssize_t n = values.shape[0], period, first, i, column
    cdef int64_t total
    cdef bint is_whole
    check_states(state, n)
    check_buckets(bucket, edges, n, maxima.shape[0], maxima.shape[1], "maxima")
    if slots.shape[0] != maxima.shape[0] or slots.shape[1] != maxima.shape[1]:
        raise ValueError(f"slots is {slots.shape[0]} x {slots.shape[1]}, maxima {maxima.shape[0]} x {maxima.shape[1]}")
    if width < 1 or step < 1:
        raise ValueError(f"width {width} and step {step} must be one slot or more")
    cdef Py_ssize_t c_width = min(width, n + 1), c_step = min(step, n + 1)
    with nogil:
        for period in range(maxima.shape[0]):
            for column in range(maxima.shape[1]):
                maxima[period, column] = 0
                slots[period, column] = -1
            first = edges[period]
            while first + c_width <= edges[period + 1]:
                total = 0
                is_whole = True
                column = bucket[first]
                for i in range(first, first + c_width):
                    if not carries(state[i]) or bucket[i] != column:
                        is_whole = False
                        break
                    total += values[i]
                if is_whole and (slots[period, column] < 0 or total > maxima[period, column]):
                    maxima[period, column] = total
                    slots[period, column] = first
                first += c_step


def tiers(total, const int64_t[::1] limits not None, int64_t[::1] shares not None):
    """Cut ``total`` into price steps: what lies below the first limit, between it and the second, and so on; the last
    step is open.

    Shapes: limits (k,), rising and not negative; shares (k + 1,), overwritten, summing to ``total``. Negative energy
    stays whole in the first step.
    Raises `ValueError` on other shapes, limits that fall, or a total beyond int64.
    """
    cdef Py_ssize_t i, steps = limits.shape[0]
    cdef int64_t before = 0, rest, c_total
    if shares.shape[0] != steps + 1:
        raise ValueError(f"shares has {shares.shape[0]} steps; {steps} limits make {steps + 1}")
    for i in range(steps):
        if limits[i] < before:
            raise ValueError(f"limit {i} is {limits[i]}, below the one before or 0")
        before = limits[i]
    check_within("total", total, -(2**62), 2**62)
    c_total = total
    with nogil:
        before = 0
        rest = c_total
        for i in range(steps):
            shares[i] = min(rest, limits[i] - before)
            rest -= shares[i]
            before = limits[i]
        shares[steps] = rest


def within_band(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int64_t[::1] edges not None,
    int64_t[:, ::1] counts not None,
    *,
    low,
    high,
    assessed_low,
    assessed_high,
):
    """Count per period the slots below, within and above a band, and those not assessed: without value or outside the
    assessed range.

    Shapes: values and state (n,), edges (m + 1,), counts (m, 4), overwritten. All limits are inclusive counts. Source
    of the method: voltage qualification rate of DL/T 645 and Q/GDW meters. Raises `ValueError` on other shapes, unknown
    states, bad edges or limits out of order or of 32 bits.
    """
    cdef Py_ssize_t n = values.shape[0], period, i, column
    check_states(state, n)
    check_edges(edges, n)
    if counts.shape[0] != edges.shape[0] - 1 or counts.shape[1] != 4:
        raise ValueError(f"counts is {counts.shape[0]} x {counts.shape[1]}, not {edges.shape[0] - 1} x 4")
    check_within("assessed_low", assessed_low, -(2**31), low)
    check_within("low", low, assessed_low, high)
    check_within("high", high, low, assessed_high)
    check_within("assessed_high", assessed_high, high, 2**31 - 1)
    cdef int64_t c_low = low, c_high = high, least = assessed_low, greatest = assessed_high
    with nogil:
        for period in range(counts.shape[0]):
            for column in range(4):
                counts[period, column] = 0
            for i in range(edges[period], edges[period + 1]):
                if not carries(state[i]) or values[i] < least or values[i] > greatest:
                    column = 3
                elif values[i] < c_low:
                    column = 0
                elif values[i] > c_high:
                    column = 2
                else:
                    column = 1
                counts[period, column] += 1
