"""Transferring an image (firmware), resumable after a cut: the meter remembers which blocks it has. IEC 62056-6-2, class 18.

Each phase acts, and what the meter then says decides what follows, by `NEXT`; what is not in it is an error. A transfer that
was cut is taken up by a new one with ``is_begun``: blocks that arrived are not sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from drivers.dlms.objects.images import IMAGE_TRANSFER, MAX_BLOCK, ImageBlock, ImageHeader, ImageStatus, ImageToActivate
from drivers.dlms.procedures.steps import Procedure, Wait, invoke, read
from drivers.errors import CommandDeclined, CommandUnverified, MeterRefused, RemoteProtocolError
from drivers.obis import Obis

MAX_BLOCKS = 1_000_000
MAX_SIZE = 64 * 2**20  # [octet]
ROUNDS = 3  # how often missing blocks are sent before the transfer is given up
LOOKS = 60  # how often a meter is asked whether it has done verifying, or activating
PAUSE = 5.0  # [s] between two looks
TEMPORARY_FAILURE = (
    2  # action-result: the meter is at it, its status says when it has done. IEC 62056-6-2, image_verify
)


class Phase(Enum):
    """What we are doing."""

    LOOK = auto()
    INITIATE = auto()
    SEND = auto()
    VERIFY = auto()
    AWAIT_VERIFIED = auto()
    ACTIVATE = auto()
    AWAIT_ACTIVATED = auto()
    DONE = auto()


class Found(Enum):
    """What the meter says: its image_transfer_status, and while it takes blocks, whether it has all."""

    NOTHING = auto()
    PARTIAL = auto()
    COMPLETE = auto()
    VERIFYING = auto()
    VERIFIED = auto()
    NOT_VERIFIED = auto()
    ACTIVATING = auto()
    ACTIVATED = auto()
    NOT_ACTIVATED = auto()


NEXT: Mapping[tuple[Phase, Found], Phase] = {
    (Phase.LOOK, Found.NOTHING): Phase.INITIATE,
    (Phase.LOOK, Found.PARTIAL): Phase.SEND,
    (Phase.LOOK, Found.COMPLETE): Phase.VERIFY,
    (Phase.LOOK, Found.VERIFYING): Phase.AWAIT_VERIFIED,
    (Phase.LOOK, Found.VERIFIED): Phase.ACTIVATE,
    (Phase.LOOK, Found.NOT_VERIFIED): Phase.INITIATE,
    (Phase.LOOK, Found.ACTIVATING): Phase.AWAIT_ACTIVATED,
    (Phase.LOOK, Found.ACTIVATED): Phase.DONE,
    (Phase.LOOK, Found.NOT_ACTIVATED): Phase.INITIATE,
    (Phase.INITIATE, Found.PARTIAL): Phase.SEND,
    (Phase.SEND, Found.PARTIAL): Phase.SEND,
    (Phase.SEND, Found.COMPLETE): Phase.VERIFY,
    (Phase.VERIFY, Found.VERIFYING): Phase.AWAIT_VERIFIED,
    (Phase.VERIFY, Found.VERIFIED): Phase.ACTIVATE,
    (Phase.AWAIT_VERIFIED, Found.VERIFYING): Phase.AWAIT_VERIFIED,
    (Phase.AWAIT_VERIFIED, Found.VERIFIED): Phase.ACTIVATE,
    (Phase.ACTIVATE, Found.VERIFIED): Phase.AWAIT_ACTIVATED,
    (Phase.ACTIVATE, Found.ACTIVATING): Phase.AWAIT_ACTIVATED,
    (Phase.ACTIVATE, Found.ACTIVATED): Phase.DONE,
    (Phase.AWAIT_ACTIVATED, Found.VERIFIED): Phase.AWAIT_ACTIVATED,
    (Phase.AWAIT_ACTIVATED, Found.ACTIVATING): Phase.AWAIT_ACTIVATED,
    (Phase.AWAIT_ACTIVATED, Found.ACTIVATED): Phase.DONE,
}
_FOUND: Mapping[ImageStatus, Found] = {
    ImageStatus.NOT_INITIATED: Found.NOTHING,
    ImageStatus.VERIFICATION_INITIATED: Found.VERIFYING,
    ImageStatus.VERIFICATION_SUCCESSFUL: Found.VERIFIED,
    ImageStatus.VERIFICATION_FAILED: Found.NOT_VERIFIED,
    ImageStatus.ACTIVATION_INITIATED: Found.ACTIVATING,
    ImageStatus.ACTIVATION_SUCCESSFUL: Found.ACTIVATED,
    ImageStatus.ACTIVATION_FAILED: Found.NOT_ACTIVATED,
}
_LIMITS: Mapping[Phase, int] = {Phase.SEND: ROUNDS, Phase.AWAIT_VERIFIED: LOOKS, Phase.AWAIT_ACTIVATED: LOOKS}


@dataclass(frozen=True, slots=True)
class Image:
    """What is to be transferred: the identifier the maker gave it, and its octets."""

    identifier: bytes
    octets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse an image without name or content, or one larger than any meter's."""
        if not 0 < len(self.octets) <= MAX_SIZE or not 0 < len(self.identifier) <= 255:
            raise ValueError(
                f"image of {len(self.octets)} octets with an identifier of {len(self.identifier)}; "
                f"1 to {MAX_SIZE} and 1 to 255 are taken"
            )


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """How the transfer ended. ``sent``: numbers of blocks sent in this one, in order.  ``held``: what the meter says it verified."""

    status: ImageStatus
    blocks: int
    sent: tuple[int, ...]
    held: tuple[ImageToActivate, ...]


