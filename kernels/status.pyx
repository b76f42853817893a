"""What a meter's own status says of its slots, as bits of the rule mask and causes of a miss. Rules only ever *set*
bits."""

from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t
from kernels.quality cimport CReason, CRule, CState
from kernels.slots cimport carries, check_length, check_states, check_within


def flag_status(
    const uint32_t[::1] words not None,
    const uint8_t[::1] state not None,
    uint8_t[::1] reason not None,
    uint32_t[::1] rules not None,
    *,
    power_failure,
    clock_set,
    test_mode,
    overflow,
    doubtful,
):
    """Translate a status word per slot; arrays of shape (n,). Each keyword is the mask of the words' bits that mean it,
    0: none.

    A slot with a value gets `Rule.POWER_FAILURE`, `Rule.CLOCK_SET`, `Rule.TEST_MODE`, `Rule.OVERFLOW` or
    `Rule.METER_STATUS`; a slot that is missing gets reason POWER_OFF or CLOCK_MOVED, the power first. Returns the slots
    that got anything.
    Raises `ValueError` on unequal shapes, unknown states or a mask that is no 32-bit word.
    """
    cdef Py_ssize_t n = words.shape[0], i, kind, flagged = 0
    cdef uint32_t[5] masks
    cdef uint32_t[5] bits = [
        CRule.POWER_FAILURE, CRule.CLOCK_SET, CRule.TEST_MODE, CRule.OVERFLOW, CRule.METER_STATUS
    ]
    cdef uint32_t found
    check_states(state, n)
    check_length("reason", reason.shape[0], n)
    check_length("rules", rules.shape[0], n)
    for kind, (name, mask) in enumerate(
        (
            ("power_failure", power_failure),
            ("clock_set", clock_set),
            ("test_mode", test_mode),
            ("overflow", overflow),
            ("doubtful", doubtful),
        )
    ):
        check_within(name, mask, 0, UINT32_MAX)
        masks[kind] = mask
    with nogil:
        for i in range(n):
            if carries(state[i]):
                found = 0
                for kind in range(5):
                    if words[i] & masks[kind]:
                        found |= bits[kind]
                rules[i] |= found
                flagged += found != 0
            elif state[i] == CState.MISSING:
                if words[i] & masks[0]:
                    reason[i] = CReason.POWER_OFF
                    flagged += 1
                elif words[i] & masks[1]:
                    reason[i] = CReason.CLOCK_MOVED
                    flagged += 1
    return flagged
