"""Payment: Account, Credit, Charge, Token gateway. IEC 62056-6-2, clause 5.6 (payment metering).

Amounts are counts in the account's currency: ``amount * 10^scale`` of it. A charge's price has a scale of its own.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from drivers.dlms.axdr import Tag
from drivers.dlms.objects.interface import AttributeType, InterfaceClass, MethodType
from drivers.dlms.objects.kinds import (
    DATE_TIME,
    DOUBLE_LONG,
    DOUBLE_LONG_UNSIGNED,
    INTEGER,
    LONG,
    LONG_UNSIGNED,
    NAME,
    OCTETS,
    UNSIGNED,
    Bits,
    Enumerated,
    Flags,
    Grouped,
    Repeated,
    Text,
)
from drivers.dlms.objects.schedules import VALUE_DEFINITION, ValueDefinition
from drivers.obis import Obis


class AccountMode(IntEnum):
    """Whether one pays afterwards or before."""

    CREDIT = 1
    PREPAYMENT = 2


class AccountStatus(IntEnum):
    """Whether the account is used."""

    NEW = 1
    ACTIVE = 2
    CLOSED = 3


class CurrencyUnit(IntEnum):
    """What an account counts."""

    TIME = 0
    CONSUMPTION = 1
    MONETARY = 2


class CreditStatus(IntFlag):
    """State of an account's credit, bit 0 first."""

    IN_CREDIT = 0x01
    LOW_CREDIT = 0x02
    NEXT_CREDIT_ENABLED = 0x04
    NEXT_CREDIT_SELECTABLE = 0x08
    NEXT_CREDIT_SELECTED = 0x10
    SELECTABLE_CREDIT_IN_USE = 0x20
    OUT_OF_CREDIT = 0x40
    RESERVED = 0x80


class CreditType(IntEnum):
    """Kind of a credit."""

    TOKEN = 0
    RESERVED = 1
    EMERGENCY = 2
    TIME_BASED = 3
    CONSUMPTION_BASED = 4


class CreditState(IntEnum):
    """State of one credit."""

    ENABLED = 0
    SELECTABLE = 1
    SELECTED = 2
    IN_USE = 3
    EXHAUSTED = 4


class ChargeType(IntEnum):
    """What a charge is collected for."""

    CONSUMPTION_BASED = 0
    TIME_BASED = 1
    PAYMENT_EVENT_BASED = 2


class TokenDelivery(IntEnum):
    """How a token came."""

    REMOTE = 0
    LOCAL = 1
    MANUAL = 2


class TokenStatusCode(IntEnum):
    """What became of a token."""

    FORMAT_OK = 0
    AUTHENTICATION_OK = 1
    VALIDATION_OK = 2
    EXECUTION_OK = 3
    FORMAT_FAILURE = 4
    AUTHENTICATION_FAILURE = 5
    VALIDATION_FAILURE = 6
    EXECUTION_FAILURE = 7
    RECEIVED = 8


@dataclass(frozen=True, slots=True)
class AccountState:
    """Mode and status of an account."""

    mode: AccountMode
    status: AccountStatus


@dataclass(frozen=True, slots=True)
class CreditCharge:
    """Which charge is collected from which credit, and when: while disconnected, limited, in friendly credit."""

    credit: Obis
    charge: Obis
    collection: str


@dataclass(frozen=True, slots=True)
class TokenShare:
    """Which share of a token goes to a credit. [%]"""

    credit: Obis
    proportion: int


@dataclass(frozen=True, slots=True)
class Currency:
    """What amounts are counted in."""

    name: str
    scale: int
    unit: CurrencyUnit


@dataclass(frozen=True, slots=True)
class ChargeScaling:
    """Powers of ten of the commodity that is charged for, and of its price."""

    commodity: int
    price: int


@dataclass(frozen=True, slots=True)
class ChargePrice:
    """Price of one unit under an index (a tariff)."""

    index: bytes
    price: int


@dataclass(frozen=True, slots=True)
class UnitCharge:
    """What is charged, and how much for each unit."""

    scaling: ChargeScaling
    commodity: ValueDefinition
    prices: tuple[ChargePrice, ...]


@dataclass(frozen=True, slots=True)
class TokenStatus:
    """What became of the last token. ``data``: the gateway's own bits."""

    code: TokenStatusCode
    data: str


