import numpy as np
import numpy.typing as npt

def combine(
    values: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (channels, n)
    state: npt.NDArray[np.uint8],  # const uint8_t[:, ::1], shape (channels, n)
    reason: npt.NDArray[np.uint8],  # const uint8_t[:, ::1], shape (channels, n)
    rules: npt.NDArray[np.uint32],  # const uint32_t[:, ::1], shape (channels, n)
    factors: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels,)
    out_values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    out_state: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    out_reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    out_rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
) -> None: ...
def coarsen(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    reason: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # const uint32_t[::1], shape (n,)
    out_values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    out_state: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    out_reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    out_rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    width: int,
) -> None: ...
