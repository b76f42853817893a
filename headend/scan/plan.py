"""A scan: which question comes next, what is settled, and how long the rest takes. Pure.

Order: listen; then at every setting, likely ones first, the questions that many answer at once (wildcards, all stations);
then what those say has to be cut; then likely addresses one by one; then all others. Settings at which somebody was
found come first in each stage, since meters of one line are mostly set up alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from drivers.dlt645.search import PARTS
from drivers.transports.url import Form
from headend.scan.found import Crowd, FoundMeter
from headend.scan.ground import (
    ALL_STATIONS,
    LIKELY_SERVERS,
    LONG_SERVERS,
    OPTICAL,
    SERVERS,
    Ground,
    Kind,
    short,
)
from headend.scan.pace import Pace, cost
from headend.scan.probe import Outcome, Question, probes
from headend.scan.track import DISCOVER, FIRST, LIKELY, REST, SearchTrack, Track

RECENT: Final = 4  # units asked last, whose answers may still come
PATIENT: Final = 4  # times as long a unit is waited for that answered late
MAX_MEETINGS: Final = 10_000  # meters, and crowds
MAX_AGAIN: Final = 1_000
NOISE: Final = "garbled answers to nearly all that is asked: noise, or somebody else; nothing more is asked there"
NOISY: Final = 3  # times that noise was met at a setting
CUT_PRIOR: Final = (1.0, 200.0)  # last bytes that several meters share, of so many asked, before anything is known
_KINDS: Final = {kind: index for index, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a question once it is settled. ``address``: who answered a wildcard.

    ``meters``: named.  ``why``: where several answer, or nothing that is understood, what was heard.
    ``others``: addresses that spoke and were not asked.
    """

    outcome: Outcome
    address: str = ""
    meters: tuple[FoundMeter, ...] = ()
    why: str = ""
    others: tuple[str, ...] = ()


