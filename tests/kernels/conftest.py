import pytest
from hypothesis import settings

import kernels.quality

settings.register_profile("few", settings.get_profile("untimed"), max_examples=20)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--checked-kernels", action="store_true", help="the kernels under test must be the build with bounds checks"
    )

    parser.addoption("--sanitized-kernels", action="store_true", help="they must be the build with sanitizers")


def build() -> str:
    if kernels.quality.IS_SANITIZED_BUILD:
        return "sanitized"
    return "checked" if kernels.quality.IS_CHECKED_BUILD else "release"


def pytest_configure(config: pytest.Config) -> None:
    for wanted in ("checked", "sanitized"):
        if config.getoption(f"--{wanted}-kernels") and build() != wanted:
            raise pytest.UsageError(f"--{wanted}-kernels, but {kernels.quality.__file__} is the {build()} build")


def pytest_report_header() -> str:
    return f"kernels: {build()} build"
