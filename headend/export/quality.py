"""Our quality codes in the words of each format. Tables, and the checks that keep what is written within the format.

NEM12: AEMO, Meter Data File Format Specification NEM12 & NEM13, appendices C (quality flags), D (method flags) and E
(reason codes); methods 21 to 25 came with version 7.8 of the metrology procedure. Our meters are read remotely (metering
installation types 1 to 4), whose methods are 11 to 25 and go with S or F only; E is for methods of types 5 to 7.
"""

from dataclasses import dataclass
from functools import lru_cache

from headend.export.rows import Row, rule_words, word
from kernels.quality import Reason, Rule, State

NEM12_METHODS = frozenset((*range(11, 26), *range(51, 60), *range(61, 70), *range(71, 76)))
NEM12_ESTIMATE_METHODS = frozenset((51, 52, 56, 57, 58, 59, 61, 62, 63, 65, 68, 75))  # E; the others S and F only
NEM12_OBSOLETE_METHODS = frozenset((16,))
NULL_DATA = 78
FAILED_VALIDATION = 45
REPLACED_DATA = 24

# Appendix D. LIKE_DAY is a mean over several reference days; what has no flag of its own is 18, alternate.
_METHOD = {
    Reason.LINEAR: 17,
    Reason.LIKE_DAY: 15,
    Reason.PREVIOUS_YEAR: 23,
    Reason.CLASS_PROFILE: 18,
    Reason.CHECK_METER: 11,
    Reason.FLAT: 18,
    Reason.REGISTER_LUMP: 18,
    Reason.ZERO: 19,
    Reason.INEXACT_BOUNDARY: 18,
    Reason.MANUAL: 18,
}
# Appendix E: 76 communications fault, 79 power outage, 89 time reset, 87 reset, 45 failed to validate, 78 null data.
_REASON = {
    Reason.NO_ROUTE: 76,
    Reason.NO_ANSWER: 76,
    Reason.LINE_NOISE: 76,
    Reason.GATEWAY_DOWN: 76,
    Reason.MEMORY_LOST: 87,
    Reason.CLOCK_MOVED: 89,
    Reason.POWER_OFF: 79,
    Reason.SET_ASIDE: FAILED_VALIDATION,
}


@dataclass(frozen=True, slots=True)
class Nem12Quality:
    """QualityMethod, ReasonCode and ReasonDescription of one interval."""

    method: str
    reason: int | None = None
    text: str = ""

    def __post_init__(self) -> None:
        """Refuse what the specification does not allow."""
        check_quality_method(self.method)
        if self.method[0] in "SF" and self.reason is None:
            raise ValueError(f"{self.method}: a substitute needs a reason code")
        if self.reason == 0 and not self.text:
            raise ValueError(f"{self.method}: reason code 0 needs a description")


def check_quality_method(text: str) -> None:
    """Refuse a QualityMethod that may not be written. Raises `ValueError` saying which rule it breaks."""
    flag, digits = text[:1], text[1:]
    if flag in ("A", "N", "V"):
        if digits:
            raise ValueError(f"{text}: quality {flag} takes no method")
        return
    if flag not in ("E", "F", "S") or len(digits) != 2 or not digits.isdecimal() or not digits.isascii():
        raise ValueError(f"{text!r} is not a quality flag with its method, such as A or S17")
    method = int(digits)
    if method not in NEM12_METHODS or method in NEM12_OBSOLETE_METHODS:
        raise ValueError(f"{text}: method {method} is not one that may be written")
    if flag == "E" and method not in NEM12_ESTIMATE_METHODS:
        raise ValueError(f"{text}: quality E does not go with method {method}; use S or F")


NEM12_NOT_METERED = Nem12Quality("N", NULL_DATA, "not metered")


def nem12(row: Row) -> Nem12Quality:
    """Give the NEM12 quality of a row.

    Measured is A. A measured value that failed validation is A with reason 45, naming the rules. Estimates and edits are
    S with their method; the reason is what was missing, else 24 (replaced data). Missing and not yet read are N.
    """
    return _nem12(row.state, row.method, row.reason, row.rules)


@lru_cache(maxsize=1024)
def _nem12(state: State, method: Reason, reason: Reason, rules: Rule) -> Nem12Quality:
    if state is State.MEASURED:
        return Nem12Quality("A")
    if state is State.QUESTIONABLE:
        return Nem12Quality("A", FAILED_VALIDATION, rule_words(rules).replace("|", " "))
    if state in (State.ESTIMATED, State.EDITED):
        code = REPLACED_DATA if reason is Reason.NONE else _REASON.get(reason, NULL_DATA)
        return Nem12Quality(f"S{_METHOD.get(method, 18)}", code, _words(reason) or _words(method))
    if state is State.MISSING:
        return Nem12Quality("N", _REASON.get(reason, NULL_DATA), _words(reason) or "missing")
    return Nem12Quality("N", NULL_DATA, "not yet read")


def _words(reason: Reason) -> str:
    return word(reason).replace("_", " ")
