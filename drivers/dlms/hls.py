"""High-level security: f(challenge) of HLS-3, HLS-4, HLS-6 and HLS-7. IEC 62056-5-3, clauses 9.2.2.2.2.4 and 9.2.7.4.

HLS-3 and HLS-4 hash the other side's challenge and the secret, with MD5 and SHA-1; they are there for meters that have nothing
better. HLS-6 hashes, with SHA-256, the secret, both system titles (the prover's first) and both challenges (the one that is
answered first), so that an answer fits one pair of sides alone. HLS-7 signs the same row but for the secret, by ECDSA. HLS-5
needs keys and counters: `drivers.dlms.channel`. What HLS-2 computes each maker decides: whoever knows hands a `Mechanism` in.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final, Protocol

from drivers.dlms.elliptic import Signer
from drivers.errors import SecurityError
from drivers.profile import Authentication

BY_SECRET: Final[frozenset[Authentication]] = frozenset({"hls3", "hls4", "hls6"})
HIGH: Final[frozenset[Authentication]] = BY_SECRET | {"hls2", "hls5", "hls7"}
WITH_TITLES: Final[frozenset[Authentication]] = frozenset({"hls6", "hls7"})
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


class Mechanism(Protocol):
    """How one side proves to the other who it is, by what it knows."""

    def answer(self, prover: Side, verifier: Side) -> bytes:
        """Give what ``prover`` answers to the challenge of ``verifier``. Called for our own side alone."""

    def verify(self, prover: Side, verifier: Side, given: bytes) -> None:
        """Check the answer of the other side, ``prover``. Raises `SecurityError`."""


@dataclass(frozen=True, slots=True)
class BySecret:
    """HLS-3, HLS-4 and HLS-6."""

    authentication: Authentication
    secret: bytes = field(repr=False)

    def answer(self, prover: Side, verifier: Side) -> bytes:
        """See `Mechanism`."""
        return answer(self.authentication, self.secret, prover, verifier)

    def verify(self, prover: Side, verifier: Side, given: bytes) -> None:
        """See `Mechanism`."""
        verify(self.authentication, self.secret, prover, verifier, given)


@dataclass(frozen=True, slots=True)
class BySignature:
    """HLS-7: ECDSA over the prover's title, the verifier's, the challenge that is answered and the prover's own."""

    signer: Signer

    def answer(self, prover: Side, verifier: Side) -> bytes:
        """See `Mechanism`."""
        return self.signer.own.sign(_signed(prover, verifier))

    def verify(self, prover: Side, verifier: Side, given: bytes) -> None:
        """See `Mechanism`; also refuses a prover whose certificate is another's."""
        self.signer.check_title(prover.title)
        self.signer.peer.verify(_signed(prover, verifier), given)


def _signed(prover: Side, verifier: Side) -> bytes:
    return prover.title + verifier.title + verifier.challenge + prover.challenge
