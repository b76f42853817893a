"""Where things lie on disk, from settings and environment; touches no file."""

from collections.abc import Mapping
from pathlib import Path

STORE_FILE = "headend.db"


def data_directory(setting: str, environment: Mapping[str, str]) -> Path:
    """Give the store's directory: the setting, else ``$XDG_DATA_HOME/headend``, else ``./headend-data``."""
    if setting:
        return Path(setting)
    if home := environment.get("XDG_DATA_HOME"):
        return Path(home) / "headend"
    return Path("headend-data")


def store_file(directory: Path) -> Path:
    """Give the store's file within its directory."""
    return directory / STORE_FILE
