"""Resolves references to secrets: ``env:NAME`` or ``file:PATH``. A value is never in a repr, a log or an exception."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from drivers.contract import Credentials, CurveKeys
from headend.errors import HeadendError

MAX_BYTES = 4_096
KEY_OCTETS = frozenset({16, 32})  # AES-128 of security suites 0 and 1, AES-256 of suite 2
SECRET_OPTIONS = ("signing_key", "meter_signing_key", "agreement_key", "meter_agreement_key", "master_key")
"""Options of a meter whose value is a reference: to our private keys, to the meter's certificates or public keys, to its master key."""
_REFERENCE = re.compile(r"(env|file):(\S(?:.{0,1023})?)")
_CURVE = SECRET_OPTIONS[:4]
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)


class SecretError(HeadendError):
    """A reference leads nowhere, or what it leads to is no secret of the wanted kind. Names the reference, not the value."""


class Secrets:
    """Follows references when a secret is needed; keeps none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def password(self, reference: str) -> bytes:
        """Give the text a reference leads to, without a closing newline; empty for an empty reference. Raises `SecretError`."""
        return self._follow(reference) if reference else b""

    def key(self, reference: str, octets: frozenset[int] = KEY_OCTETS) -> bytes:
        """Give the key a reference leads to, written in hexadecimal there; empty for an empty reference.

        ``octets``: lengths that are taken. Raises `SecretError` that names them.
        """
        if not reference:
            return b""
        text = self._follow(reference).decode("ascii", "replace").replace(" ", "").replace(":", "")
        if not _HEX.fullmatch(text) or len(text) // 2 not in octets:
            wanted = ", or ".join(f"{2 * length} hexadecimal digits (AES-{8 * length})" for length in sorted(octets))
            raise SecretError(f"{reference}: is no key; write {wanted}")
        return bytes.fromhex(text)

    def credentials(
        self,
        password: str = "",
        encryption_key: str = "",
        authentication_key: str = "",
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> Credentials:
        """Follow the references of one meter: the three of its row, and those in its options. Raises `SecretError`."""
        signing, meter_signing, agreement, meter_agreement = (self.password(options.get(name, "")) for name in _CURVE)
        return Credentials(
            self.password(password),
            self.key(encryption_key),
            self.key(authentication_key),
            self.key(options.get("master_key", "")),
            CurveKeys(signing, meter_signing, agreement, meter_agreement),
        )

    def __repr__(self) -> str:
        return "Secrets()"

    def _follow(self, reference: str) -> bytes:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise SecretError("a secret must be given as env:NAME or file:PATH, never written out")
        kind, target = match.groups()
        if kind == "env":
            if not (text := self._environment.get(target)):
                raise SecretError(f"{reference}: the environment has no such variable, or it is empty")
            return text.encode()
        try:
            with Path(target).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise SecretError(f"{reference}: cannot be read: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise SecretError(f"{reference}: is larger than {MAX_BYTES} bytes")
        if not (content := content.rstrip(b"\r\n")):
            raise SecretError(f"{reference}: is empty")
        return content
