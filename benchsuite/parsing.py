"""JSON and TOML that others wrote, as plain data: whatever the text holds, the only error is a ValueError. Pure."""

from __future__ import annotations

import json
import tomllib
from typing import Any


def read_json(text: str | bytes) -> Any:
    """The JSON in `text`. Raises ValueError, also where it is nested too deeply or no UTF-8."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_toml(text: str) -> dict[str, Any]:
    """The TOML in `text`. Raises ValueError, also where it is nested too deeply or a number has too many digits."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
