"""Writing the registry. Each method needs a transaction, and says whether it added, changed or found the same."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from fractions import Fraction
from typing import TypeVar

from drivers.facts import UtcSeconds
from headend.errors import RegistryError
from headend.registry.model import (
    DAY,
    ChannelExpectation,
    EndDevice,
    Installation,
    TariffSince,
    UsagePoint,
    check_name,
    overlap,
)
from headend.store.journalwrites import JournalWrites
from headend.store.model import Layer
from headend.store.registryreads import RegistryReads

_Dated = TypeVar("_Dated", Installation, ChannelExpectation)


class Outcome(Enum):
    """What a registry write did."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class RegistryWrites(JournalWrites, RegistryReads):
    """What exists, to be changed.

    What changes the meaning of a usage point's values (who measured there, times what, on which grid, in which zone)
    enters the change log where days it counts for are validated already, so that they are validated again.
    """

    def put_link(self, url: str) -> int:
        """Find or add a link, and give its id."""
        self._require_transaction()
        if row := self._row("SELECT id FROM link WHERE url = ?", (url,)):
            return int(row[0])
        return self._insert("INSERT INTO link (url) VALUES (?)", (url,))

    def put_end_device(
        self,
        name: str,
        profile: str,
        link_id: int,
        address: str,
        *,
        serial: str = "",
        password_ref: str = "",
        encryption_key_ref: str = "",
        authentication_key_ref: str = "",
        options: Mapping[str, str] | None = None,
    ) -> tuple[EndDevice, Outcome]:
        """Add an end device or bring its attributes up to date, by its global name. Raises `RegistryError`."""
        self._require_transaction()
        _check_name("meter", name)
        attributes = (
            profile, link_id, address, serial, password_ref, encryption_key_ref, authentication_key_ref,
            json.dumps(dict(sorted((options or {}).items()))),
        )  # fmt: skip
        row = self._row(
            "SELECT profile, link_id, address, serial, password_ref, encryption_key_ref, authentication_key_ref,"
            " options FROM end_device WHERE name = ?",
            (name,),
        )
        if row is None:
            outcome = Outcome.ADDED
            self._run(
                "INSERT INTO end_device (profile, link_id, address, serial, password_ref, encryption_key_ref,"
                " authentication_key_ref, options, name, disabled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (*attributes, name),
            )
        elif row == attributes:
            outcome = Outcome.UNCHANGED
        else:
            outcome = Outcome.CHANGED
            self._run(
                "UPDATE end_device SET profile = ?, link_id = ?, address = ?, serial = ?, password_ref = ?,"
                " encryption_key_ref = ?, authentication_key_ref = ?, options = ? WHERE name = ?",
                (*attributes, name),
            )
        return self.end_device(name), outcome

    def set_disabled(self, name: str, *, disabled: bool) -> None:
        """Take an end device out of collection, or back in. What it should deliver stays expected. Raises `RegistryError`."""
        self._require_transaction()
        if not self._change("UPDATE end_device SET disabled = ? WHERE name = ?", (int(disabled), name)):
            raise RegistryError(f"no meter {name[:80]!r} is registered")

    def put_usage_point(
        self,
        name: str,
        zone: str,
        *,
        area: str = "",
        transformer: str = "",
        feeder: str = "",
        box: str = "",
        check_meter: str = "",
        check_ratio: Fraction = Fraction(1),
        tariffs: Sequence[TariffSince] = (),
    ) -> tuple[UsagePoint, Outcome]:
        """Add a usage point or bring its attributes up to date, by its global name. Raises `RegistryError`."""
        self._require_transaction()
        _check_name("usage point", name)
        attributes = (
            zone, area, transformer, feeder, box, check_meter, str(check_ratio),
            json.dumps([[entry.day, entry.calendar, entry.tariff] for entry in tariffs]),
        )  # fmt: skip
        before = self._usage_point_if_any(name)
        if before is None:
            self._run(
                "INSERT INTO usage_point (zone, area, transformer, feeder, box, check_meter, check_ratio, tariffs, name)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*attributes, name),
            )
            return self.usage_point(name), Outcome.ADDED
        wanted = UsagePoint(
            before.id, name, zone, area, transformer, feeder, box, check_meter, check_ratio, tuple(tariffs)
        )
        if before == wanted:
            return before, Outcome.UNCHANGED
        self._run(
            "UPDATE usage_point SET zone = ?, area = ?, transformer = ?, feeder = ?, box = ?, check_meter = ?,"
            " check_ratio = ?, tariffs = ? WHERE name = ?",
            (*attributes, name),
        )
        if (since := _means_other(before, wanted)) is not None:
            self._log_registry(before.id, since)
        return wanted, Outcome.CHANGED

    def put_installation(self, installation: Installation) -> Outcome:
        """Add an installation, or change the end, multiplier or dials of the one with the same start. Raises `RegistryError`.

        One meter cannot be in two places at once: a span that overlaps another of the same end device is refused.
        """
        self._require_transaction()
        same_key = None
        for other in self.installations(end_device_id=installation.end_device_id):
            if (other.usage_point_id, other.start) == (installation.usage_point_id, installation.start):
                same_key = other
            elif other.overlaps(installation):
                meter = self.end_device_by_id(installation.end_device_id).name
                place = self.usage_point_by_id(other.usage_point_id).name
                raise RegistryError(f"meter {meter} hangs at usage point {place} at the same time; close that first")
        if same_key == installation:
            return Outcome.UNCHANGED
        self._run(
            'INSERT INTO installation (usage_point_id, end_device_id, start, "end", multiplier, dials)'
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (usage_point_id, end_device_id, start)"
            ' DO UPDATE SET "end" = excluded."end", multiplier = excluded.multiplier, dials = excluded.dials',
            (
                installation.usage_point_id, installation.end_device_id, installation.start, installation.end,
                installation.multiplier, installation.dials,
            ),
        )  # fmt: skip
        before = [] if same_key is None else [same_key]
        self._log_registry(installation.usage_point_id, _first_change(before, [installation]))
        return Outcome.ADDED if same_key is None else Outcome.CHANGED

    def put_expectations(
        self, end_device_id: int, start: UtcSeconds, expectations: Sequence[ChannelExpectation]
    ) -> Outcome:
        """Replace what an end device should deliver from exactly ``start`` on (one installation's channels).

        Raises `RegistryError` where a channel would be expected twice at one instant.
        """
        self._require_transaction()
        if any((entry.end_device_id, entry.start) != (end_device_id, start) for entry in expectations):
            raise RegistryError(f"expectations of another end device or start than {end_device_id}, {start}")
        present = self.expectations(end_device_id)
        before = sorted((entry for entry in present if entry.start == start), key=lambda entry: entry.obis)
        after = sorted(expectations, key=lambda entry: entry.obis)
        if before == after:
            return Outcome.UNCHANGED
        for entry in after:
            for other in present:
                if (
                    other.obis == entry.obis
                    and other.start != start
                    and overlap(entry.start, entry.end, other.start, other.end)
                ):
                    raise RegistryError(f"{entry.obis} would be expected twice from {max(entry.start, other.start)} on")
        self._forget()
        self._run("DELETE FROM expectation WHERE end_device_id = ? AND start = ?", (end_device_id, start))
        for entry in after:
            self._run(
                'INSERT INTO expectation (end_device_id, obis, start, "end", period, "offset", scaler, unit, origin,'
                " dials) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    end_device_id, entry.obis.to_bytes(), entry.start, entry.end, entry.period, entry.offset,
                    entry.scaler_unit.scaler, int(entry.scaler_unit.unit), entry.origin, entry.dials,
                ),
            )  # fmt: skip
        since = _first_change(before, after)
        for place in self.installations(end_device_id=end_device_id):
            if place.end is None or place.end > since:
                self._log_registry(place.usage_point_id, max(place.start, since))
        return Outcome.CHANGED if before else Outcome.ADDED

    def _log_registry(self, usage_point_id: int, since: UtcSeconds) -> None:
        day = since // DAY
        sql = "SELECT 1 FROM validated_version WHERE usage_point_id = ? AND day >= ? LIMIT 1"
        if self._row(sql, (usage_point_id, day)):
            self._log_change(Layer.REGISTRY, usage_point_id, day, (), at=self._now())


def _means_other(before: UsagePoint, after: UsagePoint) -> UtcSeconds | None:
    """Say from when on a usage point's values may mean something else; None where nothing changed that they depend on."""
    if (before.zone, before.check_meter, before.check_ratio) != (after.zone, after.check_meter, after.check_ratio):
        return 0
    days = [
        entry.day
        for entry in (*before.tariffs, *after.tariffs)
        if entry not in before.tariffs or entry not in after.tariffs
    ]
    return max(0, min(days) - 1) * DAY if days else None  # a local day may begin on the UTC day before


def _first_change(before: Sequence[_Dated], after: Sequence[_Dated]) -> UtcSeconds:
    """Say from when on two unequal lists of dated entries mean something else: where only ends differ, from the first of those."""
    differing = [entry for entry in (*before, *after) if entry not in before or entry not in after]
    if [replace(entry, end=None) for entry in before] == [replace(entry, end=None) for entry in after]:
        return min(entry.end for entry in differing if entry.end is not None)
    return min(entry.start for entry in differing)


def _check_name(what: str, name: str) -> None:
    try:
        check_name(name)
    except ValueError as error:
        raise RegistryError(f"name of a {what} {name[:80]!r} {error}") from error
