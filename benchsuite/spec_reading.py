"""A specification from TOML and flags, checked as a whole: every mistake is named at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchsuite.errors import SpecError
from benchsuite.spec import SweepSpec
from benchsuite.strict_model import mistakes, read_tables

_IF_MISSING = dict.fromkeys(("server", "server.base_url"), "--base-url URL")


def load_spec(path: Path | None, overrides: dict[str, Any], base: dict[str, Any] | None = None) -> SweepSpec:
    """The spec in `path` (TOML; None: `base`, or nothing) with `overrides` on top: dotted keys, None means not given.

    Raises SpecError listing every mistake.
    """
    tree = read_tables("the spec", path, overrides, base)
    return parse_spec(tree, where=str(path) if path else "flags")


def parse_spec(tree: dict[str, Any], *, where: str) -> SweepSpec:
    """A SweepSpec from plain data. Raises SpecError listing every mistake."""
    try:
        return SweepSpec.model_validate(tree)
    except ValidationError as error:
        raise SpecError(
            mistakes("the sweep spec", error, SweepSpec, _IF_MISSING),
            where=where,
            expected="the keys and types of docs/METHODS.md, Sweep specification",
        ) from None
