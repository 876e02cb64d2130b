"""Figures of two runs compared at every level, or of a run and the earlier ones; and how many repeats that takes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchsuite.analysis import history
from benchsuite.analysis.intervals import Z
from benchsuite.analysis.regression import MAX_REPEATS, Change, changes, detectable, log_margin, planned, repeats_needed
from benchsuite.analysis.requests import Floats, LevelRows, by_repeat, level_rows
from benchsuite.economics.cost import hour_at
from benchsuite.economics.pareto import refuse_versions
from benchsuite.errors import InputError, PointsError, did_you_mean
from benchsuite.level import Level
from benchsuite.manifest import BASELINE_GROUPS, Difference, RunManifest, differences
from benchsuite.metrics import BY_COLUMN, METRICS, Statistic, find, names
from benchsuite.quality.paired import overall_difference
from benchsuite.records import UNJUDGED
from benchsuite.report.format import at_levels, number, percent, plural, show, usd
from benchsuite.report.judge import Judgement, client_verdicts, judged_spec
from benchsuite.results import Quality
from benchsuite.store.files import MANIFEST
from benchsuite.store.run_folder import read_manifest, read_run

MARGIN, MARGIN_TAIL = 0.05, 0.10


@dataclass(frozen=True, slots=True)
class Regression:
    """A figure that may be worse by `margin` at most: a ratio, of a score points of 1."""

    figure: Statistic
    margin: float

    @property
    def of_score(self) -> bool:
        return self.figure.metric.key == "score"


def default_regressions(run: Judgement, pairs: Mapping[Level, tuple[LevelRows, LevelRows]]) -> tuple[Regression, ...]:
    """Cost per output token by 5 %, and by 10 % each latency that the SLO of `run` limits.

    Without such a limit: the highest percentile of TTFT with ten requests beyond it in every run. A rate in the SLO is
    not added: the cost per token changes with it. The choice hangs on no measured time, so the tests stay valid.
    """
    limits = run.slo.limits or judged_spec(run.facts).limits.limits
    latencies = [one.statistic for one in limits if one.statistic.metric.unit == "s" and one.statistic.stat]
    if not latencies:
        fewest = min(min(len(run.order) for run in side.repeats) for pair in pairs.values() for side in pair)
        stat = next((s for s, n in (("p99", 1000), ("p95", 200), ("p90", 100)) if fewest >= n), "mean")
        latencies = [BY_COLUMN[f"ttft_{stat}_s"]]
    tolerated = (Regression(one, MARGIN_TAIL) for one in dict.fromkeys(latencies))
    return Regression(BY_COLUMN["usd_per_1m_output_tokens"], MARGIN), *tolerated


def parse_regressions(
    text: str, *, where: str = "--max-regression", margin: float | None = None
) -> tuple[Regression, ...]:
    """'ttft_p95=5%,cost=0.05,tpot,score=2pp': figures with margins; without one `margin`, or 5 %, 10 % for p95, p99 and
    max, 2 points for a score."""
    found: dict[str, Regression] = {}
    for part in (part for part in text.split(",") if part.strip()):
        word, equals, of_this = part.partition("=")
        figure = find(word)
        score = figure is not None and figure.metric.key == "score" and margin is None
        if figure is None or not (score or figure.metric.comparable) or figure.metric.share:
            raise _unknown_figure(word, figure, where)
        if figure.column in found:
            raise InputError("a figure has two margins", where=where, given=text)
        default = margin or (MARGIN_TAIL if figure.is_tail else MARGIN)
        if score:
            points = _POINTS.fullmatch(of_this.strip()) if equals else _POINTS.fullmatch("2pp")
            if points is None or not 0 < float(points[1]) < 100:
                raise InputError(
                    "not a margin of a score", where=where, given=part.strip(), expected="score=2pp, points"
                )
            found[figure.column] = Regression(figure, float(points[1]) / 100)
            continue
        found[figure.column] = Regression(figure, parse_margin(of_this, where) if equals else default)
    if not found:
        raise InputError("no figure is named", where=where, given=repr(text), expected=_EXAMPLE)
    return tuple(found.values())


_POINTS = re.compile(r"(\d+(?:\.\d+)?)\s*pp")
_EXAMPLE = "for example ttft_p95=5%,cost=5%"


def _unknown_figure(word: str, figure: Statistic | None, where: str) -> InputError:
    hint = did_you_mean(word.strip().lower(), names())
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
    """A figure at a level, by run: of the new runs and of the baseline, and how they differ. margin: in ln, of a score
    in points of 1, as its change.

    reference: what the baseline is; of "earlier runs", those of a history since its last change, a figure each.
    unknown: why there is no change. ends: of a score its paired interval, which no normal distribution has.
    """

    level: Level
    regression: Regression
    new: Floats
    baseline: Floats
    change: Change | None
    margin: float
    reference: Literal["baseline", "anchor", "earlier runs"] = "baseline"
    unknown: str = "not known in every repeat, or 0"
    ends: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Of its figure, as files have it."""
        return self.regression.figure.column

    @property
    def sign(self) -> int:
        """Of a change in ln for the worse."""
        return -1 if self.regression.figure.metric.better == "more" else 1

    def worse(self, theta: float) -> float:
        """A change in ln, worse above 0, as ratio - 1 of the figure; of a score as the difference."""
        return self.sign * theta if self.regression.of_score else math.expm1(self.sign * theta)

    def logs(self, values: Floats) -> Floats | None:
        """ln of its figure by repeat, worse above 0; None where a repeat's is not known, or 0."""
        return self.sign * np.log(values) if len(values) and (values > 0).all() else None

    def in_words(self, names: tuple[str, str] | None = None) -> tuple[str, float, float, float] | None:
        """'TTFT p95 ms 120, baseline 100: +20.0 % [+10, +30 %], method' with the ratio - 1 and its ends."""
        if self.change is None:
            return None
        metric, one = self.regression.figure.metric, self.change
        ratio, low, high = map(self.worse, (one.theta, one.low, one.high))
        low, high = self.ends or (min(low, high), max(low, high))
        new, old = (show(metric, geometric_mean(side)) for side in (self.new, self.baseline))
        unit = change_unit(self.name)
        ends = ", ".join(f"{100 * end:+.1f} {unit}" for end in (low, high))
        label, (a, b) = self.regression.figure.label, names or ("", f"{self.reference} ")
        return f"{label} {a}{new}, {b}{old}: {100 * ratio:+.1f} {unit} [{ends}], {one.method}", ratio, low, high


