"""Rows of cells as text: lines that name each value, or a Markdown table."""

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["markdown_table", "named_lines"]

_MAX_NAME_CHARS = 100


def named_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Give one line per row, `name: value; name: value`, so that a line says by itself what its values are.

    The first row with two or more values is the header, if its values differ and none of them is a number. Rows
    before it, such as a caption, stay as they are; so do all rows where there is no header.
    """
    names: list[str] | None = None
    for row in rows:
        cells = [_one_line(cell) for cell in row]
        n_filled = sum(1 for cell in cells if cell)
        if names is None and n_filled > 1:
            names = [cell[:_MAX_NAME_CHARS] for cell in cells] if _is_header(cells) else []
            if names:
                continue
        if n_filled:
            yield "; ".join(_named(names or [], cells))


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table whose first row is the header; empty where all cells are."""
    if not any(cell.strip() for row in rows for cell in row):
        return ""
    width = max(len(row) for row in rows)
    lines = ["| " + " | ".join(_padded(row, width)) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * width)
    return "\n".join(lines)


def _padded(row: Sequence[str], width: int) -> list[str]:
    cells = [_one_line(cell).replace("|", "\\|") for cell in row]
    return cells + [""] * (width - len(cells))


def _named(names: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    for number, cell in enumerate(cells):
        if cell:
            name = names[number] if number < len(names) else ""
            yield f"{name}: {cell}" if name else cell


def _is_header(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return len(set(filled)) == len(filled) and not any(_is_number(cell) for cell in filled)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return False
    return True


def _one_line(cell: str) -> str:
    return " ".join(cell.split())
