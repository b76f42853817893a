import numpy as np
import numpy.typing as npt

def both_ways(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    other: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    other_state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    floor: int,
) -> int: ...
def reactive(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    other: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    other_state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    floor: int,
    tangent_ppm: int,
) -> tuple[int, int]: ...
