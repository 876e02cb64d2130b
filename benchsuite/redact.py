"""Text that others wrote, made harmless where it leaves us: terminals, tables, Markdown; and our API keys taken out.

The API keys that this process holds are remembered here, once, when they are read, so that every place that stores or
shows text can take them out of it: a server may say a key back in an error, a header or an id.
"""

from __future__ import annotations

import html
from typing import Any

KEY_SHOWN = "[API key]"
_SHORTEST_KEY = 8  # "EMPTY" and "none" are no secrets, and masking them would spoil what servers say

_keys: list[str] = []


def remember_key(key: str | None) -> None:
    """From now on this key is taken out of all text that is stored or shown. Keys of under 8 characters are not."""
    if key and len(key) >= _SHORTEST_KEY and key not in _keys:
        _keys.append(key)
        _keys.sort(key=len, reverse=True)  # the longest first: one key may begin like another


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


def printable(text: str) -> str:
    """`text` without keys, and with ? for control characters and what else no terminal should get; lines stay."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in masked(text))


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: a ' goes before = + - @ tab CR LF at its start. Numbers stay."""
    if not text or text[0] not in "=+-@\t\r\n":
        return text
    try:
        float(text)
    except ValueError:
        return "'" + text
    return text


def markdown_cell(text: str) -> str:
    """One cell of a Markdown table: no tags, no column of its own, one line."""
    flat = " ".join(printable(text).split())
    return html.escape(flat, quote=False).replace("|", "\\|").replace("`", "&#96;").replace("[", "\\[")
