"""Reads a matrix of server settings from TOML: every mistake named at once. A word: plain values, it starts nothing."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchsuite.errors import SpecError, read_toml
from benchsuite.spec import SweepSpec
from benchsuite.spec_reading import parse_spec

Value = str | int | float | bool
_NOWHERE = "http://127.0.0.1:1"  # stands for the server that is not started yet


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the server. name: for people. slug: of its folder. serve: the text that starts it.

    gpus: how many it occupies, all of which are paid for. values: what was chosen, in the file's order.
    """

    name: str
    slug: str
    serve: str
    gpus: int
    values: tuple[tuple[str, Value], ...]


@dataclass(frozen=True, slots=True)
class MatrixSpec:
    """Settings times levels. tree: the [sweep] table as written; ready_timeout_s: None leaves it to the launcher."""

    settings: tuple[Setting, ...]
    tree: Mapping[str, Any]
    where: str
    ready_timeout_s: float | None = None

    def sweep_of(self, setting: Setting, base_url: str = _NOWHERE, model: str | None = None) -> SweepSpec:
        """The sweep of one setting, on the server at `base_url`, with the price of all of the setting's GPUs.

        model: as the server calls it, where the [sweep] table does not say.
        """
        server = {"model": model, **self.tree.get("server", {}), "base_url": base_url}
        price = self.tree.get("price", {}) | {"gpus": setting.gpus}
        return parse_spec({**self.tree, "server": server, "price": price}, where=self.where)

    def plan(self, workload_hash: str) -> dict[str, Any]:
        """What decides which measurements are made, as plain data. workload_hash: of the request set's content."""
        settings = {one.slug: {"name": one.name, "serve": one.serve, "gpus": one.gpus} for one in self.settings}
        plan = {"settings": settings, "sweep": dict(self.tree), "workload_hash": workload_hash}
        return {"content_hash": content_hash(plan), **plan}


