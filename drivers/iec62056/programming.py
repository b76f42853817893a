"""Programming mode: the password, reads by address, and the end. What writes is encoded for commands alone; nothing here sends.

::

    meter   SOH P0 STX (OPERAND) ETX BCC       a challenge, or a number of the meter
    ours    SOH P1 STX (PASSWORD) ETX BCC      P2: what was made of password and operand, by the maker's own rule
    meter   ACK
    ours    SOH R1 STX ADDRESS() ETX BCC       R2: by the maker's own form; R3, R4: the same, in partial blocks
    meter   STX ADDRESS(VALUE*UNIT) ETX BCC    or STX (ERROR) ETX BCC
    ours    SOH B0 ETX BCC                     the end

R5 and R6 are for national use: load profiles of German meters are read by R5, and by R6 in partial blocks. Whether blocks come
the answer itself says, so every form is taken with and without.

Source: IEC 62056-21, 6.3.2 (commands), 6.5 (programming mode) and annex C (partial blocks).
"""

import re
from enum import StrEnum
from typing import Final

from drivers.errors import LocalProtocolError, RemoteProtocolError
from drivers.iec62056.message import Message

MAX_PASSWORD: Final = 32  # characters
MAX_VALUE: Final = 128  # characters, 6.6
OPERAND: Final = "P0"
BREAK: Final = Message("B0", b"")
_ADDRESS: Final = re.compile(r"[\"-'*-.0-~]{1,32}")  # neither parentheses, nor ! and / that end and begin
_VALUE: Final = re.compile(r"[ !-'*-~]{0,128}")
_OPERAND: Final = re.compile(rb"\(([!-'*-~]{0,32})\)")


class Password(StrEnum):
    """What a password is sent as."""

    PLAIN = "P1"
    COMPUTED = "P2"


class Read(StrEnum):
    """Forms of reading; those in blocks are acknowledged one by one."""

    ASCII = "R1"
    FORMATTED = "R2"
    ASCII_IN_BLOCKS = "R3"
    FORMATTED_IN_BLOCKS = "R4"
    NATIONAL = "R5"
    NATIONAL_IN_BLOCKS = "R6"


class Write(StrEnum):
    """Forms of writing. For approved commands alone: no session sends them."""

    ASCII = "W1"
    FORMATTED = "W2"


def decode_operand(message: Message) -> str:
    """Give the operand of the meter's first message, empty for none. Raises `RemoteProtocolError`."""
    match = _OPERAND.fullmatch(message.data)
    if message.command != OPERAND or match is None:
        raise RemoteProtocolError(f"{message!r} where the meter gives its operand")
    return match[1].decode("ascii")


def password(secret: bytes, form: Password = Password.PLAIN) -> Message:
    """Give the password's message. ``secret``: text; not in an error, nor in a repr. Raises `LocalProtocolError`."""
    text = secret.decode("ascii", "replace")
    if len(secret) > MAX_PASSWORD or not _VALUE.fullmatch(text):
        raise LocalProtocolError(f"a password of IEC 62056-21 has at most {MAX_PASSWORD} characters, no ( and no )")
    return Message(form, b"(" + secret + b")")


def read(address: str, form: Read = Read.ASCII, what: str = "") -> Message:
    """Give the question for an address. ``what``: between its parentheses: a count of values, or the window of a load profile."""
    return _at(form, address, what)


def write(address: str, value: str, form: Write = Write.ASCII) -> Message:
    """Give what would write a value. Raises `LocalProtocolError` for what would end the message or its parentheses."""
    return _at(form, address, value)


def _at(command: str, address: str, value: str) -> Message:
    if not _ADDRESS.fullmatch(address) or not _VALUE.fullmatch(value):
        raise LocalProtocolError(f"{address[:40]!r} is no address or has no value that IEC 62056-21 can carry")
    return Message(command, f"{address}({value})".encode("ascii"))
