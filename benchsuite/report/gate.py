"""The gate: a run held against limits, and against a baseline; one criterion per limit or figure and level."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchsuite.analysis.regression import Change, Verdict, change, log_margin, repeats_needed, verdicts
from benchsuite.analysis.requests import LevelRows, by_repeat
from benchsuite.analysis.summary import MeasuredLevel
from benchsuite.economics.cost import hour_at
from benchsuite.economics.gate_limits import LimitCheck, check_limits
from benchsuite.errors import InputError
from benchsuite.manifest import Difference, differences, refuse_unlike
from benchsuite.metrics import BY_COLUMN, Statistic, closest, find
from benchsuite.redact import markdown_text, printable
from benchsuite.report.format import show
from benchsuite.report.judge import Judgement
from benchsuite.slo import MAX_ERROR_RATE, Slo
from benchsuite.store.run_folder import Run


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that was asked at one level. said: the finding in words. asked: 'ttft_p95 < 0.5 s', or the figure and
    its margin. value, baseline: of the run and of the baseline (geometric means over runs), change_ratio with its
    95 % ends: value / baseline - 1; None for limits, and where a run lacks the figure."""

    kind: Literal["slo", "regression"]
    name: str
    concurrency: int
    asked: str
    verdict: Verdict
    said: str
    value: float | None = None
    baseline: float | None = None
    change_ratio: float | None = None
    change_low: float | None = None
    change_high: float | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """Every criterion, levels ascending, limits first. notes: what a reader must know beside."""

    run_id: str
    baseline_id: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """fail where anything failed, else inconclusive where anything is, else pass."""
        found = {one.verdict for one in self.criteria}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


MARGIN, MARGIN_TAIL = 0.05, 0.10


@dataclass(frozen=True, slots=True)
class Regression:
    """A figure that may be worse by `margin` (ratio) at most."""

    figure: Statistic
    margin: float


def default_regressions(pairs: Mapping[int, tuple[LevelRows, LevelRows]]) -> tuple[Regression, ...]:
    """Cost per token by 5 %, and the highest percentile of TTFT with ten requests beyond it in every run by 10 %."""
    fewest = min(min(len(run.order) for run in side.repeats) for pair in pairs.values() for side in pair)
    stat = next((s for s, n in (("p99", 1000), ("p95", 200), ("p90", 100)) if fewest >= n), "mean")
    cost, ttft = BY_COLUMN["usd_per_1m_output_tokens"], BY_COLUMN[f"ttft_{stat}_s"]
    return Regression(cost, MARGIN), Regression(ttft, MARGIN_TAIL)


def parse_regressions(text: str, *, where: str = "--max-regression") -> tuple[Regression, ...]:
    """'ttft_p95=5%,cost=0.05,tpot': figures with margins; without one 5 %, and 10 % for p95, p99 and max."""
    found: dict[str, Regression] = {}
    for part in (part for part in text.split(",") if part.strip()):
        word, equals, margin = part.partition("=")
        figure = find(word)
        if figure is None or not figure.metric.comparable or figure.metric.share:
            raise _no_figure(word, figure, where)
        if figure.column in found:
            raise InputError("a figure has two margins", where=where, given=text)
        default = MARGIN_TAIL if figure.is_tail else MARGIN
        found[figure.column] = Regression(figure, _margin(margin, part, where) if equals else default)
    if not found:
        raise InputError(
            "no figure is named", where=where, given=repr(text), expected="for example ttft_p95=5%,cost=5%"
        )
    return tuple(found.values())


def _no_figure(word: str, figure: Statistic | None, where: str) -> InputError:
    close = closest(word)
    hint = f"did you mean {close!r}?" if close else None
    if figure is not None and figure.metric.share:
        limit = f"{figure.name}{'<1%' if figure.metric.better == 'less' else '>=95%'}"
        hint = f"a share may be 0 and has no ratio: limit it with --slo {limit!r}"
    return InputError("no such figure", where=where, given=word, expected="for example ttft_p95, tpot, cost", hint=hint)


