"""Points of another tool as one run of ours: the manifest and the rows of a run folder, as plain data. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchsuite.errors import PointsError
from benchsuite.importers.point import ImportedPoint, ImportedRequest
from benchsuite.records import SCHEMA_VERSION

NO_SERVER = "http://imported.invalid"  # a spec needs a URL; .invalid is reserved to name nothing (RFC 2606)
_TIMES = ("scheduled_s", "sent_s", "headers_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s")


@dataclasses.dataclass(frozen=True, slots=True)
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
    named: list[int | None] = [*levels] * (len(points) if len(levels) == 1 else 1) or [None] * len(points)
    return tuple(_with_level(point, level) for point, level in zip(points, named, strict=True))


def _with_level(point: ImportedPoint, level: int | None) -> ImportedPoint:
    if level is not None and point.concurrency not in (None, level):
        raise PointsError(
            "the file has another concurrency",
            where=f"{point.where} and --concurrency",
            given=f"{point.concurrency} and {level}",
            hint="leave --concurrency out",
        )
    if level is None and point.concurrency is None:
        raise PointsError(
            "the file does not tell its concurrency", where=point.where, hint="say it with --concurrency N, one a file"
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
    seen: Counter[int] = Counter()
    entries, rows = [], []
    for point in points:
        assert point.concurrency is not None  # with_levels
        repeat = seen[point.concurrency]
        seen[point.concurrency] += 1
        point_id = f"c{point.concurrency:04d}-r{repeat}"
        origin_s = _origin_s(point)
        ours = {"run_id": run_id, "point_id": point_id, "concurrency": point.concurrency, "repeat": repeat}
        rows += [ours | _row(request, origin_s) for request in point.requests]
        entries.append(ours | {"status": "complete", "imported": point.facts | {"requests": len(point.requests)}})
        del entries[-1]["run_id"]
    manifest = {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "status": "complete",
        "model": model,
        "workload": {"name": f"of {points[0].tool}", "requests": len(points[0].requests), "content_hash": None},
        "clock": {"name": f"that of {points[0].tool}, from each point's first request", "origin_monotonic_ns": 0},
        "preflight": {"stamp_source": "user"},
        "imported": {"tool": points[0].tool, "definitions": list(points[0].definitions)},
        "points": entries,
    }
    spec = {
        "server.base_url": NO_SERVER,
        "server.model": model,
        "server.endpoint": "completions" if points[0].chat is False else "chat",
        "workload.source": f"imported from {points[0].tool}",
        "load.concurrency": sorted(seen),
        "load.repeats": max(seen.values()),
    }
    return ImportedRun(manifest, spec, tuple(rows))


def _origin_s(point: ImportedPoint) -> float:
    """The point's first send."""
    sent_s = [request.sent_s for request in point.requests if request.sent_s is not None]
    if not sent_s:
        raise PointsError("no request of the file was sent", where=point.where)
    return min(sent_s)


def _row(request: ImportedRequest, origin_s: float) -> dict[str, Any]:
    row = dataclasses.asdict(request)
    for name in _TIMES:
        if row[name] is not None:
            row[name] -= origin_s
    return row | {"stamp_source": "user"}
