"""What importers give, how they read another tool's files, and how that becomes the manifest and rows of a run. Pure.

An importer has a function `parse(text, where=...)` from a file's text to its points, and DEFINITIONS: where its facts
mean something else than ours. It reads by flat pydantic models whose fields say where in the file their value is
(`at`). Null is the same as left out; other keys are ignored.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from benchsuite.errors import PointsError, read_json
from benchsuite.level import LEAST_RATE, MOST_RATE, Level
from benchsuite.records import SCHEMA_VERSION, Status, TokenSource
from benchsuite.strict_model import validated

NO_SERVER = "http://imported.invalid"  # a spec needs a URL; .invalid is reserved to name nothing (RFC 2606)
US_PER_S = 1e6
_INT32 = 2**31 - 1
_TIMES = ("scheduled_s", "sent_s", "headers_s", "first_token_s", "first_answer_s", "last_token_s", "closed_s")


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Number and Duration are bounded so that sums of what a hostile file holds stay finite.
Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Duration = Annotated[float, Field(ge=0, le=1e15)]
Gap = Annotated[float, Field(ge=0, le=_INT32 / US_PER_S)]  # seconds; stored as 32 bits of microseconds, 36 minutes
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_INT32)]
Users = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=_INT32)]


class ResultModel(BaseModel):
    """Strict: a text is no number, true is not 1; but 4.0 is a whole number."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def at(*paths: str, default: Any = None) -> Any:
    """A field's place: dotted keys, the first that the file has. default: `...` where it is required."""
    return Field(default, validation_alias=AliasChoices(*(AliasPath(*path.split(".")) for path in paths)))


class ImportedRequest(ResultModel):
    """One request of another tool's run. Meanings as in `benchsuite.records.RequestRecord`; None: the file lacks it.

    *_s: seconds on the tool's own clock, any origin. chunk_gap_us: microseconds, None if single chunks were not kept.
    """

    request_id: str | None = None
    response_id: str | None = None
    status: Status = "ok"
    scheduled_s: Number | None = None
    sent_s: Number | None = None
    headers_s: Number | None = None
    first_token_s: Number | None = None
    first_answer_s: Number | None = None
    last_token_s: Number | None = None
    closed_s: Number | None = None
    chunk_gap_us: tuple[int, ...] | None = None
    n_chunks: Count | None = None
    input_tokens: Count | None = None
    cached_tokens: Count | None = None
    output_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    token_source: TokenSource | None = None
    http_status: int | None = None
    error: str | None = None

    @model_validator(mode="after")
    def _times_in_order(self) -> ImportedRequest:
        check_order(sent=self.sent_s, first_token=self.first_token_s, last_token=self.last_token_s)
        check_order(sent=self.sent_s, closed=self.closed_s)
        return self


def check_order(**times_s: float | None) -> None:
    """Raise ValueError if the times that are known do not follow one another."""
    known = [(name, at_s) for name, at_s in times_s.items() if at_s is not None]
    for (before, before_s), (after, after_s) in itertools.pairwise(known):
        if after_s < before_s:
            raise ValueError(
                f"times of a request are out of order: {after} is {before_s - after_s:.6f} s before {before}; "
                "was the clock set while the tool measured?"
            )


@dataclass(frozen=True, slots=True)
class ImportedPoint:
    """One level of another tool's run."""

    where: str
    model: str | None
    level: Level | None  # None where the file does not say
    requests: tuple[ImportedRequest, ...]
    chat: bool | None = None  # which endpoint; None if unknown
    facts: dict[str, Any] = field(default_factory=dict)  # what else the file says about itself, for the manifest


Model = TypeVar("Model", bound=BaseModel)


def read_result(text: str) -> Any:
    """The JSON in a text, without the nulls of its objects. Raises ValueError."""
    return read_json(text, lambda one: {key: value for key, value in one.items() if value is not None})


def parse_result(text: str, model: type[Model], *, where: str, if_missing: Mapping[str, str] | None = None) -> Model:
    """The file as a `model`. if_missing: as in `validated`. Raises PointsError naming every mistake with its key."""
    try:
        tree = read_result(text)
    except ValueError as error:
        raise PointsError("the result file is not valid JSON", where=where, given=str(error)) from None
    return validated(model, tree, "the result file", where=where, if_missing=if_missing, error_type=PointsError)


def status_of_error(error: str | None) -> tuple[Status, int | None]:
    """The class of a failure, and its HTTP status where the text has one, from a Python client's error text."""
    text = error or ""
    match = re.search(r"(?:[Ss]tatus(?: code)?[=:' ]+|error ['\"])([45]\d\d)\b", text)
    if match:
        return "http_error", int(match[1])
    last = text.strip().rpartition("\n")[2]  # of a traceback the last line names the exception
    if re.search(r"[Tt]imeout|[Tt]imed out", last):
        return "timeout", None
    if re.search(r"Connect(or|ion)?(DNS|Certificate)?Error|Cannot connect|ConnectionRefused|connection attempts", last):
        return ("stream_error" if "reset" in last.lower() else "connect_error"), None
    return "stream_error", None


