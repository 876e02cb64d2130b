"""Per-request files of AIPerf: profile_export.jsonl, one JSON object a line, as AIPerf 0.13 has it. Pure.

Its start and end are nanoseconds since 1970, set on the wall clock once and moved by perf_counter_ns; its latencies
have a unit of their own each. The file names neither model nor concurrency.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from benchsuite.errors import PointsError
from benchsuite.importers.imported_run import (
    US_PER_S,
    Count,
    Duration,
    Gap,
    ImportedPoint,
    ImportedRequest,
    at,
    check_order,
    read_result,
    status_of_error,
)
from benchsuite.records import Status
from benchsuite.strict_model import Items, parse_json_lines, refuse_lines

DEFINITIONS = (
    "sent: before the HTTP client is called, in a session made for the request; connecting is in TTFT",
    "stamps: user space, when the worker's event loop gets to the chunk; first and last are of chunks with content",
    "output tokens: the server's usage where the file has usage_completion_tokens, else AIPerf's own count, by default "
    "with a local tokenizer",
    "its inter-token latency is our TPOT (less the first chunk's tokens under --per-chunk-usage)",
    "warm-up requests are left out",
)
_S_PER_UNIT = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}
_S_PER_NS = 1e-9


def _seconds(metric: Any) -> Any:
    """The seconds in {"value": a number or a list of them, "unit": ...}."""
    factor = _S_PER_UNIT.get(str(metric.get("unit"))) if isinstance(metric, dict) else None
    if factor is None:
        raise ValueError("should be a value with a unit of time: " + ", ".join(_S_PER_UNIT))
    value = metric.get("value")
    numbers = value if isinstance(value, list) else [] if value is None else [value]
    if any(type(number) not in (int, float) or abs(number) > 1e15 for number in numbers):
        raise ValueError("should hold numbers")
    return [number * factor for number in numbers] if isinstance(value, list) else value and value * factor


_Nanoseconds = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Latency = Annotated[Duration | None, BeforeValidator(_seconds)]


class _Record(ImportedRequest):
    request_id: str | None = at("metadata.x_request_id")
    input_tokens: Count | None = at(
        "metrics.usage_prompt_tokens.value", "metrics.input_sequence_length.value", "metrics.error_isl.value"
    )
    cached_tokens: Count | None = at("metrics.usage_prompt_cache_read_tokens.value")
    output_tokens: Count | None = at("metrics.usage_completion_tokens.value", "metrics.output_sequence_length.value")
    reasoning_tokens: Count | None = at("metrics.usage_reasoning_tokens.value", "metrics.reasoning_token_count.value")
    error: str | None = at("error.message")

    benchmark_phase: str | None = at("metadata.benchmark_phase")
    was_cancelled: bool = at("metadata.was_cancelled", default=False)
    issued_ns: _Nanoseconds | None = at("metadata.credit_issued_ns")
    start_ns: _Nanoseconds = at("metadata.request_start_ns", default=...)
    ack_ns: _Nanoseconds | None = at("metadata.request_ack_ns")
    end_ns: _Nanoseconds | None = at("metadata.request_end_ns")
    ttft_s: _Latency = at("metrics.time_to_first_token")
    ttfa_s: _Latency = at("metrics.time_to_first_output_token")
    latency_s: _Latency = at("metrics.request_latency")
    gaps_s: Annotated[Items[Gap] | None, BeforeValidator(_seconds)] = at("metrics.inter_chunk_latency")
    usage_tokens: Count | None = at("metrics.usage_completion_tokens.value")
    failure: dict[str, Any] | None = at("error")
    error_type: str | None = at("error.type")
    error_code: Count | None = at("error.code")

    @model_validator(mode="after")
    def _in_order(self) -> _Record:
        check_order(start=self.start_ns * _S_PER_NS, end=None if self.end_ns is None else self.end_ns * _S_PER_NS)
        check_order(time_to_first_token=self.ttft_s, request_latency=self.latency_s)
        return self


def parse(text: str, *, where: str) -> tuple[ImportedPoint, ...]:
    """The one point of a file. Raises PointsError, naming line and key, also for the aggregated .json file."""
    if '"metadata"' not in text.lstrip().partition("\n")[0]:
        raise PointsError(
            "not a file of single requests",
            where=where,
            expected="profile_export.jsonl, one request a line",
            hint="take that file instead of profile_export_aiperf.json, which has totals alone",
        )
    records, mistakes = parse_json_lines(text, _Record, lambda line: _Record.model_validate(read_result(line)))
    refuse_lines("the result file", mistakes, where=where, error_type=PointsError)
    kept = {number: record for number, record in records.items() if record.benchmark_phase != "warmup"}
    if not kept:
        raise PointsError("the file has no requests but warm-up", where=where)
    first_ns = min(record.start_ns for record in kept.values())
    return (
        ImportedPoint(
            where=where,
            model=None,
            level=None,
            requests=tuple(_request(record, number, first_ns) for number, record in kept.items()),
            facts={"warmup_requests": len(records) - len(kept)},
        ),
    )


def _request(record: _Record, number: int, first_ns: int) -> ImportedRequest:
    def since_first_s(at_ns: int | None) -> float | None:
        # Subtracted as whole numbers: nanoseconds since 1970 exceed a float's precision.
        return None if at_ns is None else (at_ns - first_ns) * _S_PER_NS

    sent_s = (record.start_ns - first_ns) * _S_PER_NS
    gaps_s, ttft_s = record.gaps_s, record.ttft_s
    error = ": ".join(filter(None, (record.error_type, record.error))) or None
    status: Status = "ok"
    http_status = None
    if record.was_cancelled:
        status = "cancelled"
    elif record.error_code is not None and 400 <= record.error_code < 600:
        status, http_status = "http_error", record.error_code
    elif record.failure is not None:
        status, http_status = status_of_error(error)
    changes = {
        "request_id": record.request_id or str(number),
        "status": status,
        "scheduled_s": since_first_s(record.issued_ns),
        "sent_s": sent_s,
        "headers_s": since_first_s(record.ack_ns),
        "first_token_s": None if ttft_s is None else sent_s + ttft_s,
        "first_answer_s": None if record.ttfa_s is None else sent_s + record.ttfa_s,
        "last_token_s": None if ttft_s is None or record.latency_s is None else sent_s + record.latency_s,
        "closed_s": since_first_s(record.end_ns),
        "chunk_gap_us": None if gaps_s is None else tuple(round(gap_s * US_PER_S) for gap_s in gaps_s),
        "n_chunks": None if gaps_s is None else len(gaps_s) + 1,
        "token_source": None if record.usage_tokens is None else "usage",
        "http_status": http_status,
        "error": error,
    }
    return record.model_copy(update=changes)
