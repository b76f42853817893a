"""Reading what a prepayment meter says of its account, and entering a token. IEC 62056-6-2, classes 111, 112, 113 and 115."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from drivers.dlms.objects.interface import InterfaceClass
from drivers.dlms.objects.prepay import (
    ACCOUNT,
    CHARGE,
    CREDIT,
    TOKEN_GATEWAY,
    AccountState,
    ChargeType,
    CreditState,
    CreditType,
    Currency,
    TokenStatus,
    TokenStatusCode,
)
from drivers.dlms.procedures.steps import Procedure, invoke, read
from drivers.errors import CommandDeclined, MeterRefused
from drivers.obis import Obis

MAX_TOKEN = 256  # [octet]
FAILURES = frozenset({
    TokenStatusCode.FORMAT_FAILURE,
    TokenStatusCode.AUTHENTICATION_FAILURE,
    TokenStatusCode.VALIDATION_FAILURE,
    TokenStatusCode.EXECUTION_FAILURE,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class CreditBalance:
    """One credit. ``amount``: in the account's currency."""

    logical_name: Obis
    kind: CreditType
    state: CreditState
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ChargeBalance:
    """One charge. ``paid``, ``last``, ``remaining``: in the account's currency."""

    logical_name: Obis
    kind: ChargeType
    paid: Decimal
    last: Decimal
    remaining: Decimal


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """An account with its credits and charges. The amounts: in ``currency``, exactly."""

    state: AccountState
    currency: Currency
    available: Decimal
    to_clear: Decimal
    debt: Decimal
    credits: tuple[CreditBalance, ...]
    charges: tuple[ChargeBalance, ...]


def read_account(name: Obis) -> Procedure[AccountBalance]:
    """Read an account, and each credit and charge that it refers to. Raises `MeterRefused`, `RemoteProtocolError`."""
    currency = cast("Currency", (yield from read(ACCOUNT, name, "currency")))

    def amount(table: InterfaceClass, of: Obis, which: str) -> Procedure[Decimal]:
        count = cast("int", (yield from read(table, of, which)))
        return Decimal(count).scaleb(currency.scale)

    state = cast("AccountState", (yield from read(ACCOUNT, name, "account_mode_and_status")))
    available = yield from amount(ACCOUNT, name, "available_credit")
    to_clear = yield from amount(ACCOUNT, name, "amount_to_clear")
    debt = yield from amount(ACCOUNT, name, "aggregated_debt")
    credits_found = []
    for one in cast("tuple[Obis, ...]", (yield from read(ACCOUNT, name, "credit_reference_list"))):
        kind: Any = yield from read(CREDIT, one, "credit_type")
        condition: Any = yield from read(CREDIT, one, "credit_status")
        balance = yield from amount(CREDIT, one, "current_credit_amount")
        credits_found.append(CreditBalance(one, kind, condition, balance))
    charges = []
    for one in cast("tuple[Obis, ...]", (yield from read(ACCOUNT, name, "charge_reference_list"))):
        kind = yield from read(CHARGE, one, "charge_type")
        paid = yield from amount(CHARGE, one, "total_amount_paid")
        last = yield from amount(CHARGE, one, "last_collection_amount")
        remaining = yield from amount(CHARGE, one, "total_amount_remaining")
        charges.append(ChargeBalance(one, kind, paid, last, remaining))
    return AccountBalance(state, currency, available, to_clear, debt, tuple(credits_found), tuple(charges))


def enter_token(name: Obis, token: bytes) -> Procedure[TokenStatus]:
    """Hand a token to the gateway, once, and give what it says became of it.

    The token is worth money: it is in no message. Raises `MeterRefused` where the gateway says that it failed.
    """
    if not 0 < len(token) <= MAX_TOKEN:
        raise CommandDeclined(f"token of {len(token)} octets; 1 to {MAX_TOKEN} are taken")
    yield from invoke(TOKEN_GATEWAY, name, "enter", token)
    status = cast("TokenStatus", (yield from read(TOKEN_GATEWAY, name, "token_status")))
    if status.code in FAILURES:
        raise MeterRefused(f"token: {status.code.name.lower().replace('_', ' ')}", int(status.code))
    return status
