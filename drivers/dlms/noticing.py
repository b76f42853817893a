"""What a meter says unasked: EventNotification, and the confirmation of a data-notification. IEC 62056-5-3, clause 9.5."""

from dataclasses import dataclass

from drivers.dlms import axdr
from drivers.dlms.axdr import Data
from drivers.dlms.descriptor import Attribute, Cursor
from drivers.errors import RemoteProtocolError

EVENT_NOTIFICATION = 0xC2
DATA_NOTIFICATION_CONFIRM = 0x10
DATE_TIME_SIZES = frozenset({0, 12})
CONFIRMED = 1 << 30  # of long-invoke-id-and-priority: the sender wants a confirmation


@dataclass(frozen=True, slots=True)
class EventNotification:
    """EVENT-NOTIFICATION-request: an attribute and its value. ``time``: 12 octets, or empty."""

    time: bytes
    attribute: Attribute
    value: Data

    def encode(self) -> bytes:
        """Give the octets."""
        time = b"\x01" + axdr.encode_length(len(self.time)) + self.time if self.time else b"\x00"
        return bytes([EVENT_NOTIFICATION]) + time + self.attribute.encode() + axdr.encode(self.value)


@dataclass(frozen=True, slots=True)
class DataNotificationConfirm:
    """Data-notification-confirm: that a confirmed data-notification arrived. ``date_time``: 12 octets, or empty."""

    long_invoke_id: int
    date_time: bytes = b""

    def encode(self) -> bytes:
        """Give the octets."""
        head = bytes([DATA_NOTIFICATION_CONFIRM]) + self.long_invoke_id.to_bytes(4, "big")
        return head + axdr.encode_length(len(self.date_time)) + self.date_time


def confirmation_of(long_invoke_id: int) -> DataNotificationConfirm | None:
    """Give what confirms a data-notification, None where its sender wants no confirmation."""
    return DataNotificationConfirm(long_invoke_id) if long_invoke_id & CONFIRMED else None


def read_event(cursor: Cursor) -> EventNotification:
    """Read an EVENT-NOTIFICATION-request behind its tag. Raises `RemoteProtocolError`."""
    time = _date_time(cursor) if cursor.flag() else b""
    return EventNotification(time, cursor.attribute(), cursor.data())


def read_confirm(cursor: Cursor) -> DataNotificationConfirm:
    """Read a data-notification-confirm behind its tag. Raises `RemoteProtocolError`."""
    return DataNotificationConfirm(cursor.number(4), _date_time(cursor))


def _date_time(cursor: Cursor) -> bytes:
    octets = cursor.octets()
    if len(octets) not in DATE_TIME_SIZES:
        raise RemoteProtocolError(f"time of {len(octets)} octets in a notification")
    return octets
