import numpy as np
import numpy.typing as npt

def lay_facts(
    counts: list[tuple[int | None, ...]],
    masks: list[tuple[int, ...]],
    places: npt.NDArray[np.int64],  # const int64_t[:, ::1], shape (facts, 4)
    values: npt.NDArray[np.int32],  # int32_t[:, ::1], shape (rows, slots); written
    has_value: npt.NDArray[np.uint8] | npt.NDArray[np.bool_],  # uint8_t[:, ::1], shape (rows, slots); written
    rules: npt.NDArray[np.uint32],  # uint32_t[:, ::1], shape (rows, slots); written
) -> tuple[int, int]: ...