def _margin(text: str, part: str, where: str) -> float:
    digits = text.strip().removesuffix("%")
    try:
        value = float(digits) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError("a margin does not read", where=where, given=part.strip(), expected="5% or 0.05; below 100%")
    return value


def compare_levels(
    pairs: Mapping[int, tuple[LevelRows, LevelRows]],
    regressions: Sequence[Regression],
    judgements: tuple[Judgement, Judgement],
    same_orders: bool,
) -> list[Criterion]:
    """Every figure at every level, judged together. pairs, judgements: of the run and of the baseline.

    same_orders: repeat i of both sent the same requests in the same order, so that repeats pair.
    """
    asked = [(level, one) for level in pairs for one in regressions]
    figures = [
        tuple(
            by_repeat(side, one.figure, hour_at(judgement.hour_price, level))
            for side, judgement in zip(pairs[level], judgements, strict=True)
        )
        for level, one in asked
    ]
    changes = [
        change(
            new,
            old,
            paired=same_orders and _numbers(pairs[level][0]) == _numbers(pairs[level][1]),
            higher_is_better=one.figure.metric.better == "more",
            tail=one.figure.is_tail,
        )
        for (level, one), (new, old) in zip(asked, figures, strict=True)
    ]
    margins = [log_margin(one.margin, higher_is_better=one.figure.metric.better == "more") for _, one in asked]
    found = verdicts(changes, margins)
    return [
        _of_change(level, one, figures[i], changes[i], margins[i], found[i], len(asked))
        for i, (level, one) in enumerate(asked)
    ]


def _numbers(level: LevelRows) -> list[int]:
    return [run.repeat for run in level.repeats]


def _of_change(
    level: int, one: Regression, figures: Any, found: Change | None, margin: float, verdict: Verdict, criteria: int
) -> Criterion:
    less, name = one.figure.metric.better == "more", one.figure.column
    asked = f"{one.figure.name} at most {one.margin * 100:.4g} % {'lower' if less else 'higher'}"
    if found is None:
        return Criterion("regression", name, level, asked, verdict, "not known in every run, or 0")
    sign = -1 if less else 1
    ratio, low, high = (math.expm1(sign * end) for end in (found.theta, found.low, found.high))
    low, high = min(low, high), max(low, high)
    value, baseline = (float(np.exp(np.log(side).mean())) for side in figures)
    ends = ", ".join(f"{100 * end:+.1f} %" for end in (low, high))
    new, old = (show(one.figure.metric, side) for side in (value, baseline))
    said = f"{one.figure.label} {new} against {old}: "
    said += f"{100 * ratio:+.1f} % [{ends}], {found.method}"
    if verdict == "inconclusive":
        said += _needed(found, margin, criteria)
    return Criterion("regression", name, level, asked, verdict, said, value, baseline, ratio, low, high)


def _needed(found: Change, margin: float, criteria: int) -> str:
    # a fail shares its level with the other criteria, a pass does not
    shared = criteria if found.theta > margin else 1
    if found.low > margin:
        return f"; beyond the margin alone, but not sure enough among {criteria} criteria: more repeats would decide"
    n = repeats_needed(found.sd, abs(found.theta - margin), shared)
    if n is None:
        return "; not decided: it is so near the margin that more than 100 repeats would be needed"
    if n <= min(found.n_new, found.n_baseline):  # a matter of luck, or of Holm's other criteria
        n = min(found.n_new, found.n_baseline) + 1
    return f"; not decided: about {n} repeats of each would decide"


_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot carry


