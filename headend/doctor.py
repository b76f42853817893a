"""Checks of everything around the program. Each gives a verdict, what was found, and what to do; none changes anything."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import apsw
from serial.tools import list_ports

from drivers.errors import ProfileError
from drivers.facts import UtcSeconds
from headend.errors import HeadendError, SettingsError, StoreError
from headend.places import data_directory, store_file
from headend.profiles import load_profiles
from headend.registry.find import without_profile
from headend.secrets import Secrets
from headend.settings import Settings, StoreSettings, load_settings
from headend.store.place import Place, parse_place
from headend.store.quarantine import why_quarantined
from headend.store.reader import StoreReader
from headend.vee.rules import load_rules

PACKAGES = ("headend", "drivers", "kernels", "simulators")
DISTRIBUTION = "headend"
CORRUPTING = ((3, 7, 0), (3, 51, 2))
"""SQLite versions, first to last, that may corrupt a store when a write-ahead log is reset (sqlite.org, 3.51.3 release)."""
LOW_DISK = 200 * 2**20
"""Free space below which a store should not be left alone. [B]"""
BUILT = 1_735_689_600
"""2025-01-01T00:00:00Z: a clock before this program existed is certainly wrong. [s UTC]"""
TIME_SYNC = Path("/run/systemd/timesync/synchronized")


class Verdict(StrEnum):
    """How a check ended; the word is always printed."""

    PASS = "PASS"  # noqa: S105  the verdict, no secret
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``fix``: what to do, empty where nothing is to be done."""

    verdict: Verdict
    subject: str
    found: str
    fix: str = ""


def checks(
    config: Path | None, data: Path | None, profiles: Sequence[Path], environment: Mapping[str, str], now: UtcSeconds
) -> Iterator[Check]:
    """Run every check, cheap ones first. Where settings are faulty the defaults stand in, so that the rest is checked."""
    yield interpreter(sys.prefix, sys.base_prefix)
    yield from owners(importlib.metadata.packages_distributions())
    yield sqlite(apsw.sqlite_lib_version())
    settings, fault = _settings(config, environment)
    yield fault
    directories = [*(Path(text) for text in settings.profiles.directories), *profiles]
    yield _profiles(directories)
    if settings.store.url and not data:
        yield server_store(settings.store, environment)
        yield from models(partial(_server, settings.store, environment), directories, now)
    else:
        directory = data or data_directory(settings.store.path, environment)
        yield store(store_file(directory))
        yield from models(partial(store_file, directory), directories, now)
        yield disk(directory)
    yield clock(now, is_synchronized=TIME_SYNC.exists() or None)
    yield from ports([port.device for port in list_ports.comports()], os.access)


def interpreter(prefix: str, base_prefix: str) -> Check:
    """Check that the program has a virtual environment of its own."""
    if prefix == base_prefix:
        fix = "install it in its own: python3 -m venv /opt/headend && /opt/headend/bin/pip install headend"
        return Check(Verdict.WARN, "environment", f"no virtual environment ({prefix})", fix)
    return Check(Verdict.PASS, "environment", f"Python {sys.version.split()[0]} in {prefix}")


def owners(distributions: Mapping[str, Sequence[str]]) -> Iterator[Check]:
    """Check that each of our import names belongs to our distribution alone; plain names invite others."""
    for package in PACKAGES:
        found = sorted(set(distributions.get(package, ())))
        if found == [DISTRIBUTION] or (not found and package in sys.modules):
            yield Check(Verdict.PASS, f"package {package}", f"belongs to {DISTRIBUTION}")
        elif not found:
            yield Check(
                Verdict.WARN,
                f"package {package}",
                "no installed distribution has it",
                "install headend in this environment",
            )
        else:
            others = ", ".join(name for name in found if name != DISTRIBUTION)
            fix = f"another distribution owns it too: pip uninstall {others}, then reinstall headend, or use a fresh environment"
            yield Check(Verdict.FAIL, f"package {package}", f"belongs to {', '.join(found)}", fix)


def sqlite(version: str) -> Check:
    """Check that SQLite is not one that may corrupt the store."""
    parts = tuple(int(part) for part in version.split(".")[:3])
    first, last = CORRUPTING
    if first <= parts <= last:
        return Check(Verdict.FAIL, "SQLite", f"{version} may corrupt a store", "upgrade it: pip install --upgrade apsw")
    return Check(Verdict.PASS, "SQLite", version)


def _settings(config: Path | None, environment: Mapping[str, str]) -> tuple[Settings, Check]:
    try:
        loaded = load_settings(config, environment)
        load_rules(loaded.settings.vee.rules)
    except SettingsError as error:
        found = f"number of faults: {len(error.faults)}; the first: {error.faults[0]}"
        return Settings(), Check(Verdict.FAIL, "settings", found, "headend config check names every fault")
    names = ", ".join(str(path) for path in loaded.files) or "no file; every setting at its default"
    return loaded.settings, Check(Verdict.PASS, "settings", names)


