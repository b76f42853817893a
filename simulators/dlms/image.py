"""Image transfer of the simulated meter: blocks in any order, kept across cuts and associations. IEC 62056-6-2, class 18."""

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.objects.images import IMAGE_TRANSFER, ImageStatus
from drivers.dlms.xdlms import DataAccessResult
from drivers.errors import ConnectionLost
from drivers.obis import Obis
from simulators.dlms.device import Device, Item, Refused
from simulators.dlms.settings import ImageState
from simulators.faults import Deed

NAME = Obis(0, 0, 44, 0, 0)
MAX_IMAGE = 4 * 1024 * 1024  # [octet] more is refused; a meter's memory ends too


def _state(device: Device) -> ImageState:
    if device.memory.image is None:
        device.memory.image = ImageState()
    return device.memory.image


def _transferred(device: Device) -> Data:
    state = _state(device)
    numbers = range(state.count(device.settings.image_block))
    return Data(Tag.BIT_STRING, "".join("01"[number in state.blocks] for number in numbers))


def _to_activate(device: Device) -> Data:
    state = _state(device)
    if state.status < ImageStatus.VERIFICATION_SUCCESSFUL:
        return axdr.array([])
    identifier = axdr.octet_string(state.identifier)
    return axdr.array([axdr.structure(axdr.double_long_unsigned(state.size), identifier, axdr.octet_string(b""))])


def _enable(device: Device, data: Data) -> None:
    device.memory.image_enabled = IMAGE_TRANSFER.decode("image_transfer_enabled", data)


def _initiate(device: Device, parameters: Data) -> None:
    header = IMAGE_TRANSFER.decode_parameter("image_transfer_initiate", parameters)
    if not device.memory.image_enabled:
        raise Refused(DataAccessResult.TEMPORARY_FAILURE)
    if not 0 < header.size <= MAX_IMAGE:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    device.memory.image = ImageState(header.identifier, header.size, ImageStatus.INITIATED)


def _take_block(device: Device, parameters: Data) -> None:
    if device.deviance is not None and device.deviance.happens(Deed.IMAGE_INTERRUPTED, device.now):
        raise ConnectionLost("the simulated meter hangs up amid an image, as it was told to")
    block = IMAGE_TRANSFER.decode_parameter("image_block_transfer", parameters)
    state, size = _state(device), device.settings.image_block
    last = state.count(size) - 1
    wanted = size if block.number < last else state.size - last * size
    if state.status is not ImageStatus.INITIATED:
        raise Refused(DataAccessResult.TEMPORARY_FAILURE)
    if block.number > last or len(block.octets) != wanted:
        raise Refused(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
    state.blocks[block.number] = block.octets


def _verify(device: Device, _parameters: Data) -> None:
    state = _state(device)
    is_whole = state.status is not ImageStatus.NOT_INITIATED and len(state.octets) == state.size
    state.status = ImageStatus.VERIFICATION_SUCCESSFUL if is_whole else ImageStatus.VERIFICATION_FAILED
    if not is_whole:
        raise Refused(DataAccessResult.OTHER_REASON)


def activate(device: Device, _parameters: Data | None = None) -> None:
    """Make the image that was verified the meter's firmware: its identifier is the version from then on."""
    state = _state(device)
    if state.status is not ImageStatus.VERIFICATION_SUCCESSFUL:
        raise Refused(DataAccessResult.OTHER_REASON)
    device.memory.firmware = state.identifier
    state.status = ImageStatus.ACTIVATION_SUCCESSFUL


ITEM = Item(
    18,
    0,
    NAME,
    {
        2: lambda device: axdr.double_long_unsigned(device.settings.image_block),
        3: _transferred,
        4: lambda device: axdr.double_long_unsigned(_state(device).first_missing(device.settings.image_block)),
        5: lambda device: Data(Tag.BOOLEAN, device.memory.image_enabled),
        6: lambda device: axdr.enum(_state(device).status),
        7: _to_activate,
    },
    {5: _enable},
    {1: _initiate, 2: _take_block, 3: _verify, 4: activate},
)
