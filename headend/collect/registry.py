"""The collector's view of the registry, and its two questions to the ledger. Runs in the writer's thread."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from drivers.facts import UtcSeconds
from drivers.profile import MeterProfile
from headend.collect.job import JobKind
from headend.collect.plan import Ledger
from headend.collect.schedule import Meter, due_slots
from headend.registry.model import ChannelExpectation
from headend.store.reader import StoreReader
from headend.store.store import Store


def load_meters(store: StoreReader, profiles: Mapping[str, MeterProfile]) -> tuple[list[Meter], dict[int, str]]:
    """Read all meters with their models and expectations, and the URL of each link by its id."""
    meters = []
    for device in store.end_devices():
        expectations = tuple(store.expectations(device.id))
        meters.append(Meter(device, _with_dials(profiles.get(device.profile), expectations), expectations))
    return meters, {link.id: link.url for link in store.links()}


def load_ledgers(
    store: Store, meters: Sequence[Meter], earliest: Mapping[int, UtcSeconds], now: UtcSeconds
) -> list[Ledger]:
    """Read each meter's due slots since ``earliest`` (by end device), and the load-profile jobs since then."""
    ledgers = []
    for meter in meters:
        number = meter.device.id
        since = earliest[number]
        series = []
        for expectation in meter.expectations:
            start, end = due_slots(expectation, since, now)
            if start < end:
                series.append((expectation, store.raw_series(number, expectation.obis, start, end)))
        ledgers.append(Ledger(meter, series, store.job_runs(number, JobKind.LOAD_PROFILE, since)))
    return ledgers


def _with_dials(profile: MeterProfile | None, expectations: Sequence[ChannelExpectation]) -> MeterProfile | None:
    """Give the model with as many digits as the meter's newest installation says its registers have."""
    said = {item.obis: item.dials for item in sorted(expectations, key=lambda item: item.start) if item.dials}
    if profile is None or all(said.get(one.obis, one.dials) == one.dials for one in profile.channels):
        return profile
    channels = tuple(replace(one, dials=said.get(one.obis, one.dials)) for one in profile.channels)
    return replace(profile, channels=channels)
