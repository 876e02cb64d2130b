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
from benchsuite.redact import markdown_table, markdown_text, printable
from benchsuite.report.format import show
from benchsuite.report.judge import Judgement
from benchsuite.slo import MAX_ERROR_RATE, Slo
from benchsuite.store.run_folder import Run


@dataclass(frozen=True, slots=True)
class Criterion:
    """A requirement at one level: 'ttft_p95 < 0.5 s', or a figure and its margin. finding: the result in words.

    value, baseline: of the run and of the baseline (geometric means over repeats), change_ratio with its 95 % ends:
    value / baseline - 1; None for limits, and where a run lacks the figure.
    """

    kind: Literal["slo", "regression"]
    name: str
    concurrency: int
    requirement: str
    verdict: Verdict
    finding: str
    value: float | None = None
    baseline: float | None = None
    change_ratio: float | None = None
    change_low: float | None = None
    change_high: float | None = None

    @property
    def title(self) -> str:
        """'ttft_p95 < 0.5 s at 16'."""
        return f"{self.requirement} at {self.concurrency}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """Every criterion, levels ascending, limits first. notes: what a reader must know of the comparison."""

    run_id: str
    baseline_id: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """fail where anything failed, else inconclusive where anything is, else pass."""
        found = {one.verdict for one in self.criteria}
        return next((verdict for verdict in ("fail", "inconclusive") if verdict in found), "pass")


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
            raise _unknown_figure(word, figure, where)
        if figure.column in found:
            raise InputError("a figure has two margins", where=where, given=text)
        default = MARGIN_TAIL if figure.is_tail else MARGIN
        found[figure.column] = Regression(figure, _margin(margin, part, where) if equals else default)
    if not found:
        raise InputError("no figure is named", where=where, given=repr(text), expected=_EXAMPLE)
    return tuple(found.values())


_EXAMPLE = "for example ttft_p95=5%,cost=5%"


def _unknown_figure(word: str, figure: Statistic | None, where: str) -> InputError:
    close = closest(word)
    hint = f"did you mean {close!r}?" if close else None
    if figure is not None and figure.metric.share:
        limit = f"{figure.name}{'<1%' if figure.metric.better == 'less' else '>=95%'}"
        hint = f"a share may be 0 and has no ratio: limit it with --slo {limit!r}"
    return InputError("no such figure", where=where, given=word, expected=_EXAMPLE, hint=hint)


def _margin(text: str, part: str, where: str) -> float:
    digits = text.strip().removesuffix("%")
    try:
        value = float(digits) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError("not a margin", where=where, given=part.strip(), expected="5% or 0.05; below 100%")
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
    cases = [(level, one) for level in pairs for one in regressions]
    figures, changes, margins = [], [], []
    for level, one in cases:
        new, old = (
            by_repeat(side, one.figure, hour_at(judgement.hour_price, level))
            for side, judgement in zip(pairs[level], judgements, strict=True)
        )
        numbers = [[run.repeat for run in side.repeats] for side in pairs[level]]
        more = one.figure.metric.better == "more"
        paired = same_orders and numbers[0] == numbers[1]
        figures.append((new, old))
        changes.append(change(new, old, paired=paired, higher_is_better=more, tail=one.figure.is_tail))
        margins.append(log_margin(one.margin, higher_is_better=more))
    found = verdicts(changes, margins)
    return [
        _of_change(level, one, figures[i], changes[i], margins[i], found[i], len(cases))
        for i, (level, one) in enumerate(cases)
    ]


def _of_change(
    level: int, one: Regression, figures: Any, found: Change | None, margin: float, verdict: Verdict, criteria: int
) -> Criterion:
    more, name = one.figure.metric.better == "more", one.figure.column
    requirement = f"{one.figure.name} at most {one.margin * 100:.4g} % {'lower' if more else 'higher'}"
    if found is None:
        return Criterion("regression", name, level, requirement, verdict, "not known in every repeat, or 0")
    sign = -1 if more else 1
    ratio, low, high = (math.expm1(sign * end) for end in (found.theta, found.low, found.high))
    low, high = min(low, high), max(low, high)
    value, baseline = (float(np.exp(np.log(side).mean())) for side in figures)
    ends = ", ".join(f"{100 * end:+.1f} %" for end in (low, high))
    new, old = (show(one.figure.metric, side) for side in (value, baseline))
    finding = f"{one.figure.label} {new}, baseline {old}: {100 * ratio:+.1f} % [{ends}], {found.method}"
    if verdict == "inconclusive":
        finding += _needed(found, margin, criteria)
    return Criterion("regression", name, level, requirement, verdict, finding, value, baseline, ratio, low, high)


def _needed(found: Change, margin: float, criteria: int) -> str:
    # a fail shares its level with the other criteria, a pass does not
    if found.low > margin:
        return f"; beyond the margin, but not significant among {criteria} criteria: more repeats may decide"
    n = repeats_needed(found.sd, abs(found.theta - margin), criteria if found.theta > margin else 1)
    if n is None:
        return "; undecided: so near the margin that more than 100 repeats would be needed"
    # where there are as many already it is a matter of luck, or of Holm's other criteria
    return f"; undecided: about {max(n, min(found.n_new, found.n_baseline) + 1)} repeats of each would decide"


_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot carry


def junit_xml(result: GateResult, *, strict: bool = False) -> str:
    """One test suite. A fail is a failure; inconclusive is skipped with its reason, with `strict` a failure."""
    tags = {"fail": "failure", "inconclusive": "failure" if strict else "skipped"}
    outcomes = [tags.get(one.verdict) for one in result.criteria]
    failures, skipped = outcomes.count("failure"), outcomes.count("skipped")
    counts = {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}

    def element(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
        made = ET.SubElement(parent, tag, {name: _FORBIDDEN.sub("\ufffd", text) for name, text in attributes.items()})
        made.text = text if text is None else _FORBIDDEN.sub("\ufffd", text)
        return made

    root = ET.Element("testsuites", {"name": "benchsuite gate", **counts})
    suite = element(root, "testsuite", name=f"benchsuite gate {result.run_id}", **counts)
    properties = element(suite, "properties")
    for name, value in (("run", result.run_id), ("baseline", result.baseline_id), ("verdict", result.verdict)):
        if value is not None:
            element(properties, "property", name=name, value=value)
    for one, tag in zip(result.criteria, outcomes, strict=True):
        case = element(suite, "testcase", classname=f"benchsuite.{one.kind}", name=one.title, time="0")
        message = f"{one.title}: {one.finding}"
        if tag == "failure":
            element(case, tag, message, type=one.verdict, message=message)
        elif tag == "skipped":
            element(case, tag, message=message)
    if result.notes:
        element(suite, "system-out", "\n".join(result.notes))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


_MARKS = {"pass": "\u2705", "fail": "\u274c", "inconclusive": "\u2754"}


def headline(result: GateResult, *, strict: bool = False) -> str:
    """'fail: 1 of 6 criteria failed, 2 are undecided'. strict: undecided counts as failed."""
    verdicts = [one.verdict for one in result.criteria]
    total, failed, undecided = len(verdicts), verdicts.count("fail"), verdicts.count("inconclusive")
    if result.verdict == "pass":
        return f"pass: all {total} criteria are met" if total != 1 else "pass: the criterion is met"
    parts = [f"{failed} of {total} criteria failed"] if failed else []
    if undecided:
        of = "" if failed else f" of {total} criteria"
        parts.append(f"{undecided}{of} {'is' if undecided == 1 else 'are'} undecided")
    counted = ", which --strict counts as failed" if strict and result.verdict == "inconclusive" else ""
    return f"{result.verdict}: {', '.join(parts)}{counted}"


def lines(result: GateResult) -> list[str]:
    """A criterion with its finding below it, and the notes."""
    found = [
        line
        for one in result.criteria
        for line in (f"{one.verdict.upper():12} at {one.concurrency}: {one.requirement}", f"{'':13}{one.finding}")
    ]
    # one line each: none can be a command to GitHub
    return [printable(line.replace("\n", " ")) for line in (*found, *(f"note: {note}" for note in result.notes))]


def markdown(result: GateResult) -> str:
    """A summary for a pull request or a job: the verdict, a table, the notes."""
    against = "" if result.baseline_id is None else f", baseline {_code(result.baseline_id)}"
    rows = [
        (
            f"{_MARKS[one.verdict]} {one.verdict}",
            one.concurrency,
            markdown_text(one.requirement),
            markdown_text(one.finding),
        )
        for one in result.criteria
    ]
    table = markdown_table(("result", "concurrency", "requirement", "finding"), rows, right=("concurrency",))
    return "\n".join(
        [
            f"### {_MARKS[result.verdict]} benchsuite gate: {headline(result)}",
            "",
            f"Run {_code(result.run_id)}{against}. Change with its 95 % interval.",
            "",
            *table,
            *[""] * bool(result.notes),
            *(f"- {markdown_text(note)}" for note in result.notes),
            "",
        ]
    )


def workflow_commands(result: GateResult) -> list[str]:
    """GitHub's workflow commands: an error for each fail, a warning for each criterion without a decision."""
    levels = {"fail": "error", "inconclusive": "warning"}

    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    found = []
    for one in result.criteria:
        if one.verdict in levels:
            title = data(f"benchsuite gate: {one.title}").replace(":", "%3A").replace(",", "%2C")
            found.append(f"::{levels[one.verdict]} title={title}::{data(one.finding)}")
    return found


