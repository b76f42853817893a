import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

MAX_SCALER: int

def format_slots(
    prefix: Buffer,  # const uint8_t[::1]
    start: int,  # int64_t
    period: int,  # int64_t
    scaler: int,  # int
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    reason: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # const uint32_t[::1], shape (n,)
    *,
    with_missing: bool,
    with_quality: bool = True,
) -> bytes: ...