def junit_xml(result: GateResult, *, strict: bool = False) -> str:
    """One test suite. A fail is a failure; inconclusive is skipped with its reason, with `strict` a failure."""
    failed = [one for one in result.criteria if is_failure(one, strict)]
    skipped = [one for one in result.criteria if one.verdict == "inconclusive" and not strict]
    counts = {
        "tests": str(len(result.criteria)),
        "failures": str(len(failed)),
        "errors": "0",
        "skipped": str(len(skipped)),
    }
    root = ET.Element("testsuites", {"name": "benchsuite gate", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _clean(f"benchsuite gate {result.run_id}"), **counts})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", result.run_id), ("baseline", result.baseline_id), ("verdict", result.verdict)):
        if value is not None:
            ET.SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for one in result.criteria:
        _case(suite, one, strict)
    if result.notes:
        ET.SubElement(suite, "system-out").text = _clean("\n".join(result.notes))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def is_failure(one: Criterion, strict: bool) -> bool:
    """Whether the criterion fails the gate."""
    return one.verdict == "fail" or (strict and one.verdict == "inconclusive")


def _case(suite: ET.Element, one: Criterion, strict: bool) -> None:
    name = f"{one.asked} at {one.concurrency}"
    case = ET.SubElement(suite, "testcase", {"classname": f"benchsuite.{one.kind}", "name": _clean(name), "time": "0"})
    message = _clean(f"{one.asked} at {one.concurrency}: {one.said}")
    if is_failure(one, strict):
        failure = ET.SubElement(case, "failure", {"type": one.verdict, "message": message})
        failure.text = message
    elif one.verdict == "inconclusive":
        ET.SubElement(case, "skipped", {"message": message})


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)


_MARKS = {"pass": "\u2705", "fail": "\u274c", "inconclusive": "\u2754"}
_ANNOTATED = {"fail": "error", "inconclusive": "warning"}


def headline(result: GateResult, *, strict: bool = False) -> str:
    """'fail: 1 of 6 criteria failed, 2 are undecided'. strict: undecided counts as failed, which is said."""
    counts = {verdict: sum(one.verdict == verdict for one in result.criteria) for verdict in _MARKS}
    total = len(result.criteria)
    if result.verdict == "pass":
        return f"pass: all {total} criteria are met" if total != 1 else "pass: the criterion is met"
    said = [f"{counts['fail']} of {total} criteria failed"] if counts["fail"] else []
    if counts["inconclusive"]:
        undecided = counts["inconclusive"]
        of = "" if said else f" of {total} criteria"
        said.append(f"{undecided}{of} {'is' if undecided == 1 else 'are'} undecided")
    counted = ", which --strict counts as failed" if strict and result.verdict == "inconclusive" else ""
    return f"{result.verdict}: {', '.join(said)}{counted}"


def lines(result: GateResult) -> list[str]:
    """A criterion with its finding below it, and what to know beside."""
    told = [(f"{one.verdict.upper():12} at {one.concurrency}: {one.asked}", one.said) for one in result.criteria]
    said = [line for asked, found in told for line in (asked, f"{'':13}{found}")]
    every = [*said, *(f"note: {note}" for note in result.notes)]
    return [printable(line.replace("\n", " ")) for line in every]  # one line each: none can be a command to GitHub


def markdown(result: GateResult) -> str:
    """A summary for a pull request or a job: the verdict, a table, the notes."""
    against = "" if result.baseline_id is None else f" against {_code(result.baseline_id)}"
    rows = [
        f"| {_MARKS[one.verdict]} {one.verdict} | {one.concurrency} | {asked} | {said} |"
        for one in result.criteria
        for asked, said in [(markdown_text(one.asked), markdown_text(one.said))]
    ]
    notes = [f"- {markdown_text(note)}" for note in result.notes]
    said = headline(result)
    parts = [
        f"### {_MARKS[result.verdict]} benchsuite gate: {said}",
        "",
        f"Run {_code(result.run_id)}{against}. Change with its 95 % interval.",
        "",
        "| result | concurrency | asked | found |",
        "|---|---:|---|---|",
        *rows,
        *(["", *notes] if notes else []),
    ]
    return "\n".join(parts) + "\n"


