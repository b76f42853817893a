"""What every reader of this room gives where nothing whole has arrived yet."""

from enum import Enum
from typing import Final


class NeedData(Enum):
    """Type of `NEED_DATA`."""

    TOKEN = 0


NEED_DATA: Final = NeedData.TOKEN
"""Nothing whole has arrived yet."""
