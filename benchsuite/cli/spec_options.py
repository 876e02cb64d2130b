"""A sweep.toml with every key of the specification, its default and its unit, for a server or for none. Pure text."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchsuite.servers import PROFILES
from benchsuite.spec import DEFAULT_LEVELS, SweepSpec


def whole_numbers(_: click.Context, __: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        return [int(level) for level in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers such as 8,16,32") from None


def _workers(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    return int(value) if value is not None and value.lstrip("-").isdigit() else value


def _words(_: click.Context, __: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [word.strip() for word in value.split(",") if word.strip()]


def _urls(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> str | list[str] | None:
    return None if not value else value[0] if len(value) == 1 else list(value)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its click declaration, the dotted key of the spec that it sets, what it says in --help."""

    name: str
    key: str
    help: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def parameter(self) -> str:
        """The name that click gives the value."""
        return self.name.split("/")[0].lstrip("-").replace("-", "_")


_INT: dict[str, Any] = {"type": int}
_FLOAT: dict[str, Any] = {"type": float}
_YES: dict[str, Any] = {"is_flag": True, "default": None}
_EITHER: dict[str, Any] = {"default": None}

GROUPS: dict[str, tuple[Flag, ...]] = {
    "Server": (
        Flag(
            "--base-url",
            "server.base_url",
            "The server, with or without /v1; more than once for replicas.",
            {"multiple": True, "callback": _urls},
        ),
        Flag("--model", "server.model", "As the server knows it.  [default: the only one that it lists]"),
        Flag("--profile", "server.profile", f"auto, or the kind of server: {', '.join(PROFILES)}."),
        Flag("--endpoint", "server.endpoint", "chat, completions, or native (TGI, Ollama).  [default: chat]"),
        Flag(
            "--stream/--no-stream", "server.stream", "Ask for a stream of tokens.  [default: stream]", {"default": None}
        ),
        Flag("--api-key-env", "server.api_key_env", "Variable with the API key.  [default: OPENAI_API_KEY]"),
        Flag("--api-key-file", "server.api_key_file", "File with the API key, instead."),
        Flag("--insecure", "server.insecure", "Do not verify the server's TLS certificate.", _YES),
    ),
    "Fallback to a paid API": (
        Flag("--fallback-url", "server.fallback.base_url", "Where requests go that the server refuses."),
        Flag("--fallback-model", "server.fallback.model", "As the API knows it."),
        Flag(
            "--fallback-api-key-env",
            "server.fallback.api_key_env",
            "Variable with its key.  [default: FALLBACK_API_KEY]",
        ),
        Flag("--fallback-api-key-file", "server.fallback.api_key_file", "File with its key, instead."),
        Flag(
            "--fallback-usd-per-1m-input",
            "server.fallback.usd_per_1m_input",
            "Its list price of input tokens.",
            _FLOAT,
        ),
        Flag(
            "--fallback-usd-per-1m-output",
            "server.fallback.usd_per_1m_output",
            "Its list price of output tokens.",
            _FLOAT,
        ),
        Flag(
            "--fallback-on",
            "server.fallback.on",
            "Which refusals: 429, 503, queue.  [default: 429,503]",
            {"callback": _words},
        ),
        Flag(
            "--fallback-max-waiting",
            "server.fallback.max_waiting",
            "Longest queue of the server before new requests go there.",
            _INT,
        ),
    ),
    "Requests": (
        Flag("--workload", "workload.source", "'wineval', or a JSONL file of requests.  [default: wineval]"),
        Flag("--requests", "workload.requests", "Size of the set.  [default: 2993 for wineval, else the file's]", _INT),
        Flag("--max-output-tokens", "workload.max_output_tokens", "Cap on every request's output tokens.", _INT),
        Flag("--fixed-length", "workload.fixed_length", "Make every output exactly as long as its cap.", _YES),
        Flag("--cache-bust", "workload.cache_bust", "auto, field, prompt or off: how caches are kept out."),
        Flag("--save-text", "workload.save_text", "Keep the generated texts in requests.parquet.", _YES),
    ),
    "Load": (
        Flag(
            "--concurrency",
            "load.concurrency",
            "Levels, such as 8,16.  [default: 8,16,32,48,64,128]",
            {"callback": whole_numbers},
        ),
        Flag("--repeats", "load.repeats", "Times that each level is measured.  [default: 1]", _INT),
        Flag("--seed", "load.seed", "Seed of the set, its order and the levels' order.  [default: 0]", _INT),
        Flag("--warmup-requests", "load.warmup_requests", "Discarded before each point.  [default: max(2N, 64)]", _INT),
        Flag(
            "--warmup-min-s",
            "load.warmup_min_s",
            "Least warm-up.  [default: 30 for sets of 1000 or more, else 0]",
            _FLOAT,
        ),
        Flag(
            "--cooldown-min-s",
            "load.cooldown_min_s",
            "Least pause before each point.  [default: as for the warm-up]",
            _FLOAT,
        ),
        Flag("--connect-timeout-s", "timeouts.connect_s", "When a connection is given up.  [default: 10]", _FLOAT),
        Flag(
            "--first-token-timeout-s",
            "timeouts.first_token_s",
            "When a request without a token is given up.  [default: as for --idle-timeout-s]",
            _FLOAT,
        ),
        Flag("--idle-timeout-s", "timeouts.idle_s", "When one without a byte is given up.  [default: 300]", _FLOAT),
        Flag("--request-timeout-s", "timeouts.request_s", "When any request is given up.  [default: 1800]", _FLOAT),
        Flag(
            "--max-errors",
            "load.max_errors",
            "Failed requests (a number, or 5% of the set) beyond which a level is given up.  [default: any]",
        ),
        Flag(
            "--server-wait-s",
            "load.server_wait_s",
            "How long a server that is gone may take to come back.  [default: 60]",
            _FLOAT,
        ),
        Flag("--workers", "load.workers", "Measuring processes, or auto.  [default: 1]", {"callback": _workers}),
        Flag("--driver", "load.driver", "wire; or httpx, httpx-shared, openai to cross-check.  [default: wire]"),
        Flag("--max-rps", "load.max_rps", "Never send more requests a second than this.", _FLOAT),
    ),
    "Money and limits": (
        Flag("--usd-per-hour", "price.usd_per_hour", "Price of one GPU-hour.", _FLOAT),
        Flag("--preset", "price.preset", "A bundled price instead; see `benchsuite cost --list-presets`."),
        Flag("--gpus", "price.gpus", "GPUs that serve the model, all servers together.  [default: 1]", _INT),
        Flag("--usd-per-kwh", "price.usd_per_kwh", "Price of electricity, for measured energy.", _FLOAT),
        Flag(
            "--pue",
            "price.pue",
            "Power usage effectiveness: energy at the wall per energy of GPUs.  [default: 1]",
            _FLOAT,
        ),
        Flag("--gco2-per-kwh", "price.gco2_per_kwh", "Carbon intensity of the grid, grams a kWh.", _FLOAT),
        Flag("--slo", "slo", "Limits that must hold.  [default: ttft_mean<1s,throughput>20]"),
    ),
    "Telemetry": (
        Flag("--gpu", "telemetry.gpu", "auto, nvml, dcgm or off: how GPUs are sampled.  [default: auto]"),
        Flag("--gpu-hz", "telemetry.gpu_hz", "Samples a second, 10 at most.  [default: 1]", _FLOAT),
        Flag(
            "--gpu-ids",
            "telemetry.gpu_ids",
            "GPUs that serve: UUIDs or driver indices.  [default: found out]",
            {"callback": _words},
        ),
        Flag("--dcgm-url", "telemetry.dcgm_url", "A DCGM exporter, for GPUs of another machine."),
        Flag("--dcgm-interval-s", "telemetry.dcgm_interval_s", "How often it collects.  [default: 30]", _FLOAT),
        Flag("--metrics-url", "telemetry.metrics_url", "The server's metrics, if not at /metrics."),
        Flag(
            "--server-metrics/--no-server-metrics",
            "telemetry.server_metrics",
            "Sample the server's metrics.  [default: yes]",
            _EITHER,
        ),
        Flag(
            "--idle-s",
            "telemetry.idle_s",
            "How long idle power is measured.  [default: 10; 60 for 1000+]",
            _FLOAT,
        ),
        Flag("--constant-kw", "telemetry.constant_kw", "Power of all GPUs, where nothing measures it.", _FLOAT),
    ),
}
_FLAGS = [flag for flags in GROUPS.values() for flag in flags]


