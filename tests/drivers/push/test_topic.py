"""Topic patterns."""

import pytest

from drivers.push import match_topic, subscription

PATTERN = "ami/{concentrator}/{meter}/intervals"


def test_named_levels_hold_what_the_topic_says() -> None:
    assert match_topic(PATTERN, "ami/c7/SIM:1001/intervals") == {"concentrator": "c7", "meter": "SIM:1001"}


@pytest.mark.parametrize(
    "topic",
    [
        "ami/c7/SIM:1001",
        "ami/c7/SIM:1001/intervals/x",
        "ami//SIM:1001/intervals",
        "AMI/c7/m/intervals",
        "",
        "ami/" + "x" * 2000 + "/m/intervals",
    ],
)
def test_other_topics_do_not_match(topic: str) -> None:
    assert match_topic(PATTERN, topic) is None


def test_subscription_puts_a_wildcard_for_each_name() -> None:
    assert subscription(PATTERN) == "ami/+/+/intervals"
