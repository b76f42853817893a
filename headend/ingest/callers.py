"""Who calls: what a message says of its meter, compared with the registry. Pure but for the secrets it is handed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from drivers.contract import Credentials
from drivers.dlms.layouts import Meaning
from drivers.dlms.notification import PushedNames
from drivers.dlms.unprotect import PushKeys
from drivers.errors import SecurityError
from drivers.obis import Obis
from drivers.profile import MeterProfile
from headend.errors import RegistryError
from headend.registry.model import EndDevice

TITLE_OPTION = "system_title"
SOURCE_OPTION = "caller"
MAX_SHOWN = 40

Credential = Callable[[EndDevice], Credentials]


class UnknownCaller(RegistryError):
    """Nobody registered calls like that, or two do, or what a message says of its sender contradicts itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A registered meter that may call, and its model."""

    device: EndDevice
    profile: MeterProfile

    @property
    def is_authentication_withheld(self) -> bool:
        """Say whether the utility gives out no authentication key, so that no tag can be verified."""
        call, dlms = self.profile.call, self.profile.dlms
        found = call or dlms
        return found is not None and found.authentication_key == "withheld"

    @property
    def must_cipher(self) -> bool:
        """Say whether a plain message would be weaker than agreed: the meter has a key."""
        return bool(self.device.encryption_key_ref)

    @property
    def declared(self) -> Mapping[Obis, Meaning]:
        """What the profile says of objects whose scaler and unit the meter does not send."""
        found: dict[Obis, Meaning] = {}
        if self.profile.dlms is not None:
            for register in self.profile.dlms.registers:
                if register.scaler_unit is not None:
                    found[register.logical_name] = Meaning(register.obis, register.scaler_unit)
        if self.profile.call is not None:
            for called in self.profile.call.objects:
                found[called.logical_name] = Meaning(called.obis, called.scaler_unit)
        return found


class Callers:
    """The registry as seen from the door: meters by system title, name, serial number and place they call from.

    A meter may call if its profile is of the protocol dlms or has a ``[call]`` table. Its options may name its
    ``system_title`` (16 hexadecimal digits) and the address it calls from (``caller``).
    """

    def __init__(
        self, devices: Iterable[EndDevice], profiles: Mapping[str, MeterProfile], credentials: Credential
    ) -> None:
        self._credentials = credentials
        self._by_title: dict[str, list[Caller]] = {}
        self._by_name: dict[str, list[Caller]] = {}
        self._by_source: dict[str, list[Caller]] = {}
        for device in devices:
            profile = profiles.get(device.profile)
            if profile is None or (profile.call is None and profile.dlms is None):
                continue
            caller = Caller(device, profile)
            for name in {device.name, device.serial, device.name.rpartition(":")[2]} - {""}:
                self._by_name.setdefault(name, []).append(caller)
            if title := device.options.get(TITLE_OPTION):
                self._by_title.setdefault(title.lower(), []).append(caller)
            if source := device.options.get(SOURCE_OPTION):
                self._by_source.setdefault(source, []).append(caller)

    def keys_for(self, system_title: bytes) -> PushKeys | None:
        """Give the keys of the meter with a system title; None where there is no such meter, or it has none.

        Raises `UnknownCaller` where two have it, and what following the references raises.
        """
        caller = _only(self._by_title.get(system_title.hex(), []), f"system title {system_title.hex()}")
        if caller is None or not caller.must_cipher:
            return None
        credentials = self._credentials(caller.device)
        if caller.is_authentication_withheld:
            return PushKeys(credentials.encryption_key, is_authentication_withheld=True)
        return PushKeys(credentials.encryption_key, credentials.authentication_key)

    def find(self, system_title: bytes, names: PushedNames, source: str) -> Caller:
        """Find the one registered meter that a message is of.

        All that the message says of its sender must mean one meter; what names no registered meter is passed over if
        something else does. The address it comes from counts only where the message names nobody. Raises `UnknownCaller`,
        and `SecurityError` for a plain message of a meter that has keys.
        """
        said = {"logical device name": names.logical_device_name, "meter id": names.meter_id}
        found: dict[str, Caller] = {}
        if caller := _only(self._by_title.get(system_title.hex(), []), f"system title {system_title.hex()}"):
            found[f"system title {system_title.hex()}"] = caller
        for what, name in said.items():
            if caller := _only(self._by_name.get(name, []), f"{what} {name[:MAX_SHOWN]!r}"):
                found[f"{what} {name[:MAX_SHOWN]!r}"] = caller
        is_nameless = not system_title and not any(said.values())
        if is_nameless and (caller := _only(self._by_source.get(source, []), f"address {source}")):
            found[f"address {source}"] = caller
        if not found:
            shown = [f"{what} {name[:MAX_SHOWN]!r}" for what, name in said.items() if name]
            if system_title:
                shown.insert(0, f"system title {system_title.hex()}")
            raise UnknownCaller(f"no registered meter may call as {', '.join(shown) or f'address {source}'}")
        if len({caller.device.id for caller in found.values()}) > 1:
            raise UnknownCaller(
                "the message names several meters: "
                + ", ".join(f"{what} is {caller.device.name}" for what, caller in found.items())
            )
        caller = next(iter(found.values()))
        if caller.device.disabled:
            raise UnknownCaller(f"{caller.device.name} is disabled")
        if caller.must_cipher and not system_title:
            raise SecurityError(f"{caller.device.name} has keys, and this message came plain")
        return caller


def _only(callers: list[Caller], what: str) -> Caller | None:
    if len(callers) > 1:
        raise UnknownCaller(f"{what} is that of {callers[0].device.name} and {callers[1].device.name}")
    return callers[0] if callers else None
