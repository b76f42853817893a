"""Invocation counters over sessions: never twice under one key, a replayed session refused, resynchronised within a bound."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from drivers.contract import ByteStream, Credentials, Endpoint, SessionContext
from drivers.dlms.channel import SecureChannel
from drivers.dlms.ciphering import Keys
from drivers.dlms.driver import open_session
from drivers.dlms.session import COUNTER_BLOCK
from drivers.errors import ConnectionLost, CounterError, CounterRefused, MeterRefused
from drivers.obis import Obis
from drivers.transports import open_transport
from simulators.dlms.server import DlmsSettings
from tests.drivers.dlms.meter import PROFILE
from tests.simulators.test_dlms import KEYS, NOW, named, served

TITLE = b"HDE00001"
COUNTER = Obis(0, 0, 43, 1, 0)
HLS5 = DlmsSettings("hls5", keys=KEYS)
SYNCHRONISED = replace(HLS5, counter_object=COUNTER)


@dataclass
class Book:
    """Counters kept as the store keeps them, in memory."""

    following: dict[str, int] = field(default_factory=dict)
    asked_by: list[str] = field(default_factory=list)

    async def reserve(self, key_id: str, size: int, floor: int, meter: str = "") -> range:
        self.asked_by.append(meter)
        first = max(self.following.get(key_id, 0), floor)
        self.following[key_id] = first + size
        return range(first, first + size)

    async def note(self, key_id: str, counter: int) -> int:
        before = self.following.get(key_id, 0) - 1
        self.following[key_id] = max(before, counter) + 1
        return before


def endpoint(name: str = "SIM0000000000017", keys: Keys = KEYS, **dlms: Any) -> Endpoint:
    assert PROFILE.dlms is not None
    changed = replace(PROFILE.dlms, **{"authentication": "hls5", "client_system_title": TITLE, **dlms})
    secrets = Credentials(b"12345678", keys.encryption, keys.authentication)
    return Endpoint(name, "17", replace(PROFILE, dlms=changed), secrets)


async def read_name(stream: ByteStream, book: Book, meter: Endpoint) -> str:
    async with open_session(stream, meter, SessionContext(lambda: NOW, os.urandom, book)) as session:
        return (await session.read_identity()).name


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ByteStream]:
    stream = await open_transport(url)
    try:
        yield stream
    finally:
        await stream.close()


async def visit(url: str, book: Book, meter: Endpoint | None = None) -> str:
    async with connected(url) as stream:
        return await read_name(stream, book, meter or endpoint())


class Tape:
    """Plays the meter's side of a recorded session, whatever is asked."""

    bits_per_second: int | None = None
    bits_per_character = 10

    def __init__(self, stream: ByteStream | None, answers: list[bytes]) -> None:
        self.stream = stream
        self.answers = answers

    async def write(self, data: bytes) -> None:
        if self.stream is not None:
            await self.stream.write(data)

    async def read(self, timeout: float) -> bytes:
        if self.stream is not None:
            self.answers.append(await self.stream.read(timeout))
            return self.answers[-1]
        if not self.answers:
            raise ConnectionLost("the tape is over")
        return self.answers.pop(0)

    def discard_input(self) -> bytes:
        return b""

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_whole_session_played_again_is_a_counter_error() -> None:
    settings = DlmsSettings("lls", password=b"12345678", keys=KEYS, security="authenticated-encrypted")
    meter = endpoint(authentication="lls", security="authenticated-encrypted")
    book, taped = Book(), list[bytes]()
    async with served("wrapper", settings, named(17)) as url, connected(url) as stream:
        await read_name(Tape(stream, taped), book, meter)
        assert await read_name(Tape(None, list(taped)), Book(), meter) == "SIM0000000000017"  # nobody remembers

        with pytest.raises(CounterError, match="a replayed session"):
            await read_name(Tape(None, list(taped)), book, meter)
        assert await read_name(stream, book, meter) == "SIM0000000000017"


async def test_a_meter_whose_counters_restart_is_refused_unless_its_profile_says_so() -> None:
    book = Book()
    for _ in range(2):  # each is another world, in which the meter begins again
        async with served("wrapper", HLS5, named(17)) as url:
            if not book.following:
                await visit(url, book)
                continue
            book.following = {name: following + 5000 for name, following in book.following.items()}
            with pytest.raises(CounterError, match="its counter was reset"):
                await visit(url, book)
            assert await visit(url, book, endpoint(meter_counters="restarting")) == "SIM0000000000017"


