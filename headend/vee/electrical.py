"""The rules of voltage, current and power: limits from the connection, and what the phases say together.

Source: alarm table of DL/T 645 and Q/GDW meters. Each condition must stand for its delay; an interval as long as the
delay, or longer, is enough by itself.
"""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from drivers.obis import Obis
from drivers.units import ScalerUnit, Unit
from headend.series import Series
from headend.vee.checks import KINDS, Check
from headend.vee.rules import Connection
from headend.vee.work import INT32_MAX, Work, counts_of, on_scaler
from kernels import phases
from kernels.phases import Condition
from kernels.quality import State

VOLTAGES, CURRENTS, NEUTRAL = (32, 52, 72), (31, 51, 71), 91
POWER_IMPORT, POWER_EXPORT, FACTOR = 1, 2, 13
INSTANT = 7
"""Value groups C and D. IEC 62056-6-1."""
_BY_PHASES = {"voltage", "current", "imbalance", "neutral"}
_OF_VOLTAGE = Condition.VOLTAGE_LOSS | Condition.PHASE_BREAK
_OF_CURRENT = Condition.CURRENT_LOSS | Condition.CURRENT_BREAK
_OF_CURRENTS = Condition.CURRENT_IMBALANCE | Condition.SEVERE_CURRENT_IMBALANCE
_OFF = INT32_MAX

Counts = npt.NDArray[np.int32]
States = npt.NDArray[np.uint8]


def electrical_siblings(obis: Obis, checks: Mapping[str, Check]) -> list[Obis]:
    """List the channels that a voltage or current is judged by, itself not among them."""
    phased = {*VOLTAGES, *CURRENTS, NEUTRAL}
    if obis.d != INSTANT or obis.c not in phased or not checks.keys() & _BY_PHASES:
        return []
    return [Obis(obis.a, obis.b, group, obis.d, obis.e, obis.f) for group in sorted(phased - {obis.c})]


def mark_electrical(work: Work) -> None:
    """Set the bits that a voltage, current, power or power factor fails; any other channel is left alone."""
    obis, connection, checks = work.beside.obis, work.rules.connection, work.rules.checks
    if obis is None or obis.d != INSTANT or connection is None:
        return
    if obis.c in VOLTAGES and "voltage" in checks:
        check, volts = checks["voltage"], connection.volts
        _limit(
            work, check, Fraction(volts * check["low_permille"], 1000), Fraction(volts * check["high_permille"], 1000)
        )
    elif obis.c in CURRENTS and "current" in checks:
        check = checks["current"]
        _limit(work, check, None, Fraction(connection.maximum * check["over_permille"], 1000))
    elif obis.c in {POWER_IMPORT, POWER_EXPORT, FACTOR} and "power" in checks:
        _limit_power(work, checks["power"], connection, obis.c)
    if obis.c in {*VOLTAGES, *CURRENTS, NEUTRAL} and checks.keys() & _BY_PHASES:
        _mark_phases(work, obis, connection)


def _limit_power(work: Work, check: Check, connection: Connection, group: int) -> None:
    multiplier = work.beside.multiplier
    if group == FACTOR:
        _limit(work, check, Fraction(check["factor_permille"], 1000), None)
    elif group == POWER_EXPORT:
        _limit(work, check, None, Fraction(connection.basic_power(multiplier) * check["reverse_permille"], 1000))
    else:
        low = -Fraction(connection.basic_power(multiplier) * check["reverse_permille"], 1000)
        _limit(work, check, low, Fraction(connection.power(multiplier) * check["over_permille"], 1000))


def _limit(work: Work, check: Check, low: Fraction | None, high: Fraction | None) -> None:
    """Flag values below ``low`` or above ``high``, in the channel's unit, that stand for the check's delay."""
    series = work.series
    # Rounded up below and down above, so that a count on the limit is fine and one beyond it fails.
    lowest = -(2**31) if low is None else max(-(2**31), -_counts(-low, series))
    highest = INT32_MAX if high is None else _counts(high, series)
    phases.beyond(
        series.values, series.state, series.rules,
        low=lowest, high=highest, shortest=_slots(check["delay"], series.period), rule=check.rule,
    )  # fmt: skip


def _counts(value: Fraction, series: Series) -> int:
    return counts_of(value, series.scaler_unit, series.period)


