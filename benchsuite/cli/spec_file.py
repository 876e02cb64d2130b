"""The commented sweep.toml and its JSON schema: read off the specification's own fields."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from benchsuite.spec import SweepSpec, extra, spec_keys
from benchsuite.strict_model import table_in

_WIDTH, _WIDEST = 44, 118


def kinds_of(annotation: Any) -> set[Any]:
    """Every type in an annotation: {tuple, int} of tuple[int, ...]."""
    inner = () if get_origin(annotation) is Literal else get_args(annotation)
    return {get_origin(annotation) or annotation}.union(*map(kinds_of, inner))


def words_of(info: FieldInfo) -> tuple[str, ...]:
    """The words that a field takes, where it takes nothing else."""
    parts = (info.annotation, *get_args(info.annotation))
    literals = [part for part in parts if get_origin(part) is Literal]
    return get_args(literals[0]) if literals and int not in parts else ()


def meaning_of(info: FieldInfo) -> str:
    *most, last = words_of(info) or ("",)
    return f"{info.description}: {', '.join(most)} or {last}" if most else info.description or ""


def spec_toml(heading: str, given: Mapping[str, Any], words: Mapping[str, str] | None = None) -> str:
    """A sweep.toml: heading as comments, the keys of `given` (dotted) as lines, every other key as a comment.

    words: for a key instead of its own. An optional table of which nothing is given stands in comments.
    """
    lines = [*(f"# {line}".rstrip() for line in heading.splitlines()), *([""] if heading else [])]
    for key, info in spec_keys():
        meaning = (words or {}).get(key) or meaning_of(info)
        if table_in(info.annotation):
            named = info.default is not None or any(other.startswith(f"{key}.") for other in given)
            lines += ["", f"{'' if named else '# '}[{key}]    # {meaning}"]
        else:
            lines += _lines(key, info, given, meaning)
    return "\n".join(lines) + "\n"


def toml_of(spec: SweepSpec) -> str:
    """The specification as a file that says the same: what is not its default is set."""
    tree, given = spec.model_dump(mode="json", exclude_defaults=True), {}
    for key, info in spec_keys():
        node: Any = tree
        for name in key.split("."):
            node = node.get(name) if isinstance(node, dict) else None
        if node not in (None, []) and not table_in(info.annotation):
            given[key] = node
    return spec_toml("", given).lstrip()


def _lines(key: str, info: FieldInfo, given: Mapping[str, Any], meaning: str) -> list[str]:
    """A key with its value, or in a comment with its default or an example; what it means, wrapped behind it."""
    default = None if info.is_required() else info.default
    typed = {dict: {}, str: "...", int: 1, float: 1.0}
    shown = next((v for kind, v in typed.items() if kind in kinds_of(info.annotation)), None)
    value = given.get(key, next((v for v in (*(info.examples or ()), default) if v is not None), shown))
    unset = extra(info, "default")
    if unset is None and value != default and default != ():
        unset = None if info.is_required() else "none" if default is None else _toml(default)
    if info.is_required() and key not in given:
        meaning += "; required"
    elif unset and "default" not in meaning:
        meaning += f"; default: {unset}"
    text = f"{'' if key in given else '# '}{key.rpartition('.')[2]} = {_toml(value)}"
    at = max(_WIDTH, len(text))
    first, *more = textwrap.wrap(meaning, max(40, _WIDEST - at - 4))
    return [f"{text:<{at}}  # {first}", *(f"{'':<{at}}  # {line}" for line in more)]


def _has_null(tree: Any) -> bool:
    items = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ()
    return tree is None or any(map(_has_null, items))


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping) and _has_null(value):
        return _toml(json.dumps(value))  # TOML has none; the keys that hold such tables take JSON too
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()  # a lone surrogate is no text
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


@click.command(
    epilog="""\b
Examples:
  benchsuite schema > sweep.schema.json
  echo '#:schema ./sweep.schema.json' | cat - sweep.toml > checked.toml   # editors with TOML support read that line
"""
)
def schema() -> None:
    """Print the JSON Schema of a sweep.toml: every key with its type, default, meaning, limits and flag.

    No key is required in the file, for flags may give it.
    """
    tree = SweepSpec.model_json_schema()
    for table in (tree, *tree["$defs"].values()):
        if any("x-flag" in key for key in table["properties"].values()):
            table.pop("required", None)
    click.echo(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **tree}, indent=2))
