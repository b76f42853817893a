"""Units and scalers: the only place with powers of ten.

Source: IEC 62056-6-2 (DLMS UA Blue Book), clause on ``scal_unit_type`` and its table of unit codes.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import IntEnum

MAX_COUNT = 2**63 - 1
MAX_DIGITS = 100
_EXACT = Context(prec=MAX_DIGITS)


class Unit(IntEnum):
    """COSEM unit code. IEC 62056-6-2, enumerated values for physical units."""

    YEAR = 1
    MONTH = 2
    WEEK = 3
    DAY = 4
    HOUR = 5
    MINUTE = 6
    SECOND = 7
    DEGREE = 8
    CELSIUS = 9
    CUBIC_METRE = 13
    WATT = 27
    VOLT_AMPERE = 28
    VAR = 29
    WATT_HOUR = 30
    VOLT_AMPERE_HOUR = 31
    VAR_HOUR = 32
    AMPERE = 33
    COULOMB = 34
    VOLT = 35
    OHM = 38
    HERTZ = 44
    PERCENT = 56
    OTHER = 254
    COUNT = 255

    @property
    def symbol(self) -> str:
        """Unit as printed, for example ``Wh``."""
        return _SYMBOLS[self]

    @classmethod
    def parse(cls, text: str) -> "Unit":
        """Find the unit of a symbol such as ``Wh`` or ``var``. Raises `ValueError`."""
        for unit, symbol in _SYMBOLS.items():
            if symbol == text:
                return unit
        raise ValueError(f"unknown unit {text!r}; known: {', '.join(s for s in _SYMBOLS.values() if s)}")


_SYMBOLS: dict[Unit, str] = {
    Unit.YEAR: "a", Unit.MONTH: "mo", Unit.WEEK: "wk", Unit.DAY: "d", Unit.HOUR: "h", Unit.MINUTE: "min",
    Unit.SECOND: "s", Unit.DEGREE: "deg", Unit.CELSIUS: "degC", Unit.CUBIC_METRE: "m3", Unit.WATT: "W",
    Unit.VOLT_AMPERE: "VA", Unit.VAR: "var", Unit.WATT_HOUR: "Wh", Unit.VOLT_AMPERE_HOUR: "VAh", Unit.VAR_HOUR: "varh",
    Unit.AMPERE: "A", Unit.COULOMB: "C", Unit.VOLT: "V", Unit.OHM: "Ohm", Unit.HERTZ: "Hz", Unit.PERCENT: "%",
    Unit.OTHER: "?", Unit.COUNT: "",
}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class ScalerUnit:
    """What one count is worth: ``count * 10**scaler`` of ``unit``. IEC 62056-6-2, ``scal_unit_type``."""

    scaler: int
    unit: Unit

    def __post_init__(self) -> None:
        """Refuse a scaler outside the signed byte the standard gives it."""
        if not -128 <= self.scaler <= 127:
            raise ValueError(f"scaler {self.scaler} is not a signed byte")

    def to_decimal(self, count: int) -> Decimal:
        """Turn a count into an exact decimal in ``unit``."""
        return Decimal(count).scaleb(self.scaler, _EXACT)

    def to_count(self, value: Decimal) -> int:
        """Turn a decimal in ``unit`` into a count. Raises `ValueError` where that would lose a digit or not fit int64."""
        scaled = self._scaled(value)
        count = self._whole(scaled)
        if count != scaled:
            raise ValueError(f"{value} {self.unit.symbol} is not a whole number of 10^{self.scaler} {self.unit.symbol}")
        return count

    def quantise(self, value: Decimal) -> int:
        """Turn a decimal in ``unit`` into the nearest count, half to even. Only where a meter sends floats or JSON numbers."""
        return self._whole(self._scaled(value))

    def rescale(self, count: int, target: "ScalerUnit") -> int:
        """Turn a count of this scaler into one of ``target``'s. Raises `ValueError` if units differ or a digit would be lost."""
        if target.unit is not self.unit:
            raise ValueError(f"cannot turn {self.unit.symbol} into {target.unit.symbol}")
        step = self.scaler - target.scaler
        if step >= 0:
            return count * int(10**step)
        whole, rest = divmod(count, int(10**-step))
        if rest:
            raise ValueError(
                f"{count} x 10^{self.scaler} is not a whole number of 10^{target.scaler} {self.unit.symbol}"
            )
        return whole

    def _scaled(self, value: Decimal) -> Decimal:
        if not value.is_finite():
            raise ValueError(f"{value} is not a finite number")
        if len(value.as_tuple().digits) > MAX_DIGITS or value.adjusted() - self.scaler > 18:
            raise ValueError(f"{value:.6e} {self.unit.symbol} does not fit a signed 64-bit count of 10^{self.scaler}")
        return value.scaleb(-self.scaler, _EXACT)

    @staticmethod
    def _whole(scaled: Decimal) -> int:
        count = int(scaled.to_integral_value(ROUND_HALF_EVEN))
        if not -MAX_COUNT - 1 <= count <= MAX_COUNT:
            raise ValueError(f"{scaled} does not fit a signed 64-bit count")
        return count
