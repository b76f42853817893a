import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

NOT_HANDLED: int
NEEDS_STEP: int
MAX_COLUMNS: int
MAX_ITEMS: int
MAX_LENGTH: int
MAX_STEP: int

def count_rows(
    data: Buffer,  # const uint8_t[::1]
) -> int: ...
def decode_profile(
    data: Buffer,  # const uint8_t[::1]
    stamp_column: int,  # Py_ssize_t
    step: int,  # int64_t [s]
    offset: int | None,  # int64_t [s]
    believes_deviation: bool,  # bint
    values: npt.NDArray[np.int64],  # int64_t[:, ::1], shape (columns, rows), written
    types: npt.NDArray[np.uint8],  # uint8_t[:, ::1], shape (columns, rows), written
    stamps: npt.NDArray[np.int64],  # int64_t[::1], shape (rows,), written
    status: npt.NDArray[np.uint8],  # uint8_t[::1], shape (rows,), written
) -> int: ...
def lay_intervals(
    values: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    types: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (rows,)
    stamps: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    status: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (rows,)
    first: int,  # int64_t [s]
    period: int,  # int64_t [s]
    exponent: int,  # int
    counts: npt.NDArray[np.int32],  # int32_t[::1], shape (slots,), written
    has_value: npt.NDArray[np.uint8],  # uint8_t[::1], shape (slots,), written
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (slots,), written
) -> int: ...
