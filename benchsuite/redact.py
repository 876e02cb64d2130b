"""Text that others wrote, made harmless where it leaves us: terminals, tables, Markdown; and our API keys taken out.

The API keys that this process holds are remembered here, once, when they are read, so that every place that stores or
shows text can take them out of it: a server may say a key back in an error, a header or an id.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

KEY_SHOWN = "[API key]"
_SHORTEST_KEY = 8  # "EMPTY" and "none" are no secrets, and masking them would spoil what servers say

_keys: list[str] = []


def remember_key(key: str | None) -> None:
    """From now on this key is taken out of all text that is stored or shown. Keys of under 8 characters are not."""
    if key and len(key) >= _SHORTEST_KEY and key not in _keys:
        _keys.append(key)
        _keys.sort(key=len, reverse=True)  # the longest first: one key may begin like another


def remembered_keys() -> tuple[str, ...]:
    """Those that are taken out of text in this process, for another to remember too."""
    return tuple(_keys)


def masked(text: str) -> str:
    """`text` without the keys that are remembered."""
    for key in _keys:
        if key in text:
            text = text.replace(key, KEY_SHOWN)
    return text


def masked_bytes(data: bytes) -> bytes:
    """`data` with asterisks over the keys; as long as before, so that what is known by its offset stays."""
    for key in _keys:
        raw = key.encode()
        if raw in data:
            data = data.replace(raw, b"*" * len(raw))
    return data


def masked_tree(tree: Any) -> Any:
    """Plain data with the keys taken out of every text in it; keys of dicts too."""
    if not _keys:
        return tree
    if isinstance(tree, str):
        return masked(tree)
    if isinstance(tree, dict):
        return {masked_tree(key): masked_tree(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [masked_tree(item) for item in tree]
    return tree


PLAIN_SPACES = {0xA0: " ", 0x2009: " ", 0x202F: " "}  # no-break and thin spaces, which are no control characters


def printable(text: str) -> str:
    """`text` without keys, and with ? for control characters and what else no terminal should get; lines stay."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in masked(text).translate(PLAIN_SPACES))


def single_line(text: str) -> str:
    """`text` printable, on one line."""
    return printable(" ".join(text.split()))


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A header of all keys and a line for each row. None is an empty cell; no text is a formula to a spreadsheet."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([csv_cell(row.get(key)) for key in keys] for row in rows)
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a ' goes before = + - @ at the start of what is no number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return value
    text = single_line(value)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return text


def markdown_text(text: str) -> str:
    """Text on one line that stays in its table cell and is no markup, HTML, mention or link."""
    import html  # a table of all entities: not for what only prints

    text = html.escape(single_line(text).replace("\\", "\\\\"), quote=False)
    for char in "`|*_[]#":
        text = text.replace(char, f"\\{char}")
    return text.replace("@", "@\u200b")


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] | None = None
) -> list[str]:
    """The lines of a table of cells that are Markdown already. right: the heads of numbers; None: all but the last."""
    numbers = heads[:-1] if right is None else right
    rule = "|" + "|".join("---:" if head in numbers else "---" for head in heads) + "|"
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in (heads, *rows)]
    return [lines[0], rule, *lines[1:]]
