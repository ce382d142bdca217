"""Print a table of figures."""

from __future__ import annotations

NAME_WIDTH, CELL_WIDTH = 48, 12


def print_row(name: str, *cells: str, note: str = "") -> None:
    """Print one row: the name on the left, the cells right-aligned. A header is a row as well.

    A row is flushed at once, as the next one may take minutes.
    """
    figures = "".join(f" {cell:>{CELL_WIDTH}}" for cell in cells)
    print(f"{name:{NAME_WIDTH}}{figures}  {note}".rstrip(), flush=True)
