"""Sums and maximum demand over buckets of slots: hours, local days, months, whatever the edges say.

Bucket j holds slots ``edges[j]`` to ``edges[j + 1]``, exclusive. Sums are exact (int64 of int32).
"""

from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t
from kernels.quality cimport CState
from kernels.slots cimport carries, check_edges, check_states

STATES = int(CState.MISSING) + 1


cdef int check(Py_ssize_t n, const uint8_t[::1] state, const int64_t[::1] edges) except -1:
    check_states(state, n)
    check_edges(edges, n)
    return 0


def aggregate(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int64_t[::1] edges not None,
    int64_t[::1] sums not None,
    int64_t[:, ::1] counts not None,
):
    """Sum each bucket's slots that carry a value, and count its slots by state.

    Shapes: values and state (n,), edges (m + 1,), sums (m,), counts (m, 7) with the code of `State` as column.
    A sum is only whole where its bucket counts nothing expected or missing. Raises `ValueError` on other shapes,
    unknown states, or edges that decrease or leave the row.
    """
    cdef Py_ssize_t buckets = edges.shape[0] - 1, bucket, i, code
    cdef int64_t total
    check(values.shape[0], state, edges)
    if sums.shape[0] != buckets:
        raise ValueError(f"sums has {sums.shape[0]} buckets, edges make {buckets}")
    if counts.shape[0] != buckets or counts.shape[1] != CState.MISSING + 1:
        raise ValueError(f"counts is {counts.shape[0]} x {counts.shape[1]}, not {buckets} x {STATES}")
    with nogil:
        for bucket in range(buckets):
            total = 0
            for code in range(counts.shape[1]):
                counts[bucket, code] = 0
            for i in range(edges[bucket], edges[bucket + 1]):
                counts[bucket, state[i]] += 1
                if carries(state[i]):
                    total += values[i]
            sums[bucket] = total


def maximum_demand(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int64_t[::1] edges not None,
    int64_t[::1] maxima not None,
    int64_t[::1] slots not None,
    *,
    width,
    step=None,
):
    """Find each bucket's greatest demand: the sum of ``width`` slots in a row, one such block every ``step`` slots from the bucket's start.

    ``step``: ``width`` unless given, which is block demand; less is sliding demand.
    Shapes: values and state (n,), edges (m + 1,), maxima and slots (m,). A block counts only where all of its slots carry
    a value and lie in the bucket. ``slots``: slot at which the earliest greatest block starts, -1 (and maximum 0) where there is none.
    Raises `ValueError` on other shapes, unknown states, bad edges or a width or step below 1.
    """
    cdef Py_ssize_t buckets = edges.shape[0] - 1, bucket, first, i, at
    cdef int64_t total, best
    cdef bint is_whole
    check(values.shape[0], state, edges)
    if maxima.shape[0] != buckets or slots.shape[0] != buckets:
        raise ValueError(f"maxima has {maxima.shape[0]}, slots {slots.shape[0]} buckets, edges make {buckets}")
    if width < 1:
        raise ValueError(f"width {width} is less than one slot")
    if step is not None and step < 1:
        raise ValueError(f"step {step} is less than one slot")
    cdef Py_ssize_t c_width = min(width, values.shape[0] + 1)
    cdef Py_ssize_t c_step = c_width if step is None else min(step, values.shape[0] + 1)
    with nogil:
        for bucket in range(buckets):
            best = INT64_MIN
            at = -1
            first = edges[bucket]
            while first + c_width <= edges[bucket + 1]:
                total = 0
                is_whole = True
                for i in range(first, first + c_width):
                    is_whole = is_whole and carries(state[i])
                    total += values[i]
                if is_whole and total > best:
                    best = total
                    at = first
                first += c_step
            maxima[bucket] = best if at >= 0 else 0
            slots[bucket] = at


def extremes(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    const int64_t[::1] edges not None,
    int64_t[:, ::1] found not None,
):
    """Find each bucket's least and greatest value with their slots: columns least, its slot, greatest, its slot.

    Shapes: values and state (n,), edges (m + 1,), found (m, 4), overwritten. The earliest of equals; 0 and slot -1 where no slot carries a value.
    Raises `ValueError` on other shapes, unknown states or bad edges.
    """
    cdef Py_ssize_t bucket, i, low, high
    check(values.shape[0], state, edges)
    if found.shape[0] != edges.shape[0] - 1 or found.shape[1] != 4:
        raise ValueError(f"found is {found.shape[0]} x {found.shape[1]}, not {edges.shape[0] - 1} x 4")
    with nogil:
        for bucket in range(found.shape[0]):
            low = high = -1
            for i in range(edges[bucket], edges[bucket + 1]):
                if carries(state[i]):
                    if low < 0 or values[i] < values[low]:
                        low = i
                    if high < 0 or values[i] > values[high]:
                        high = i
            found[bucket, 0] = values[low] if low >= 0 else 0
            found[bucket, 1] = low
            found[bucket, 2] = values[high] if high >= 0 else 0
            found[bucket, 3] = high
