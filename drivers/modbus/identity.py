"""The serial number in a meter's registers: what to ask for, and what the answer says."""

import struct
from collections.abc import Sequence
from typing import Final

from drivers.errors import RemoteProtocolError
from drivers.modbus.pdu import Function, ReadRequest
from drivers.modbus.values import decode_integer
from drivers.profile import ModbusIdentity, Table

FUNCTIONS: Final[dict[Table, Function]] = {
    "holding": Function.READ_HOLDING_REGISTERS,
    "input": Function.READ_INPUT_REGISTERS,
}


def identity_request(identity: ModbusIdentity) -> ReadRequest:
    """Give the question for the serial number, with all that has to be read to get at it."""
    block = identity.block or identity
    return ReadRequest(FUNCTIONS[identity.table], block.address, block.count)


def serial_number(identity: ModbusIdentity, registers: Sequence[int]) -> str:
    """Read the serial number out of the answer to `identity_request`. Raises `RemoteProtocolError` where it is no text."""
    block = identity.block or identity
    own = registers[identity.address - block.address :][: identity.count]
    if identity.type == "text":
        return _text(own, swaps=identity.word_order in {"BADC", "DCBA"})
    if identity.type == "hex":
        return "".join(f"{register:04X}" for register in own)
    return str(decode_integer(own, identity.type, identity.word_order))


def _text(registers: Sequence[int], *, swaps: bool) -> str:
    """Read ASCII text, two characters per register, padded with spaces. ``swaps``: the second one stands first.

    NUL is no character: some meters pad with it, others give one character per register.
    """
    octets = struct.pack(f"{'<' if swaps else '>'}{len(registers)}H", *registers).replace(b"\0", b"").strip(b" ")
    text = octets.decode("ascii", "replace")
    if not octets or not text.isascii() or not text.isprintable():
        raise RemoteProtocolError(f"serial number registers hold {octets.hex(' ') or 'nothing'}, not ASCII text")
    return text
