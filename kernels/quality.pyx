"""Quality of a slot, as three small arrays with permanent numeric codes.

*state* (uint8, `State`) says what a slot is; *reason* (uint8, `Reason`) why it is missing or how it was estimated or
edited; *rule mask* (uint32, bits of `Rule`) which validation rules it failed. The C enums of ``quality.pxd`` are the one
definition; the Python ones are made from them (Cython alone would make each an IntFlag, which does not iterate over
codes that are not powers of two).
"""

from enum import IntEnum, IntFlag

cdef extern from *:
    const int HEADEND_CHECKED, HEADEND_SANITIZED

State = IntEnum("State", dict(CState.__members__), module=__name__)
Reason = IntEnum("Reason", dict(CReason.__members__), module=__name__)
Rule = IntFlag("Rule", dict(CRule.__members__), module=__name__)

HAS_VALUE = frozenset((State.MEASURED, State.QUESTIONABLE, State.ESTIMATED, State.EDITED))
IS_CHECKED_BUILD = bool(HEADEND_CHECKED)
IS_SANITIZED_BUILD = bool(HEADEND_SANITIZED)
