"""What is asked one after the other at one setting: a list of addresses, or a search by wildcards that is cut where answers collide."""

from collections.abc import Sequence
from typing import Final

from drivers.dlt645.search import PARTS, AddressSearch, Heard
from drivers.transports.url import Form
from headend.scan.ground import Kind, short
from headend.scan.probe import Outcome

FIRST, DISCOVER, CUT, LIKELY, REST = range(5)
"""Stages: listening, questions that many answer, wildcards cut in parts, likely addresses, and all others."""
MAX_OPEN: Final = 2 * PARTS * PARTS
HOPELESS: Final = 20  # questions, four of five of which got garbled answers: that is no crowd of meters
_HEARD: Final = {Outcome.SILENCE: Heard.SILENCE, Outcome.ANSWER: Heard.ANSWER, Outcome.GARBLED: Heard.GARBLED}
Position = int | list[str]
"""How far a track is, as a state file has it: how many addresses are settled, or what a search has still to ask."""


class Track:
    """Addresses to ask at one setting, in order. ``stage``: when its turn comes."""

    def __init__(self, kind: Kind, form: Form, stage: int, targets: Sequence[str]) -> None:
        self.kind = kind
        self.form = form
        self._stage = stage
        self._targets = targets
        self._at = 0
        self._asked = 0
        self._garbled = 0

    @property
    def name(self) -> str:
        """Names the track in a state file."""
        return f"{self.kind} {short(self.form)} {self._stage}"

    @property
    def stage(self) -> int:
        """When its turn comes."""
        return self._stage

    @property
    def left(self) -> int:
        """Questions still to ask, as far as is known."""
        return len(self._targets) - self._at

    def next_target(self) -> str:
        """Give what to ask next. Only where something is left."""
        return self._targets[self._at]

    def settle(self, outcome: Outcome, address: str = "") -> None:
        """Take what came of the next target."""
        del address
        self._at += 1
        self._count(outcome)

    @property
    def is_hopeless(self) -> bool:
        """Whether nearly all that is asked gets garbled answers."""
        return self._asked >= HOPELESS and 5 * self._garbled >= 4 * self._asked

    def abandon(self) -> None:
        """Ask nothing more here."""
        self._at = len(self._targets)

    def _count(self, outcome: Outcome) -> None:
        self._asked += 1
        self._garbled += outcome is Outcome.GARBLED

    def settled(self, count: int) -> Sequence[str]:
        """Give the targets settled last, so many at most."""
        return self._targets[max(0, self._at - count) : self._at]

    @property
    def position(self) -> Position:
        """How far it is."""
        return self._at

    def resume(self, position: object) -> None:
        """Go on from there. Raises `ValueError` for what is no position of this track."""
        if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position <= len(self._targets):
            raise ValueError(f"{self.name}: {str(position)[:40]} is no count from 0 to {len(self._targets)}")
        self._at = position


class SearchTrack(Track):
    """DL/T 645 addresses by wildcards. ``children``, ``cuts``: last bytes asked, and how many of them had to be cut again."""

    def __init__(self, kind: Kind, form: Form) -> None:
        super().__init__(kind, form, DISCOVER, ())
        self._search = AddressSearch()
        self.children = 0
        self.cuts = 0

    @property
    def stage(self) -> int:
        """Whoever is there is asked first of all; what has to be cut after that."""
        return DISCOVER if self._search.unresolved[:1] == ("",) else CUT

    @property
    def left(self) -> int:
        """Questions still to ask, as far as is known."""
        return len(self._search.unresolved)

    @property
    def may_be_cut(self) -> int:
        """Last bytes still to ask. Meters that share one mostly differ in the next, so no more cuts are expected below."""
        return sum(len(digits) == 2 for digits in self._search.unresolved)

    def next_target(self) -> str:
        """Give the low digits to ask next."""
        return self._search.unresolved[0]

    def settle(self, outcome: Outcome, address: str = "") -> None:
        """Take what came of the next target."""
        digits = self.next_target()
        if len(digits) == 2:
            self.children += 1
            self.cuts += outcome is Outcome.GARBLED
        self._count(outcome)
        self._search.heard(_HEARD[outcome], address)
        if outcome is Outcome.GARBLED:  # all last bytes first: then it is known what has to be cut
            self._search = AddressSearch(unresolved=sorted(self._search.unresolved, key=len))

    def abandon(self) -> None:
        """Ask nothing more here."""
        self._search = AddressSearch(unresolved=())

    @property
    def position(self) -> Position:
        """What is still to ask."""
        return list(self._search.unresolved)

    def resume(self, position: object) -> None:
        """Go on from there. Raises `ValueError` for what is no position of a search."""
        if (
            not isinstance(position, list)
            or len(position) > MAX_OPEN
            or not all(isinstance(part, str) and ((part.isascii() and part.isdigit()) or not part) for part in position)
            or len(set(position)) != len(position)
        ):
            raise ValueError(f"{self.name}: {str(position)[:40]} is no list of low digits of addresses")
        self._search = AddressSearch(unresolved=position)
