"""The gate: a run held against limits, and against a baseline; one criterion per limit or figure and level."""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from benchsuite.analysis.regression import MAX_REPEATS, Change, Verdict, changes, log_margin, repeats_needed, verdicts
from benchsuite.analysis.requests import Floats, LevelRows, by_repeat
from benchsuite.analysis.summary import MeasuredLevel
from benchsuite.economics.cost import hour_at
from benchsuite.economics.verdict import check_limits, client_effect, repeats_to_decide, why_text
from benchsuite.errors import InputError
from benchsuite.level import Level, as_plain
from benchsuite.manifest import Difference, differences, refuse_unlike
from benchsuite.metrics import BY_COLUMN, Statistic, closest, find
from benchsuite.redact import markdown_table, markdown_text, printable
from benchsuite.report.format import show
from benchsuite.report.judge import Judgement
from benchsuite.results import LimitCheck, SloVerdict
from benchsuite.store.run_folder import Run


@dataclass(frozen=True, slots=True)
class Criterion:
    """A requirement at one level: 'ttft_p95 < 0.5 s', or a figure and its margin. finding: the result in words.

    value, baseline: of the run and of the baseline (geometric means over repeats), change_ratio with its 95 % ends:
    value / baseline - 1; None for limits, and where a run lacks the figure. margin: of the change. repeats: in all,
    that would decide it four times in five together with all other criteria; None where decided, or none would.
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

    @property
    def title(self) -> str:
        """'ttft_p95 < 0.5 s at 16'."""
        return f"{self.requirement} at {self.level}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """Every criterion, levels ascending, limits first. notes: what a reader must know of the comparison."""

    run_id: str
    baseline_id: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]
    verb: str = "gate"

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


def default_regressions(pairs: Mapping[Level, tuple[LevelRows, LevelRows]]) -> tuple[Regression, ...]:
    """Cost per token by 5 %, and the highest percentile of TTFT with ten requests beyond it in every run by 10 %."""
    fewest = min(min(len(run.order) for run in side.repeats) for pair in pairs.values() for side in pair)
    stat = next((s for s, n in (("p99", 1000), ("p95", 200), ("p90", 100)) if fewest >= n), "mean")
    cost, ttft = BY_COLUMN["usd_per_1m_output_tokens"], BY_COLUMN[f"ttft_{stat}_s"]
    return Regression(cost, MARGIN), Regression(ttft, MARGIN_TAIL)


def parse_regressions(
    text: str, *, where: str = "--max-regression", margin: float | None = None
) -> tuple[Regression, ...]:
    """'ttft_p95=5%,cost=0.05,tpot': figures with margins; without one `margin`, or 5 %, 10 % for p95, p99 and max."""
    found: dict[str, Regression] = {}
    for part in (part for part in text.split(",") if part.strip()):
        word, equals, of_this = part.partition("=")
        figure = find(word)
        if figure is None or not figure.metric.comparable or figure.metric.share:
            raise _unknown_figure(word, figure, where)
        if figure.column in found:
            raise InputError("a figure has two margins", where=where, given=text)
        default = margin or (MARGIN_TAIL if figure.is_tail else MARGIN)
        found[figure.column] = Regression(figure, parse_margin(of_this, where) if equals else default)
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


def parse_margin(text: str, where: str) -> float:
    """'5%' or '0.05' as a ratio. Raises InputError."""
    digits = text.strip().removesuffix("%")
    try:
        value = float(digits) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError("not a margin", where=where, given=text.strip(), expected="5% or 0.05; below 100%")
    return value


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure at a level, by run: of the new runs and of the baseline, and how they differ. margin: in ln."""

    level: Level
    regression: Regression
    new: Floats
    baseline: Floats
    change: Change | None
    margin: float

    def in_words(self, names: tuple[str, str] = ("", "baseline ")) -> tuple[str, float, float, float] | None:
        """'TTFT p95 ms 120, baseline 100: +20.0 % [+10, +30 %], method' with the ratio - 1 and its ends."""
        if self.change is None:
            return None
        metric, one = self.regression.figure.metric, self.change
        sign = -1 if metric.better == "more" else 1
        ratio, low, high = (math.expm1(sign * end) for end in (one.theta, one.low, one.high))
        low, high = min(low, high), max(low, high)
        new, old = (show(metric, geometric_mean(side)) for side in (self.new, self.baseline))
        ends = ", ".join(f"{100 * end:+.1f} %" for end in (low, high))
        label, (a, b) = self.regression.figure.label, names
        return f"{label} {a}{new}, {b}{old}: {100 * ratio:+.1f} % [{ends}], {one.method}", ratio, low, high


