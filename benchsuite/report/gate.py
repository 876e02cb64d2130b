"""The gate: a run compared with limits and with a baseline; one criterion per limit or figure and level."""

from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchsuite.analysis.history import MIN_RUNS
from benchsuite.analysis.regression import MAX_REPEATS, Change, Verdict, detectable, repeats_needed, verdicts
from benchsuite.analysis.summary import MeasuredLevel
from benchsuite.economics.verdict import check_limits, client_effect, repeats_to_decide, why_text
from benchsuite.errors import InputError
from benchsuite.level import Level, as_plain
from benchsuite.manifest import differences, refuse_unlike
from benchsuite.metrics import BY_COLUMN, CONFIDENCE
from benchsuite.redact import markdown_code, markdown_table, markdown_text, printable, workflow_data
from benchsuite.report import comparison
from benchsuite.report.comparison import Compared, History, Regression
from benchsuite.report.format import at_levels, level_head
from benchsuite.report.judge import Judgement
from benchsuite.results import SloVerdict
from benchsuite.store.run_folder import Run


@dataclass(frozen=True, slots=True)
class Criterion:
    """A requirement at one level: 'ttft_p95 < 0.5 s', or a figure and its margin. finding: the result in words.

    value, baseline: of the run and of the baseline (geometric means over repeats), change_ratio with its ends:
    value / baseline - 1, of a score the difference; None for limits, and where a run lacks the figure. margin: of the
    change. repeats: in all, that would decide it four times in five together with all other criteria; None where
    decided, or none would. visible_ratio: the smallest change for the worse that is told from none four times in five;
    fails_from_ratio: the smallest that fails so often, which is the margin beyond it.
    """

    kind: Literal["slo", "regression"]
    name: str
    level: Level
    requirement: str
    verdict: Verdict
    finding: str
    value: float | None = None
    baseline: float | None = None
    change_ratio: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    margin: float = field(default=0.0, kw_only=True)
    repeats: int | None = field(default=None, kw_only=True)
    visible_ratio: float | None = field(default=None, kw_only=True)
    fails_from_ratio: float | None = field(default=None, kw_only=True)

    @property
    def title(self) -> str:
        """'ttft_p95 < 0.5 s at 16'."""
        return f"{self.requirement} at {self.level}"

    @property
    def facts(self) -> str:
        """The finding, and what the gate sees."""
        if self.visible_ratio is None or self.fails_from_ratio is None:
            return self.finding
        unit = comparison.change_unit(self.name)
        sees, fails = (f"{100 * ratio:+.1f} {unit}" for ratio in (self.visible_ratio, self.fails_from_ratio))
        return f"{self.finding}; sees {sees} or more, fails from {fails}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """Every criterion, levels ascending, limits first. notes: what a reader must know of the comparison."""

    run_id: str
    baseline_id: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]
    verb: str = "gate"
    history: History | None = None
    client_bound: bool = False

    @property
    def may_refresh(self) -> str | None:
        """Why the run may not join the history, None if it may: it passed, or nothing failed while it has few runs.

        Else a run that is undecided never joins, so that many small losses do not become the measure of the next.
        """
        if self.client_bound:
            return "the client was at its limit (--allow client accepts that)"
        few = self.history is None or self.history.runs < MIN_RUNS
        return None if self.verdict == "pass" or (few and self.verdict != "fail") else "the gate has not passed"

    @property
    def verdict(self) -> Verdict:
        """fail where anything failed, else inconclusive where anything is, else pass."""
        found = {one.verdict for one in self.criteria}
        return next((verdict for verdict in ("fail", "inconclusive") if verdict in found), "pass")


def judge_changes(compared: Sequence[Compared], n_limits: int = 0) -> list[Criterion]:
    """A criterion for each, judged together. n_limits: other criteria that have to be decided at once."""
    levels, found = len({one.level for one in compared}), []
    together = verdicts([one.change for one in compared], [one.margin for one in compared])
    for one, verdict in zip(compared, together, strict=True):
        figure, margin = one.regression.figure, one.regression.margin
        worse = "lower" if figure.metric.better == "more" else "higher"
        than = " than the anchor" * (one.reference == "anchor")
        requirement = f"{figure.name} at most {margin * 100:.4g} {comparison.change_unit(figure.column)} {worse}{than}"
        words = one.in_words()
        if words is None or one.change is None:
            found.append(Criterion("regression", figure.column, one.level, requirement, verdict, one.unknown))
            continue
        (finding, *change_of), repeats = words, None
        if verdict == "inconclusive":
            repeats, needed = _needed(one, one.change, len(compared) + n_limits, levels)
            finding += needed
        seen = detectable(one.change.se, one.change.df, tests=len(compared))
        means = (comparison.geometric_mean(side) for side in (one.new, one.baseline))
        found.append(
            Criterion(
                "regression", figure.column, one.level, requirement, verdict, finding, *means, *change_of,
                margin=margin, repeats=repeats, visible_ratio=one.worse(seen),
                fails_from_ratio=one.worse(one.margin + seen),
            )
        )  # fmt: skip
    return found


def _needed(one: Compared, found: Change, criteria: int, levels: int) -> tuple[int | None, str]:
    margin = one.margin
    if found.low > margin:
        more = "items" if one.regression.of_score else "repeats"
        return None, f"; beyond the margin, but not significant among all criteria: more {more} may decide"
    if one.regression.of_score:
        reach, gap = detectable(found.se, found.df, tests=criteria), abs(found.theta - margin)
        many = gap < reach / 30  # nearly a thousand times as many
        items = (
            "no practical number of items" if many else f"about {math.ceil(found.n_new * (reach / gap) ** 2):,} items"
        )
        return None, f"; undecided: {items} would decide"
    beyond = found.theta > margin
    n = repeats_needed(found, abs(found.theta - margin), criteria, beyond=beyond, levels=levels)
    if n is None:
        why = f"more than {MAX_REPEATS} repeats would be needed at this spread"
        return None, f"; undecided: {'sessions differ too much for repeats to decide' if found.fixed else why}"
    # where there are as many already it is a matter of luck, or of Holm's other criteria
    earlier = one.reference == "earlier runs"
    n = max(n, (found.n_new if earlier else min(found.n_new, found.n_baseline)) + 1)
    return n, f"; undecided: about {n} repeats{'' if earlier else ' of each'} would decide all"


def junit_xml(result: GateResult, *, strict: bool = False) -> str:
    """One test suite. A fail is a failure; inconclusive is skipped with its reason, with `strict` a failure."""
    tags = {"fail": "failure", "inconclusive": "failure" if strict else "skipped"}
    outcomes = [tags.get(one.verdict) for one in result.criteria]
    failures, skipped = outcomes.count("failure"), outcomes.count("skipped")
    counts = {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0", "skipped": str(skipped)}

    def element(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
        made = ET.SubElement(parent, tag, {name: printable(text) for name, text in attributes.items()})
        made.text = text if text is None else printable(text)
        return made

    root = ET.Element("testsuites", {"name": f"benchsuite {result.verb}", **counts})
    suite = element(root, "testsuite", name=f"benchsuite {result.verb} {result.run_id}", **counts)
    properties = element(suite, "properties")
    facts = {"run": result.run_id, "baseline": result.baseline_id, "verdict": result.verdict}
    facts["earlier runs since"] = None if result.history is None else result.history.since
    for name, value in facts.items():
        if value is not None:
            element(properties, "property", name=name, value=value)
    for one, tag in zip(result.criteria, outcomes, strict=True):
        case = element(suite, "testcase", classname=f"benchsuite.{one.kind}", name=one.title, time="0")
        message = f"{one.title}: {one.facts}"
        if tag == "failure":
            element(case, tag, message, type=one.verdict, message=message)
        elif tag == "skipped":
            element(case, tag, message=message)
        else:
            element(case, "system-out", message)
    if result.notes:
        element(suite, "system-out", "\n".join(result.notes))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


_MARKS = {"pass": "\u2705", "fail": "\u274c", "inconclusive": "\u2754"}


def headline(result: GateResult, inconclusive: str = "warn") -> str:
    """'fail: 1 of 6 criteria failed, 2 are undecided'. inconclusive: what it does to the build, --inconclusive."""
    verdicts = [one.verdict for one in result.criteria]
    total, failed, undecided = len(verdicts), verdicts.count("fail"), verdicts.count("inconclusive")
    if result.verdict == "pass":
        return f"pass: all {total} criteria are met" if total != 1 else "pass: the criterion is met"
    parts = [f"{failed} of {total} criteria failed"] if failed else []
    if undecided:
        of = "" if failed else f" of {total} criteria"
        parts.append(f"{undecided}{of} {'is' if undecided == 1 else 'are'} undecided")
    wanted = [one.repeats for one in result.criteria if one.verdict == "inconclusive"]
    if undecided and None not in wanted:
        together = "it" if undecided == 1 else "all of them together"
        parts.append(f"about {max(n for n in wanted if n is not None)} repeats would decide {together}")
    counts = inconclusive != "warn" and result.verdict == "inconclusive"
    counted = f", which --inconclusive {inconclusive} counts as {inconclusive}" if counts else ""
    return f"{result.verdict}: {', '.join(parts)}{counted}"


def lines(result: GateResult) -> list[str]:
    """A criterion with its finding below it; what the gate sees of each figure; the notes."""
    found = [
        line
        for one in result.criteria
        for line in (f"{one.verdict.upper():12} at {one.level}: {one.requirement}", f"{'':13}{one.finding}")
    ]
    seen = [one for one in result.criteria if one.visible_ratio is not None]
    for name in dict.fromkeys(one.name for one in seen):
        visible, fails = (
            comparison.ratios_at(
                {one.level: getattr(one, key) for one in seen if one.name == name},
                f" {comparison.change_unit(name)}{more}",
            )
            for key, more in (("visible_ratio", " or more"), ("fails_from_ratio", ""))
        )
        found.append(f"sees {BY_COLUMN[name].name} {visible}; fails from {fails}")
    # one line each: none can be a command to GitHub
    return [printable(line.replace("\n", " ")) for line in (*found, *(f"note: {note}" for note in result.notes))]


def markdown(result: GateResult) -> str:
    """A summary for a pull request or a job: the verdict, a table, the notes."""
    against = "" if result.baseline_id is None else f", baseline {markdown_code(result.baseline_id)}"
    if result.history is not None and not against:
        against = f", {result.history.runs_since} earlier runs since {markdown_code(result.history.since)}"
    rows = [
        (f"{_MARKS[c.verdict]} {c.verdict}", c.level, markdown_text(c.requirement), markdown_text(c.facts))
        for c in result.criteria
    ]
    level = level_head(one.level for one in result.criteria)
    parts = [
        f"### {_MARKS[result.verdict]} benchsuite {result.verb}: {headline(result)}",
        f"Run {markdown_code(result.run_id)}{against}. Change with its {CONFIDENCE} interval.",
        "\n".join(markdown_table(("result", level, "requirement", "finding"), rows, right=(level,))),
        "\n".join(f"- {markdown_text(note)}" for note in result.notes),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def workflow_commands(result: GateResult, inconclusive: str = "warn") -> list[str]:
    """GitHub's workflow commands: an error for each fail, a warning (error, notice) for each without a decision."""
    levels = {"fail": "error", "inconclusive": {"warn": "warning", "pass": "notice", "fail": "error"}[inconclusive]}

    found = []
    for one in result.criteria:
        if one.verdict in levels:
            title = workflow_data(f"benchsuite {result.verb}: {one.title}", title=True)
            found.append(f"::{levels[one.verdict]} title={title}::{workflow_data(one.facts)}")
    return found


