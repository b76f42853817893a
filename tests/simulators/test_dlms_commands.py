"""Commands, from the driver's side through all layers to the simulated meter and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from drivers.contract import SetsClock, SwitchesSupply
from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.commanding import DlmsCommands
from drivers.dlms.descriptor import Attribute
from drivers.dlms.driver import carry_out, open_commands
from drivers.dlms.objects.images import ImageStatus
from drivers.dlms.procedures.image import Image
from drivers.dlms.procedures.prepayment import enter_token
from drivers.dlms.procedures.steps import Invoke, Procedure, Read, Write
from drivers.dlms.session import Conversation
from drivers.errors import (
    CommandDeclined,
    ConnectionLost,
    DriverError,
    MeterRefused,
    OutcomeUnknown,
    RemoteProtocolError,
    TransportTimeout,
)
from drivers.obis import Obis
from drivers.transports import open_transport
from simulators.dlms.settings import DlmsSettings
from simulators.faults import ClockDrift, Deed, Misdeed
from tests.simulators.reading import context
from tests.simulators.test_dlms import AUTHENTICATIONS, FRAMINGS, NOW, SETTINGS, client, named, served

SWITCH, IMAGE = Obis(0, 0, 96, 3, 10), Obis(0, 0, 44, 0, 0)
FIRMWARE = Image(b"2.0", bytes(number % 251 for number in range(1000)))


@asynccontextmanager
async def commands(url: str, framing: str = "wrapper", kind: str = "none") -> AsyncIterator[DlmsCommands]:
    meter = client(framing, kind)
    assert meter.profile.dlms is not None
    dlms = replace(meter.profile.dlms, disconnect_control=SWITCH, image_transfer=IMAGE)
    stream = await open_transport(url)
    try:
        meter = replace(meter, profile=replace(meter.profile, dlms=dlms))
        async with open_commands(stream, meter, context(lambda: NOW, scale=0.001)) as opened:
            yield opened
    finally:
        await stream.close()


@FRAMINGS
@AUTHENTICATIONS
async def test_supply_is_switched_and_found_as_it_was_left(framing: str, authentication: str) -> None:
    async with (
        served(framing, SETTINGS[authentication], named(17)) as url,
        commands(url, framing, authentication) as opened,
    ):
        assert isinstance(opened, SetsClock)
        assert isinstance(opened, SwitchesSupply)
        assert await opened.disconnect_supply()
        assert not (await opened.read_supply()).is_connected
        assert await opened.reconnect_supply()
        assert (await opened.read_supply()).is_connected


@FRAMINGS
async def test_a_clock_that_has_drifted_is_set_within_the_bound(framing: str) -> None:
    drifting = named(17, ClockDrift(offset=45))
    async with served(framing, SETTINGS["none"], drifting) as url, commands(url, framing) as opened:
        with pytest.raises(CommandDeclined, match="off by 45 s, more than the 30 s"):
            await opened.set_clock(30)
        assert abs((await opened.set_clock(60)).offset) <= 1


@pytest.mark.parametrize("max_pdu", [0xFFFF, 96])
async def test_an_image_cut_amid_a_block_is_taken_up_where_it_stopped(max_pdu: int) -> None:
    settings = DlmsSettings(max_pdu=max_pdu, image_block=128)
    async with served("wrapper", settings, named(17, Misdeed(Deed.IMAGE_INTERRUPTED, first=4, times=1))) as url:
        async with commands(url) as opened:
            with pytest.raises(ConnectionLost):
                await opened.transfer_image(FIRMWARE)
        async with commands(url) as opened:
            done = await opened.transfer_image(FIRMWARE, is_begun=True)

    assert done.sent == tuple(range(3, 8))
    assert done.status is ImageStatus.ACTIVATION_SUCCESSFUL
    assert [one.identification for one in done.held] == [b"2.0"]


class Line:
    """A conversation whose answers do not come."""

    def __init__(self, error: DriverError) -> None:
        self._error = error

    async def get(self, _: Attribute) -> Data:
        return axdr.unsigned(1)

    async def set(self, _: Attribute, __: Data) -> None:
        raise self._error

    async def act(self, _: Attribute, __: Data) -> Data | None:
        raise self._error


class Deaf(Line):
    """One that takes what it is told, and says nothing any more from then on."""

    def __init__(self, error: DriverError) -> None:
        super().__init__(error)
        self.told = 0

    async def act(self, _: Attribute, __: Data) -> Data | None:
        self.told += 1
        return None

    async def get(self, _: Attribute) -> Data:
        raise self._error


def one_step(step: Read | Write | Invoke) -> Procedure[Any]:
    return (yield step)


@pytest.mark.parametrize("error", [TransportTimeout("silence"), ConnectionLost("gone"), RemoteProtocolError("noise")])
@pytest.mark.parametrize(
    "step",
    [Write(Attribute(8, IMAGE, 2), axdr.octet_string(b"12345")), Invoke(Attribute(70, SWITCH, 1), axdr.integer(0))],
)
async def test_a_change_whose_answer_does_not_come_is_never_said_to_be_worth_a_retry(
    step: Write | Invoke, error: DriverError
) -> None:
    with pytest.raises(OutcomeUnknown, match="read back what became of it, do not send again") as caught:
        await carry_out(cast("Conversation", Line(error)), one_step(step))

    assert not caught.value.retryable
    assert "3132" not in str(caught.value)
    assert "12345" not in str(caught.value)


async def test_what_may_be_done_twice_keeps_its_error_and_a_refusal_stays_a_refusal() -> None:
    block = Invoke(Attribute(18, IMAGE, 2), axdr.integer(0), is_repeatable=True)
    with pytest.raises(TransportTimeout):
        await carry_out(cast("Conversation", Line(TransportTimeout("silence"))), one_step(block))
    with pytest.raises(MeterRefused):
        await carry_out(
            cast("Conversation", Line(MeterRefused("no", 3))), one_step(Invoke(block.method, axdr.integer(0)))
        )


async def test_a_token_that_went_but_cannot_be_read_back_is_not_worth_a_retry_either() -> None:
    line = Deaf(TransportTimeout("silence"))

    with pytest.raises(OutcomeUnknown):
        await carry_out(cast("Conversation", line), enter_token(Obis(0, 0, 19, 40, 0), b"0123"))

    assert line.told == 1