def transfer_image(
    name: Obis, image: Image, *, is_begun: bool = False, activates: bool = True
) -> Procedure[ImageOutcome]:
    """Transfer, verify and activate an image. ``is_begun``: this image, and no other, was initiated before and is taken up.

    Without ``activates`` it ends when the image is verified. Raises `CommandDeclined` where the meter's transfer is not
    enabled or its block size impossible, `CommandUnverified` where the meter says that it failed or does not get on, and
    transport errors where the line is cut: then do it again with ``is_begun``.
    """
    return (yield from _Transfer(name, image).run(Phase.LOOK if is_begun else Phase.INITIATE, activates=activates))


class _Transfer:
    """One run of `transfer_image`, and what it has learned of the meter."""

    def __init__(self, name: Obis, image: Image) -> None:
        self._name = name
        self._image = image
        self._block_size = 0
        self._blocks = 0
        self._missing: Sequence[int] = ()
        self._sent: list[int] = []
        self._held: tuple[ImageToActivate, ...] = ()

    def run(self, phase: Phase, *, activates: bool) -> Procedure[ImageOutcome]:
        yield from self._check()
        last, times = phase, 0
        while True:
            times = times + 1 if phase is last else 1
            last = phase
            if times > _LIMITS.get(phase, 1):
                raise CommandUnverified(
                    f"image transfer does not get on: {times - 1} times in phase {phase.name.lower()}"
                )
            yield from self._act(phase, is_first=times == 1)
            status, found = yield from self._find()
            following = NEXT.get((phase, found))
            if following is None:
                raise CommandUnverified(
                    f"image transfer in phase {phase.name.lower()}: the meter says {status.name.lower().replace('_', ' ')}"
                )
            if found is Found.VERIFIED and following is Phase.ACTIVATE:
                yield from self._look_at_held()
            if following is Phase.DONE or (following is Phase.ACTIVATE and not activates):
                return ImageOutcome(status, self._blocks, tuple(self._sent), self._held)
            phase = following

    def _read(self, which: str) -> Procedure[object]:
        return read(IMAGE_TRANSFER, self._name, which)

    def _check(self) -> Procedure[None]:
        if not (yield from self._read("image_transfer_enabled")):
            raise CommandDeclined(f"image transfer {self._name} is not enabled")
        size = cast("int", (yield from self._read("image_block_size")))
        if not 0 < size <= MAX_BLOCK:
            raise CommandDeclined(f"image block size {size} is outside 1 to {MAX_BLOCK}")
        self._block_size = size
        self._blocks = -(-len(self._image.octets) // size)
        if self._blocks > MAX_BLOCKS:
            raise CommandDeclined(f"image of {self._blocks} blocks; at most {MAX_BLOCKS} are sent")

    def _act(self, phase: Phase, *, is_first: bool) -> Procedure[None]:
        match phase:
            case Phase.INITIATE:
                header = ImageHeader(self._image.identifier, len(self._image.octets))
                yield from invoke(IMAGE_TRANSFER, self._name, "image_transfer_initiate", header, is_repeatable=True)
            case Phase.SEND:
                for number in self._missing:
                    at = number * self._block_size
                    block = ImageBlock(number, self._image.octets[at : at + self._block_size])
                    yield from invoke(IMAGE_TRANSFER, self._name, "image_block_transfer", block, is_repeatable=True)
                    self._sent.append(number)
            case Phase.VERIFY:
                yield from self._start("image_verify", is_repeatable=True)
            case Phase.ACTIVATE:
                yield from self._start("image_activate", is_repeatable=False)
            case Phase.AWAIT_VERIFIED | Phase.AWAIT_ACTIVATED if not is_first:
                yield Wait(PAUSE)

    def _start(self, method: str, *, is_repeatable: bool) -> Procedure[None]:
        """Start what may take longer than an answer; then the meter says so, and its status says how it goes on."""
        try:
            yield from invoke(IMAGE_TRANSFER, self._name, method, is_repeatable=is_repeatable)
        except MeterRefused as error:
            if error.code != TEMPORARY_FAILURE:
                raise
            yield Wait(PAUSE)

    def _find(self) -> Procedure[tuple[ImageStatus, Found]]:
        status = cast("ImageStatus", (yield from self._read("image_transfer_status")))
        if status is not ImageStatus.INITIATED:
            return status, _FOUND[status]
        self._missing = yield from self._find_missing()
        return status, Found.PARTIAL if self._missing else Found.COMPLETE

    def _find_missing(self) -> Procedure[Sequence[int]]:
        """Ask which blocks are not there: by the first, and where some behind it are, by the list of all, if the meter has it."""
        first = cast("int", (yield from self._read("image_first_not_transferred_block_number")))
        if first >= self._blocks:
            return ()
        try:
            bits = cast("str", (yield from self._read("image_transferred_blocks_status")))
        except MeterRefused:
            return range(first, self._blocks)
        if len(bits) < self._blocks:
            raise RemoteProtocolError(
                f"{len(bits)} image blocks in image_transferred_blocks_status, expected {self._blocks}"
            )
        return [number for number in range(self._blocks) if bits[number] == "0"]

    def _look_at_held(self) -> Procedure[None]:
        try:
            self._held = cast("tuple[ImageToActivate, ...]", (yield from self._read("image_to_activate_info")))
        except MeterRefused:
            self._held = ()
