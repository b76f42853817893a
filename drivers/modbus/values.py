"""Registers to counts and back: integer and float32 points in four word orders.

Letters name the bytes of a 32-bit value from the most significant, A, in the order they come over the line; a 64-bit value
follows the same pattern over its four registers. A float is taken apart as bits, so no float exists here: it is an exact
binary fraction until it is rounded once, half to even, to the resolution the point declares. BCD holds a decimal digit in each
four bits.

Source: IEEE 754-2019, clause 3.4 (binary32, binary64).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_05UP, Context, Decimal

from drivers.errors import LocalProtocolError, MeterRefused, RemoteProtocolError
from drivers.profile import ModbusPoint, ValueType, WordOrder
from drivers.units import Unit
from kernels.quality import Rule

REGISTERS: dict[ValueType, int] = {
    "uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "uint64": 4, "int64": 4, "float32": 2, "float64": 4,
    "bcd16": 1, "bcd32": 2, "bcd64": 4,
}  # fmt: skip
BILLED = frozenset((Unit.WATT_HOUR, Unit.VAR_HOUR, Unit.VOLT_AMPERE_HOUR))
"""Units of what bills are made of."""
SIGNED: frozenset[ValueType] = frozenset(("int16", "int32", "int64"))
_SWAPS_WORDS: frozenset[WordOrder] = frozenset(("CDAB", "DCBA"))
_SWAPS_BYTES: frozenset[WordOrder] = frozenset(("BADC", "DCBA"))

# ROUND_05UP leaves a digit that keeps a later rounding to fewer digits right: no value is rounded twice.
_EXACT_ENOUGH = Context(prec=90, rounding=ROUND_05UP)


class ValueAbsent(MeterRefused):
    """The meter answered, and says that it has no such value now: NaN, or what the profile lists as `absent`."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 0)


@dataclass(frozen=True, slots=True)
class BinaryFloat:
    """A finite binary32 or binary64: ``mantissa * 2**exponent``. ``digits``: bits of the fraction, 23 or 52."""

    mantissa: int
    exponent: int
    digits: int = 23

    @classmethod
    def from_bits(cls, bits: int, width: int = 32) -> "BinaryFloat":
        """Take 32 or 64 bits apart. Raises `ValueAbsent` for NaN, `RemoteProtocolError` for infinity."""
        digits = 23 if width == 32 else 52
        highest = (1 << (width - 1 - digits)) - 1
        biased, fraction = (bits >> digits) & highest, bits & ((1 << digits) - 1)
        if biased == highest:
            if fraction:
                raise ValueAbsent(f"float{width} {bits:x} is NaN, not a reading")
            raise RemoteProtocolError(f"float{width} {bits:x} is infinite, not a reading")
        mantissa = fraction | (1 << digits if biased else 0)
        exponent = max(biased, 1) - highest // 2 - digits
        return cls(-mantissa if bits >> (width - 1) else mantissa, exponent, digits)

    def to_decimal(self) -> Decimal:
        """Give the value; exact to 90 digits, and so for every value above 1e-20."""
        if self.exponent >= 0:
            return Decimal(self.mantissa << self.exponent)
        return _EXACT_ENOUGH.divide(Decimal(self.mantissa), Decimal(1 << -self.exponent))

    def spacing(self) -> Decimal:
        """Give the distance to the neighboring float nearer zero."""
        least = -149 if self.digits == 23 else -1074
        at_power_of_two = abs(self.mantissa) == 1 << self.digits and self.exponent > least
        return BinaryFloat(1, self.exponent - at_power_of_two, self.digits).to_decimal()


def decode_point(point: ModbusPoint, registers: Sequence[int]) -> tuple[int, Rule]:
    """Turn a point's registers into a count of its ``scaler_unit`` and the rules already broken.

    `Rule.FLOAT_RESOLUTION` is set where neighboring float values lie more than one count apart: above 16,777,216 counts
    where a float32 is in the unit of one count. `Rule.RANGE` is set outside the point's `lower` to `upper`.
    Raises `ValueAbsent` for NaN and what the point lists as absent, `RemoteProtocolError` for infinity, what is no decimal
    digit, and what no count holds.
    """
    number = decode_unsigned(registers, point.type, point.word_order)
    if number in point.absent:
        raise ValueAbsent(f"{point.obis} at register {point.address}: {number:#x} says that there is no value")
    count, rules = _count(point, number)
    low, high = point.lower, point.upper
    if (low is not None and count < low) or (high is not None and count > high):
        rules |= Rule.RANGE
    return count, rules


