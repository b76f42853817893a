"""Takes APDUs apart down to values, for people: services, attributes with their catalogue names, A-XDR data.

Whatever `drivers.dlms` decodes to a dataclass is shown by its fields, so that a service added there is shown here. Secrets are
not shown: neither a password or key by its place, nor the keys that ciphered APDUs are opened with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum, Flag
from typing import Any, Final

from drivers.dlms import acse, axdr, ciphering, general, xdlms
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.blocks import GENERAL_BLOCK_TRANSFER, LAST_BLOCK, MAX_APDU
from drivers.dlms.channel import PLAIN_TAGS
from drivers.dlms.ciphering import ENCRYPTED, HEADER_SIZE, Keys
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.extent import DATA_NOTIFICATION
from drivers.dlms.notification import PushedObject
from drivers.dlms.telegram import START as TELEGRAM
from drivers.dlms.telegram import decode_pushed
from drivers.dlms.unprotect import GENERAL_GLO_CIPHERING
from drivers.errors import DriverError, RemoteProtocolError
from drivers.obis import Obis, by_obis
from drivers.trace.mask import SECRET_ATTRIBUTES, service_flags

MAX_PARTS = 20_000  # parts of one APDU that are listed
MAX_SHOWN = 64  # octets of one value that are written out
NOT_SHOWN: Final = "not shown"
_INITIATE = 0x01
_HIGH = range(acse.Mechanism.HIGH, acse.Mechanism.HIGH_ECDSA + 1)
GENERAL_DED_CIPHERING: Final = 0xDC
_DEDICATED = frozenset({*range(0xD0, 0xD8), GENERAL_DED_CIPHERING})
# IEC 62056-5-3, 9.5: what is ciphered. With global keys and the titles alone the last two kinds cannot be opened.
_CIPHERED: Mapping[int, str] = {
    **dict.fromkeys(PLAIN_TAGS, "globally ciphered"), **dict.fromkeys(range(0xC8, 0xD0), "globally ciphered"),
    **dict.fromkeys(range(0xD0, 0xD8), "ciphered with a dedicated key"), GENERAL_GLO_CIPHERING: "general-glo-ciphering",
    GENERAL_DED_CIPHERING: "general-ded-ciphering", general.GENERAL_CIPHERING: "general-ciphering",
    general.GENERAL_SIGNING: "general-signing",
}  # fmt: skip
CLASSES: Mapping[int, str] = {
    1: "data", 3: "register", 4: "extended register", 5: "demand register", 6: "register activation", 7: "profile generic",
    8: "clock", 9: "script table", 10: "schedule", 11: "special days table", 12: "association SN", 15: "association LN",
    17: "SAP assignment", 18: "image transfer", 19: "IEC local port setup", 20: "activity calendar", 21: "register monitor",
    22: "single action schedule", 23: "IEC HDLC setup", 40: "push setup", 41: "TCP-UDP setup", 42: "IPv4 setup",
    64: "security setup", 70: "disconnect control", 71: "limiter", 72: "M-Bus client",
}  # fmt: skip
"""Names of interface classes. IEC 62056-6-2."""


@dataclass(frozen=True, slots=True)
class Part:
    """One branch of the tree: what it is, its value where it has one, and what is in it."""

    name: str
    value: str = ""
    parts: tuple["Part", ...] = ()


@dataclass(slots=True)
class Dialogue:
    """What was said so far in one session, as far as later APDUs depend on it. ``keys``: to open ciphered ones with, or None."""

    keys: Keys | None = field(default=None, repr=False)
    client_title: bytes = b""
    server_title: bytes = b""
    asked: str = ""
    _asks_secret: bool = False
    _blocks: bytearray = field(default_factory=bytearray)
    _general: dict[bool, bytearray] = field(default_factory=dict)
    _dedicated: Keys | None = field(default=None, repr=False)

    def part(self, apdu: bytes, *, is_sent: bool) -> Part:
        """Take one APDU apart. Raises `DriverError` where it is damaged, or of a service nobody here knows."""
        tag = apdu[0] if apdu else -1
        if acse.AARQ <= tag <= acse.RLRE:
            return self._association(apdu, is_sent=is_sent)
        if tag in _CIPHERED:
            return self._ciphered(apdu, is_sent=is_sent)
        if tag == GENERAL_BLOCK_TRANSFER:
            return self._block(apdu, is_sent=is_sent)
        if tag in {DATA_NOTIFICATION, TELEGRAM}:
            return _notification(apdu)
        decoded = xdlms.decode(apdu)
        name = type(decoded).__name__
        if name.startswith("GetRequest") and not isinstance(decoded, xdlms.GetRequestNext):
            self._asks_secret = any(item in apdu for item in SECRET_ATTRIBUTES)
        elif name.startswith("ActionRequest"):
            self._asks_secret = any(service_flags(apdu))
        is_answer = name.startswith(("GetResponse", "ActionResponse"))
        shown = _Shown(is_secret=self._asks_secret if is_answer else any(service_flags(apdu)))
        parts = list(shown.fields(decoded))
        return Part(_name(decoded), self._about(decoded), (*parts, *self._joined(decoded)))

    def _about(self, decoded: object) -> str:
        """Say what an answer is about: what was asked last."""
        attribute = getattr(decoded, "attribute", None) or getattr(decoded, "method", None)
        if isinstance(attribute, xdlms.Attribute):
            self.asked = describe(attribute)
            self._blocks.clear()
            return self.asked
        name = type(decoded).__name__
        if name.endswith("RequestList"):
            self.asked = ""
        return f"to {self.asked}" if self.asked and name.startswith(("GetResponse", "ActionResponse")) else ""

    def _joined(self, decoded: object) -> tuple[Part, ...]:
        """Join blocks of a GET-response, and give what they hold behind the last."""
        if not isinstance(decoded, xdlms.GetResponseBlock) or decoded.raw is None or self._asks_secret:
            return ()
        if decoded.block_number == 1:
            self._blocks.clear()
        self._blocks += decoded.raw
        if len(self._blocks) > axdr.MAX_OBJECT:
            self._blocks.clear()
            return (Part("fault", "blocks add up to more than any object has"),)
        if not decoded.is_last:
            return ()
        whole = bytes(self._blocks)
        self._blocks.clear()
        try:
            return (_Shown().part("data of all blocks", axdr.decode(whole)),)
        except DriverError as error:
            return (Part("fault", str(error)),)

    def _block(self, apdu: bytes, *, is_sent: bool) -> Part:
        """Join blocks of a general block transfer as they come, lost and repeated ones too; show what they hold behind the last."""
        joined = self._general.setdefault(is_sent, bytearray())
        length, start = axdr.parse_length(apdu, 6)
        if start + length != len(apdu):
            raise RemoteProtocolError(f"a block says {length} octets and has {len(apdu) - start}")
        number, acknowledged = int.from_bytes(apdu[2:4], "big"), int.from_bytes(apdu[4:6], "big")
        if number == 1:
            joined.clear()
        joined += apdu[start:]
        about = f"{number}, {length} octets, window {apdu[1] & 0x3F}, acknowledges {acknowledged}"
        if len(joined) > MAX_APDU:
            joined.clear()
            return Part("block", about, (Part("fault", f"blocks add up to more than {MAX_APDU} octets"),))
        if not apdu[1] & LAST_BLOCK:
            return Part("block", about)
        whole = bytes(joined)
        joined.clear()
        if not whole:
            return Part("last block", about)
        if whole[0] == GENERAL_BLOCK_TRANSFER:
            return Part("last block", about, (Part("fault", "blocks hold blocks again"),))
        return Part("last block", about, (self.part(whole, is_sent=is_sent),))

    def _association(self, apdu: bytes, *, is_sent: bool) -> Part:
        decoded = acse.decode(apdu)
        inner: list[Part] = []
        is_password = False
        if isinstance(decoded, acse.Aarq):
            self.client_title = decoded.calling_title or self.client_title
            is_password = decoded.mechanism not in _HIGH
        elif isinstance(decoded, acse.Aare):
            self.server_title = decoded.responding_title or self.server_title
        if information := decoded.user_information:
            try:
                inner.append(self.part(information, is_sent=is_sent))
            except DriverError as error:
                inner.append(Part("fault", str(error)))
        shown = _Shown(hidden=frozenset({"user_information"}))
        parts = []
        for part in shown.fields(decoded):
            if part.name == "authentication value" and is_password and isinstance(decoded, acse.Aarq):
                parts.append(Part(part.name, f"{len(decoded.authentication_value)} octets, {NOT_SHOWN}"))
            else:
                parts.append(part)
        name = _name(decoded).upper()
        if isinstance(decoded, acse.Release):
            name = "RLRE" if decoded.is_response else "RLRQ"
        return Part(name, "", (*parts, *inner))

    def _ciphered(self, apdu: bytes, *, is_sent: bool) -> Part:
        """Show what protects an APDU, and what it holds where there are keys for it."""
        what = _CIPHERED[apdu[0]]
        if apdu[0] in {general.GENERAL_CIPHERING, general.GENERAL_SIGNING}:
            return self._general_form(apdu, is_sent=is_sent)
        title, at = self.client_title if is_sent else self.server_title, 1
        if apdu[0] in {GENERAL_GLO_CIPHERING, GENERAL_DED_CIPHERING}:
            named, at = _string(apdu, 1)
            title = named or title  # left out where both sides know it
        octets, end = _string(apdu, at)
        if end != len(apdu):
            return Part(what, "", (Part("fault", f"{len(apdu) - end} octets too many"),))
        parts = [Part("sender", title.hex())] if title else []
        if len(octets) > HEADER_SIZE:
            parts.append(Part("security control", f"0x{octets[0]:02x}"))
            parts.append(Part("invocation counter", str(int.from_bytes(octets[1:HEADER_SIZE], "big"))))
        keys = self._dedicated if apdu[0] in _DEDICATED else self.keys
        if keys is None and self.keys is not None:
            parts.append(Part("fault", "the association's dedicated key is not in what was opened of the trace"))
        return self._opened(what, keys, title, octets, parts, is_sent=is_sent)

    def _general_form(self, apdu: bytes, *, is_sent: bool) -> Part:
        """Show general-ciphering, opened where it names the global key, and general-signing, whose signature is not verified."""
        decoded = general.decode(apdu)
        parts = list(_Shown().fields(decoded.header))
        if isinstance(decoded, general.GeneralSigning):
            signature = Part("signature", f"{len(decoded.signature)} octets, not verified")
            if not decoded.content or decoded.content[0] in {apdu[0], GENERAL_BLOCK_TRANSFER}:
                return Part(
                    "general-signing", "", (*parts, signature, Part("fault", "holds a signed APDU again, or blocks"))
                )
            return Part("general-signing", "", (*parts, signature, self.part(decoded.content, is_sent=is_sent)))
        parts.append(Part("key", "known to both" if decoded.key_info is None else _name(decoded.key_info)))
        is_global = decoded.key_info is None or decoded.key_info == general.IdentifiedKey(general.GLOBAL_UNICAST)
        keys = self.keys if is_global else None
        header = decoded.header
        return self._opened(
            "general-ciphering", keys, header.originator, decoded.content, parts, is_sent=is_sent, head=header.encode()
        )

    def _opened(
        self,
        what: str,
        keys: Keys | None,
        title: bytes,
        octets: bytes,
        parts: list[Part],
        *,
        is_sent: bool,
        head: bytes = b"",
    ) -> Part:
        """Show what a protected part holds where there are keys for it."""
        if keys is None:
            return Part(what, f"{len(octets)} octets", tuple(parts))
        if len(title) != ciphering.TITLE_SIZE:
            parts.append(Part("fault", "the sender's system title is not known, so it cannot be opened"))
            return Part(what, f"{len(octets)} octets", tuple(parts))
        try:
            agreed = octets[0] & ciphering.AUTHENTICATED_ENCRYPTED if octets else ENCRYPTED
            _, plain = ciphering.decrypt(keys, title, octets, agreed, general=head)
            if not plain or plain[0] in _CIPHERED or plain[0] == GENERAL_BLOCK_TRANSFER:
                raise RemoteProtocolError("holds nothing, a ciphered APDU again, or blocks")
            self._learn(plain)
            opened = self.part(plain, is_sent=is_sent)
        except DriverError as error:
            parts.append(Part("fault", f"not opened: {error}"))
            return Part(what, f"{len(octets)} octets", tuple(parts))
        verified = "not verified" if keys.is_unverified or not agreed & ciphering.AUTHENTICATED else "verified"
        return Part(what, f"opened, {verified}", (*parts, opened))

    def _learn(self, plain: bytes) -> None:
        """Take the dedicated key out of an initiate request that was opened: what comes after is ciphered with it."""
        if plain[0] != _INITIATE or self.keys is None:
            return
        request = xdlms.decode(plain)
        if isinstance(request, xdlms.InitiateRequest) and request.dedicated_key:
            self._dedicated = Keys(request.dedicated_key, self.keys.authentication, self.keys.suite)


def _string(octets: bytes, at: int) -> tuple[bytes, int]:
    """Read an octet-string without tag; give it and the offset behind. Raises `RemoteProtocolError` where it is cut short."""
    length, start = axdr.parse_length(octets, at)
    if start + length > len(octets):
        raise RemoteProtocolError(f"says {length} octets and has {len(octets) - start}")
    return octets[start : start + length], start + length


def _notification(apdu: bytes) -> Part:
    """Show a pushed list."""
    decoded = decode_pushed(apdu)
    shown = _Shown()
    parts = [Part("long invoke id", str(decoded.long_invoke_id))] if apdu[0] == DATA_NOTIFICATION else []
    if decoded.date_time is not None:
        parts.append(shown.part("date time", Data(Tag.DATE_TIME, decoded.date_time.encode())))
    if decoded.octets:
        parts.append(shown.part("body", Data(Tag.OCTET_STRING, decoded.octets)))
    parts += (_pushed(shown, item) for item in decoded.objects)
    return Part(
        "data-notification" if apdu[0] == DATA_NOTIFICATION else "telegram",
        f"{len(decoded.objects)} objects",
        tuple(parts),
    )


def _pushed(shown: "_Shown", item: PushedObject) -> Part:
    name = obis_text(item.logical_name) if item.logical_name else f"item {item.position}"
    part = shown.part(name, item.data)
    if item.scaler_unit is None:
        return part
    return Part(
        part.name, f"{part.value}, 10^{item.scaler_unit.scaler} {item.scaler_unit.unit.symbol}".rstrip(), part.parts
    )


def describe(attribute: xdlms.Attribute) -> str:
    """Write an attribute with its catalogue name: ``register active_energy_import 1-0:1.8.0*255 attribute 2``."""
    kind = CLASSES.get(attribute.class_id, f"class {attribute.class_id}")
    return f"{kind} {obis_text(attribute.logical_name)} attribute {attribute.index}"


def obis_text(obis: Obis) -> str:
    """Write a code, behind its name where the catalogue has one."""
    entry = by_obis(obis)
    return f"{entry.name} {obis}" if entry else str(obis)


class _Shown:
    """Shows values, so many parts at most. ``hidden``: fields left out.  ``is_secret``: data is not shown."""

    def __init__(self, hidden: frozenset[str] = frozenset(), *, is_secret: bool = False) -> None:
        self._hidden = hidden
        self._is_secret = is_secret
        self._left = MAX_PARTS

    def fields(self, value: Any) -> Iterable[Part]:
        """Show the fields of a dataclass that say anything."""
        for item in fields(value):
            content = getattr(value, item.name)
            if item.name in self._hidden or content is None or content == b"" or isinstance(content, xdlms.Attribute):
                continue
            name = item.name.replace("_", " ")
            yield Part(name, f"{len(content)} octets") if name in {"raw", "dedicated key"} else self.part(name, content)

    def part(self, name: str, value: Any) -> Part:
        """Show one value."""
        self._left -= 1
        if isinstance(value, Data):
            return self._data(name, value)
        if isinstance(value, Obis):
            return Part(name, obis_text(value))
        if isinstance(value, xdlms.Attribute):
            return Part(name, describe(value))
        if is_dataclass(value):
            return Part(name, "", tuple(self.fields(value)))
        if isinstance(value, tuple | list):
            return Part(name, f"{len(value)}", self._list("", value))
        return Part(name, _text(value))

    def _list(self, name: str, values: Iterable[Any]) -> tuple[Part, ...]:
        parts: list[Part] = []
        for number, value in enumerate(values, start=1):
            if value is None:
                continue
            if self._left <= 0:
                parts.append(Part("...", "more is not listed"))
                break
            parts.append(self.part(name or str(number), value))
        return tuple(parts)

    def _data(self, name: str, data: Data) -> Part:
        if self._is_secret:
            return Part(name, NOT_SHOWN)
        kind = data.tag.name.lower().replace("_", "-")
        if isinstance(data.value, tuple):
            return Part(name, f"{kind} of {len(data.value)}", self._list("", data.value))
        if isinstance(data.value, bytes):
            return Part(name, f"{kind} {_octets(data)}")
        return Part(
            name, f"{kind} {data.value!r}" if isinstance(data.value, str) else f"{kind} {_text(data.value)}".strip()
        )


def _octets(data: Data) -> str:
    """Show octets as what they are likely to be, behind their digits: a logical name, a date and time, text."""
    octets: bytes = data.value
    digits = octets[:MAX_SHOWN].hex() + (f"... ({len(octets)} octets)" if len(octets) > MAX_SHOWN else "")
    if len(octets) == 6 and (octets[5] == 0xFF or by_obis(Obis.from_bytes(octets))):
        return f"{digits} = {obis_text(Obis.from_bytes(octets))}"
    if data.tag is Tag.DATE_TIME or len(octets) == 12:
        try:
            stamp = CosemDateTime.decode(octets)
            local = stamp.local()
        except DriverError:
            pass
        else:
            deviation = "" if stamp.deviation is None else f" deviation {stamp.deviation} min"
            return f"{digits} = {local.isoformat(' ')}{deviation} status 0x{stamp.status:02x}"
    if octets and all(0x20 <= octet < 0x7F for octet in octets):
        return f"{digits} = {octets[:MAX_SHOWN].decode('ascii')!r}"
    return digits


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Flag):
        return " ".join(item.name.lower().replace("_", "-") for item in type(value) if item in value and item.name)
    if isinstance(value, Enum):
        return value.name.lower().replace("_", "-")
    if isinstance(value, bytes):
        return value[:MAX_SHOWN].hex() + (f"... ({len(value)} octets)" if len(value) > MAX_SHOWN else "")
    return "" if value is None else str(value)


def _name(value: object) -> str:
    """Write ``GetRequest`` as the standard does: ``GET-request``."""
    words: list[str] = []
    for letter in type(value).__name__:
        if letter.isupper():
            words.append("")
        words[-1] += letter
    first = words[0].upper() if words[0] in {"Get", "Set", "Action", "Access"} else words[0].lower()
    return "-".join([first, *(word.lower() for word in words[1:])])
