"""Marks facts that nobody can vouch for, so that the doubt goes with the value wherever it goes."""

from dataclasses import replace
from typing import overload

from drivers.facts import IntervalBlock, RegisterValue
from kernels.quality import Rule


@overload
def doubted(fact: RegisterValue) -> RegisterValue: ...
@overload
def doubted(fact: IntervalBlock) -> IntervalBlock: ...


def doubted(fact: RegisterValue | IntervalBlock) -> RegisterValue | IntervalBlock:
    """Give the fact with `Rule.METER_STATUS` on each value it has: nothing that protects it was checked."""
    if isinstance(fact, RegisterValue):
        return replace(fact, rules=fact.rules | Rule.METER_STATUS)
    rules = fact.rules or (Rule(0),) * len(fact.counts)
    marked = (
        rule if count is None else rule | Rule.METER_STATUS for rule, count in zip(rules, fact.counts, strict=True)
    )
    return replace(fact, rules=tuple(marked))
