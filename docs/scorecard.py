"""Write docs/scorecards/NAME.md from docs/scorecards/NAME.toml: what a driver does, and what proves it."""

import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "scorecards"
AGAINST: Final = {
    "vectors": "published vectors",
    "peer": "{peer}",
    "simulated": "our simulated meter only, not yet proved against a peer",
}
"""What a proof is worth, by the word of the data file, best first. Each file names its peer."""
STATES: Final = ("done", "todo", "exempt")


def table(card: dict[str, Any]) -> str:
    """Give the page of one scorecard. ``card``: the parsed data file."""
    features: list[dict[str, Any]] = card["features"]
    counts = Counter(feature["state"] for feature in features)
    proofs = Counter(feature.get("against", "") for feature in features if feature["state"] == "done")
    against = {word: text.format(peer=card["peer"]) for word, text in AGAINST.items()}
    lines = [
        f"# {card['title']}",
        "",
        "<!-- Written by `make scorecards` from the data file of the same name. Do not edit. -->",
        "",
        card["introduction"].strip(),
        "",
        f"{len(features)} features: "
        + ", ".join(f"{counts[state]} {state}" for state in STATES)
        + ". Of those done "
        + ", ".join(f"{proofs[word]} are proved against {against[word]}" for word in against)
        + ".",
    ]
    for group in dict.fromkeys(feature["group"] for feature in features):
        lines += [
            "",
            f"## {group}",
            "",
            "| feature | state | proved against | proof | remarks |",
            "|---|---|---|---|---|",
        ]
        for feature in features:
            if feature["group"] == group:
                proof = "<br>".join(
                    f"[{_short(node)}](../../{node.partition('::')[0]})" for node in feature.get("proof", ())
                )
                worth = against[feature["against"]] if "against" in feature else ""
                cells = (feature["name"], feature["state"], worth, proof, feature.get("comment", ""))
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _short(node: str) -> str:
    """Write a test as a sentence."""
    return node.partition("::")[2].removeprefix("test_").replace("_", " ")


def main() -> None:
    """Write every page."""
    for path in sorted(FOLDER.glob("*.toml")):
        path.with_suffix(".md").write_text(table(tomllib.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
        sys.stdout.write(f"{path.with_suffix('.md').name} written\n")


if __name__ == "__main__":
    main()
