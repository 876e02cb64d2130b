"""What benchsuite knows of a kind of server, as one value; each has a file in this folder. Pure.

A new server is a new file with a `Server` and a line in `servers/__init__.py`; tests/test_server_table.py asks why it
lacks what it lacks. Sources: docs/METHODS.md, Servers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

CAPS = ("max_tokens", "max_completion_tokens")  # OpenAI's names of the cap on output tokens

# "a or b" (the newest name first). Samples of several engines or models add up; of a ratio they are averaged.
Metrics = Mapping[str, str]


def histogram(figure: str, *names: str, labels: str = "") -> Metrics:
    """Sum and count of a histogram over seconds."""
    return {
        f"{figure}_sum_s": " or ".join(f"{name}_sum{labels}" for name in names),
        f"{figure}_count": " or ".join(f"{name}_count{labels}" for name in names),
    }


def vllm_metrics(prefix: str) -> Metrics:
    """Metrics of servers that use vLLM's metric names."""
    return {
        "running": f"{prefix}num_requests_running",
        "waiting": f"{prefix}num_requests_waiting",
        "prompt_tokens": f"{prefix}prompt_tokens_total",
        "generated_tokens": f"{prefix}generation_tokens_total",
        "requests_done": f"{prefix}request_success_total",
        **histogram("queue", f"{prefix}request_queue_time_seconds"),
        **histogram("prefill", f"{prefix}request_prefill_time_seconds"),
        **histogram("decode", f"{prefix}request_decode_time_seconds"),
        **histogram("itl", f"{prefix}inter_token_latency_seconds", f"{prefix}time_per_output_token_seconds"),
        **histogram("ttft", f"{prefix}time_to_first_token_seconds"),
        **histogram("e2e", f"{prefix}e2e_request_latency_seconds"),
    }


@dataclass(frozen=True, slots=True)
class Recognise:
    """Facts by which only this server is recognised; tried in this order."""

    owned_by: str | None = None  # the owner of its models in /v1/models
    header: str | None = None  # a part of its `Server` header
    route: tuple[str, str] | None = None  # a path, and a text in its response of status 200
    unlisted_header: str | None = None  # a part of the header of a server that lists no models
    refusal: str | None = None  # a part of its message when it refuses a field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes. Each limit has its sources, the best first.

    A source is an argument of the command that started the server ("--max-num-seqs"), or a route and the keys of its
    JSON ("/props total_slots"): {model} takes a list's entry whose id or name is the model, * adds up all entries.
    """

    concurrent_requests: tuple[str, ...] = ()
    context_tokens: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    slots: str = ""  # its setting for concurrent requests
    default_slots: int | None = None  # at least so many where no source tells
    raise_slots: str = ""  # how that setting becomes {n}, if not by `slots {n}`
    refuses: bool = False  # more requests are refused; else they wait
    cuts_prompts: bool = (
        False  # its OpenAI routes cut a prompt beyond the context without a word; its native one refuses
    )
    too_long: str = "refuses such requests"  # what it does with a request beyond its context
    raise_context: str = ""  # the remedy for that


@dataclass(frozen=True, slots=True)
class Local:
    """How its program is started here: {model}, {host} and {port} are filled in (`fill`)."""

    program: str = ""
    words: str = ""  # after the program
    module: str | None = None  # of a Python program, for `python -m`: it may live in an environment of its own
    module_words: str | None = None
    package: str | None = None  # as pip installs it
    install: str = ""  # what to do where neither is there
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # flags, unless given or one of their opposites
    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, type] | None = None  # all that it takes, where that is checked
    as_env: str | None = None  # the settings are environment variables with this prefix
    name_flag: str | None = None  # the model's name in requests
    named_by_model: bool = True  # without that flag requests name the model as it was started
    default_name: str | None = None  # the model's name in requests where nothing says another
    quantization_flags: tuple[str, ...] = ()
    key_variables: str = "HF_TOKEN"  # the environment variables that take its secrets
    needs_model: bool = True
    embedded: bool = False  # comes with benchsuite and ends with its standard input
    model_routes: Mapping[str, str] | None = None  # to list, pull, load and show models, where it does that itself
    note: str = ""  # for `serve --help`
    ready_timeout_s: float = 1800.0  # weights to download, graphs to capture

    def flag_of(self, placeholder: str) -> str | None:
        """The flag before {model}, {host} or {port}; None if it is positional or absent."""
        words = pairwise(f"{self.words} {self.module_words or ''}".split())
        return next((flag for flag, word in words if word == placeholder and flag.startswith("--")), None)


@dataclass(frozen=True, slots=True)
class Container:
    """How it runs in a container."""

    image: str
    port: int | None = None  # None: its usual one
    command: str = ""  # with {model}, before the server's own arguments
    environment: tuple[str, ...] = ("HF_TOKEN",)  # NAME is passed on if it is set here, NAME=value is a default
    volumes: Mapping[str, str] = field(default_factory=lambda: {"huggingface": "/root/.cache/huggingface"})
    health: tuple[str, ...] | None = None  # None asks the ready path with the image's python3
    shared_memory: str = "host"  # the host's, which tensor parallel workers share; or a size


class ServerTimes(NamedTuple):
    """A server's own times of a request, in seconds."""

    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    cached_tokens: int | None = None