def geometric_mean(values: Floats) -> float:
    """Of figures above 0."""
    return float(np.exp(np.log(values).mean()))


def compare_levels(
    pairs: Mapping[Level, tuple[LevelRows, LevelRows]],
    regressions: Sequence[Regression],
    judgements: tuple[Judgement, Judgement],
    units: Callable[[Level], Sequence[tuple[Sequence[int], Sequence[int]]]] | None = None,
    *,
    same_orders: bool = True,
) -> list[Compared]:
    """Every figure at every level, by level. pairs, judgements: of the run and of the baseline.

    same_orders: repeat i of both sent the same requests in the same order, so that repeats pair. units: at a level the
    places of the repeats of each side that are one unit together (of one start of a server); none: each repeat.
    """
    found = []
    for one in regressions:
        figures: list[tuple[Floats, Floats]] = []
        paired = same_orders
        for level, sides in pairs.items():
            new, old = (
                by_repeat(side, one.figure, hour_at(judgement.hour_price, level))
                for side, judgement in zip(sides, judgements, strict=True)
            )
            if units is not None:
                grouped = units(level)
                with np.errstate(divide="ignore", invalid="ignore"):
                    new, old = (
                        np.array([geometric_mean(side[list(unit[i])]) for unit in grouped])
                        for i, side in enumerate((new, old))
                    )
            else:
                paired &= [run.repeat for run in sides[0].repeats] == [run.repeat for run in sides[1].repeats]
            figures.append((new, old))
        more = one.figure.metric.better == "more"
        each = changes(
            [new for new, _ in figures],
            [old for _, old in figures],
            paired=paired,
            higher_is_better=more,
            tail=one.figure.is_tail,
        )
        margin = log_margin(one.margin, higher_is_better=more)
        found += [
            Compared(level, one, new, old, change, margin)
            for level, (new, old), change in zip(pairs, figures, each, strict=True)
        ]
    return sorted(found, key=lambda one: one.level)


def judge_changes(compared: Sequence[Compared], n_limits: int = 0) -> list[Criterion]:
    """A criterion for each, judged together. n_limits: other criteria that have to be decided at once."""
    found = verdicts([one.change for one in compared], [one.margin for one in compared])
    return [_of_change(one, verdict, compared, n_limits) for one, verdict in zip(compared, found, strict=True)]


def _of_change(one: Compared, verdict: Verdict, all_of_them: Sequence[Compared], n_limits: int) -> Criterion:
    figure, margin = one.regression.figure, one.regression.margin
    requirement = (
        f"{figure.name} at most {margin * 100:.4g} % {'lower' if figure.metric.better == 'more' else 'higher'}"
    )
    words = one.in_words()
    if words is None or one.change is None:
        why = "not known in every repeat, or 0"
        return Criterion("regression", figure.column, one.level, requirement, verdict, why)
    finding, *change_of = words
    repeats = None
    if verdict == "inconclusive":
        n_levels = len({other.level for other in all_of_them})
        repeats, needed = _needed(one.change, one.margin, len(all_of_them) + n_limits, n_levels)
        finding += needed
    values = map(geometric_mean, (one.new, one.baseline))
    made = Criterion("regression", figure.column, one.level, requirement, verdict, finding, *values, *change_of)
    return dataclasses.replace(made, margin=margin, repeats=repeats)


def _needed(found: Change, margin: float, criteria: int, levels: int) -> tuple[int | None, str]:
    if found.low > margin:
        return None, "; beyond the margin, but not significant among all criteria: more repeats may decide"
    beyond = found.theta > margin
    n = repeats_needed(found.sd, abs(found.theta - margin), criteria, beyond=beyond, levels=levels)
    if n is None:
        return None, f"; undecided: more than {MAX_REPEATS} repeats would be needed at this spread"
    # where there are as many already it is a matter of luck, or of Holm's other criteria
    n = max(n, min(found.n_new, found.n_baseline) + 1)
    return n, f"; undecided: about {n} repeats of each would decide all"


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

    root = ET.Element("testsuites", {"name": f"benchsuite {result.verb}", **counts})
    suite = element(root, "testsuite", name=f"benchsuite {result.verb} {result.run_id}", **counts)
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
    """A criterion with its finding below it, and the notes."""
    found = [
        line
        for one in result.criteria
        for line in (f"{one.verdict.upper():12} at {one.level}: {one.requirement}", f"{'':13}{one.finding}")
    ]
    # one line each: none can be a command to GitHub
    return [printable(line.replace("\n", " ")) for line in (*found, *(f"note: {note}" for note in result.notes))]


