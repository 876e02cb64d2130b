"""The facts that a run leaves behind: what happened, with no judgement and no derived figure.

`RequestRecord` is a NamedTuple, not a dataclass: it is made once per request inside the measuring process, and a tuple
transposes into Arrow columns without a loop per field.

All `*_s` times are seconds after `manifest.clock.origin_monotonic_ns` on CLOCK_MONOTONIC of the client.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

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
    self_lag_max_us: greatest user-space stamp minus kernel stamp. None without kernel stamps.
    stale_retries: times the request was sent anew because the server had closed a kept-alive connection.
    status: see `Status`; http_status, error: None when there is nothing to say. text: only when asked for.
    """

    run_id: str
    point_id: str
    concurrency: int
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
    self_lag_max_us: int | None
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
