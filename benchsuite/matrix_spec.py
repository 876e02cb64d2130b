"""A matrix of server settings from TOML: each setting, how it is started, and their common sweep. Starts nothing."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, field_validator

from benchsuite.errors import SpecError
from benchsuite.request_spec import read_named_files
from benchsuite.servers import SERVERS
from benchsuite.spec import OR_FILE, SweepSpec, parse_spec
from benchsuite.strict_model import MOST_COUNT, MOST_S, StrictModel, mistake_text, read_tables, validated

DOCUMENTED = "docs/METHODS.md, Matrix of server settings"
_MOST_SETTINGS = 1000
_NOWHERE = "http://127.0.0.1:1"  # stands for the server that is not started yet
_PLACE = re.compile(r"\{([A-Za-z][\w-]*)\}")


def _list_of_values(given: Any) -> list[Any]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, str | int | float) and value != "" for value in values):
        raise ValueError("should be a list of numbers, texts or true/false")
    if len({str(value) for value in values}) < len(values):
        raise ValueError("a value appears twice")
    return values


def _one_value(given: Any) -> Any:
    if isinstance(given, list):
        raise ValueError("should be a number, a text or true/false")
    return _list_of_values(given)[0]


# Plain validators: a union would report a mistake once for every type that the value is not.
Value = Annotated[str | int | float | bool, PlainValidator(_one_value)]
Values = Annotated[list[str | int | float | bool], PlainValidator(_list_of_values)]


class _Serve(StrictModel):
    engine: str = Field(pattern=r"\S")
    ready_timeout_s: float | None = Field(None, gt=0, le=MOST_S, strict=True)


class _Lists(BaseModel):
    """[settings]: a list for each flag, of which every combination is a setting but those that a rule excludes."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Values]
    exclude: tuple[dict[str, Values], ...] = ()


class _Entry(BaseModel):
    """[[setting]]: one setting, its flags as further keys."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, Value]
    name: str | None = None
    engine: str | None = None
    gpus: Any = None


class _File(StrictModel):
    serve: _Serve
    settings: _Lists = Field({}, validate_default=True)
    setting: tuple[_Entry, ...] = ()
    gpus: Any = None
    sweep: dict[str, Any] = Field({})

    @field_validator("sweep")
    @classmethod
    def _leaves_the_server_to_the_matrix(cls, tree: dict[str, Any]) -> dict[str, Any]:
        parts = {name: tree.get(name, {}) for name in ("server", "price")}
        wrong = [f"{name} should be a table" for name, part in parts.items() if not isinstance(part, dict)]
        for name, key in (("server", "base_url"), ("server", "more_base_urls"), ("price", "gpus")):
            if isinstance(parts[name], dict) and key in parts[name]:
                wrong.append(f"the matrix fills in {name}.{key}: leave it out")
        if wrong:
            raise ValueError("; ".join(wrong))
        return tree


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the server."""

    name: str  # for people
    slug: str  # of its folder
    serve: str  # the text that starts it
    gpus: int  # that it occupies, all of which are paid for
    values: tuple[tuple[str, Value], ...]  # what was chosen, in the file's order


@dataclass(frozen=True, slots=True)
class MatrixSpec:
    """Settings times levels."""

    settings: tuple[Setting, ...]
    tree: Mapping[str, Any]  # the [sweep] table as written
    where: str
    ready_timeout_s: float | None = None  # None leaves it to the launcher

    def sweep_of(self, setting: Setting, base_url: str = _NOWHERE, model: str | None = None) -> SweepSpec:
        """The sweep of one setting, on the server at `base_url`, with the price of all of the setting's GPUs.

        model: as the server calls it, where the [sweep] table does not say.
        """
        server = {"model": model, **self.tree.get("server", {}), "base_url": base_url}
        price = self.tree.get("price", {}) | {"gpus": setting.gpus}
        return parse_spec({**self.tree, "server": server, "price": price}, where=self.where)

    def plan(self, workload_hash: str) -> dict[str, Any]:
        """What decides which measurements are made, as plain data. workload_hash: of the request set's content."""
        settings = {s.slug: {"name": s.name, "serve": s.serve, "gpus": s.gpus} for s in self.settings}
        return {"settings": settings, "sweep": dict(self.tree), "workload_hash": workload_hash}


def load_matrix(path: Path, *, search: bool = False) -> MatrixSpec:
    """The matrix in the TOML file `path`. search: of searches, whether it has a table sweep.find or not. Raises
    SpecError listing every mistake."""
    tree = read_tables("the matrix", path, {})
    if search and isinstance(tree.setdefault("sweep", {}), dict):
        tree["sweep"].setdefault("find", {})
    read_named_files(tree, [f"sweep.{key}" for key in OR_FILE])
    return parse_matrix(tree, where=str(path))


