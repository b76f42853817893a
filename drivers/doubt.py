"""Marks facts that nobody can vouch for, so that the doubt goes with the value wherever it goes."""

from dataclasses import replace
from typing import TypeVar

from drivers.facts import IntervalBlock, RegisterValue
from kernels.quality import Rule

Fact = TypeVar("Fact", RegisterValue, IntervalBlock, RegisterValue | IntervalBlock)


def doubted(fact: Fact) -> Fact:
    """Give the fact with `Rule.METER_STATUS` on each value it has: it was decrypted, and not authenticated."""
    return _marked(fact, Rule.METER_STATUS)


def unprotected(fact: Fact) -> Fact:
    """Give the fact with `Rule.UNPROTECTED` on each value it has: only a checksum vouches for it, parity was not checked."""
    return _marked(fact, Rule.UNPROTECTED)


def _marked(fact: Fact, rule: Rule) -> Fact:
    if isinstance(fact, RegisterValue):
        return replace(fact, rules=fact.rules | rule)
    rules = fact.rules or (Rule(0),) * len(fact.counts)
    return replace(
        fact, rules=tuple(old if count is None else old | rule for old, count in zip(rules, fact.counts, strict=True))
    )
