import pytest

import kernels.quality


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--checked-kernels", action="store_true", help="the kernels under test must be the build with bounds checks"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--checked-kernels") and not kernels.quality.IS_CHECKED_BUILD:
        raise pytest.UsageError(f"--checked-kernels, but {kernels.quality.__file__} is the release build")


def pytest_report_header() -> str:
    return f"kernels: {'checked' if kernels.quality.IS_CHECKED_BUILD else 'release'} build"
