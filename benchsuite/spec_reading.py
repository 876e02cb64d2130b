"""A specification from TOML and flags, checked as a whole: every mistake is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchsuite.spec import SweepSpec
from benchsuite.strict_model import read_tables, validated

_IF_MISSING = dict.fromkeys(("server", "server.base_url"), "--base-url URL")


def load_spec(path: Path | None, overrides: dict[str, Any], base: dict[str, Any] | None = None) -> SweepSpec:
    """The spec in `path` (TOML; None: `base`, or nothing) with `overrides` on top: dotted keys, None means not given.

    Raises SpecError listing every mistake.
    """
    tree = read_tables("the spec", path, overrides, base)
    return parse_spec(tree, where=str(path) if path else "flags")


def parse_spec(tree: dict[str, Any], *, where: str) -> SweepSpec:
    """A SweepSpec from plain data. Raises SpecError listing every mistake."""
    expected = "the keys and types of docs/METHODS.md, Sweep specification"
    return validated(SweepSpec, tree, "the sweep spec", where=where, expected=expected, if_missing=_IF_MISSING)