def content_hash(plan: Mapping[str, Any]) -> str:
    """Of the plan's content, whatever the order of its keys."""
    text = json.dumps(plan, sort_keys=True, ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """Where two plans differ, in words: 'sweep.load.repeats: was 1, is 3'."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found = []
        for key in dict.fromkeys((*before, *now)):
            if key != "content_hash":
                found += differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        return found
    was, becomes = ("nothing" if side is None else json.dumps(side, default=str) for side in (before, now))
    return [] if was == becomes else [f"{path}: was {was}, is {becomes}"]


PARALLEL_FLAGS = {
    "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp", "--num-shard",
}  # fmt: skip
_RESERVED = ("name", "engine", "gpus")
_PLACE = re.compile(r"\{([A-Za-z][\w-]*)\}")


def load_matrix(path: Path) -> MatrixSpec:
    """The matrix in the TOML file `path`. Raises SpecError listing every mistake."""
    try:
        tree = read_toml(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("the matrix file cannot be read", where=str(path), given=error) from None
    except ValueError as error:
        raise SpecError("the matrix is not valid TOML", where=str(path), given=error) from None
    return parse_matrix(tree, where=str(path))


def parse_matrix(tree: Mapping[str, Any], *, where: str) -> MatrixSpec:
    """A MatrixSpec from plain data. Raises SpecError listing every mistake."""
    reader = _Reader(tree)
    spec = reader.matrix(where)
    if reader.mistakes:
        raise SpecError(
            f"the matrix has {len(reader.mistakes)} mistake{'s' * (len(reader.mistakes) > 1)}:\n    "
            + "\n    ".join(reader.mistakes),
            where=where,
            expected="docs/METHODS.md, Matrix of server settings",
        )
    spec.sweep_of(spec.settings[0])  # the sweep's own mistakes
    return spec


class _Reader:
    """Reads the tree; what is wrong collects in `mistakes`."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree
        self.mistakes: list[str] = []

    def matrix(self, where: str) -> MatrixSpec:
        self._known(self._tree, ("serve", "settings", "setting", "gpus", "sweep"), "")
        serve = self._table("serve")
        self._known(serve, ("engine", "ready_timeout_s"), "serve.")
        engine, timeout_s = serve.get("engine"), serve.get("ready_timeout_s")
        if not isinstance(engine, str) or not engine.strip():
            self.mistakes.append('serve.engine: required, such as "vllm MODEL" or "llamacpp"')
            engine = ""
        if timeout_s is not None and (not _is_number(timeout_s) or timeout_s <= 0):
            self.mistakes.append(f"serve.ready_timeout_s: seconds above 0 (given {timeout_s!r})")
        chosen = [self._setting(values, {}, engine) for values in self._product()]
        chosen += [self._setting(_flags_of(entry), entry, engine) for entry in self._entries("setting", self._tree)]
        if not chosen:
            self.mistakes.append("settings: nothing to compare; give [settings] lists or [[setting]] tables")
        return MatrixSpec(tuple(self._named_apart(chosen)), self._sweep(), where, timeout_s)

    def _product(self) -> list[dict[str, Value]]:
        table = {key: value for key, value in self._table("settings").items() if key != "exclude"}
        lists = {}
        for key, values in table.items():
            values = values if isinstance(values, list) else [values]
            if not values or not all(isinstance(v, str | int | float) and v != "" for v in values):
                self.mistakes.append(f"settings.{key}: a list of numbers, texts or true/false (given {values!r})")
            elif len({str(v) for v in values}) < len(values):
                self.mistakes.append(f"settings.{key}: a value appears twice")
            else:
                lists[key] = values
        found = (
            [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())] if lists else []
        )
        for i, rule in enumerate(self._entries("exclude", self._table("settings"))):
            if any(key not in lists for key in rule):
                unknown = next(key for key in rule if key not in lists)
                self.mistakes.append(f"settings.exclude[{i}].{unknown}: not one of the settings {', '.join(lists)}")
                continue
            kept = [values for values in found if not _matches(values, rule)]
            if len(kept) == len(found):
                self.mistakes.append(f"settings.exclude[{i}]: excludes nothing (given {rule!r})")
            found = kept
        return found

    def _setting(self, values: dict[str, Value], entry: Mapping[str, Any], engine: str) -> Setting:
        own, name = entry.get("engine", engine), entry.get("name")
        if isinstance(own, str):
            engine = own
        else:
            self.mistakes.append(f"setting.engine: a text, as [serve] engine is (given {own!r})")
        if not values and not name:
            self.mistakes.append("setting: it sets nothing and has no name")
        for key, value in values.items():
            if not isinstance(value, str | int | float) or value == "":
                self.mistakes.append(f"setting.{key}: a number, a text or true/false (given {value!r})")
        for place in dict.fromkeys(_PLACE.findall(engine)):
            if place not in values:
                self.mistakes.append(f"serve.engine: {{{place}}} is not a setting of {values!r}")
        serve = serve_text(engine, values)
        name = str(name) if name else " ".join(f"{key}={_shown(value)}" for key, value in values.items())
        return Setting(name, _slug(name), serve, self._gpus(values, entry, serve), tuple(values.items()))

    def _gpus(self, values: Mapping[str, Value], entry: Mapping[str, Any], serve: str) -> int:
        asked = entry.get("gpus", self._tree.get("gpus"))
        if asked is None:
            return implied_gpus(serve)
        count: Any = asked
        if isinstance(asked, str):
            if asked not in values:
                self.mistakes.append(f"gpus: it follows {asked!r}, which is not a setting of {dict(values)!r}")
                return 1
            count = values[asked]
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            self.mistakes.append(f"gpus: a whole number of at least 1, or the name of a setting (given {count!r})")
            return 1
        return count

    def _sweep(self) -> dict[str, Any]:
        tree = self._table("sweep")
        server, price = tree.get("server"), tree.get("price")
        for key in ("base_url", "more_base_urls"):
            if isinstance(server, dict) and key in server:
                self.mistakes.append(f"sweep.server.{key}: the matrix starts its servers and fills it in; leave it out")
        if isinstance(price, dict) and "gpus" in price:
            self.mistakes.append("sweep.price.gpus: say gpus at the top of the file; each setting pays for its own")
        for key, value in (("server", server), ("price", price)):
            if value is not None and not isinstance(value, dict):
                self.mistakes.append(f"sweep.{key}: a table (given {value!r})")
        return tree

    def _named_apart(self, settings: Sequence[Setting]) -> Sequence[Setting]:
        for what, keys in (
            ("starts the same server as another", [(one.serve, one.gpus) for one in settings]),
            ("has the name of another", [one.slug.lower() for one in settings]),
        ):
            for i, one in enumerate(settings):
                if keys[i] in keys[:i]:
                    self.mistakes.append(f"setting {one.name!r} {what}")
        return settings

    def _known(self, table: Mapping[str, Any], keys: Sequence[str], path: str) -> None:
        self.mistakes += [f"{path}{key}: unknown key; known are {', '.join(keys)}" for key in table if key not in keys]

    def _table(self, key: str) -> dict[str, Any]:
        found = self._tree.get(key, {})
        if isinstance(found, dict):
            return found
        if f"{key}: a table" not in self.mistakes:
            self.mistakes.append(f"{key}: a table")
        return {}

    def _entries(self, key: str, table: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = table.get(key, [])
        if isinstance(found, list) and all(isinstance(entry, dict) for entry in found):
            return found
        self.mistakes.append(f"{key}: tables, written [[{'settings.' * (key == 'exclude')}{key}]]")
        return []


def serve_text(engine: str, values: Mapping[str, Value]) -> str:
    """`engine` with the values: at their place {key} where it has one, else as flags behind it.

    true is a flag without a value; false and "none" leave the flag out.
    """
    placed = {place for place in _PLACE.findall(engine) if place in values}
    for place in placed:
        engine = engine.replace(f"{{{place}}}", shlex.quote(_shown(values[place])))
    flags: list[str] = []
    for key, value in values.items():
        if key in placed or value is False or value == "none":
            continue
        flags.append(key if key.startswith("-") else f"--{key}")
        flags += [] if value is True else [_shown(value)]
    return f"{engine} {shlex.join(flags)}".strip()


def implied_gpus(serve: str) -> int:
    """The GPUs that the server's parallel flags ask for: the product of their sizes, 1 without any."""
    count, words = 1, _words(serve)
    for word, following in zip(words, [*words, ""][1:], strict=True):
        flag, _, value = word.partition("=")
        size = value or following
        if flag in PARALLEL_FLAGS and size.isdecimal() and len(size) < 10:
            count *= max(int(size), 1)
    return count


def _slug(name: str) -> str:
    """A folder's name: 'slots-4_threads-1' for 'slots=4 threads=1'."""
    slug = "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") for part in name.split()).strip("_") or "setting"
    return slug if len(slug) <= 100 else f"{slug[:92]}-{hashlib.sha256(name.encode()).hexdigest()[:7]}"


def _words(serve: str) -> list[str]:
    try:
        return shlex.split(serve)
    except ValueError:  # the launcher says what is wrong with it
        return serve.split()


def _flags_of(entry: Mapping[str, Any]) -> dict[str, Value]:
    return {key: value for key, value in entry.items() if key not in _RESERVED}


def _matches(values: Mapping[str, Value], rule: Mapping[str, Any]) -> bool:
    return all(values[key] in (wanted if isinstance(wanted, list) else [wanted]) for key, wanted in rule.items())


def _shown(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
