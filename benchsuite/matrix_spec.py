"""What a matrix of server settings asks for: the settings, how each is started, and the sweep that all of them get.

A word, like the sweep's specification: plain values from TOML, every mistake named at once. It starts nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchsuite.spec import SweepSpec, parse_spec

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
