import numpy as np
import numpy.typing as npt

def validate(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (days + 1,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    low: int,
    high: int,
    zero_run: int,
    spike_permille: int,
    spike_floor: int,
) -> tuple[int, int, int, int]: ...
def sum_check(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    register_delta: int,
    tolerance: int,
) -> int | None: ...
