"""Units and scalers: the only place with powers of ten.

Source: IEC 62056-6-2 (DLMS UA Blue Book), clause on ``scal_unit_type`` and its table of unit codes. Codes to 64 are those of
dlms.com/files/Blue-Book-Ed-122-Excerpt.pdf as transcribed by github.com/themulle/sml-parser 44ad3d7, src/dlms_units.h; the later
ones those that gurux-dlms 1.0.203 names.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from difflib import get_close_matches
from enum import IntEnum

MAX_COUNT = 2**63 - 1
MAX_DIGITS = 100
_EXACT = Context(prec=MAX_DIGITS)


class Unit(IntEnum):
    """COSEM unit code. IEC 62056-6-2, enumerated values for physical units; codes left out are reserved.

    What three codes stand for was found nowhere beyond doubt: 151, 161 and 166, said to be cubic feet and gallons, which have
    codes already. They are printed by number, and so is 253, a unit of the extended table.
    """

    YEAR = 1
    MONTH = 2
    WEEK = 3
    DAY = 4
    HOUR = 5
    MINUTE = 6
    SECOND = 7
    DEGREE = 8
    CELSIUS = 9
    CURRENCY = 10
    METRE = 11
    METRE_PER_SECOND = 12
    CUBIC_METRE = 13
    CORRECTED_CUBIC_METRE = 14
    CUBIC_METRE_PER_HOUR = 15
    CORRECTED_CUBIC_METRE_PER_HOUR = 16
    CUBIC_METRE_PER_DAY = 17
    CORRECTED_CUBIC_METRE_PER_DAY = 18
    LITRE = 19
    KILOGRAM = 20
    NEWTON = 21
    NEWTON_METRE = 22
    PASCAL = 23
    BAR = 24
    JOULE = 25
    JOULE_PER_HOUR = 26
    WATT = 27
    VOLT_AMPERE = 28
    VAR = 29
    WATT_HOUR = 30
    VOLT_AMPERE_HOUR = 31
    VAR_HOUR = 32
    AMPERE = 33
    COULOMB = 34
    VOLT = 35
    VOLT_PER_METRE = 36
    FARAD = 37
    OHM = 38
    OHM_METRE = 39
    WEBER = 40
    TESLA = 41
    AMPERE_PER_METRE = 42
    HENRY = 43
    HERTZ = 44
    PER_WATT_HOUR = 45
    PER_VAR_HOUR = 46
    PER_VOLT_AMPERE_HOUR = 47
    VOLT_SQUARED_HOUR = 48
    AMPERE_SQUARED_HOUR = 49
    KILOGRAM_PER_SECOND = 50
    SIEMENS = 51
    KELVIN = 52
    PER_VOLT_SQUARED_HOUR = 53
    PER_AMPERE_SQUARED_HOUR = 54
    PER_CUBIC_METRE = 55
    PERCENT = 56
    AMPERE_HOUR = 57
    WATT_HOUR_PER_CUBIC_METRE = 60
    JOULE_PER_CUBIC_METRE = 61
    MOLE_PERCENT = 62
    GRAM_PER_CUBIC_METRE = 63
    PASCAL_SECOND = 64
    JOULE_PER_KILOGRAM = 65
    GRAM_PER_SQUARE_CENTIMETRE = 66
    ATMOSPHERE = 67
    DECIBEL_MILLIWATT = 70
    DECIBEL_MICROVOLT = 71
    DECIBEL = 72
    INCH = 128
    FOOT = 129
    POUND = 130
    FAHRENHEIT = 131
    RANKINE = 132
    SQUARE_INCH = 133
    SQUARE_FOOT = 134
    ACRE = 135
    CUBIC_INCH = 136
    CUBIC_FOOT = 137
    ACRE_FOOT = 138
    IMPERIAL_GALLON = 139
    US_GALLON = 140
    POUND_FORCE = 141
    POUND_FORCE_PER_SQUARE_INCH = 142
    POUND_PER_CUBIC_FOOT = 143
    POUND_PER_FOOT_SECOND = 144
    SQUARE_FOOT_PER_SECOND = 145
    BRITISH_THERMAL_UNIT = 146
    EC_THERM = 147
    US_THERM = 148
    BRITISH_THERMAL_UNIT_PER_POUND = 149
    BRITISH_THERMAL_UNIT_PER_CUBIC_FOOT = 150
    CODE_151 = 151
    FOOT_PER_SECOND = 152
    CUBIC_FOOT_PER_SECOND = 153
    CUBIC_FOOT_PER_MINUTE = 154
    CUBIC_FOOT_PER_HOUR = 155
    CUBIC_FOOT_PER_DAY = 156
    ACRE_FOOT_PER_SECOND = 157
    ACRE_FOOT_PER_MINUTE = 158
    ACRE_FOOT_PER_HOUR = 159
    ACRE_FOOT_PER_DAY = 160
    CODE_161 = 161
    IMPERIAL_GALLON_PER_SECOND = 162
    IMPERIAL_GALLON_PER_MINUTE = 163
    IMPERIAL_GALLON_PER_HOUR = 164
    IMPERIAL_GALLON_PER_DAY = 165
    CODE_166 = 166
    US_GALLON_PER_SECOND = 167
    US_GALLON_PER_MINUTE = 168
    US_GALLON_PER_HOUR = 169
    US_GALLON_PER_DAY = 170
    BRITISH_THERMAL_UNIT_PER_SECOND = 171
    BRITISH_THERMAL_UNIT_PER_MINUTE = 172
    BRITISH_THERMAL_UNIT_PER_HOUR = 173
    BRITISH_THERMAL_UNIT_PER_DAY = 174
    EXTENDED = 253
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
        near = get_close_matches(text, filter(None, _SYMBOLS.values())) or ["Wh", "var", "m3"]
        raise ValueError(f"unknown unit {text!r}; there are such as {', '.join(near)}")


_SYMBOLS: dict[Unit, str] = {
    Unit.YEAR: "a", Unit.MONTH: "mo", Unit.WEEK: "wk", Unit.DAY: "d", Unit.HOUR: "h", Unit.MINUTE: "min",
    Unit.SECOND: "s", Unit.DEGREE: "deg", Unit.CELSIUS: "degC", Unit.CURRENCY: "currency", Unit.METRE: "m",
    Unit.METRE_PER_SECOND: "m/s", Unit.CUBIC_METRE: "m3", Unit.CORRECTED_CUBIC_METRE: "m3(corrected)",
    Unit.CUBIC_METRE_PER_HOUR: "m3/h", Unit.CORRECTED_CUBIC_METRE_PER_HOUR: "m3/h(corrected)",
    Unit.CUBIC_METRE_PER_DAY: "m3/d", Unit.CORRECTED_CUBIC_METRE_PER_DAY: "m3/d(corrected)", Unit.LITRE: "l",
    Unit.KILOGRAM: "kg", Unit.NEWTON: "N", Unit.NEWTON_METRE: "Nm", Unit.PASCAL: "Pa", Unit.BAR: "bar", Unit.JOULE: "J",
    Unit.JOULE_PER_HOUR: "J/h", Unit.WATT: "W", Unit.VOLT_AMPERE: "VA", Unit.VAR: "var", Unit.WATT_HOUR: "Wh",
    Unit.VOLT_AMPERE_HOUR: "VAh", Unit.VAR_HOUR: "varh", Unit.AMPERE: "A", Unit.COULOMB: "C", Unit.VOLT: "V",
    Unit.VOLT_PER_METRE: "V/m", Unit.FARAD: "F", Unit.OHM: "Ohm", Unit.OHM_METRE: "Ohmm", Unit.WEBER: "Wb",
    Unit.TESLA: "T", Unit.AMPERE_PER_METRE: "A/m", Unit.HENRY: "H", Unit.HERTZ: "Hz", Unit.PER_WATT_HOUR: "1/Wh",
    Unit.PER_VAR_HOUR: "1/varh", Unit.PER_VOLT_AMPERE_HOUR: "1/VAh", Unit.VOLT_SQUARED_HOUR: "V2h",
    Unit.AMPERE_SQUARED_HOUR: "A2h", Unit.KILOGRAM_PER_SECOND: "kg/s", Unit.SIEMENS: "S", Unit.KELVIN: "K",
    Unit.PER_VOLT_SQUARED_HOUR: "1/V2h", Unit.PER_AMPERE_SQUARED_HOUR: "1/A2h", Unit.PER_CUBIC_METRE: "1/m3",
    Unit.PERCENT: "%", Unit.AMPERE_HOUR: "Ah", Unit.WATT_HOUR_PER_CUBIC_METRE: "Wh/m3",
    Unit.JOULE_PER_CUBIC_METRE: "J/m3", Unit.MOLE_PERCENT: "mol%", Unit.GRAM_PER_CUBIC_METRE: "g/m3",
    Unit.PASCAL_SECOND: "Pas", Unit.JOULE_PER_KILOGRAM: "J/kg", Unit.GRAM_PER_SQUARE_CENTIMETRE: "g/cm2",
    Unit.ATMOSPHERE: "atm", Unit.DECIBEL_MILLIWATT: "dBm", Unit.DECIBEL_MICROVOLT: "dBuV", Unit.DECIBEL: "dB",
    Unit.INCH: "in", Unit.FOOT: "ft", Unit.POUND: "lb", Unit.FAHRENHEIT: "degF", Unit.RANKINE: "degR",
    Unit.SQUARE_INCH: "in2", Unit.SQUARE_FOOT: "ft2", Unit.ACRE: "acre", Unit.CUBIC_INCH: "in3", Unit.CUBIC_FOOT: "ft3",
    Unit.ACRE_FOOT: "acre-ft", Unit.IMPERIAL_GALLON: "gal(imp)", Unit.US_GALLON: "gal(US)", Unit.POUND_FORCE: "lbf",
    Unit.POUND_FORCE_PER_SQUARE_INCH: "psi", Unit.POUND_PER_CUBIC_FOOT: "lb/ft3",
    Unit.POUND_PER_FOOT_SECOND: "lb/(fts)", Unit.SQUARE_FOOT_PER_SECOND: "ft2/s", Unit.BRITISH_THERMAL_UNIT: "Btu",
    Unit.EC_THERM: "thm(EC)", Unit.US_THERM: "thm(US)", Unit.BRITISH_THERMAL_UNIT_PER_POUND: "Btu/lb",
    Unit.BRITISH_THERMAL_UNIT_PER_CUBIC_FOOT: "Btu/ft3", Unit.CODE_151: "unit-151", Unit.FOOT_PER_SECOND: "ft/s",
    Unit.CUBIC_FOOT_PER_SECOND: "ft3/s", Unit.CUBIC_FOOT_PER_MINUTE: "ft3/min", Unit.CUBIC_FOOT_PER_HOUR: "ft3/h",
    Unit.CUBIC_FOOT_PER_DAY: "ft3/d", Unit.ACRE_FOOT_PER_SECOND: "acre-ft/s", Unit.ACRE_FOOT_PER_MINUTE: "acre-ft/min",
    Unit.ACRE_FOOT_PER_HOUR: "acre-ft/h", Unit.ACRE_FOOT_PER_DAY: "acre-ft/d", Unit.CODE_161: "unit-161",
    Unit.IMPERIAL_GALLON_PER_SECOND: "gal(imp)/s", Unit.IMPERIAL_GALLON_PER_MINUTE: "gal(imp)/min",
    Unit.IMPERIAL_GALLON_PER_HOUR: "gal(imp)/h", Unit.IMPERIAL_GALLON_PER_DAY: "gal(imp)/d", Unit.CODE_166: "unit-166",
    Unit.US_GALLON_PER_SECOND: "gal(US)/s", Unit.US_GALLON_PER_MINUTE: "gal(US)/min",
    Unit.US_GALLON_PER_HOUR: "gal(US)/h", Unit.US_GALLON_PER_DAY: "gal(US)/d",
    Unit.BRITISH_THERMAL_UNIT_PER_SECOND: "Btu/s", Unit.BRITISH_THERMAL_UNIT_PER_MINUTE: "Btu/min",
    Unit.BRITISH_THERMAL_UNIT_PER_HOUR: "Btu/h", Unit.BRITISH_THERMAL_UNIT_PER_DAY: "Btu/d", Unit.EXTENDED: "unit-253",
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
