from enum import IntFlag

import numpy as np
import numpy.typing as npt

class Condition(IntFlag):
    VOLTAGE_LOSS = 1
    PHASE_BREAK = 2
    CURRENT_LOSS = 4
    CURRENT_BREAK = 8
    VOLTAGE_IMBALANCE = 16
    CURRENT_IMBALANCE = 32
    SEVERE_CURRENT_IMBALANCE = 64
    NEUTRAL_CURRENT = 128

def beyond(
    values: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    rules: npt.NDArray[np.uint32],  # uint32_t[::1], shape (n,), written
    *,
    low: int,
    high: int,
    shortest: int,
    rule: int,
) -> int: ...
def conditions(
    volts: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (phases, n)
    volt_state: npt.NDArray[np.uint8],  # const uint8_t[:, ::1], shape (phases, n)
    amps: npt.NDArray[np.int32],  # const int32_t[:, ::1], shape (phases, n)
    amp_state: npt.NDArray[np.uint8],  # const uint8_t[:, ::1], shape (phases, n)
    neutral: npt.NDArray[np.int32],  # const int32_t[::1], shape (n,)
    neutral_state: npt.NDArray[np.uint8],  # const uint8_t[::1], shape (n,)
    found: npt.NDArray[np.uint32],  # uint32_t[:, ::1], shape (phases, n), written
    *,
    lost: int,
    recovered: int,
    broken: int,
    present: int,
    idle: int,
    loaded: int,
    voltage_permille: int,
    current_permille: int,
    severe_permille: int,
    neutral_least: int,
    neutral_permille: int,
    shortest: int,
) -> None: ...
