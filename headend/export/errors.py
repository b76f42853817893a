"""Why an export was not made, where the caller can do something about it."""

from headend.errors import ExportError


class NotExportable(ExportError):
    """What was asked for cannot be exported like that: an empty period, an unknown channel, a name that is no NMI."""


class BrokenChain(ExportError):
    """The directory's earlier exports are not intact; nothing is added to them."""
