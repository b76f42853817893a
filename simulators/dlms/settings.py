"""How a simulated DLMS meter is set up, and what it keeps in mind whoever is connected."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from drivers.dlms import axdr, hls
from drivers.dlms.axdr import Data
from drivers.dlms.ciphering import Keys
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.elliptic import Signer
from drivers.dlms.hdlc import MAX_INFO, MAX_WINDOW
from drivers.dlms.objects.images import ImageStatus
from drivers.dlms.objects.supply import ControlMode, ControlState
from drivers.dlms.protection import Protection
from drivers.obis import Obis
from drivers.profile import Authentication, ClockProfile, Referencing, Security, implied_security
from simulators.faults import ClockDrift
from simulators.meter import Meter

NO_DAYS = axdr.array([])
RowManner = Literal["plain", "null", "delta", "compact"]

BLOCK_OVERHEAD = 12  # [octet] GET-response-with-datablock around its raw data
CIPHER_OVERHEAD = 30  # [octet] tag, system title, length, security control, counter, authentication tag
MIN_BLOCK = 16


@dataclass(frozen=True, slots=True)
class ClockHabit:
    """How the meter writes time: in ``zone``, with its deviation or with "not specified"."""

    zone: str = "UTC"
    specify_deviation: bool = True

    def encode(self, instant: int) -> bytes:
        """Write an instant [s UTC] as the twelve octets."""
        return CosemDateTime.from_utc(instant, self.zone, specify_deviation=self.specify_deviation).encode()

    def decode(self, octets: bytes) -> int:
        """Read twelve octets as an instant [s UTC]. Raises `DriverError`."""
        return CosemDateTime.decode(octets).to_utc(ClockProfile(zone=self.zone))

    @property
    def standard_deviation(self) -> int:
        """Minutes to add to its normal time, without daylight saving, to get UTC. [min]"""
        offset = min(
            datetime(2026, month, 1, tzinfo=UTC).astimezone(ZoneInfo(self.zone)).utcoffset() or timedelta()
            for month in (1, 7)
        )
        return -int(offset.total_seconds()) // 60


@dataclass(frozen=True, slots=True)
class DlmsSettings:
    """How a meter is set up. ``max_pdu``: largest APDU it sends or takes. [octet]  ``latency``: before an answer. [s]
    ``takes_lists``: whether it grants GET-with-list.

    ``security``: what its APDUs are, None for what the authentication implies.  ``takes``: the least that it takes of a client,
    None for the same.  ``counter_object``: where a client without authentication may read the last counter seen, and no more.
    ``rows``: how it writes its load profile.  ``has_status``: whether that has a column of status words.  ``image_block``: size of the blocks of an image. [octet]
    ``referencing``: how it knows its objects.  ``max_info``, ``window``: what it offers on HDLC, each way. [octet, frame]
    ``signer``: keys of HLS-7, its own and the client's.  ``protection``: general-ciphering and general-signing, where it speaks nothing else.
    ``master_key``: what its keys can be changed with, empty where they cannot.
    """

    authentication: Authentication = "none"
    password: bytes = field(default=b"", repr=False)
    keys: Keys | None = None
    max_pdu: int = 0xFFFF
    clock: ClockHabit = field(default_factory=ClockHabit)
    latency: float = 0.02
    security: Security | None = None
    takes: Security | None = None
    takes_lists: bool = True
    counter_object: Obis | None = None
    signer: Signer | None = None
    protection: Protection | None = None
    master_key: bytes = field(default=b"", repr=False)
    rows: RowManner = "plain"
    has_status: bool = False
    image_block: int = 128
    referencing: Referencing = "logical-name"
    max_info: int = MAX_INFO
    window: int = MAX_WINDOW

    @property
    def is_short(self) -> bool:
        """Say whether it knows its objects by short names."""
        return self.referencing == "short-name"

    @property
    def mechanism(self) -> hls.Mechanism | None:
        """How high-level security is proved; None for HLS-5, which the ciphered channel proves, and where there is none."""
        if self.authentication in hls.BY_SECRET:
            return hls.BySecret(self.authentication, self.password)
        return hls.BySignature(self.signer) if self.signer is not None else None

    @property
    def agreed_security(self) -> Security:
        """What its APDUs are."""
        return self.security or implied_security(self.authentication)

    def __post_init__(self) -> None:
        """Refuse ciphering without keys, LLS without password, and PDUs too small for a block."""
        if (self.authentication == "hls5" or self.agreed_security != "none") != (self.keys is not None):
            raise ValueError("keys belong to ciphering, hls5 needs them")
        if (self.authentication == "hls7") != (self.signer is not None):
            raise ValueError("signing keys belong to hls7, which needs them")
        has_secret = self.authentication == "lls" or self.authentication in hls.BY_SECRET
        if has_secret != bool(self.password):
            raise ValueError("a password belongs to lls, hls3, hls4 and hls6, and each needs one")
        if not BLOCK_OVERHEAD + CIPHER_OVERHEAD + MIN_BLOCK <= self.max_pdu <= 0xFFFF:
            raise ValueError(f"PDU size {self.max_pdu} is not {BLOCK_OVERHEAD + CIPHER_OVERHEAD + MIN_BLOCK} to 65535")


@dataclass(slots=True)
class ImageState:
    """What has arrived of an image. ``blocks``: by number from 0."""

    identifier: bytes = b""
    size: int = 0
    status: ImageStatus = ImageStatus.NOT_INITIATED
    blocks: dict[int, bytes] = field(default_factory=dict)

    def count(self, block_size: int) -> int:
        """Count the blocks that the image has."""
        return -(-self.size // block_size)

    def first_missing(self, block_size: int) -> int:
        """Give the number of the first block that is not there; the number of blocks where all are."""
        count = self.count(block_size)
        return next((number for number in range(count) if number not in self.blocks), count)

    @property
    def octets(self) -> bytes:
        """What is there, joined."""
        return b"".join(self.blocks[number] for number in sorted(self.blocks))


@dataclass(slots=True)
class Memory:
    """What the meter keeps across associations: its own next counter, and the last one seen of each client title.

    It begins with the seconds of its first day, so that a simulator that is started again goes on above.
    ``chances``: how many each misdeed has had, by its place among the meter's faults.  ``adjustments``: how its clock was set.
    ``keys``: as they were changed, None for those it came with.  ``keys_are_new``: no association was opened with them yet.
    """

    next_counter: int = 0
    last_seen: dict[bytes, int] = field(default_factory=dict)
    chances: dict[int, int] = field(default_factory=dict)
    adjustments: tuple[ClockDrift, ...] = ()
    firmware: bytes = b"1.0"
    control_state: ControlState = ControlState.CONNECTED
    control_mode: ControlMode = ControlMode.MODE_4
    image_enabled: bool = True
    image: ImageState | None = None
    keys: Keys | None = None
    keys_are_new: bool = False
    special_days: Data = NO_DAYS


def system_title(meter: Meter, offset: int = 0) -> bytes:
    """System title of a simulated meter, or of the one ``offset`` numbers on: maker and serial number, 8 octets."""
    return b"SIM" + (meter.serial + offset).to_bytes(5, "big")
