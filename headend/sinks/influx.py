"""`InfluxServer`: what answers to writes mean, and reading back from VictoriaMetrics. No I/O: an `Exchange` carries it.

An answer counts only if it is exactly 204; a 404 or a page of somebody's proxy is an outage that `headend sink status` shows.
400, 413 and 422 say that something in the body will never be taken, in whole or in part (docs.influxdata.com, "Troubleshoot
issues writing data"); the rest of the body may or may not have been, so it is sent again.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Protocol

from drivers.facts import UtcSeconds
from headend.registry.model import DAY
from headend.sinks.lines import MAX_DIGITS, Point, parse, parse_head
from headend.sinks.model import Refused, Unavailable

ACCEPTED = 204
REFUSALS = frozenset({400, 413, 422})
MAX_SHOWN = 200
"""Longest part of an answer that is repeated. [characters]"""
MOST_POINTS = 5_000
"""Most points that one query asks for: comparing them holds up the event loop, some 10 ms."""

OWNERS = ("meter", "usage_point", "sink", "link", "kind")
"""Tags of which each line has one at least; the first is asked for."""

_FLOAT = Context(prec=MAX_DIGITS)

Form = list[tuple[str, str]]
Names = frozenset[tuple[str, str]]
"""Name and labels of a series."""
Samples = dict[tuple[Names, int], list[Decimal]]
Sent = tuple[bytes, bytes, bytes, UtcSeconds]
"""A line that was sent: whole, its measurement with tags, its fields, its instant [s UTC]."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. ``retry_after``: that header, as it came."""

    status: int
    text: str = ""
    retry_after: str = ""


class Exchange(Protocol):
    """Carries one request. Either raises `OSError` where there is no answer."""

    async def write(self, body: bytes) -> Answer:
        """Send lines to the v2 write API, with instants in seconds."""

    async def export(self, form: Form) -> Answer:
        """Ask VictoriaMetrics for raw samples, ``/api/v1/export``."""


class InfluxServer:
    """A server that speaks the v2 write API. ``reads_back``: it is VictoriaMetrics, whose 204 is not yet durable."""

    def __init__(self, exchange: Exchange, *, reads_back: bool) -> None:
        self._exchange = exchange
        self.reads_back = reads_back

    async def write(self, lines: Sequence[bytes]) -> None:
        """Send lines. Raises `Refused`, `Unavailable`."""
        try:
            answer = await self._exchange.write(b"\n".join(lines))
        except OSError as error:
            raise Unavailable(f"no answer to a write: {error}") from error
        if answer.status == ACCEPTED:
            return
        said = f"answered {answer.status} to a write: {answer.text[:MAX_SHOWN]}"
        if answer.status in REFUSALS:
            raise Refused(said)
        raise Unavailable(said, _seconds(answer.retry_after))

    async def lost(self, lines: Sequence[bytes]) -> list[bytes]:
        """Give those of the lines that are not held with every field as it was sent. Raises `Unavailable`."""
        missing: list[bytes] = []
        for group in _groups(lines):
            try:
                answer = await self._exchange.export(query(group))
            except OSError as error:
                raise Unavailable(f"no answer to reading back: {error}") from error
            if answer.status != 200:
                raise Unavailable(
                    f"answered {answer.status} to reading back: {answer.text[:MAX_SHOWN]}", _seconds(answer.retry_after)
                )
            missing += _missing(group, answer.text)
        return missing


def _seconds(text: str) -> float:
    """Read a Retry-After; a date is passed over, ours and the server's clock may differ."""
    return float(text) if text.isascii() and text.isdecimal() else 0.0


def _groups(lines: Sequence[bytes]) -> Iterator[list[Sent]]:
    """Put points of one day together, as many as one query asks for: it asks for a day of some meters at most."""
    for first in range(0, len(lines), MOST_POINTS):
        days: defaultdict[int, list[Sent]] = defaultdict(list)
        for line in lines[first : first + MOST_POINTS]:
            names, fields, at = line.rsplit(b" ", 2)  # numbers hold no blank, and we read back nothing else
            days[int(at) // DAY].append((line, names, fields, int(at)))
        yield from days.values()


def query(group: Sequence[Sent]) -> Form:
    """Ask for the samples of some points: by measurement, and by meter, usage point or sink, from the first to the last."""
    selectors: set[str] = set()
    for names in {names for _, names, _, _ in group}:
        measurement, tags = parse_head(names)
        owner = next(key for key in OWNERS if key in tags)
        selectors.add(f'{{__name__=~"{measurement}_.*",{owner}={json.dumps(tags[owner], ensure_ascii=False)}}}')
    instants = [at for *_, at in group]
    return [
        *(("match[]", selector) for selector in sorted(selectors)),
        ("start", str(min(instants))),
        ("end", str(max(instants))),
    ]


def _missing(group: Sequence[Sent], text: str) -> list[bytes]:
    """Compare floats, which is fast, and what differs digit by digit: decimals of up to 15 digits with one float are equal."""
    try:
        doubtful = _unequal(group, text)
        held = samples(text) if doubtful else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"what was read back is not understood: {error!r}") from error
    return [line for line in doubtful if not _is_held(parse(line), held)]


def _unequal(group: Sequence[Sent], text: str) -> list[bytes]:
    """Give the lines of which a field is not held as the very same float."""
    held: defaultdict[Names, set[tuple[int, float]]] = defaultdict(set)
    for exported in text.splitlines():
        series: dict[str, Any] = json.loads(exported)
        held[frozenset(series["metric"].items())].update(zip(series["timestamps"], series["values"], strict=True))
    pairs: dict[tuple[bytes, bytes], set[tuple[int, float]]] = {}
    found = []
    for line, names, fields, at in group:
        for field in fields.split(b","):
            name, _, value = field.partition(b"=")
            pair = pairs.get((names, name))
            if pair is None:
                measurement, tags = parse_head(names)
                labels = {"__name__": f"{measurement}_{name.decode()}", **tags}
                pair = pairs[names, name] = held.get(frozenset(labels.items()), set())
            if (at * 1_000, float(value.rstrip(b"i"))) not in pair:
                found.append(line)
                break
    return found


def samples(text: str) -> Samples:
    """Sort exported JSON lines by series and instant [s UTC]; numbers to the digits that a float keeps of any decimal."""
    found: Samples = defaultdict(list)
    for line in text.splitlines():
        series: dict[str, Any] = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        key = frozenset(series["metric"].items())
        for value, at in zip(series["values"], series["timestamps"], strict=True):
            found[key, int(at) // 1_000].append(_FLOAT.plus(value))
    return found


def _is_held(point: Point, held: Samples) -> bool:
    """Say whether each field is there; a field is a series of its own, its name ends in the field's."""
    return all(
        value in held.get((frozenset({"__name__": f"{point.measurement}_{name}", **point.tags}.items()), point.at), ())
        for name, value in point.fields.items()
    )
