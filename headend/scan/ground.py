"""What a scan covers: kinds of questions, settings of the line in order of likelihood, and addresses.

Orders and ranges are habits of installers, not a standard's: DL/T 645 ships at 2400 8E1, Modbus at 9600 or 19200, HDLC on
RS-485 at 9600 8N1. Sources: DL/T 645-2007, 5.3; MODBUS over Serial Line V1.02, 2.2 (units 1 to 247); IEC 62056-46, 6.4.2.3
(physical addresses 16 to 125, all stations 127 or 16383); IEC 62056-21, 6.3 (300 baud 7E1).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, get_args

from drivers.dlms.hdlc import HdlcAddress
from drivers.transports.url import Form

Effort = Literal["fast", "usual", "full"]
"""How much is asked: likely addresses at likely settings, all addresses there, or all at all settings."""
Protocol = Literal["dlms", "dlt645", "iec62056", "modbus"]
PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)


class Kind(StrEnum):
    """Kinds of questions, in the order in which they are asked at one setting."""

    LISTEN = "listen"
    DLT645_2007 = "dlt645-2007"
    DLT645_1997 = "dlt645-1997"
    DLMS = "dlms"
    MODBUS = "modbus"
    IEC62056 = "iec62056"

    @property
    def protocol(self) -> str:
        """Protocol without its edition."""
        return self.value.partition("-")[0]


LIKELY: Final = (
    Form(9_600, "E"), Form(9_600, "N"), Form(2_400, "E"), Form(19_200, "E"), Form(19_200, "N"), Form(4_800, "E"),
    Form(1_200, "E"), Form(115_200, "N"),
)  # fmt: skip
BAUDS: Final = (9_600, 2_400, 19_200, 4_800, 1_200, 115_200, 38_400, 57_600, 600)
OPTICAL: Final = Form(300, "E", 7)
LIKELY_UNITS: Final = range(1, 33)
UNITS: Final = range(1, 248)
CLIENT: Final = HdlcAddress(16)  # the public client, which every meter has to let in
LIKELY_SERVERS: Final = ("1/127", "1", "1/16", "1/17", "1/1")
ALL_STATIONS: Final = frozenset(("1/127", "1/16383:4"))
SERVERS: Final = tuple(f"1/{physical}" for physical in range(18, 126))
LONG_SERVERS: Final = ("1/16383:4", *(f"1/{physical}:4" for physical in range(16, 126)))
"""Servers whose address takes four octets."""
_SHORT: Final = re.compile(r"([1-9]\d{1,6}) ([78])([NEO])([12])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ground:
    """What to scan. ``bauds``, ``parities``, ``units``: empty for those of the effort.  ``fixed``: the one setting of a link that has no other."""

    effort: Effort = "usual"
    protocols: tuple[Protocol, ...] = PROTOCOLS
    bauds: tuple[int, ...] = ()
    parities: tuple[str, ...] = ()
    units: tuple[int, ...] = ()
    fixed: Form | None = None

    def forms(self) -> tuple[Form, ...]:
        """Give the settings, likely ones first."""
        if self.fixed is not None:
            return (self.fixed,)
        is_full = self.effort == "full"
        every = [Form(baud, parity) for baud in self.bauds or BAUDS for parity in self.parities or "ENO"]
        forms = [form for form in LIKELY if form in every]
        if is_full or self.bauds:
            forms += [form for form in every if form not in forms and (is_full or self.parities or form.parity != "O")]
        elif self.parities:
            forms += [form for form in every if form not in forms and form.baud in {one.baud for one in LIKELY}]
        return tuple(forms)

    def has(self, kind: Kind) -> bool:
        """Say whether questions of this kind are asked."""
        return kind is Kind.LISTEN or kind.protocol in self.protocols

    def likely_units(self) -> tuple[int, ...]:
        """Give the Modbus units to ask first."""
        return self.units or tuple(LIKELY_UNITS)

    def other_units(self) -> tuple[int, ...]:
        """Give the Modbus units to ask last."""
        return () if self.units or self.effort == "fast" else tuple(UNITS[len(LIKELY_UNITS) :])


def server(target: str) -> HdlcAddress:
    """Read an HDLC server as scans write it: ``1``, ``1/17``, or ``1/17:4`` for an address of four octets."""
    text, _, size = target.partition(":")
    address = HdlcAddress.parse(text)
    return HdlcAddress(address.upper, address.lower, int(size)) if size else address


def written(address: HdlcAddress) -> str:
    """Write an HDLC server as `server` reads it."""
    return str(address) if server(str(address)) == address else f"{address}:{address.size}"


def short(form: Form) -> str:
    """Write a setting as people do: ``9600 8E1``."""
    return f"{form.baud} {form.bits}{form.parity}{form.stop}"


def parse_short(text: str) -> Form:
    """Read what `short` writes. Raises `ValueError`."""
    match = _SHORT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no setting of a line, such as 9600 8E1")
    baud, bits, parity, stop = match.groups()
    return Form(int(baud), parity, int(bits), int(stop))


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers in rising order as people do: ``1-5,9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(str(end) for end in part) for part in parts)
