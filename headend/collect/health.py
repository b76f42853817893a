"""How meters and links have been doing since the start: their breakers, and one log line per outage, not one per poll."""

import structlog

from drivers.facts import UtcSeconds
from headend.collect.breaker import Breaker
from headend.collect.schedule import Meter
from headend.settings import CollectSettings
from kernels.quality import Reason

_log = structlog.get_logger(__name__)


class Health:
    """Breakers by end device and by link URL. A failure lies with the link when it could not even be opened."""

    def __init__(self, settings: CollectSettings) -> None:
        self._limit = settings.breaker_failures
        self._pause = settings.breaker_pause
        self._breakers: dict[int | str, Breaker] = {}
        self._wrong_clocks: set[int] = set()

    def why_not(self, meter: Meter, url: str, now: UtcSeconds) -> Reason | None:
        """Give the cause for which the line is better left alone, None where a visit is allowed."""
        for key in (url, meter.device.id):
            breaker = self._breakers.get(key)
            if breaker is not None and not breaker.allows(now, self._limit, self._pause):
                return breaker.cause
        return None

    def is_failing(self, end_device_id: int) -> bool:
        """Say whether a meter's last visit failed; on a shared line it then waits for the others."""
        return end_device_id in self._breakers

    def is_on_trial(self, meter: Meter, url: str) -> bool:
        """Say whether a visit only finds out if a dead meter or link is back; then one attempt must do."""
        breakers = (self._breakers.get(key) for key in (url, meter.device.id))
        return any(breaker is not None and breaker.failures >= self._limit for breaker in breakers)

    def failed(self, meter: Meter, url: str, now: UtcSeconds, *, cause: Reason, text: str, is_link: bool) -> None:
        """Count a failed visit; an outage is logged when it begins."""
        key = url if is_link else meter.device.id
        breaker = self._breakers.get(key, Breaker())
        self._breakers[key] = breaker.failed(cause, now)
        if not breaker.is_failing:
            who = {"link": url} if is_link else {"meter": meter.device.name}
            _log.warning("outage began", cause=cause.name, error=text, **who)

    def succeeded(self, meter: Meter, url: str) -> None:
        """Close the breakers of a meter that was read, and of its link; the end of an outage is logged."""
        for key, who in ((url, {"link": url}), (meter.device.id, {"meter": meter.device.name})):
            breaker = self._breakers.pop(key, None)
            if breaker is not None:
                _log.info("outage ended", failures=breaker.failures, **who)

    def forget(self, meter: Meter) -> None:
        """Judge a meter afresh, because its registration has changed."""
        self._breakers.pop(meter.device.id, None)
        self._wrong_clocks.discard(meter.device.id)

    def is_news(self, meter: Meter) -> bool:
        """Say whether the failure counted last began the meter's outage."""
        breaker = self._breakers.get(meter.device.id)
        return breaker is None or breaker.failures <= 1

    def note_clock(self, meter: Meter, fault: str) -> bool:
        """Note what is wrong with a meter's clock, empty for nothing; say whether that is news to be told."""
        if not fault:
            self._wrong_clocks.discard(meter.device.id)
            return False
        if meter.device.id in self._wrong_clocks:
            return False
        self._wrong_clocks.add(meter.device.id)
        _log.warning("meter clock is wrong", meter=meter.device.name, error=fault)
        return True
