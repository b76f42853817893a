# Permanent numeric codes of reading quality. They are stored: never renumber, never reuse; see docs/decisions/quality-codes.md.

cpdef enum CState:
    NOT_EXPECTED = 0
    EXPECTED = 1
    MEASURED = 2
    QUESTIONABLE = 3
    ESTIMATED = 4
    EDITED = 5
    MISSING = 6

cpdef enum CReason:
    NONE = 0
    # causes of a missing slot
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
    DROPPED = 17
    # methods of an estimate
    LINEAR = 64
    LIKE_DAY = 65
    PREVIOUS_YEAR = 66
    CLASS_PROFILE = 67
    CHECK_METER = 68
    FLAT = 69
    REGISTER_LUMP = 70
    ZERO = 71
    INEXACT_BOUNDARY = 72
    # methods of an edit
    MANUAL = 96

cpdef enum CRule:
    # bits of the rule mask: which rules a slot failed
    RANGE = 1
    SPIKE = 2
    ZERO_RUN = 4
    SUM_CHECK = 8
    METER_STATUS = 16
    FLOAT_RESOLUTION = 32
    CONFLICT = 64
    UNPROTECTED = 128  # information alone: read where nobody checks parity
    INCOMPLETE_DAY = 256
    LOCAL_PEAK = 512
    NEGATIVE_RUN = 1024
    CONSTANT_RUN = 2048
    NEVER_ZERO = 4096
    STEP = 8192
    HIGH_LOW = 16384
    HIGH_LOW_YEAR = 32768
    REACTIVE_ABSENT = 65536
    POWER_FACTOR = 131072
    BOTH_WAYS = 262144
    VOLTAGE = 524288
    CURRENT = 1048576
    POWER = 2097152
    IMBALANCE = 4194304
    NEUTRAL = 8388608
    POWER_FAILURE = 16777216
    CLOCK_SET = 33554432
    TEST_MODE = 67108864
    OVERFLOW = 134217728
    CLOCK_DRIFT = 268435456
    MAIN_CHECK = 536870912
    TARIFF_SUM = 1073741824
    STATUS_UNKNOWN = 2147483648  # information alone: a status bit of which nobody says what it means