def workflow_commands(result: GateResult) -> list[str]:
    """GitHub's workflow commands: an error for each fail, a warning for each criterion without a decision."""
    return [_annotation(one) for one in result.criteria if one.verdict in _ANNOTATED]


def plain(result: GateResult) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "verdict": result.verdict,
        "run_id": result.run_id,
        "baseline_id": result.baseline_id,
        "criteria": [dataclasses.asdict(one) for one in result.criteria],
        "notes": [*result.notes],
    }


def _annotation(one: Criterion) -> str:
    title = f"benchsuite gate: {one.asked} at {one.concurrency}"
    title = _data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{_ANNOTATED[one.verdict]} title={title}::{_data(one.said)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _code(text: str) -> str:
    return f"`{printable(' '.join(text.replace('`', '').split()))}`"


ERRORS_ALONE = str(Slo((MAX_ERROR_RATE,)))  # what a run is held against beside its baseline, where no SLO is given


def gate(
    run: Judgement,
    baseline: Judgement | None = None,
    *,
    regressions: Sequence[Regression] = (),
    levels: Sequence[int] = (),
    allowed: Collection[str] = (),
) -> GateResult:
    """Hold `run` against its SLO, and against `baseline`, which was judged by the SLO and the price of `run`.

    regressions: none is the default set. levels: none is all. Raises InputError for a baseline that is of something
    else, and levels that were not measured.
    """
    runs = {level.concurrency: level for level in run.measured}
    wanted = _measured(levels, runs, run.source)
    notes: list[str] = []
    compared: list[Criterion] = []
    if baseline is not None:
        theirs = {level.concurrency: level for level in baseline.measured}
        _measured(levels, theirs, baseline.source)
        found = differences(run.facts.manifest, baseline.facts.manifest)
        notes = refuse_unlike([*found, *_levels(runs, theirs, levels)], allowed)
        wanted = [level for level in wanted if level in theirs]
        if not wanted:
            raise InputError("the runs have no level in common", where="--baseline", given=baseline.source)
        if run.run_id == baseline.run_id:
            notes.append("the baseline is the run itself")
        paired = _seed(run.facts) == _seed(baseline.facts)
        pairs = {level: (runs[level], theirs[level]) for level in wanted}
        compared = compare_levels(pairs, regressions or default_regressions(pairs), (run, baseline), paired)
    checks = check_limits([runs[level] for level in wanted])
    criteria = sorted(
        [
            *(_of_limit(check) for level in wanted for check in checks[level]),
            *compared,
            *([] if levels else _unmeasured(run.facts, runs)),
        ],
        key=lambda one: (one.concurrency, one.kind != "slo"),
    )
    if "client" not in allowed:
        criteria = [_doubted(one, _client_bound(run), _client_bound(baseline)) for one in criteria]
    notes += [*_warned(run, wanted, "the run"), *_warned(baseline, wanted, "the baseline")]
    return GateResult(
        run_id=run.run_id or run.source,
        baseline_id=None if baseline is None else baseline.run_id,
        criteria=tuple(criteria),
        notes=tuple(notes),
    )


def _measured(levels: Sequence[int], runs: Mapping[int, MeasuredLevel], where: str) -> list[int]:
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
    return (run.manifest.spec.get("load") or {}).get("seed"), run.manifest.workload.content_hash


def _unmeasured(run: Run, runs: Collection[int]) -> list[Criterion]:
    """Levels that the run was to measure and did not to their end: what it did measure cannot pass for them."""
    found = {}
    status = {point.point_id: point.status for point in run.manifest.points}
    for point_id in run.manifest.planned_points:
        named = re.fullmatch(r"c(\d+)-r\d+", point_id)
        if named is not None and (level := int(named[1])) not in runs:
            found[level] = status.get(point_id, "not begun")
    hint = "`benchsuite sweep --resume` measures what is missing; --levels judges the others alone"
    return [
        Criterion("slo", "measured", level, "measured to its end", "inconclusive", f"{said}; {hint}")
        for level, said in found.items()
    ]


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
