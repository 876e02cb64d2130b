"""Result files of GuideLLM: benchmarks.json, report schema 2, as GuideLLM 0.8.1 has it. Pure.

One file holds a benchmark per strategy. Its times are seconds since 1970 by time.time().
"""

from __future__ import annotations

from benchsuite.errors import PointsError
from benchsuite.importers.point import ImportedPoint, ImportedRequest, status_of_error
from benchsuite.importers.reading import Node, in_order, parse_json
from benchsuite.records import Status

TOOL = "guidellm"
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


def parse(text: str, *, where: str) -> tuple[ImportedPoint, ...]:
    """A point per benchmark in the file. Raises PointsError, naming file and key."""
    root = parse_json(text, where=where)
    version = root["metadata"]["version"]
    if version and version.count() != 2:
        raise version.wrong("report schema 2")
    points = [_point(benchmark, root["metadata"]) for benchmark in root["benchmarks"].required()]
    if not points:
        raise root["benchmarks"].wrong("at least one benchmark")
    return tuple(points)


def _point(benchmark: Node, metadata: Node) -> ImportedPoint:
    strategy = benchmark["config"].required()["strategy"].required()
    kind = strategy["type_"].required().text() or ""
    found = benchmark["requests"].required()
    groups: tuple[tuple[str, Status | None], ...] = (
        ("successful", "ok"),
        ("incomplete", "cancelled"),
        ("errored", None),
    )
    requests = [
        _request(item, status, kind)
        for key, status in groups
        for item in found[key]
        if item["info"].required()["timings"]["request_start"] or status != "cancelled"
    ]
    _refuse_sample(benchmark, sum(1 for key, _ in groups for _ in found[key]))
    if not requests:
        raise PointsError("the benchmark has no requests", where=f"{found.where}: {found.path}")
    return ImportedPoint(
        tool=TOOL,
        where=benchmark.where,
        model=benchmark["config"]["backend"]["model"].text(),
        concurrency=1
        if kind == "synchronous"
        else (strategy["streams"].level() or strategy["max_concurrency"].level()),
        requests=tuple(requests),
        definitions=DEFINITIONS,
        facts={
            "version": metadata["guidellm_version"].text(),
            "strategy": kind,
            "duration": benchmark["duration"].duration(),
        },
    )


def _refuse_sample(benchmark: Node, n_rows: int) -> None:
    """Rates of a reservoir sample would be those of another run."""
    total = benchmark["metrics"]["request_totals"]["total"].count()
    if total is not None and n_rows < total:
        raise PointsError(
            "the file keeps a sample of its requests only, so no rate can be recomputed",
            where=f"{benchmark.where}: {benchmark.path}.requests",
            given=f"{n_rows} of {total}",
            expected="all requests: GuideLLM run without a sample size",
        )


def _request(item: Node, status: Status | None, kind: str) -> ImportedRequest:
    info = item["info"].required()
    timings = info["timings"].required()
    error, http_status = info["error"].text(), None
    if status is None:
        status, http_status = status_of_error(error)
    at_s = {name: timings[name].number() for name in ("request_start", "request_end", "targeted_start")}
    first_s, last_s = timings["first_token_iteration"].number(), timings["last_token_iteration"].number()
    in_order(timings, request_start=at_s["request_start"], first_token_iteration=first_s, last_token_iteration=last_s)
    in_order(timings, request_start=at_s["request_start"], request_end=at_s["request_end"])
    chunks = timings["token_iterations"].count() if first_s is not None else None
    tokens = item["output_metrics"]["total_tokens"].count()
    if tokens is None:
        tokens = item["output_metrics"]["text_tokens"].count()
    return ImportedRequest(
        request_id=item["request_id"].text() or info["request_id"].text() or item.path,
        status=status,
        scheduled_s=at_s["targeted_start"] if kind in _OPEN_LOOP else None,
        sent_s=at_s["request_start"],
        first_token_s=first_s,
        first_answer_s=timings["first_output_token_iteration"].number(),
        last_token_s=last_s,
        closed_s=at_s["request_end"],
        n_chunks=chunks,
        input_tokens=item["input_metrics"]["text_tokens"].count(),
        cached_tokens=item["input_metrics"]["cached_tokens"].count(),
        output_tokens=tokens if tokens is not None else chunks,
        token_source="chunks" if tokens is None and chunks is not None else None,
        http_status=http_status,
        error=error,
        response_id=item["response_id"].text(),
    )
