import numpy as np
import numpy.typing as npt

def linear(
    values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    state: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    doubted: npt.NDArray[np.uint8] | npt.NDArray[np.bool_] | None = None,  # const uint8_t[::1], shape (n,)
    *,
    longest: int,
) -> int: ...
def like_day(
    values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    state: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    reference: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (days, n)
    usable: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[:, ::1], shape (days, n)
    *,
    most: int,
) -> int: ...
def substitute(
    values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    state: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    source: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    usable: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[::1], shape (n,)
    *,
    method: int,
) -> int: ...
def zero(
    values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    state: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
    reason: npt.NDArray[np.uint8],  # uint8_t[::1], shape (n,), written
) -> int: ...
def gap_lengths(
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    reason: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    lengths: npt.NDArray[np.int64],  # int64_t[::1], shape (n,), written
) -> None: ...
def spread(
    values: npt.NDArray[np.int32],  # int32_t[::1], shape (n,), written
    gap: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[::1], shape (n,)
    total: int,
) -> None: ...
