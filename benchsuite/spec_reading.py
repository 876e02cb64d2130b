"""A specification from TOML and flags, checked as a whole: every mistake is named at once."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchsuite.errors import SpecError, read_toml
from benchsuite.spec import SweepSpec
from benchsuite.strict_model import mistakes

_IF_MISSING = dict.fromkeys(("server", "server.base_url"), "--base-url URL")


def load_spec(path: Path | None, overrides: dict[str, Any], base: dict[str, Any] | None = None) -> SweepSpec:
    """The spec in `path` (TOML; None: `base`, or nothing) with `overrides` on top: dotted keys, None means not given.

    Raises SpecError listing every mistake.
    """
    tree: dict[str, Any] = copy.deepcopy(base) if base is not None else {}
    if path is not None:
        try:
            tree = read_toml(path.read_text("utf-8"))
        except FileNotFoundError:
            raise SpecError("the spec file does not exist", where=str(path), expected="a TOML file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError("the spec file cannot be read", where=str(path), given=str(error)) from None
        except ValueError as error:
            raise SpecError("the spec is not valid TOML", where=str(path), given=str(error)) from None
    for key, value in overrides.items():
        if value is None:
            continue
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            if node.get(parent) is None:  # a saved spec says null where a table was left out
                node[parent] = {}
            node = node[parent]
            if not isinstance(node, dict):
                raise SpecError(f"{parent!r} is a table", where=str(path), given=repr(node))
        node[leaf] = value
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