def parse_matrix(tree: Mapping[str, Any], *, where: str) -> MatrixSpec:
    """The matrix from plain data. Raises SpecError listing every mistake: of single values first, then of settings."""
    file = validated(_File, tree, "the matrix", where=where, expected=DOCUMENTED)
    wrong: list[str] = []
    plain = _Entry.model_validate({})
    settings = [_setting(file, values, plain, wrong) for values in _combinations(file.settings, wrong)]
    settings += [_setting(file, entry.model_extra or {}, entry, wrong) for entry in file.setting[:_MOST_SETTINGS]]
    if not settings and not wrong:
        wrong.append("settings: nothing to compare; give [settings] lists or [[setting]] tables")
    for what, keys in (
        ("starts the same server as another", [(setting.serve, setting.gpus) for setting in settings]),
        ("has the name of another", [setting.slug.lower() for setting in settings]),
    ):
        wrong += [f"setting {s.name!r} {what}" for i, s in enumerate(settings) if keys[i] in keys[:i]]
    if wrong:
        raise SpecError(mistake_text("the matrix", list(dict.fromkeys(wrong))), where=where, expected=DOCUMENTED)
    matrix = MatrixSpec(tuple(settings), file.sweep, where, file.serve.ready_timeout_s)
    matrix.sweep_of(settings[0])  # the sweep's own mistakes
    return matrix


def _combinations(table: _Lists, wrong: list[str]) -> list[dict[str, Value]]:
    lists = table.model_extra or {}
    if (n := math.prod(map(len, lists.values()))) > _MOST_SETTINGS:
        wrong.append(f"settings: {n:.3g} combinations, expected at most {_MOST_SETTINGS:,}")
        return []
    chosen = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())] if lists else []
    for i, rule in enumerate(table.exclude):
        unknown = [key for key in rule if key not in lists]
        kept = [values for values in chosen if unknown or any(values[key] not in rule[key] for key in rule)]
        if unknown:
            wrong.append(f"settings.exclude.{i}.{unknown[0]}: not one of the settings {', '.join(lists)}")
        elif len(kept) == len(chosen):
            wrong.append(f"settings.exclude.{i}: excludes nothing (given {rule!r})")
        chosen = kept
    return chosen


def _setting(file: _File, values: dict[str, Value], entry: _Entry, wrong: list[str]) -> Setting:
    engine = file.serve.engine if entry.engine is None else entry.engine
    if not values and not entry.name:
        wrong.append("setting: it sets nothing and has no name")
    missing = [place for place in dict.fromkeys(_PLACE.findall(engine)) if place not in values]
    wrong += [f"serve.engine: {{{place}}} is not a setting of {values!r}" for place in missing]
    serve = serve_text(engine, values)
    gpus: Any = next(choice for choice in (entry.gpus, file.gpus, implied_gpus(serve)) if choice is not None)
    count: Any = values.get(gpus) if isinstance(gpus, str) else gpus
    if type(count) is not int or not 1 <= count <= MOST_COUNT:
        wrong.append(
            f"gpus: should be a whole number of at least 1, or a setting that is one (given {gpus!r}: {count!r})"
        )
        count = 1
    name = entry.name or " ".join(f"{key}={_text(value)}" for key, value in values.items())
    return Setting(name, _slug(name), serve, count, tuple(values.items()))


def serve_text(engine: str, values: Mapping[str, Value]) -> str:
    """`engine` with the values: at their place {key} where it has one, else as flags behind it.

    true is a flag without a value; false and "none" leave the flag out.
    """
    placed = {place for place in _PLACE.findall(engine) if place in values}
    for place in placed:
        engine = engine.replace(f"{{{place}}}", shlex.quote(_text(values[place])))
    flags: list[str] = []
    for key, value in values.items():
        if key not in placed and value is not False and value != "none":
            flags.append(key if key.startswith("-") else f"--{key}")
            flags += [] if value is True else [_text(value)]
    return f"{engine} {shlex.join(flags)}".strip()


def implied_gpus(serve: str) -> int:
    """The GPUs that the server's parallel flags ask for: the product of their sizes, 1 without any."""
    try:
        words = shlex.split(serve)
    except ValueError:  # the launcher says what is wrong with it
        words = serve.split()
    server = SERVERS.get(words[0].rpartition(":")[2]) if words else None
    return (server.gpus(words) if server else None) or 1


def _slug(name: str) -> str:
    """A folder's name: 'slots-4_threads-1' for 'slots=4 threads=1'."""
    slug = "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") for part in name.split()).strip("_") or "setting"
    return slug if len(slug) <= 100 else f"{slug[:92]}-{hashlib.sha256(name.encode()).hexdigest()[:7]}"


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
