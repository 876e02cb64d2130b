"""Answers of a run scored again, or preferred by a judge: `benchsuite.score` and `benchsuite.prefer`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import InputError
from benchsuite.redact import single_line

if TYPE_CHECKING:
    from benchsuite.api import Run
    from benchsuite.manifest import RunManifest
    from benchsuite.quality.judge import Judge
    from benchsuite.workload.dataset import Workload


def score(
    run: str | Path,
    *,
    workload: str | Path | None = None,
    scorers: Mapping[str, str] | None = None,
    only: str | None = None,
    judge: Judge | None = None,
    judge_rubric: Path | None = None,
    judge_control: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Score the answers of a run again, those of its complete points, as `benchsuite score` does.

    workload: the request set, if it was a file: the same prompts, with the references of today. scorers: by
    scenario, or "*" for all, what its prompts with a reference are scored by: a name, or JSON of a name and options.
    only: this scenario is scored again, the scores of the others stay. judge: gives the scores of rubrics, and
    judge_rubric one to prompts without; its verdicts stay when the run is scored without it. progress: is told how many
    of how many verdicts came. The run's summary and report are written again.
    Raises InputError, StoreError, and RunError of a judge that does not answer.
    """
    from itertools import chain

    from benchsuite.api import read_run
    from benchsuite.quality.score import RowScorer, with_scorers
    from benchsuite.records import ScoreRecord
    from benchsuite.report.format import judging_of
    from benchsuite.report.page import write_judged
    from benchsuite.store import run_folder

    path = Path(run)
    with run_folder.locked(path):
        manifest = run_folder.read_manifest(path)
        asked = _set_of(manifest, path, workload)
        if scorers or judge_rubric is None or asked.references_hash is not None:
            asked = with_scorers(asked, scorers or {}, only)
        scoring, damage = RowScorer.of_run(asked, manifest.run_id), dict[Path, str]()
        rows = scoring(run_folder.rows_to_score(path, manifest))
        before = run_folder.read_scores(path, manifest, damage)
        by_scenario = scoring.facts["by_scenario"]
        if before is not None and only is not None:
            kept = [ScoreRecord(**row) for row in before.table.to_pylist() if row["scenario"] != (only or None)]
            rows = chain(kept, rows)
            scoring.facts["by_scenario"] = before.facts["by_scenario"] | by_scenario
        judged: list[ScoreRecord] = []
        if judge is not None:
            from benchsuite.quality.judge import judge_run, read_rubric

            prompts = [prompt for prompt in asked.prompts if only in (None, prompt.scenario or "")]
            rubric = None if judge_rubric is None else read_rubric(judge_rubric)
            judged, scoring.facts["judge"] = judge_run(
                run_folder.read_run(path), prompts, judge, rubric=rubric, control=judge_control, progress=progress
            )
        elif before and judging_of(before.facts) and before.facts.get("references_hash") == asked.references_hash:
            judged = [ScoreRecord(**row) for row in before.table.to_pylist() if row["scorer"] == "judge"]
            scoring.facts["judge"] = before.facts["judge"]
        if judged:
            theirs = {(one.point_id, one.request_id) for one in judged}
            others = (row for row in rows if row.scorer != "judge" or (row.point_id, row.request_id) not in theirs)
            rows = chain(others, judged)
            for scenario in {row.scenario or "" for row in judged}:
                scoring.facts["by_scenario"].setdefault(scenario, {})["judge"] = judged[0].scorer_version
        run_folder.write_scores(path, rows, scoring.facts)
        scored = read_run(path)
        write_judged(scored.stored)
    return scored


def prefer(
    run: str | Path,
    against: str | Path,
    judge: Judge,
    *,
    workload: str | Path | None = None,
    judge_rubric: Path | None = None,
    judge_control: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """The judging's facts with the win rate of one run's answers over another's, as `benchsuite score --against`.

    Arguments as of `score`. Raises InputError, StoreError, and RunError of a judge that does not answer.
    """
    from benchsuite.quality.judge import compare_runs, read_rubric
    from benchsuite.store import run_folder

    first, second = (run_folder.read_run(Path(one)) for one in (run, against))
    asked = _set_of(first.manifest, first.path, workload)
    rubric = None if judge_rubric is None else read_rubric(judge_rubric)
    return compare_runs(first, second, asked.prompts, judge, rubric=rubric, control=judge_control, progress=progress)


def _set_of(manifest: RunManifest, path: Path, source: str | Path | None) -> Workload:
    """The request set of a run whose answers can be scored, as it is now. Raises InputError."""
    from benchsuite.input_files import read_workload
    from benchsuite.load.schedule import replayed
    from benchsuite.request_spec import GENERATED
    from benchsuite.spec import parse_spec

    what, hint = "", None
    if manifest.imported is not None:
        what = "a run of another tool has no answers to score"
    elif manifest.search is not None or manifest.spec.get("find") is not None:
        what = "a search's probes end in the middle of answers, so they are not scored"
        hint = "benchsuite sweep measures levels to their end, and scores them"
    elif not manifest.complete_points:
        what, hint = "no level of the run was measured to its end, so there is nothing to score", "measure it again"
    if what:
        raise InputError(what, where=str(path), hint=hint)
    spec = parse_spec(manifest.spec, where=str(path))
    if spec.workload.fixed_length:
        raise InputError(
            "answers of a fixed length run on past their end, so they are not scored", where=str(path),
            hint="measure with --no-fixed-length",
        )  # fmt: skip
    if spec.workload.save_text is False:
        raise InputError(
            "the run kept no texts (--no-text): its answers were scored as they were measured, and cannot be again",
            where=str(path), hint="measure with --save-text",
        )  # fmt: skip
    named = spec.workload.source if source is None else str(source)
    if source is None and named not in GENERATED:
        raise InputError(
            "a run folder is not trusted to name a file: give the request set again", where=str(path),
            hint=single_line(shlex.join(["benchsuite", "score", str(path), "--workload", named])),
        )  # fmt: skip
    spec = spec.model_copy(update={"workload": spec.workload.model_copy(update={"source": named, "tokenizer": None})})
    _, found, _ = replayed(spec, read_workload(spec.workload, spec.load.random_seed))
    if found.content_hash != manifest.workload.content_hash:
        raise InputError(
            "the request set is not the one that the run measured", where=named,
            given=f"sha256 {found.content_hash}", expected=f"sha256 {manifest.workload.content_hash}",
            hint="--workload FILE, with the same prompts in the same order; references may be others",
        )  # fmt: skip
    return found