def change_unit(column: str) -> str:
    """What a hundredth of a figure's change is called."""
    return "pp" if column == "score" else "%"


def geometric_mean(values: Floats) -> float:
    """Of figures of at least 0."""
    return float(np.exp(np.log(values).mean())) if (values > 0).all() else 0.0


def compare_scores(regression: Regression, level: Level, new: Quality | None, baseline: Quality | None) -> Compared:
    """The scores of both runs at a level, paired by item. Raises InputError for unlike versions of a scorer."""
    if new is None or baseline is None:
        side = "run" if new is None else "baseline"
        unknown = f"the answers of the {side} were not scored: benchsuite score RUN, unless their length is fixed"
        return Compared(level, regression, np.empty(0), np.empty(0), None, regression.margin, unknown=unknown)
    refuse_versions({"the run": new, "the baseline": baseline})
    found, sides = overall_difference(new.by_scenario, baseline.by_scenario), (new, baseline)
    new_score, old_score = (np.array([side.score.value or 0.0]) for side in sides)
    one = found.difference
    if one.value is None or one.low is None or one.high is None or new.partial or baseline.partial:
        unknown = (
            "no item was scored in both runs"
            if one.value is None
            else "too many answers could not be judged, or the judge cannot tell"
        )
        return Compared(level, regression, new_score, old_score, None, regression.margin, unknown=unknown)
    theta, margin = -one.value, regression.margin
    # the interval's reach towards the margin, so that the verdict is that of its end
    se = (one.value - one.low if theta < margin else one.high - one.value) / Z
    method = one.method + (f", {found.left_out} of one run alone left out" if found.left_out else "")
    change = Change(theta, se, math.inf, se * math.sqrt(one.n), one.n, one.n, method)
    return Compared(level, regression, new_score, old_score, change, margin, ends=(one.low, one.high))


