"""How long each meter takes to begin its answer, learned, so that a silent one costs little of a shared line. Pure.

Kept per meter: a histogram of steps of 15 %, halved now and then so that it follows a meter that changes, and the longest of
late. A meter nobody has heard yet is given twice what others of its model on the same link take, and one heard a few times as
much as they, or as its own figures say where that is longer. After a silence the allowance
doubles (as RFC 6298, 5.5), twice; a meter that stays silent is given all that its profile declares, but by then it has a
breaker and is asked seldom.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from drivers.profile import TimingProfile

STEP = 1.15
FIRST = 0.001  # upper edge of the first step [s]
STEPS = 80  # the last ends at 62 s
ENOUGH = 20  # answers before the figures are believed
FEW = 4  # answers that show a meter to be like its kin
HALVED_AT = 1_000  # answers
QUANTILE = 0.99
SPARE = 1.5  # what is allowed beyond the 99th percentile; beyond the longest seen it is 10 %
MOST_DOUBLINGS = 2
DEAF = 6  # silences in a row after which the declared time is allowed
FLOOR = 0.02  # scheduling of the host and of adapters is not the meter's [s]
LEARNED_MARGIN = (
    0.03  # real time allowed to them beyond what was learned, which has theirs in it; USB takes 16 ms [s, real]
)
MODEL = "\0"  # before the name of a model, among those of meters
NOTHING: Mapping[int, int] = MappingProxyType({})
MAX_METERS = 100_000  # known at a time; those heard longest ago are forgotten


class Latency:
    """Answers of one meter, or of one model on one link."""

    __slots__ = ("_counts", "_longest", "_longest_before", "_total", "silences")

    def __init__(self, counts: Mapping[int, int] = NOTHING, longest: tuple[float, float] = (0.0, 0.0)) -> None:
        """``counts``: of answers, by step.  ``longest``: now, and before the last halving. [s]"""
        self._counts = [counts.get(step, 0) for step in range(STEPS)]
        self._total = sum(self._counts)
        self._longest, self._longest_before = longest
        self.silences = 0
        """Timeouts since the last answer."""

    def heard(self, seconds: float) -> None:
        """Note an answer that began after so long. [s]"""
        self.silences = 0
        step, edge = 0, FIRST
        while edge < seconds and step < STEPS - 1:
            step, edge = step + 1, edge * STEP
        self._counts[step] += 1
        self._total += 1
        self._longest = max(self._longest, seconds)
        if self._total >= HALVED_AT:
            self._counts = [count // 2 for count in self._counts]
            self._total = sum(self._counts)
            self._longest, self._longest_before = 0.0, self._longest

    @property
    def counts(self) -> Iterable[tuple[int, int]]:
        """Each step, and the answers in it."""
        return enumerate(self._counts)

    @property
    def longest(self) -> tuple[float, float]:
        """Longest latency, now and before the last halving. [s]"""
        return self._longest, self._longest_before

    @property
    def is_known(self) -> bool:
        """Say whether enough answers were heard."""
        return self._total >= ENOUGH

    @property
    def is_like_kin(self) -> bool:
        """Say whether enough answers were heard to judge it by others of its model."""
        return self._total >= FEW

    def percentile(self) -> float:
        """Give the upper edge of the step that holds the 99th percentile. [s]"""
        rest, edge = self._total * (1 - QUANTILE), FIRST * STEP ** (STEPS - 1)
        for count in reversed(self._counts):
            rest -= count
            if rest < 0:
                return edge
            edge /= STEP
        return edge

    def allowance(self, declared: float, silences: int) -> float:
        """Give the time to allow, after so many silences in a row, at most what is declared. [s]"""
        longest = max(self._longest, self._longest_before)
        learned = max(FLOOR, SPARE * self.percentile(), 1.1 * longest)
        return declared if silences >= DEAF else min(declared, learned * 2 ** min(silences, MOST_DOUBLINGS))


class Latencies:
    """What is known of all meters. ``link``, ``meter``, ``model``: names."""

    def __init__(self, max_meters: int = MAX_METERS) -> None:
        self._known: OrderedDict[tuple[str, str], Latency] = OrderedDict()
        self._max = max_meters
        self._news: set[str] = set()  # links of which more was learned since `take_news`

    def heard(self, link: str, meter: str, model: str, seconds: float) -> None:
        """Note that an answer began after so long. [s]"""
        self._news.add(link)
        self._of(link, meter).heard(seconds)
        self._of(link, MODEL + model).heard(seconds)

    def silent(self, link: str, meter: str) -> None:
        """Note that no answer came."""
        self._of(link, meter).silences += 1

    def allowance(self, link: str, meter: str, model: str, declared: float) -> float:
        """Give the time to allow until an answer begins: what is declared [s], or less where enough is known."""
        own = self._known.get((link, meter))
        silences = own.silences if own else 0
        if own and own.is_known:
            return own.allowance(declared, silences)
        like = self._known.get((link, MODEL + model))
        if like and like.is_known:
            if own and own.is_like_kin:
                return max(own.allowance(declared, silences), like.allowance(declared, silences))
            return like.allowance(declared, 1 + silences)  # a stranger is given twice as long as its kin
        return declared

    def take_news(self) -> dict[str, dict[str, Latency]]:
        """Give all that is known of the links of which more was learned since this was last asked, by link and name."""
        news: dict[str, dict[str, Latency]] = {}
        for (link, name), known in self._known.items():
            if link in self._news:
                news.setdefault(link, {})[name] = known
        self._news.clear()
        return news

    def recall(self, link: str, known: Mapping[str, Latency]) -> None:
        """Take what was known before, of names of which nothing was learned since."""
        for name, latency in known.items():
            if (link, name) not in self._known:
                self._of(link, name)
                self._known[link, name] = latency

    def _of(self, link: str, name: str) -> Latency:
        key = (link, name)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Latency()
            if len(self._known) > self._max:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of one meter. ``declared``: the longest time its profile gives it. [s]"""

    latencies: Latencies
    link: str
    meter: str
    model: str
    declared: float

    def latency(self) -> float:
        """Give the time to allow until an answer begins. [s]"""
        return self.latencies.allowance(self.link, self.meter, self.model, self.declared)

    def timing(self, declared: TimingProfile, *, is_line: bool) -> TimingProfile:
        """Give the pace to ask at. ``is_line``: a line at its own speed, on which nothing but the meter makes us wait."""
        latency = self.latency()
        margin = min(declared.margin, LEARNED_MARGIN) if is_line and latency < self.declared else declared.margin
        return replace(declared, latency=latency, margin=margin)

    def heard(self, seconds: float) -> None:
        """Note that an answer began after so long. [s]"""
        self.latencies.heard(self.link, self.meter, self.model, seconds)

    def silent(self) -> None:
        """Note that no answer came."""
        self.latencies.silent(self.link, self.meter)
