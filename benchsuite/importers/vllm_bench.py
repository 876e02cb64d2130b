"""Result files of `vllm bench serve --save-result --save-detailed`. Pure.

The keys are those of vLLM 0.32 (vllm/benchmarks/serve.py); older files lack latencies and queue_times.
Its clock is perf_counter; seconds, but *_ms.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from benchsuite.importers.imported_run import (
    US_PER_S,
    Count,
    Duration,
    Gap,
    ImportedPoint,
    ImportedRequest,
    Number,
    ResultModel,
    Users,
    at,
    parse_result,
    status_of_error,
)
from benchsuite.level import Level
from benchsuite.records import Status
from benchsuite.strict_model import Items

DEFINITIONS = (
    "sent: before the HTTP client is called; encoding the request, its connection pool and connecting are in TTFT",
    "first token: the first chunk with choices; on the chat endpoint the role chunk, sent with the first token",
    "stamps: user space, when the client's event loop gets to the chunk",
    "closed: not recorded; the last token's time is taken",
    "output tokens: the server's usage or, where it sent none, a tokenizer's; the file does not say which",
    "failed requests: only when they were sent is known",
    "of a rate without --max-concurrency: due when its schedule says where the file has queue_times, else when sent",
    "its own duration starts before the first task is made and ends after the last is gathered",
)
_PER_REQUEST = ("input_lens", "output_lens", "start_times", "ttfts", "itls", "errors", "latencies", "queue_times")


class _File(ResultModel):
    model_id: str | None = None
    max_concurrency: Users | None = None
    backend: str | None = at("backend", "endpoint_type")
    date: str | None = None
    request_rate: Number | Literal["inf"] | None = None
    duration: Number
    completed: Number | None = None
    failed: Number | None = None
    output_throughput: Number | None = None
    mean_ttft_ms: Number | None = None
    mean_tpot_ms: Number | None = None
    mean_itl_ms: Number | None = None
    # an item for each request
    input_lens: Items[Count | None]
    output_lens: Items[Count | None]
    start_times: Items[Number | None]
    ttfts: Annotated[Items[Duration | None], Field(min_length=1)]
    itls: Items[Items[Gap]]
    errors: Items[str | None]
    latencies: Items[Duration] | None = None
    queue_times: Items[Duration | None] | None = None

    @model_validator(mode="after")
    def _as_many_of_each(self) -> _File:
        lengths = {name: len(column) for name in _PER_REQUEST if (column := getattr(self, name)) is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists differ in length: {lengths}")
        return self


def parse(text: str, *, where: str) -> tuple[ImportedPoint, ...]:
    """The one point of a result file. Raises PointsError, naming file and key, also for files without requests."""
    detailed = dict.fromkeys(_PER_REQUEST, "only totals: use vllm bench serve --save-result --save-detailed")
    file = parse_result(text, _File, where=where, if_missing=detailed)
    facts = {"backend", "date", "duration", "completed", "failed", "output_throughput"}
    return (
        ImportedPoint(
            where=where,
            model=file.model_id,
            level=_level(file),
            requests=tuple(_request(file, i) for i in range(len(file.ttfts))),
            chat=None if file.backend is None else file.backend.endswith("chat"),
            facts=file.model_dump(include={*facts, "mean_ttft_ms", "mean_tpot_ms", "mean_itl_ms"}),
        ),
    )


def _level(file: _File) -> Level | None:
    """Its users, where it has them; a rate alone is an open loop."""
    if file.max_concurrency is not None:
        return Level(file.max_concurrency)
    return Level(file.request_rate, "rate") if isinstance(file.request_rate, float) and file.request_rate > 0 else None


def _request(file: _File, i: int) -> ImportedRequest:
    sent_s, ttft_s, gaps_s, error = file.start_times[i], file.ttfts[i], file.itls[i], file.errors[i]
    status: Status = "ok"
    http_status = None
    if error or not ttft_s:  # vLLM writes 0.0 for what a failed request never had
        status, http_status = status_of_error(error)
        if not error or ("\n" not in error and len(error.split()) <= 4):  # the reason phrase of a response, not 200
            status = "http_error"
    ok = status == "ok"
    first_s = sent_s + ttft_s if sent_s is not None and ttft_s else None
    last_s = None if first_s is None else first_s + sum(gaps_s)
    if ok and sent_s is not None and first_s is not None and file.latencies is not None:
        last_s = max(first_s, sent_s + file.latencies[i])
    # Without a rate all requests are due at once, and the queue time is nobody's delay.
    paced = file.request_rate not in ("inf", None)
    queued_s = file.queue_times[i] if paced and file.queue_times is not None else None
    return ImportedRequest(
        request_id=str(i),
        status=status,
        scheduled_s=None if sent_s is None or queued_s is None else sent_s - queued_s,
        sent_s=sent_s,
        first_token_s=first_s,
        last_token_s=last_s,
        closed_s=last_s if ok else None,
        chunk_gap_us=tuple(round(gap_s * US_PER_S) for gap_s in gaps_s) if first_s is not None else None,
        n_chunks=len(gaps_s) + 1 if first_s is not None else None,
        input_tokens=file.input_lens[i],
        output_tokens=file.output_lens[i] if ok else None,
        http_status=http_status,
        error=error or None,
    )