def _profiles(directories: Sequence[Path]) -> Check:
    try:
        found = load_profiles(directories)
    except ProfileError as error:
        what = f"number of faults: {len(error.faults)}; the first: {error.faults[0]}"
        return Check(Verdict.FAIL, "profiles", what, "headend config check names every fault")
    return Check(Verdict.PASS, "profiles", f"{len(found)} meter models")


def store(path: Path) -> Check:
    """Check that the store can be read."""
    try:
        is_there = path.exists()
    except OSError as error:
        return Check(Verdict.FAIL, "store", f"{path}: {error.strerror}", "give this user the directory and its parents")
    if not is_there:
        fix = "register meters: headend meter import FILE.csv; or name its directory with --data"
        return Check(Verdict.WARN, "store", f"there is none at {path}", fix)
    if why := why_quarantined(str(path)):
        return Check(
            Verdict.FAIL,
            "store",
            f"{path}: set apart as damaged: {why}",
            "headend store check; headend store restore BACKUP",
        )
    try:
        with StoreReader.open(path) as reader:
            meters = len(reader.end_devices())
    except StoreError as error:
        return Check(Verdict.FAIL, "store", str(error), "check file, owner and disk; restore a backup if it is damaged")
    return Check(Verdict.PASS, "store", f"{path}; meters: {meters}")


def server_store(settings: StoreSettings, environment: Mapping[str, str]) -> Check:
    """Check that the store on a PostgreSQL server can be read, and that the server keeps what it acknowledges."""
    try:
        with StoreReader.open(_server(settings, environment)) as reader:
            meters, careless = len(reader.end_devices()), reader.durability_faults()
    except HeadendError as error:
        return Check(Verdict.FAIL, "store", str(error), "check the server, store.url and store.password_ref")
    if careless:
        return Check(
            Verdict.FAIL, "store", f"{settings.url}: {', '.join(careless)}: a power failure may lose or damage readings",
            "switch them on in postgresql.conf",
        )  # fmt: skip
    return Check(Verdict.PASS, "store", f"{settings.url}; meters: {meters}")


def _server(settings: StoreSettings, environment: Mapping[str, str]) -> Place:
    password = Secrets(environment).password(settings.password_ref).decode()
    return parse_place(settings.url).with_password(password)


def models(place_of: Callable[[], Place], directories: Sequence[Path], now: UtcSeconds) -> Iterator[Check]:
    """Check that each registered meter's profile is there. Says nothing where store or profiles are faulty: others do."""
    with suppress(HeadendError, ProfileError, OSError):
        known = load_profiles(directories)
        with StoreReader.open(place_of()) as reader:
            lost = without_profile(reader, known, now)
        for name, meters in lost.items():
            found = f"there is no profile {name!r}; meters that are not read for it: {len(meters)}, {meters[0]} first"
            fix = "name its directory: profiles.directories in the settings, or --profiles"
            yield Check(Verdict.FAIL, "meters", found, fix)


def disk(directory: Path) -> Check:
    """Check that there is room for the store, and that it may be written."""
    place = next(parent for parent in (directory, *directory.absolute().parents) if parent.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return Check(
            Verdict.FAIL, "disk", f"{place} may not be written", f"give this user the directory: chown USER {place}"
        )
    free = shutil.disk_usage(place).free
    found = f"{free // 2**20} MiB free at {place}"
    if free < LOW_DISK:
        return Check(
            Verdict.WARN, "disk", found, "make room: without it polling stops, and only the meters keep the data"
        )
    return Check(Verdict.PASS, "disk", found)


def clock(now: UtcSeconds, *, is_synchronized: bool | None) -> Check:
    """Check the machine's clock as far as it can tell; None where nothing says whether it is synchronized."""
    if now < BUILT:
        return Check(Verdict.FAIL, "clock", "stands before 2025", "set it, and run NTP: every reading is stamped by it")
    if is_synchronized is None:
        return Check(
            Verdict.WARN, "clock", "nothing here says that it is synchronized", "run NTP (systemd-timesyncd or chrony)"
        )
    return Check(Verdict.PASS, "clock", "synchronized")


def ports(devices: Sequence[str], may: Callable[[str, int], bool]) -> Iterator[Check]:
    """Check each serial port for permission. ``may``: `os.access`, or a stand-in."""
    if not devices:
        yield Check(Verdict.PASS, "serial ports", "none; only links over the network can be used")
    for device in sorted(devices):
        if may(device, os.R_OK | os.W_OK):
            yield Check(Verdict.PASS, f"port {device}", "may be used")
        else:
            fix = "add this user to the port's group (usermod -aG dialout USER) and log in again"
            yield Check(Verdict.WARN, f"port {device}", "no permission", fix)
