"""The one source of randomness here: seeded, so that a simulation repeats."""

import random


def seeded(*parts: object) -> random.Random:
    """Give a generator of its own for what ``parts`` name, for example ``seeded(seed, "hdlc")``."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311  # must repeat; guards nothing
