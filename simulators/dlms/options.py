"""How meters are to be set up as the command line says it: files of secrets read, and what does not fit together refused."""

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from drivers.dlms import hls
from drivers.dlms.ciphering import KEY_SIZES, Keys
from drivers.dlms.elliptic import Signer, parse_private, parse_public
from drivers.errors import DriverError
from drivers.profile import Authentication, Referencing, Security, implied_security
from simulators.dlms.objects import INVOCATION_COUNTER
from simulators.dlms.settings import ClockHabit, DlmsSettings, RowManner

MAX_SECRET = 4096  # [octet] of one file


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said. ``password``, ``keys``, ``signing_key``, ``client_key``: files, never shown in messages but by name."""

    authentication: Authentication = "none"
    security: Security | None = None
    suite: int = 0
    password: Path | None = None
    keys: Path | None = None
    signing_key: Path | None = None
    client_key: Path | None = None
    max_pdu: int = 0xFFFF
    max_info: int = 2030
    window: int = 7
    rows: RowManner = "plain"
    has_status: bool = False
    zone: str = "UTC"
    has_deviation: bool = True
    takes_lists: bool = True
    has_public_counter: bool = False
    referencing: Referencing = "logical-name"

    def settings(self) -> DlmsSettings:
        """Read the files. Raises `OSError`, and `ValueError` for what is missing, surplus or unreadable."""
        kind = self.authentication
        has_secret = kind == "lls" or kind in hls.BY_SECRET
        is_ciphered = kind == "hls5" or (self.security or implied_security(kind)) != "none"
        for wanted, file, option in (
            (has_secret, self.password, "--password-file"),
            (is_ciphered, self.keys, "--keys-file"),
            (kind == "hls7", self.signing_key, "--signing-key-file"),
            (kind == "hls7", self.client_key, "--client-key-file"),
        ):
            if wanted != (file is not None):
                security = f" with --security {self.security}" if self.security else ""
                raise ValueError(
                    f"--authentication {kind}{security} {'needs' if wanted else 'has no use for'} {option}"
                )
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"--zone {self.zone}: no such time zone") from None
        try:
            return DlmsSettings(
                kind,
                password=_secret(self.password).encode() if self.password else b"",
                keys=_keys(self.keys, self.suite) if self.keys else None,
                max_pdu=self.max_pdu,
                max_info=self.max_info,
                window=self.window,
                clock=ClockHabit(self.zone, self.has_deviation),
                security=self.security,
                takes_lists=self.takes_lists,
                counter_object=INVOCATION_COUNTER if self.has_public_counter else None,
                signer=self._signer(),
                rows=self.rows,
                has_status=self.has_status,
                referencing=self.referencing,
            )
        except DriverError as error:
            raise ValueError(str(error)) from error

    def _signer(self) -> Signer | None:
        if self.signing_key is None or self.client_key is None:
            return None
        own, client = _octets(self.signing_key), _octets(self.client_key)
        return Signer(parse_private(self.suite, own), parse_public(self.suite, client))


def _octets(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SECRET)


def _secret(path: Path) -> str:
    text = _octets(path).decode("ascii", "replace").strip()
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def _keys(path: Path, suite: int) -> Keys:
    try:
        encryption, authentication = (bytes.fromhex(line) for line in _secret(path).split())
    except ValueError:
        raise ValueError(f"{path}: needs two lines of hexadecimal, encryption key and authentication key") from None
    size = KEY_SIZES[suite]
    if len(encryption) != len(authentication) or len(encryption) != size:
        raise ValueError(f"{path}: keys of suite {suite} have {size} octets, {2 * size} hexadecimal digits each")
    return Keys(encryption, authentication, suite)