@dataclass(slots=True)
class Scan:
    """State of one scan. ``wait``: longest time before an answer begins, None for each protocol's own. [s]

    ``again``: addresses that spoke unasked.  ``strangers``: in words, who else speaks on the line.  ``refused``: settings that
    the port does not take.  ``answered``: kinds and settings at which something was heard, be it garbled.
    """

    ground: Ground
    wait: float | None = None
    meters: list[FoundMeter] = field(default_factory=list)
    crowds: list[Crowd] = field(default_factory=list)
    again: list[Question] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    refused: list[Form] = field(default_factory=list)
    answered: list[tuple[Kind, Form]] = field(default_factory=list)
    pace: Pace = field(default_factory=Pace)
    tracks: list[Track] = field(init=False)
    _order: dict[Form, int] = field(init=False)
    _costs: dict[str, float] = field(init=False, default_factory=dict)
    _noise: dict[Form, int] = field(init=False, default_factory=dict)
    _called: set[Question] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Lay out the tracks."""
        self.tracks = list(_tracks(self.ground))
        self._order = {form: index for index, form in enumerate(self.ground.forms())}

    def next_question(self) -> Question | None:
        """Give what to ask next; None once all is settled."""
        if self.again:
            return self.again[0]
        track = self._next_track()
        return Question(track.kind, track.form, track.next_target()) if track else None

    def recent(self, question: Question) -> Sequence[int]:
        """Give the Modbus units asked just before, for what comes late."""
        track = self._next_track()
        if question.kind is not Kind.MODBUS or track is None or track.kind is not Kind.MODBUS:
            return ()
        return [int(unit) for unit in track.settled(RECENT)]

    def expected(self, question: Question) -> float:
        """Compute what the question takes if nobody answers. [s]"""
        times = 2 if self.is_noisy(question.form) else 1
        return times * sum(cost(len(one.octets), one.wait, question.form) for one in probes(question, self.wait))

    def settle(self, question: Question, verdict: Verdict, took: float) -> list[FoundMeter]:
        """Take what came of the question; give the meters that were not known before. ``took``: [s]"""
        self.pace.note(self.expected(question), took, is_silence=verdict.outcome is Outcome.SILENCE)
        if self.again and question == self.again[0]:
            del self.again[0]
        else:
            track = self._track(question)
            track.settle(verdict.outcome, verdict.address)
            if track.is_hopeless:
                track.abandon()
                self.crowds.append(Crowd(track.kind, track.form, "", NOISE))
        new = [meter for meter in verdict.meters if self._add(meter)]
        self._note_crowd(question, verdict)
        if verdict.outcome is not Outcome.SILENCE and (question.kind, question.form) not in self.answered:
            self.answered.append((question.kind, question.form))
        for target in verdict.others:
            late = Question(question.kind, question.form, target, PATIENT)
            if late not in self._called and not self.knows(late) and len(self._called) < MAX_AGAIN:
                self._called.add(late)
                self.again.append(late)
        return new

    def is_noisy(self, form: Form) -> bool:
        """Say whether silence is to be asked again at a setting, as noise may have been what was not heard."""
        return self._noise.get(form, 0) >= NOISY

    def note_noise(self, form: Form) -> None:
        """Take note that something was heard there once, and was neither an answer nor heard again."""
        self._noise[form] = self._noise.get(form, 0) + 1
        if self._noise[form] == NOISY:
            self._costs.clear()

    def refuse(self, form: Form) -> None:
        """Leave out a setting that the port does not take."""
        self.refused.append(form)
        self.again = [question for question in self.again if question.form != form]

    def knows(self, question: Question) -> bool:
        """Say whether the meter there is known already."""
        return any(
            (meter.kind.protocol, meter.form, meter.address) == (question.kind.protocol, question.form, question.target)
            for meter in self.meters
        )

    def questions_left(self) -> int:
        """Count the questions still to ask, as far as is known."""
        return len(self.again) + sum(track.left for track in self.due())

    def remaining(self) -> float:
        """Predict the time until all is settled. [s]

        Known questions at their cost, as measured; parts of a search that will have to be cut again, as often as so far.
        """
        seconds = sum(self.expected(question) for question in self.again)
        for track in self.due():
            one = self.cost(track)
            seconds += track.left * one
            if isinstance(track, SearchTrack):
                seconds += track.may_be_cut * self._share_cut() * PARTS * one
        return seconds * self.pace.factor

    def due(self) -> Iterator[Track]:
        """Give the tracks with questions still to ask."""
        return (track for track in self.tracks if track.left and self._is_due(track))

    def _is_due(self, track: Track) -> bool:
        """Say whether a track is to be gone through: not where an earlier one has made it needless."""
        if track.form in self.refused:
            return False
        if track.kind is Kind.LISTEN and self._order[track.form] > 0:
            return any(kind is Kind.LISTEN for kind, _ in self.answered)  # at which speed does he speak?
        if track.kind is Kind.DLT645_1997 and self.ground.effort != "full":
            # A meter of 2007 may answer questions of 1997 too, and would have to be told apart all over again.
            return (Kind.DLT645_2007, track.form) not in self.answered
        if track.kind is Kind.DLMS and track.stage == REST and self.ground.effort == "fast":
            return (Kind.DLMS, track.form) in self.answered
        return True

    def _track(self, question: Question) -> Track:
        return next(
            track
            for track in self.due()
            if (track.kind, track.form, track.next_target()) == (question.kind, question.form, question.target)
        )

    def _next_track(self) -> Track | None:
        answered = {form for _, form in self.answered}

        def rank(track: Track) -> tuple[int, bool, int, int]:
            order = self._order.get(track.form, len(self._order))
            is_first = track.stage <= DISCOVER or track.form in answered
            return track.stage, not is_first, order, _KINDS[track.kind]

        return min(self.due(), key=rank, default=None)

    def cost(self, track: Track) -> float:
        """Compute what the next question of a track takes if nobody answers. [s]"""
        known = self._costs.get(track.name)
        if known is None or (isinstance(track, SearchTrack) and track.stage == DISCOVER):
            known = self._costs[track.name] = self.expected(Question(track.kind, track.form, track.next_target()))
        return known

    def _share_cut(self) -> float:
        searches = [track for track in self.tracks if isinstance(track, SearchTrack)]
        cuts, children = CUT_PRIOR
        return (cuts + sum(one.cuts for one in searches)) / (children + sum(one.children for one in searches))

    def _add(self, meter: FoundMeter) -> bool:
        for index, known in enumerate(self.meters):
            if known.is_same(meter):
                self.meters[index] = known.joined(meter)
                return False
        if len(self.meters) < MAX_MEETINGS:
            twins = [known for known in self.meters if known.may_be(meter)]
            note = f"may be the one at {short(twins[0].form)}, which does not look at parity" if twins else ""
            self.meters.append(replace(meter, note=meter.note or note))
        return True

    def _note_crowd(self, question: Question, verdict: Verdict) -> None:
        is_cut = question.kind.protocol == "dlt645" and len(question.target) < 12
        if not verdict.why or is_cut or question.target in ALL_STATIONS or len(self.crowds) >= MAX_MEETINGS:
            return
        self.crowds.append(Crowd(question.kind, question.form, question.target, verdict.why))


def _tracks(ground: Ground) -> Iterator[Track]:
    forms = ground.forms()
    units = ([str(unit) for unit in ground.likely_units()], [str(unit) for unit in ground.other_units()])
    make: dict[Kind, Callable[[Form], Sequence[Track]]] = {
        Kind.LISTEN: lambda form: [Track(Kind.LISTEN, form, FIRST, ("",))],
        Kind.DLT645_2007: lambda form: [SearchTrack(Kind.DLT645_2007, form)] if _is_dlt645(form, ground) else [],
        Kind.DLT645_1997: lambda form: [SearchTrack(Kind.DLT645_1997, form)] if _is_dlt645(form, ground) else [],
        Kind.DLMS: lambda form: [
            Track(Kind.DLMS, form, DISCOVER, LIKELY_SERVERS),
            Track(Kind.DLMS, form, REST, SERVERS + (LONG_SERVERS if ground.effort == "full" else ())),
        ],
        Kind.MODBUS: lambda form: [
            Track(Kind.MODBUS, form, LIKELY, units[0]),
            Track(Kind.MODBUS, form, REST, units[1]),
        ],
    }
    for kind, tracks in make.items():
        if ground.has(kind):
            for form in forms:
                yield from tracks(form)
    if ground.has(Kind.IEC62056) and ground.fixed is None and not ground.bauds:
        yield Track(Kind.IEC62056, OPTICAL, DISCOVER, ("",))


def _is_dlt645(form: Form, ground: Ground) -> bool:
    """Say whether DL/T 645 is asked for at a setting: it is 8E1 by its standard, which not all keep."""
    return ground.fixed is not None or ground.effort != "fast" or form.parity == "E"
