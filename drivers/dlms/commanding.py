"""A DLMS session opened to execute an approved command: clock, supply, firmware, token. See `drivers.contract.ChangesMeter`.

The procedures themselves are in `drivers.dlms.procedures`; here they meet the objects that the meter's profile names. Nothing
here waits: what a method gives is awaited by its caller.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol, TypeVar

from drivers.dlms.objects.prepay import TokenStatus
from drivers.dlms.procedures.clock import ClockSetting, set_clock
from drivers.dlms.procedures.image import Image, ImageOutcome, transfer_image
from drivers.dlms.procedures.prepayment import AccountBalance, enter_token, read_account
from drivers.dlms.procedures.steps import Procedure
from drivers.dlms.procedures.supply import SupplyState, Switching, read_supply, switch_supply
from drivers.errors import ProfileError
from drivers.facts import ClockReading, UtcSeconds
from drivers.obis import Obis
from drivers.profile import DlmsProfile, MeterProfile

T = TypeVar("T")
Awaited = Coroutine[Any, Any, T]


class CarryOut(Protocol):
    """Takes the steps of a procedure; see `drivers.dlms.driver.carry_out`."""

    def __call__(self, procedure: Procedure[T], /) -> Awaited[T]:
        """Give what the procedure comes to."""


class DlmsCommands:
    """`SetsClock`, `SwitchesSupply`, and what only DLMS has, on an open conversation that may write.

    Each raises `ProfileError` where the profile names no object for it, `MeterRefused` with the meter's code, and the
    `CommandError` that its procedure names.
    """

    def __init__(self, carry_out: CarryOut, profile: MeterProfile, now: Callable[[], UtcSeconds]) -> None:
        """``carry_out``: takes the steps of a procedure in an open conversation that may write."""
        assert profile.dlms is not None  # whoever holds the conversation has checked it
        self._carry_out = carry_out
        self._profile = profile
        self._dlms: DlmsProfile = profile.dlms
        self._now = now

    def set_clock(self, limit: int, way: Literal["set", "shift"] = "set") -> Awaited[ClockReading]:
        """Set the clock, if it is off by ``limit`` at most [s]; give it as it is afterwards."""
        procedure = set_clock(self._dlms.clock, self._profile.clock, self._now, limit=limit, way=way)
        return self._carry_out(_after(procedure))

    def read_supply(self) -> Awaited[SupplyState]:
        """Read where the switch stands."""
        return self._carry_out(read_supply(self._named("disconnect_control")))

    def disconnect_supply(self) -> Awaited[bool]:
        """Disconnect the supply, once; give whether anything had to be sent."""
        return self._carry_out(_was_sent(switch_supply(self._named("disconnect_control"), "disconnected")))

    def reconnect_supply(self) -> Awaited[bool]:
        """Reconnect the supply, or make it ready for a hand at the switch; give whether anything had to be sent."""
        return self._carry_out(_was_sent(switch_supply(self._named("disconnect_control"), "connected")))

    def transfer_image(self, image: Image, *, is_begun: bool = False, activates: bool = True) -> Awaited[ImageOutcome]:
        """Transfer, verify and activate an image; ``is_begun`` takes up one that was cut. See `procedures.image`."""
        name = self._named("image_transfer")
        return self._carry_out(transfer_image(name, image, is_begun=is_begun, activates=activates))

    def read_account(self) -> Awaited[AccountBalance]:
        """Read the account with its credits and charges."""
        return self._carry_out(read_account(self._named("account")))

    def enter_token(self, token: bytes) -> Awaited[TokenStatus]:
        """Hand a token to the gateway, once."""
        return self._carry_out(enter_token(self._named("token_gateway"), token))

    def _named(self, field: str) -> Obis:
        name: Obis | None = getattr(self._dlms, field)
        if name is None:
            raise ProfileError(self._profile.name, [f"dlms.{field}: not declared"])
        return name


def _after(procedure: Procedure[ClockSetting]) -> Procedure[ClockReading]:
    return (yield from procedure).after


def _was_sent(procedure: Procedure[Switching]) -> Procedure[bool]:
    return (yield from procedure).was_sent