def markdown(result: GateResult) -> str:
    """A summary for a pull request or a job: the verdict, a table, the notes."""
    against = "" if result.baseline_id is None else f", baseline {_code(result.baseline_id)}"
    rows = [
        (
            f"{_MARKS[one.verdict]} {one.verdict}",
            one.level,
            markdown_text(one.requirement),
            markdown_text(one.finding),
        )
        for one in result.criteria
    ]
    table = markdown_table(("result", "concurrency", "requirement", "finding"), rows, right=("concurrency",))
    return "\n".join(
        [
            f"### {_MARKS[result.verdict]} benchsuite {result.verb}: {headline(result)}",
            "",
            f"Run {_code(result.run_id)}{against}. Change with its 95 % interval.",
            "",
            *table,
            *[""] * bool(result.notes),
            *(f"- {markdown_text(note)}" for note in result.notes),
            "",
        ]
    )


def workflow_commands(result: GateResult, inconclusive: str = "warn") -> list[str]:
    """GitHub's workflow commands: an error for each fail, a warning (error, notice) for each without a decision."""
    levels = {"fail": "error", "inconclusive": {"warn": "warning", "pass": "notice", "fail": "error"}[inconclusive]}

    def data(text: str) -> str:
        return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

    found = []
    for one in result.criteria:
        if one.verdict in levels:
            title = data(f"benchsuite {result.verb}: {one.title}").replace(":", "%3A").replace(",", "%2C")
            found.append(f"::{levels[one.verdict]} title={title}::{data(one.finding)}")
    return found


def plain(result: GateResult) -> dict[str, Any]:
    """The same as plain data."""
    plain: dict[str, Any] = as_plain(result)
    return {"verdict": result.verdict} | plain


def _code(text: str) -> str:
    return f"`{printable(' '.join(text.replace('`', '').split()))}`"


GUARDS_ALONE = "none"  # the SLO of a run that is compared with a baseline, if none is given


def gate(
    run: Judgement,
    baseline: Judgement | None = None,
    *,
    regressions: Sequence[Regression] = (),
    levels: Sequence[float] = (),
    allowed: Collection[str] = (),
) -> GateResult:
    """Hold `run` against its SLO, and against `baseline`, which was judged by the SLO and the price of `run`.

    regressions: none is the default set. levels: their numbers; none is all. Raises InputError for a baseline that is
    of something else, and levels that were not measured.
    """
    runs = {level.level: level for level in run.measured}
    wanted = _measured(levels, runs, run.source)
    notes: list[str] = []
    pairs_compared: list[Compared] = []
    if baseline is not None:
        theirs = {level.level: level for level in baseline.measured}
        _measured(levels, theirs, baseline.source)
        found = differences(run.facts.manifest, baseline.facts.manifest)
        notes = refuse_unlike([*found, *([] if levels else level_differences(runs, theirs))], allowed)
        wanted = [level for level in wanted if level in theirs]
        if not wanted:
            raise InputError("the runs have no level in common", where="--baseline", given=baseline.source)
        if run.run_id == baseline.run_id:
            notes.append("the baseline is the run itself")
        pairs = {level: (runs[level], theirs[level]) for level in wanted}
        seeds = [(side.facts.manifest.spec.get("load") or {}).get("seed") for side in (run, baseline)]
        same_orders = seeds[0] == seeds[1] and run.workload_hash == baseline.workload_hash
        chosen = regressions or default_regressions(pairs)
        pairs_compared = compare_levels(pairs, chosen, (run, baseline), same_orders=same_orders)
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
        compared = [_doubted(one, run, baseline) for one in compared]
    criteria = sorted(
        [
            *(_of_limit(at, check, total) for at, check in asked),
            *compared,
            *([] if levels else _unmeasured(run.facts, runs)),
        ],
        key=lambda one: (one.level, one.kind != "slo"),
    )
    if guards := _unproven([(at, check) for at in wanted for check in checks[at] if (at, check) not in asked]):
        notes.append(guards)
    notes += [*_warned(run, wanted, "the run"), *_warned(baseline, wanted, "the baseline")]
    return GateResult(
        run_id=run.run_id or run.source,
        baseline_id=None if baseline is None else baseline.run_id,
        criteria=tuple(criteria),
        notes=tuple(notes),
    )


