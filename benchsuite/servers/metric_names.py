"""What servers call their metrics, as data, and how a page's samples become one reading. Pure.

A family is told by the names on the page, whatever server was expected. Each figure has its names newest first; the
first whose samples are all there is taken. Sources: docs/METHODS.md, Server metrics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from benchsuite.redact import masked

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{ \t])")


@dataclass(frozen=True, slots=True)
class Reading:
    """One sample. value: NaN and infinities are None, for they measure nothing."""

    name: str
    labels: dict[str, str]
    value: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted samples of a page. n_named: lines of the page that begin like a sample, wanted or not.

    odd: the first wanted line that could not be read, None if all could.
    """

    readings: tuple[Reading, ...]
    n_named: int
    odd: str | None = None


def parse_page(text: str, wanted: Container[str]) -> Page:
    """The samples in `text` whose name is in `wanted`. Timestamps and exemplars are left out."""
    found: list[Reading] = []
    n_named, odd = 0, None
    for line in text.split("\n"):
        name = _NAME.match(line)
        if name is None:
            continue
        n_named += 1
        if name.group() in wanted:
            try:
                (family,) = text_string_to_metric_families(line)
                found += [Reading(sample.name, sample.labels, _finite(sample.value)) for sample in family.samples]
            except (ValueError, IndexError, KeyError, OverflowError):
                odd = odd or masked(line)[:120]
    return Page(tuple(found), n_named, odd)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Figure:
    """How one figure is read: the sum of `names`, each over the samples that carry `labels`.

    fold: how the samples of several engines or models become one: counts add up, shares are averaged.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, str], ...] = ()
    fold: Literal["sum", "mean"] = "sum"


Figures = Mapping[str, tuple[Figure, ...]]


def _one(*names: str, fold: Literal["sum", "mean"] = "sum") -> tuple[Figure, ...]:
    return tuple(Figure((name,), fold=fold) for name in names)


def _histogram(figure: str, *names: str, labels: tuple[tuple[str, str], ...] = ()) -> dict[str, tuple[Figure, ...]]:
    return {
        f"{figure}_sum_s": tuple(Figure((f"{name}_sum",), labels) for name in names),
        f"{figure}_count": tuple(Figure((f"{name}_count",), labels) for name in names),
    }


VLLM: Figures = {
    "running": _one("vllm:num_requests_running"),
    "waiting": _one("vllm:num_requests_waiting"),
    "kv_cache_ratio": _one("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", fold="mean"),
    "prefix_cache_hits": _one("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "prefix_cache_queries": _one("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "preemptions": _one("vllm:num_preemptions_total"),
    "prompt_tokens": _one("vllm:prompt_tokens_total"),
    "generated_tokens": _one("vllm:generation_tokens_total"),
    "requests_done": _one("vllm:request_success_total"),
    **_histogram("queue", "vllm:request_queue_time_seconds"),
    **_histogram("prefill", "vllm:request_prefill_time_seconds"),
    **_histogram("decode", "vllm:request_decode_time_seconds"),
    **_histogram("itl", "vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    **_histogram("ttft", "vllm:time_to_first_token_seconds"),
    **_histogram("e2e", "vllm:e2e_request_latency_seconds"),
}

SGLANG: Figures = {
    "running": _one("sglang:num_running_reqs"),
    "waiting": _one("sglang:num_queue_reqs"),
    "kv_cache_ratio": _one("sglang:token_usage", fold="mean"),
    "prompt_tokens": _one("sglang:prompt_tokens_total"),
    "generated_tokens": _one("sglang:generation_tokens_total"),
    "requests_done": _one("sglang:num_requests_total"),
    **_histogram("itl", "sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
    **_histogram("ttft", "sglang:time_to_first_token_seconds"),
    **_histogram("e2e", "sglang:e2e_request_latency_seconds"),
}

TGI: Figures = {
    "running": _one("tgi_batch_current_size"),
    "waiting": _one("tgi_queue_size"),
    "prompt_tokens": _one("tgi_request_input_length_sum"),
    "generated_tokens": _one("tgi_request_generated_tokens_sum"),
    "requests_done": _one("tgi_request_success"),
    **_histogram("queue", "tgi_request_queue_duration"),
    # of a batch, not of a request: the counts tell whether they are the same
    **_histogram("prefill", "tgi_batch_inference_duration", labels=(("method", "prefill"),)),
    # a decode step gives every running request one token
    **_histogram("itl", "tgi_batch_inference_duration", labels=(("method", "decode"),)),
    **_histogram("e2e", "tgi_request_duration"),
}

LLAMACPP: Figures = {
    "running": _one("llamacpp:requests_processing"),
    "waiting": _one("llamacpp:requests_deferred"),
    "kv_cache_ratio": _one("llamacpp:kv_cache_usage_ratio"),
    "prefix_cache_hits": _one("llamacpp:prompt_tokens_cached_total"),
    "prefix_cache_queries": (Figure(("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total")),),
    "prompt_tokens": (
        Figure(("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total")),
        Figure(("llamacpp:prompt_tokens_total",)),
    ),
    "generated_tokens": _one("llamacpp:tokens_predicted_total"),
    # sums over requests without a count of them
    "prefill_sum_s": _one("llamacpp:prompt_seconds_total"),
    "decode_sum_s": _one("llamacpp:tokens_predicted_seconds_total"),
}

FAMILIES: dict[str, Figures] = {"vllm": VLLM, "sglang": SGLANG, "tgi": TGI, "llamacpp": LLAMACPP}
WANTED = frozenset(
    name for family in FAMILIES.values() for figures in family.values() for figure in figures for name in figure.names
)

_FOLDS: dict[str, Callable[[Sequence[float]], float]] = {"sum": sum, "mean": fmean}


@dataclass(frozen=True, slots=True)
class ServerReading:
    """What one page says. family: whose names it uses, None if nobody's that is known. figures: by ServerSample's
    field; absent where the page does not tell. odd: a line that could not be read.
    """

    family: str | None
    figures: dict[str, float]
    n_named: int
    odd: str | None = None


def read_server_page(text: str) -> ServerReading:
    """The figures in a server's /metrics. Raises nothing: text that is no such page has no figures."""
    page = parse_page(text, WANTED)
    known: dict[str, dict[str, float]] = {}
    for family, table in FAMILIES.items():
        figures = {field: _first(page, ways) for field, ways in table.items()}
        known[family] = {field: value for field, value in figures.items() if value is not None}
    # a gateway may pass on a few names of another family; the page is of the one it says most of
    family = max(known, key=lambda name: len(known[name]))
    return ServerReading(family if known[family] else None, known[family], page.n_named, page.odd)


def _first(page: Page, ways: tuple[Figure, ...]) -> float | None:
    return next((value for way in ways if (value := _value(page, way)) is not None), None)


def _value(page: Page, figure: Figure) -> float | None:
    total = 0.0
    for name in figure.names:
        own = [
            reading.value
            for reading in page.readings
            if reading.name == name and all(reading.labels.get(key) == text for key, text in figure.labels)
        ]
        values = [value for value in own if value is not None]
        # one engine's NaN makes a sum of the others wrong; a mean of the others is still theirs
        if not values or (len(values) < len(own) and figure.fold == "sum"):
            return None
        total += _FOLDS[figure.fold](values)
    return total
