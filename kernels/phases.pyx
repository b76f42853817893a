"""Rules over voltage, current and power that hold for a while: limits with a delay, and what the phases say together.

Limits are counts of the channels they are held against; the caller makes them from nominal voltage, basic and maximum
current.
Source: the alarm table of DL/T 645 and Q/GDW meters (firmware defaults; two independent sources agree); how each
condition reads is said with it.
"""

from enum import IntFlag

from libc.stdint cimport INT32_MAX, INT32_MIN, int32_t, int64_t, uint8_t, uint32_t
from kernels.slots cimport carries, check_length, check_states, check_within

cpdef enum CCondition:
    VOLTAGE_LOSS = 1
    PHASE_BREAK = 2
    CURRENT_LOSS = 4
    CURRENT_BREAK = 8
    VOLTAGE_IMBALANCE = 16
    CURRENT_IMBALANCE = 32
    SEVERE_CURRENT_IMBALANCE = 64
    NEUTRAL_CURRENT = 128

Condition = IntFlag("Condition", dict(CCondition.__members__), module=__name__)

cdef enum:
    PERMILLE = 1000
    CONDITIONS = 8

cdef int64_t LARGEST_LIMIT = <int64_t>1 << 31


cdef void keep_held(uint32_t[:, ::1] marks, Py_ssize_t row, uint32_t bit, Py_ssize_t shortest) noexcept nogil:
    """Clear a bit where it stands in fewer than ``shortest`` slots in a row."""
    cdef Py_ssize_t n = marks.shape[1], i, j, first = 0
    for i in range(n + 1):
        if i < n and marks[row, i] & bit:
            continue
        if i - first < shortest:
            for j in range(first, i):
                marks[row, j] &= ~bit
        first = i + 1


cdef bint extremes(
    const int32_t[:, ::1] values, const uint8_t[:, ::1] state, Py_ssize_t i, int64_t* least, int64_t* greatest
) noexcept nogil:
    """Give the least and greatest value of all phases in a slot; False where one of them carries none, or there is no
    phase."""
    cdef Py_ssize_t phase
    least[0] = INT32_MAX
    greatest[0] = INT32_MIN
    for phase in range(values.shape[0]):
        if not carries(state[phase, i]):
            return False
        least[0] = min(least[0], <int64_t>values[phase, i])
        greatest[0] = max(greatest[0], <int64_t>values[phase, i])
    return values.shape[0] > 0


def beyond(
    const int32_t[::1] values not None,
    const uint8_t[::1] state not None,
    uint32_t[::1] rules not None,
    *,
    low,
    high,
    shortest,
    rule,
):
    """Flag runs of at least ``shortest`` slots whose values are all below ``low``, or all above ``high``; arrays of
    shape (n,).

    Sets the bit ``rule``; a slot without value ends a run. Returns the slots that failed. Raises `ValueError` on
    unequal shapes, unknown states, limits beyond 2^31 or out of order, or a run of less than one slot.
    """
    cdef Py_ssize_t n = values.shape[0], i, j, first = 0, flagged = 0
    check_states(state, n)
    check_length("rules", rules.shape[0], n)
    check_within("low", low, -LARGEST_LIMIT, high)
    check_within("high", high, low, LARGEST_LIMIT)
    if shortest < 1:
        raise ValueError(f"shortest {shortest} is less than one slot")
    cdef int64_t c_low = low, c_high = high
    cdef Py_ssize_t c_shortest = min(shortest, n + 1)
    cdef uint32_t bit = rule
    cdef int side = 0, here
    with nogil:
        for i in range(n + 1):
            here = 0
            if i < n and carries(state[i]):
                here = (values[i] > c_high) - (values[i] < c_low)
            if i < n and here == side and here != 0:
                continue
            if side != 0 and i - first >= c_shortest:
                for j in range(first, i):
                    rules[j] |= bit
                flagged += i - first
            first = i
            side = here
    return flagged