def with_levels(points: Sequence[ImportedPoint], levels: Sequence[Level]) -> tuple[ImportedPoint, ...]:
    """The points with the level that the user names: none, one for all, or one each.

    Raises PointsError if a point still has none, for a rate that no sweep can have, if a file says otherwise, if the
    numbers do not match, or if some are of an open loop and others of a closed one.
    """
    if len(levels) not in (0, 1, len(points)):
        what, given = "as many levels as points, or one for all", f"{len(levels)} levels, {len(points)} points"
        raise PointsError(what, where="--concurrency, --rate", given=given)
    places = [*((point.where, point.level) for point in points), *(("--rate", level) for level in levels)]
    for where, level in places:
        if level is not None and level.rate_per_s is not None and not LEAST_RATE <= level.rate_per_s <= MOST_RATE:
            expected = f"{LEAST_RATE} to {MOST_RATE:,} requests/s"
            raise PointsError("the rate is none", where=where, given=level.rate_per_s, expected=expected)
    named = levels if len(levels) > 1 else [levels[0] if levels else None] * len(points)
    chosen = []
    for point, level in zip(points, named, strict=True):
        if level is None and point.level is None:
            hint = "give --concurrency N, or --rate R of an open loop, one per file"
            raise PointsError("the file does not say its concurrency or rate", where=point.where, hint=hint)
        if level is not None and point.level not in (None, level):
            where, given = f"{point.where} and the command line", f"{point.level.words} and {level.words}"
            hint = "leave --concurrency and --rate out"
            raise PointsError("the file has another level", where=where, given=given, hint=hint)
        chosen.append(dataclasses.replace(point, level=level or point.level))
    if len({point.level.kind for point in chosen if point.level}) > 1:
        raise PointsError(
            "points of an open and of a closed loop", where=", ".join(point.where for point in chosen),
            given=", ".join(point.level.words for point in chosen if point.level),
            hint="import each into its own folder",
        )  # fmt: skip
    return tuple(chosen)


def imported_run(
    points: Sequence[ImportedPoint], tool: str, definitions: Sequence[str], *, run_id: str, model: str | None = None
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """One run of the points, which all have a level: its manifest but for the spec, the dotted keys of the spec
    that the files decide, and its rows (keys of RequestRecord; what the tool does not know is left out).

    model: its name where the files have none. Points of the same level are repeats of it. Times start at each point's
    first request. An open loop's window is from its first to a mean gap behind its last. Raises PointsError if the
    points are of different models.
    """
    models = {point.model for point in points if point.model is not None}
    if len(models) > 1:
        raise PointsError(
            "files of different models", given=", ".join(sorted(models)), hint="import each model into its own folder"
        )
    model = models.pop() if models else model
    repeats: Counter[Level] = Counter()
    entries, rows = [], []
    for point in points:
        assert point.level is not None  # with_levels
        repeat, rate = repeats[point.level], point.level.rate_per_s
        repeats[point.level] += 1
        level: dict[str, Any] = {"concurrency": point.level.concurrency, "rate_per_s": rate}
        level |= {"point_id": point.level.point_id(repeat), "repeat": repeat}
        requests = [
            request if rate is None or request.scheduled_s is not None
            else request.model_copy(update={"scheduled_s": request.sent_s})
            for request in point.requests
        ]  # fmt: skip
        name = "sent_s" if rate is None else "scheduled_s"
        began_s = [at_s for request in requests if (at_s := getattr(request, name)) is not None]
        if not began_s:
            raise PointsError("no request of the file was sent", where=point.where)
        origin_s, window = min(began_s), {}
        if rate is not None:
            end_s = (max(began_s) - origin_s) * len(began_s) / max(1, len(began_s) - 1)
            window = {"window_start_s": 0.0, "window_end_s": end_s or 1 / rate}
        for request in requests:
            row = request.model_dump(include=set(ImportedRequest.model_fields))
            row |= {name: row[name] - origin_s for name in _TIMES if row[name] is not None}
            rows.append({"run_id": run_id, **level, **row, **window, "stamp_source": "user"})
        entries.append(level | {"status": "complete", "imported": point.facts | {"requests": len(requests)}})
    manifest = {
        "schema": SCHEMA_VERSION,
        "run_id": run_id,
        "status": "complete",
        "model": model,
        "workload": {"name": f"of {tool}", "requests": len(points[0].requests), "content_hash": None},
        "clock": {"name": f"that of {tool}, from each point's first request", "origin_monotonic_ns": 0},
        "server_probe": {"stamp_source": "user"},
        "imported": {"tool": tool, "definitions": list(definitions)},
        "points": entries,
    }
    spec = {
        "server.base_url": NO_SERVER,
        "server.model": model,
        "server.endpoint": "completions" if points[0].chat is False else "chat",
        "workload.source": f"imported from {tool}",
        f"load.{min(repeats).kind}": [level.number for level in sorted(repeats)],
        "load.repeats": max(repeats.values()),
    }
    return manifest, spec, rows
