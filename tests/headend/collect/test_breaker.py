from headend.collect.breaker import ALERT_PAUSE, Breaker
from kernels.quality import Reason


def test_a_meter_is_left_alone_after_the_limit_and_tried_once_per_pause() -> None:
    breaker = Breaker()
    attempts = []

    for now in range(0, 2_000, 50):
        if breaker.allows(now, 3, 300):
            attempts.append(now)
            breaker = breaker.failed(Reason.NO_ANSWER, now)

    assert attempts == [0, 50, 100, 400, 700, 1_000, 1_300, 1_600, 1_900]


def test_one_refused_key_stops_further_attempts_for_a_day() -> None:
    breaker = Breaker().failed(Reason.SECURITY, 1_000)

    assert not breaker.allows(1_000 + ALERT_PAUSE - 1, 3, 300)
    assert breaker.allows(1_000 + ALERT_PAUSE, 3, 300)


def test_a_fresh_breaker_is_closed_and_not_failing() -> None:
    assert Breaker().allows(0, 1, 300)
    assert not Breaker().is_failing
