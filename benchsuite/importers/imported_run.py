"""Another tool's requests as one run of ours: what an importer gives, then the manifest and rows of a run folder. Pure.

An importer is a function `parse(text, where=...)` from a file's text to its points.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchsuite.errors import PointsError
from benchsuite.records import SCHEMA_VERSION, Status, TokenSource

NO_SERVER = "http://imported.invalid"  # a spec needs a URL; .invalid is reserved to name nothing (RFC 2606)
_TIMES = ("scheduled_s", "sent_s", "headers_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s")


@dataclass(frozen=True, slots=True)
class ImportedRequest:
    """One request of another tool's run. Meanings as in `benchsuite.records.RequestRecord`; None: the file lacks it.

    *_s: seconds on the tool's own clock, any origin. chunk_gap_us: microseconds, None if single chunks were not kept.
    """

    request_id: str
    status: Status
    sent_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    closed_s: float | None
    scheduled_s: float | None = None
    headers_s: float | None = None
    first_answer_s: float | None = None
    chunk_gap_us: tuple[int, ...] | None = None
    n_chunks: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    token_source: TokenSource | None = None
    http_status: int | None = None
    error: str | None = None
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class ImportedPoint:
    """One level of another tool's run.

    concurrency: None where the file does not tell. definitions: where its facts mean something else than ours.
    facts: what else the file says about itself, for the manifest. chat: which endpoint; None if unknown.
    """

    tool: str
    where: str
    model: str | None
    concurrency: int | None
    requests: tuple[ImportedRequest, ...]
    definitions: tuple[str, ...]
    chat: bool | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def status_of_error(error: str | None) -> tuple[Status, int | None]:
    """The class of a failure, and its HTTP status where the text has one, from a Python client's error text."""
    text = error or ""
    found = re.search(r"(?:[Ss]tatus(?: code)?[=:' ]+|error ['\"])([45]\d\d)\b", text)
    if found:
        return "http_error", int(found[1])
    last = text.strip().rpartition("\n")[2]  # of a traceback the last line names the exception
    if re.search(r"[Tt]imeout|[Tt]imed out", last):
        return "timeout", None
    if re.search(r"Connect(or|ion)?(DNS|Certificate)?Error|Cannot connect|ConnectionRefused|connection attempts", last):
        return ("stream_error" if "reset" in last.lower() else "connect_error"), None
    return "stream_error", None


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """What a run folder is made of, but for its spec, of which `spec` has the dotted keys that the files decide.

    rows: keys of RequestRecord; what the tool does not know is left out (null).
    """

    manifest: dict[str, Any]
    spec: dict[str, Any]
    rows: tuple[dict[str, Any], ...]


def with_levels(points: Sequence[ImportedPoint], levels: Sequence[int]) -> tuple[ImportedPoint, ...]:
    """The points with the concurrency that the user names: none, one for all, or one each.

    Raises PointsError if a point still has none, if a file says otherwise, or if the numbers do not match.
    """
    if len(levels) not in (0, 1, len(points)):
        raise PointsError(
            "as many levels as points, or one for all",
            where="--concurrency",
            given=f"{len(levels)} levels, {len(points)} points",
        )
    named = levels if len(levels) == len(points) else [*levels] * len(points)
    return tuple(_with_level(point, level) for point, level in itertools.zip_longest(points, named))


def _with_level(point: ImportedPoint, level: int | None) -> ImportedPoint:
    if level is None and point.concurrency is None:
        raise PointsError(
            "the file does not tell its concurrency", where=point.where, hint="say it with --concurrency N, one a file"
        )
    if level is not None and point.concurrency not in (None, level):
        raise PointsError(
            "the file has another concurrency",
            where=f"{point.where} and --concurrency",
            given=f"{point.concurrency} and {level}",
            hint="leave --concurrency out",
        )
    return point if level is None else dataclasses.replace(point, concurrency=level)


def imported_run(points: Sequence[ImportedPoint], *, run_id: str, model: str | None = None) -> ImportedRun:
    """One run of the points, which all have a concurrency. model: its name where the files have none.

    Points of the same level are repeats of it. Times start at each point's first request. Raises PointsError if the
    points are of different models.
    """
    models = {point.model for point in points if point.model is not None}
    if len(models) > 1:
        raise PointsError(
            "files of different models", given=", ".join(sorted(models)), hint="import each model into its own folder"
        )
    model = models.pop() if models else model
    repeats: Counter[int] = Counter()
    entries, rows = [], []
    for point in points:
        assert point.concurrency is not None  # with_levels
        repeat = repeats[point.concurrency]
        repeats[point.concurrency] += 1
        level = {"point_id": f"c{point.concurrency:04d}-r{repeat}", "concurrency": point.concurrency, "repeat": repeat}
        sent_s = [request.sent_s for request in point.requests if request.sent_s is not None]
        if not sent_s:
            raise PointsError("no request of the file was sent", where=point.where)
        origin_s = min(sent_s)
        rows += [{"run_id": run_id} | level | _row(request, origin_s) for request in point.requests]
        entries.append(level | {"status": "complete", "imported": point.facts | {"requests": len(point.requests)}})
    manifest = {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "status": "complete",
        "model": model,
        "workload": {"name": f"of {points[0].tool}", "requests": len(points[0].requests), "content_hash": None},
        "clock": {"name": f"that of {points[0].tool}, from each point's first request", "origin_monotonic_ns": 0},
        "server_probe": {"stamp_source": "user"},
        "imported": {"tool": points[0].tool, "definitions": list(points[0].definitions)},
        "points": entries,
    }
    spec = {
        "server.base_url": NO_SERVER,
        "server.model": model,
        "server.endpoint": "completions" if points[0].chat is False else "chat",
        "workload.source": f"imported from {points[0].tool}",
        "load.concurrency": sorted(repeats),
        "load.repeats": max(repeats.values()),
    }
    return ImportedRun(manifest, spec, tuple(rows))


def _row(request: ImportedRequest, origin_s: float) -> dict[str, Any]:
    row = dataclasses.asdict(request)
    for name in _TIMES:
        if row[name] is not None:
            row[name] -= origin_s
    return row | {"stamp_source": "user"}
