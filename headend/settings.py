"""The one typed settings tree and its loader: defaults < files < ``HEADEND_SECTION__KEY`` environment < flags.

Import this lazily: pydantic takes a while to load. Secrets are never here, only references to them (`headend.secrets`).
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_origin

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from drivers.listen_url import parse_listen_url
from drivers.table import nearest
from headend.errors import SettingsError
from headend.store.place import parse_place
from headend.toml_file import TomlFileError, read_toml
from headend.variables import PREFIX, is_ours, misnamed, variable

SEARCHED = (Path("headend.toml"), Path("/etc/headend/headend.toml"))
MAX_SHOWN = 60
SHORTEST_TERM = 35
"""Shortest time that anything stored may be kept. [d]"""
SINKS = "sinks"
"""The section whose tables are one deeper: each has a name of the user's."""
_SINK_NAME = re.compile(r"[a-z0-9](?:_?[a-z0-9]){0,31}")


def _cron(text: str) -> str:
    """Refuse what is no cron expression."""
    try:
        CronSim(text, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(f"is not a cron expression such as '5 * * * *': {error}") from error
    return text


def _reference(text: str) -> str:
    """Refuse a secret written out where a reference belongs."""
    if text and not text.startswith(("env:", "file:")):
        raise ValueError("must be a reference, env:NAME or file:PATH, never the secret itself")
    return text


def _system_title(text: str) -> str:
    """Refuse what is not eight octets in hexadecimal."""
    if len(text) != 16 or not all(digit in "0123456789abcdefABCDEF" for digit in text):
        raise ValueError("is not 16 hexadecimal digits (8 octets)")
    return text


def _broker_url(text: str) -> str:
    """Refuse what is no broker address."""
    if text and not text.startswith(("mqtt://", "mqtts://")):
        raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
    if "@" in text:
        raise ValueError("must not carry a user or password; use mqtt.username and mqtt.password_ref")
    return text


def _store_url(text: str) -> str:
    """Refuse what is no address of a database."""
    if text:
        parse_place(text)
    return text


def _sink_url(text: str, info: ValidationInfo) -> str:
    """Refuse what is no address of a server, where there must be one."""
    if info.data.get("kind") == "parquet":
        if text:
            raise ValueError("a sink of files has none; it has a directory")
        return text
    if not text.startswith(("http://", "https://")) or "@" in text:
        raise ValueError("must look like http://host:8086, without user or password; use token_ref")
    return text


def _sink_directory(text: str, info: ValidationInfo) -> str:
    """Refuse a directory, or the lack of one."""
    if (info.data.get("kind") == "parquet") != bool(text):
        raise ValueError("is required of kind parquet, and of that alone")
    return text


def _listen(places: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is no place to listen."""
    for place in places:
        parse_listen_url(place)
    return places


def _proxied(lines: dict[str, str]) -> dict[str, str]:
    """Refuse what is no place to listen for Modbus TCP, or no link."""
    for place, link in lines.items():
        if parse_listen_url(place).kind != "tcp":
            raise ValueError(f"{place!r}: Modbus TCP comes over tcp://")
        if "://" not in link:
            raise ValueError(
                f"{link!r} is no link; write it as the meter table does, serial:///dev/serial/by-id/...?baud=9600"
            )
    return lines


Cron = Annotated[str, AfterValidator(_cron)]
Reference = Annotated[str, AfterValidator(_reference)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StoreSettings(_Section):
    """Where readings live. ``path``: directory; empty for the default place (see `headend --help`).

    ``url``: of a PostgreSQL server's database instead of a file; empty for none.  ``password_ref``: of its user.
    ``reserve_mib``: room on the file's device that readings leave to commands and audit. [MiB]
    """

    path: str = ""
    url: Annotated[str, AfterValidator(_store_url)] = ""
    password_ref: Reference = ""
    reserve_mib: int = Field(default=64, ge=0, le=2**30)


def _days(days: int) -> int:
    """Refuse a term so short that validation or a second reading would miss what it drops."""
    if 0 < days < SHORTEST_TERM:
        raise ValueError(f"at least {SHORTEST_TERM} days, or 0: kept for good")
    return days


Days = Annotated[int, Field(ge=0, le=36_500), AfterValidator(_days)]


class RetentionSettings(_Section):
    """How long what is stored is kept; 0: for good, as everything is unless said otherwise. [d]

    ``raw_days``: what meters said of intervals.  ``validated_days``: what validation made of it; ``keep_sums``: what is left of
    a day then, kept for ``sums_days``.  ``register_days``, ``event_days``, ``job_run_days``, ``set_aside_days``: as they say.
    ``change_days``: the change log, from which sinks read.  ``sink_wait_days``: how much longer all of it is kept for a sink
    that is behind, before it is dropped with a gap record.  The registry, conflicts and the audit are never dropped.
    """

    raw_days: Days = 0
    validated_days: Days = 0
    keep_sums: Literal["hour", "day", "none"] = "hour"
    sums_days: Days = 0
    register_days: Days = 0
    event_days: Days = 0
    job_run_days: Days = 0
    set_aside_days: Days = 0
    change_days: Days = 0
    sink_wait_days: int = Field(default=30, ge=0, le=36_500)


class ProfileSettings(_Section):
    """``directories``: further directories of meter profiles, searched after the shipped ones."""

    directories: tuple[str, ...] = Field(default=(), strict=False)


class CollectSettings(_Section):
    """When and how meters are read. Cron expressions are in UTC; durations in seconds where not said otherwise.

    ``profile_schedule``: when load profiles are read.  ``register_delay``: wait after an interval boundary before a
    register is polled [s].  ``backfill_days``: how far back holes are fetched again [d].  ``window_days``: longest window
    of one request [d].  ``breaker_failures``: failures in a row before a meter is left alone for ``breaker_pause`` [s].
    ``no_row_retries``: times a slot the meter had no row for is asked again.  ``clock_check``: when clocks are compared.
    """

    profile_schedule: Cron = "5 * * * *"
    register_delay: int = Field(default=2, ge=0, le=600)
    backfill_days: int = Field(default=40, ge=1, le=1_000)
    window_days: int = Field(default=7, ge=1, le=62)
    breaker_failures: int = Field(default=3, ge=1, le=100)
    breaker_pause: int = Field(default=300, ge=1, le=86_400)
    no_row_retries: int = Field(default=3, ge=0, le=100)
    clock_check: Cron = "0 3 * * *"


class MqttSettings(_Section):
    """The broker concentrators publish to. An empty ``url`` switches ingestion off."""

    url: Annotated[str, AfterValidator(_broker_url)] = ""
    client_id: str = Field(default="headend", min_length=1, max_length=64)
    username: str = ""
    password_ref: Reference = ""


class PushSettings(_Section):
    """Meters that call us. Without a place to ``listen`` nobody is listened to.

    ``listen``: where, as tcp://0.0.0.0:4059 or udp://0.0.0.0:4059; in the environment separated by blanks.  ``max_calls``:
    most at once.  ``calls_per_second``: most admitted in a second; the others wait.  ``idle_timeout``: silence that ends a
    call [s].  ``message_timeout``: within it a message must be whole once it has begun [s].
    """

    listen: Annotated[tuple[str, ...], AfterValidator(_listen)] = Field(default=(), strict=False)
    max_calls: int = Field(default=500, ge=1, le=10_000)
    calls_per_second: int = Field(default=100, ge=1, le=10_000)
    idle_timeout: int = Field(default=120, ge=1, le=86_400)
    message_timeout: int = Field(default=30, ge=1, le=3_600)


class ProxySettings(_Section):
    """Other Modbus masters that share a line of ours through a Modbus TCP port. Without ``lines`` there is none.

    ``lines``: the link of a line of RTU units, as the meter table names it, by where to listen (``tcp://127.0.0.1:1502``).
    ``may_write``: those of the places that carry on what changes a meter, too.
    """

    lines: Annotated[dict[str, str], AfterValidator(_proxied)] = Field(default={})
    may_write: tuple[str, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        """Refuse a place that may write and is none."""
        if unknown := [place for place in self.may_write if place not in self.lines]:
            raise ValueError(f"may_write: {unknown[0]} is not one of lines")
        return self


class VeeSettings(_Section):
    """``rules``: name of a shipped rule set, or the path of one of your own (.toml).

    ``calendars``: further directories of tariff calendars, searched after the shipped ones.
    """

    rules: str = Field(default="residential", min_length=1, max_length=1_000)
    calendars: tuple[str, ...] = Field(default=(), strict=False)


class ExportSettings(_Section):
    """``directory``: where exports and their manifest are written.  ``sender``, ``receiver``: AEMO participants of NEM12."""

    directory: str = Field(default="exports", min_length=1)
    sender: str = Field(default="HEADEND", pattern=r"^[A-Z0-9]{1,10}$")
    receiver: str = Field(default="RECEIVER", pattern=r"^[A-Z0-9]{1,10}$")


class DlmsSettings(_Section):
    """``system_title``: our own, 8 octets in hexadecimal; must differ between head-ends that share meters and keys."""

    system_title: Annotated[str, AfterValidator(_system_title)] = "4845440000000001"


class SinkSettings(_Section):
    """A place that readings are taken to, ``[sinks.NAME]``; the name is its cursor's, so keep it.

    ``kind``: ``influxdb`` (its 204 counts), ``victoriametrics`` (read back before it counts), both at ``url``, or ``parquet``,
    files below ``directory``.  ``layers``: what goes out.  ``pace``: between looks for changes [s].
    Of the first two: ``batch``: about how many lines are sent at once.  ``timeout``: of one request [s].  ``settle``: before
    VictoriaMetrics is read back [s]; it loses what it took less than 12 s ago when it is killed.
    Of the last: ``gather``: how long changes are gathered before their files are written anew, instead of ``pace`` [s].
    """

    kind: Literal["influxdb", "victoriametrics", "parquet"]
    url: Annotated[str, AfterValidator(_sink_url)] = Field(default="", validate_default=True)
    directory: Annotated[str, AfterValidator(_sink_directory)] = Field(default="", validate_default=True)
    org: str = ""
    bucket: str = Field(default="headend", min_length=1)
    token_ref: Reference = ""
    layers: tuple[Literal["raw", "validated", "register", "event"], ...] = Field(
        default=("raw", "validated", "register", "event"), min_length=1, strict=False
    )
    batch: int = Field(default=20_000, ge=1, le=200_000)
    timeout: int = Field(default=10, ge=1, le=300)
    settle: int = Field(default=20, ge=0, le=3_600)
    pace: int = Field(default=5, ge=1, le=3_600)
    gather: int = Field(default=900, ge=1, le=86_400)


class LogSettings(_Section):
    """``level``: least severe message that is written."""

    level: Literal["debug", "info", "warning", "error"] = "info"


def _sinks(sinks: dict[str, SinkSettings]) -> dict[str, SinkSettings]:
    """Refuse a sink's name that does not stand alone in a key."""
    for name in sinks:
        if not _SINK_NAME.fullmatch(name):
            raise ValueError(f"{name[:MAX_SHOWN]!r} is no name of a sink: lower-case letters, digits and _, at most 32")
    return sinks


class Settings(_Section):
    """All settings. ``Settings()`` is every default."""

    store: StoreSettings = StoreSettings()
    retention: RetentionSettings = RetentionSettings()
    profiles: ProfileSettings = ProfileSettings()
    collect: CollectSettings = CollectSettings()
    mqtt: MqttSettings = MqttSettings()
    push: PushSettings = PushSettings()
    proxy: ProxySettings = ProxySettings()
    vee: VeeSettings = VeeSettings()
    export: ExportSettings = ExportSettings()
    dlms: DlmsSettings = DlmsSettings()
    log: LogSettings = LogSettings()
    sinks: Annotated[dict[str, SinkSettings], AfterValidator(_sinks)] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where each key that is not at its default came from. ``files``: those read, in order."""

    settings: Settings
    origins: Mapping[str, str]
    files: tuple[Path, ...]


def load_settings(
    config: Path | None, environment: Mapping[str, str], flags: Mapping[str, object] | None = None
) -> Loaded:
    """Load the settings tree.

    ``config``: the file to read, with ``conf.d/*.toml`` beside it; None looks for ./headend.toml, then
    /etc/headend/headend.toml, and is content with neither.  ``flags``: dotted key -> value, from the command line.
    Raises `SettingsError` with every fault as ``file: key: what``.
    """
    faults: list[str] = []
    layers = _Layers()
    paths = _files(config, faults)
    for path in paths:
        try:
            document = read_toml(path)
        except TomlFileError as error:
            faults.append(f"{path}: {error}")
            continue
        for section, table in document.items():
            if section not in Settings.model_fields:
                faults.append(f"{path}: {section[:MAX_SHOWN]}: is unknown{nearest(section, Settings.model_fields)}")
            elif not isinstance(table, dict):
                faults.append(f"{path}: {section}: must be a table, written [{section}]")
            else:
                for key, value in _flat(section, table):
                    layers.put(str(path), section, key, value)
    for name, text in sorted(environment.items()):
        if is_ours(name) and "__" in name:
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            key = key.replace("__", ".")
            if section in Settings.model_fields:
                layers.put(name, section, key, _from_text(section, key, text))
            else:
                faults.append(f"{name}: {section[:MAX_SHOWN]}: is unknown{nearest(section, Settings.model_fields)}")
    faults += [
        f"{name[: 2 * MAX_SHOWN]}: {misnamed(name, _variables(), SinkSettings.model_fields)}"
        for name in sorted(environment)
        if is_ours(name) and "__" not in name and name not in layers.referred()
    ]
    for dotted, value in (flags or {}).items():
        section, _, key = dotted.partition(".")
        layers.put("flag", section, key, value)
    try:
        settings = Settings.model_validate(layers.tree())
        faults += _contradictions(settings, layers.origins)
    except ValidationError as error:
        faults += _faults(error, layers.origins)
    if faults:
        raise SettingsError(faults)
    return Loaded(settings, layers.origins, tuple(paths))


def _files(config: Path | None, faults: list[str]) -> list[Path]:
    if config is None:
        config = next((path for path in SEARCHED if path.is_file()), None)
        if config is None:
            return []
    elif not config.is_file():
        faults.append(f"{config}: there is no such file")
        return []
    return [config, *sorted((config.parent / "conf.d").glob("*.toml"))]


def _flat(section: str, table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Give the keys of a section; those of a sink, whose table lies one deeper, as ``name.key``."""
    for key, value in table.items():
        if section == SINKS and isinstance(value, dict) and value:
            for inner, item in value.items():
                yield f"{key}.{inner}", item
        else:
            yield key, value


class _Layers:
    """Values laid over each other, and where the topmost of each came from."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, object]] = {}
        self.origins: dict[str, str] = {}

    def put(self, origin: str, section: str, key: str, value: object) -> None:
        self._values.setdefault(section, {})[key] = value
        self.origins[f"{section}.{key}"] = origin

    def referred(self) -> set[str]:
        """Name the variables that hold a secret of these settings."""
        texts = (value for table in self._values.values() for value in table.values() if isinstance(value, str))
        return {text.removeprefix("env:") for text in texts if text.startswith("env:")}

    def tree(self) -> dict[str, dict[str, object]]:
        """Give the values as the model takes them: each sink's in a table of its own."""
        tree = dict(self._values)
        sinks: dict[str, Any] = {}
        for key, value in tree.pop(SINKS, {}).items():
            name, dot, inner = key.partition(".")
            if dot and isinstance(sinks.setdefault(name, {}), dict):
                sinks[name][inner] = value
            elif not dot:
                sinks[name] = value
        return tree | ({SINKS: sinks} if sinks else {})


def _variables() -> list[str]:
    return [
        variable(section, key)
        for section in Settings.model_fields
        if section != SINKS
        for key in _model(section).model_fields
    ]


def _model(section: str) -> type[BaseModel]:
    model = SinkSettings if section == SINKS else Settings.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model


def _field_type(section: str, key: str) -> object:
    field = _model(section).model_fields.get(key.rpartition(".")[2])
    return field.annotation if field else None


def _from_text(section: str, key: str, text: str) -> object:
    """Give an environment variable's text the type its key wants; text that does not fit is left for the check to name."""
    wanted = _field_type(section, key)
    if wanted is int:
        try:
            return int(text)
        except ValueError:
            return text
    if get_origin(wanted) is tuple:
        return tuple(text.split() if "://" in text else (part for part in text.split(os.pathsep) if part))
    return text


def _origin(dotted: str, origins: Mapping[str, str]) -> str:
    """Say where a key came from; for one that is missing in a sink's table, where that table did."""
    table = dotted.rpartition(".")[0]
    near = [key for key in origins if key == table or (table.count(".") and key.startswith(f"{table}."))]
    return next((origins[key] for key in (dotted, *near) if key in origins), "default")


def _contradictions(settings: Settings, origins: Mapping[str, str]) -> Iterator[str]:
    """Name terms shorter than back-fill, which would fetch again what they drop, or not know how often it had asked."""
    for name in ("raw_days", "job_run_days"):
        if 0 < getattr(settings.retention, name) < settings.collect.backfill_days:
            yield (
                f"{_origin(f'retention.{name}', origins)}: retention.{name}: at least collect.backfill_days"
                f" ({settings.collect.backfill_days}), within which holes are fetched again"
            )


def _faults(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    faults = []
    for item in error.errors(include_url=False, include_context=False):
        location = [str(part) for part in item["loc"]]
        depth = 3 if location[0] == SINKS else 2
        dotted = ".".join(location[:depth])
        origin = _origin(dotted, origins)
        if item["type"] == "extra_forbidden":
            known = _model(location[0]).model_fields
            faults.append(f"{origin}: {dotted[: 2 * MAX_SHOWN]}: is unknown{nearest(location[-1], known)}")
            continue
        what = item["msg"].removeprefix("Value error, ")
        shown = repr(item["input"])
        is_missing = item["type"] == "missing"  # its input is the whole table
        # A secret written there by mistake must not be repeated.
        if not (is_missing or dotted.endswith("_ref") or "@" in shown):
            what += f" (is {shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '...'})"
        faults.append(f"{origin}: {dotted}: {what}")
    return faults
