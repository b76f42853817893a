"""States and causes in words: what a slot's code means to a person, and what to do about it."""

from kernels.quality import Reason, State

NOT_TRIED = "not tried yet"
NO_METERS = "no meter is registered; headend meter import FILE.csv registers some"

_ADVICE: dict[Reason, str] = {
    Reason.NONE: "wait for the next round, or run: headend run --once",
    Reason.NOT_DUE: "nothing: it is not due yet",
    Reason.NO_ROUTE: "check port, cable, address of the link and power of the gateway: headend doctor",
    Reason.NO_ANSWER: "check the meter's power, address and baud rate: headend read METER",
    Reason.LINE_NOISE: "check wiring, termination and parity of the bus",
    Reason.WRONG_METER: "another meter answers at this address: correct the registry (meter swap?) or the address",
    Reason.REFUSED: "check client, password and what the meter lets this client read",
    Reason.SECURITY: "check keys and authentication; it is not tried again until a person has acted",
    Reason.COUNTER: "the invocation counter is out of step: check for a second head-end, or change the key",
    Reason.NO_ROW: "the meter has no row for it: look for a power failure in its event log",
    Reason.MEMORY_LOST: "the meter has overwritten it: estimate or edit",
    Reason.CLOCK_MOVED: "the meter's clock was set across it: check the clock",
    Reason.POWER_OFF: "no supply: compare with the outage list",
    Reason.GATEWAY_DOWN: "the head-end did not run then, and this meter keeps no load profile to read it from later",
    Reason.NO_LINE_TIME: "the bus has no time left: raise the baud rate, or split the bus",
    Reason.SET_ASIDE: "a message could not be understood: read its reason among the set-asides",
    Reason.DISABLED: "the meter is disabled in the registry",
    Reason.DROPPED: "nothing: retention has dropped it; sums of validated days: headend store sums",
}


def reason_word(reason: Reason) -> str:
    """Name a cause or method for people: ``no answer``."""
    return NOT_TRIED if reason is Reason.NONE else reason.name.lower().replace("_", " ")


def reason_key(reason: Reason) -> str:
    """Name a cause or method for programs: ``no_answer``."""
    return "not_tried" if reason is Reason.NONE else reason.name.lower()


def state_key(state: State) -> str:
    """Name a state for programs: ``not_expected``."""
    return state.name.lower()


def counted(count: int, noun: str) -> str:
    """Write a number with its noun: ``1 fault``, ``2 faults``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def advice(reason: Reason) -> str:
    """Say what to do next about a cause; empty where there is nothing to say."""
    return _ADVICE.get(reason, "")
