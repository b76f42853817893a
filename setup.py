"""Packages and Cython extensions; all metadata is in pyproject.toml.

``HEADEND_CHECKED_KERNELS=1`` builds the kernels with bounds checks on. ``HEADEND_SANITIZED_KERNELS=1`` builds them without, but
with address and undefined-behavior sanitizers, which must be loaded before Python (see ``make sanitize``). Each mode keeps its
own folder of generated C, so that switching never reuses the other mode's code. A kernel that fails to build fails the install.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_namespace_packages, setup

CHECKED = os.environ.get("HEADEND_CHECKED_KERNELS") == "1"
SANITIZED = os.environ.get("HEADEND_SANITIZED_KERNELS") == "1"
if CHECKED and SANITIZED:
    raise SystemExit(
        "HEADEND_CHECKED_KERNELS and HEADEND_SANITIZED_KERNELS are two builds: a bounds check hides what to find"
    )
MODE = "checked" if CHECKED else "sanitized" if SANITIZED else "release"
# Python's own flags make signed integers wrap; a kernel must not count on that.
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if SANITIZED else []
FLAGS = ["-O0", "-g1", "-fno-wrapv", *SANITIZERS] if SANITIZED else ["-O3"]
SHARED = "kernels._cython"
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "cdivision": True,
    "embedsignature": True,
}

packages = [
    name
    for name in find_namespace_packages(include=["headend*", "drivers*", "kernels*", "simulators*"])
    if name != "headend.store.schema"
]

extensions = [
    Extension(
        f"kernels.{source.stem}",
        [str(source)],
        define_macros=[("HEADEND_CHECKED", str(int(CHECKED))), ("HEADEND_SANITIZED", str(int(SANITIZED)))],
        depends=[str(header) for header in sorted(Path("kernels").glob("*.h"))],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS,
    )
    for source in sorted(Path("kernels").glob("*.pyx"))
]
# What typed arrays need of Cython, once for all kernels: half the time to compile, 8 MB instead of 21.
extensions.append(
    Extension(
        SHARED,
        [f"build/cython-{MODE}/{SHARED.replace('.', '/')}.c"],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS,
    )
)

setup(
    options={"build_ext": {"parallel": os.cpu_count()}},
    packages=[*packages, "headend.config"],
    package_dir={"headend.config": "config"},
    package_data={
        "headend": ["py.typed"],
        "headend.store": ["schema/*.sql", "schema/postgresql/*.sql"],
        "headend.config": [
            "profiles/*.toml",
            "rules/*.toml",
            "calendars/*.toml",
            "classes/*.toml",
            "grafana/*.json",
            "*.toml",
        ],
        "drivers": ["py.typed"],
        "kernels": ["*.h", "*.pxd", "*.pyi", "py.typed"],
        "simulators": ["py.typed", "data/*"],
    },
    ext_modules=cythonize(
        extensions,
        build_dir=f"build/cython-{MODE}",
        compiler_directives=DIRECTIVES,
        shared_utility_qualified_name=SHARED,
    ),  # type: ignore[no-untyped-call]  # Cython ships no types
)
