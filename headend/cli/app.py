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
from headend.store.place import Place, parse_place
from headend.store.reader import StoreReader, is_there
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

    @cached_property
    def store_place(self) -> Place:
        """Where the store is: on the settings' server, unless a directory is named on the command line."""
        url = self.settings.store.url
        if not url or self.options.data:
            return store_file(self.data_directory)
        return parse_place(url).with_password(self.secrets.password(self.settings.store.password_ref).decode())

    def store_file(self, instead: str) -> Path:
        """Give the store's file, for what only a file can do. Raises `Failure` saying what to do ``instead`` on a server."""
        if isinstance(self.store_place, Path):
            return self.store_place
        raise Failure(f"the store is {self.store_place}, on a PostgreSQL server: {instead}", Exit.USAGE)

    @property
    def store_home(self) -> str:
        """Where the store is, in words for people."""
        return str(self.data_directory if isinstance(self.store_place, Path) else self.store_place)

    def make_place(self) -> Place:
        """Give the store's place, with the directory that a file wants."""
        if isinstance(self.store_place, Path):
            self.data_directory.mkdir(parents=True, exist_ok=True)
        return self.store_place

    @contextmanager
    def reader(self) -> Iterator[StoreReader]:
        """Open one view of the store, beside its writer: what is committed meanwhile stays unseen."""
        if not is_there(self.store_place):
            raise Failure(
                f"there is no store in {self.store_home}; register meters first (headend meter import FILE.csv),"
                " or name another directory with --data",
                Exit.USAGE,
            )
        with StoreReader.open(self.store_place) as reader, reader.snapshot():
            yield reader

    @contextmanager
    def writer(self) -> Iterator[Store]:
        """Open the store as its one writer; makes it where there is none."""
        with Store.open(self.make_place(), self.now) as store:
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