def plain(result: GateResult) -> dict[str, Any]:
    """The same as plain data."""
    plain: dict[str, Any] = as_plain(result)
    return {"verdict": result.verdict} | plain


GUARDS_ALONE = "none"  # the SLO of a run that is compared with a baseline, if none is given


def gate(
    run: Judgement,
    baseline: Judgement | None = None,
    *,
    regressions: Sequence[Regression] = (),
    levels: Sequence[float] = (),
    allowed: Collection[str] = (),
    history: Path | None = None,
    anchor: Judgement | None = None,
) -> GateResult:
    """Compare `run` with its SLO, and with `baseline`, which was judged by the SLO and the price of `run`.

    regressions: none is the default set. levels: their numbers; none is all, of a search that of its answer. history:
    a folder of earlier runs, which tell what runs differ by, and are what `run` is held against where there is no
    baseline. anchor: a run to which the same margins hold, so that many small losses are seen. Raises InputError for a
    baseline, an anchor or a history of something else, and levels that were not measured.
    """
    runs, alone = {one.level: one for one in run.measured}, False
    if not levels and baseline is None and run.decision.kind == "optimum" and run.decision.p_good is not None:
        levels, alone = (run.decision.recommended.point.level.number,), True
    chosen: dict[str, Any] = {"regressions": regressions, "levels": levels, "allowed": allowed, "history": history}
    wanted, pairs_compared, notes, earlier = compare(run, baseline, anchor, **chosen)
    checks = {one.point.level: one.limits for one in run.judged}
    if "client" in allowed:  # the same verdicts, had the client been beyond doubt
        sums = {at: one.resampling for at, one in runs.items()}
        checks = {at: check_limits(j.point, run.slo, sums[at]) for j in run.judged for at in [j.point.level]}
    # a guard that nobody asked for is a criterion where it is broken, or where there is no other
    asked = [(at, check) for at in wanted for check in checks[at] if check.asked or check.verdict == "not met"]
    if not asked and not pairs_compared:
        asked = [(at, check) for at in wanted for check in checks[at]]
    total = len(asked) + len(pairs_compared)
    compared = judge_changes(pairs_compared, len(asked))
    if "client" not in allowed:
        of = {"anchor": anchor, "baseline": baseline, "earlier runs": None}
        pairs = zip(compared, pairs_compared, strict=True)
        # a slow client makes no answer worse
        compared = [one if pair.regression.of_score else _doubted(one, run, of[pair.reference]) for one, pair in pairs]
    limits = [
        Criterion(
            "slo", check.limit.name, at, str(check.limit), _GATE_VERDICTS[check.verdict],
            f"{'unknown' if check.value is None else check.limit.show(check.value)}; {why_text(check, total)}",
            check.value, repeats=repeats_to_decide([check], total),
        )
        for at, check in asked
    ]  # fmt: skip
    criteria = sorted(
        [
            *limits,
            *compared,
            *([] if levels else _unmeasured(run.facts, runs)),
        ],
        key=lambda one: (one.level, one.kind != "slo"),
    )
    open_ = ((at, one) for at in wanted for one in checks[at] if one.verdict == "undecided" and (at, one) not in asked)
    if guards := at_levels((f"{one.limit} (may be up to {one.values['high']:.2%})", at) for at, one in open_):
        notes.append(f"not proven, and not asked for by the SLO: {'; '.join(guards)}")
    if alone:
        notes.append(f"of a search its answer is judged, {wanted[0].at}; --levels judges others")
    notes += [*_warned(run, wanted, "the run"), *_warned(baseline, wanted, "the baseline")]
    return GateResult(
        run_id=run.run_id or run.source,
        baseline_id=None if baseline is None else baseline.run_id,
        criteria=tuple(criteria),
        notes=tuple(notes),
        history=earlier,
        client_bound="client" not in allowed and bool(client_bound(run).intersection(wanted)),
    )


