"""Topic patterns with named levels, such as ``ami/{concentrator}/{meter}/intervals``."""

MAX_TOPIC = 1_024


def match_topic(pattern: str, topic: str) -> dict[str, str] | None:
    """Give what each named level of the pattern holds in a topic, or None where the topic is another."""
    levels = topic.split("/") if len(topic) <= MAX_TOPIC else []
    expected = pattern.split("/")
    if len(levels) != len(expected):
        return None
    names: dict[str, str] = {}
    for want, level in zip(expected, levels, strict=True):
        if want.startswith("{") and want.endswith("}"):
            if not level:
                return None
            names[want[1:-1]] = level
        elif want != level:
            return None
    return names


def subscription(pattern: str) -> str:
    """Give the MQTT topic filter that delivers what a pattern matches."""
    return "/".join("+" if level.startswith("{") and level.endswith("}") else level for level in pattern.split("/"))
