import numpy as np
import numpy.typing as npt

def by_bucket(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    bucket: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    sums: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (m, k), written
    counts: npt.NDArray[np.int64],  # int64_t[:, :, ::1], shape (m, k, STATES), written
) -> None: ...
def demand_by_bucket(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    bucket: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    maxima: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (m, k), written
    slots: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (m, k), written
    *,
    width: int,
    step: int,
) -> None: ...
def tiers(
    total: int,
    limits: npt.NDArray[np.int64],  # const int64_t[::1], shape (k,)
    shares: npt.NDArray[np.int64],  # int64_t[::1], shape (k + 1,), written
) -> None: ...
def within_band(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    counts: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (m, 4), written
    *,
    low: int,
    high: int,
    assessed_low: int,
    assessed_high: int,
) -> None: ...