def compare(
    run: Judgement,
    baseline: Judgement | None,
    anchor: Judgement | None = None,
    *,
    regressions: Sequence[Regression] = (),
    levels: Sequence[float] = (),
    allowed: Collection[str] = (),
    history: Path | None = None,
    alone: bool = False,
    whose: str = "--baseline",
) -> tuple[list[Level], list[Compared], list[str], History | None]:
    """The levels, the figures compared at each, notes, and what the history is; otherwise as `gate`.

    alone: with nothing to compare it with the run is compared with itself, for the spread of its repeats.
    """
    runs = {one.level: one for one in run.measured}
    theirs, same_orders = runs, False
    wanted = _measured(levels, runs, run.source)
    notes: list[str] = []
    compared: list[Compared] = []
    scored = [one for one in regressions if one.of_score]
    timed = [one for one in regressions if not one.of_score]
    if scored and baseline is None and anchor is None:
        what = "scores are compared item by item, with a run that has them"
        raise InputError(what, where="--max-regression", given="score", expected="--baseline or --anchor")
    earlier: History | None = None
    if baseline is not None:
        theirs = {one.level: one for one in baseline.measured}
        _measured(levels, theirs, baseline.source)
        found = differences(run.facts.manifest, baseline.facts.manifest)
        names = ("in the run", f"in the {whose[2:]}")
        found += [] if levels else comparison.level_differences(runs, theirs)
        notes = refuse_unlike(found, allowed, names=names, where=whose)
        wanted = [level for level in wanted if level in theirs]
        if not wanted:
            raise InputError("the runs have no level in common", where=whose, given=baseline.source)
        if run.run_id == baseline.run_id:
            notes.append(f"the {whose[2:]} is the run itself")
        seeds = [(side.facts.manifest.spec.get("load") or {}).get("random_seed") for side in (run, baseline)]
        same_orders = seeds[0] == seeds[1] and run.workload_hash == baseline.workload_hash
    if baseline is not None or history is not None or (alone and anchor is None):
        pairs = {level: (runs[level], theirs[level]) for level in wanted}
        chosen = timed if regressions else comparison.default_regressions(run, pairs)
        compared = comparison.compare_levels(pairs, chosen, (run, baseline or run), same_orders=same_orders)
        if baseline is None and history is None:
            assumed = [one.change.method for one in compared if one.change and one.change.n_new == 1]
            notes.append(
                assumed[0] if assumed else "the spread is that of these repeats; --history adds that of sessions"
            )
    if history is not None:
        compared, earlier, more = comparison.with_history(
            compared, run, baseline, history, allowed=allowed, some_levels=bool(levels)
        )
        notes += more
    if baseline is not None:
        scores = [{j.point.level: j.quality for j in side.judged} for side in (run, baseline)]
        compared += [comparison.compare_scores(one, at, *(of[at] for of in scores)) for one in scored for at in wanted]
    if anchor is not None:
        _, since_then, more, _ = compare(
            run, anchor, regressions=regressions, levels=levels, allowed=allowed, history=history, whose="--anchor"
        )
        compared += [dataclasses.replace(one, reference="anchor") for one in since_then]
        notes += [note for note in more if note not in notes]
    return wanted, compared, notes, earlier


