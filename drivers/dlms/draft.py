"""A meter profile drafted from what a meter says of itself: TOML text, each thing a meter cannot say asked for in a comment.

Pure. What is written is what `headend profile check` takes; what is only likely stands behind ``##``.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from drivers.dlms import objects
from drivers.dlms.discovery import Description, ProfileView, RegisterView
from drivers.dlms.objects import CaptureObject
from drivers.facts import UtcSeconds
from drivers.obis import Obis, by_obis
from drivers.profile import MAKER, DlmsProfile, MeterProfile
from drivers.units import ScalerUnit

DAY = 86_400
LOAD_PROFILE = Obis(1, 0, 99, 1, 0)  # IEC 62056-6-1, load profile with recording period 1
ENERGY, INTERVAL = 8, 29  # value group D: time integral 1 (running), time integral 5 (of one interval)
SCALERS = range(-18, 19)  # what a profile may say


def draft(description: Description, profile: MeterProfile, read_at: UtcSeconds) -> str:
    """Write the profile of a meter that was described in a session of ``profile``, at ``read_at`` [s UTC]."""
    assert profile.dlms is not None
    view = find_load_profile(description.profiles)
    channels = list(_channels(view)) if view else []
    lines = [*_head(description, read_at), *_channel_lines(view, channels)]
    lines += [*_clock_lines(profile), *_session_lines(description, profile.dlms)]
    if view is not None:
        lines += _profile_lines(view, [obis for obis, _ in channels])
    lines += [*_register_lines(description.registers), *_leftovers(description, view)]
    return "\n".join(lines) + "\n"


def find_load_profile(profiles: Sequence[ProfileView]) -> ProfileView | None:
    """Choose the load profile: one with a clock and a pace that divides a day; the standard's name, then most intervals."""
    fit = [one for one in profiles if _fits(one)]
    return max(fit, key=lambda one: (one.logical_name == LOAD_PROFILE, len(list(_channels(one)))), default=None)


def _fits(view: ProfileView) -> bool:
    has_clock = any(column.is_clock for column in view.columns)
    return has_clock and view.period is not None and 0 < view.period <= DAY and DAY % view.period == 0


def _channels(view: ProfileView) -> Iterator[tuple[Obis, ScalerUnit]]:
    """Give the interval channels of a load profile that a profile can declare."""
    seen: set[Obis] = set()
    for column, worth in zip(view.columns, view.scalers, strict=True):
        code = column.logical_name
        if code.d != INTERVAL or not column.is_value or code in seen or worth is None or worth.scaler not in SCALERS:
            continue
        seen.add(code)
        entry = by_obis(code)
        if entry is None or entry.unit is worth.unit:
            yield code, worth


def _name(code: Obis) -> str:
    entry = by_obis(code)
    return entry.name if entry else str(code)


def _text(value: str) -> str:
    return json.dumps(value)


def _head(description: Description, read_at: UtcSeconds) -> list[str]:
    day = datetime.fromtimestamp(read_at, UTC).strftime("%Y-%m-%d")
    maker = description.name[:3]
    who = description.name or "a meter that did not say its name"
    firmware = f", firmware {description.firmware}" if description.firmware else ""
    running = [one for one in _readable(description.registers) if one.logical_name.d != INTERVAL]
    energies = [one for one in running if one.logical_name.d == ENERGY]
    named = [_text(_name(one.logical_name)) for one in (energies or running)]
    return [
        f"## Drafted from what {who} said of itself. Answer what is asked behind ##, then: headend profile check FILE",
        'inherits = "dlms-base"',
        "## Which public document (companion specification, object list) do the figures agree with? Name it here.",
        f"source = {_text(f'object list of {who}{firmware}, read on {day}')}",
        *(
            [f"maker = {_text(maker)}"]
            if MAKER.fullmatch(maker)
            else ["## maker: three capital letters, as DLMS uses them?"]
        ),
        "## What is printed on the meter?",
        f"model = {_text(f'drafted from {who}{firmware}')}",
        'status = "laboratory"',
        "## Running registers to read each round.",
        f"registers = [{', '.join(named)}]",
    ]


def _channel_lines(view: ProfileView | None, channels: Sequence[tuple[Obis, ScalerUnit]]) -> Iterator[str]:
    if view is None or not channels:
        yield ""
        yield "## No column holds the energy of an interval. If intervals are wanted, poll a register at each boundary:"
        yield '## [[channels]] with origin = "register", period, unit, scaler and boundary_tolerance; see CONTRIBUTING.md.'
        return
    for code, worth in channels:
        yield from ("", "[[channels]]", f"obis = {_text(_name(code))}", f"period = {view.period}")
        yield from (f"unit = {_text(worth.unit.symbol)}", f"scaler = {worth.scaler}", 'origin = "load_profile"')
        yield "## Largest count that is plausible in one interval? It follows from the fuse; without it nothing is too large."
        yield "## upper ="


