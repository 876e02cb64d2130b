"""Result files of GuideLLM: benchmarks.json, report schema 2, as GuideLLM 0.8.1 has it. Pure.

One file holds a benchmark per strategy. Its times are seconds since 1970 by time.time().
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from benchsuite.errors import PointsError
from benchsuite.importers.imported_run import (
    Count,
    Duration,
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
    "clock: time.time(), which may be set while it measures; stamps are taken in user space, a line at a time",
    "sent: since GuideLLM 0.8 when the request's headers are written, before that when the HTTP client is called",
    "its own TPOT, (last - sent) / o, includes the first token; what it calls inter-token latency is our TPOT",
    "chunk gaps: single chunks are not kept, so the steady window spreads no tokens",
    "output tokens: the server's usage or GuideLLM's own figure, the file does not say which; where it has none, "
    "its token-bearing chunks are counted",
    "requests that were cut off at the end of its time limit are 'cancelled'",
    "its own rates leave warm-up and cool-down out where it was asked to; here every request counts",
)
_OPEN_LOOP = ("constant", "poisson", "async", "trace")


class _Request(ImportedRequest):
    request_id: str | None = at("request_id", "info.request_id")
    scheduled_s: Number | None = at("info.timings.targeted_start")
    sent_s: Number | None = at("info.timings.request_start")
    first_token_s: Number | None = at("info.timings.first_token_iteration")
    first_answer_s: Number | None = at("info.timings.first_output_token_iteration")
    last_token_s: Number | None = at("info.timings.last_token_iteration")
    closed_s: Number | None = at("info.timings.request_end")
    n_chunks: Count | None = at("info.timings.token_iterations")
    input_tokens: Count | None = at("input_metrics.text_tokens")
    cached_tokens: Count | None = at("input_metrics.cached_tokens")
    output_tokens: Count | None = at("output_metrics.total_tokens", "output_metrics.text_tokens")
    error: str | None = at("info.error")


class _Benchmark(ResultModel):
    strategy: str = at("config.strategy.type_", default=...)
    streams: Users | None = at("config.strategy.streams", "config.strategy.max_concurrency")
    rate: Annotated[float, Field(gt=0, le=1e6)] | None = at("config.strategy.rate")
    model: str | None = at("config.backend.model")
    duration: Duration | None = None
    total_requests: Count | None = at("metrics.request_totals.total")
    successful: Items[_Request] = at("requests.successful", default=[])
    incomplete: Items[_Request] = at("requests.incomplete", default=[])
    errored: Items[_Request] = at("requests.errored", default=[])


class _File(ResultModel):
    schema_version: Literal[2] | None = at("metadata.version")
    version: str | None = at("metadata.guidellm_version")
    benchmarks: Annotated[Items[_Benchmark], Field(min_length=1)]


def parse(text: str, *, where: str) -> tuple[ImportedPoint, ...]:
    """A point per benchmark in the file. Raises PointsError, naming file and key."""
    file = parse_result(text, _File, where=where)
    return tuple(_point(item, file.version, where, i) for i, item in enumerate(file.benchmarks))


def _point(benchmark: _Benchmark, version: str | None, where: str, i: int) -> ImportedPoint:
    n_rows = len(benchmark.successful) + len(benchmark.incomplete) + len(benchmark.errored)
    if n_rows < (benchmark.total_requests or 0):  # rates of a reservoir sample would be those of another run
        raise PointsError(
            "the file keeps a sample of its requests only, so no rate can be recomputed",
            where=f"{where}: benchmarks.{i}.requests",
            given=f"{n_rows} of {benchmark.total_requests}",
            expected="all requests: GuideLLM run without a sample size",
        )
    groups: tuple[tuple[list[_Request], Status | None], ...] = (
        (benchmark.successful, "ok"),
        ([request for request in benchmark.incomplete if request.sent_s is not None], "cancelled"),
        (benchmark.errored, None),
    )
    open_loop, rate = benchmark.strategy in _OPEN_LOOP, benchmark.rate
    users = 1 if benchmark.strategy == "synchronous" else benchmark.streams
    level = Level(rate, "rate") if open_loop and rate else None if users is None else Level(users)
    requests = [_request(request, status, open_loop) for items, status in groups for request in items]
    if not requests:
        raise PointsError("the benchmark has no requests", where=f"{where}: benchmarks.{i}.requests")
    return ImportedPoint(
        where=where,
        model=benchmark.model,
        level=level,
        requests=tuple(requests),
        facts={"version": version, "strategy": benchmark.strategy, "duration": benchmark.duration},
    )


def _request(item: _Request, status: Status | None, open_loop: bool) -> ImportedRequest:
    http_status = None
    if status is None:
        status, http_status = status_of_error(item.error)
    changes: dict[str, Any] = {"status": status, "http_status": http_status}
    if not open_loop:
        changes["scheduled_s"] = None
    if item.first_token_s is None:
        changes["n_chunks"] = None
    elif item.output_tokens is None and item.n_chunks is not None:
        changes |= {"output_tokens": item.n_chunks, "token_source": "chunks"}
    return item.model_copy(update=changes)
