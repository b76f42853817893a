from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernels.tile import Limits, Outcome

def instruction_sets() -> tuple[str, ...]: ...
def run(
    tiles: npt.NDArray[np.int32],  # const int32_t[:, :, ::1], shape (tiles, slots, 16), written unless out is given
    kinds: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (tiles,)
    limits: Sequence[Limits],
    outcome: Outcome,  # its arrays are written
    *,
    edges: npt.NDArray[np.int32],  # const int32_t[::1], shape (hours + 1,)
    tariffs: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (slots,)
    registers: npt.NDArray[np.int64] | None = None,  # const int64_t[:, ::1], shape (tiles, 16)
    out: npt.NDArray[np.int32] | None = None,  # int32_t[:, :, ::1], shape (tiles, slots, 16), written
    threads: int = 1,
    instruction_set: str | None = None,
) -> None: ...
def rows_to_tiles(
    rows: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (n, slots)
    tiles: npt.NDArray[np.int32],  # int32_t[:, :, ::1], shape (n / 16 rounded up, slots, 16), written
) -> None: ...
def tiles_to_rows(
    tiles: npt.NDArray[np.int32],  # const int32_t[:, :, ::1], shape (n / 16 rounded up, slots, 16)
    rows: npt.NDArray[np.int32],  # int32_t[:, ::1], shape (n, slots), written
) -> None: ...
def series_to_tiles(
    values: npt.NDArray[np.int32],  # const int32_t[:, :, ::1], shape (meters, channels, slots)
    state: npt.NDArray[np.uint8],  # const uint8_t[:, :, ::1], shape (meters, channels, slots)
    reason: npt.NDArray[np.uint8],  # const uint8_t[:, :, ::1], shape (meters, channels, slots)
    lows: npt.NDArray[np.int32],  # const int32_t[::1], shape (channels,)
    tiles: npt.NDArray[np.int32],  # int32_t[:, :, ::1], shape (channels * (meters / 16 rounded up), slots, 16), written
) -> None: ...
def tiles_to_series(
    tiles: npt.NDArray[np.int32],  # const int32_t[:, :, ::1], shape (channels * (meters / 16 rounded up), slots, 16)
    flags: npt.NDArray[np.uint8],  # const uint8_t[:, :, ::1], shape of tiles
    lows: npt.NDArray[np.int32],  # const int32_t[::1], shape (channels,)
    values: npt.NDArray[np.int32],  # int32_t[:, :, ::1], shape (meters, channels, slots), written
    state: npt.NDArray[np.uint8],  # uint8_t[:, :, ::1], shape (meters, channels, slots), written
    reason: npt.NDArray[np.uint8],  # uint8_t[:, :, ::1], shape (meters, channels, slots), written
    rules: npt.NDArray[np.uint32],  # uint32_t[:, :, ::1], shape (meters, channels, slots), written
    *,
    failing: int,
) -> None: ...
