"""Result files of `vllm bench serve --save-result --save-detailed`. Pure.

The keys are those of vLLM 0.32 (vllm/benchmarks/serve.py); older files lack latencies and queue_times.
Its clock is perf_counter; seconds, but *_ms.
"""

from __future__ import annotations

from benchsuite.errors import PointsError
from benchsuite.importers.point import ImportedPoint, ImportedRequest, status_of_error
from benchsuite.importers.reading import Node, gap_us, in_order, parse_json
from benchsuite.records import Status

TOOL = "vllm-bench"
_ARRAYS = ("input_lens", "output_lens", "start_times", "ttfts", "itls", "errors")
DEFINITIONS = (
    "sent: before the HTTP client is called; encoding the request, its connection pool and connecting are in TTFT",
    "first token: the first chunk with choices; on the chat endpoint the role chunk, sent with the first token",
    "stamps: user space, when the client's event loop gets to the chunk",
    "closed: not recorded; the last token's time is taken",
    "output tokens: the server's usage or, where it sent none, a tokenizer's; the file does not say which",
    "failed requests: only when they were sent is known",
    "its own duration starts before the first task is made and ends after the last is gathered",
)


def parse(text: str, *, where: str) -> tuple[ImportedPoint, ...]:
    """The one point of a result file. Raises PointsError, naming file and key, also for files without requests."""
    root = parse_json(text, where=where)
    root["duration"].required()
    columns = _columns(root)
    requests = [_request(columns, i, _is_paced(root)) for i in range(len(columns["ttfts"]))]
    backend = root["backend"].text() or root["endpoint_type"].text()
    own = ("duration", "completed", "failed", "output_throughput", "mean_ttft_ms", "mean_tpot_ms", "mean_itl_ms")
    return (
        ImportedPoint(
            tool=TOOL,
            where=where,
            model=root["model_id"].text(),
            concurrency=root["max_concurrency"].level(),
            requests=tuple(requests),
            definitions=DEFINITIONS,
            chat=None if backend is None else backend.endswith("chat"),
            facts={"backend": backend, "date": root["date"].text()} | {key: root[key].number() for key in own},
        ),
    )


def _columns(root: Node) -> dict[str, list[Node]]:
    missing = [name for name in _ARRAYS if not root[name]]
    if missing:
        raise PointsError(
            "the file has totals alone, no single requests, so nothing can be recomputed",
            where=f"{root.where}: {missing[0]}",
            expected="a file of vllm bench serve --save-result --save-detailed",
            hint="run it again with --save-detailed",
        )
    columns = {name: list(root[name]) for name in (*_ARRAYS, "latencies", "queue_times") if root[name]}
    n = len(columns["ttfts"])
    for name, column in columns.items():
        if len(column) != n:
            raise PointsError(
                "the lists have not the same length", where=f"{root.where}: {name}", given=len(column), expected=str(n)
            )
    if not n:
        raise PointsError("the file has no requests", where=f"{root.where}: ttfts")
    return columns


def _is_paced(root: Node) -> bool:
    """Whether requests arrived at a rate; else all are due at once and the queue time is nobody's delay."""
    rate = root["request_rate"]
    return rate.value != "inf" and rate.number() is not None


def _request(columns: dict[str, list[Node]], i: int, paced: bool) -> ImportedRequest:
    start, error = columns["start_times"][i], columns["errors"][i].text()
    start_s, ttft_s = start.number(), columns["ttfts"][i].duration()
    queued_s = columns["queue_times"][i].duration() if paced and "queue_times" in columns else None
    gaps_s = [(gap, gap.required_duration()) for gap in columns["itls"][i]]
    status: Status = "ok"
    http_status = None
    if error or not ttft_s:  # vLLM writes 0.0 for what a failed request never had
        status, http_status = status_of_error(error)
        if not error or ("\n" not in error and len(error.split()) <= 4):  # the reason phrase of a response, not 200
            status = "http_error"
    ok = status == "ok"
    first_s = start_s + ttft_s if start_s is not None and ttft_s else None
    last_s = None if first_s is None else first_s + sum(gap_s for _, gap_s in gaps_s)
    if ok and start_s is not None and "latencies" in columns:
        last_s = start_s + columns["latencies"][i].required_duration()
    in_order(start, sent=start_s, last_token=None if last_s is None else last_s + 1e-6)
    return ImportedRequest(
        request_id=str(i),
        status=status,
        scheduled_s=None if start_s is None or queued_s is None else start_s - queued_s,
        sent_s=start_s,
        first_token_s=first_s,
        last_token_s=last_s if last_s is None or first_s is None else max(first_s, last_s),
        closed_s=last_s if ok else None,
        chunk_gap_us=tuple(gap_us(gap_s, gap) for gap, gap_s in gaps_s) if first_s is not None else None,
        n_chunks=len(gaps_s) + 1 if first_s is not None else None,
        input_tokens=columns["input_lens"][i].count(),
        output_tokens=columns["output_lens"][i].count() if ok else None,
        http_status=http_status,
        error=error or None,
    )