def _count(point: ModbusPoint, number: int) -> tuple[int, Rule]:
    if point.type.startswith("bcd"):
        digits = f"{number:x}"
        if not digits.isdecimal():
            raise RemoteProtocolError(f"{point.obis} at register {point.address}: {digits} is not BCD")
        return int(digits), Rule(0)
    if point.mask:
        lowest = (point.mask & -point.mask).bit_length() - 1
        return (number & point.mask) >> lowest, Rule(0)
    if not point.type.startswith("float"):
        return _as_signed(number, point.type), Rule(0)
    value = BinaryFloat.from_bits(number, 16 * REGISTERS[point.type])
    try:
        count = point.scaler_unit.quantise(value.to_decimal().scaleb(point.factor, _EXACT_ENOUGH))
    except ValueError as error:
        raise RemoteProtocolError(f"{point.obis} at register {point.address}: {error}") from error
    is_coarse = value.spacing().scaleb(point.factor, _EXACT_ENOUGH) > point.scaler_unit.to_decimal(1)
    return count, Rule.FLOAT_RESOLUTION if is_coarse else Rule(0)


def encode_point(point: ModbusPoint, count: int) -> tuple[int, ...]:
    """Turn a count into registers, as a meter would: the other way of `decode_point`. Raises `LocalProtocolError` if too big."""
    if point.type.startswith("float"):
        value = point.scaler_unit.to_decimal(count).scaleb(-point.factor, _EXACT_ENOUGH)
        try:
            octets = struct.pack(">f" if point.type == "float32" else ">d", value)
        except OverflowError as error:
            raise LocalProtocolError(f"{value} does not fit {point.type}") from error
        return _ordered(struct.unpack(f">{len(octets) // 2}H", octets), point.word_order)
    number = count
    if point.type.startswith("bcd"):
        if not 0 <= count < 10 ** (4 * REGISTERS[point.type]):
            raise LocalProtocolError(f"{count} does not fit {point.type}")
        number = int(str(count), 16)
    if point.mask:
        number = count << ((point.mask & -point.mask).bit_length() - 1)
        if number & ~point.mask:
            raise LocalProtocolError(f"{count} does not fit mask {point.mask:#x}")
    return encode_integer(number, point.type, point.word_order)


def decode_integer(registers: Sequence[int], type_: ValueType, order: WordOrder) -> int:
    """Turn registers into an integer. Raises `LocalProtocolError` for a wrong number of registers."""
    return _as_signed(decode_unsigned(registers, type_, order), type_)


def encode_integer(number: int, type_: ValueType, order: WordOrder) -> tuple[int, ...]:
    """Turn an integer into registers. Raises `LocalProtocolError` where it does not fit the type."""
    try:
        octets = number.to_bytes(2 * REGISTERS[type_], "big", signed=type_ in SIGNED)
    except OverflowError as error:
        raise LocalProtocolError(f"{number} does not fit {type_}") from error
    return _ordered(struct.unpack(f">{len(octets) // 2}H", octets), order)


def decode_unsigned(registers: Sequence[int], type_: ValueType, order: WordOrder) -> int:
    """Turn registers into the bits of a value of this type, as an unsigned integer."""
    if len(registers) != REGISTERS[type_]:
        raise LocalProtocolError(f"{type_} is {REGISTERS[type_]} registers, not {len(registers)}")
    number = 0
    for register in _ordered(registers, order):
        number = number << 16 | register
    return number


def _ordered(registers: Sequence[int], order: WordOrder) -> tuple[int, ...]:
    """Turn line order into most-significant-first, or back: each order is its own inverse."""
    words = reversed(registers) if order in _SWAPS_WORDS else registers
    if order in _SWAPS_BYTES:
        return tuple((word & 0xFF) << 8 | word >> 8 for word in words)
    return tuple(words)


def _as_signed(number: int, type_: ValueType) -> int:
    bits = 16 * REGISTERS[type_]
    return number - (1 << bits) if type_ in SIGNED and number >> (bits - 1) else number
