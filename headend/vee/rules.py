"""`RuleSet`: a versioned set of validation and estimation rules, made from a TOML document in ``config/rules``.

Limits of energy are written as mean power over the interval and turned into counts per channel, so one rule set serves
every capture period and scaler. All arithmetic is on whole numbers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import files
from importlib.resources.abc import Traversable
from math import ceil, floor
from pathlib import Path
from types import MappingProxyType

from drivers.table import CheckedTable, Faults
from drivers.units import ScalerUnit, Unit
from headend.errors import SettingsError
from headend.toml_file import TomlFileError, read_toml
from kernels.quality import Rule

HOUR = 3_600
DAY = 86_400
INT32 = (-(2**31), 2**31 - 1)
LARGEST_LIMIT = 10**12
MEAN_POWER_UNITS = frozenset((Unit.WATT_HOUR, Unit.VAR_HOUR, Unit.VOLT_AMPERE_HOUR))
_SECTION_RULES = {"range": Rule.RANGE, "zero_run": Rule.ZERO_RUN, "spike": Rule.SPIKE, "sum_check": Rule.SUM_CHECK}


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """The rules in counts and slots of one channel. ``low``, ``high`` inclusive; ``spike_floor``: up to it nothing is a spike."""

    low: int
    high: int
    zero_run: int
    spike_permille: int
    spike_floor: int
    linear_slots: int


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules as written. ``limits``: unit -> lowest and highest, inclusive (energy: mean power over the interval).

    ``digest``: of the document, so that two rule sets of one name and version are told apart.
    ``failing``: rules that make a measured value questionable; the others only warn by their bit in the mask.
    ``spike_floor``: mean power. [W]  ``register_within``: how far off a boundary a register may be read. [s]
    ``longest_span``: between two registers. [s]  ``linear``: longest gap filled on a line. [s]
    ``like_days``: reference days averaged, the nearest of ``weeks`` weeks back.
    """

    name: str
    version: int
    about: str
    digest: str
    sources: Mapping[str, str]
    limits: Mapping[Unit, tuple[int, int]]
    failing: Rule
    zero_run: int
    spike_permille: int
    spike_floor: int
    sum_counts: int
    sum_permille: int
    register_within: int
    longest_span: int
    linear: int
    like_days: int
    weeks: int

    @property
    def title(self) -> str:
        """Name the rule set for a run: name, version and digest, for example ``residential 1 (5d41402a)``."""
        return f"{self.name} {self.version} ({self.digest})"

    @property
    def look_back(self) -> int:
        """How far before a slot anything can lie that its result depends on. [s]"""
        return self.longest_span + self.weeks * 7 * DAY + self._reach

    @property
    def look_ahead(self) -> int:
        """How far behind a slot anything can lie that its result depends on. [s]"""
        return self.longest_span + self._reach

    @property
    def _reach(self) -> int:
        """How far the rules within one local day, the longest zero run and the longest line reach, to whole days. [s]"""
        return 2 * DAY + -(-max(self.zero_run, self.linear) // DAY) * DAY

    def for_channel(self, scaler_unit: ScalerUnit, period: int) -> ChannelLimits:
        """Turn the rules into counts and slots of a channel. ``period``: [s]. A unit without limits may use all of int32."""
        worth = Fraction(10) ** scaler_unit.scaler
        if scaler_unit.unit in MEAN_POWER_UNITS:
            worth *= Fraction(HOUR, period)
        low, high = INT32
        spike_floor = INT32[1]
        if scaler_unit.unit in self.limits:
            lowest, highest = self.limits[scaler_unit.unit]
            low, high = _into_int32(ceil(lowest / worth)), _into_int32(floor(highest / worth))
        if scaler_unit.unit in MEAN_POWER_UNITS:
            spike_floor = _into_int32(floor(self.spike_floor / worth))
        return ChannelLimits(
            low=low,
            high=max(low, high),
            zero_run=max(1, -(-self.zero_run // period)),
            spike_permille=self.spike_permille,
            spike_floor=spike_floor,
            linear_slots=self.linear // period,
        )


def load_rules(name: str) -> RuleSet:
    """Load a shipped rule set by name, or one of your own by the path of its TOML file. Raises `SettingsError`, all faults at once."""
    shipped = files("headend.config") / "rules"
    entry: Traversable = shipped / f"{name}.toml"
    short = name
    if name.endswith(".toml"):
        entry, short = Path(name), Path(name).stem
    known = sorted(found.name.removesuffix(".toml") for found in shipped.iterdir() if found.name.endswith(".toml"))
    if not name.endswith(".toml") and name not in known:
        raise SettingsError(
            [f"vee.rules: {name[:60]!r} is no rule set; shipped: {', '.join(known)}; or give a .toml file"]
        )
    try:
        document = read_toml(entry)
    except TomlFileError as error:
        raise SettingsError([f"{name}: {error}"]) from error
    return parse_rules(short, document)


def parse_rules(name: str, document: Mapping[str, object]) -> RuleSet:
    """Make a rule set out of a parsed document. Raises `SettingsError` with every fault as ``name: key: what``."""
    faults = Faults()
    top = CheckedTable(document, faults)
    version = top.integer("version", None, 1, 1_000_000)
    about = top.text("about", "")
    keys = (*_SECTION_RULES, "registers", "estimate")
    tables = {key: _table(document, key, top) for key in keys}
    sources = {key: table.text("source") for key, table in tables.items()}
    failing = Rule(0)
    for key, rule in _SECTION_RULES.items():
        if tables[key].choice("severity", ("failed", "warning")) == "failed":
            failing |= rule
    registers, estimate = tables["registers"], tables["estimate"]
    rules = RuleSet(
        name=name,
        version=version,
        about=about,
        digest=hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:8],
        sources=MappingProxyType(sources),
        limits=MappingProxyType(_limits(tables["range"], document)),
        failing=failing,
        zero_run=tables["zero_run"].integer("hours", None, 1, 168) * HOUR,
        spike_permille=tables["spike"].integer("permille", None, 1, 1_000_000),
        spike_floor=tables["spike"].integer("floor", 0, 0, LARGEST_LIMIT),
        sum_counts=tables["sum_check"].integer("counts", 1, 0, 1_000_000),
        sum_permille=tables["sum_check"].integer("permille", 0, 0, 1_000),
        register_within=registers.integer("within", None, 0, 900),
        longest_span=registers.integer("longest_days", None, 1, 366) * DAY,
        linear=estimate.integer("linear_hours", None, 0, 24) * HOUR,
        like_days=estimate.integer("like_days", None, 1, 52),
        weeks=estimate.integer("weeks", None, 0, 52),
    )
    for table in (top, *tables.values()):
        table.finish()
    if faults.lines:
        raise SettingsError([f"{name}: {line}" for line in faults.lines])
    return rules


def _table(document: Mapping[str, object], key: str, top: CheckedTable) -> CheckedTable:
    top.has(key)
    found = document.get(key)
    if isinstance(found, dict):
        return CheckedTable(found, top.faults, key)
    top.fault(key, "must be a table of this rule's source and figures")
    return CheckedTable({}, Faults(), key)


def _limits(table: CheckedTable, document: Mapping[str, object]) -> dict[Unit, tuple[int, int]]:
    section = document.get("range")
    if not table.has("limits") or not isinstance(section, dict) or not isinstance(section["limits"], dict):
        table.fault("limits", "must be a table of units, each with low and high")
        return {}
    found: dict[Unit, tuple[int, int]] = {}
    for symbol, row in section["limits"].items():
        try:
            unit = Unit.parse(symbol)
        except ValueError as error:
            table.fault("limits", str(error))
            continue
        if not isinstance(row, dict):
            table.fault(f"limits.{symbol}", "must be a table with low and high")
            continue
        limits = CheckedTable(row, table.faults, table.where(f"limits.{symbol}"))
        low = limits.integer("low", None, -LARGEST_LIMIT, LARGEST_LIMIT)
        high = limits.integer("high", None, -LARGEST_LIMIT, LARGEST_LIMIT)
        if low > high:
            limits.fault("low", f"is {low}, above high {high}")
        limits.finish()
        found[unit] = (low, high)
    return found


def _into_int32(count: int) -> int:
    return min(max(count, INT32[0]), INT32[1])
