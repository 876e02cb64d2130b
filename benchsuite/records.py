"""What the columns of a run's tables mean, in words and units, for people who read frames.

Nothing computes with these words. benchsuite/records.py and docs/METHODS.md define what they are about.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from benchsuite.metrics import BY_COLUMN, COLUMNS, LATENCIES

SCHEMA_VERSION = 1

Status = Literal["ok", "timeout", "connect_error", "http_error", "stream_error", "truncated", "cancelled"]
STATUSES: tuple[str, ...] = get_args(Status)
TokenSource = Literal["usage", "tokenizer", "chunks"]
StampSource = Literal["kernel", "user"]


class RequestRecord(NamedTuple):
    """One request of a measured point, ok or not: one row of requests.parquet.

    scheduled_s: when its virtual user was free to send it (closed loop) or its arrival was due (open loop).
    sent_s: just before its first byte was handed to the socket. None if no connection could be made.
    headers_s, first_token_s, first_answer_s, last_token_s, closed_s: when the read that carried the end of the
        headers, the first token (answer or reasoning), the first answer token, the last token, the end of the
        response was received. None if it never came.
    chunk_gap_us: microseconds between consecutive token-bearing chunks, (n_chunks - 1) values.
    input_tokens, cached_tokens, output_tokens, reasoning_tokens: None if not known. `token_source` says from where.
    asked_output_tokens: the max_tokens that was sent. None if none was.
    n_chunks: token-bearing chunks; n_empty_chunks: events that carried no token (role only, null, "").
    n_reads, merged_reads: socket reads of the response; those that held more than one event.
    read_lag_max_us: greatest user-space stamp minus kernel stamp. None without kernel stamps.
    stale_retries: times the request was sent anew because the server had closed a kept-alive connection.
    status: see `Status`; http_status, error: None when there is nothing to say. text: only when asked for.
    attempt: 0, or which renewed attempt at the point (after an interruption) this row belongs to.
    endpoint: base URL of who answered (or was to). None where it was not recorded.
    server_queue_s, server_prefill_s, server_decode_s: what the server itself said of this request (durations in its
        answer). None where it says nothing.
    """

    run_id: str
    point_id: str
    concurrency: int | None
    repeat: int
    request_id: str
    prompt_id: str
    scenario: str | None
    worker: int
    scheduled_s: float
    sent_s: float | None
    headers_s: float | None
    first_token_s: float | None
    first_answer_s: float | None
    last_token_s: float | None
    closed_s: float | None
    chunk_gap_us: Any  # (n_chunks - 1,) int32
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    asked_output_tokens: int | None
    n_chunks: int
    n_empty_chunks: int
    n_reads: int
    merged_reads: int
    read_lag_max_us: int | None
    connection_reused: bool
    stale_retries: int
    token_source: TokenSource | None
    stamp_source: StampSource
    finish_reason: str | None
    status: Status
    http_status: int | None
    error: str | None
    response_id: str | None
    text: str | None
    attempt: int = 0
    endpoint: str | None = None
    server_queue_s: float | None = None
    server_prefill_s: float | None = None
    server_decode_s: float | None = None


class GpuSample(NamedTuple):
    """One reading of one GPU: one row of gpu.parquet. A counter or gauge that the part does not have is None.

    at_s: when it was read, on the clock of the requests; wall_s: the same as Unix time. source: nvml or dcgm.
    uuid: the card's (or MIG device's) UUID. util_ratio: share of the driver's last sample period in which any kernel
        ran; memory_util_ratio: in which memory was read or written.
    power_w: what the driver calls the power draw (a 1 s average on Ampere and later except GA100, else instantaneous);
        power_average_w, power_instant_w: the explicit ones, where the part has them.
    energy_j: total energy counter since the driver was loaded. throttle_reasons: the driver's bit mask, raw.
    sm_active_ratio, tensor_active_ratio, dram_active_ratio: activity metrics (GPM, DCGM profiling).
    n_processes: compute processes on the card; foreign_processes: those that are not the server's, None if unknown.
    error: why the reading is missing or partial, in the driver's word.
    """

    at_s: float
    wall_s: float
    source: str
    uuid: str
    util_ratio: float | None = None
    memory_util_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_w: float | None = None
    power_average_w: float | None = None
    power_instant_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: float | None = None
    throttle_reasons: int | None = None
    pcie_tx_bytes_per_s: float | None = None
    pcie_rx_bytes_per_s: float | None = None
    n_processes: int | None = None
    foreign_processes: int | None = None
    sm_active_ratio: float | None = None
    tensor_active_ratio: float | None = None
    dram_active_ratio: float | None = None
    error: str | None = None


class ServerSample(NamedTuple):
    """One reading of a server's own metrics: one row of server.parquet. Missing is None.

    at_s, wall_s: as for GpuSample. endpoint: base URL of the server. running, waiting: requests now.
    kv_cache_ratio: share of the KV cache in use. Counters since the server started: prefix_cache_hits,
    prefix_cache_queries (tokens), preemptions, prompt_tokens, generated_tokens, requests_done.
    Pairs *_sum_s and *_count: cumulative histograms of the server's own queue, prefill, decode, inter-token, TTFT and
    end-to-end times; a mean over a span is the difference of sums over the difference of counts.
    error: why nothing could be read.
    """

    at_s: float
    wall_s: float
    endpoint: str
    running: float | None = None
    waiting: float | None = None
    kv_cache_ratio: float | None = None
    prefix_cache_hits: float | None = None
    prefix_cache_queries: float | None = None
    preemptions: float | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    requests_done: float | None = None
    queue_sum_s: float | None = None
    queue_count: float | None = None
    prefill_sum_s: float | None = None
    prefill_count: float | None = None
    decode_sum_s: float | None = None
    decode_count: float | None = None
    itl_sum_s: float | None = None
    itl_count: float | None = None
    ttft_sum_s: float | None = None
    ttft_count: float | None = None
    e2e_sum_s: float | None = None
    e2e_count: float | None = None
    error: str | None = None


_COUNTER = "counter since the server started"
_HISTOGRAMS = {
    "queue": "queue time",
    "prefill": "prefill time",
    "decode": "decode time",
    "itl": "inter-token time",
    "ttft": "TTFT",
    "e2e": "end-to-end time",
}
# derived of each request by analysis.requests, for frames only; no file has them
DERIVED = {metric.key: metric.meaning for metric in LATENCIES if metric.each != "chunks"} | {
    "whole": "true if its point was measured to its end: only those are judged"
}
_WINDOW = {
    "point_id": "the point that was being measured then; missing between points",
    "concurrency": "its level; missing between points",
}
REQUESTS = {
    "run_id": "the run",
    "point_id": "the measured point: a level and a repeat",
    "concurrency": "virtual users: the level of a closed loop; missing for a rate, which its point_id tells",
    "repeat": "which repeat of the level, from 0",
    "request_id": "the request, unique in the run",
    "prompt_id": "the prompt of the request set",
    "scenario": "of the prompt",
    "worker": "the measuring process that sent it",
    "scheduled_s": "its virtual user was free to send it; all times are on the run's clock",
    "sent_s": "just before its first byte went to the socket; missing if no connection could be made",
    "headers_s": "the end of the headers was received; this and the next four are missing if it never came",
    "first_token_s": "the first token was received, answer or reasoning",
    "first_answer_s": "the first token of the answer was received",
    "last_token_s": "the last token was received",
    "closed_s": "the end of the response was received",
    "chunk_gap_us": "times between consecutive chunks with tokens: n_chunks - 1 values",
    "input_tokens": "of the prompt",
    "cached_tokens": "of the prompt that the server had in its prefix cache",
    "output_tokens": "generated, reasoning included",
    "reasoning_tokens": "of the output that were reasoning",
    "asked_output_tokens": "the max_tokens that was sent; missing if none was",
    "n_chunks": "chunks with tokens",
    "n_empty_chunks": "events that carried no token (role only, null, empty)",
    "n_reads": "socket reads of the response",
    "merged_reads": "reads that held more than one event",
    "read_lag_max_us": "greatest user-space stamp minus kernel stamp; missing without kernel stamps",
    "connection_reused": "true if it went over a kept-alive connection",
    "stale_retries": "times it was sent anew because the server had closed a kept-alive connection",
    "token_source": "where token counts are from: usage, tokenizer or chunks",
    "stamp_source": "whose stamps the times of receiving are: kernel or user",
    "finish_reason": "why the server stopped: stop, length, ...",
    "status": "ok, timeout, connect_error, http_error, stream_error, truncated or cancelled",
    "http_status": "of the answer, where there is something to say",
    "error": "what went wrong; missing when nothing did",
    "response_id": "the server's id of the answer",
    "text": "what was generated, only where it was asked for (--save-text)",
    "attempt": "0, or which renewed attempt at the point (after an interruption) it belongs to",
    "endpoint": "base URL of who answered, or was to",
    "server_queue_s": "the server's word in its answer: time in its queue; missing where it says nothing",
    "server_prefill_s": "the server's word in its answer: prefill",
    "server_decode_s": "the server's word in its answer: decode",
} | DERIVED
GPU = {
    "at_s": "when it was read, on the clock of the requests",
    "wall_s": "when it was read, as Unix time",
    "source": "nvml or dcgm",
    "uuid": "of the card or MIG device",
    "util_ratio": "share of the driver's last sample period in which any kernel ran",
    "memory_util_ratio": "share of it in which memory was read or written",
    "memory_used_bytes": "in use on the card",
    "memory_total_bytes": "of the card",
    "power_w": "what the driver calls the power draw (a 1 s average on most, else instantaneous)",
    "power_average_w": "1 s average, where the part has it",
    "power_instant_w": "instantaneous, where the part has it",
    "power_limit_w": "enforced power limit",
    "energy_j": "counter since the driver was loaded",
    "sm_clock_mhz": "of the multiprocessors",
    "memory_clock_mhz": "of the memory",
    "temperature_c": "of the GPU",
    "throttle_reasons": "the driver's bit mask, raw",
    "pcie_tx_bytes_per_s": "from the card",
    "pcie_rx_bytes_per_s": "to the card",
    "n_processes": "compute processes on the card",
    "foreign_processes": "of them not the server's; missing if unknown",
    "sm_active_ratio": "multiprocessors with a warp on them (GPM, DCGM profiling)",
    "tensor_active_ratio": "tensor pipes busy (GPM, DCGM profiling)",
    "dram_active_ratio": "memory interface busy (GPM, DCGM profiling)",
    "error": "why the reading is missing or partial, in the driver's word",
} | _WINDOW
SERVER = {
    "at_s": "when it was read, on the clock of the requests",
    "wall_s": "when it was read, as Unix time",
    "endpoint": "base URL of the server",
    "running": "requests being worked on now",
    "waiting": "requests in the queue now",
    "kv_cache_ratio": "share of the KV cache in use",
    "prefix_cache_hits": f"{_COUNTER}: prompt tokens found in the prefix cache",
    "prefix_cache_queries": f"{_COUNTER}: prompt tokens looked for in the prefix cache",
    "preemptions": f"{_COUNTER}: requests put back for want of KV cache",
    "prompt_tokens": f"{_COUNTER}: of prompts",
    "generated_tokens": f"{_COUNTER}: generated",
    "requests_done": f"{_COUNTER}: requests finished",
    **{
        f"{key}{end}": f"{_COUNTER}: {said}"
        for key, word in _HISTOGRAMS.items()
        for end, said in (("_sum_s", f"sum of the server's own {word}"), ("_count", f"how many are in {key}_sum_s"))
    },
    "error": "why nothing could be read",
} | _WINDOW

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
TABLES = {"requests": REQUESTS, "gpu": GPU, "server": SERVER, "levels": LEVELS}


def as_text(table: dict[str, str]) -> str:
    """A table of columns for a docstring: one line each."""
    width = max(len(name) for name in table)
    lines = []
    for name, words in table.items():
        unit = unit_of(name)
        lines.append(f"    {name:<{width}}  {f'[{unit}] ' if unit else ''}{words}")
    return "\n".join(lines)
