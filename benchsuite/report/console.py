"""Text that any terminal can take: what a server or a file says never moves the cursor or breaks the encoding."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

_PLAIN = {"\u2013": "-", "\u2014": "-", "\u00b7": "-", "\u2026": "...", "\u2192": "->", "\u00d7": "x", "\u00b5": "u"}


def safe(console: Console, text: str) -> str:
    """`text` without control characters, and in ASCII where the console's encoding is not Unicode."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    if not console.options.ascii_only:
        return text
    for fancy, plain in _PLAIN.items():
        text = text.replace(fancy, plain)
    return text.encode("ascii", "replace").decode("ascii")


def say(console: Console, text: str, *, style: str = "", indent: int = 0) -> None:
    """Print a line of plain text, wrapped at words; no markup and no highlighting. indent: of the lines after it."""
    words = Text(safe(console, text), style=style)
    lines = words.wrap(console, max(console.width - indent, 20)) if console.is_terminal or indent else [words]
    for i, line in enumerate(lines):
        line.rstrip()
        console.print(Text(" " * indent * (i > 0)) + line, soft_wrap=not console.is_terminal and not indent)
