"""What questions cost: their time on the wire and the silence that has to be waited for, corrected by what was measured.

Silence is most of a scan, so its cost is known beforehand: octets at the speed of the line, the wait of the protocol, and a
margin for the machine. What the machine really takes is learned, and so is what a found meter takes on top.
"""

from dataclasses import dataclass
from typing import Final

from drivers.transports.url import Form

HOST_MARGIN: Final = 0.05  # of the machine and of adapters that gather what arrives (USB: 16 ms) [s]
QUIET: Final = 0.02  # silence before each question, 3.5 characters at least [s]
TRUST: Final = 20.0  # so much measured silence counts as much as our own figure [s]


def wire(octets: int, form: Form) -> float:
    """Time of octets on the line. [s]"""
    return octets * form.bits_per_character / form.baud


def quiet(form: Form) -> float:
    """Silence to keep before a question. MODBUS over Serial Line V1.02, 2.5.1.1. [s]"""
    return max(QUIET, 3.5 * wire(1, form))


def cost(octets: int, wait: float, form: Form) -> float:
    """Time of a question that nobody answers, after another such: the silence before it has passed already. [s]"""
    return wire(octets, form) + wait + HOST_MARGIN


@dataclass(slots=True)
class Pace:
    """What was measured. ``expected``, ``silent``: of questions met by silence, as computed and as it was.

    ``extra``: what questions took beyond that which were not.  ``spent``: all. ``asked``: settled questions. [s]
    """

    expected: float = 0.0
    silent: float = 0.0
    extra: float = 0.0
    spent: float = 0.0
    asked: int = 0

    def note(self, expected: float, took: float, *, is_silence: bool) -> None:
        """Take what one settled question took. [s]"""
        self.asked += 1
        self.spent += took
        if is_silence:
            self.expected += expected
            self.silent += took
        else:
            self.extra += took - expected * self.factor

    @property
    def factor(self) -> float:
        """Real seconds for each computed one."""
        return (self.silent + TRUST) / (self.expected + TRUST)
