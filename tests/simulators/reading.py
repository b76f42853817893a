"""Our own drivers turned against the simulators: they share codecs, so peers check those; here the simulators' behavior is what counts."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from drivers.contract import Credentials, Endpoint, SessionContext
from drivers.dlms.driver import DlmsSession
from drivers.dlms.driver import open_session as open_dlms
from drivers.dlms.session import Conversation
from drivers.transports import open_transport
from headend.profiles import load_profiles

PROFILES = load_profiles()
CLIENT_TITLE = "4845440000000001"


class Counters:
    """Invocation counters that only this test uses."""

    def __init__(self, first: int = 1) -> None:
        self.following = first

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:  # noqa: ARG002 - the Protocol's names
        assert key_id
        first = max(self.following, floor)
        self.following = first + size
        return range(first, first + size)

    async def note(self, key_id: str, counter: int) -> int:
        assert key_id
        assert counter >= 0
        return -1


def context(now: Callable[[], int], scale: float = 1.0, counters: Counters | None = None) -> SessionContext:
    return SessionContext(now, os.urandom, counters or Counters(), scale)


def endpoint(name: str, profile: str, address: str, credentials: Credentials | None = None, **options: str) -> Endpoint:
    return Endpoint(name, address, PROFILES[profile], credentials or Credentials(), options)


@asynccontextmanager
async def dlms_session(url: str, meter: Endpoint, session_context: SessionContext) -> AsyncIterator[DlmsSession]:
    stream = await open_transport(url)
    try:
        async with open_dlms(stream, meter, session_context) as session:
            yield session
    finally:
        await stream.close()


@asynccontextmanager
async def conversation(
    url: str, meter: Endpoint, session_context: SessionContext, *, may_write: bool = False
) -> AsyncIterator[Conversation]:
    """What a session stands on: one service at a time, of the test's choosing."""
    stream = await open_transport(url)
    opened = Conversation(stream, meter, session_context, may_write=may_write)
    try:
        await opened.open()
        yield opened
        await opened.close()
    finally:
        await stream.close()


def counts(facts: list[Any]) -> list[int | None]:
    """The counts of the one block among facts."""
    (block,) = facts
    return list(block.counts)
