"""A sweep.toml with every key of the specification, its default and its unit, for a server or for none. Pure text."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchsuite.cli.sweep_flags import GROUPS
from benchsuite.spec import DEFAULT_LEVELS, SweepSpec

# what flags do not say, or not well enough for a file
_WORDS = {
    "server.base_url": "with or without /v1; a list for several like servers",
    "server.more_base_urls": "further servers of the same model; or a list in base_url",
    "server.api_key_env": "name of the variable with the API key; the key itself is written nowhere",
    "server.extra_body": "sent with every request, such as {temperature = 0}",
    "server.insecure": "true: TLS certificates are not verified",
    "server.fallback.extra_body": "default: the server's",
    "workload.source": "wineval (generated), or a JSONL file",
    "workload.requests": "default: 2993 for wineval, else all of the file",
    "workload.max_output_tokens": "tokens: caps every request's own; default: no cap",
    "load.warmup_requests": "discarded before each point; default: max(2N, 64)",
    "load.warmup_min_s": "seconds; default: 30 for sets of 1000 or more, else 0",
    "load.cooldown_min_s": "seconds of pause before each point; default: as for the warm-up",
    "load.cooldown_max_s": "seconds: the longest wait for the server's queue to empty",
    "load.kernel_stamps": "receive times from the kernel, where it has them",
    "timeouts.connect_s": "seconds for a connection",
    "timeouts.idle_s": "seconds without a byte",
    "timeouts.request_s": "seconds for a whole request",
    "price.owned.purchase_price": "of one GPU, in currency",
    "price.owned.years": "of use",
    "price.owned.power_kw": "of one GPU at work; default: measured at each level",
    "price.owned.electricity_per_kwh": "in currency; default: price.usd_per_kwh",
    "price.owned.currency": "of the prices in this table",
    "price.owned.fx_per_usd": "of that currency for a dollar",
    "price.owned.utilisation": "share of its life at work, 0 to 1",
    "price.owned.pue": "energy at the wall per GPU's; default: price.pue",
    "price.owned.maintenance_ratio": "of the purchase price, a year",
    "price.owned.idle_kw": "of one GPU at rest; default: none, measured in mode full",
    "price.owned.salvage": "what it sells for at the end, in currency; default: nothing",
    "price.owned.hosting_per_hour": "in currency; default: nothing",
    "price.owned.mode": "eq5, note or full (docs/METHODS.md, Cost); default: what the keys allow",
    "telemetry.server_hz": "samples of the server's metrics a second, 10 at most",
    "telemetry.metrics_url": "default: the server's own /metrics",
    "telemetry.idle_s": "seconds; default: 10, 60 for sets of 1000 or more",
}
_EXAMPLES: dict[str, Any] = {
    "server.base_url": "http://127.0.0.1:8000",
    "server.model": "my-model",
    "server.fallback.base_url": "https://api.example.com",
    "server.fallback.model": "big-model",
    "server.fallback.max_waiting": 8,
    "server.fallback.on": ["429", "503", "queue"],
    "workload.requests": 2993,
    "workload.max_output_tokens": 512,
    "load.warmup_requests": 64,
    "load.warmup_min_s": 30.0,
    "load.cooldown_min_s": 30.0,
    "load.max_rps": 10.0,
    "load.max_errors": "5%",
    "timeouts.first_token_s": 120.0,
    "price.usd_per_hour": 1.99,
    "price.preset": "h100-low",
    "price.usd_per_kwh": 0.2,
    "price.gco2_per_kwh": 380.0,
    "price.owned.purchase_price": 30000.0,
    "price.owned.years": 4.0,
    "price.owned.power_kw": 0.7,
    "price.owned.electricity_per_kwh": 0.2,
    "price.owned.pue": 1.3,
    "price.owned.idle_kw": 0.1,
    "price.owned.mode": "full",
    "telemetry.dcgm_url": "http://127.0.0.1:9400/metrics",
    "telemetry.metrics_url": "http://127.0.0.1:8000/metrics",
    "telemetry.idle_s": 10.0,
    "telemetry.constant_kw": 0.7,
}
_TITLES = {
    "server": "the server under test",
    "server.fallback": "optional: a paid API for what the server refuses",
    "workload": "the requests",
    "load": "how they are sent",
    "timeouts": "when a request is given up",
    "price": "what an hour costs; without a price the shortest run counts as the cheapest",
    "price.owned": "instead of a price: bought GPUs",
    "telemetry": "what is recorded beside the requests",
}
_WIDTH, _WIDEST = 44, 118


def levels_for(slots: int | None) -> list[int]:
    """Levels that a server with so many slots takes at once: the usual ones, or powers of two up to all slots."""
    usual = [level for level in DEFAULT_LEVELS if slots is None or level <= slots]
    if slots is None or len(usual) >= 3:
        return usual
    return sorted({2**i for i in range(slots.bit_length()) if 2**i <= slots} | {slots})


def spec_toml(heading: str, set_here: Mapping[str, Any], said: Mapping[str, str] | None = None) -> str:
    """The file's text: heading as comments, the keys in set_here (dotted) as lines, every other key as a comment.

    said: words for a key instead of its own. An optional table is there in comments.
    """
    lines = [*(f"# {line}".rstrip() for line in heading.splitlines()), ""]
    scalars: list[str] = []
    tables: list[str] = []
    for name, info in SweepSpec.model_fields.items():
        (tables if _model(info) else scalars).append(name)
    lines += [_line(name, SweepSpec.model_fields[name], set_here, said or {}) for name in scalars]
    for name in tables:
        lines += _table(name, SweepSpec.model_fields[name], set_here, said or {})
    return "\n".join(lines) + "\n"


def _table(path: str, info: FieldInfo, set_here: Mapping[str, Any], said: Mapping[str, str]) -> list[str]:
    model = _model(info)
    assert model is not None
    optional = info.default is None
    lines = ["", f"{'# ' if optional else ''}[{path}]{' ' * 4}# {said.get(path, _TITLES.get(path, ''))}".rstrip(" #")]
    inner = []
    for name, field in model.model_fields.items():
        if _model(field):
            inner += _table(f"{path}.{name}", field, set_here, said)
        else:
            lines.append(_line(f"{path}.{name}", field, set_here, said))
    return [*lines, *inner]


def _model(info: FieldInfo) -> type[BaseModel] | None:
    """The table that a field is, or may be."""
    kinds = (info.annotation, *get_args(info.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _line(path: str, info: FieldInfo, set_here: Mapping[str, Any], said: Mapping[str, str]) -> str:
    name = path.rpartition(".")[2]
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    words = said.get(path) or words_for(path)
    if path in set_here:
        text = f"{name} = {_toml(set_here[path])}"
        if default not in (None, set_here[path]) and default != ():
            words = f"{words}; default: {_toml(default)}"
    else:
        value = _EXAMPLES.get(path, default)
        text = f"# {name} = {_toml(_example(info) if value is None else value)}"
        if default is None and "default" not in words:
            words = f"{words}; {'required' if info.is_required() else 'default: none'}"
    return _beside(text, words.removeprefix("; "))


def _beside(text: str, words: str) -> str:
    """A line and its words, which go on below where they are many."""
    at = max(_WIDTH, len(text))
    first, *more = textwrap.wrap(words, max(40, _WIDEST - at - 4)) or [""]
    lines = [f"{text:<{at}}  # {first}" if first else text]
    return "\n".join([*lines, *(f"{'':<{at}}  # {line}" for line in more)])


def words_for(path: str) -> str:
    """What the key means: as its flag says it, or as written here."""
    if path in _WORDS:
        return _WORDS[path]
    flag = next((flag for flags in GROUPS.values() for flag in flags if flag.key == path), None)
    if flag is None:
        return ""
    words, _, default = flag.help.partition("[default: ")
    words = words.strip().removesuffix(".")
    if words[1:2].islower():
        words = words[0].lower() + words[1:]
    unit = "seconds: " if path.endswith("_s") else ""
    said = re.sub(r"\]$", "", default.strip())
    # a plain value stands in the line itself, unless an example does
    kept = said and (path in _EXAMPLES or not re.fullmatch(r"[\w.,<>/%:-]+", said))
    return f"{unit}{words}" + (f"; default: {said}" if kept else "")


def _example(info: FieldInfo) -> Any:
    """A value that the key takes, where it has no default and no example of its own."""
    for kind in (info.annotation, *get_args(info.annotation)):
        if get_origin(kind) is Literal:
            return get_args(kind)[0]
        if kind in (int, float, str):
            return {int: 1, float: 1.0, str: "..."}[kind]
    return {}


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
