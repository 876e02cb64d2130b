"""What benchsuite knows of a kind of server, as one value; each is a file of its own beside this one. Pure.

A new server is a new file with a `Server` and a line in `servers/__init__.py`. What it does not have is None, and
`absent` says why. Sources: docs/METHODS.md, Servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any, Literal, NamedTuple

JSON_SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": "$SCHEMA"}}}


@dataclass(frozen=True, slots=True)
class MetricSource:
    """How one figure is read: the sum of `names`, each over the samples that carry `labels`.

    fold: how the samples of several engines or models become one: counts add up, shares are averaged.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()
    fold: Literal["sum", "mean"] = "sum"


Metrics = Mapping[str, tuple[MetricSource, ...]]


def metric(*names: str, fold: Literal["sum", "mean"] = "sum") -> tuple[MetricSource, ...]:
    """One figure by its names, the newest first; the first whose samples are all there is taken."""
    return tuple(MetricSource((name,), fold=fold) for name in names)


def total(*names: str) -> tuple[MetricSource, ...]:
    """One figure that is the sum of several."""
    return (MetricSource(names),)


def histogram(figure: str, *names: str, **labels: str) -> dict[str, tuple[MetricSource, ...]]:
    """Sum and count of a histogram over seconds, by its names as for `metric`."""
    picked = tuple(labels.items())
    return {
        f"{figure}_sum_s": tuple(MetricSource((f"{name}_sum",), picked) for name in names),
        f"{figure}_count": tuple(MetricSource((f"{name}_count",), picked) for name in names),
    }


def histograms(prefix: str) -> dict[str, tuple[MetricSource, ...]]:
    """The histograms over seconds by vLLM's names, which others took over."""
    return {
        **histogram("queue", f"{prefix}request_queue_time_seconds"),
        **histogram("prefill", f"{prefix}request_prefill_time_seconds"),
        **histogram("decode", f"{prefix}request_decode_time_seconds"),
        **histogram("itl", f"{prefix}inter_token_latency_seconds", f"{prefix}time_per_output_token_seconds"),
        **histogram("ttft", f"{prefix}time_to_first_token_seconds"),
        **histogram("e2e", f"{prefix}e2e_request_latency_seconds"),
    }


@dataclass(frozen=True, slots=True)
class Recognise:
    """What only this server does; asked for in this order.

    owned_by: the owner of its models in /v1/models. header: a part of its `Server` header. route: (path, a text in its
    response of status 200). unlisted_header: a part of the header of a server that lists no models. refusal: a part of
    its message when it refuses a field.
    """

    owned_by: str | None = None
    header: str | None = None
    route: tuple[str, str] | None = None
    unlisted_header: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes. Each limit has its sources, the best first.

    A source is an argument of the command that started the server ("--max-num-seqs"), or a route and the keys of its
    JSON ("/props total_slots"): {model} takes a list's entry whose id or name is the model, * adds up all entries.
    slots: the server's word for concurrent_requests. default_slots: at least so many where no source tells.
    raise_slots: the setting that raises it to {n}. refuses: more requests are refused; else they wait. too_long: what
    it does with a request beyond its context, and the remedy.
    """

    concurrent_requests: tuple[str, ...] = ()
    context_tokens: tuple[str, ...] = ()
    input_tokens: tuple[str, ...] = ()
    slots: str = "slots"
    default_slots: int | None = None
    raise_slots: str = ""
    refuses: bool = False
    too_long: str = ""


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Routes of a server that pulls and loads models itself: list, pull, load for good, and tell of one."""

    list_path: str
    pull_path: str
    load_path: str
    show_path: str


@dataclass(frozen=True, slots=True)
class Local:
    """How its program is started here: {model}, {host} and {port} are filled in (`fill`).

    words: after the program. module, module_words: the same for `python -m`, of a Python program that may live in an
    environment of its own. package: on PyPI, for its version. install: what to do where it is not there. added: flags
    that we add unless one of their opposites is given. settings: all that it takes, where that is checked; as_env: they
    are environment variables with this prefix. name_flag: its name in requests; named_by_model: else it is the model's.
    note: for `serve --help`. embedded: comes with benchsuite and ends with its standard input.
    """

    program: str = ""
    words: str = ""
    module: str | None = None
    module_words: str | None = None
    package: str | None = None
    install: str = ""
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, type] | None = None
    as_env: str | None = None
    name_flag: str | None = None
    named_by_model: bool = True
    quantization_flags: tuple[str, ...] = ()
    key_variables: str = "see its manual"
    needs_model: bool = True
    embedded: bool = False
    models: ModelStore | None = None
    note: str = ""
    ready_timeout_s: float = 1800.0  # weights to download, graphs to capture

    def flag_of(self, placeholder: str) -> str | None:
        """The flag before {model}, {host} or {port}; None where it is a position or not there."""
        words = f"{self.words} {self.module_words or ''}".split()
        flags = (before for before, word in pairwise(words) if word == placeholder and before.startswith("--"))
        return next(flags, None)


