"""Telegrams of P1 interfaces at the door: ciphered ones, and those without a checksum."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivers.facts import RegisterValue
from drivers.obis import resolve
from headend.ingest.desk import CallSummary, Desk
from headend.profiles import load_profiles
from headend.registry import table
from headend.secrets import Secrets
from headend.store.store import Store
from headend.store.writer import GroupCommitWriter
from kernels.quality import Rule
from tests.drivers.dlms.pushes import read
from tests.headend.ingest.test_dial_in import NOW, At

DATA = Path(__file__).resolve().parents[2] / "data" / "p1"
V5, V3 = (
    bytes.fromhex((DATA / name / "frame.hex").read_text())
    for name in ("p1-052-dsmr-5-iskra-mt382", "p1-dsmr-3-iskra-mt382")
)
TITLE, KEY = b"SMGTEST1", bytes(range(16))
AUTHENTICATION = bytes.fromhex("00112233445566778899aabbccddeeff")  # the same in all Smarty meters, by their operator
PROFILES = load_profiles()
SECRETS = {"EK": KEY.hex(), "AK": AUTHENTICATION.hex()}
IMPORT = resolve("active_energy_import_tariff_1")


def ciphered(telegram: bytes, key: bytes = KEY, counter: int = 7) -> bytes:
    """Protect a telegram by the words of IEC 62056-5-3, 9.2.7, with the AES-GCM of another hand: DB, title, length, 30, counter."""
    head = b"\x30" + counter.to_bytes(4, "big")
    sealed = AESGCM(key).encrypt(TITLE + head[1:], telegram, head[:1] + AUTHENTICATION)[:-4]  # a tag of 12 octets
    content = head + sealed
    return b"\xdb\x08" + TITLE + b"\x82" + len(content).to_bytes(2, "big") + content


async def taken(
    path: Path, profile: str, *frames: bytes, keys: str = ",,"
) -> tuple[Sequence[RegisterValue], list[str]]:
    """What is stored of a meter's import, and why messages were set aside."""
    row = f"UP1,ANY:K8EG004046395507,{profile},2009-01-01,UTC,{keys}"
    parsed = table.parse(
        f"usage_point,meter,profile,from,zone,encryption_key,authentication_key,options\n{row}\n", PROFILES
    )
    assert not parsed.faults
    with Store.open(path / "headend.db", lambda: NOW) as store:
        table.apply(store, parsed.rows)
        writer = GroupCommitWriter(store)
        desk = Desk(writer.submit, PROFILES, Secrets(SECRETS), At(), CallSummary())
        for frame in frames:
            found, errors = read(frame)
            assert not errors
            for pushed in found:
                await desk.take(pushed, "127.0.0.1")
        await writer.close()
        device = store.end_device("ANY:K8EG004046395507").id
        return store.registers(device, IMPORT, 0, 2 * NOW), [entry.reason for entry in store.set_asides()]


CIPHERED = f"env:EK,env:AK,system_title={TITLE.hex()}"


async def test_a_ciphered_telegram_is_stored_once(tmp_path: Path) -> None:
    values, reasons = await taken(tmp_path, "dsmr-p1", ciphered(V5), ciphered(V5), keys=CIPHERED)

    assert [(value.count, value.rules) for value in values] == [(4426, Rule(0))]
    assert len(reasons) == 1
    assert "sent before" in reasons[0]


@pytest.mark.parametrize("frame", [ciphered(V5, bytes(16)), ciphered(V5)[:-1] + b"\x00", V5])
async def test_a_telegram_under_another_key_altered_or_plain_is_not_stored(tmp_path: Path, frame: bytes) -> None:
    values, reasons = await taken(tmp_path, "dsmr-p1", frame, keys=CIPHERED)

    assert not values
    assert len(reasons) == 1


async def test_a_telegram_without_a_checksum_is_refused_where_the_model_has_one(tmp_path: Path) -> None:
    values, reasons = await taken(tmp_path, "dsmr-p1", V3)

    assert not values
    assert "call.checksum" in reasons[0]


async def test_a_value_says_that_no_checksum_vouches_for_it(tmp_path: Path) -> None:
    values, reasons = await taken(tmp_path, "dsmr-2-p1", V3)

    assert [(value.count, value.rules, value.captured_at) for value in values] == [(12345678, Rule.UNPROTECTED, NOW)]
    assert not reasons
