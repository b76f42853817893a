"""What the documents say can be done: commands, options, targets, links, examples."""

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from docs import kernel_picture
from docs.scorecard import AGAINST, STATES, table
from drivers.profile import (
    CalledObject,
    CallProfile,
    ChannelProfile,
    ClockProfile,
    DlmsColumn,
    DlmsProfile,
    DlmsRegister,
    Dlt645Column,
    Dlt645Events,
    Dlt645Freeze,
    Dlt645LoadRecord,
    Dlt645Point,
    Dlt645Profile,
    Iec62056Column,
    Iec62056LoadProfile,
    Iec62056Log,
    Iec62056Point,
    Iec62056Profile,
    MeterProfile,
    TimingProfile,
)
from drivers.profile_parser import parse_profile
from headend.cli.main import cli
from headend.profiles import load_documents, load_profiles
from headend.registry.table import parse
from simulators.main import main as simulate

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = ROOT / "docs" / "decisions"
_BLOCK: re.Pattern[str] = re.compile(r"^ {0,3}```(\w*)\n(.*?)^ {0,3}```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}.*\n?)+", re.MULTILINE)
_INLINE = re.compile(r"`(headend(?:-simulate)? [^`|]+)`")
ROOTS: dict[str, click.Command] = {"headend": cli, "headend-simulate": simulate}
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
_END = re.compile(r"\s(?:#|>|&&|\|).*$")


def commands(text: str) -> Iterator[str]:
    """Each command line that a document shows, in blocks with and without prompt, and in running text."""
    blocks = [body for _, body in _BLOCK.findall(text)]
    rest = _BLOCK.sub("", text)
    blocks += _INDENTED.findall(rest)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            found = line.strip().removeprefix("$ ")
            if found.split(" ", 1)[0] in ROOTS and " " in found:
                yield _END.sub("", found)
    yield from _INLINE.findall(rest)


def shown() -> list[tuple[str, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), command)
        for path in DOCUMENTS
        for command in commands(path.read_text(encoding="utf-8"))
    ]


def check_command(line: str) -> click.Command:
    """Walk a command line through the tree of commands; say what does not exist. Arguments are not judged."""
    root, *arguments = shlex.split(line)
    words, command = iter(arguments), ROOTS[root]
    context = click.Context(command, info_name=root)
    for word in words:
        if word.startswith("-") and word != "-":
            name, has_value, _ = word.partition("=")
            options = {
                text: option
                for option in command.get_params(context)
                for text in (*option.opts, *option.secondary_opts)
            }
            assert name in options, f"{line!r}: {context.command_path} has no option {name}"
            option = options[name]
            if not has_value and not (isinstance(option, click.Option) and (option.is_flag or option.count)):
                assert next(words, None) is not None, f"{line!r}: {name} wants a value"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found is not None, f"{line!r}: {context.command_path} has no command {word}"
            command, context = found, click.Context(found, parent=context, info_name=word)
    return command