@dataclass(frozen=True, slots=True)
class Container:
    """How it runs in a container. command: with {model}, before the server's own arguments.

    environment: NAME is passed on if it is set here, NAME=value is a default. volumes: name to path, for weights.
    health: None asks the ready path with the image's python3. shared_memory: "host" (IPC), or a size.
    """

    image: str
    port: int
    command: str = ""
    environment: tuple[str, ...] = ("HF_TOKEN",)
    volumes: Mapping[str, str] = field(default_factory=lambda: {"huggingface": "/root/.cache/huggingface"})
    health: tuple[str, ...] | None = None
    shared_memory: str = "host"  # tensor parallel workers share memory
    start_period_s: int = 1800


class ServerTimes(NamedTuple):
    """What a server says of its own work on a request, in seconds. None: not told."""

    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    cached_tokens: int | None = None


class NativeEvent(NamedTuple):
    """One event of a native route. kind: 2 for an answer token, 1 for a reasoning token, 0 for none.

    ended: the last one of a response; then finish_reason, token counts and times as the server gives them. done: it is
    the format's own end.
    """

    kind: int
    text: str | None = None
    ended: bool = False
    done: bool = False
    finish_reason: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    times: ServerTimes | None = None


@dataclass(frozen=True, slots=True)
class Native:
    """The server's own dialect. stream_path, whole_path: its route with and without streaming.

    body: with "$MODEL", "$MESSAGES", "$TEXT" (the messages as one prompt), "$STREAM" and "$N" (the most output tokens);
    a field without a value goes. event_keys: one of them is in every event, and in none of another dialect.
    """

    stream_path: str
    whole_path: str
    body: Mapping[str, Any]
    event_keys: tuple[str, ...]
    read: Callable[[dict[str, Any]], NativeEvent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One kind of server.

    title: for people. ports: where it listens; the first is `serve`'s. tried: against a server or a stand-in made of
    its source; else written from documentation. speaks: the server whose routes and fields it has, and as which it is
    recognised.
    info_path, info_keys: what it says of itself, and which keys of it are kept (None: all that are harmless).
    usage_option: takes stream_options.include_usage. fixed_length: fields for exactly max_tokens ("$N") tokens.
    cache_salt_field: a field that keys its prefix cache; cache_off_fields: fields that switch it off; cache_reset_path:
    POST empties it. schema_fields: fields that constrain an answer to a JSON schema ("$SCHEMA"). lists_its_model:
    /v1/models has the name to ask for. event_field: a field beside an event's choices and how it is read.
    metrics_remedy: how its metrics page is switched on. preallocates: takes GPU memory at start, whatever the load.
    parallel_flags: groups of flags whose product is the number of GPUs. shared_gpus: a flag with which the last group's
    ranks share the GPUs of the others.
    """

    name: str
    title: str
    summary: str = ""
    ports: tuple[int, ...] = ()
    tried: bool = True
    speaks: str | None = None
    recognise: Recognise | None = None
    ready_path: str = "/health"
    info_path: str | None = None
    info_keys: tuple[str, ...] | None = None
    native: Native | None = None
    event_field: tuple[str, Callable[[Any], ServerTimes | None]] | None = None
    usage_option: bool = True
    fixed_length: Mapping[str, Any] = field(default_factory=dict)
    cache_salt_field: str | None = None
    cache_off_fields: Mapping[str, Any] = field(default_factory=dict)
    cache_reset_path: str | None = None
    schema_fields: Mapping[str, Any] | None = field(default_factory=lambda: JSON_SCHEMA)
    lists_its_model: bool = True
    metrics_path: str | None = "/metrics"
    metrics: Metrics | None = None
    metrics_remedy: str = "--metrics-url, if elsewhere"
    limits: Limits | None = None
    preallocates: bool = False
    local: Local | None = None
    docker: Container | None = None
    parallel_flags: tuple[tuple[str, ...], ...] | None = None
    shared_gpus: str | None = None
    examples: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    def gpus(self, args: Sequence[str]) -> int | None:
        """How many GPUs the arguments spread the model over; None where they do not say."""
        groups = (self.parallel_flags or ())[: -1 if self.shared_gpus in args else None]
        sizes = [next((value for flag in group if (value := argument(args, flag))), "") for group in groups]
        known = [max(int(size), 1) for size in sizes if size.isdecimal() and len(size) < 10]
        return prod(known) if known else None


def argument(args: Sequence[str], flag: str | None) -> str | None:
    """The last value of `--flag value` or `--flag=value` in `args`; None without it, "" if nothing follows it."""
    found = None
    for word, following in pairwise([*args, ""]) if flag else ():
        if word == flag:
            found = following
        elif word.startswith(f"{flag}=") and word.startswith("--"):
            found = word[len(f"{flag}=") :]
    return found


def fill(words: str, **values: str | None) -> list[str]:
    """The words with {name} as its value; one whose value is None goes, with the flag before it."""
    filled: list[str] = []
    for word in words.split():
        value = values.get(word.strip("{}"), word)
        if value is not None:
            filled.append(value)
        elif filled and filled[-1].startswith("--"):
            filled.pop()
    return filled


_MAX_COUNT = 2**31  # a token count beyond it is nonsense, and no int32
_MAX_S = 1e6


def count(value: Any) -> int | None:
    """A token count as a server gives it, None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_COUNT else None


def seconds(value: Any, per_s: float) -> float | None:
    """A duration that a server gives in units of 1/`per_s` seconds; None if it is none, negative or absurd."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # compared before it is divided: an integer of hundreds of digits would not fit into a float
    return value / per_s if 0 <= value <= _MAX_S * per_s else None
