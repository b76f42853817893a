"""Reads one TOML file of bounded size, with every failure turned into words."""

import tomllib
from codecs import BOM_UTF8
from importlib.resources.abc import Traversable

MAX_BYTES = 256 * 1024


class TomlFileError(ValueError):
    """The file cannot be read or is not TOML; the message says what, without naming the file."""


def read_toml(entry: Traversable) -> dict[str, object]:
    """Read a TOML document. ``entry`` is a path or a package resource. Raises `TomlFileError`."""
    try:
        with entry.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TomlFileError(f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise TomlFileError(f"is larger than {MAX_BYTES} bytes")
    if content.startswith(BOM_UTF8):
        raise TomlFileError("begins with a byte-order mark, which TOML does not know; save it as UTF-8 without one")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise TomlFileError(f"is not UTF-8 (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise TomlFileError(f"is not TOML: {error}") from error
    except RecursionError as error:
        raise TomlFileError("is nested too deeply") from error