def _clock_lines(profile: MeterProfile) -> list[str]:
    clock, timing = profile.clock, profile.timing
    return [
        "",
        "[clock]",
        "## Zone of stamps that name no deviation? Does a row's clock mark the start or the end of its interval?",
        f"zone = {_text(clock.zone)}",
        f"stamp = {_text(clock.stamp)}",
        f"deviation = {_text(clock.deviation)}",
        f"range_deviation = {_text(clock.range_deviation)}",
        f"tolerance = {clock.tolerance}",
        "",
        "[timing]",
        "## Longest time the model takes before it begins to answer? [s]",
        f"latency = {timing.latency}",
        f"turnaround = {timing.turnaround}",
        f"retries = {timing.retries}",
    ]


def _session_lines(description: Description, dlms: DlmsProfile) -> Iterator[str]:
    yield from ("", "[dlms]", f"framing = {_text(dlms.framing)}")
    yield "## Which client does the utility use? This is the one that was let in."
    yield from (f"client = {dlms.client}", f"server = {dlms.server}")
    yield f"authentication = {_text(dlms.authentication)}"
    if dlms.security is not None:
        yield f"security = {_text(dlms.security)}"
    if dlms.authentication_key != "required":
        yield f"authentication_key = {_text(dlms.authentication_key)}"
    if dlms.client_system_title:
        yield f"client_system_title = {_text(dlms.client_system_title.hex())}"
    if dlms.meter_counters != "rising":
        yield f"meter_counters = {_text(dlms.meter_counters)}"
    if dlms.counter_object is not None:
        yield from (f"counter_object = {_text(str(dlms.counter_object))}", f"counter_client = {dlms.counter_client}")
        yield from (f"counter_sync = {_text(dlms.counter_sync)}", f"counter_margin = {dlms.counter_margin}")
    yield from (f"max_pdu = {dlms.max_pdu}", f"max_info = {dlms.max_info}", f"identity = {_text(str(dlms.identity))}")
    if description.firmware and description.firmware_object is not None:
        yield f"firmware = {_text(str(description.firmware_object))}"
    yield f"clock = {_text(str(description.clock_object or dlms.clock))}"
    yield f"selective_access = [{', '.join(_text(way) for way in dlms.selective_access)}]"


def _profile_lines(view: ProfileView, channels: Sequence[Obis]) -> Iterator[str]:
    kept = "" if view.entries is None else f" {view.entries} rows in use"
    kept += "" if view.capacity is None else f" of {view.capacity}"
    yield f"##{kept or ' Rows in use: not said.'}"
    yield f"load_profile = {_text(str(view.logical_name))}"
    yield "columns = ["
    seen: set[Obis] = set()
    for column, worth in zip(view.columns, view.scalers, strict=True):
        code = column.logical_name
        what = f"class {column.class_id} attribute {column.attribute}{_worth(worth)}"
        if code in channels and code not in seen and column.is_value:
            yield f"  {{ logical_name = {_text(str(code))}, obis = {_text(_name(code))} }}, ## {what}"
        elif _is_cumulative(column, worth) and code not in seen:
            yield f"  {{ logical_name = {_text(str(code))}, obis = {_text(_name(code))}, cumulative = true }}, ## {what}"
        elif not column.is_clock:
            yield f"  ## {code} {what}: what does it mean?"
            continue
        seen.add(code)
    yield "]"
    if (at := objects.find_status(None, view.columns)) is not None:
        yield "## What do the bits of its status mean? Say so in [status_layout]; until then they are kept and not interpreted."
        yield f"status = {_text(str(view.columns[at].logical_name))}"


def _is_cumulative(column: CaptureObject, worth: ScalerUnit | None) -> bool:
    return column.logical_name.d == ENERGY and column.is_value and worth is not None


def _readable(registers: Sequence[RegisterView]) -> list[RegisterView]:
    """Give the registers that gave a value, each code once."""
    return list({one.logical_name: one for one in reversed(registers) if one.value is not None}.values())[::-1]


def _register_lines(registers: Sequence[RegisterView]) -> Iterator[str]:
    yield "registers = ["
    for one in _readable(registers):
        if one.logical_name.d == INTERVAL:
            continue
        code, name = one.logical_name, _name(one.logical_name)
        kind = "" if one.class_id == objects.REGISTER else f", class_id = {one.class_id}"
        yield f"  {{ obis = {_text(name)}{kind} }}, ## {'' if name == str(code) else str(code)}{_worth(one.scaler_unit)}"
    yield "]"


def _worth(worth: ScalerUnit | None) -> str:
    if worth is None:
        return ", scaler and unit not known"
    return f", counts of 10^{worth.scaler} {worth.unit.symbol}".rstrip()


def _leftovers(description: Description, chosen: ProfileView | None) -> Iterator[str]:
    others = [one for one in description.profiles if one is not chosen]
    silent = [one for one in description.registers if one.value is None]
    if others:
        yield "## Other profiles, of which one may be meant instead:"
    for one in others:
        columns = ", ".join(str(column.logical_name) for column in one.columns[:8])
        yield f"##   {one.logical_name} every {one.period} s, {one.entries} rows: {columns}"
    if silent:
        yield f"## Registers that gave no value: {', '.join(str(one.logical_name) for one in silent[:32])}"