async def test_two_meters_with_one_key_share_its_counters() -> None:
    book = Book()
    async with served("wrapper", HLS5, named(17), named(18)) as url:
        await visit(url, book)
        await visit(url, book, replace(endpoint("SIM0000000000018"), address="18"))

    ours = f"{TITLE.hex()}/{KEYS.fingerprint}"
    assert book.following[ours] == 1 + 2 * COUNTER_BLOCK
    assert book.asked_by == ["SIM0000000000017", "SIM0000000000018"]
    assert len(book.following) == 3  # ours, and what each meter sent


def test_a_fingerprint_names_a_key_and_reveals_none() -> None:
    other = Keys(bytes(16), KEYS.authentication)
    channel = SecureChannel(KEYS, TITLE, b"SIM00001")

    assert len(KEYS.fingerprint) == 16
    assert KEYS.fingerprint != other.fingerprint
    assert KEYS.encryption.hex()[:8] not in KEYS.fingerprint
    assert channel.own_key_id == f"{TITLE.hex()}/{KEYS.fingerprint}"


@pytest.mark.parametrize("sync", ["refused", "always"])
@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_a_counter_behind_the_meter_s_catches_up_through_the_public_client(framing: str, sync: str) -> None:
    address = "17" if framing == "wrapper" else "1/17"
    plain = replace(endpoint(framing=framing), address=address)
    meter = replace(endpoint(framing=framing, counter_object=COUNTER, counter_sync=sync), address=address)
    async with served(framing, SYNCHRONISED, named(17)) as url:
        ahead, behind = Book({f"{TITLE.hex()}/{KEYS.fingerprint}": 5000}), Book()
        await visit(url, ahead, plain)

        assert await visit(url, behind, meter) == "SIM0000000000017"
        assert behind.following[f"{TITLE.hex()}/{KEYS.fingerprint}"] > 5000
        with pytest.raises(CounterRefused, match="it expects at least"):
            await visit(url, Book(), plain)


async def test_a_counter_too_far_above_is_not_believed_unprotected() -> None:
    meter = endpoint(counter_object=COUNTER, counter_margin=1000)
    async with served("wrapper", SYNCHRONISED, named(17)) as url:
        await visit(url, Book({f"{TITLE.hex()}/{KEYS.fingerprint}": 5000}))
        book = Book()

        with pytest.raises(CounterError, match=r"too far above to be believed.*invocation_counter=50\d\d"):
            await visit(url, book, meter)

    assert book.following[f"{TITLE.hex()}/{KEYS.fingerprint}"] < 1000


async def test_a_public_client_reads_the_counter_and_no_more() -> None:
    async with served("wrapper", SYNCHRONISED, named(17)) as url:
        with pytest.raises(MeterRefused, match="read-write-denied"):
            await visit(url, Book(), endpoint(authentication="none"))


async def test_keys_are_in_no_log_repr_exception_or_name(caplog: pytest.LogCaptureFixture) -> None:
    canary = Keys(b"canary-enc-key-1", b"canary-aut-key-2")
    meter = endpoint(keys=canary, counter_object=COUNTER, counter_margin=1)
    book, told = Book(), list[str]()
    settings = replace(SYNCHRONISED, keys=canary)
    async with served("wrapper", settings, named(17)) as url:
        await visit(url, Book({f"{TITLE.hex()}/{canary.fingerprint}": 5000}), endpoint(keys=canary))
        for wrong in (meter, endpoint(keys=canary, server=99, authentication="lls"), endpoint(keys=canary), endpoint()):
            with pytest.raises(Exception) as caught:
                await visit(url, book, wrong)
            error: BaseException | None = caught.value
            while error is not None:
                told.append(repr(error))
                error = error.__cause__ or error.__context__
    channel = SecureChannel(canary, TITLE)
    told += [repr(settings), repr(meter), repr(canary), repr(channel), repr(vars(channel)), repr(book), caplog.text]

    for octets in (canary.encryption, canary.authentication, b"12345678"):
        for text in told:
            assert octets.decode() not in text
            assert octets.hex() not in text