def plain(result: GateResult) -> dict[str, Any]:
    """The same as plain data."""
    return {"verdict": result.verdict} | dataclasses.asdict(result)


def _code(text: str) -> str:
    return f"`{printable(' '.join(text.replace('`', '').split()))}`"


ERRORS_ALONE = str(Slo((MAX_ERROR_RATE,)))  # the SLO of a run that is compared with a baseline, if none is given


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
        notes = refuse_unlike([*found, *([] if levels else _levels(runs, theirs))], allowed)
        wanted = [level for level in wanted if level in theirs]
        if not wanted:
            raise InputError("the runs have no level in common", where="--baseline", given=baseline.source)
        if run.run_id == baseline.run_id:
            notes.append("the baseline is the run itself")
        pairs = {level: (runs[level], theirs[level]) for level in wanted}
        seeds = [(side.facts.manifest.spec.get("load") or {}).get("seed") for side in (run, baseline)]
        same_orders = seeds[0] == seeds[1] and run.workload_hash == baseline.workload_hash
        compared = compare_levels(pairs, regressions or default_regressions(pairs), (run, baseline), same_orders)
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


def _levels(runs: Iterable[int], theirs: Iterable[int]) -> list[Difference]:
    new, before = (", ".join(map(str, sorted(side))) for side in (runs, theirs))
    return [] if new == before else [Difference("levels", "levels", new, before)]


