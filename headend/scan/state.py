"""The file a scan goes on from after a cut: what is settled and what was found. Replaced as a whole, durably, after each question.

It may be damaged, or another scan's: everything in it is checked, and a scan of something else is refused.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

from drivers.errors import DriverError
from headend.scan.found import Crowd, FoundMeter
from headend.scan.ground import Ground, Kind, parse_short, ranges, short
from headend.scan.pace import Pace
from headend.scan.plan import MAX_AGAIN, MAX_MEETINGS, PATIENT, Scan
from headend.scan.probe import Question

FORMAT: Final = "headend.scan-state/1"
MAX_OCTETS: Final = 8 << 20
MAX_TEXT: Final = 400
MAX_FORMS: Final = 100


class StateFault(ValueError):
    """The file is no state of this scan; says why."""


def dump(scan: Scan, port: str) -> bytes:
    """Write a scan as JSON."""
    document = {
        "format": FORMAT,
        "scan": _meant(scan, port),
        "tracks": {track.name: track.position for track in scan.tracks},
        "meters": [_texts(meter) for meter in scan.meters],
        "crowds": [_texts(crowd) for crowd in scan.crowds],
        "again": [[one.kind, short(one.form), one.target] for one in scan.again],
        "strangers": scan.strangers,
        "refused": [short(form) for form in scan.refused],
        "answered": [[kind, short(form)] for kind, form in scan.answered],
        "pace": asdict(scan.pace),
    }
    return json.dumps(document, ensure_ascii=False).encode()


def load(octets: bytes, scan: Scan, port: str) -> None:
    """Let a fresh scan go on from what `dump` wrote. Raises `StateFault`; then the scan is not to be used."""
    if len(octets) > MAX_OCTETS:
        raise StateFault(f"is larger than {MAX_OCTETS} octets")
    try:
        document = json.loads(octets)
    except (ValueError, RecursionError):
        raise StateFault("is damaged, or no state of a scan: not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise StateFault(f"is no state of a scan ({FORMAT})")
    meant, was = _meant(scan, port), document.get("scan")
    if was != meant:
        said = was if isinstance(was, dict) else {}
        differs = [
            f"{key} {said.get(key, 'unknown')} instead of {meant[key]}" for key in meant if said.get(key) != meant[key]
        ]
        raise StateFault(f"is of another scan: {'; '.join(differs)}"[:MAX_TEXT])
    try:
        _fill(document, scan)
    except (KeyError, TypeError, ValueError, AttributeError, DriverError) as error:
        raise StateFault(f"is damaged: {type(error).__name__}: {str(error)[:MAX_TEXT]}") from None


def _fill(document: Mapping[str, Any], scan: Scan) -> None:
    positions = document["tracks"]
    if set(positions) != {track.name for track in scan.tracks}:
        raise ValueError("tracks are not those of this scan")
    for track in scan.tracks:
        track.resume(positions[track.name])
    scan.meters = [_meter(one) for one in _list(document["meters"], MAX_MEETINGS)]
    scan.crowds = [
        Crowd(Kind(one["kind"]), parse_short(one["form"]), _text(one["address"]), _text(one["why"]))
        for one in _list(document["crowds"], MAX_MEETINGS)
    ]
    scan.again = [
        Question(Kind(kind), parse_short(form), _text(target), PATIENT)
        for kind, form, target in _list(document["again"], MAX_AGAIN)
    ]
    for question in scan.again:
        scan.expected(question)  # only what can be asked
    scan.strangers = [_text(one) for one in _list(document["strangers"], MAX_FORMS)]
    scan.refused = [parse_short(one) for one in _list(document["refused"], MAX_FORMS)]
    scan.answered = [(Kind(kind), parse_short(form)) for kind, form in _list(document["answered"], 10 * MAX_FORMS)]
    pace = Pace(**document["pace"])
    if not all(isinstance(number, int | float) and abs(number) < 1e9 for number in asdict(pace).values()):
        raise ValueError("pace is no set of numbers")
    scan.pace = pace


def _meant(scan: Scan, port: str) -> dict[str, object]:
    """Say what a scan is of: only the same may go on from its state."""
    ground: Ground = scan.ground
    return {
        "port": port,
        "effort": ground.effort,
        "protocols": ", ".join(ground.protocols),
        "settings": ", ".join(short(form) for form in ground.forms()),
        "units": ranges(ground.likely_units() + ground.other_units()),
        "wait": "usual" if scan.wait is None else f"{scan.wait:g} s",
    }


def _texts(one: FoundMeter | Crowd) -> dict[str, object]:
    return {**asdict(one), "form": short(one.form)}


def _meter(one: Mapping[str, Any]) -> FoundMeter:
    texts = {key: _text(one[key]) for key in ("address", "name", "model", "profile", "options", "note")}
    also = tuple(_text(where) for where in _list(one["also"], 10 * MAX_FORMS))
    return FoundMeter(Kind(one["kind"]), parse_short(one["form"]), also=also, **texts)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"{str(value)[:40]!r} is no text of one line")
    return value


def _list(value: object, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise ValueError(f"{str(value)[:40]} is no list of at most {limit}")
    return value


class StateFile:
    """Where the state of a scan lies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """Give what is there, None for nothing; no more than a state can have. Raises `OSError`."""
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_OCTETS + 1)
        except FileNotFoundError:
            return None

    def try_out(self) -> None:
        """Raise `OSError` where nothing can be written, before a line is asked for what could not be kept."""
        with self._fresh():
            pass
        self._new.unlink()

    def write(self, octets: bytes) -> None:
        """Put ``octets`` there, all or nothing, durable on return. Raises `OSError`."""
        with self._fresh() as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        self._new.replace(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @property
    def _new(self) -> Path:
        return self.path.with_name(f"{self.path.name}.new")

    def _fresh(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._new.open("wb")

    def remove(self) -> None:
        """Take it away, if it is there."""
        self.path.unlink(missing_ok=True)
