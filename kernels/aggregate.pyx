"""Sums and maximum demand over buckets of slots: hours, local days, months, whatever the edges say.

Bucket j holds slots ``edges[j]`` to ``edges[j + 1]``, exclusive. Sums are exact (int64 of int32).
"""

from libc.stdint cimport INT64_MIN, int32_t, int64_t, uint8_t
from kernels.quality cimport CState

STATES = int(CState.MISSING) + 1


cdef inline bint carries(uint8_t state) noexcept nogil:
    return CState.MEASURED <= state <= CState.EDITED


cdef int check(Py_ssize_t n, const uint8_t[::1] state, const int64_t[::1] edges) except -1:
    cdef Py_ssize_t i
    if state.shape[0] != n:
        raise ValueError(f"state has {state.shape[0]} slots, values has {n}")
    for i in range(n):
        if state[i] > CState.MISSING:
            raise ValueError(f"state of slot {i} is {state[i]}, which is no code of State")
    cdef bint is_fine = edges.shape[0] >= 1 and edges[0] >= 0 and edges[edges.shape[0] - 1] <= n
    for i in range(1, edges.shape[0]):
        is_fine = is_fine and edges[i - 1] <= edges[i]
    if not is_fine:
        raise ValueError(f"edges must be one or more non-decreasing slot offsets within 0..{n}")
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
):
    """Find each bucket's greatest block demand: the sum of ``width`` slots in a row, blocks counted from the bucket's start.

    Shapes: values and state (n,), edges (m + 1,), maxima and slots (m,). A block counts only where all of its slots carry
    a value and lie in the bucket. ``slots``: slot at which the earliest greatest block starts, -1 (and maximum 0) where there is none.
    Raises `ValueError` on other shapes, unknown states, bad edges or a width below 1.
    """
    cdef Py_ssize_t buckets = edges.shape[0] - 1, bucket, first, i, at
    cdef int64_t total, best
    cdef bint is_whole
    check(values.shape[0], state, edges)
    if maxima.shape[0] != buckets or slots.shape[0] != buckets:
        raise ValueError(f"maxima has {maxima.shape[0]}, slots {slots.shape[0]} buckets, edges make {buckets}")
    if width < 1:
        raise ValueError(f"width {width} is less than one slot")
    cdef Py_ssize_t c_width = min(width, values.shape[0] + 1)
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
                first += c_width
            maxima[bucket] = best if at >= 0 else 0
            slots[bucket] = at
