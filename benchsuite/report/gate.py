"""The gate: a run held against limits, and against a baseline; one criterion per limit or figure and level."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from benchsuite.analysis.metrics import summarise_for
from benchsuite.analysis.run_figures import LevelRuns, level_runs
from benchsuite.economics.limit_checks import LimitCheck, check_limits
from benchsuite.economics.optimum import MAX_ERROR_RATE, limits_of
from benchsuite.errors import InputError
from benchsuite.report.alike import Difference, differences, refuse_unlike
from benchsuite.report.criteria import Criterion, GateResult
from benchsuite.report.judgement import Judgement, judge_run
from benchsuite.report.regressions import Regression, compare_levels, default_regressions
from benchsuite.slo import Slo, parse_slo
from benchsuite.spec import parse_spec
from benchsuite.store import Run


def gate(
    run: Run,
    baseline: Run | None = None,
    *,
    slo: str | None = None,
    regressions: Sequence[Regression] = (),
    levels: Sequence[int] = (),
    allowed: Collection[str] = (),
) -> GateResult:
    """Hold `run` against its SLO, and against `baseline` at the price of `run`.

    slo: None is the run's own where there is no baseline, else errors alone. regressions: none is the default set.
    levels: none is all. Raises InputError for a baseline that is of something else, and levels that were not measured.
    """
    price = parse_spec(run.manifest["spec"], where=str(run.path)).price
    limits = parse_slo(slo) if slo is not None else None if baseline is None else Slo((MAX_ERROR_RATE,))
    judgement = judge_run(run, slo=None if limits is None else str(limits))
    limits = judgement.slo
    runs = level_runs(run.whole)
    wanted = _measured(levels, runs, str(run.path))
    notes: list[str] = []
    compared: list[Criterion] = []
    other: Judgement | None = None
    if baseline is not None:
        other = judge_run(baseline, slo=str(limits), price=price)
        theirs = level_runs(baseline.whole)
        _measured(levels, theirs, str(baseline.path))
        notes = refuse_unlike([*differences(run.manifest, baseline.manifest), *_levels(runs, theirs, levels)], allowed)
        wanted = [level for level in wanted if level in theirs]
        if not wanted:
            raise InputError("the runs have no level in common", where="--baseline", given=str(baseline.path))
        if run.manifest["run_id"] == baseline.manifest["run_id"]:
            notes.append("the baseline is the run itself")
        paired = _seed(run) == _seed(baseline)
        pairs = {level: (runs[level], theirs[level]) for level in wanted}
        compared = compare_levels(pairs, regressions or default_regressions(pairs), (judgement, other), paired)
    checked = _checked(run, limits, {level: runs[level] for level in wanted})
    criteria = sorted(
        [*checked, *compared, *([] if levels else _unmeasured(run, runs))],
        key=lambda one: (one.concurrency, one.kind != "slo"),
    )
    if "client" not in allowed:
        criteria = [_doubted(one, _client_bound(judgement), _client_bound(other)) for one in criteria]
    notes += [*_warned(judgement, wanted, "the run"), *_warned(other, wanted, "the baseline")]
    return GateResult(
        run_id=judgement.run_id,
        baseline_id=None if other is None else other.run_id,
        criteria=tuple(criteria),
        notes=tuple(notes),
    )


def _measured(levels: Sequence[int], runs: Mapping[int, LevelRuns], where: str) -> list[int]:
    missing = [level for level in levels if level not in runs]
    if missing:
        known = ", ".join(map(str, runs))
        raise InputError("a level was not measured", where=where, given=f"--levels {missing[0]}", expected=known)
    return sorted(set(levels)) if levels else list(runs)


def _levels(runs: Iterable[int], theirs: Iterable[int], levels: Sequence[int]) -> list[Difference]:
    mine, own = sorted(runs), sorted(theirs)
    if levels or mine == own:
        return []
    return [Difference("levels", "levels", *(", ".join(map(str, side)) for side in (mine, own)))]


def _seed(run: Run) -> Any:
    """What decides the order of the requests of each repeat."""
    return (run.manifest["spec"].get("load") or {}).get("seed"), (run.manifest.get("workload") or {}).get(
        "content_hash"
    )


def _unmeasured(run: Run, runs: Collection[int]) -> list[Criterion]:
    """Levels that the run was to measure and did not to their end: what it did measure cannot pass for them."""
    found = {}
    status = {point["point_id"]: point["status"] for point in run.manifest.get("points", [])}
    for point_id in run.manifest.get("planned_points") or []:
        named = re.fullmatch(r"c(\d+)-r\d+", str(point_id))
        if named is not None and (level := int(named[1])) not in runs:
            found[level] = status.get(point_id, "not begun")
    hint = "`benchsuite sweep --resume` measures what is missing; --levels judges the others alone"
    return [
        Criterion("slo", "measured", level, "measured to its end", "inconclusive", f"{said}; {hint}")
        for level, said in found.items()
    ]


def _checked(run: Run, limits: Slo, runs: dict[int, LevelRuns]) -> list[Criterion]:
    spec = parse_spec(run.manifest["spec"], where=str(run.path))
    measured = summarise_for(run.whole, limits_of(limits), model=None, fixed_length=spec.workload.fixed_length)
    found = check_limits([(point, sums) for point, sums in measured if point.concurrency in runs], runs)
    return [_of_limit(check) for level in runs for check in found[level]]


def _of_limit(check: LimitCheck) -> Criterion:
    shown = "unknown" if check.value is None else check.limit.show(check.value)
    said = f"{shown}; {check.why}"
    return Criterion("slo", check.limit.name, check.concurrency, str(check.limit), check.verdict, said, check.value)


def _client_bound(judgement: Judgement | None) -> set[int]:
    """The levels whose figures are the measuring client's rather than the server's."""
    clients = {} if judgement is None else judgement.clients
    return {level for level, one in clients.items() if one.verdict == "client-bound"}


def _doubted(one: Criterion, run: Collection[int], baseline: Collection[int]) -> Criterion:
    """A client at its limit makes figures worse: such a run proves no fail, such a baseline no pass."""
    fails = one.verdict == "fail" and one.concurrency in run
    passes = one.kind == "regression" and one.verdict == "pass" and one.concurrency in baseline
    if one.name == "error_rate" or not (fails or passes):
        return one
    whose = "the run" if fails else "the baseline"
    why = f"would be a {one.verdict}, but the client was at its limit in {whose}, so it may be no fact of the server"
    return dataclasses.replace(one, verdict="inconclusive", said=f"{one.said}; {why} (--allow client: take it)")


def _warned(judgement: Judgement | None, levels: Collection[int], whose: str) -> list[str]:
    """The warnings at the levels of the gate, by their codes, in one note."""
    codes: dict[str, list[str]] = {}
    for one in () if judgement is None else judgement.judged:
        for code in dict.fromkeys(warn.code for warn in one.point.warnings):
            if one.point.concurrency in levels:
                codes.setdefault(code, []).append(str(one.point.concurrency))
    if not codes:
        return []
    told = "; ".join(f"{code} at {', '.join(at)}" for code, at in codes.items())
    return [f"warnings in {whose}: {told}; `benchsuite check` has the remedies"]
