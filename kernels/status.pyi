import numpy as np
import numpy.typing as npt

def flag_status(
    words: npt.NDArray[np.uint32],  # const uint32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    power_failure: int,
    clock_set: int,
    test_mode: int,
    overflow: int,
    doubtful: int,
) -> int: ...
