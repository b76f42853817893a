import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

VALUES_VERSION: int
RUNS_VERSION: int

def encode_values(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    has_value: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[::1], shape (n,)
) -> bytes: ...
def decode_values(
    data: Buffer,  # const uint8_t[::1]
    has_value: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[::1], shape (n,)
    out: npt.NDArray[np.int32],  # int32_t[::1], shape (n,)
) -> None: ...
def encode_runs(
    codes: npt.NDArray[np.uint32],  # const uint32_t[::1], shape (n,)
) -> bytes: ...
def decode_runs(
    data: Buffer,  # const uint8_t[::1]
    out: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,)
) -> None: ...
