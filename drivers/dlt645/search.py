"""Finding the addresses on a line without trying them all: wildcards, cut in parts where several meters answer at once.

A query names the low digits of an address and leaves the high ones open. Silence rules out all such meters; one clean answer names
one of them; garbled answers mean that several spoke, so the query is cut into those with one byte more named. A clean answer may hide
a weaker meter that spoke at the same time; ``thorough`` therefore cuts there too, as long as the part is open.

No I/O: whoever asks takes `next_query`, reads an identifier from that address, and tells `heard` what came of it.

Source: DL/T 645-2007, clause 5.2.2 (shortened addressing: the high bytes that are not named are AAH).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from drivers.dlt645.address import OCTETS, shortened
from drivers.errors import LocalProtocolError

PARTS: Final = 100  # values of a byte of an address
DIGITS: Final = 2 * OCTETS
MAX_FOUND: Final = 10_000


class Heard(Enum):
    """What came of a query: nothing in time, one clean answer, or something that is no frame."""

    SILENCE = "silence"
    ANSWER = "answer"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is. ``share``: of all addresses that could be, decided already.

    ``queries``: made so far.  ``left``: queries still to make, if no further one has to be cut.  ``remaining``: their time, at the
    pace so far; a lower bound. [s]
    """

    share: float
    queries: int
    left: int
    remaining: float


class AddressSearch:
    """State of one search over one line."""

    def __init__(
        self, low_digits: str = "", *, thorough: bool = False, unresolved: Sequence[str] | None = None
    ) -> None:
        """``low_digits``: search only addresses that end so, for one search cut over several sittings. Raises `ValueError`.

        ``unresolved``: what an earlier search of the same left, to go on from there.
        """
        self.found: list[str] = []
        self._open = [low_digits] if unresolved is None else list(reversed(unresolved))
        for digits in (low_digits, *self._open):
            shortened(digits)
        self._base = len(low_digits)
        self._thorough = thorough
        self._decided = 0.0
        self._queries = 0
        self._spent = 0.0

    @property
    def unresolved(self) -> tuple[str, ...]:
        """What is still to be asked, as low digits: enough to go on later from there."""
        return tuple(reversed(self._open))

    def next_query(self) -> str | None:
        """Give the address to ask next, wildcards in it; None once all is decided."""
        return shortened(self._open[-1]) if self._open else None

    def heard(self, what: Heard, address: str = "", seconds: float = 0.0) -> None:
        """Take what came of the query. ``address``: who answered.  ``seconds``: how long it took. [s]

        Raises `LocalProtocolError` for an answer to no query, or of a meter that was not meant.
        """
        if not self._open:
            raise LocalProtocolError("the search is over")
        digits = self._open[-1]
        if what is Heard.ANSWER and (len(address) != DIGITS or not address.endswith(digits)):
            raise LocalProtocolError(f"{address} does not answer to {shortened(digits)}")
        self._open.pop()
        self._queries += 1
        self._spent += seconds
        if what is Heard.ANSWER and address not in self.found and len(self.found) < MAX_FOUND:
            self.found.append(address)
        is_whole = len(digits) == DIGITS
        cut = what is Heard.GARBLED or (what is Heard.ANSWER and self._thorough)
        if cut and not is_whole:
            self._open += [f"{part:02d}{digits}" for part in reversed(range(PARTS))]
        else:
            self._decided += self._weight(digits)

    def progress(self) -> Progress:
        """Say how far the search is."""
        pace = self._spent / self._queries if self._queries else 0.0
        return Progress(min(1.0, self._decided), self._queries, len(self._open), len(self._open) * pace)

    def _weight(self, digits: str) -> float:
        return float(PARTS ** -((len(digits) - self._base) // 2))
