"""Draw docs/kernels.svg and write the README's table, both from docs/kernels.json: the last line of ``make bench-kernels``.

``make picture-kernels`` measures first. The picture is a dot plot on a logarithmic axis, each dot with its figure; it takes the
reader's colors, light or dark, and fetches nothing.
"""

import json
import math
from html import escape
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
README: Final = HERE.parent / "README.md"
BEGIN: Final = "<!-- Written by `make picture-kernels`. Do not edit. -->"
END: Final = "<!-- To here. -->"
OURS: Final = {
    "avx512": "lane tiles, AVX-512",
    "avx2": "lane tiles, AVX2",
    "sse2": "lane tiles, SSE2",
    "portable": "lane tiles, plain C",
}
RIVALS: Final = {
    "plain_cython": "a plain Cython loop",
    "numba": "the same loop by numba",
    "numpy_blocked": "numpy, blocks in cache",
    "numpy_whole": "numpy, whole arrays",
    "duckdb": "DuckDB",
    "polars": "polars",
    "pandas": "pandas",
}
COPY: Final = {"copyto": "np.copyto as float64 (no work)"}
WIDTH, TOP, ROW, LEFT, RIGHT = 800, 66, 27, 226, 110
DECADES: Final = (1, 10, 100, 1_000)
SPAN: Final = math.log10(2_000)
STYLE: Final = """
  .ground { fill: #ffffff } .figure { stroke: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 }
  .ours { fill: #0969da } .rival { fill: #bc4c00 } .copy { fill: #59636e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .figure { stroke: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #3d444d }
    .ours { fill: #4493f8 } .rival { fill: #f0883e } .copy { fill: #9198a1 }
  }
  text { font: 13px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif }
  .title { font-size: 15px; font-weight: 600 } .figure { font-weight: 600; stroke-width: 4px; paint-order: stroke }
"""


def picture(figures: dict[str, Any]) -> str:
    """Give the SVG. ``figures``: the benchmark's JSON object."""
    speeds: dict[str, float] = figures["mreadings_s"]
    rows = [
        (label, speeds[name], kind)
        for kind, labels in (("copy", COPY), ("ours", OURS), ("rival", RIVALS))
        for name, label in labels.items()
        if name in speeds
    ]
    bottom = TOP + ROW * len(rows)
    height = bottom + 44
    title = "A day of 2,000 meters validated, filled and added up by one thread"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        _text(16, 26, title, "text title"),
        _text(16, 46, "million readings per second of CPU time (median), all results equal to the last digit", "faint"),
    ]
    for decade in DECADES:
        x = _x(decade)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_text(x, bottom + 18, f"{decade:,}", "faint", "middle"))
    parts.append(
        _text((_x(1) + _x(1_000)) / 2, bottom + 36, "logarithmic axis: each line is ten times", "faint", "middle")
    )
    for number, (label, speed, kind) in enumerate(rows):
        middle = TOP + ROW * number + ROW / 2
        parts.append(_text(LEFT - 14, middle + 4.5, label, "text", "end"))
        parts.append(f'<circle class="{kind}" cx="{_x(speed):.1f}" cy="{middle:.1f}" r="6"/>')
        parts.append(_text(_x(speed) + 13, middle + 4.5, _number(speed), "text figure"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def table(figures: dict[str, Any]) -> list[str]:
    """Give the README's table, a line each."""
    speeds: dict[str, float] = figures["mreadings_s"]
    lines = ["| engine, one thread | M readings/s | lane tiles (AVX2) against it |", "|---|---|---|"]
    lines += [f"| {OURS[name]} | {_number(speeds[name])} | |" for name in OURS if name in speeds]
    lines += [
        f"| {label} | {_number(speeds[name])} | {_number(figures[f'vs_{name}'])} times |"
        for name, label in (RIVALS | COPY).items()
    ]
    return lines


def _number(figure: float) -> str:
    """Write a figure to what it is good for."""
    return f"{figure:,.0f}" if figure >= 20 else f"{figure:.1f}" if figure >= 1 else f"{figure:.2f}"


def _x(speed: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(speed) / SPAN


def _text(x: float, y: float, words: str, style: str, anchor: str = "start") -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def main() -> None:
    """Write both."""
    figures = json.loads((HERE / "kernels.json").read_text(encoding="utf-8"))
    (HERE / "kernels.svg").write_text(picture(figures), encoding="utf-8")
    before, begin, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    README.write_text("\n".join([before + begin, "", *table(figures), "", end + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
