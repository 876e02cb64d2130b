"""Per-request files of AIPerf: profile_export.jsonl, one JSON object a line, as AIPerf 0.13 has it. Pure.

Its start and end are nanoseconds since 1970, set on the wall clock once and moved by perf_counter_ns; its latencies
have a unit of their own each. The file names neither model nor concurrency.
"""

from __future__ import annotations

from benchsuite.errors import PointsError
from benchsuite.importers.point import ImportedPoint, ImportedRequest, status_of_error
from benchsuite.importers.reading import Node, gap_us, in_order, parse_json
from benchsuite.records import Status, TokenSource

TOOL = "aiperf"
DEFINITIONS = (
    "sent: before the HTTP client is called, in a session made for the request; connecting is in TTFT",
    "stamps: user space, when the worker's event loop gets to the chunk; first and last are of chunks with content",
    "output tokens: the server's usage where the file has usage_completion_tokens, else AIPerf's own count, by default "
    "with a local tokenizer",
    "its inter-token latency is our TPOT (less the first chunk's tokens under --per-chunk-usage)",
    "warm-up requests are left out",
)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}
_NS = 1e-9


def parse(text: str, *, where: str) -> tuple[ImportedPoint, ...]:
    """The one point of a file. Raises PointsError, naming line and key, also for the aggregated .json file."""
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines or '"metadata"' not in lines[0][1]:
        raise PointsError(
            "not a file of single requests",
            where=where,
            expected="profile_export.jsonl, one request a line",
            hint="take that file instead of profile_export_aiperf.json, which has totals alone",
        )
    records = [parse_json(line, where=f"{where}:{i}") for i, line in lines]
    kept = [record for record in records if record["metadata"].required()["benchmark_phase"].text() != "warmup"]
    if not kept:
        raise PointsError("the file has no requests but warm-up", where=where)
    start_ns = min(_start_ns(record) for record in kept)  # whole nanoseconds since 1970 exceed a float's precision
    return (
        ImportedPoint(
            tool=TOOL,
            where=where,
            model=None,
            concurrency=None,
            requests=tuple(_request(record, start_ns) for record in kept),
            definitions=DEFINITIONS,
            facts={"warmup_requests": len(records) - len(kept)},
        ),
    )


def _start_ns(record: Node) -> int:
    start = record["metadata"]["request_start_ns"].required()
    start.duration()
    return int(start.value)


def _seconds_after(node: Node, start_ns: int) -> float | None:
    return None if node.number() is None else (int(node.value) - start_ns) * _NS


def _latency_s(metric: Node) -> float | None:
    value = metric["value"].duration()
    return None if value is None else value * _unit(metric)


def _unit(metric: Node) -> float:
    unit = metric["unit"].required()
    if unit.text() not in _SECONDS:
        raise unit.wrong("a unit of time: " + ", ".join(_SECONDS))
    return _SECONDS[unit.value]


def _request(record: Node, start_ns: int) -> ImportedRequest:
    about, metrics = record["metadata"], record["metrics"]
    sent_s, closed_s = (_seconds_after(about[f"request_{name}_ns"], start_ns) for name in ("start", "end"))
    in_order(about, request_start_ns=sent_s, request_end_ns=closed_s)
    status, http_status, error = _failure(record)
    ttft_s, latency_s = _latency_s(metrics["time_to_first_token"]), _latency_s(metrics["request_latency"])
    ttfa_s = _latency_s(metrics["time_to_first_output_token"])
    gaps = metrics["inter_chunk_latency"]
    gaps_us = tuple(gap_us(gap.required_duration() * _unit(gaps), gap) for gap in gaps["value"]) if gaps else None
    assert sent_s is not None  # _start_ns took it
    first_s = None if ttft_s is None else sent_s + ttft_s
    last_s = None if first_s is None or latency_s is None else sent_s + latency_s
    in_order(metrics, time_to_first_token=first_s, request_latency=last_s)
    tokens, source = _output_tokens(metrics)
    return ImportedRequest(
        request_id=about["x_request_id"].text() or record.where.rpartition(":")[2],
        status=status,
        scheduled_s=_seconds_after(about["credit_issued_ns"], start_ns),
        sent_s=sent_s,
        headers_s=_seconds_after(about["request_ack_ns"], start_ns),
        first_token_s=first_s,
        first_answer_s=None if ttfa_s is None else sent_s + ttfa_s,
        last_token_s=last_s,
        closed_s=closed_s,
        chunk_gap_us=gaps_us,
        n_chunks=None if gaps_us is None else len(gaps_us) + 1,
        input_tokens=_tokens(metrics, "usage_prompt_tokens", "input_sequence_length", "error_isl"),
        cached_tokens=_tokens(metrics, "usage_prompt_cache_read_tokens"),
        output_tokens=tokens,
        reasoning_tokens=_tokens(metrics, "usage_reasoning_tokens", "reasoning_token_count"),
        token_source=source,
        http_status=http_status,
        error=error,
    )


def _failure(record: Node) -> tuple[Status, int | None, str | None]:
    error = record["error"]
    message = ": ".join(filter(None, (error["type"].text(), error["message"].text()))) or None
    if record["metadata"]["was_cancelled"].value is True:
        return "cancelled", None, message
    if not error:
        return "ok", None, None
    code = error["code"].count()
    if code is not None and 400 <= code < 600:
        return "http_error", code, message
    status, http_status = status_of_error(message)
    return status, http_status, message


def _tokens(metrics: Node, *names: str) -> int | None:
    return next((metrics[name]["value"].count() for name in names if metrics[name]), None)


def _output_tokens(metrics: Node) -> tuple[int | None, TokenSource | None]:
    usage = _tokens(metrics, "usage_completion_tokens")
    if usage is not None:
        return usage, "usage"
    return _tokens(metrics, "output_sequence_length"), None