def _unmeasured(run: Run, runs: Collection[int]) -> list[Criterion]:
    """Planned levels that were not measured to their end: those that were cannot pass for them."""
    found = {}
    status = {point.point_id: point.status for point in run.manifest.points}
    for point_id in run.manifest.planned_points:
        named = re.fullmatch(r"c(\d+)-r\d+", point_id)
        if named is not None and (level := int(named[1])) not in runs:
            found[level] = status.get(point_id, "not begun")
    hint = "`benchsuite sweep --resume` measures what is missing; --levels judges the others alone"
    return [
        Criterion("slo", "measured", level, "measured to its end", "inconclusive", f"{state}; {hint}")
        for level, state in found.items()
    ]


def _of_limit(check: LimitCheck) -> Criterion:
    finding = f"{'unknown' if check.value is None else check.limit.show(check.value)}; {check.why}"
    return Criterion("slo", check.limit.name, check.concurrency, str(check.limit), check.verdict, finding, check.value)


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
    side = "run" if fails else "baseline"
    why = f"would be a {one.verdict}, but the client was at its limit in the {side} (--allow client accepts that)"
    return dataclasses.replace(one, verdict="inconclusive", finding=f"{one.finding}; {why}")


def _warned(judgement: Judgement | None, levels: Collection[int], whose: str) -> list[str]:
    """The codes of the warnings at the levels of the gate, in one note."""
    codes: dict[str, dict[str, None]] = {}
    for one in () if judgement is None else judgement.judged:
        for warn in one.point.warnings if one.point.concurrency in levels else ():
            codes.setdefault(warn.code, {})[str(one.point.concurrency)] = None
    listed = "; ".join(f"{code} at {', '.join(at)}" for code, at in codes.items())
    return [f"warnings in {whose}: {listed}; `benchsuite check` has the remedies"] if codes else []
