"""A few lines at the bottom of a terminal that are drawn anew in place, while what is finished scrolls up above them.

Each drawing is one write, so nothing flickers. No thread, no alternate screen: when it ends the scrollback is clean.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text


class Region:
    """The lines that are drawn anew. The cursor stays at the end of the last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._cells: list[int] = []

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines instead of those drawn before; what the terminal is too small for is left out."""
        # a full line would wrap, and a terminal writes ^C behind the last one; a full screen would scroll
        width, height = max(1, self._console.width - 3), max(1, self._console.height - 1)
        with self._console:
            self.clear()
            for i, line in enumerate(lines[:height]):
                shown = line.copy()
                shown.truncate(width, overflow="ellipsis")
                self._console.print(Text("\n") + shown if i else shown, end="", no_wrap=True, overflow="ignore")
                self._cells.append(shown.cell_len)

    def clear(self) -> None:
        """Take the lines away; the cursor is then where the first began."""
        if not self._cells:
            return
        codes: list[ControlType | tuple[ControlType, int]] = [ControlType.CARRIAGE_RETURN]
        codes += [(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * (self._rows() - 1)
        self._console.control(Control(*codes, (ControlType.ERASE_IN_LINE, 2)))
        self._cells = []

    def _rows(self) -> int:
        """How many rows the lines take now: a terminal that was made narrower has wrapped them."""
        width = max(1, self._console.width)
        return sum(-(-max(1, cells) // width) for cells in self._cells)
