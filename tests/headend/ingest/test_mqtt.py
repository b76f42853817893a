"""Ingestion through a real Mosquitto, which is killed; through senders that err; and through a store that fails."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.errors import ProfileError
from drivers.profile import MeterProfile
from drivers.push import PayloadError, PushMessage
from headend.errors import RegistryError, SettingsError, StoreError
from headend.ingest import mqtt
from headend.ingest.mqtt import OtherProfile, ingest
from headend.settings import MqttSettings
from tests.drivers.push.fixtures import HALF_HOUR, message, profile, row
from tests.headend.ingest.broker import WAIT, Mosquitto, Sender, running, until

TOPIC = "ami/c7/{}/intervals"


class Keeper:
    """A store in memory: first value kept per slot, every set-aside kept, storing takes a moment."""

    def __init__(self, delay: float = 0.0) -> None:
        self.slots: dict[tuple[str, int], int] = {}
        self.conflicts = 0
        self.messages = 0
        self.aside: list[tuple[str, bytes, str]] = []
        self._delay = delay

    async def store(self, message: PushMessage) -> None:
        await asyncio.sleep(self._delay)
        if message.meter_name == "unknown":
            raise RegistryError("no meter is called unknown")
        self.messages += 1
        for block in message.facts:
            for index, count in enumerate(block.counts):
                if count is not None:
                    key = (message.meter_name, block.start + index * HALF_HOUR)
                    self.conflicts += self.slots.setdefault(key, count) != count

    async def set_aside(self, topic: str, payload: bytes, reason: str) -> None:
        self.aside.append((topic, payload, reason))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running(tmp_path) as mosquitto:
        yield mosquitto


def start(
    broker: Mosquitto, keeper: Any, stop: asyncio.Event, routes: tuple[MeterProfile, ...] = ()
) -> asyncio.Task[None]:
    settings = MqttSettings(url=broker.url, client_id="headend-test")
    return asyncio.create_task(
        ingest(settings, routes or (profile(),), keeper.store, keeper.set_aside, stop, jitter=random.Random(1).random)
    )


@asynccontextmanager
async def ingesting(broker: Mosquitto, keeper: Any, *routes: MeterProfile) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = start(broker, keeper, stop, routes)
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(WAIT):
            await task


def batch(meter: str, number: int) -> bytes:
    rows = [row(4 * number + slot, (1000 * number + slot) / 1000) for slot in range(4)]
    return message(*rows, meter=meter, batch=number)


def fill(sender: Sender, meters: int, batches: int) -> dict[tuple[str, int], int]:
    """Give a sender its batches; return every slot and count they hold."""
    for number in range(batches):
        for meter in (f"SIM:{index}" for index in range(meters)):
            sender.keep(TOPIC.format(meter), number, batch(meter, number))
    first = 1_704_067_200
    return {
        (f"SIM:{meter}", first + (4 * number + slot) * HALF_HOUR): 1000 * number + slot
        for meter in range(meters)
        for number in range(batches)
        for slot in range(4)
    }


async def until_subscribed(sender: Sender) -> None:
    """Before the first subscription the broker keeps nothing: send an empty message until its receipt comes."""
    sender.keep(TOPIC.format("SIM:0"), "first", message(meter="SIM:0", batch="first"))
    await send(sender)


async def send(sender: Sender) -> None:
    async with asyncio.timeout(4 * WAIT):
        await sender.run()


async def test_receipt_comes_once_the_message_is_stored(broker: Mosquitto) -> None:
    keeper, sender = Keeper(), Sender(broker)
    expected = fill(sender, 2, 3)

    async with ingesting(broker, keeper):
        await send(sender)

    assert keeper.slots == expected
    assert {(topic, receipt["batch"]) for topic, receipt in sender.receipts} == {
        (TOPIC.format(f"SIM:{meter}"), number) for meter in range(2) for number in range(3)
    }
    assert all(receipt == {"batch": receipt["batch"], "stored": True} for _, receipt in sender.receipts)


async def test_malformed_message_is_set_aside_with_topic_and_reason_and_the_rest_goes_on(broker: Mosquitto) -> None:
    keeper, sender = Keeper(), Sender(broker)
    bad = message(row(0, "much"), batch=99)
    broken = b'{"meter": "?", "rows": ['

    async with ingesting(broker, keeper):
        await until_subscribed(sender)
        sender.keep(TOPIC.format("bad"), 99, bad)
        sender.keep(TOPIC.format("SIM:1"), 7, batch("SIM:1", 7))
        async with sender.connected() as client:
            await client.publish(TOPIC.format("broken"), broken, qos=1)
        await send(sender)

    told = {topic: (payload, reason) for topic, payload, reason in keeper.aside}
    assert told[TOPIC.format("bad")] == (bad, "rows.0.kwh: 'much' is not a number")
    assert told[TOPIC.format("broken")][0] == broken
    assert told[TOPIC.format("broken")][1].startswith("not JSON at line 1")
    assert len(keeper.slots) == 4
    receipts = dict(sender.receipts)
    assert receipts[TOPIC.format("bad")] == {
        "batch": 99,
        "stored": True,
        "set_aside": "rows.0.kwh: 'much' is not a number",
    }
    assert TOPIC.format("broken") not in receipts


async def test_message_of_a_meter_that_is_not_registered_is_set_aside(broker: Mosquitto) -> None:
    keeper, sender = Keeper(), Sender(broker)
    sender.keep(TOPIC.format("unknown"), 1, batch("unknown", 1))

    async with ingesting(broker, keeper):
        await send(sender)

    assert [reason for _, _, reason in keeper.aside] == ["no meter is called unknown"]


async def test_broker_killed_and_restarted_while_publishing_loses_and_doubles_nothing(broker: Mosquitto) -> None:
    keeper, sender = Keeper(delay=0.002), Sender(broker)
    expected = fill(sender, 5, 40)
    moments = random.Random(7)
    kills = 0

    async def kill_again_and_again() -> None:
        nonlocal kills
        while sender.waiting and kills < 8:
            await asyncio.sleep(moments.uniform(0.05, 0.4))
            await asyncio.to_thread(broker.kill)
            kills += 1
            await asyncio.sleep(moments.uniform(0.0, 0.2))
            await asyncio.to_thread(broker.start)

    with capture_logs() as logs:
        async with ingesting(broker, keeper), asyncio.TaskGroup() as group:
            group.create_task(kill_again_and_again())
            group.create_task(send(sender))

    outages = [entry for entry in logs if entry["event"].startswith("broker lost")]
    assert kills >= 2
    assert 1 <= len(outages) <= kills
    assert keeper.slots == expected
    assert keeper.conflicts == 0
    assert keeper.aside == []


async def test_ingestion_cut_off_again_and_again_loses_and_doubles_nothing(broker: Mosquitto) -> None:
    """Cancelled without warning, so messages acknowledged to the broker but not stored yet are gone with it."""
    keeper, sender = Keeper(delay=0.02), Sender(broker)
    expected = fill(sender, 4, 25)
    moments = random.Random(11)
    sending = asyncio.create_task(send(sender))

    for _ in range(6):
        task = start(broker, keeper, asyncio.Event())
        await asyncio.wait((task, sending), timeout=moments.uniform(0.1, 0.4), return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with ingesting(broker, keeper):
        await sending

    assert keeper.slots == expected
    assert keeper.conflicts == 0


@pytest.mark.parametrize("after", [0.0, 0.0005, 0.001, 0.002, 0.004])
async def test_ingestion_cut_off_while_it_connects_leaves_no_connection_behind(broker: Mosquitto, after: float) -> None:
    before = asyncio.all_tasks()
    task = start(broker, Keeper(), asyncio.Event())

    await asyncio.sleep(after)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


async def test_broker_keeps_messages_while_ingestion_is_stopped(broker: Mosquitto) -> None:
    """The session is persistent: a sender that publishes once and goes is heard all the same."""
    keeper, sender = Keeper(), Sender(broker)
    sender.keep(TOPIC.format("SIM:0"), 0, batch("SIM:0", 0))
    async with ingesting(broker, keeper):
        await send(sender)

    async with sender.connected() as client:
        await client.publish(TOPIC.format("SIM:0"), batch("SIM:0", 1), qos=1)
    async with ingesting(broker, keeper):
        await until(lambda: len(keeper.slots) == 8)

    assert keeper.messages == 2


async def test_message_sent_again_is_stored_once(broker: Mosquitto) -> None:
    keeper, sender = Keeper(), Sender(broker)
    async with ingesting(broker, keeper):
        await until_subscribed(sender)
        async with sender.connected() as client:
            for _ in range(5):
                await client.publish(TOPIC.format("SIM:0"), batch("SIM:0", 0), qos=1)
            await until(lambda: keeper.messages == 6)

    assert (len(keeper.slots), keeper.conflicts) == (4, 0)


async def test_store_that_fails_ends_ingestion_without_a_receipt(broker: Mosquitto) -> None:
    class Broken(Keeper):
        async def store(self, message: PushMessage) -> None:
            raise StoreError(f"no room left for {message.meter_name}")

    sender = Sender(broker)
    sender.keep(TOPIC.format("SIM:0"), 0, batch("SIM:0", 0))
    sending = asyncio.create_task(sender.run())

    with pytest.raises(StoreError, match="no room left"):
        async with asyncio.timeout(WAIT):
            await start(broker, Broken(), asyncio.Event())

    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert sender.receipts == []


async def test_own_receipts_are_not_taken_for_messages(broker: Mosquitto) -> None:
    keeper, sender = Keeper(), Sender(broker)
    wide = profile(topic="{a}/{b}/{c}/{d}/{e}/{f}")
    sender.keep("one/ami/c7/SIM:0/intervals/x", 0, batch("SIM:0", 0))
    fitting = profile(topic="{a}/{b}/{c}/{d}")
    sender.keep("a/b/c/d", 1, batch("SIM:0", 1))

    async with ingesting(broker, keeper, wide, fitting):
        await send(sender)
        await asyncio.sleep(0.2)

    assert keeper.aside == []
    assert keeper.messages == 2


async def test_absent_broker_is_told_once_and_found_when_it_comes(broker: Mosquitto) -> None:
    broker.kill()
    keeper, sender = Keeper(), Sender(broker)
    fill(sender, 1, 1)

    with capture_logs() as logs:
        async with ingesting(broker, keeper):
            await asyncio.sleep(1.5)
            await asyncio.to_thread(broker.start)
            await send(sender)

    events = [(entry["log_level"], entry["event"]) for entry in logs]
    assert events[:2] == [("warning", "broker lost, connecting again"), ("info", "broker connected")]


async def test_oversized_message_is_set_aside_cut_to_what_is_kept(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "MAX_KEPT", 100)
    keeper, sender = Keeper(), Sender(broker)

    async with ingesting(broker, keeper), sender.connected() as client, asyncio.timeout(WAIT):
        while not keeper.aside:
            await client.publish(TOPIC.format("SIM:0"), b" " * 1_100_000, qos=1)
            await asyncio.sleep(0.1)

    topic, payload, reason = keeper.aside[0]
    assert (topic, len(payload)) == (TOPIC.format("SIM:0"), 100)
    assert "at most 1048576 are read" in reason


@pytest.mark.parametrize("url", ["mqtt://", "mqtt://host:0x1", "http://host", "mqtt://host/path"])
async def test_impossible_address_is_a_settings_error(url: str) -> None:
    settings = MqttSettings.model_construct(url=url, client_id="x", username="", password_ref="")
    keeper = Keeper()

    with pytest.raises(SettingsError, match=r"mqtt\.url"):
        await ingest(settings, [profile()], keeper.store, keeper.set_aside, asyncio.Event())


@pytest.mark.parametrize("registered", ["plain", "thousandth"])
async def test_of_two_profiles_with_one_topic_the_one_of_the_meter_reads_its_message(registered: str) -> None:
    whole = profile()
    assert whole.push is not None
    (channel,) = whole.push.channels
    thousandth = replace(channel, scaler_unit=replace(channel.scaler_unit, scaler=-3))
    others = [
        replace(whole, name="plain"),
        replace(whole, name="thousandth", push=replace(whole.push, channels=(thousandth,))),
    ]
    stored: list[PushMessage] = []

    async def sink(decoded: PushMessage) -> None:
        if decoded.profile != registered:
            raise OtherProfile(f"registered with {registered}")
        stored.append(decoded)

    aside = Keeper()
    ingester = mqtt._Ingester(others, sink, aside.set_aside)
    await ingester._routed(TOPIC.format("SIM:0"), batch("SIM:0", 1))

    (decoded,) = stored
    assert decoded.profile == registered
    with pytest.raises(PayloadError, match=f"{registered}: "):
        await mqtt._Ingester([one for one in others if one.name == registered] * 2, sink, aside.set_aside)._routed(
            TOPIC.format("SIM:0"), b"{}"
        )
    with pytest.raises(OtherProfile, match=f"registered with {registered}"):
        await mqtt._Ingester([one for one in others if one.name != registered], sink, aside.set_aside)._routed(
            TOPIC.format("SIM:0"), batch("SIM:0", 1)
        )


async def test_routes_must_say_how_to_read_a_message() -> None:
    settings, keeper = MqttSettings(url="mqtt://127.0.0.1"), Keeper()

    with pytest.raises(SettingsError, match="no profile says how"):
        await ingest(settings, [], keeper.store, keeper.set_aside, asyncio.Event())
    with pytest.raises(ProfileError, match="push"):
        await ingest(settings, [MeterProfile("d", "dlms", "x")], keeper.store, keeper.set_aside, asyncio.Event())


def test_addresses_have_their_usual_ports() -> None:
    assert mqtt._parse("mqtt://broker") == ("broker", 1883, False)
    assert mqtt._parse("mqtts://broker") == ("broker", 8883, True)
    assert mqtt._parse("mqtts://[::1]:1") == ("::1", 1, True)


def test_batches_of_the_tests_hold_what_they_should() -> None:
    assert json.loads(batch("SIM:0", 2))["rows"][1]["kwh"] == 2.001
