"""Where the store of a test is: the tests of its interface run on each engine."""

from pathlib import Path

import pytest

from headend.store.place import Place


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "s.db"
    found: Place = request.getfixturevalue("postgres").emptied()
    return found
