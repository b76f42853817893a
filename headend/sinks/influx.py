"""`InfluxServer`: what answers to writes mean, and reading back from VictoriaMetrics. No I/O: an `Exchange` carries it.

An answer counts only if it is exactly 204; a 404 or a page of somebody's proxy is an outage that `headend sink status` shows.
400, 413 and 422 say that something in the body will never be taken, in whole or in part (docs.influxdata.com, "Troubleshoot
issues writing data"); the rest of the body may or may not have been, so it is sent again.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Protocol

from headend.registry.model import DAY
from headend.sinks.lines import MAX_DIGITS, Point, parse
from headend.sinks.model import Refused, Unavailable

ACCEPTED = 204
REFUSALS = frozenset({400, 413, 422})
MAX_SHOWN = 200
"""Longest part of an answer that is repeated. [characters]"""
MOST_POINTS = 1_000
"""Most points that one query asks for: comparing them holds up the event loop."""

_FLOAT = Context(prec=MAX_DIGITS)

Form = list[tuple[str, str]]
Samples = dict[tuple[frozenset[tuple[str, str]], int], list[Decimal]]


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
                answer = await self._exchange.export(query(point for _, point in group))
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


def _groups(lines: Sequence[bytes]) -> Iterator[list[tuple[bytes, Point]]]:
    """Put points of one day together, as many as one query asks for: it asks for a day of some meters at most."""
    for first in range(0, len(lines), MOST_POINTS):
        days: defaultdict[int, list[tuple[bytes, Point]]] = defaultdict(list)
        for line in lines[first : first + MOST_POINTS]:
            point = parse(line)
            days[point.at // DAY].append((line, point))
        yield from days.values()


def query(points: Iterable[Point]) -> Form:
    """Ask for the samples of some points: by measurement, and by meter, usage point or sink, from the first to the last."""
    selectors: set[str] = set()
    instants: list[int] = []
    for point in points:
        instants.append(point.at)
        owner = next(key for key in ("meter", "usage_point", "sink") if key in point.tags)
        selectors.add(
            f'{{__name__=~"{point.measurement}_.*",{owner}={json.dumps(point.tags[owner], ensure_ascii=False)}}}'
        )
    return [
        *(("match[]", selector) for selector in sorted(selectors)),
        ("start", str(min(instants))),
        ("end", str(max(instants))),
    ]


def _missing(group: Sequence[tuple[bytes, Point]], text: str) -> list[bytes]:
    try:
        held = samples(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unavailable(f"what was read back is not understood: {error!r}") from error
    return [line for line, point in group if not _is_held(point, held)]


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
