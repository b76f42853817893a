"""Turn a terminal's output (ANSI, on stdin) into an SVG picture: ``make picture`` draws docs/demo.svg with it."""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 116
FONT = "Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def main(target: Path, title: str) -> None:
    """Write the picture of what stdin holds. No font is fetched: the reader's own monospaced one is used."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="standard")
    console.print(Text.from_ansi(sys.stdin.read()))
    svg = console.export_svg(title=title, font_aspect_ratio=0.61)
    start, end = svg.index("@font-face"), svg.rindex("@font-face")
    end = svg.index("}", end) + 1
    target.write_text(svg[:start] + svg[end:].replace("Fira Code", FONT.split(",", 1)[0]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
