"""A specification from TOML and flags, checked as a whole: every mistake is named at once."""

from __future__ import annotations

import copy
import difflib
import re
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from benchsuite.errors import SpecError
from benchsuite.parsing import read_toml
from benchsuite.spec.server import without_secrets
from benchsuite.spec.sweep import SweepSpec


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
        mistakes = [_explain(item) for item in error.errors()]
    raise SpecError(
        f"the sweep spec has {len(mistakes)} mistake{'s' * (len(mistakes) > 1)}:\n    " + "\n    ".join(mistakes),
        where=where,
        expected="the keys and types of docs/METHODS.md, Sweep specification",
    )


def _explain(item: Any) -> str:
    path = ".".join(str(step) for step in item["loc"]) or "spec"
    if item["type"] == "missing":
        hint = " (--base-url URL)" if path in ("server", "server.base_url") else ""
        return f"{path}: required but missing{hint}"
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(item["loc"][-1]), _keys_at(item["loc"][:-1]), 1)
        return f"{path}: unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        close = difflib.get_close_matches(item["input"], re.findall(r"'(.*?)'", item["ctx"]["expected"]), 1)
        if close:
            return f"{path}: {item['msg']} (given {item['input']!r}); did you mean {close[0]!r}?"
    if isinstance(item["input"], dict) or path.endswith("api_key_env"):
        return f"{path}: {item['msg'].removeprefix('Value error, ')}"
    given = f" (given {without_secrets(repr(item['input']))})"
    return f"{path}: {item['msg'].removeprefix('Value error, ')}{given}"


def _keys_at(path: tuple[Any, ...]) -> list[str]:
    node: type[BaseModel] = SweepSpec
    for step in path:
        annotation = node.model_fields[step].annotation if step in node.model_fields else None
        parts = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type)]
        table = next((part for part in parts if issubclass(part, BaseModel)), None)
        if table is None:
            return []
        node = table
    return list(node.model_fields)