PRICES = Repeated(Grouped(ChargePrice, index=OCTETS, price=LONG), 255)
UNIT_CHARGE = Grouped(
    UnitCharge,
    scaling=Grouped(ChargeScaling, commodity=INTEGER, price=INTEGER),
    commodity=VALUE_DEFINITION,
    prices=PRICES,
)
ACCOUNT = InterfaceClass(
    111,
    0,
    "account",
    (
        AttributeType(
            2,
            "account_mode_and_status",
            Grouped(AccountState, mode=Enumerated(AccountMode), status=Enumerated(AccountStatus)),
        ),
        AttributeType(3, "current_credit_in_use", UNSIGNED),
        AttributeType(4, "current_credit_status", Flags(CreditStatus, Tag.BIT_STRING)),
        AttributeType(5, "available_credit", DOUBLE_LONG, scaled_by=15),
        AttributeType(6, "amount_to_clear", DOUBLE_LONG, scaled_by=15),
        AttributeType(7, "clearance_threshold", DOUBLE_LONG, is_writable=True, scaled_by=15),
        AttributeType(8, "aggregated_debt", DOUBLE_LONG, scaled_by=15),
        AttributeType(9, "credit_reference_list", Repeated(NAME, 255), is_writable=True),
        AttributeType(10, "charge_reference_list", Repeated(NAME, 255), is_writable=True),
        AttributeType(
            11,
            "credit_charge_configuration",
            Repeated(Grouped(CreditCharge, credit=NAME, charge=NAME, collection=Bits(3)), 255),
            is_writable=True,
        ),
        AttributeType(
            12,
            "token_gateway_configuration",
            Repeated(Grouped(TokenShare, credit=NAME, proportion=UNSIGNED), 255),
            is_writable=True,
        ),
        AttributeType(13, "account_activation_time", DATE_TIME, is_writable=True),
        AttributeType(14, "account_closure_time", DATE_TIME, is_writable=True),
        AttributeType(
            15,
            "currency",
            Grouped(
                Currency,
                name=Text((Tag.UTF8_STRING, Tag.VISIBLE_STRING, Tag.OCTET_STRING)),
                scale=INTEGER,
                unit=Enumerated(CurrencyUnit),
            ),
            is_writable=True,
        ),
        AttributeType(16, "low_credit_threshold", DOUBLE_LONG, is_writable=True, scaled_by=15),
        AttributeType(17, "next_credit_available_threshold", DOUBLE_LONG, is_writable=True, scaled_by=15),
        AttributeType(18, "max_provision", LONG_UNSIGNED, is_writable=True, scaled_by=15),
        AttributeType(19, "max_provision_period", DOUBLE_LONG, is_writable=True, unit="s"),
    ),
    (MethodType(1, "activate_account"), MethodType(2, "close_account"), MethodType(3, "reset_account")),
)
CREDIT = InterfaceClass(
    112,
    0,
    "credit",
    (
        AttributeType(2, "current_credit_amount", DOUBLE_LONG),
        AttributeType(3, "credit_type", Enumerated(CreditType), is_writable=True),
        AttributeType(4, "priority", UNSIGNED, is_writable=True),
        AttributeType(5, "warning_threshold", DOUBLE_LONG, is_writable=True),
        AttributeType(6, "limit", DOUBLE_LONG, is_writable=True),
        AttributeType(7, "credit_configuration", Bits(5), is_writable=True),
        AttributeType(8, "credit_status", Enumerated(CreditState)),
        AttributeType(9, "preset_credit_amount", DOUBLE_LONG, is_writable=True),
        AttributeType(10, "credit_available_threshold", DOUBLE_LONG, is_writable=True),
        AttributeType(11, "period", DATE_TIME, is_writable=True),
    ),
    (
        MethodType(1, "update_amount", DOUBLE_LONG),
        MethodType(2, "set_amount_to_value", DOUBLE_LONG),
        MethodType(3, "invoke_credit"),
    ),
)
CHARGE = InterfaceClass(
    113,
    0,
    "charge",
    (
        AttributeType(2, "total_amount_paid", DOUBLE_LONG),
        AttributeType(3, "charge_type", Enumerated(ChargeType), is_writable=True),
        AttributeType(4, "priority", UNSIGNED, is_writable=True),
        AttributeType(5, "unit_charge_active", UNIT_CHARGE),
        AttributeType(6, "unit_charge_passive", UNIT_CHARGE, is_writable=True),
        AttributeType(7, "unit_charge_activation_time", DATE_TIME, is_writable=True),
        AttributeType(8, "period", DOUBLE_LONG_UNSIGNED, is_writable=True, unit="s"),
        AttributeType(9, "charge_configuration", Bits(2), is_writable=True),
        AttributeType(10, "last_collection_time", DATE_TIME),
        AttributeType(11, "last_collection_amount", DOUBLE_LONG),
        AttributeType(12, "total_amount_remaining", DOUBLE_LONG),
        AttributeType(13, "proportion", LONG_UNSIGNED, is_writable=True),
    ),
    (
        MethodType(1, "update_unit_charge", PRICES),
        MethodType(2, "activate_passive_unit_charge"),
        MethodType(3, "collect"),
        MethodType(4, "update_total_amount_remaining", DOUBLE_LONG),
        MethodType(5, "set_total_amount_remaining", DOUBLE_LONG),
    ),
)
TOKEN_GATEWAY = InterfaceClass(
    115,
    0,
    "token gateway",
    (
        AttributeType(2, "token", OCTETS),
        AttributeType(3, "token_time", DATE_TIME),
        AttributeType(4, "token_description", Repeated(OCTETS, 255)),
        AttributeType(5, "token_delivery_method", Enumerated(TokenDelivery)),
        AttributeType(6, "token_status", Grouped(TokenStatus, code=Enumerated(TokenStatusCode), data=Bits())),
    ),
    (MethodType(1, "enter", OCTETS),),
)
CLASSES = (ACCOUNT, CREDIT, CHARGE, TOKEN_GATEWAY)
