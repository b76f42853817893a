"""Reading and switching the supply, verified by reading back. IEC 62056-6-2, class 70."""

from dataclasses import dataclass
from typing import Literal, cast

from drivers.dlms.objects.supply import DISCONNECT_CONTROL_1 as DISCONNECT_CONTROL
from drivers.dlms.objects.supply import ControlMode, ControlState
from drivers.dlms.procedures.steps import Procedure, Wait, invoke, read
from drivers.errors import CommandDeclined, CommandUnverified
from drivers.obis import Obis

LOOKS = 3  # how often the state is read back, for a switch that takes its time
PAUSE = 2.0  # [s] between two looks


@dataclass(frozen=True, slots=True)
class SupplyState:
    """Where the switch stands, what it may do next, and which transitions it has."""

    is_connected: bool
    control_state: ControlState
    control_mode: ControlMode


@dataclass(frozen=True, slots=True)
class Switching:
    """The state before and after. ``was_sent``: False where the supply was as wanted, so that nothing was sent."""

    before: SupplyState
    after: SupplyState
    was_sent: bool


def read_supply(name: Obis) -> Procedure[SupplyState]:
    """Read the state of the disconnect control."""
    is_connected = yield from read(DISCONNECT_CONTROL, name, "output_state")
    state = yield from read(DISCONNECT_CONTROL, name, "control_state")
    mode = yield from read(DISCONNECT_CONTROL, name, "control_mode")
    return SupplyState(bool(is_connected), cast("ControlState", state), cast("ControlMode", mode))


def switch_supply(name: Obis, to: Literal["disconnected", "connected"]) -> Procedure[Switching]:
    """Disconnect or reconnect, once. A meter whose mode wants a hand at the switch ends "ready for reconnection".

    Raises `CommandDeclined` for a control mode without transitions, `OutcomeUnknown` where the answer did not come, and
    `CommandUnverified` where the state read back is another.
    """
    before = yield from read_supply(name)
    if _is_done(before, to, was_sent=False):
        return Switching(before, before, was_sent=False)
    if before.control_mode is ControlMode.NONE:
        raise CommandDeclined(f"disconnect control {name} is in mode 0, which switches nothing")
    yield from invoke(DISCONNECT_CONTROL, name, "remote_disconnect" if to == "disconnected" else "remote_reconnect")
    for look in range(LOOKS):
        if look:
            yield Wait(PAUSE)
        after = yield from read_supply(name)
        if _is_done(after, to, was_sent=True):
            return Switching(before, after, was_sent=True)
    raise CommandUnverified(
        f"supply was to be {to}, and is {'connected' if after.is_connected else 'disconnected'}, "
        f"{after.control_state.name.lower().replace('_', ' ')}, after {LOOKS} looks"
    )


def _is_done(state: SupplyState, to: str, *, was_sent: bool) -> bool:
    if to == "disconnected":
        return not state.is_connected and state.control_state is ControlState.DISCONNECTED
    if state.is_connected and state.control_state is ControlState.CONNECTED:
        return True
    return was_sent and state.control_state is ControlState.READY_FOR_RECONNECTION
