"""Registers to counts and back: integer and float32 points in four word orders.

Letters name the bytes of a 32-bit value from the most significant, A, in the order they come over the line; a 64-bit value
follows the same pattern over its four registers. A float32 is taken apart as bits, so no float exists here: it is an exact
binary fraction until it is rounded once, half to even, to the resolution the point declares.

Source: IEEE 754-2019, clause 3.4 (binary32).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_05UP, Context, Decimal

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.profile import ModbusPoint, ValueType, WordOrder
from kernels.quality import Rule

REGISTERS: dict[ValueType, int] = {
    "uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "uint64": 4, "int64": 4, "float32": 2,
}  # fmt: skip
SIGNED: frozenset[ValueType] = frozenset(("int16", "int32", "int64"))
_SWAPS_WORDS: frozenset[WordOrder] = frozenset(("CDAB", "DCBA"))
_SWAPS_BYTES: frozenset[WordOrder] = frozenset(("BADC", "DCBA"))

# ROUND_05UP leaves a digit that keeps a later rounding to fewer digits right: no value is rounded twice.
_EXACT_ENOUGH = Context(prec=90, rounding=ROUND_05UP)


@dataclass(frozen=True, slots=True)
class Float32:
    """A finite binary32: ``mantissa * 2**exponent``."""

    mantissa: int
    exponent: int

    @classmethod
    def from_bits(cls, bits: int) -> "Float32":
        """Take 32 bits apart. Raises `RemoteProtocolError` for NaN and infinity."""
        biased, fraction = (bits >> 23) & 0xFF, bits & 0x7FFFFF
        if biased == 0xFF:
            raise RemoteProtocolError(f"float32 {bits:08x} is {'NaN' if fraction else 'infinite'}, not a reading")
        mantissa = fraction | (0x800000 if biased else 0)
        return cls(-mantissa if bits >> 31 else mantissa, max(biased, 1) - 150)

    def to_decimal(self) -> Decimal:
        """Give the value; exact to 90 digits, and so for every value above 1e-20."""
        if self.exponent >= 0:
            return Decimal(self.mantissa << self.exponent)
        return _EXACT_ENOUGH.divide(Decimal(self.mantissa), Decimal(1 << -self.exponent))

    def spacing(self) -> Decimal:
        """Give the distance to the neighbouring float32 nearer zero."""
        at_power_of_two = abs(self.mantissa) == 0x800000 and self.exponent > -149
        return Float32(1, self.exponent - at_power_of_two).to_decimal()


def decode_point(point: ModbusPoint, registers: Sequence[int]) -> tuple[int, Rule]:
    """Turn a point's registers into a count of its ``scaler_unit`` and the rules already broken.

    `Rule.FLOAT_RESOLUTION` is set where neighbouring float32 values lie more than one count apart: above 16,777,216 counts
    where the float is in the unit of one count. Raises `RemoteProtocolError` for NaN, infinity and what no count holds.
    """
    number = decode_unsigned(registers, point.type, point.word_order)
    if point.type != "float32":
        return _as_signed(number, point.type), Rule(0)
    value = Float32.from_bits(number)
    try:
        count = point.scaler_unit.quantise(value.to_decimal().scaleb(point.factor, _EXACT_ENOUGH))
    except ValueError as error:
        raise RemoteProtocolError(f"{point.obis} at register {point.address}: {error}") from error
    is_coarse = value.spacing().scaleb(point.factor, _EXACT_ENOUGH) > point.scaler_unit.to_decimal(1)
    return count, Rule.FLOAT_RESOLUTION if is_coarse else Rule(0)


def encode_point(point: ModbusPoint, count: int) -> tuple[int, ...]:
    """Turn a count into registers, as a meter would: the other way of `decode_point`. Raises `LocalProtocolError` if too big."""
    if point.type == "float32":
        value = point.scaler_unit.to_decimal(count).scaleb(-point.factor, _EXACT_ENOUGH)
        try:
            number: int = struct.unpack(">I", struct.pack(">f", value))[0]
        except OverflowError as error:
            raise LocalProtocolError(f"{value} does not fit float32") from error
    else:
        number = count
    return encode_integer(number, "uint32" if point.type == "float32" else point.type, point.word_order)


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