def _measured(levels: Sequence[float], runs: Mapping[Level, MeasuredLevel], where: str) -> list[Level]:
    numbers = [level.number for level in runs]
    if missing := [level for level in levels if level not in numbers]:
        known = ", ".join(map(str, runs))
        raise InputError("a level was not measured", where=where, given=f"--levels {missing[0]}", expected=known)
    return sorted(level for level in runs if not levels or level.number in levels)


def level_differences(runs: Iterable[Level], theirs: Iterable[Level]) -> list[Difference]:
    new, before = (", ".join(map(str, sorted(side))) for side in (runs, theirs))
    return [] if new == before else [Difference("levels", "levels", new, before)]


def _unmeasured(run: Run, runs: Collection[Level]) -> list[Criterion]:
    """Planned levels that were not measured to their end: those that were cannot pass for them."""
    found = {}
    status = {point.point_id: point.status for point in run.manifest.points}
    for point_id in run.manifest.planned_points:
        named = re.fullmatch(r"c(\d+)-r\d+", point_id)
        if named is not None and (level := Level(int(named[1]))) not in runs:
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


def _of_limit(at: Level, check: LimitCheck, criteria: int) -> Criterion:
    shown = "unknown" if check.value is None else check.limit.show(check.value)
    finding = f"{shown}; {why_text(check, criteria)}"
    verdict, repeats = _GATE_VERDICTS[check.verdict], repeats_to_decide([check], criteria)
    return Criterion("slo", check.limit.name, at, str(check.limit), verdict, finding, check.value, repeats=repeats)


def _unproven(guards: Sequence[tuple[Level, LimitCheck]]) -> str:
    """What the SLO does not ask for, and the run does not prove."""
    levels: dict[str, list[str]] = {}
    for at, check in guards:
        if check.verdict == "undecided":
            levels.setdefault(f"{check.limit} (may be up to {check.values['high']:.2%})", []).append(str(at))
    listed = "; ".join(f"{limit} at {', '.join(at)}" for limit, at in levels.items())
    return f"not proven, and not asked for by the SLO: {listed}" if listed else ""


def _doubted(one: Criterion, run: Judgement, baseline: Judgement | None) -> Criterion:
    """A client at its limit makes figures worse: a run of one proves no fail that it may have made, a baseline of one
    no pass."""
    sides = (("run", run, "fail"), ("baseline", baseline, "pass"))
    for side, judgement, verdict in sides:
        client = None if judgement is None else judgement.clients.get(one.level)
        if judgement is None or client is None or client.verdict != "client-bound" or one.verdict != verdict:
            continue
        level = next(j for j in judgement.judged if j.point.level == one.level)
        figure = one.value if side == "run" else one.baseline
        effect = client_effect(BY_COLUMN[one.name], figure or 0.0, level.point, client)
        ends = [abs(end) for end in (one.change_low, one.change_high) if end is not None]
        if side == "run" and ends and min(ends) - one.margin > effect:
            continue
        why = f"would be a {one.verdict}, but the client was at its limit in the {side} (--allow client accepts that)"
        return dataclasses.replace(one, verdict="inconclusive", finding=f"{one.finding}; {why}")
    return one


def _warned(judgement: Judgement | None, levels: Collection[Level], whose: str) -> list[str]:
    """The codes of the warnings at the levels of the gate, in one note."""
    codes: dict[str, dict[str, None]] = {}
    for one in () if judgement is None else judgement.judged:
        for warn in one.point.warnings if one.point.level in levels else ():
            codes.setdefault(warn.code, {})[str(one.point.level)] = None
    listed = "; ".join(f"{code} at {', '.join(at)}" for code, at in codes.items())
    return [f"warnings in {whose}: {listed}; `benchsuite check` has the remedies"] if codes else []
