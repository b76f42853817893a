"""Status layouts as shipped, also those of profiles that are only there to be inherited from."""

import tomllib
from typing import Any

from drivers.profile_parser import parse_profile
from drivers.status import StatusLayout
from tests.shared import REPOSITORY

DOCUMENTS = {path.stem: tomllib.loads(path.read_text()) for path in (REPOSITORY / "config" / "profiles").glob("*.toml")}
DLMS = {"dlms": {"registers": [{"obis": "active_energy_import"}]}}


def layout_of(name: str, **more: Any) -> StatusLayout:
    """The layout that a model has which inherits from ``name``."""
    child = {"inherits": name, "source": "tests", "maker": "TST", "registers": ["active_energy_import"], **more}
    return parse_profile("child", {**DOCUMENTS, "child": child}).status_layout