def spec_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command every flag of the spec."""
    for flag in reversed(_FLAGS):
        command = click.option(flag.name, help=flag.help, **flag.options)(command)
    return command


def overrides(flags: dict[str, Any]) -> dict[str, Any]:
    """The spec's keys that the flags set, as `load_spec` takes them; None: not given."""
    keys = {flag.key: flags[flag.parameter] for flag in _FLAGS}
    if keys["server.base_url"] is not None:
        keys["server.more_base_urls"] = ()  # the flag names all servers, whatever a file or a run named
    return keys


def given(flags: dict[str, Any]) -> bool:
    """True if any flag of the spec was given."""
    return any(value is not None and value != () for value in overrides(flags).values())


class GroupedCommand(click.Command):
    """A command whose --help shows the spec's flags under what they are about."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = {p.name: record for p in self.get_params(ctx) if (record := p.get_help_record(ctx)) is not None}
        for group, flags in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([records.pop(flag.parameter) for flag in flags])
        if records:
            with formatter.section("Run"):
                formatter.write_dl(list(records.values()))


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
    for name, info_ in model.model_fields.items():
        if _model(info_):
            inner += _table(f"{path}.{name}", info_, set_here, said)
        else:
            lines.append(_line(f"{path}.{name}", info_, set_here, said))
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
