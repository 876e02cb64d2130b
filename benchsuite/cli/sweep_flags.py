"""The flags of `benchsuite sweep` that stand for keys of the sweep specification, by what they are about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click


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
        Flag("--profile", "server.profile", "auto, vllm, tgi, ollama, llamacpp, transformers or openai."),
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
