"""Where the store of a test is: the tests of its interface run on each engine."""

from pathlib import Path

import pytest
from hypothesis import settings

from headend.store.place import Place

ENGINES = ["sqlite", "postgresql"]


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "s.db"
    found: Place = request.getfixturevalue("postgres").emptied()
    return found


@pytest.fixture(scope="module", params=ENGINES)
def module_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Give a place that all tests of a module share; on the server a schema of its own."""
    if request.param == "sqlite":
        return tmp_path_factory.mktemp("store") / "s.db"
    found: Place = request.getfixturevalue("postgres").place()
    return found


@pytest.fixture(scope="module")
def examples(module_place: Place) -> settings:
    """How many examples a property is tried with: on the server few, as each takes many round trips."""
    return settings(max_examples=100 if isinstance(module_place, Path) else 20)
