from enum import IntEnum, IntFlag

class State(IntEnum):
    NOT_EXPECTED = 0
    EXPECTED = 1
    MEASURED = 2
    QUESTIONABLE = 3
    ESTIMATED = 4
    EDITED = 5
    MISSING = 6

class Reason(IntEnum):
    NONE = 0
    NOT_DUE = 1
    NO_ROUTE = 2
    NO_ANSWER = 3
    LINE_NOISE = 4
    WRONG_METER = 5
    REFUSED = 6
    SECURITY = 7
    COUNTER = 8
    NO_ROW = 9
    MEMORY_LOST = 10
    CLOCK_MOVED = 11
    POWER_OFF = 12
    GATEWAY_DOWN = 13
    NO_LINE_TIME = 14
    SET_ASIDE = 15
    DISABLED = 16
    LINEAR = 64
    LIKE_DAY = 65
    PREVIOUS_YEAR = 66
    CLASS_PROFILE = 67
    CHECK_METER = 68
    FLAT = 69
    REGISTER_LUMP = 70
    ZERO = 71
    INEXACT_BOUNDARY = 72
    MANUAL = 96

class Rule(IntFlag):
    RANGE = 1
    SPIKE = 2
    ZERO_RUN = 4
    SUM_CHECK = 8
    METER_STATUS = 16
    FLOAT_RESOLUTION = 32
    CONFLICT = 64
    UNPROTECTED = 128

HAS_VALUE: frozenset[State]
"""States in which a slot carries a value."""
IS_CHECKED_BUILD: bool
"""True where the kernels were built with bounds checks (HEADEND_CHECKED_KERNELS=1)."""
IS_SANITIZED_BUILD: bool
"""True where the kernels were built with sanitizers (HEADEND_SANITIZED_KERNELS=1)."""
