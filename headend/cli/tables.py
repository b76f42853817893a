"""Lays rows out for people: one line each where that fits, wrapped between words where it must, else one field a line.

Never breaks a word: a meter's name or a link must be copied whole. Pure; twenty thousand rows take well under a second.
"""

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len


def _plain(word: str) -> str:
    return word


def lay_out(
    titles: Sequence[str],
    is_number: Sequence[bool],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    is_ascii: bool = False,
    style: Callable[[str], str] = _plain,
) -> Iterator[str]:
    """Give the lines of a table, or of records where ``width`` [characters] is too narrow for one.

    ``is_number``: by column, numbers stand to the right.  ``style``: colours a cell that is one word of a verdict.
    """
    gap, rule, crossing = (" | ", "-", "-+-") if is_ascii else ("   ", "─", "───")
    rows = [[_clean(cell) for cell in row] for row in rows]
    columns = [
        [title, *cells]
        for title, cells in zip(titles, zip(*rows, strict=True) if rows else [()] * len(titles), strict=True)
    ]
    room = width - len(gap) * (len(titles) - 1)
    widths = _widths(columns, room)
    if widths is None:
        yield from _records(titles, rows, style)
        return

    def line(cells: Sequence[str]) -> str:
        padded = (
            _pad(cell, size, style, right=right) for cell, size, right in zip(cells, widths, is_number, strict=True)
        )
        return gap.join(padded)

    for index, row in enumerate([titles, *rows]):
        wrapped = [_wrap(cell, size) for cell, size in zip(row, widths, strict=True)]
        height = max(map(len, wrapped), default=1)
        for number in range(height):
            yield line([part[number] if number < len(part) else "" for part in wrapped])
        if index == 0:
            yield crossing.join(rule * size for size in widths)


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Give each column its width within ``room`` [characters]; None where not even the longest words fit."""
    natural = [max(map(_length, cells)) for cells in columns]
    if sum(natural) <= room:
        return natural
    widths = [max(_length(word) for cell in cells for word in (cell.split() or [""])) for cells in columns]
    spare = room - sum(widths)
    if spare < 0:
        return None
    wanting = sorted(range(len(columns)), key=lambda index: natural[index] - widths[index])
    for done, index in enumerate(wanting):
        more = min(natural[index] - widths[index], spare // (len(wanting) - done))
        widths[index] += more
        spare -= more
    return widths


def _records(titles: Sequence[str], rows: Sequence[Sequence[str]], style: Callable[[str], str]) -> Iterator[str]:
    """Give one field a line; fields that are empty are left out."""
    size = max(map(_length, titles), default=0)
    for index, row in enumerate(rows):
        if index:
            yield ""
        yield from (
            f"{_pad(title, size, _plain)}  {style(cell)}" for title, cell in zip(titles, row, strict=True) if cell
        )


def _wrap(cell: str, size: int) -> list[str]:
    if _length(cell) <= size:
        return [cell]
    lines = [""]
    for word in cell.split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if _length(longer) <= size:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _pad(cell: str, size: int, style: Callable[[str], str], *, right: bool = False) -> str:
    blanks = " " * (size - _length(cell))
    return blanks + style(cell) if right else style(cell) + blanks


def _length(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _clean(cell: str) -> str:
    """Make a cell one line that moves no cursor: some of it was sent by meters."""
    if cell.isprintable():
        return cell
    return "".join(character if character.isprintable() else " " if character.isspace() else "?" for character in cell)