def leaves(command: click.Command, context: click.Context, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        yield path
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaves(found, click.Context(found, parent=context, info_name=name), (*path, name))


@pytest.mark.parametrize(("document", "line"), shown())
def test_shown_command_exists_with_its_options(document: str, line: str) -> None:
    assert document
    check_command(line)


def test_documents_show_commands_at_all() -> None:
    assert len(shown()) > 20


@pytest.mark.parametrize("wrong", ["headend nothing", "headend export csv --form 2026-01-01", "headend --wrong status"])
def test_a_command_that_does_not_exist_is_found_out(wrong: str) -> None:
    with pytest.raises(AssertionError, match="has no"):
        check_command(wrong)


def test_every_command_has_help_and_is_shown_in_some_document() -> None:
    texts = " ".join(line for _, line in shown())

    for path in leaves(cli, click.Context(cli), ()):
        assert check_command("headend " + " ".join(path)).help
        assert re.search(rf"headend (?:--\S+ \S+ )*{' '.join(path)}\b", texts), (
            f"headend {' '.join(path)} is shown nowhere"
        )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_no_machine(path: Path) -> None:
    assert not re.search(r"(?<![\w.])/(?:work|root|tmp|home)/", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()

    for block in [body for _, body in _BLOCK.findall(path.read_text(encoding="utf-8"))]:
        for target in _MAKE.findall(block):
            pattern = "bench-%" if target.startswith("bench-") else target
            assert re.search(rf"^{re.escape(pattern)}:", makefile, re.MULTILINE), f"{path.name}: make {target}"


def test_every_decision_is_linked_from_the_index() -> None:
    linked = set(_LINK.findall((DECISIONS / "README.md").read_text()))
    pages = {path.name for path in DECISIONS.glob("*.md")} - {"README.md"}

    assert pages == linked


@pytest.mark.parametrize("path", sorted(DECISIONS.glob("*.md")), ids=lambda path: path.name)
def test_decision_has_all_its_parts(path: Path) -> None:
    if path.name == "README.md":
        return
    headings = [line.removeprefix("## ").lower() for line in path.read_text().splitlines() if line.startswith("## ")]

    for part in ("objective", "is", "is not", "prior art", "open questions"):
        assert any(heading == part or heading.startswith(f"{part} ") for heading in headings), f"{part} is missing"


def test_pages_named_in_the_code_exist() -> None:
    named = {
        match
        for folder in ("headend", "drivers", "kernels", "simulators", "config")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".pyi", ".pyx", ".pxd", ".sql", ".toml"}
        for match in re.findall(r"docs/[a-z/-]+\.md", path.read_text(encoding="utf-8"))
    }

    assert named
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


SCORECARDS = sorted((ROOT / "docs" / "scorecards").glob("*.toml"))
_PUBLISHED = re.compile(r"tests/data|import .*\bcases\b|\.cases import|\.pushes import|published", re.IGNORECASE)


@pytest.mark.parametrize("path", SCORECARDS, ids=lambda path: path.stem)
def test_a_scorecard_is_what_its_data_says(path: Path) -> None:
    assert path.with_suffix(".md").read_text(encoding="utf-8") == table(card_of(path)), "run make scorecards"


def test_picture_and_table_of_the_kernels_are_what_the_benchmark_said() -> None:
    figures = json.loads((ROOT / "docs" / "kernels.json").read_text(encoding="utf-8"))

    picture, table = kernel_picture.picture(figures), "\n".join(kernel_picture.table(figures))

    assert (ROOT / "docs" / "kernels.svg").read_text(encoding="utf-8") == picture, "run python -m docs.kernel_picture"
    assert f"\n{table}\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert figures["identical"] is True


@pytest.mark.parametrize("path", SCORECARDS, ids=lambda path: path.stem)
def test_every_feature_that_is_done_names_a_test_that_exists_and_is_worth_what_it_says(path: Path) -> None:
    features = card_of(path)["features"]
    for feature in features:
        nodes = feature.get("proof", [])
        assert set(feature) <= {"group", "name", "state", "against", "proof", "comment"}, feature["name"]
        assert feature["state"] in STATES, feature["name"]
        assert ("against" in feature) == (feature["state"] == "done"), feature["name"]
        for node in nodes:
            file, _, name = node.partition("::")
            assert re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (
                node
            )
        match feature["state"], feature.get("against"):
            case "exempt", _:
                assert feature.get("comment"), feature["name"]
            case "done", "peer":
                assert any("/peers/" in node or "gurux" in node or "independent" in node for node in nodes), feature[
                    "name"
                ]
            case "done", "vectors":
                files = [(ROOT / node.partition("::")[0]).read_text(encoding="utf-8") for node in nodes]
                assert any(_PUBLISHED.search(text) for text in files), feature["name"]
            case "done", against:
                assert nodes, feature["name"]
                assert against in AGAINST, feature["name"]
    assert len({feature["name"] for feature in features}) == len(features)


def card_of(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def block(language: str) -> str:
    """First code block of a language in the contributing page."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks: list[tuple[str, str]] = _BLOCK.findall(text)
    return next(body for name, body in blocks if name == language)


def test_profile_shown_to_contributors_is_valid() -> None:
    documents, _ = load_documents()
    documents["acme-e40"] = tomllib.loads(block("toml"))

    profile = parse_profile("acme-e40", documents)

    assert profile.dlms is not None
    assert profile.dlms.authentication == "hls5"


def test_meter_table_shown_to_contributors_is_valid() -> None:
    documents, _ = load_documents()
    documents["acme-e40"] = tomllib.loads(block("toml"))
    profiles = {**load_profiles(), "acme-e40": parse_profile("acme-e40", documents)}

    parsed = parse(block("csv"), profiles)

    assert not parsed.faults
    assert [row.meter for row in parsed.rows] == ["ACM0000000004711"]


def test_every_field_of_a_dlms_profile_is_explained_to_contributors() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("### A DLMS meter") : text.index("### Read one")]
    renamed = {"scaler_unit": "scaler", "name": "inherits", "modbus": "modbus-base", "push": "push-base"}

    kinds = (
        MeterProfile,
        ChannelProfile,
        ClockProfile,
        TimingProfile,
        DlmsProfile,
        DlmsColumn,
        DlmsRegister,
        CallProfile,
        CalledObject,
    )
    for kind in kinds:
        for field in fields(kind):
            assert renamed.get(field.name, field.name) in section, f"{kind.__name__}.{field.name}"


def test_every_field_of_a_dlt645_profile_is_explained_to_contributors() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("A **DL/T 645** model") : text.index("An **IEC 62056-21** model")]

    for kind in (Dlt645Profile, Dlt645Point, Dlt645Column, Dlt645LoadRecord, Dlt645Freeze, Dlt645Events):
        for field in fields(kind):
            name = {"scaler_unit": "scaler"}.get(field.name, field.name)
            assert f"`{name}`" in section, f"{kind.__name__}.{field.name}"


def test_every_field_of_an_iec_62056_21_profile_is_explained_to_contributors() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text[text.index("An **IEC 62056-21** model") : text.index("A concentrator that **pushes**")]

    for kind in (Iec62056Profile, Iec62056Point, Iec62056Column, Iec62056LoadProfile, Iec62056Log):
        for field in fields(kind):
            name = {"scaler_unit": "scaler"}.get(field.name, field.name)
            assert f"`{name}`" in section, f"{kind.__name__}.{field.name}"
