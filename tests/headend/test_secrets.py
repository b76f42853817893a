"""References to secrets: followed when needed, never repeated."""

from pathlib import Path

import pytest

from headend.registry.cells import parse_options
from headend.secrets import SECRET_OPTIONS, SecretError, Secrets

KEY = "000102030405060708090A0B0C0D0E0F"


def test_environment_reference_gives_the_password() -> None:
    assert Secrets({"PASSWORD": "hunter2"}).password("env:PASSWORD") == b"hunter2"


def test_file_reference_gives_the_content_without_the_closing_newline(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b" hunter2 \r\n")

    assert Secrets({}).password(f"file:{tmp_path / 'password'}") == b" hunter2 "


def test_key_is_hexadecimal_of_16_or_32_octets() -> None:
    secrets = Secrets({"KEY": KEY, "SPACED": "00:01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f", "LONG": KEY * 2})

    assert secrets.key("env:KEY") == secrets.key("env:SPACED") == bytes(range(16))
    assert len(secrets.key("env:LONG")) == 32


def test_empty_references_are_no_secrets() -> None:
    credentials = Secrets({}).credentials()

    assert (credentials.password, credentials.encryption_key, credentials.authentication_key) == (b"", b"", b"")


@pytest.mark.parametrize("value", [KEY[:-1], KEY[:-2], "x" * 32, KEY + "00"])
def test_what_is_no_key_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secrets({"KEY": value}).key("env:KEY")

    assert value not in str(caught.value)
    assert str(caught.value).startswith("env:KEY: is no key; write 32 hexadecimal digits (AES-128), or 64 ")


@pytest.mark.parametrize("reference", ["hunter2", "vault:hunter2", "env:", "env: hunter2"])
def test_secret_written_out_is_refused_without_repeating_it(reference: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secrets({}).password(reference)

    assert "hunter2" not in str(caught.value)


def test_reference_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_bytes(b"x" * 5_000)
    secrets = Secrets({"EMPTY": ""})

    for reference in ("env:NONE", "env:EMPTY", *(f"file:{tmp_path / name}" for name in ("none", "empty", "large"))):
        with pytest.raises(SecretError, match=reference):
            secrets.password(reference)


def test_repr_holds_nothing() -> None:
    secrets = Secrets({"PASSWORD": "hunter2"})

    assert repr(secrets) == "Secrets()"
    assert "hunter2" not in repr(secrets.credentials("env:PASSWORD"))


def test_references_in_a_meter_s_options_are_followed(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nabc\n")
    secrets = Secrets({"KEK": KEY, "METER": "0123"})

    found = secrets.credentials(
        options={
            "signing_key": f"file:{tmp_path / 'ours.pem'}",
            "meter_signing_key": "env:METER",
            "master_key": "env:KEK",
        }
    )

    assert found.master_key == bytes(range(16))
    assert found.curve_keys.signing.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert (found.curve_keys.meter_signing, found.curve_keys.agreement) == (b"0123", b"")
    for shown in (repr(found), str(found), repr(found.curve_keys)):
        assert "abc" not in shown
        assert "0123" not in shown
    with pytest.raises(SecretError, match="env:NOWHERE"):
        secrets.credentials(options={"agreement_key": "env:NOWHERE"})


@pytest.mark.parametrize("name", SECRET_OPTIONS)
def test_a_key_written_out_among_the_options_is_refused_without_repeating_it(name: str) -> None:
    with pytest.raises(ValueError, match=f"option {name} is not a reference") as caught:
        parse_options(f"client=1;{name}={KEY}")

    assert KEY not in str(caught.value)
    assert parse_options(f"{name}=env:KEY")[name] == "env:KEY"