def compare_levels(
    pairs: Mapping[Level, tuple[LevelRows, LevelRows]],
    regressions: Sequence[Regression],
    judgements: tuple[Judgement, Judgement],
    units: Mapping[Level, Sequence[tuple[Sequence[int], Sequence[int]]]] | None = None,
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
                grouped = units[level]
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


def level_differences(runs: Iterable[Level], theirs: Iterable[Level]) -> list[Difference]:
    new, before = (", ".join(level.label for level in sorted(side)) for side in (runs, theirs))
    return [] if new == before else [Difference("levels", "levels", new, before)]


MAX_RUNS = 60  # of a history: older ones say little of the machine as it is


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The first run after a change. change_ratios: of what differs from there, by figure and level. differs: what its
    manifest has other than the one of the run before."""

    run_id: str
    created: str | None
    change_ratios: Mapping[str, Mapping[Level, float]]
    differs: tuple[str, ...]

    def in_words(self) -> str:
        """'changed at RUN (2026-01-09): cost +10.2 % at 4; server version: 0.9 before, 0.10 from there'."""
        figures = [f"{BY_COLUMN[name].name} {ratios_at(ratios)}" for name, ratios in self.change_ratios.items()]
        return f"changed at {self.run_id} ({(self.created or '')[:10]}): " + "; ".join([*figures, *self.differs])


@dataclass(frozen=True, slots=True)
class History:
    """Earlier runs of the same benchmark. since: the first after the last change; left_out: how many, by reason."""

    runs: int
    runs_since: int
    since: str
    left_out: Mapping[str, int]
    change_points: tuple[ChangePoint, ...]


def ratios_at(ratios: Mapping[Level, float], more: str = " %") -> str:
    """'+6.2 % at 4, 8, +7.0 % at 16'. more: behind each figure, its unit first."""
    return ", ".join(at_levels((f"{100 * ratio:+.1f}{more}", level) for level, ratio in ratios.items()))


def with_history(
    compared: Sequence[Compared],
    run: Judgement,
    baseline: Judgement | None,
    folder: Path,
    *,
    allowed: Collection[str] = (),
    some_levels: bool = False,
) -> tuple[list[Compared], History, list[str]]:
    """The comparisons with the spread of earlier runs below `folder`; those runs; notes.

    With a baseline, the interval of its comparison includes the spread between sessions. Without, `run` is compared
    with the runs since the last change. some_levels: the runs may have others too. Raises InputError if no earlier run
    is comparable with `run`.
    """
    known = [one for one in compared if one.logs(one.new) is not None]
    candidates, left_out = _alike(folder, run, baseline, {one.level for one in compared}, allowed, some_levels)
    manifests: list[RunManifest] = []
    samples: list[list[Floats]] = []
    for path, manifest in candidates:
        try:
            stored = read_run(path, UNJUDGED)
            rows = {one.level: one for one in level_rows(stored.whole)}
        except PointsError:
            left_out["not readable"] += 1
            continue
        gaps_s = {level: rows[level].distribution(METRICS["itl_s"]).p50 for level in {one.level for one in compared}}
        clients = {} if "client" in allowed else client_verdicts(stored, gaps_s)
        if any(one.verdict == "client-bound" for one in clients.values()):
            left_out["with the client at its limit"] += 1
            continue
        figures = ((one, by_repeat(rows[one.level], one.regression.figure, hour_at(run.hour_price, one.level)))
                   for one in known)  # fmt: skip
        if len(row := [logs for one, values in figures if (logs := one.logs(values)) is not None]) < len(known):
            left_out["without a figure"] += 1
            continue
        manifests.append(manifest)
        samples.append(row)
    series = {(one.name, one.level): [row[i] for row in samples] for i, one in enumerate(known)}
    means = {key: np.array([repeats.mean() for repeats in runs]) for key, runs in series.items()}
    enough = bool(known) and len(samples) >= history.MIN_SEGMENT
    starts = [0, *(history.change_points(np.array(list(means.values()))) if enough else ())]
    changed = []
    for at in starts[1:]:
        ratios: dict[str, dict[Level, float]] = {}
        for one in known:
            if (theta := history.step(means[one.name, one.level], starts, at)) is not None:
                ratios.setdefault(one.name, {})[one.level] = one.worse(theta)
        differs = _differs(manifests[at], manifests[at - 1], ("from there", "before"))
        changed.append(ChangePoint(manifests[at].run_id, manifests[at].created, ratios, tuple(differs)))
    noise: dict[tuple[str, Level], history.Noise] = {}
    for name in {one.name for one in known if enough}:
        those = {key: runs for key, runs in series.items() if key[0] == name}
        noise |= zip(those, history.noise_of(list(those.values()), starts), strict=True)
    since = manifests[starts[-1]] if manifests else None
    out = dict(sorted((+left_out).items()))
    facts = History(len(samples), len(samples) - starts[-1], since.run_id if since else "", out, tuple(changed))
    days = ", " * bool(manifests) + " to ".join(dict.fromkeys(_day(one) for one in (*manifests[:1], *manifests[-1:])))
    left = f"; left out: {_reasons(out)}" if out else ""
    notes = [f"history: {len(samples)} earlier runs of the same benchmark{days}{left}"]
    notes += [one.in_words() for one in changed]
    if baseline is not None and not enough:
        notes.append(f"fewer than {history.MIN_SEGMENT} of them: the intervals do not carry what sessions differ by")
    if len(samples) < history.MIN_RUNS:
        notes.append(f"changes are looked for in {history.MIN_RUNS} earlier runs or more")
    if baseline is None and since is not None:
        notes.append(f"compared with the {facts.runs_since} earlier runs since {since.run_id} ({_day(since)})")
        notes += _differs(run.facts.manifest, manifests[-1], ("in the run", f"in {manifests[-1].run_id}"))
    few = f"fewer than {history.MIN_SEGMENT} earlier runs"
    if n_bound := left_out["with the client at its limit"]:
        few += f": in {n_bound} more the client was at its limit (--allow client takes them)"
    found = [_of_history(one, noise.get((one.name, one.level)), baseline is not None, few) for one in compared]
    return found, facts, notes


def _of_history(one: Compared, noise: history.Noise | None, with_baseline: bool, few: str) -> Compared:
    new = one.logs(one.new)
    if with_baseline:
        return replace(one, change=history.with_sessions(one.change, noise) if one.change and noise else one.change)
    if new is None or noise is None:
        return replace(one, change=None, unknown=one.unknown if new is None else few)
    return replace(
        one, change=history.against(new, noise), baseline=np.exp(one.sign * noise.since), reference="earlier runs"
    )


def _alike(
    folder: Path,
    run: Judgement,
    baseline: Judgement | None,
    levels: Collection[Level],
    allowed: Collection[str],
    some_levels: bool,
) -> tuple[list[tuple[Path, RunManifest]], Counter[str]]:
    """The run folders below `folder` that are like `run`, by their start; and why others are left out."""
    mine, found, left_out = run.facts.manifest, list[tuple[Path, RunManifest]](), Counter[str]()
    unlike: Counter[Difference] = Counter()
    known = {one.run_id for one in (run, baseline) if one is not None}
    paths = {one.facts.path.resolve() for one in (run, baseline) if one is not None}
    below = {*folder.rglob(MANIFEST), *folder.glob(f"*/{MANIFEST}")}  # the latter follows links
    files = sorted(file for file in below if file.parent.resolve() not in paths)
    for file in files:
        try:
            manifest = read_manifest(file.parent)
        except PointsError:
            left_out["not readable"] += 1
            continue
        if manifest.run_id and manifest.run_id in known:
            left_out["copied"] += 1
            continue
        there = {level for point in manifest.complete_points if (level := point.level) is not None}
        differ = [
            one
            for one in (*differences(mine, manifest), *([] if some_levels else level_differences(levels, there)))
            if one.group in BASELINE_GROUPS and one.group not in allowed
        ]
        if manifest.status != "complete":
            left_out["not finished"] += 1
        elif differ or not there.issuperset(levels):
            unlike.update(differ)
            groups = dict.fromkeys(one.group for one in differ) or ["levels"]
            left_out["of another " + ", ".join({"levels": "set of levels"}.get(one, one) for one in groups)] += 1
        elif (manifest.created or "") > (mine.created or manifest.created or ""):
            left_out["later than the run"] += 1
        else:
            known.add(manifest.run_id)
            found.append((file.parent, manifest))
    if not files:
        raise InputError(
            "no earlier run is below the folder", where="--history", given=str(folder),
            expected="run folders other than RUN and the baseline",
        )  # fmt: skip
    if not found:
        groups = dict.fromkeys(one.group for one in unlike)
        others = ",".join(group for group in groups if group != "levels")
        hints = [f"compare anyway with --allow {others}"] * bool(others)
        hints += ["judge the levels that both have: --levels"] * ("levels" in groups)
        common = "".join(f"\n    {one.between('in the run', f'in {n}')}" for one, n in unlike.most_common(5))
        raise InputError(
            f"no earlier run is comparable: {_reasons(left_out)}{common}",
            where="--history",
            given=str(folder),
            expected="finished runs with the same " + ", ".join(BASELINE_GROUPS),
            hint="; or ".join(hints) or None,
        )
    found.sort(key=lambda one: (one[1].created or "", one[1].run_id))
    left_out[f"older than the newest {MAX_RUNS}"] += max(0, len(found) - MAX_RUNS)
    return found[-MAX_RUNS:], left_out


def _reasons(left_out: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {why}" for why, n in left_out.items())


def _day(manifest: RunManifest) -> str:
    return manifest.created[:10] if manifest.created else "date not known"


def _differs(new: RunManifest, before: RunManifest, names: tuple[str, str]) -> list[str]:
    return [one.between(*names) for one in differences(new, before) if one.group != "address"]


MINUTES = 10


@dataclass(frozen=True, slots=True)
class PlannedFigure:
    """How many repeats a figure needs. reference: as of Compared. repeats: that decide the margin, None where no number
    does. margin_now, margin_in_time: the smallest that the repeats of the run, or those of MINUTES, decide; None with
    too few. unknown: why nothing is known of it."""

    name: str
    level: Level
    reference: str
    margin: float
    margin_now: float | None
    margin_in_time: float | None
    repeats: int | None
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class RepeatPlan:
    """Repeats that decide all margins at once four times in five, if nothing changed.

    requests, minutes, usd: of one run of so many repeats; None where not known. repeats_now: of the run;
    repeats_in_time: that MINUTES have room for.
    """

    run_id: str
    repeats_now: int
    repeats_in_time: int
    repeats: int | None
    requests: int | None
    minutes: float | None
    usd: float | None
    figures: tuple[PlannedFigure, ...]
    notes: tuple[str, ...]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows: a figure at a level, and its margins."""
        heads = ["figure", "at", "margin", plural(self.repeats_now, "repeat"), f"{MINUTES} min", "repeats needed"]
        rows = []
        for one in self.figures:
            margins = [percent(margin) for margin in (one.margin, one.margin_now, one.margin_in_time)]
            needed = str(one.repeats or one.unknown or f"> {MAX_REPEATS}")
            name = BY_COLUMN[one.name].name + ", anchor" * (one.reference == "anchor")
            rows.append([name, str(one.level), *margins, needed])
        return heads, rows

    def lines(self) -> list[str]:
        """The cost in requests, minutes and dollars of that many repeats, and the notes."""
        effort = [plural(self.requests, "request")] if self.requests else []
        effort += [f"{number(self.minutes, 2)} min"] * bool(self.minutes) + [usd(self.usd)] * bool(self.usd)
        decided = f"{plural(self.repeats or 0, 'repeat')} a run decide every margin, each run {', '.join(effort)}"
        if unknown := dict.fromkeys(one.unknown for one in self.figures if one.unknown):
            decided = f"not every margin can be decided: {'; '.join(map(str, unknown))}"
        elif self.repeats is None:
            decided = (
                f"no number of repeats up to {MAX_REPEATS} decides every margin: allow more, or measure both in one "
                "session (`benchsuite ab`)"
            )
        room = f"{MINUTES} min have room for {plural(self.repeats_in_time, 'repeat')}"
        return [f"{decided}; {room} (four times in five, all figures together, if nothing changed)", *self.notes]


def plan_repeats(run: Judgement, compared: Sequence[Compared], notes: Sequence[str]) -> RepeatPlan:
    """How many repeats decide. compared: with changes whose spread counts, whatever they are."""
    compared = [one for one in compared if not one.regression.of_score]  # which items decide, not repeats
    known = [one for one in compared if one.change is not None]
    levels = {one.level for one in compared}
    repeats = {one.level: len(one.repeats) for one in run.measured if one.level in levels}
    took_s = dict.fromkeys(levels, 0.0)
    for point in run.facts.manifest.complete_points:
        if point.level in took_s and point.started_s is not None and point.ended_s is not None:
            waited_s = point.warmup.get("duration_s", 0.0) + point.cooldown.get("waited_s", 0.0)
            took_s[point.level] += (point.ended_s - point.started_s + waited_s) / repeats[point.level]
    one_s, now = sum(took_s.values()), min(repeats.values(), default=0)
    in_time = int(60 * MINUTES / one_s) if one_s else 0

    def margin(one: Compared, change: Change, n: int) -> float | None:
        se, df = planned(change, n, len(levels)) if n else (0.0, 0.0)
        return abs(one.worse(detectable(se, df, criteria=len(known)))) if df else None

    figures = []
    for one in sorted(compared, key=lambda one: one.change is None):
        decided: tuple[Any, ...] = (None, None, None, one.unknown)
        if (change := one.change) is not None:
            repeats_n = repeats_needed(change, one.margin, len(known), beyond=False, levels=len(levels))
            decided = margin(one, change, now), margin(one, change, in_time), repeats_n
        figures.append(PlannedFigure(one.name, one.level, one.reference, one.regression.margin, *decided))
    wanted = [one.repeats for one in figures]
    needed = None if not wanted or None in wanted else max(n for n in wanted if n is not None)
    requests = sum(len(one.rows.ok) / repeats[one.level] for one in run.measured if one.level in levels)
    hourly = [(hour_at(run.hour_price, level), took_s[level]) for level in levels]
    cost = None if any(price is None for price, _ in hourly) else sum((price or 0) * s / 3600 for price, s in hourly)
    return RepeatPlan(
        run.run_id or run.source, now, in_time, needed,
        None if needed is None else round(needed * requests),
        None if needed is None or not one_s else needed * one_s / 60,
        None if needed is None or not one_s or cost is None else needed * cost, tuple(figures), tuple(notes),
    )  # fmt: skip
