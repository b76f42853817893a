import numpy as np
import numpy.typing as npt

STATES: int

def aggregate(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    sums: npt.NDArray[np.int64],  # int64_t[::1], shape (m,), written
    counts: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (m, STATES), written
) -> None: ...
def maximum_demand(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    maxima: npt.NDArray[np.int64],  # int64_t[::1], shape (m,), written
    slots: npt.NDArray[np.int64],  # int64_t[::1], shape (m,), written
    *,
    width: int,
    step: int | None = None,
) -> None: ...
def extremes(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    found: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (m, 4), written
) -> None: ...
