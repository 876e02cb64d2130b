"""JSON, counts and text as servers send them, read so that nothing of it can raise later. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from benchsuite.foreign import masked

_fast_loads: Callable[[bytes], Any] = json.loads
with contextlib.suppress(ImportError):  # the extra `fast`
    from orjson import loads as _fast_loads

_MAX_COUNT = 2**31  # a token count beyond it is nonsense, and no int32
_MAX_S = 1e6


def loads(data: bytes) -> Any:
    """The JSON in `data`. Raises ValueError. What counts as JSON does not depend on whether orjson is installed."""
    try:
        return _fast_loads(data)
    except ValueError:  # orjson is the stricter of the two: it takes no half of a surrogate pair
        pass
    except RecursionError:
        raise ValueError("nested too deeply") from None
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_json(data: bytes) -> bool:
    """True if `data` is one whole JSON value."""
    try:
        loads(data)
    except ValueError:
        return False
    return True


def clean_text(text: str) -> str:
    """`text` as what UTF-8 can carry: surrogate halves that meet are joined, lone ones become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def count(value: Any) -> int | None:
    """A token count as a server gives it, None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None


def seconds(value: Any, per_s: float) -> float | None:
    """A duration that a server gives in units of 1/`per_s` seconds; None if it is none, negative or absurd."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # compared before it is divided: an integer of hundreds of digits would not fit into a float
    return value / per_s if 0 <= value <= _MAX_S * per_s else None


def error_message(body: bytes, limit: int = 300) -> str:
    """What an error body says, in one line of at most `limit` characters; every server words it differently."""
    try:
        tree = loads(body)
    except ValueError:
        tree = body.decode("utf-8", "replace")
    for key in ("error", "detail", "message"):
        while isinstance(tree, dict) and key in tree:
            tree = tree[key]
    try:
        text = tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False)
    except RecursionError:
        text = body.decode("utf-8", "replace")
    return masked(clean_text(" ".join(text.split())))[:limit]  # masked before it is cut: half a key is one too
