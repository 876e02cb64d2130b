"""Safe text for any terminal: text from a server or a file never moves the cursor or breaks the encoding."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console as Console  # whoever prints takes it from here
from rich.table import Table
from rich.text import Text

from benchsuite.redact import printable
from benchsuite.report.format import known_columns

_PLAIN = {
    "\u2013": "-", "\u2014": "-", "\u00b7": "-", "\u2026": "...", "\u2192": "->", "\u00d7": "x", "\u00b5": "u",
    "\u00b0": " ",
}  # fmt: skip

_SPARKS, _ASCII_SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588", "_.-~=+*#"


def spark(console: Console, values: Sequence[float | None]) -> str:
    """One character a value, from 0 at the bottom to the greatest at the top; a blank where there is none."""
    marks = _ASCII_SPARKS if console.options.ascii_only else _SPARKS
    top = max((value for value in values if value is not None), default=0.0)
    return "".join(
        " " if value is None else marks[min(7, int(8 * max(0.0, value) / top))] if top > 0 else marks[0]
        for value in values
    )


def bar(console: Console, ratio: float, width: int) -> str:
    """`width` characters, of which `ratio` are full."""
    full, empty = "=-" if console.options.ascii_only else "\u2501\u2500"
    filled = round(width * min(1.0, max(0.0, ratio)))
    return full * filled + empty * (width - filled)


def safe(console: Console, text: str) -> str:
    """`text` printable on one line, and in ASCII where the console's encoding is not Unicode."""
    text = printable(text.replace("\n", " "))
    if not console.options.ascii_only:
        return text
    for fancy, plain in _PLAIN.items():
        text = text.replace(fancy, plain)
    return text.encode("ascii", "replace").decode("ascii")


WIDE = 100  # columns of terminal from which on more of a table is shown
_TEXT = 12  # characters that a column of text gets in any case; it folds
# a word that is longer than its column: what it is there
_SHORT = {
    "attainment": "attain.", "concurrency": "conc.", "duration": "dur.", "elasticity": "elast.",
    "electricity": "elec.", "gCO2/1M": "gCO2 /1M", "preempted": "preempt", "running": "run",
    "successful/failed": "ok/ failed", "throttled": "throttl.", "tok/s/user": "tok/s /user", "waiting": "wait",
}  # fmt: skip


def _fold(head: str, width: int) -> str:
    """On several lines of at most `width` characters, as far as its words part."""
    words = " ".join(word if len(word) <= width else _SHORT.get(word, word) for word in head.split(" "))
    return "\n".join(textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)).replace("ok/ ", "ok/")


def _folded(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str], room: int
) -> tuple[list[str], bool]:
    """The heads on as few lines as the table has room for, and whether it has room at all."""
    shown, fits = list(heads), False
    for width in (40, 8, 5):
        shown = [_fold(head, width) for head in heads]
        taken = 2 * len(heads)
        for head, cells in zip(heads, zip(shown, *rows, strict=True), strict=True):
            widest = max(len(line) for cell in cells for line in cell.split("\n"))
            taken += min(widest, _TEXT) if head in left else widest
        if fits := taken <= room:
            break
    return shown, fits


def table(
    console: Console,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Collection[str] = (),
    styles: Sequence[str] = (),
    title: str | None = None,
    header: bool = True,
    wide: Collection[str] = (),
    wide_from: int = WIDE,
) -> Table:
    """Cells of plain text without markup or borders: numbers to the right, the columns `left` to the left and folded.

    styles: one per row, if any. wide: columns that only a terminal of `wide_from` characters shows.
    """
    shown = Table(
        title=title and Text(safe(console, title)), title_justify="left", box=None, padding=(0, 1), pad_edge=False,
        header_style="bold", show_header=header,
    )  # fmt: skip

    def cell(words: str) -> Text:
        return Text("\n".join(safe(console, line) for line in words.split("\n")))

    heads, rows = known_columns(heads, [*rows])
    kept = [i for i, head in enumerate(heads) if console.width >= wide_from or head not in wide]
    heads, rows = [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]
    folds, fits = _folded(heads, rows, left, console.width)
    for i, (head, folded) in enumerate(zip(heads, folds, strict=True)):
        text = head in left
        longest = max((len(word) for row in rows for word in row[i].split()), default=0)
        shown.add_column(
            cell(folded), justify="left" if text else "right", no_wrap=fits and not text, overflow="fold",
            vertical="top", min_width=min(longest, _TEXT) if text else None,
        )  # fmt: skip
    for i, row in enumerate(rows):
        shown.add_row(*map(cell, row), style=styles[i] if styles else "")
    return shown


def say(console: Console, text: str, *, style: str = "", indent: int = 0) -> None:
    """Print a line of plain text, wrapped at words; no markup and no highlighting. indent: of the lines after it."""
    words = Text(safe(console, text), style=style)
    lines = words.wrap(console, max(console.width - indent, 20)) if console.is_terminal or indent else [words]
    for i, line in enumerate(lines):
        line.rstrip()
        console.print(Text(" " * indent * (i > 0)) + line, soft_wrap=not console.is_terminal and not indent)