def _slots(delay: int, period: int) -> int:
    return max(1, -(-delay // period))


def _mark_phases(work: Work, obis: Obis, connection: Connection) -> None:
    rows = {obis: work.series, **work.beside.siblings}
    found = {name: _rows(rows, obis, groups, unit, len(work.series)) for name, groups, unit in (
        ("volts", VOLTAGES[: connection.phases], Unit.VOLT), ("amps", CURRENTS[: connection.phases], Unit.AMPERE),
        ("neutral", (NEUTRAL,), Unit.AMPERE),
    )}  # fmt: skip
    amps, amp_state, amp_scaler = found["amps"]
    neutral, neutral_state, neutral_scaler = found["neutral"]
    if neutral_scaler != amp_scaler:
        # One scaler for all currents; a neutral that has another cannot be held against the phases exactly.
        scaler = min(neutral_scaler, amp_scaler)
        amps, amp_state = _finer(amps, amp_state, amp_scaler - scaler)
        neutral, neutral_state = _finer(neutral, neutral_state, neutral_scaler - scaler)
        amp_scaler = scaler
    volts, volt_state, volt_scaler = found["volts"]
    for delay, names in _by_delay(work.rules.checks).items():
        marks = np.zeros(volts.shape, np.uint32)
        phases.conditions(
            volts, volt_state, amps, amp_state, neutral[0], neutral_state[0], marks,
            shortest=_slots(delay, work.series.period), **_limits(work, connection, volt_scaler, amp_scaler),
        )  # fmt: skip
        for name in names:
            conditions = _conditions(name, obis.c)
            group = VOLTAGES if obis.c in VOLTAGES else CURRENTS
            phase = group.index(obis.c) if obis.c in group else 0
            if phase < len(marks):
                hit = marks[phase] & np.uint32(conditions) != 0
                work.series.rules[hit & work.series.has_value] |= np.uint32(KINDS[name].rule)


def _by_delay(checks: Mapping[str, Check]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in sorted(checks.keys() & _BY_PHASES):
        found.setdefault(checks[name]["delay"], []).append(name)
    return found


def _conditions(name: str, group: int) -> Condition:
    """Say which conditions of the phases are a rule's failure on a channel."""
    if group in VOLTAGES:
        return {"voltage": _OF_VOLTAGE, "imbalance": Condition.VOLTAGE_IMBALANCE}.get(name, Condition(0))
    if group in CURRENTS:
        return {
            "current": _OF_CURRENT, "imbalance": _OF_CURRENTS, "neutral": Condition.NEUTRAL_CURRENT
        }.get(name, Condition(0))  # fmt: skip
    return Condition.NEUTRAL_CURRENT if name == "neutral" else Condition(0)


def _limits(work: Work, connection: Connection, volt_scaler: int, amp_scaler: int) -> dict[str, int]:
    checks, period = work.rules.checks, work.series.period

    def volts(check: str, key: str) -> int:
        share = checks[check][key] if check in checks else 0
        return counts_of(Fraction(connection.volts * share, 1000), ScalerUnit(volt_scaler, Unit.VOLT), period)

    def amps(check: str, key: str, default: int = 0) -> int:
        share = checks[check][key] if check in checks else default
        return counts_of(Fraction(connection.basic * share, 1000), ScalerUnit(amp_scaler, Unit.AMPERE), period)

    def share(check: str, key: str) -> int:
        return checks[check][key] if check in checks else _OFF

    return {
        "lost": volts("voltage", "lost_permille"), "recovered": volts("voltage", "recovered_permille"),
        "broken": volts("voltage", "broken_permille"), "present": volts("current", "present_permille"),
        "idle": amps("current", "idle_permille", 5), "loaded": amps("current", "loaded_permille", 50),
        "voltage_permille": share("imbalance", "voltage_permille"),
        "current_permille": share("imbalance", "current_permille"),
        "severe_permille": share("imbalance", "severe_permille"),
        "neutral_least": amps("neutral", "least_permille"), "neutral_permille": share("neutral", "share_permille"),
    }  # fmt: skip


def _rows(
    rows: Mapping[Obis, Series], obis: Obis, groups: tuple[int, ...], unit: Unit, n: int
) -> tuple[Counts, States, int]:
    """Stack channels on the finest of their scalers, shape (len(groups), n); one that is not there has no values."""
    named = [rows.get(Obis(obis.a, obis.b, group, obis.d, obis.e, obis.f)) for group in groups]
    there = [None if one is None or one.scaler_unit.unit is not unit else one for one in named]
    scaler = min((one.scaler_unit.scaler for one in there if one is not None), default=0)
    values, state = np.zeros((len(groups), n), np.int32), np.full((len(groups), n), State.NOT_EXPECTED, np.uint8)
    for row, one in enumerate(there):
        if one is not None:
            values[row], state[row] = on_scaler(one, scaler)
    return values, state, scaler


def _finer(values: Counts, state: States, digits: int) -> tuple[Counts, States]:
    factor = 10**digits
    fits = np.abs(values.astype(np.int64)) <= INT32_MAX // factor
    scaled = np.where(fits, values.astype(np.int64) * min(factor, INT32_MAX), 0).astype(np.int32)
    return scaled, np.where(fits, state, np.uint8(State.NOT_EXPECTED))
