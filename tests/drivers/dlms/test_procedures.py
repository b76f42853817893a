"""What is done to a meter in several steps, step by step and without any line: clock, supply, image, account, token."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlms import axdr
from drivers.dlms.axdr import Data, Tag
from drivers.dlms.datetime import CosemDateTime
from drivers.dlms.descriptor import Attribute
from drivers.dlms.objects.catalogue import INTERFACE_CLASSES
from drivers.dlms.objects.images import ImageStatus
from drivers.dlms.objects.prepay import (
    AccountMode,
    AccountState,
    AccountStatus,
    ChargeType,
    CreditState,
    CreditType,
    Currency,
    CurrencyUnit,
    TokenStatus,
    TokenStatusCode,
)
from drivers.dlms.objects.supply import ControlMode, ControlState
from drivers.dlms.procedures.clock import set_clock
from drivers.dlms.procedures.image import NEXT, Found, Image, Phase, transfer_image
from drivers.dlms.procedures.prepayment import enter_token, read_account
from drivers.dlms.procedures.steps import Invoke, Procedure, Read, Wait, Write
from drivers.dlms.procedures.supply import switch_supply
from drivers.errors import (
    CommandDeclined,
    CommandUnverified,
    ConnectionLost,
    DriverError,
    MeterRefused,
    RemoteProtocolError,
)
from drivers.facts import ClockReading
from drivers.obis import Obis
from drivers.profile import ClockProfile

T = TypeVar("T")
NOW = 1_795_212_000  # 2026-11-20T22:00:00Z
CLOCK, SWITCH, FIRMWARE = Obis(0, 0, 1, 0, 0), Obis(0, 0, 96, 3, 10), Obis(0, 0, 44, 0, 0)
ACCOUNT, CREDIT, CHARGE, GATEWAY = (
    Obis(0, 0, 19, 0, 0),
    Obis(0, 0, 19, 10, 0),
    Obis(0, 0, 19, 20, 0),
    Obis(0, 0, 19, 40, 0),
)
UTC, VIENNA = ClockProfile(), ClockProfile(zone="Europe/Vienna")


@dataclass
class Table:
    """A meter of one attribute each: ``values`` by class, object and attribute; ``told``: what changed it, in order."""

    values: dict[tuple[int, Obis, int], Data | MeterRefused] = field(default_factory=dict)
    methods: dict[tuple[int, int], Callable[["Table", Data], None]] = field(default_factory=dict)
    told: list[tuple[int, int]] = field(default_factory=list)
    waited: float = 0.0

    def put(self, class_id: int, name: Obis, /, **values: object) -> None:
        table = INTERFACE_CLASSES[class_id, 0]
        for which, value in values.items():
            self.values[class_id, name, table.attribute(which).index] = table.encode(which, value)

    def take(self, step: object) -> Data | None:
        match step:
            case Read(Attribute(class_id, name, index)):
                found = self.values.get((class_id, name, index), MeterRefused("object undefined", 4))
                if isinstance(found, MeterRefused):
                    raise found
                return axdr.decode(axdr.encode(found))
            case Write(Attribute(class_id, name, index), data):
                self.told.append((class_id, index))
                self.values[class_id, name, index] = axdr.decode(axdr.encode(data))
                return None
            case Invoke(Attribute(class_id, _, index), parameters):
                self.told.append((class_id, index))
                method = self.methods.get((class_id, index))
                if method is not None:
                    method(self, axdr.decode(axdr.encode(parameters)))
                return None
            case Wait(seconds):
                self.waited += seconds
                return None
        raise AssertionError(step)

    def run(self, procedure: Procedure[T]) -> T:
        try:
            step = next(procedure)
            while True:
                try:
                    reply = self.take(step)
                except DriverError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(reply)
        except StopIteration as finished:
            value: T = finished.value
            return value


def clock_meter(offset: int, *, deviation: int | None = 0, status: int = 0) -> Table:
    meter = Table()
    local = CosemDateTime.from_utc(NOW + offset - (deviation or 0) * 60)
    meter.put(8, CLOCK, time=replace(local, deviation=deviation, status=status))
    return meter


def test_a_clock_within_the_bound_is_set_and_read_back() -> None:
    meter = clock_meter(-50)

    done = meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=60))

    assert done.before == ClockReading(NOW - 50, NOW)
    assert done.after == ClockReading(NOW, NOW)
    assert meter.told == [(8, 2)]


@pytest.mark.parametrize("offset", [61, -61, 86_400])
def test_a_clock_beyond_the_bound_is_left_as_it_is(offset: int) -> None:
    meter = clock_meter(offset)

    with pytest.raises(CommandDeclined, match=rf"off by {offset} s, more than the 60 s"):
        meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=60))

    assert meter.told == []


def test_a_clock_that_is_right_is_not_told_anything() -> None:
    meter = clock_meter(0)

    done = meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=60))

    assert done.before is done.after
    assert meter.told == []


def test_a_clock_is_written_with_the_deviation_and_daylight_saving_it_has_just_used_itself() -> None:
    meter = clock_meter(-30, deviation=-120, status=0x80)

    meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=60))

    written = meter.values[8, CLOCK, 2]
    assert isinstance(written, Data)
    assert written.value == bytes.fromhex("07ea0b15ff00000000ff8880")  # midnight at UTC+2, daylight saving


def test_a_clock_without_deviation_is_written_in_the_zone_of_its_profile() -> None:
    meter = clock_meter(3600 - 40, deviation=None, status=0)  # 23:00 in Vienna is 22:00 UTC

    done = meter.run(set_clock(CLOCK, VIENNA, lambda: NOW, limit=60))

    written = meter.values[8, CLOCK, 2]
    assert isinstance(written, Data)
    assert written.value == bytes.fromhex("07ea0b14ff17000000800000")
    assert done.before.offset == -40


def test_a_clock_that_the_meter_does_not_set_is_told() -> None:
    meter = clock_meter(-50)
    before = meter.values[8, CLOCK, 2]
    original = meter.take

    def stubborn(step: object) -> Data | None:
        reply = original(step)
        meter.values[8, CLOCK, 2] = before
        return reply

    meter.take = stubborn  # type: ignore[method-assign]

    with pytest.raises(CommandUnverified, match="was off by -50 s and is off by -50 s"):
        meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=60))


def test_a_clock_is_shifted_by_as_much_as_the_method_allows_and_no_more() -> None:
    meter = clock_meter(-50)

    def shift(table: Table, by: Data) -> None:
        assert by == Data(Tag.LONG, 50)
        table.put(8, CLOCK, time=CosemDateTime.from_utc(NOW))

    meter.methods[8, 6] = shift

    assert meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=60, way="shift")).after.offset == 0
    assert meter.told == [(8, 6)]
    with pytest.raises(CommandDeclined, match="shift_time moves it 900 s at most"):
        clock_meter(1000).run(set_clock(CLOCK, UTC, lambda: NOW, limit=3600, way="shift"))


@given(st.integers(-600, 600), st.sampled_from([-120, -60, 0, 300, None]))
def test_no_clock_is_ever_moved_by_more_than_the_bound(offset: int, deviation: int | None) -> None:
    meter = clock_meter(offset, deviation=deviation)

    try:
        done = meter.run(set_clock(CLOCK, UTC, lambda: NOW, limit=300))
    except CommandDeclined:
        assert abs(offset) > 300
        assert meter.told == []
    else:
        assert abs(offset) <= 300
        assert done.after.offset == 0


def supply_meter(mode: ControlMode = ControlMode.MODE_1, *, slow: int = 0) -> Table:
    meter = Table()
    meter.put(70, SWITCH, output_state=True, control_state=ControlState.CONNECTED, control_mode=mode)
    pending: list[dict[str, object]] = []

    def to(**values: object) -> Callable[[Table, Data], None]:
        def happen(table: Table, parameter: Data) -> None:
            assert parameter == axdr.integer(0)
            if slow:
                pending.append(values)
            else:
                table.put(70, SWITCH, **values)

        return happen

    meter.methods[70, 1] = to(output_state=False, control_state=ControlState.DISCONNECTED)
    ready = mode in {ControlMode.MODE_1, ControlMode.MODE_3}
    meter.methods[70, 2] = (
        to(output_state=False, control_state=ControlState.READY_FOR_RECONNECTION)
        if ready
        else to(output_state=True, control_state=ControlState.CONNECTED)
    )
    original = meter.take

    def take(step: object) -> Data | None:
        if isinstance(step, Wait) and pending and meter.waited + step.seconds >= slow:
            meter.put(70, SWITCH, **pending.pop())
        return original(step)

    meter.take = take  # type: ignore[method-assign]
    return meter


def test_supply_is_disconnected_once_and_read_back() -> None:
    meter = supply_meter()

    done = meter.run(switch_supply(SWITCH, "disconnected"))

    assert (done.was_sent, done.before.is_connected, done.after.is_connected) == (True, True, False)
    assert meter.told == [(70, 1)]


def test_supply_that_is_as_wanted_is_not_switched() -> None:
    meter = supply_meter()

    assert not meter.run(switch_supply(SWITCH, "connected")).was_sent
    assert meter.told == []


@pytest.mark.parametrize(
    ("mode", "state"),
    [(ControlMode.MODE_2, ControlState.CONNECTED), (ControlMode.MODE_3, ControlState.READY_FOR_RECONNECTION)],
)
def test_a_reconnection_ends_connected_or_ready_for_a_hand_at_the_switch(
    mode: ControlMode, state: ControlState
) -> None:
    meter = supply_meter(mode)
    meter.run(switch_supply(SWITCH, "disconnected"))

    assert meter.run(switch_supply(SWITCH, "connected")).after.control_state is state


def test_a_slow_switch_is_looked_at_again_and_told_but_once() -> None:
    meter = supply_meter(slow=3)

    assert meter.run(switch_supply(SWITCH, "disconnected")).after.control_state is ControlState.DISCONNECTED
    assert meter.told == [(70, 1)]


def test_a_switch_that_does_not_move_is_told_and_not_tried_again() -> None:
    meter = supply_meter(slow=1000)

    with pytest.raises(CommandUnverified, match="was to be disconnected, and is connected"):
        meter.run(switch_supply(SWITCH, "disconnected"))

    assert meter.told == [(70, 1)]


def test_a_switch_in_a_mode_without_transitions_is_not_told_anything() -> None:
    meter = supply_meter(ControlMode.NONE)

    with pytest.raises(CommandDeclined, match="mode 0"):
        meter.run(switch_supply(SWITCH, "disconnected"))

    assert meter.told == []


@dataclass
class ImageMeter(Table):
    """A meter that takes an image. ``cut_after``: blocks until the line is cut; ``loses``: blocks it forgets, once each."""

    block_size: int = 10
    cut_after: int = 10**9
    loses: set[int] = field(default_factory=set)
    blocks: dict[int, bytes] = field(default_factory=dict)
    header: tuple[bytes, int] = (b"", 0)
    slow: int = 0
    verdict: ImageStatus = ImageStatus.VERIFICATION_SUCCESSFUL
    has_list: bool = True

    def __post_init__(self) -> None:
        self.put(18, FIRMWARE, image_transfer_enabled=True, image_block_size=self.block_size)
        self.put(18, FIRMWARE, image_transfer_status=ImageStatus.NOT_INITIATED, image_to_activate_info=())
        table = INTERFACE_CLASSES[18, 0]

        def initiate(_: Table, data: Data) -> None:
            found = table.decode_parameter(1, data)
            self.header, self.blocks = (found.identifier, found.size), {}
            self.put(18, FIRMWARE, image_transfer_status=ImageStatus.INITIATED)
            self.show()

        def block(_: Table, data: Data) -> None:
            if self.cut_after <= 0:
                raise ConnectionLost("cut")
            self.cut_after -= 1
            found = table.decode_parameter(2, data)
            if found.number in self.loses:
                self.loses.remove(found.number)
            else:
                self.blocks[found.number] = found.octets
            self.show()

        def verify(_: Table, data: Data) -> None:
            assert data == axdr.integer(0)
            if self.slow:
                self.put(18, FIRMWARE, image_transfer_status=ImageStatus.VERIFICATION_INITIATED)
                raise MeterRefused("temporary failure", 2)
            self.put(18, FIRMWARE, image_transfer_status=self.verdict)

        def activate(_: Table, data: Data) -> None:
            assert data == axdr.integer(0)
            self.put(18, FIRMWARE, image_transfer_status=ImageStatus.ACTIVATION_SUCCESSFUL)

        self.methods |= {(18, 1): initiate, (18, 2): block, (18, 3): verify, (18, 4): activate}

    def show(self) -> None:
        count = -(-self.header[1] // self.block_size)
        bits = "".join("01"[number in self.blocks] for number in range(count))
        first = bits.find("0")
        self.put(18, FIRMWARE, image_first_not_transferred_block_number=count if first < 0 else first)
        if self.has_list:
            self.put(18, FIRMWARE, image_transferred_blocks_status=bits)

    def take(self, step: object) -> Data | None:
        if isinstance(step, Wait) and self.slow:
            self.slow -= 1
            if not self.slow:
                self.put(18, FIRMWARE, image_transfer_status=self.verdict)
        return super().take(step)

    @property
    def octets(self) -> bytes:
        return b"".join(self.blocks[number] for number in sorted(self.blocks))


IMAGE = Image(b"FW-2", bytes(range(95)))


def test_an_image_is_transferred_verified_and_activated() -> None:
    meter = ImageMeter()

    done = meter.run(transfer_image(FIRMWARE, IMAGE))

    assert (meter.octets, meter.header) == (IMAGE.octets, (b"FW-2", 95))
    assert (done.status, done.blocks, done.sent) == (ImageStatus.ACTIVATION_SUCCESSFUL, 10, tuple(range(10)))
    assert meter.told == [(18, 1), *[(18, 2)] * 10, (18, 3), (18, 4)]


@given(st.integers(0, 9), st.booleans())
def test_a_transfer_cut_anywhere_is_taken_up_without_sending_a_block_twice(cut: int, has_list: bool) -> None:
    meter = ImageMeter(cut_after=cut, has_list=has_list)
    with pytest.raises(ConnectionLost):
        meter.run(transfer_image(FIRMWARE, IMAGE))
    meter.cut_after = 100

    done = meter.run(transfer_image(FIRMWARE, IMAGE, is_begun=True))

    assert done.sent == tuple(range(cut, 10))
    assert meter.octets == IMAGE.octets
    assert meter.told.count((18, 1)) == 1


@given(st.sets(st.integers(0, 9)))
def test_blocks_that_got_lost_are_sent_again_and_no_others(lost: set[int]) -> None:
    meter = ImageMeter(loses=set(lost))

    done = meter.run(transfer_image(FIRMWARE, IMAGE))

    assert done.sent == (*range(10), *sorted(lost))
    assert meter.octets == IMAGE.octets


def test_a_meter_that_takes_its_time_verifying_is_waited_for() -> None:
    meter = ImageMeter(slow=7)

    assert meter.run(transfer_image(FIRMWARE, IMAGE)).status is ImageStatus.ACTIVATION_SUCCESSFUL
    assert meter.told.count((18, 3)) == 1
    assert meter.waited == 7 * 5.0


def test_a_meter_that_never_ends_verifying_is_given_up() -> None:
    with pytest.raises(CommandUnverified, match="60 times in phase await_verified"):
        ImageMeter(slow=10**6).run(transfer_image(FIRMWARE, IMAGE))


def test_an_image_that_does_not_verify_is_not_activated() -> None:
    meter = ImageMeter(verdict=ImageStatus.VERIFICATION_FAILED)

    with pytest.raises(CommandUnverified, match="phase verify: the meter says verification failed"):
        meter.run(transfer_image(FIRMWARE, IMAGE))

    assert (18, 4) not in meter.told


def test_an_image_may_be_left_verified_and_activated_later() -> None:
    meter = ImageMeter()

    assert meter.run(transfer_image(FIRMWARE, IMAGE, activates=False)).status is ImageStatus.VERIFICATION_SUCCESSFUL
    assert (18, 4) not in meter.told
    assert meter.run(transfer_image(FIRMWARE, IMAGE, is_begun=True)).sent == ()
    assert meter.told[-1] == (18, 4)


def test_a_meter_that_loses_the_same_block_for_ever_is_given_up() -> None:
    meter = ImageMeter()
    meter.methods[18, 2] = lambda *_: None

    with pytest.raises(CommandUnverified, match="3 times in phase send"):
        meter.run(transfer_image(FIRMWARE, IMAGE))


@pytest.mark.parametrize(("field_name", "value", "said"), [
    ("image_transfer_enabled", False, "not enabled"),
    ("image_block_size", 0, "image block size 0"),
    ("image_block_size", 2**32 - 1, "image block size 4294967295"),
])  # fmt: skip
def test_a_transfer_that_cannot_be_is_not_begun(field_name: str, value: object, said: str) -> None:
    meter = ImageMeter()
    meter.put(18, FIRMWARE, **{field_name: value})

    with pytest.raises(CommandDeclined, match=said):
        meter.run(transfer_image(FIRMWARE, IMAGE))

    assert meter.told == []


def test_a_list_of_blocks_shorter_than_the_image_is_an_error() -> None:
    meter = ImageMeter(cut_after=3)
    with pytest.raises(ConnectionLost):
        meter.run(transfer_image(FIRMWARE, IMAGE))
    meter.put(18, FIRMWARE, image_transferred_blocks_status="111")

    with pytest.raises(RemoteProtocolError, match="3 image blocks in image_transferred_blocks_status, expected 10"):
        meter.run(transfer_image(FIRMWARE, IMAGE, is_begun=True))


def test_no_transition_leads_to_activation_but_from_a_verified_image() -> None:
    assert {found for (_, found), phase in NEXT.items() if phase is Phase.ACTIVATE} == {Found.VERIFIED}
    assert all(phase is not Phase.DONE for (_, found), phase in NEXT.items() if found is not Found.ACTIVATED)


def test_an_image_without_content_or_name_is_refused_and_its_octets_are_in_no_text() -> None:
    for identifier, octets in ((b"", b"1"), (b"1", b""), (b"1" * 256, b"1")):
        with pytest.raises(ValueError, match="image of"):
            Image(identifier, octets)
    assert "octets" not in repr(IMAGE)


def prepay_meter() -> Table:
    meter = Table()
    meter.put(
        111,
        ACCOUNT,
        account_mode_and_status=AccountState(AccountMode.PREPAYMENT, AccountStatus.ACTIVE),
        available_credit=1234,
        amount_to_clear=0,
        aggregated_debt=-5,
        credit_reference_list=(CREDIT,),
        charge_reference_list=(CHARGE,),
        currency=Currency("EUR", -2, CurrencyUnit.MONETARY),
    )
    meter.put(112, CREDIT, credit_type=CreditType.TOKEN, credit_status=CreditState.IN_USE, current_credit_amount=1234)
    meter.put(
        113,
        CHARGE,
        charge_type=ChargeType.CONSUMPTION_BASED,
        total_amount_paid=100,
        last_collection_amount=7,
        total_amount_remaining=0,
    )
    return meter


def test_an_account_is_read_exactly_with_its_credits_and_charges() -> None:
    found = prepay_meter().run(read_account(ACCOUNT))

    assert (found.available, found.debt, found.currency.name) == (Decimal("12.34"), Decimal("-0.05"), "EUR")
    assert found.credits[0].amount == Decimal("12.34")
    assert (found.charges[0].paid, found.charges[0].last) == (Decimal("1.00"), Decimal("0.07"))


def token_meter(code: TokenStatusCode) -> Table:
    meter = Table()
    meter.methods[115, 1] = lambda table, _: table.put(115, GATEWAY, token_status=TokenStatus(code, "0101"))
    return meter


def test_a_token_is_entered_once_and_its_status_read() -> None:
    meter = token_meter(TokenStatusCode.EXECUTION_OK)

    assert meter.run(enter_token(GATEWAY, b"01234567890123456789")) == TokenStatus(TokenStatusCode.EXECUTION_OK, "0101")
    assert meter.told == [(115, 1)]


def test_a_token_that_fails_is_a_refusal_that_does_not_show_it() -> None:
    with pytest.raises(MeterRefused, match="token: authentication failure") as caught:
        token_meter(TokenStatusCode.AUTHENTICATION_FAILURE).run(enter_token(GATEWAY, b"01234567890123456789"))

    assert caught.value.code == 5
    assert "0123" not in repr(Invoke(Attribute(115, GATEWAY, 1), axdr.octet_string(b"0123")))


@pytest.mark.parametrize("token", [b"", b"0" * 257])
def test_a_token_of_an_impossible_length_is_not_sent(token: bytes) -> None:
    meter = token_meter(TokenStatusCode.RECEIVED)

    with pytest.raises(CommandDeclined, match="1 to 256"):
        meter.run(enter_token(GATEWAY, token))

    assert meter.told == []
