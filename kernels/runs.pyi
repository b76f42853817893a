import numpy as np
import numpy.typing as npt

def runs(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    negative: int,
    constant: int,
    never_zero: int,
) -> tuple[int, int, int]: ...
def steps(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    permille: int,
    floor: int,
) -> int: ...
def local_peaks(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    permille: int,
    floor: int,
) -> int: ...