class NativeEvent(NamedTuple):
    """One event of a native route; the last of a response has `ended` and the server's figures of the whole."""

    kind: int  # 2 for an answer token, 1 for a reasoning token, 0 for none
    text: str | None = None
    ended: bool = False
    done: bool = False  # the format's own end
    finish_reason: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    times: ServerTimes | None = None


@dataclass(frozen=True, slots=True)
class Native:
    """The server's own protocol."""

    stream_path: str
    whole_path: str  # without streaming
    body: Mapping[str, Any]  # with "$MODEL", "$MESSAGES" or "$TEXT" (the messages as one prompt), and "$STREAM"
    cap: tuple[str, str]  # table and name of the field for the most output tokens
    takes: tuple[str, ...]  # the keys of [sampling] that it has a field for
    sampling: Callable[[Mapping[str, Any]], dict[str, Any]]  # its fields for those of them that are given
    event_keys: tuple[str, ...]  # one of them is in every event, and in none of another protocol
    read: Callable[[dict[str, Any]], NativeEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One kind of server. A feature that it lacks is None, or empty."""

    name: str
    title: str  # for people
    summary: str = ""
    ports: tuple[int, ...] = ()  # where it listens; the first is `serve`'s
    tried: bool = True  # against a server or a stand-in made of its source; else written from documentation
    speaks: str | None = None  # the server whose routes and fields it has, and as which it is recognised
    recognise: Recognise | None = None
    ready_path: str = "/health"
    info_path: str | None = None  # its version and settings
    info_keys: tuple[str, ...] | None = None  # which of them are kept; None: all that are harmless
    native: Native | None = None
    ignores: tuple[str, ...] = ()  # keys of [sampling] that its OpenAI routes drop without a word
    event_field: tuple[str, Callable[[Any], ServerTimes | None]] | None = None  # beside an event's choices
    usage_option: bool = True  # takes stream_options.include_usage
    fixed_length: Mapping[str, Any] = field(default_factory=dict)  # fields for exactly max_tokens ("$N") tokens
    cache_salt_field: str | None = None  # keys its prefix cache
    cache_off_fields: Mapping[str, Any] = field(default_factory=dict)
    cache_reset_path: str | None = None  # POST empties the cache
    schema_fields: Mapping[str, Any] | None = field(  # constrain an answer to a JSON schema
        default_factory=lambda: {
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": "$SCHEMA"}}
        }
    )
    lists_its_model: bool = True  # /v1/models has the name to ask for
    metrics_path: str | None = "/metrics"
    metrics: Metrics | None = None
    metrics_remedy: str = "--metrics-url, if elsewhere"  # how its metrics page is switched on
    limits: Limits | None = None
    preallocates: bool = False  # takes GPU memory at start, whatever the load
    local: Local | None = None
    docker: Container | None = None
    parallel_flags: tuple[str, ...] | None = None  # each by all its names; the product of their values is the GPUs
    shared_gpus: str | None = None  # with this flag the ranks of the last of them share the GPUs of the others
    examples: tuple[str, ...] = ()

    def gpus(self, args: Sequence[str]) -> int | None:
        """How many GPUs the arguments spread the model over; None if they do not say."""
        groups = (self.parallel_flags or ())[: -1 if self.shared_gpus in args else None]
        sizes = [next((value for flag in group.split() if (value := argument(args, flag))), "") for group in groups]
        known = [max(int(size), 1) for size in sizes if size.isdecimal() and len(size) < 10]
        return prod(known) if known else None


def unknown_sampling(server: Server, sampling: Collection[str], *, native: bool) -> list[str]:
    """The keys of [sampling] that the server's route does not know and would ignore silently."""
    if native and server.native:
        return [name for name in sampling if name not in server.native.takes]
    return [name for name in sampling if name in server.ignores]


def argument(args: Sequence[str], flag: str | None) -> str | None:
    """The last value of `--flag value` or `--flag=value` in `args`; None without it, "" if nothing follows it."""
    words = [part for word in args for part in (word.split("=", 1) if word.startswith("--") else [word])]
    return next((value for word, value in reversed([*pairwise([*words, ""])]) if word == flag), None)


def fill(words: str, **values: str | None) -> list[str]:
    """The words with {name} replaced by its value; where that is None, word and flag before it are removed."""
    filled: list[str] = []
    for word in words.split():
        value = values.get(word.strip("{}"), word)
        if value is not None:
            filled.append(value)
        elif filled and filled[-1].startswith("--"):
            filled.pop()
    return filled


def count(value: Any) -> int | None:
    """A token count as a server gives it, also 4.0; None if it is no count, or does not fit into an int32."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def seconds(value: Any, per_s: float) -> float | None:
    """A duration that a server gives in units of 1/`per_s` seconds; None if it is no number, negative or too long."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # compared before it is divided: an integer of hundreds of digits would not fit into a float
    return value / per_s if 0 <= value <= 1e6 * per_s else None
