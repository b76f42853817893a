"""Outcomes shared by every sans-IO object here: an event, `NEED_DATA`, or an error raised."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class NeedData(Enum):
    """Type of `NEED_DATA`, an enum so that a type checker can tell it apart."""

    NEED_DATA = "need data"


NEED_DATA: Final = NeedData.NEED_DATA
"""Nothing wrong so far, and nothing complete either: feed more bytes."""


@dataclass(frozen=True, slots=True)
class Apdu:
    """One whole application protocol data unit, free of framing."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Connect:
    """Ask to open the data link (HDLC: SNRM)."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The data link is open. ``max_info_send``, ``max_info_receive``: largest information field each way. [octet]

    ``window_send``, ``window_receive``: how many frames may be on their way unacknowledged.
    """

    max_info_send: int
    max_info_receive: int
    window_send: int = 1
    window_receive: int = 1


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the data link (HDLC: DISC)."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The data link is closed. ``was_open``: False where the other side says it never was open (HDLC: DM)."""

    was_open: bool = True


@dataclass(frozen=True, slots=True)
class Poll:
    """Nothing came: ask again without repeating the request (HDLC: RR with the same N(R))."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The other side is there and has taken all that was sent (HDLC: RR); it has no answer yet, or owes none."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The other side can take nothing for now (HDLC: RNR); poll it after a while."""


@dataclass(frozen=True, slots=True)
class Unasked:
    """One whole APDU that the other side says outside question and answer (HDLC: UI); it answers nothing."""

    octets: bytes


LinkEvent = Apdu | Busy | Connected | Disconnected | Ready | Unasked
LinkCommand = Apdu | Connect | Disconnect | Poll
