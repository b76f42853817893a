"""A server of lines in memory that makes trouble on request; reads lines and answers exports by code of its own."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from headend.sinks.influx import Answer

Key = tuple[str, frozenset[tuple[str, str]], int]
"""Measurement, tags, instant."""
BEACON = "headend_sink"


def split(text: str, mark: str, *, has_words: bool = False) -> list[str]:
    """Split at a mark that no backslash stands before; ``has_words``: and that is not within quotes."""
    if "\\" not in text and not has_words:
        return text.split(mark)
    parts, now, index, is_quoted = [], "", 0, False
    while index < len(text):
        if text[index] == "\\" and text[index + 1] in ('\\"' if is_quoted else ",= "):
            now += text[index : index + 2]
            index += 2
        elif text[index] == mark and not is_quoted:
            parts.append(now)
            now, index = "", index + 1
        else:
            is_quoted ^= has_words and text[index] == '"'
            now += text[index]
            index += 1
    return [*parts, now]


def plain(text: str) -> str:
    for mark in ",= ":
        text = text.replace("\\" + mark, mark)
    return text


@lru_cache(100_000)
def read_line(line: str) -> tuple[Key, dict[str, str]]:
    """Give a line's key and its fields as text."""
    names = split(line, " ")[0]
    fields, _, at = line[len(names) + 1 :].rpartition(" ")
    measurement, *tags = split(names, ",")
    pairs = [split(tag, "=") for tag in tags]
    assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
    key = plain(measurement), frozenset((plain(name), plain(value)) for name, value in pairs), int(at)
    return key, {
        name: _content(value) for name, value in (split(item, "=", has_words=True) for item in _fields(fields))
    }


def _fields(text: str) -> list[str]:
    return split(text, ",", has_words='"' in text)


def _content(value: str) -> str:
    if not value.startswith('"'):
        return value.removesuffix("i")
    return value[1:-1].replace('\\"', '"').replace("\\\\", "\\")


@dataclass
class FakeInflux:
    """``trouble``: share of requests that meet some.  ``settles_after``: a crash loses what came later than so [s].

    ``refuses``: keys answered with 400 or 422.  ``drops``: keys passed over without a word.
    """

    random: Random
    now: Callable[[], float]
    trouble: float = 0.0
    settles_after: float = 0.0
    loses: bool = False
    refuses: Callable[[Key], bool] = lambda _: False
    drops: Callable[[Key], bool] = lambda _: False
    held: dict[Key, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Key -> field -> value as text -> when it came, newest last."""
    _refuses_all_until: float = -1.0
    requests: int = 0
    largest: int = 0

    async def write(self, body: bytes) -> Answer:
        self.requests += 1
        lines = body.decode().split("\n")
        if self.now() < self._refuses_all_until:
            return Answer(400, "unable to parse")
        self.largest = max(self.largest, len(lines))
        if self.random.random() < self.trouble:
            answer = await self._misbehave(lines)
            if answer is not None:
                return answer
        parsed = [read_line(line) for line in lines]
        bad = [key for key, _ in parsed if self.refuses(key)]
        if bad:
            # Of the rest of the body anything may have been taken: all, nothing, some.
            share = self.random.choice([0.0, 0.5, 1.0])
            for key, fields in parsed:
                if key not in bad and self.random.random() < share:
                    self.take(key, fields)
            return Answer(self.random.choice([400, 422]), f"partial write: {len(bad)} points rejected")
        for key, fields in parsed:
            self.take(key, fields)
        return Answer(204)

    async def _misbehave(self, lines: list[str]) -> Answer | None:
        kinds = ["500", "503", "429", "404", "slow", "cut", "twice", "all refused"]
        kind = self.random.choice([*kinds, "lost", "tail lost", "some lost"] if self.loses else kinds)
        share = self.random.choice([0.0, 0.5, 1.0])
        if kind in {"500", "503", "slow", "cut"}:
            for line in lines[: int(len(lines) * share)]:
                self._take_line(line)
        if kind == "slow":
            await asyncio.sleep(10)
            raise TimeoutError("no answer within 10 s")
        if kind == "cut":
            raise ConnectionResetError("connection reset")
        if kind == "twice":
            for line in lines:
                self._take_line(line)
            return None
        if kind == "all refused":
            self._refuses_all_until = self.now() + 60
            return Answer(400, "unable to parse")
        if "lost" in kind:
            kept = {"lost": lines[:0], "tail lost": lines[: len(lines) // 2]}.get(
                kind, [line for line in lines if self.random.random() < 0.5]
            )
            for line in kept:
                self._take_line(line)
            return Answer(204)
        return Answer(int(kind), "trouble", str(self.random.randrange(30)) if kind == "429" else "")

    def _take_line(self, line: str) -> None:
        key, fields = read_line(line)
        if not self.refuses(key):
            self.take(key, fields)

    def take(self, key: Key, fields: dict[str, str]) -> None:
        if self.drops(key):
            return
        row = self.held.setdefault(key, {})
        for name, text in fields.items():
            samples = row.setdefault(name, {})
            samples[text] = samples.pop(text, self.now())

    def crash(self) -> None:
        """Lose what had no time to settle."""
        durable = self.now() - self.settles_after
        for row in self.held.values():
            for samples in row.values():
                for text in [text for text, came in samples.items() if came > durable]:
                    del samples[text]

    async def export(self, form: list[tuple[str, str]]) -> Answer:
        self.requests += 1
        if self.random.random() < self.trouble / 2:
            return Answer(503, "busy")
        asked = [value for name, value in form if name == "match[]"]
        start, end = (int(dict(form)[name]) for name in ("start", "end"))
        series: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[int, str]]] = {}
        for (measurement, tags, at), row in self.held.items():
            if start <= at <= end and any(_matches(selector, measurement, dict(tags)) for selector in asked):
                for name, samples in row.items():
                    series.setdefault((f"{measurement}_{name}", tags), []).extend((at, text) for text in samples)
        return Answer(200, "\n".join(_exported(name, dict(tags), found) for (name, tags), found in series.items()))


def _matches(selector: str, measurement: str, tags: dict[str, str]) -> bool:
    name, owner = selector.removeprefix("{").removesuffix("}").split(",", 1)
    label, value = owner.split("=", 1)
    return name == f'__name__=~"{measurement}_.*"' and tags.get(label) == json.loads(value)


def _exported(name: str, tags: dict[str, str], found: list[tuple[int, str]]) -> str:
    labels = json.dumps({"__name__": name, **tags})
    values = ",".join(text for _, text in found)
    return f'{{"metric":{labels},"values":[{values}],"timestamps":[{",".join(f"{at}000" for at, _ in found)}]}}'
