"""Changes one meter's keys: prepared, sent once, proven by an association of the new keys, and only then the old are dropped.

Each phase is durable before what follows from it is done, so that after a crash, or a lost answer, `KeyChanger.settle` finds out
from the meter which keys it has. For those who execute an approved command alone; nothing here is retried by itself.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from drivers.contract import ByteStream, Credentials, Endpoint, SessionContext
from drivers.dlms.ciphering import AUTHENTICATED, CONTROL, Keys
from drivers.dlms.driver import carry_out
from drivers.dlms.keychange import Phase, Step, move
from drivers.dlms.procedures.keys import fingerprint, transfer
from drivers.dlms.session import Conversation
from drivers.dlms.settings import settings_of
from drivers.errors import MeterRefused, OutcomeUnknown, SecurityError
from headend.collect.ports import CredentialSource, Writer
from headend.errors import StoreError
from headend.registry.model import EndDevice
from headend.store.keychanges import KeyChange, KeyPairRef

EndpointOf = Callable[[EndDevice, Credentials], Endpoint]
OpenStream = Callable[[], AbstractAsyncContextManager[ByteStream]]


class KeyChanger:
    """Changes the keys of one meter. ``endpoint_of``: how it is reached with given credentials.  ``user``: for the audit trail."""

    def __init__(
        self,
        writer: Writer,
        secrets: CredentialSource,
        endpoint_of: EndpointOf,
        open_stream: OpenStream,
        context: SessionContext,
        device: EndDevice,
        user: str,
    ) -> None:
        self._writer = writer
        self._secrets = secrets
        self._endpoint_of = endpoint_of
        self._open_stream = open_stream
        self._context = context
        self._device = device
        self._user = user

    async def begin(self, encryption_ref: str, authentication_ref: str) -> KeyChange:
        """Note the references of the new keys; nothing is sent. Raises `SecretError`, `SecurityError`, `StoreError`."""
        device = self._device
        old = self._pair(device.encryption_key_ref, device.authentication_key_ref)
        new = self._pair(encryption_ref, authentication_ref)
        return await self._writer.submit(lambda store: store.begin_key_change(device.id, old, new, self._user))

    async def send(self) -> KeyChange:
        """Give the meter the new keys, once, and settle the change.

        What cannot be said beforehand (a wrong reference, a meter that the old keys do not open) leaves it prepared. Raises
        `LocalProtocolError` where it was sent before.
        """
        change = await self._under_way()
        move(change.phase, Step.SEND)
        old, new = self._credentials(change.old), self._credentials(change.new)
        endpoint = self._endpoint_of(self._device, old)
        async with self._open_stream() as stream:
            conversation = Conversation(stream, endpoint, self._context, may_write=True)
            try:
                await conversation.open()
                procedure = transfer(old.master_key, _keys(new, endpoint))
                change = await self._move(change, Step.SEND)
                # Whatever the meter says, or does not: it is asked afterwards which keys it has.
                with suppress(MeterRefused, OutcomeUnknown, SecurityError):
                    await carry_out(conversation, procedure, self._context.timeout_scale)
            finally:
                await conversation.close()
        return await self.settle()

    async def settle(self) -> KeyChange:
        """Bring a change that was sent to its end, as far as the meter answers; after a crash, too.

        Raises `TransportError` and its kin where the meter is not reached: the change stays as it is. Where it answers to neither
        pair the change stays sent, both pairs are kept, and `SecurityError` is raised: a person must look.
        """
        change = await self._under_way()
        if change.phase is Phase.PREPARED:
            return change
        if change.phase is Phase.SENT:
            for pair, step in ((change.new, Step.NEW_ANSWERS), (change.old, Step.OLD_ANSWERS)):
                if await self._answers(pair):
                    change = await self._move(change, step)
                    break
            else:
                await self._move(change, Step.NEITHER_ANSWERS)
                raise SecurityError(f"meter {self._device.name} answers neither to its old keys nor to the new ones")
        return await self._move(change, Step.DROP_OLD) if change.phase is Phase.PROVEN else change

    async def cancel(self) -> KeyChange:
        """Give up a change of which nothing was sent. Raises `LocalProtocolError` for another."""
        return await self._move(await self._under_way(), Step.CANCEL)

    async def _answers(self, pair: KeyPairRef) -> bool:
        """Say whether the meter opens a fresh association with a pair, high-level security passed."""
        endpoint = self._endpoint_of(self._device, self._credentials(pair))
        async with self._open_stream() as stream:
            conversation = Conversation(stream, endpoint, self._context)
            try:
                await conversation.open()
            except (SecurityError, MeterRefused):
                return False
            finally:
                await conversation.close()
        return True

    async def _under_way(self) -> KeyChange:
        change = await self._writer.submit(lambda store: store.key_change_under_way(self._device.id))
        if change is None:
            raise StoreError(f"meter {self._device.name} is in no key change")
        return change

    async def _move(self, change: KeyChange, step: Step) -> KeyChange:
        return await self._writer.submit(lambda store: store.move_key_change(change.id, step, self._user))

    def _follow(self, encryption_ref: str, authentication_ref: str) -> Credentials:
        device = self._device
        return self._secrets.credentials(device.password_ref, encryption_ref, authentication_ref, device.options)

    def _pair(self, encryption_ref: str, authentication_ref: str) -> KeyPairRef:
        found = self._follow(encryption_ref, authentication_ref)
        endpoint = self._endpoint_of(self._device, found)
        keys = _keys(found, endpoint)
        if keys.is_unverified or not found.master_key:
            raise SecurityError(f"meter {self._device.name}: a key change needs both keys and a master key")
        if not CONTROL[settings_of(endpoint).dlms.agreed_security] & AUTHENTICATED:
            raise SecurityError(f"meter {self._device.name}: only an authenticated association proves a key")
        return KeyPairRef(encryption_ref, authentication_ref, fingerprint(keys))

    def _credentials(self, pair: KeyPairRef) -> Credentials:
        """Follow the references of a pair. Raises `SecurityError` where another pair stands behind them by now."""
        if self._pair(pair.encryption_ref, pair.authentication_ref).fingerprint != pair.fingerprint:
            raise SecurityError(
                f"meter {self._device.name}: {pair.encryption_ref} and {pair.authentication_ref} lead to other keys than when "
                "the key change began"
            )
        return self._follow(pair.encryption_ref, pair.authentication_ref)


def _keys(credentials: Credentials, endpoint: Endpoint) -> Keys:
    suite = settings_of(endpoint).dlms.security_suite
    return Keys(credentials.encryption_key, credentials.authentication_key, suite)
