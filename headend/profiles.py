"""Loads meter profiles: those shipped in ``headend.config``, then those of extra directories. Files are read here alone."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from drivers.errors import ProfileError
from drivers.profile import MeterProfile
from drivers.profile_parser import is_abstract, parse_profile
from drivers.table import nearest
from headend.toml_file import TomlFileError, read_toml

Documents = dict[str, Mapping[str, object]]
ABSTRACT = "abstract: this profile is only there to be inherited from; check a child of it"


def load_profiles(extra_directories: Sequence[Path] = ()) -> dict[str, MeterProfile]:
    """Load every meter model by name, sorted; a later directory's profile replaces an earlier one of the same name.

    Abstract profiles only serve as parents and are not in the result. Raises `ProfileError` with the faults of all files.
    """
    documents, faults = load_documents(extra_directories)
    profiles: dict[str, MeterProfile] = {}
    for name in sorted(documents):
        if is_abstract(documents[name]):
            continue
        try:
            profiles[name] = parse_profile(name, documents)
        except ProfileError as error:
            faults += [f"{name}: {fault}" for fault in error.faults]
    if faults:
        raise ProfileError("files", faults)
    return profiles


def load_profile(name: str, extra_directories: Sequence[Path] = ()) -> MeterProfile:
    """Load one profile by name. Raises `ProfileError`, also for one that is only there to be inherited from."""
    profiles = load_profiles(extra_directories)
    if found := profiles.get(name):
        return found
    documents, _ = load_documents(extra_directories)
    if name in documents:
        raise ProfileError(name, [ABSTRACT])
    raise ProfileError(name, [f"{name}: there is no such profile{nearest(name, profiles)}"])


def load_profile_file(path: Path, extra_directories: Sequence[Path] = ()) -> MeterProfile:
    """Load one profile file; its parents may lie beside it, in ``extra_directories`` or among the shipped ones.

    Raises `ProfileError`.
    """
    documents, _ = load_documents([path.parent, *extra_directories])
    documents[path.stem] = _read(path)
    if is_abstract(documents[path.stem]):
        raise ProfileError(path.stem, [ABSTRACT])
    return parse_profile(path.stem, documents)


def load_documents(extra_directories: Sequence[Path] = ()) -> tuple[Documents, list[str]]:
    """Read all profile files without judging them; gives documents by name and the faults of files that are not TOML."""
    documents: Documents = {}
    faults: list[str] = []
    places: list[Traversable] = [files("headend.config") / "profiles"]
    for directory in extra_directories:
        if directory.is_dir():
            places.append(directory)
        else:
            faults.append(f"{directory}: is no directory")
    for place in places:
        for entry in sorted(place.iterdir(), key=lambda found: found.name):
            if entry.name.endswith(".toml") and entry.is_file():
                name = entry.name.removesuffix(".toml")
                try:
                    documents[name] = _read(entry)
                except ProfileError as error:
                    faults += [f"{name}: {fault}" for fault in error.faults]
    return documents, faults


def _read(entry: Traversable) -> Mapping[str, object]:
    """Read one profile file."""
    try:
        return read_toml(entry)
    except TomlFileError as error:
        raise ProfileError(entry.name.removesuffix(".toml"), [f"file: {error}"]) from error
