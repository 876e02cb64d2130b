"""Run folders with scores, whose answers are right or wrong as a test plans it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factory

from benchsuite.records import RequestRecord, ScoreRecord
from benchsuite.results import AnswerScore
from benchsuite.store.run_folder import read_run, write_scores

Planned = Callable[[str, int, int], AnswerScore | float | None]


def scored_folder(
    path: Path,
    planned: Planned,
    *,
    scenario: Callable[[str], str | None] = lambda _: None,
    item: Callable[[str], str] = lambda prompt_id: prompt_id,
    scorer: str = "choice",
    cut: Callable[[str], bool] = lambda _: False,
    row: Callable[[RequestRecord], RequestRecord] = lambda one: one,
    extra: Callable[[ScoreRecord], list[ScoreRecord]] = lambda _: [],
    **run: Any,
) -> Path:
    """A run of tests/factory.py with scores.parquet.

    planned: of the prompt's id, the level and the repeat: what its answer scores; None: it has no scorer. A request
    that failed scores 0. item: the prompt's id instead of the factory's. extra: further rows of a request.
    """

    def named(one: RequestRecord) -> RequestRecord:
        name = item(one.prompt_id)
        return row(one._replace(prompt_id=name, scenario=scenario(name)))

    factory.run_folder(path, row=named, **run)
    rows = []
    for one in read_run(path).table.to_pylist():
        found, failed = planned(one["prompt_id"], one["concurrency"], one["repeat"]), one["status"] != "ok"
        if found is None:
            continue
        if failed:
            found = AnswerScore(0.0, how=one["status"])
        elif not isinstance(found, AnswerScore):
            found = AnswerScore(float(found), "C", "bare")
        parts = None if found.parts is None else json.dumps(found.parts)
        where = (one[name] for name in ("point_id", "repeat", "attempt", "request_id", "prompt_id", "scenario"))
        of_answer = found.score, found.reading or None, found.how, cut(one["prompt_id"]), failed, parts
        rows.append(ScoreRecord(*where, scorer, 1, *of_answer))  # type: ignore[arg-type]
        rows += extra(rows[-1])
    facts = {"run_id": "20260102T030405Z-m-beef", "by_scenario": {"": {scorer: 1}}, "references_hash": "ab"}
    write_scores(path, rows, facts)
    return path
