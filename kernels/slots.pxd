# What kernels over slots share: which states carry a value, and the checks before a loop. Inline, so there is no module to import.

from libc.stdint cimport int64_t, uint8_t
from kernels.quality cimport CState


cdef inline bint carries(uint8_t state) noexcept nogil:
    return CState.MEASURED <= state <= CState.EDITED


cdef inline int check_length(str name, Py_ssize_t found, Py_ssize_t n) except -1:
    if found != n:
        raise ValueError(f"{name} has {found} slots, values has {n}")
    return 0


cdef inline int check_states(const uint8_t[::1] state, Py_ssize_t n) except -1:
    cdef Py_ssize_t i
    check_length("state", state.shape[0], n)
    for i in range(n):
        if state[i] > CState.MISSING:
            raise ValueError(f"state of slot {i} is {state[i]}, which is no code of State")
    return 0


cdef inline int check_edges(const int64_t[::1] edges, Py_ssize_t n) except -1:
    cdef Py_ssize_t i
    cdef bint is_fine = edges.shape[0] >= 1 and edges[0] >= 0 and edges[edges.shape[0] - 1] <= n
    for i in range(1, edges.shape[0]):
        is_fine = is_fine and edges[i - 1] <= edges[i]
    if not is_fine:
        raise ValueError(f"edges must be one or more non-decreasing slot offsets within 0..{n}")
    return 0


cdef inline int check_within(str name, limit, low, high) except -1:
    if not low <= limit <= high:
        raise ValueError(f"{name} {limit} is not in {low}..{high}")
    return 0
