"""A specification from TOML and flags, checked as a whole: every mistake is named at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchsuite.spec import SweepSpec
from benchsuite.strict_model import read_tables, validated

_IF_MISSING = dict.fromkeys(("server", "server.base_url"), "--base-url URL")


def table_of(info: FieldInfo) -> type[BaseModel] | None:
    """The table that a field is, or may be."""
    kinds = (info.annotation, *get_args(info.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def spec_keys(model: type[BaseModel] = SweepSpec, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(dotted key, field) of every key and table of the specification, as TOML wants them: keys before tables."""
    tables = {name: table for name, info in model.model_fields.items() if (table := table_of(info))}
    yield from ((path + name, info) for name, info in model.model_fields.items() if name not in tables)
    for name, table in tables.items():
        yield path + name, model.model_fields[name]
        yield from spec_keys(table, f"{path}{name}.")


def extra(info: FieldInfo, name: str) -> str | None:
    """What `spec.key` was given as "flag" or "default" (what holds where the key is left out)."""
    more = info.json_schema_extra
    return str(more[f"x-{name}"]) if isinstance(more, dict) and f"x-{name}" in more else None


@cache
def spec_flags() -> dict[str, tuple[str, FieldInfo]]:
    """(dotted key, field) that a flag sets, by the flag's name as a parameter: base_url -> server.base_url."""
    flagged = [(flag, key, info) for key, info in spec_keys() if (flag := extra(info, "flag"))]
    return {flag.split("/")[0].lstrip("-").replace("-", "_"): (key, info) for flag, key, info in flagged}


def overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that flags set, as `load_spec` takes them, by the flags' names; others are left out, as is None."""
    values = ((key, given.get(name)) for name, (key, _) in spec_flags().items())
    keys = {key: value for key, value in values if value is not None and value != ()}
    if "server.base_url" in keys:  # the flag names all servers, whatever a file or a run named
        keys["server.more_base_urls"] = ()
    return keys


def load_spec(path: Path | None, keys: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> SweepSpec:
    """The spec in `path` (TOML; None: `base`, or nothing) with `keys` on top: dotted keys, None means not given.

    Where nothing names the server, OPENAI_BASE_URL does. Raises SpecError listing every mistake.
    """
    tree, where = read_tables("the spec", path, keys, base), str(path) if path else "flags"
    url, server = os.environ.get("OPENAI_BASE_URL"), tree.get("server", {})
    if url and isinstance(server, dict) and "base_url" not in server:
        tree["server"] = {**server, "base_url": url}
        where += ", and OPENAI_BASE_URL for base_url"
    return parse_spec(tree, where=where)


def parse_spec(tree: dict[str, Any], *, where: str) -> SweepSpec:
    """A SweepSpec from plain data. Raises SpecError listing every mistake."""
    expected = "the keys and types of `benchsuite schema`"
    return validated(SweepSpec, tree, "the sweep spec", where=where, expected=expected, if_missing=_IF_MISSING)
