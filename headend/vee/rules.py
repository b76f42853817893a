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
from headend.vee.checks import KINDS, LARGEST_LIMIT, Check, Severity, parse_check
from headend.vee.classprofile import ClassProfile, parse_profile, with_class
from headend.vee.holidays import Holidays, parse_holidays
from headend.vee.likedays import Order
from kernels.quality import Rule

HOUR = 3_600
DAY = 86_400
INT32 = (-(2**31), 2**31 - 1)
MEAN_POWER_UNITS = frozenset((Unit.WATT_HOUR, Unit.VAR_HOUR, Unit.VOLT_AMPERE_HOUR))
CORE = {"range": Rule.RANGE, "zero_run": Rule.ZERO_RUN, "spike": Rule.SPIKE, "sum_check": Rule.SUM_CHECK}
"""Rules that every rule set has; the others are those of `headend.vee.checks`."""
_RUNS = ("negative_run", "constant_run", "never_zero")


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
class Connection:
    """What the supply can carry: the figures that limits of energy, power, voltage and current are made from.

    ``volts``: nominal, phase to neutral, as the meter measures it. [V]  ``basic``, ``maximum``: the meter's currents. [A]
    ``headroom``: what the upper limit of energy is above maximum current times nominal voltage. [permille]
    ``behind_transformers``: the meter's currents are secondary, so power at the primary side is larger by the multiplier.
    """

    phases: int
    volts: int
    basic: int
    maximum: int
    headroom: int
    behind_transformers: bool

    def power(self, multiplier: int) -> int:
        """Power at maximum current and nominal voltage, all phases. [W]"""
        return self.phases * self.volts * self.maximum * (multiplier if self.behind_transformers else 1)

    def basic_power(self, multiplier: int) -> int:
        """Power at basic current and nominal voltage, all phases. [W]"""
        return self.phases * self.volts * self.basic * (multiplier if self.behind_transformers else 1)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules as written. ``limits``: unit -> lowest and highest, inclusive (energy: mean power over the interval).

    ``digest``: of the document, so that two rule sets of one name and version are told apart.
    ``severities``: of each rule that is on.  ``failing``: those that reject: they make a measured value questionable.
    ``checks``: by name, those beside the core rules.
    ``spike_floor``: mean power. [W]  ``register_within``: how far off a boundary a register may be read. [s]
    ``register_dials``: digits after which registers start again at 0; 0: nobody knows.
    ``longest_span``: between two registers. [s]  ``linear``: longest gap filled on a line. [s]
    ``like_days``: reference days averaged, the nearest by ``order`` of ``weeks`` weeks back.
    ``longest_gap``: longer gaps get no estimate but a register's; 0: no limit. [s]  ``previous_year``: it serves where no like day does.
    ``profile``: of its class of customers, which serves where nothing else does; None: there is none.
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
    register_dials: int
    longest_span: int
    linear: int
    like_days: int
    weeks: int
    order: Order
    longest_gap: int
    previous_year: bool
    profile: ClassProfile | None
    holidays: Holidays
    connection: Connection | None
    severities: Mapping[Rule, Severity]
    checks: Mapping[str, Check]

    @property
    def title(self) -> str:
        """Name the rule set for a run: name, version and digest, for example ``residential 1 (5d41402a)``."""
        return f"{self.name} {self.version} ({self.digest})"

    @property
    def look_back(self) -> int:
        """How far before a slot anything can lie that its result depends on. [s]"""
        period = self.checks["high_low"]["days"] if "high_low" in self.checks else 0
        return max(self.longest_span + self.weeks * 7 * DAY, 2 * period * DAY) + self._reach

    @property
    def look_year(self) -> int:
        """How many days around one 364 days back a result may depend on beside all that; 0: on none. [d]"""
        if "high_low_year" in self.checks:
            return self.checks["high_low_year"]["days"] + 1
        return 1 if self.previous_year else 0

    @property
    def look_ahead(self) -> int:
        """How far behind a slot anything can lie that its result depends on. [s]"""
        return self.longest_span + self._reach

    @property
    def _reach(self) -> int:
        """How far the rules within one local day, the longest run, line and gap with an estimate reach, to whole days. [s]"""
        runs = [self.checks[name]["hours"] * HOUR for name in _RUNS if name in self.checks]
        of_class = self.profile.longest if self.profile is not None else 0
        return 2 * DAY + -(-max(self.zero_run, self.linear, self.longest_gap, of_class, *runs) // DAY) * DAY

    def for_channel(self, scaler_unit: ScalerUnit, period: int, multiplier: int = 1) -> ChannelLimits:
        """Turn the rules into counts and slots of a channel. ``period``: [s]. A unit without limits may use all of int32.

        ``multiplier``: of the installation, for limits made from a connection behind transformers.
        """
        worth = Fraction(10) ** scaler_unit.scaler
        if scaler_unit.unit in MEAN_POWER_UNITS:
            worth *= Fraction(HOUR, period)
        low, high = INT32
        spike_floor = INT32[1]
        if scaler_unit.unit in self.limits:
            lowest, highest = self.limits[scaler_unit.unit]
            low, high = _into_int32(ceil(lowest / worth)), _into_int32(floor(highest / worth))
        elif self.connection is not None and scaler_unit.unit in MEAN_POWER_UNITS:
            highest = self.connection.power(multiplier) * (1_000 + self.connection.headroom) // 1_000
            low, high = 0, _into_int32(floor(highest / worth))
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
    return parse_rules(short, with_class(document))


def parse_rules(name: str, document: Mapping[str, object]) -> RuleSet:
    """Make a rule set out of a parsed document. Raises `SettingsError` with every fault as ``name: key: what``."""
    faults = Faults()
    top = CheckedTable(document, faults)
    version = top.integer("version", None, 1, 1_000_000)
    about = top.text("about", "")
    named = [key for key in (*KINDS, "connection", "holidays", "profile") if top.has(key)]
    tables = {key: _table(document, key, top) for key in (*CORE, "registers", "estimate", *named)}
    checks = {key: parse_check(key, tables[key]) for key in named if key in KINDS}
    sources = {key: table.text("source") for key, table in tables.items() if key not in checks}
    severities = {
        rule: Severity(tables[key].choice("severity", tuple(map(str, Severity)))) for key, rule in CORE.items()
    }
    severities |= {check.rule: check.severity for check in checks.values()}
    failing = Rule(0)
    for rule, severity in severities.items():
        failing |= rule if severity is Severity.REJECT else Rule(0)
    registers, estimate = tables["registers"], tables["estimate"]
    connection = _connection(tables["connection"]) if "connection" in tables else None
    for key in ("voltage", "current", "power", "imbalance", "neutral"):
        if key in checks and connection is None:
            tables[key].fault("severity", "needs a table connection with nominal voltage and currents")
    rules = RuleSet(
        name=name,
        version=version,
        about=about,
        digest=hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:8],
        sources=MappingProxyType(sources | {key: check.source for key, check in checks.items()}),
        limits=MappingProxyType(_limits(tables["range"], document)),
        failing=failing,
        zero_run=tables["zero_run"].integer("hours", None, 1, 168) * HOUR,
        spike_permille=tables["spike"].integer("permille", None, 1, 1_000_000),
        spike_floor=tables["spike"].integer("floor", 0, 0, LARGEST_LIMIT),
        sum_counts=tables["sum_check"].integer("counts", 1, 0, 1_000_000),
        sum_permille=tables["sum_check"].integer("permille", 0, 0, 1_000),
        register_within=registers.integer("within", None, 0, 900),
        register_dials=registers.integer("dials", 0, 0, 18),
        longest_span=registers.integer("longest_days", None, 1, 366) * DAY,
        linear=estimate.integer("linear_hours", None, 0, 24) * HOUR,
        like_days=estimate.integer("like_days", None, 1, 52),
        weeks=estimate.integer("weeks", None, 0, 52),
        order=Order(estimate.choice("order", tuple(map(str, Order)), str(Order.WEEKDAY))),
        longest_gap=estimate.integer("longest_hours", 0, 0, 1_344) * HOUR,
        previous_year=estimate.boolean("previous_year", default=False),
        profile=parse_profile(tables["profile"]) if "profile" in tables else None,
        holidays=parse_holidays(tables["holidays"]) if "holidays" in tables else Holidays(),
        connection=connection,
        severities=MappingProxyType(severities),
        checks=MappingProxyType(checks),
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


def _connection(table: CheckedTable) -> Connection:
    return Connection(
        phases=table.integer("phases", None, 1, 3),
        volts=table.integer("volts", None, 1, 1_000_000),
        basic=table.integer("basic", None, 1, 100_000),
        maximum=table.integer("maximum", None, 1, 100_000),
        headroom=table.integer("headroom", 100, 0, 10_000),
        behind_transformers=table.boolean("behind_transformers", default=False),
    )


def _limits(table: CheckedTable, document: Mapping[str, object]) -> dict[Unit, tuple[int, int]]:
    section = document.get("range")
    if not table.has("limits") and "connection" in document:
        return {}
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
