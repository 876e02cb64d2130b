"""The rows of a run's tables, and what each column means, for the store and for people who read frames."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from benchsuite.metrics import BY_COLUMN, COLUMNS, LATENCIES

SCHEMA_VERSION = 1

Status = Literal["ok", "timeout", "connect_error", "http_error", "stream_error", "truncated", "cancelled", "dropped"]
TokenSource = Literal["usage", "tokenizer", "chunks"]
# finish_reasons in lower case
_CAP_ENDS = {
    "length", "max_tokens", "max_output_tokens", "max_new_tokens", "max_length", "model_length",
    "model_context_window_exceeded", "context_length_exceeded", "token_limit",
}  # fmt: skip
_ENDS = {
    "stop", "tool_calls", "tool_call", "tool_use", "function_call", "content_filter", "content_filtered",
    "safety", "sensitive", "recitation", "refusal", "guardrail_intervened", "eos_token", "eos", "eos_token_id",
    "endoftext", "stop_sequence", "stop_token", "stop_word", "end_turn", "pause_turn", "complete", "completed", "done",
    "repetition", "load", "unload", "stopped", "stop_str", "finished", "end", "normal", "end_of_sequence", "blocklist",
    "prohibited_content", "spii", "language",
}  # fmt: skip
# whatever else a server calls it
_FAILED_END = re.compile(
    r"abort|error|cancel|time.?out|timed.?out|fail|insufficient|unavailable|overload|exception|interrupt|disconnect"
    r"|network|crash|killed|incomplete|exceeded|rate_limit|time_limit|max_time|reject|preempt|evict|terminated|malformed"
    r"|internal|shut_?down|(^|_)(dead|died|reset|oom|not|pipe)(_|$)|out_of_memory"
)
StampSource = Literal["kernel", "user"]


def end_kind(reason: str) -> Literal["cap", "end", "failure", "unknown"]:
    """What a finish_reason tells, whatever its case, hyphens, humps or prefix of an enumeration: a response at its cap
    of tokens, another end, a failure; or nothing that is known, which is counted and warned of.
    """
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason).replace("-", "_").lower().removeprefix("finish_reason_")
    if word in _CAP_ENDS:
        return "cap"
    if word in _ENDS:
        return "end"
    return "failure" if _FAILED_END.search(word) else "unknown"


class RequestRecord(NamedTuple):
    """One request of a measured point, ok or not: one row of requests.parquet. None: it never came, or is not known."""

    run_id: Annotated[str, "the run"]
    point_id: Annotated[str, "the measured point: a level and a repeat"]
    concurrency: Annotated[int | None, "virtual users: the level of a closed loop; missing for a rate"]
    repeat: Annotated[int, "which repeat of the level, from 0"]
    request_id: Annotated[str, "the request, unique in the run"]
    prompt_id: Annotated[str, "the prompt of the request set"]
    scenario: Annotated[str | None, "of the prompt"]
    worker: Annotated[int, "the measuring process that sent it"]
    scheduled_s: Annotated[
        float, "its virtual user was free to send it, or its arrival was due; all times are on the run's clock"
    ]
    sent_s: Annotated[
        float | None, "just before its first byte went to the socket; missing if no connection could be made"
    ]
    headers_s: Annotated[
        float | None, "the end of the headers was received; this and the next four are missing if it never came"
    ]
    first_token_s: Annotated[float | None, "the first token was received, answer or reasoning"]
    first_answer_s: Annotated[float | None, "the first token of the answer was received"]
    last_token_s: Annotated[float | None, "the last token was received"]
    closed_s: Annotated[float | None, "the end of the response was received"]
    chunk_gap_us: Annotated[Any, "times between consecutive chunks with tokens: n_chunks - 1 values"]  # int32
    input_tokens: Annotated[int | None, "of the prompt"]
    cached_tokens: Annotated[int | None, "of the prompt that the server had in its prefix cache"]
    output_tokens: Annotated[int | None, "generated, reasoning included"]
    reasoning_tokens: Annotated[
        int | None, "of the output that were reasoning; if usage does not report them, by their share of the chunks"
    ]
    asked_output_tokens: Annotated[int | None, "the max_tokens that was sent; missing if none was"]
    n_chunks: Annotated[int, "chunks with tokens"]
    n_empty_chunks: Annotated[int, "events that carried no token (role only, null, empty)"]
    n_reads: Annotated[int, "socket reads of the response"]
    merged_reads: Annotated[int, "reads that held more than one event"]
    read_lag_max_us: Annotated[
        int | None, "greatest user-space stamp minus kernel stamp; missing without kernel stamps"
    ]
    connection_reused: Annotated[bool, "true if its connection was there: kept alive, or opened before a rate"]
    stale_retries: Annotated[int, "times it was sent again because the server had closed a kept-alive connection"]
    token_source: Annotated[TokenSource | None, "where token counts are from: usage, tokenizer or chunks"]
    stamp_source: Annotated[StampSource, "source of the receive timestamps: kernel or user"]
    finish_reason: Annotated[str | None, "why the server stopped: stop, length, ..."]
    status: Annotated[Status, "ok, timeout, connect_error, http_error, stream_error, truncated, cancelled or dropped"]
    http_status: Annotated[int | None, "of the answer, where there is something to say"]
    error: Annotated[str | None, "what went wrong; missing when nothing did"]
    response_id: Annotated[str | None, "the server's id of the answer"]
    text: Annotated[str | None, "what was generated, only where it was asked for (--save-text)"]
    attempt: Annotated[int, "attempt at the point, from 0; higher after an interruption"] = 0
    endpoint: Annotated[str | None, "base URL of the server that answered, or should have"] = None
    server_queue_s: Annotated[float | None, "reported by the server: time in its queue; missing if not reported"] = None
    server_prefill_s: Annotated[float | None, "reported by the server: prefill"] = None
    server_decode_s: Annotated[float | None, "reported by the server: decode"] = None
    notes: Annotated[
        str | None, "warning codes: irregularities of a response that counts as successful, separated by spaces"
    ] = None
    rate_per_s: Annotated[float | None, "arrivals a second: the level of an open loop; missing in a closed loop"] = None
    window_start_s: Annotated[
        float | None, "of an open loop: from here on arrivals are measured, those before are its warm-up"
    ] = None
    window_end_s: Annotated[float | None, "of an open loop: arrivals from here on are its tail"] = None


# columns of requests.parquet that no figure is made of: texts and others, most of a large run's memory
UNJUDGED = (
    "run_id", "request_id", "prompt_id", "scenario", "headers_s", "n_empty_chunks", "stale_retries",
    "http_status", "error", "response_id", "text",
)  # fmt: skip


class GpuSample(NamedTuple):
    """One reading of one GPU: one row of gpu.parquet. A counter or gauge that the part does not have is None."""

    at_s: Annotated[float, "when it was read, on the clock of the requests"]
    wall_s: Annotated[float, "when it was read, as Unix time"]
    source: Annotated[str, "nvml or dcgm"]
    uuid: Annotated[str, "of the card or MIG device"]
    util_ratio: Annotated[float | None, "share of the driver's last sample period in which any kernel ran"] = None
    memory_util_ratio: Annotated[float | None, "share of it in which memory was read or written"] = None
    memory_used_bytes: Annotated[int | None, "in use on the card"] = None
    memory_total_bytes: Annotated[int | None, "of the card"] = None
    power_w: Annotated[
        float | None, "what the driver calls the power draw (a 1 s average on most, else instantaneous)"
    ] = None
    power_average_w: Annotated[float | None, "1 s average, where the part has it"] = None
    power_instant_w: Annotated[float | None, "instantaneous, where the part has it"] = None
    power_limit_w: Annotated[float | None, "enforced power limit"] = None
    energy_j: Annotated[float | None, "counter since the driver was loaded"] = None
    sm_clock_mhz: Annotated[int | None, "of the multiprocessors"] = None
    memory_clock_mhz: Annotated[int | None, "of the memory"] = None
    temperature_c: Annotated[float | None, "of the GPU"] = None
    throttle_reasons: Annotated[int | None, "the driver's bit mask, raw"] = None
    pcie_tx_bytes_per_s: Annotated[float | None, "from the card"] = None
    pcie_rx_bytes_per_s: Annotated[float | None, "to the card"] = None
    n_processes: Annotated[int | None, "compute processes on the card"] = None
    foreign_processes: Annotated[int | None, "those that are not the server's; missing if unknown"] = None
    sm_active_ratio: Annotated[float | None, "multiprocessors with a warp on them (GPM, DCGM profiling)"] = None
    tensor_active_ratio: Annotated[float | None, "tensor pipes busy (GPM, DCGM profiling)"] = None
    dram_active_ratio: Annotated[float | None, "memory interface busy (GPM, DCGM profiling)"] = None
    error: Annotated[str | None, "why the reading is missing or partial, as the driver reports it"] = None


class ServerSample(NamedTuple):
    """One reading of a server's own metrics: one row of server.parquet. Missing is None.

    Counters count from the server's start. Pairs *_sum_s and *_count are histograms: a mean over a span is the
    difference of the sums over that of the counts.
    """

    at_s: Annotated[float, "when it was read, on the clock of the requests"]
    wall_s: Annotated[float, "when it was read, as Unix time"]
    endpoint: Annotated[str, "base URL of the server"]
    running: Annotated[float | None, "requests being worked on now"] = None
    waiting: Annotated[float | None, "requests in the queue now"] = None
    kv_cache_ratio: Annotated[float | None, "share of the KV cache in use"] = None
    prefix_cache_hits: Annotated[float | None, "counter: prompt tokens found in the prefix cache"] = None
    prefix_cache_queries: Annotated[float | None, "counter: prompt tokens looked for in the prefix cache"] = None
    preemptions: Annotated[float | None, "counter: requests preempted for lack of KV cache"] = None
    prompt_tokens: Annotated[float | None, "counter: of prompts"] = None
    generated_tokens: Annotated[float | None, "counter: generated"] = None
    requests_done: Annotated[float | None, "counter: requests finished"] = None
    queue_sum_s: Annotated[float | None, "counter: sum of the server's own queue time"] = None
    queue_count: Annotated[float | None, "counter: how many are in queue_sum_s"] = None
    prefill_sum_s: Annotated[float | None, "counter: sum of the server's own prefill time"] = None
    prefill_count: Annotated[float | None, "counter: how many are in prefill_sum_s"] = None
    decode_sum_s: Annotated[float | None, "counter: sum of the server's own decode time"] = None
    decode_count: Annotated[float | None, "counter: how many are in decode_sum_s"] = None
    itl_sum_s: Annotated[float | None, "counter: sum of the server's own inter-token time"] = None
    itl_count: Annotated[float | None, "counter: how many are in itl_sum_s"] = None
    ttft_sum_s: Annotated[float | None, "counter: sum of the server's own TTFT"] = None
    ttft_count: Annotated[float | None, "counter: how many are in ttft_sum_s"] = None
    e2e_sum_s: Annotated[float | None, "counter: sum of the server's own end-to-end time"] = None
    e2e_count: Annotated[float | None, "counter: how many are in e2e_sum_s"] = None
    error: Annotated[str | None, "why nothing could be read"] = None


class ScoreRecord(NamedTuple):
    """An issued request by one scorer: one row of scores.parquet, which can be made again at any time."""

    point_id: Annotated[str, "the measured point: a level and a repeat"]
    repeat: Annotated[int, "which repeat of the level, from 0"]
    attempt: Annotated[int, "attempt at the point, from 0"]
    request_id: Annotated[str, "the request"]
    prompt_id: Annotated[str, "the prompt of the request set: the item"]
    scenario: Annotated[str | None, "of the prompt"]
    scorer: Annotated[str, "its name, of quality.score.SCORERS"]
    scorer_version: Annotated[int, "raised whenever a rule of the scorer changes"]
    score: Annotated[float | None, "0 to 1; missing only where it could not be judged, never for a failed request"]
    reading: Annotated[str | None, "what was read as the answer, at most 200 characters; missing where nothing was"]
    how: Annotated[str, "how it was read (a tier of the scorer), or why it was not"]
    cut: Annotated[bool, "the response ended at its cap of tokens"]
    failed: Annotated[bool, "the request did not end well"]
    parts: Annotated[str | None, "JSON: what the score is made of (edits counted, verdicts on JSON, ...)"] = None


def _meanings(record: type) -> dict[str, str]:
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(record, include_extras=True).items()}


# derived of each request by analysis.requests, for frames only; no file has them
DERIVED = {metric.key: metric.meaning for metric in LATENCIES if metric.each != "chunks"} | {
    "whole": "true if its point was measured to its end, and of a rate if it was due in the window: those are judged"
}
_WINDOW = {
    "point_id": "the point that was being measured then; missing between points, and before and behind a rate's window",
    "concurrency": "its level; missing between points, and at a rate",
    "rate_per_s": "its level, of an open loop",
}
REQUESTS = _meanings(RequestRecord) | DERIVED
GPU = _meanings(GpuSample) | _WINDOW
SERVER = _meanings(ServerSample) | _WINDOW
SCORES = _meanings(ScoreRecord)

_UNITS = (
    ("_bytes_per_s", "bytes/s"),
    ("_per_s", "1/s"),
    ("_tok_s", "tokens/s"),
    ("_s", "s"),
    ("_us", "us"),
    ("_w", "W"),
    ("_j", "J"),
    ("_mhz", "MHz"),
    ("_c", "°C"),
    ("_bytes", "bytes"),
    ("_ratio", "0 to 1"),
    ("_tokens", "tokens"),
)


def unit_of(column: str) -> str:
    """The unit that a column's name carries; '' for none."""
    name = column.removesuffix("_low").removesuffix("_high").removesuffix("_steady")
    if name in BY_COLUMN:
        return {"usd": "$", "ratio": "0 to 1", "tok/s": "tokens/s", "req/s": "1/s"}.get(
            u := BY_COLUMN[name].metric.unit, u
        )
    return next((unit for ending, unit in _UNITS if name.endswith(ending)), "")


LEVELS = COLUMNS | {"client": "verdict on the measuring client: ok, degraded, client-bound"}
TABLES = {"requests": REQUESTS, "gpu": GPU, "server": SERVER, "scores": SCORES, "levels": LEVELS}


def as_text(table: dict[str, str]) -> str:
    """A table of columns for a docstring: one line each."""
    width = max(len(name) for name in table)
    lines = []
    for name, words in table.items():
        unit = unit_of(name)
        lines.append(f"    {name:<{width}}  {f'[{unit}] ' if unit else ''}{words}")
    return "\n".join(lines)