def conditions(
    const int32_t[:, ::1] volts not None,
    const uint8_t[:, ::1] volt_state not None,
    const int32_t[:, ::1] amps not None,
    const uint8_t[:, ::1] amp_state not None,
    const int32_t[::1] neutral not None,
    const uint8_t[::1] neutral_state not None,
    uint32_t[:, ::1] found not None,
    *,
    lost,
    recovered,
    broken,
    present,
    idle,
    loaded,
    voltage_permille,
    current_permille,
    severe_permille,
    neutral_least,
    neutral_permille,
    shortest,
):
    """Write what voltages and currents of a meter's phases say together, as bits of `Condition` per phase and slot.

    Shapes: volts, amps, their states and found (phases, n), neutral and its state (n,); ``found`` is overwritten. With
    U and I of a phase, limits in counts:

    - VOLTAGE_LOSS from U < ``lost`` with I > ``idle``, until U >= ``recovered``; PHASE_BREAK: U < ``broken`` and I <
      ``idle``
    - CURRENT_LOSS: U > ``present``, I < ``idle`` and another phase's I > ``loaded``; CURRENT_BREAK: U > ``broken``, I <
      ``idle``, no such phase
    - VOLTAGE_IMBALANCE, CURRENT_IMBALANCE, SEVERE_CURRENT_IMBALANCE on all phases: (greatest - least) / greatest above
      so many permille; currents only where the greatest is above ``loaded``
    - NEUTRAL_CURRENT on all phases: neutral current above ``neutral_least`` and above ``neutral_permille`` / 1000 of
      the greatest I

    A condition that needs a value its slot does not carry does not stand there. Each must stand for ``shortest`` slots
    in a row; shorter ones are taken back. Raises `ValueError` on unequal shapes, unknown states, a limit outside
    0..2^31 or a run of less than one slot.
    """
    cdef Py_ssize_t phases = volts.shape[0], n = volts.shape[1], phase, i, valued
    cdef int64_t[11] limit
    cdef int64_t least, greatest
    cdef bint is_lost, has_volt, has_amp
    cdef uint32_t bits
    for name, rows, slots in (
        ("volt_state", volt_state.shape[0], volt_state.shape[1]),
        ("amps", amps.shape[0], amps.shape[1]),
        ("amp_state", amp_state.shape[0], amp_state.shape[1]),
        ("found", found.shape[0], found.shape[1]),
    ):
        if rows != phases or slots != n:
            raise ValueError(f"{name} is {rows} x {slots}, volts is {phases} x {n}")
    check_length("neutral", neutral.shape[0], n)
    check_states(neutral_state, n)
    for phase in range(phases):
        check_states(volt_state[phase], n)
        check_states(amp_state[phase], n)
    for i, (name, given) in enumerate(
        (
            ("lost", lost), ("recovered", recovered), ("broken", broken), ("present", present), ("idle", idle),
            ("loaded", loaded), ("voltage_permille", voltage_permille), ("current_permille", current_permille),
            ("severe_permille", severe_permille), ("neutral_least", neutral_least), ("neutral_permille", neutral_permille),
        )
    ):
        check_within(name, given, 0, LARGEST_LIMIT)
        limit[i] = given
    if shortest < 1:
        raise ValueError(f"shortest {shortest} is less than one slot")
    cdef Py_ssize_t c_shortest = min(shortest, n + 1)
    cdef int64_t c_lost = limit[0], c_recovered = limit[1], c_broken = limit[2], c_present = limit[3], c_idle = limit[4]
    cdef int64_t c_loaded = limit[5]
    with nogil:
        for phase in range(phases):
            is_lost = False
            for i in range(n):
                bits = 0
                has_volt = carries(volt_state[phase, i])
                has_amp = carries(amp_state[phase, i])
                if not has_volt:
                    is_lost = False
                elif is_lost:
                    is_lost = volts[phase, i] < c_recovered
                else:
                    is_lost = has_amp and volts[phase, i] < c_lost and amps[phase, i] > c_idle
                if is_lost:
                    bits |= CCondition.VOLTAGE_LOSS
                if has_volt and has_amp and amps[phase, i] < c_idle:
                    if volts[phase, i] < c_broken:
                        bits |= CCondition.PHASE_BREAK
                    greatest = -1
                    for valued in range(phases):
                        if valued != phase and carries(amp_state[valued, i]) and amps[valued, i] > greatest:
                            greatest = amps[valued, i]
                    if greatest > c_loaded:
                        if volts[phase, i] > c_present:
                            bits |= CCondition.CURRENT_LOSS
                    elif volts[phase, i] > c_broken:
                        bits |= CCondition.CURRENT_BREAK
                found[phase, i] = bits
        for i in range(n):
            bits = 0
            if extremes(volts, volt_state, i, &least, &greatest) and phases > 1:
                if (greatest - least) * PERMILLE > limit[6] * greatest:
                    bits |= CCondition.VOLTAGE_IMBALANCE
            if extremes(amps, amp_state, i, &least, &greatest):
                if phases > 1 and greatest > c_loaded:
                    if (greatest - least) * PERMILLE > limit[7] * greatest:
                        bits |= CCondition.CURRENT_IMBALANCE
                    if (greatest - least) * PERMILLE > limit[8] * greatest:
                        bits |= CCondition.SEVERE_CURRENT_IMBALANCE
                if carries(neutral_state[i]) and neutral[i] > limit[9]:
                    if neutral[i] * <int64_t>PERMILLE > limit[10] * greatest:
                        bits |= CCondition.NEUTRAL_CURRENT
            for phase in range(phases):
                found[phase, i] |= bits
        for phase in range(phases):
            for i in range(CONDITIONS):
                keep_held(found, phase, <uint32_t>1 << i, c_shortest)
