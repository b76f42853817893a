"""What most commands need: settings, profiles, the store and the clock, each made when first asked for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drivers.facts import UtcSeconds
from drivers.profile import MeterProfile
from headend.cli.exits import Exit
from headend.cli.failures import Failure
from headend.cli.options import Globals
from headend.cli.output import Output
from headend.clock import SystemClock
from headend.places import data_directory, store_file
from headend.profiles import load_profiles
from headend.secrets import Secrets
from headend.settings import Loaded, Settings, load_settings
from headend.store.reader import StoreReader
from headend.store.store import Store
from headend.vee.calendar import Calendars, load_calendars


class App:
    """One command's surroundings."""

    def __init__(self, options: Globals, format_name: str = "table") -> None:
        self.options = options
        self.output = Output(options, format_name)
        self.clock = SystemClock()

    @classmethod
    def of(cls, ctx: click.Context, format_name: str = "table") -> "App":
        """Make the surroundings of a click command."""
        options = ctx.find_object(Globals)
        return cls(options or Globals(), format_name)

    @cached_property
    def loaded(self) -> Loaded:
        """Settings with their origins. Raises `SettingsError`."""
        return load_settings(self.options.config, self.options.environment)

    @property
    def settings(self) -> Settings:
        """Settings. Raises `SettingsError`."""
        return self.loaded.settings

    @cached_property
    def profile_directories(self) -> list[Path]:
        """Directories of profiles beside the shipped ones; flags come last and win."""
        return [*(Path(text) for text in self.settings.profiles.directories), *self.options.profiles]

    @cached_property
    def profiles(self) -> Mapping[str, MeterProfile]:
        """All meter models. Raises `ProfileError`."""
        return load_profiles(self.profile_directories)

    @cached_property
    def calendars(self) -> Calendars:
        """All tariff calendars. Raises `SettingsError`."""
        return load_calendars(self.settings.vee.calendars)

    @cached_property
    def secrets(self) -> Secrets:
        """Follower of secret references."""
        return Secrets(self.options.environment)

    @cached_property
    def data_directory(self) -> Path:
        """Directory of the store."""
        return self.options.data or data_directory(self.settings.store.path, self.options.environment)

    @property
    def store_path(self) -> Path:
        """File of the store."""
        return store_file(self.data_directory)

    @contextmanager
    def reader(self) -> Iterator[StoreReader]:
        """Open one view of the store, beside its writer: what is committed meanwhile stays unseen."""
        if not self.store_path.exists():
            raise Failure(
                f"there is no store in {self.data_directory}; register meters first (headend meter import FILE.csv),"
                " or name another directory with --data",
                Exit.USAGE,
            )
        with StoreReader.open(self.store_path) as reader, reader.snapshot():
            yield reader

    @contextmanager
    def writer(self) -> Iterator[Store]:
        """Open the store as its one writer; makes it where there is none."""
        self.data_directory.mkdir(parents=True, exist_ok=True)
        with Store.open(self.store_path, self.now) as store:
            yield store

    @contextmanager
    def scratch(self) -> Iterator[Store]:
        """Open an empty store that is thrown away, for a dry run where there is no store yet."""
        with (
            TemporaryDirectory(prefix="headend-") as directory,
            Store.open(store_file(Path(directory)), self.now) as store,
        ):
            yield store

    def now(self) -> UtcSeconds:
        """Current instant. [s UTC]"""
        return self.clock.now()
