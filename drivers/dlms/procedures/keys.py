"""Giving a meter new keys, for a key change (`drivers.dlms.keychange`). IEC 62056-6-2, class 64."""

import hmac
from typing import Final

from drivers.dlms.agreement import wrap_key
from drivers.dlms.ciphering import Keys
from drivers.dlms.objects.security import SECURITY_SETUP_1, KeyId, WrappedKey
from drivers.dlms.procedures.steps import Procedure, invoke
from drivers.obis import Obis

SECURITY_SETUP: Final = Obis(0, 0, 43, 0, 0)
"""Of the current association. IEC 62056-6-1, 6.2.40."""


def fingerprint(keys: Keys) -> str:
    """Name a pair of keys without revealing it, 16 hexadecimal digits: so that another pair behind a reference is noticed."""
    return hmac.digest(keys.encryption, b"headend key change" + keys.authentication, "sha256")[:8].hex()


def transfer(master_key: bytes, new: Keys, setup: Obis = SECURITY_SETUP) -> Procedure[None]:
    """Give the meter both new keys, wrapped by its master key. It takes effect with the next association.

    Raises `MeterRefused` where the meter does not take them, `SecurityError` without a master key, `OutcomeUnknown` where no
    answer came.
    """
    wrapped = (
        WrappedKey(KeyId.GLOBAL_UNICAST_ENCRYPTION, wrap_key(master_key, new.encryption)),
        WrappedKey(KeyId.AUTHENTICATION, wrap_key(master_key, new.authentication)),
    )
    yield from invoke(SECURITY_SETUP_1, setup, "key_transfer", wrapped)