def _measured(levels: Sequence[float], runs: Mapping[Level, MeasuredLevel], where: str) -> list[Level]:
    numbers = [level.number for level in runs]
    if missing := [level for level in levels if level not in numbers]:
        known = ", ".join(map(str, runs))
        raise InputError("a level was not measured", where=where, given=f"--levels {missing[0]:g}", expected=known)
    return sorted(level for level in runs if not levels or level.number in levels)


def _unmeasured(run: Run, runs: Collection[Level]) -> list[Criterion]:
    """Planned levels that were not measured to their end: those that were cannot pass for them."""
    found = {}
    status = {point.point_id: point.status for point in run.manifest.points}
    measured = {level.point_id(0) for level in runs}
    for point_id in run.manifest.planned_points:
        if (level := Level.of_point(point_id)) is not None and level.point_id(0) not in measured:
            found[level] = status.get(point_id, "not begun")
    hint = "`benchsuite sweep --resume` measures what is missing; --levels judges the others alone"
    return [
        Criterion("slo", "measured", level, "measured to its end", "inconclusive", f"{state}; {hint}")
        for level, state in found.items()
    ]


_GATE_VERDICTS: dict[SloVerdict, Verdict] = {
    "met": "pass", "not met": "fail", "undecided": "inconclusive", "unknown": "inconclusive",
}  # fmt: skip


