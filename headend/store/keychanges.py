"""Changes of meters' keys, durable at each phase. Each method that writes needs a transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drivers.dlms.keychange import OPEN, Phase, Step, move
from drivers.facts import UtcSeconds
from headend.errors import StoreError
from headend.store.registrywrites import RegistryWrites

_COLUMNS = (
    "id, end_device_id, phase, old_encryption_ref, old_authentication_ref, old_fingerprint, new_encryption_ref,"
    " new_authentication_ref, new_fingerprint, moved_at, crc"
)


@dataclass(frozen=True, slots=True)
class KeyPairRef:
    """A pair of keys by reference (``env:NAME``, ``file:PATH``), and the fingerprint that tells it from another behind the same words."""

    encryption_ref: str
    authentication_ref: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeyChange:
    """How far the change of a meter's keys has come. ``moved_at``: when it came there [s UTC]."""

    id: int
    end_device_id: int
    phase: Phase
    old: KeyPairRef
    new: KeyPairRef
    moved_at: UtcSeconds


class KeyChanges(RegistryWrites):
    """What is under way, and what was."""

    def key_changes(self, end_device_id: int) -> list[KeyChange]:
        """List the changes of one meter's keys, oldest first."""
        query = f"SELECT {_COLUMNS} FROM key_change WHERE end_device_id = ? ORDER BY id"  # noqa: S608  constant columns
        rows = self._sealed("key_change", query, (end_device_id,))
        return [_change(row) for row in rows]

    def key_change_under_way(self, end_device_id: int) -> KeyChange | None:
        """Find the change that a meter is in."""
        return next((change for change in self.key_changes(end_device_id) if change.phase in OPEN), None)

    def begin_key_change(self, end_device_id: int, old: KeyPairRef, new: KeyPairRef, user: str) -> KeyChange:
        """Note that a meter's keys are to be changed, before anything is sent. Raises `StoreError` where one is under way."""
        self._require_transaction()
        if self.key_change_under_way(end_device_id) is not None:
            raise StoreError("a key change of this meter is under way; finish it first")
        if old.fingerprint == new.fingerprint:
            raise StoreError("the new keys are the old ones")
        now = self._now()
        number = self._insert(
            "INSERT INTO key_change (end_device_id, phase, old_encryption_ref, old_authentication_ref, old_fingerprint,"
            " new_encryption_ref, new_authentication_ref, new_fingerprint, began_at, moved_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                end_device_id, Phase.PREPARED.value, old.encryption_ref, old.authentication_ref, old.fingerprint,
                new.encryption_ref, new.authentication_ref, new.fingerprint, now, now,
            ),
        )  # fmt: skip
        self.audit(user, "key change", f"end device {end_device_id}", Phase.PREPARED.value)
        return self._key_change(number)

    def move_key_change(self, number: int, step: Step, user: str) -> KeyChange:
        """Take a change one step on. The one that drops the old keys names the new ones in the registry, at once.

        Raises `LocalProtocolError` for a step that does not fit, `StoreError` for a change that is not there.
        """
        self._require_transaction()
        change = self._key_change(number)
        phase = move(change.phase, step)
        self._run("UPDATE key_change SET phase = ?, moved_at = ? WHERE id = ?", (phase.value, self._now(), number))
        if step is Step.DROP_OLD:
            self._run(
                "UPDATE end_device SET encryption_key_ref = ?, authentication_key_ref = ? WHERE id = ?",
                (change.new.encryption_ref, change.new.authentication_ref, change.end_device_id),
            )
        self.audit(user, "key change", f"end device {change.end_device_id}", f"{step.value}: {phase.value}")
        return self._key_change(number)

    def _key_change(self, number: int) -> KeyChange:
        rows = self._sealed("key_change", f"SELECT {_COLUMNS} FROM key_change WHERE id = ?", (number,))  # noqa: S608  constant columns
        if not rows:
            raise StoreError(f"there is no key change {number}")
        return _change(rows[0])


def _change(row: Sequence[Any]) -> KeyChange:
    number, device, phase, *refs, moved_at = row
    try:
        return KeyChange(number, device, Phase(phase), KeyPairRef(*refs[:3]), KeyPairRef(*refs[3:]), moved_at)
    except ValueError:
        raise StoreError(f"key change {number} is in phase {phase!r}, which this program does not know") from None
