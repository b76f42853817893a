"""Asks a meter what it is and has, whether it is registered or not. Stores nothing but the counters it uses."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from drivers.contract import CounterStore, Driver, Endpoint, SessionContext
from drivers.dlms.discovery import Description
from drivers.dlms.driver import DlmsSession, open_session
from drivers.dlms.inspection import AttributeView
from drivers.dlms.listing import ObjectEntry
from drivers.dlms.settings import settings_of
from drivers.errors import ProfileError, TransportTimeout
from drivers.obis import Obis
from drivers.profile import MeterProfile
from drivers.profile_parser import is_abstract, parse_profile
from drivers.table import nearest
from headend.clock import Clock
from headend.collect.line import Open

LONGEST = 1_800.0
"""Longest time a meter may take to describe itself. [s]"""
CHILD = "identify"
"""Name of the profile made for one session out of a base."""


@dataclass(frozen=True, slots=True)
class Identified:
    """What a meter said of itself, and the profile with which it was asked, overrides and address included.

    ``inspected``: the objects that were looked into, with their attributes.
    """

    description: Description
    profile: MeterProfile
    inspected: tuple[tuple[ObjectEntry, tuple[AttributeView, ...]], ...] = ()


def session_profile(base: str, documents: Mapping[str, Mapping[str, object]], framing: str = "") -> MeterProfile:
    """Make a profile that is good for one session out of a base, which may be abstract. Raises `ProfileError`."""
    parent = documents.get(base)
    if parent is None:
        raise ProfileError(base, [f"{base}: there is no such profile{nearest(base, documents)}"])
    child: dict[str, object] = {"inherits": base}
    dlms: dict[str, object] = {"framing": framing} if framing else {}
    if is_abstract(parent):
        # A profile must read something; here it is the session alone that is wanted of it.
        child["registers"] = ["active_energy_import"]
        dlms["registers"] = [{"obis": "active_energy_import"}]
    if dlms:
        child["dlms"] = dlms
    profile = parse_profile(CHILD, {**documents, CHILD: child})
    if profile.dlms is None:
        raise ProfileError(
            base, [f"protocol: a {profile.protocol} meter has no list of objects; only DLMS meters have"]
        )
    return profile


def needs_counters(endpoint: Endpoint) -> bool:
    """Say whether a session uses invocation counters, which must be kept. Raises `ProfileError` for a faulty endpoint."""
    return settings_of(endpoint).dlms.agreed_security != "none"


async def identify(
    url: str,
    endpoint: Endpoint,
    clock: Clock,
    counters: CounterStore,
    *,
    open_transport: Open,
    driver: Driver = open_session,
    inspects: Obis | None = None,
) -> Identified:
    """Open a session on a link of its own and have the meter describe itself. Raises `DriverError`.

    ``driver``: the DLMS driver, or what wraps it.  ``inspects``: name of objects to read attribute by attribute.
    """
    stream = await open_transport(url)
    try:
        context = SessionContext(clock.now, os.urandom, counters)
        async with asyncio.timeout(LONGEST), driver(stream, endpoint, context) as session:
            assert isinstance(session, DlmsSession)
            description = await session.describe()
            entries = [entry for entry in description.entries if entry.logical_name == inspects]
            inspected = [(entry, tuple(await session.inspect(entry))) for entry in entries]
            return Identified(description, replace(endpoint.profile, dlms=session.settings), tuple(inspected))
    except TimeoutError as error:
        raise TransportTimeout(f"{endpoint.name}: not done describing itself after {LONGEST:.0f} s") from error
    finally:
        await stream.close()
