"""What a forecast says in words, and what would make a plan fit: every figure comes of a forecast of its own. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import Final

from drivers.cost import Medium
from headend.collect.forecast import TIGHT, Forecaster, LinkForecast, Verdict
from headend.collect.job import JobKind
from headend.collect.plan import DAY
from headend.collect.schedule import Meter, next_tick
from headend.settings import CollectSettings

PERIODS: Final = (60, 120, 180, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)
"""Periods that are offered; each divides a day. [s]"""
BAUDS: Final = (300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 38_400, 57_600, 115_200)
HOURS: Final = (2, 3, 4, 6, 12, 24)
MOST_LINES: Final = 16


def percent(share: float) -> str:
    """Write a share of a line's time, rounded up: what needs a little more than all does not look as if it fitted."""
    return f"{ceil(100 * share - 1e-6)} %"


def duration(seconds: int) -> str:
    """Write a period. [s]"""
    for unit, name in ((3_600, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def sentence(forecast: LinkForecast) -> str:
    """Say what a plan needs of its link, and why that is not to be had where it is not."""
    speed = forecast.medium.bits_per_second
    what = f"this plan needs {percent(forecast.load)} of " + (f"a {speed} baud line" if speed else "the link's time")
    if forecast.load > 1:
        return what
    if forecast.missed:
        return f"{what}, but {forecast.missed} jobs a day never have their turn: others are in their way"
    if forecast.late:
        worst = ceil(forecast.worst_boundary or 0)
        return (
            f"{what}, but the last meter is polled {worst} s after its boundary, and {forecast.tolerance} s are tolerated:"
            f" {forecast.late} polls a day would make estimates"
        )
    return what


def advise(forecaster: Forecaster, forecast: LinkForecast, meters: Sequence[Meter]) -> tuple[str, ...]:
    """Give what would make a plan fit that does not fit, or is tight; one change at a time, the smallest of each kind."""
    if forecast.verdict not in {Verdict.DOES_NOT_FIT, Verdict.TIGHT}:
        return ()
    return tuple(_ways(forecaster, forecast, meters))


def _ways(forecaster: Forecaster, forecast: LinkForecast, meters: Sequence[Meter]) -> Iterator[str]:
    medium, assumptions = forecast.medium, forecaster.assumptions
    polled = [item.period for one in meters for item in one.expectations if item.origin == "register"]
    periods = [period for period in PERIODS if period > (assumptions.period or min(polled))] if polled else []
    ticks = _ticks(assumptions.settings.profile_schedule) if JobKind.LOAD_PROFILE in forecast.by_kind else 0
    hours = [hours for hours in HOURS if DAY // 3_600 // hours < ticks]
    speed = medium.bits_per_second
    bauds = [baud for baud in BAUDS if baud > speed] if speed else []

    def of(medium: Medium = medium, meters: Sequence[Meter] = meters, **changes: object) -> LinkForecast:
        return forecaster.other(**changes).link(forecast.link, medium, meters)

    if polled and _keeps_up(forecast, assumptions.period or min(polled)):
        yield f"tolerate {ceil(forecast.worst_boundary or 0)} s after a boundary (boundary_tolerance)"
    if found := _first(lambda period: of(shortest=period), periods):
        yield f"drop to {duration(found[0])} ({_figure(found[1])})"
    elif forecast.load > 1 or forecast.missed:
        # A tolerance is shorter than the period it was made for; a longer one can have a longer one.
        late = ((period, of(shortest=period)) for period in periods)
        if both := next((one for one in late if _keeps_up(one[1], one[0]) and one[1].load <= TIGHT), None):
            yield (
                f"drop to {duration(both[0])} and tolerate {ceil(both[1].worst_boundary or 0)} s after a boundary"
                f" ({percent(both[1].load)})"
            )
    if found := _first(lambda every: of(settings=_less_often(assumptions.settings, every)), hours):
        yield f"read load profiles every {found[0]} h ({_figure(found[1])})"
    if found := _first(lambda baud: of(replace(medium, bits_per_second=baud)), bauds):
        yield f"raise the baud to {found[0]} ({_figure(found[1])})"
    if found := _first(lambda parts: of(meters=meters[::parts]), range(2, min(len(meters), MOST_LINES) + 1)):
        yield f"split the bus into {found[0]} ({_figure(found[1])} each)"
    bare = [_without_registers(meter) for meter in meters]
    if bare != list(meters) and (less := of(meters=bare)).verdict is not Verdict.DOES_NOT_FIT:
        yield f"read no running registers beside the channels ({_figure(less)})"


def _keeps_up(forecast: LinkForecast, period: int) -> bool:
    """Say whether nothing but a tolerance stands against a plan whose shortest period is this. [s]"""
    return (
        forecast.load <= 1 and not forecast.missed and bool(forecast.late) and (forecast.worst_boundary or 0) < period
    )


def _ticks(cron: str) -> int:
    """Count the instants that a cron expression names in a day."""
    instant, count = 0, 0
    while (instant := next_tick(cron, instant)) <= DAY:
        count += 1
    return count


def _less_often(settings: CollectSettings, hours: int) -> CollectSettings:
    return settings.model_copy(update={"profile_schedule": f"5 */{hours} * * *" if hours < 24 else "5 0 * * *"})


def _first(forecast: Callable[[int], LinkForecast], ways: Iterable[int]) -> tuple[int, LinkForecast] | None:
    """Find the first way that fits; where none does the first that is tight."""
    tight = None
    for way in ways:
        found = forecast(way)
        if found.verdict is Verdict.FITS:
            return way, found
        if found.verdict is not Verdict.DOES_NOT_FIT and tight is None:
            tight = way, found
    return tight


def _figure(forecast: LinkForecast) -> str:
    return percent(forecast.load) + (", tight" if forecast.verdict is Verdict.TIGHT else "")


def _without_registers(meter: Meter) -> Meter:
    profile = meter.profile
    return meter if profile is None else replace(meter, profile=replace(profile, registers=()))
