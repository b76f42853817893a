from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

_Writable: TypeAlias = bytearray | memoryview | npt.NDArray[np.uint8]
_Readable: TypeAlias = Buffer | npt.NDArray[np.uint8]

VALUES_VERSION: int
RUNS_VERSION: int

def row_bound(
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
) -> int: ...
def body_bound(
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
) -> int: ...
def encode_rows(
    values: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (rows, slots)
    has_value: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[:, ::1], shape (rows, slots)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
    out: _Writable,  # uint8_t[::1], at least rows * row_bound(edges); written
    ends: npt.NDArray[np.int64],  # int64_t[::1], shape (rows,); written
) -> int: ...
def decode_rows(
    data: _Readable,  # const uint8_t[::1]
    ends: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    has_value: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # const uint8_t[:, ::1], shape (rows, slots)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
    out: npt.NDArray[np.int32],  # int32_t[:, ::1], shape (rows, slots); written
) -> None: ...
def encode_runs(
    codes: npt.NDArray[np.uint32],  # const uint32_t[::1], shape (n,)
) -> bytes: ...
def decode_runs(
    data: _Readable,  # const uint8_t[::1]
    out: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,); written
) -> None: ...
def encode_bodies(
    values: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (rows, slots)
    state: npt.NDArray[np.uint8],  # const uint8_t[:, ::1], shape (rows, slots)
    reason: npt.NDArray[np.uint8],  # const uint8_t[:, ::1], shape (rows, slots)
    rules: npt.NDArray[np.uint32],  # const uint32_t[:, ::1], shape (rows, slots)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
    out: _Writable,  # uint8_t[::1], at least rows * body_bound(edges); written
    ends: npt.NDArray[np.int64],  # int64_t[::1], shape (rows,); written
) -> int: ...
def decode_bodies(
    data: _Readable,  # const uint8_t[::1]
    starts: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    ends: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
    values: npt.NDArray[np.int32],  # int32_t[:, ::1], shape (rows, slots); written
    state: npt.NDArray[np.uint8],  # uint8_t[:, ::1], shape (rows, slots); written
    reason: npt.NDArray[np.uint8],  # uint8_t[:, ::1], shape (rows, slots); written
    rules: npt.NDArray[np.uint32],  # uint32_t[:, ::1], shape (rows, slots); written
    *,
    first: int = 0,
    last: int = -1,
) -> None: ...
def decode_blocks(
    blocks: list[bytes],
    starts: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    tail: int,
    edges: npt.NDArray[np.int64],  # const int64_t[::1], shape (channels + 1,)
    values: npt.NDArray[np.int32],  # int32_t[:, ::1], shape (rows, slots); written
    state: npt.NDArray[np.uint8],  # uint8_t[:, ::1], shape (rows, slots); written
    reason: npt.NDArray[np.uint8],  # uint8_t[:, ::1], shape (rows, slots); written
    rules: npt.NDArray[np.uint32],  # uint32_t[:, ::1], shape (rows, slots); written
    *,
    first: int = 0,
    last: int = -1,
) -> None: ...
def begin_with(
    blocks: list[bytes],
    heads: _Readable,  # const uint8_t[::1]
    starts: npt.NDArray[np.int64],  # const int64_t[::1], shape (rows,)
    tail: int,
) -> bool: ...
