import numpy as np
import numpy.typing as npt

def incomplete_days(
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    permille: int,
) -> int: ...
def high_low(
    usage: npt.NDArray[np.int64],  # const int64_t[::1], shape (m,)
    base: npt.NDArray[np.int64],  # const int64_t[::1], shape (m,)
    known: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[::1], shape (m,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (m + 1,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    low_permille: int,
    high_permille: int,
    least: int,
    rule: int,
) -> int: ...