def client_bound(judgement: Judgement | None) -> set[Level]:
    """The levels whose figures are the measuring client's rather than the server's."""
    clients = {} if judgement is None else judgement.clients
    return {level for level, one in clients.items() if one.verdict == "client-bound"}


def unlike_stamps(run: Judgement, baseline: Judgement) -> set[Level]:
    """The levels at which the kernel stamped the times of one, and the client those of the other, which lag behind.

    A wall clock that is set, or another machine, makes the difference: each row says by whom it was stamped.
    """
    pairs = ((level, one, baseline.clients.get(level)) for level, one in run.clients.items())
    return {level for level, one, other in pairs if other is not None and one.kernel_stamps != other.kernel_stamps}


def _doubted(one: Criterion, run: Judgement, baseline: Judgement | None) -> Criterion:
    """A client at its limit makes figures worse: a run of one proves no fail that it may have made, a baseline of one
    no pass. So does a client that stamps the times itself, where the other's are the kernel's."""
    sides = (("run", run, "fail"), ("baseline", baseline, "pass"))
    timed = (
        baseline is not None and BY_COLUMN[one.name].metric.unit == "s" and one.level in unlike_stamps(run, baseline)
    )
    for side, judgement, verdict in sides:
        client = None if judgement is None else judgement.clients.get(one.level)
        if judgement is None or client is None or one.verdict != verdict:
            continue
        if client.verdict == "client-bound":
            doubt = f"the client was at its limit in the {side}"
        elif timed and not client.kernel_stamps:
            doubt = f"the client stamped the times of the {side}, and the kernel those of the other"
        else:
            continue
        level = next(j for j in judgement.judged if j.point.level == one.level)
        figure = one.value if side == "run" else one.baseline
        effect = client_effect(BY_COLUMN[one.name], figure or 0.0, level.point, client)
        if one.change_low is not None and one.change_high is not None:
            less = BY_COLUMN[one.name].metric.better == "less"
            best, worst = sorted((one.change_low, one.change_high) if less else (-one.change_low, -one.change_high))
            if (best - one.margin if side == "run" else one.margin - worst) > effect:
                continue
        why = f"would be a {one.verdict}, but {doubt} (--allow client accepts that)"
        return dataclasses.replace(one, verdict="inconclusive", finding=f"{one.finding}; {why}")
    return one


def _warned(judgement: Judgement | None, levels: Collection[Level], whose: str) -> list[str]:
    """The codes of the warnings at the levels of the gate, in one note."""
    judged = () if judgement is None else judgement.judged
    at = [(warn.code, one.point.level) for one in judged if one.point.level in levels for warn in one.point.warnings]
    listed = "; ".join(at_levels(at))
    return [f"warnings in {whose}: {listed}; `benchsuite check` has the remedies"] if listed else []
