"""The head-end's own error tree, beside the drivers' (drivers/errors.py)."""

from collections.abc import Sequence


class HeadendError(Exception):
    """Base of everything the head-end raises on purpose."""


class SettingsError(HeadendError):
    """Settings are faulty. ``faults`` lists every fault as ``file: key: what``."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class StoreError(HeadendError):
    """The store cannot do what was asked, or is damaged; the message names the file and what to do."""


class RegistryError(HeadendError):
    """A meter, usage point or link is unknown or contradicts what is registered."""


class ExportError(HeadendError):
    """An export could not be made; nothing was left half written."""
