"""High-level security by a shared secret: f(challenge) of HLS-3, HLS-4 and HLS-6. IEC 62056-5-3, clause 9.2.2.2.2.4.

HLS-3 and HLS-4 hash the other side's challenge and the secret, with MD5 and SHA-1; they are there for meters that have nothing
better. HLS-6 hashes, with SHA-256, the secret, both system titles (the prover's first) and both challenges (the one that is
answered first), so that an answer fits one pair of sides alone. HLS-5 needs keys and counters: `drivers.dlms.channel`.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from drivers.errors import SecurityError
from drivers.profile import Authentication

BY_SECRET: Final[frozenset[Authentication]] = frozenset({"hls3", "hls4", "hls6"})
HIGH: Final[frozenset[Authentication]] = BY_SECRET | {"hls5"}
WITH_TITLES: Final[frozenset[Authentication]] = frozenset({"hls6"})
"""Those whose answer names both system titles, which AARQ and AARE then carry also without ciphering."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the exchange: its system title, and the challenge it sent."""

    title: bytes
    challenge: bytes = field(repr=False)


def answer(authentication: Authentication, secret: bytes, prover: Side, verifier: Side) -> bytes:
    """Give what ``prover`` answers to the challenge of ``verifier``."""
    match authentication:
        case "hls3":
            return hashlib.md5(verifier.challenge + secret).digest()  # noqa: S324 - the standard's
        case "hls4":
            return hashlib.sha1(verifier.challenge + secret).digest()  # noqa: S324 - the standard's
        case "hls6":
            titles, challenges = prover.title + verifier.title, verifier.challenge + prover.challenge
            return hashlib.sha256(secret + titles + challenges).digest()
    raise SecurityError(f"{authentication} does not prove a shared secret")


def verify(authentication: Authentication, secret: bytes, prover: Side, verifier: Side, given: bytes) -> None:
    """Check the answer of ``prover``, in a time that does not depend on it. Raises `SecurityError`."""
    if not hmac.compare_digest(answer(authentication, secret, prover, verifier), given):
        raise SecurityError("HLS answer is wrong: the other side does not know the secret")
