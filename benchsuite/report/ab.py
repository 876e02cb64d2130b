"""Two arms that were measured in turn: how they differ, how sure that is, and what more would decide it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchsuite.analysis import regression
from benchsuite.analysis.regression import LOOKS, DifferenceVerdict, Verdict
from benchsuite.analysis.summary import MeasuredLevel
from benchsuite.clock import NS_PER_S
from benchsuite.errors import InputError
from benchsuite.level import Level, as_plain
from benchsuite.manifest import ARM_GROUPS, RunManifest, differences, refuse_unlike
from benchsuite.metrics import ALPHA, BY_COLUMN, CONFIDENCE
from benchsuite.records import UNJUDGED
from benchsuite.report import comparison
from benchsuite.report.comparison import Compared, Regression
from benchsuite.report.format import at_levels, level_head, show
from benchsuite.report.gate import Criterion, GateResult, client_bound, gate, unlike_stamps
from benchsuite.report.judge import judge_run
from benchsuite.report.page import write_judged
from benchsuite.store.files import write_json
from benchsuite.store.run_folder import read_run

GATE_VERDICTS: dict[DifferenceVerdict, Verdict] = {
    "slower": "fail", "faster": "pass", "no difference": "pass", "not slower": "pass", "undecided": "inconclusive",
}  # fmt: skip
LEAST_UNITS = 3  # of each arm: the turns of two are a burst of load apart
_FEW = f"fewer than {LEAST_UNITS} rounds"
LAST_LOOK = (1.0, LOOKS[-1])


@dataclass(frozen=True, slots=True)
class AbRow:
    """A figure at a level. a, b: geometric means; ratio: b / a with its interval. finding: all of it in words.

    verdict is of B. why: of an "undecided" that is not one of numbers.
    """

    level: Level
    name: str
    label: str
    a: float | None = None
    b: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    verdict: DifferenceVerdict = "undecided"
    finding: str = ""
    margin: float = 0.0
    why: str | None = None


@dataclass(frozen=True, slots=True)
class AbResult:
    """B against A. unit: what repeats are of. differs: what the arms are meant to differ in. rests_on: the evidence.

    limits: of B alone, where an SLO is given. more: what would decide what is undecided; None where nothing is.
    """

    a: str
    b: str
    rows: tuple[AbRow, ...]
    limits: tuple[Criterion, ...]
    differs: tuple[str, ...]
    rests_on: tuple[str, ...]
    more: str | None
    turns: int
    unit: str

    @property
    def verdict(self) -> Verdict:
        """fail: B is proven slower somewhere, or misses a limit; pass: proven that it is not; else inconclusive."""
        return self.as_gate().verdict

    @property
    def decided(self) -> bool:
        open_ones = {row.verdict for row in self.rows if row.why is None} & {"undecided", "not slower"}
        return not open_ones and all(limit.verdict != "inconclusive" for limit in self.limits)

    @property
    def headline(self) -> str:
        """'B is slower than A: TTFT mean +12.3 % [+8.1 %, +16.7 %] at 8 (2 of 4 figures)'."""
        by = {word: [row for row in self.rows if row.verdict == word] for word in GATE_VERDICTS}
        margins = " and ".join(f"{m:.4g} %" for m in sorted({100 * row.margin for row in self.rows if row.margin}))
        n, parts = len(self.rows), []
        for word in ("slower", "faster"):
            if by[word]:
                most = max(by[word], key=lambda row: abs(math.log(row.ratio or 1.0)))
                of_n = f"({len(by[word])} of {n} figures)"
                parts.append(f"B is {word} than A: {most.label} {_change(most)} at {most.level} {of_n}")
        missed = [limit for limit in self.limits if limit.verdict == "fail"]
        parts += [f"B misses {missed[0].title}"] if missed else []
        unproven = [limit for limit in self.limits if limit.verdict == "inconclusive"]
        if not parts and not unproven and len(by["no difference"]) == n:
            return f"no difference beyond {margins} between A and B in any of {n} figures"
        open_ones = len(by["undecided"]) + len(by["not slower"])
        if open_ones:
            undecided = f"{'also undecided' if parts else 'undecided'}: {open_ones} of {n} figures"
            if better := len(by["not slower"]):
                undecided += f", of which {better} proven not slower by more than {margins}"
            parts.append(undecided)
        if unproven:
            parts.append(f"undecided: {len(unproven)} of {len(self.limits)} limits of B ({unproven[0].title})")
        if not parts or not (by["slower"] or by["faster"] or open_ones):
            parts.insert(0, f"no difference beyond {margins} in any of {n} figures")
        return "; ".join(parts)

    def as_gate(self) -> GateResult:
        """The same as the gate's result, for JUnit, summaries and exit codes."""
        criteria = [
            Criterion(
                "regression", row.name, row.level, f"{row.label}: B not worse than A by {100 * row.margin:.4g} %",
                GATE_VERDICTS[row.verdict], f"{row.verdict}; {row.finding}", row.b, row.a,
                *(None if end is None else end - 1 for end in (row.ratio, row.low, row.high)),
            )
            for row in self.rows
        ]  # fmt: skip
        notes = (*self.differs, *self.rests_on, *([self.more] if self.more else []))
        return GateResult(self.b, self.a, (*criteria, *self.limits), notes, "ab")

    def plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = as_plain(self)
        return {"verdict": self.verdict, "headline": self.headline} | plain

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Heads and rows for a terminal."""
        level = level_head(row.level for row in self.rows)
        heads = (level, "figure", "A", "B", "B / A", f"{CONFIDENCE} interval", "B is")
        return heads, [
            (
                str(row.level), row.label, *(_shown(row, value) for value in (row.a, row.b)),
                *(("-", "-") if row.ratio is None else (f"{row.ratio:.3f}", f"{row.low:.3f} to {row.high:.3f}")),
                f"{row.verdict}{'' if row.why is None else f' ({row.why})'}",
            )
            for row in self.rows
        ]  # fmt: skip


def _shown(row: AbRow, value: float | None) -> str:
    return "-" if value is None else show(BY_COLUMN[row.name].metric, value)


def _change(row: AbRow) -> str:
    if row.ratio is None:  # of failures, which are counted
        return f"{_shown(row, row.b)} against {_shown(row, row.a)}"
    low, high = (f"{100 * ((end or 0) - 1):+.1f} %" for end in (row.low, row.high))
    return f"{100 * (row.ratio - 1):+.1f} % [{low}, {high}]"


class AbJudge:
    """Judges the run folders of two arms: at each interim look, and at the end of the session.

    metrics, margin: as --metrics and --margin write them. slo: limits that B must meet too.
    """

    def __init__(
        self,
        a: Path,
        b: Path,
        *,
        metrics: str | None = None,
        margin: str | None = None,
        slo: str | None = None,
        goodput: str | None = None,
        allowed: Collection[str] = (),
    ) -> None:
        self._paths, self._slo, self._goodput, self._allowed = (a, b), slo, goodput, allowed
        self._margin = None if margin is None else comparison.parse_margin(margin, "--margin")
        self._regressions = (
            () if metrics is None else comparison.parse_regressions(metrics, where="--metrics", margin=self._margin)
        )
        self._before = 0.0
        self._decided: AbResult | None = None

    def judge(self, look: tuple[float, float] = LAST_LOOK, *, probe: bool = False) -> AbResult:
        """Compare B with A, two run folders that were measured in turn; without metrics by the gate's defaults.

        look: the share of the budget at which this is, and that of the last time. probe: after the first round, when
        the arms have not taken turns yet. Raises InputError for arms that differ in more than the server and its
        launch, and for runs that were not measured in turn.
        """
        a, b = (judge_run(read_run(path, UNJUDGED), slo=self._slo, goodput=self._goodput) for path in self._paths)
        of_a, of_b = a.facts.manifest, b.facts.manifest
        sides_a, sides_b = ({one.level: one for one in judged.measured} for judged in (a, b))
        found = [*differences(of_b, of_a), *comparison.level_differences(sides_b, sides_a)]
        differs = refuse_unlike(found, self._allowed, ARM_GROUPS, ("in B", "in A"), "ab")
        if (a.hour_price is None) != (b.hour_price is None):
            raise InputError(
                "one arm has a price and the other none", where="price", expected="a price of both, or of none"
            )
        if a.hour_price != b.hour_price:
            differs.append(f"price: {a.hour_price} $ an hour in A, {b.hour_price} in B")
        levels = [level for level in sides_b if level in sides_a]
        visits = _visits(of_b), _visits(of_a)
        unit = "restart" if of_a.launched_server is not None and of_b.launched_server is not None else "round"

        def units(level: Level) -> list[tuple[list[int], list[int]]]:
            places = [{run.repeat: i for i, run in enumerate(side[level].repeats)} for side in (sides_b, sides_a)]
            grouped: dict[Any, tuple[list[int], list[int]]] = {}
            for repeat in sorted(places[0].keys() & places[1].keys()):  # a round that was cut short has one side
                key = tuple(of.get((level, repeat), ("repeat", repeat)) for of in visits)
                for side, place in zip(grouped.setdefault(key, ([], [])), places, strict=True):
                    side.append(place[repeat])
            return list(grouped.values())

        units_of = {level: grouped for level in levels if (grouped := units(level))}
        pairs = {level: (sides_b[level], sides_a[level]) for level in units_of}
        if not pairs:
            raise InputError(
                "the arms have no level and repeat in common", where="ab", expected="one level of both at least"
            )
        n_units = min(map(len, units_of.values()))
        turns, minutes = _turns(of_a, of_b)
        if not probe and turns < 2 and any(len(side.repeats) > 1 for pair in pairs.values() for side in pair):
            raise InputError(
                "the two were not measured in turn, and the machine differs between sessions",
                where="ab",
                given="all of one, then all of the other",
                expected="run folders of one `benchsuite ab` session",
                hint="measure both with `benchsuite ab`; or `benchsuite gate B --baseline A`, which has less to go by",
            )
        chosen = self._regressions or comparison.default_regressions(b, pairs)
        if self._margin is not None and not self._regressions:
            chosen = tuple(Regression(one.figure, self._margin) for one in chosen)
        compared = comparison.compare_levels(pairs, chosen, (b, a), units_of)
        alpha = regression.look_alpha(*look)
        verdicts = regression.difference_verdicts(
            [one.change for one in compared], [one.margin for one in compared], alpha
        )
        bound, unlike = client_bound(a) | client_bound(b), unlike_stamps(a, b)
        stamps = "time stamps: the kernel's in one arm, the client's in the other"
        differs += at_levels((stamps, level) for level in sorted(unlike))
        if "client" in self._allowed:
            bound = unlike = set()
        rows = [
            _row(one, verdict, one.level in bound, one.level in unlike)
            for one, verdict in zip(compared, verdicts, strict=True)
        ]
        rows += [row for level in levels if (row := _errors(sides_a[level], sides_b[level], n_units)) is not None]
        limits = [one for one in gate(b, allowed=self._allowed).criteria if one.kind == "slo"] if self._slo else []
        of_unit = "" if unit == "restart" else "; what a restart of a server changes is not in it"
        if (most := max(len(own) for units in units_of.values() for own, _ in units)) > 1:
            of_unit = f" (means of up to {most} repeats){of_unit}"
        return AbResult(
            a=a.run_id or a.source,
            b=b.run_id or b.source,
            rows=tuple(sorted(rows, key=lambda row: row.level)),
            limits=tuple(limits),
            differs=tuple(differs),
            rests_on=(
                f"{n_units} {unit}s of each arm, which took turns {turns} times in {minutes:.1f} minutes",
                f"one unit is the {unit}{of_unit}",
                f"Holm's correction over {len(compared)} figures, {100 * alpha:.2g} % at this look",
            ),
            more=_more(compared, [row.verdict for row in rows], n_units, minutes, unit),
            turns=turns,
            unit=unit,
        )

    def decided(self, rounds: int, share: float) -> bool:
        """Whether what was measured in so many rounds, at this share of the budget, leaves nothing to measure for."""
        if rounds == 1:  # what only the servers can tell: models, limits, time stamps
            self.judge(probe=True)
        if rounds < LEAST_UNITS or share >= 1 or not any(self._before < look <= share for look in LOOKS):
            return False
        result, self._before = self.judge((share, self._before)), share
        self._decided = result if result.decided else None
        return result.decided

    def conclude(self, folder: Path) -> AbResult:
        """Write what was judged, of both arms and of the session into `folder`, when the last round is measured."""
        for path in self._paths:
            write_judged(read_run(path, UNJUDGED))
        result = self._decided or self.judge((1.0, self._before))
        write_json(folder / "ab.json", result.plain())
        return result


def _row(one: Compared, verdict: DifferenceVerdict, client_limited: bool, unlike_stamps: bool) -> AbRow:
    figure, words, why = one.regression.figure, one.in_words(("B ", "A ")), None
    if few := one.change is not None and min(one.change.n_new, one.change.n_baseline) < LEAST_UNITS:
        verdict = "undecided"
    if client_limited and verdict in ("no difference", "not slower"):
        # the client's own limit is the same in both arms and hides what differs
        verdict, why = "undecided", "the client was at its limit; --allow client accepts that"
    if unlike_stamps and figure.metric.unit == "s":
        verdict, why = "undecided", "the kernel stamped the times of one arm only; --allow client accepts that"
    if words is None:
        why = one.unknown
        return AbRow(one.level, figure.column, figure.label, verdict=verdict, finding=why, why=why)
    finding, ratio, low, high = words
    b, a = (comparison.geometric_mean(side) for side in (one.new, one.baseline))
    finding += f"; {why}" if why else f"; {_FEW}" * few
    ends = (1 + ratio, 1 + low, 1 + high)
    return AbRow(one.level, figure.column, figure.label, a, b, *ends, verdict, finding, one.regression.margin, why)


def _errors(a: MeasuredLevel, b: MeasuredLevel, n_units: int) -> AbRow | None:
    """More failures in B than chance makes (Fisher's exact test, one-sided 2.5 %) are a fail; else there is no row."""
    counts_b, counts_a = ((one.point.n_failed or 0, one.point.n_ok) for one in (b, a))
    p = regression.more_failures_p(counts_b, counts_a)
    if p > ALPHA / 2:
        return None
    share_a, share_b = (failed / (failed + ok) if failed + ok else 0.0 for failed, ok in (counts_a, counts_b))
    finding = f"errors: B {counts_b[0]} of {sum(counts_b)}, A {counts_a[0]} of {sum(counts_a)}, p {p:.2g}"
    verdict: DifferenceVerdict = "slower"
    if n_units < LEAST_UNITS:
        verdict, finding = "undecided", f"{finding}; {_FEW}"
    return AbRow(b.level, "error_rate", "errors", share_a, share_b, verdict=verdict, finding=finding, why="failures")


def _more(compared: Sequence[Compared], verdicts: Sequence[str], n_units: int, minutes: float, unit: str) -> str | None:
    """How much more would decide what is undecided, if spread and ratios stay."""
    alpha, levels = regression.look_alpha(*LAST_LOOK), len({one.level for one in compared})
    wanted = []
    for one, verdict in zip(compared, verdicts, strict=False):  # the rows of failures come after
        if verdict in ("undecided", "not slower") and (change := one.change) is not None:
            needed = regression.repeats_needed(
                change, abs(one.margin - abs(change.theta)), len(compared),
                beyond=abs(change.theta) > one.margin, levels=levels, alpha=alpha,
            )  # fmt: skip
            wanted.append(needed)
    if not wanted:
        return None
    known = [n for n in wanted if n is not None]
    parts = []
    if known and n_units:
        n = max(*known, n_units + 1, LEAST_UNITS)
        took = minutes / n_units * n
        parts.append(f"about {n} {unit}s of each arm ({took:.0f} minutes in all) decide {len(known)} of {len(wanted)}")
    if len(known) < len(wanted):
        more = f"more than {regression.MAX_REPEATS} {unit}s would be needed"
        parts.append(f"{len(wanted) - len(known)} so close to the margin that {more}")
    return "; ".join(parts)


def _turns(a: RunManifest, b: RunManifest) -> tuple[int, float]:
    """How often the arms took turns, and the minutes from the first point of both to the last."""
    wall = a.clock.boot_id is None or a.clock.boot_id != b.clock.boot_id  # else no wall clock that was set matters
    zeros_ns = [(one.clock.origin_wall_ns if wall else one.clock.origin_monotonic_ns) or 0 for one in (a, b)]
    points = sorted(
        (zero_ns / NS_PER_S + (point.started_s or 0.0), name, zero_ns / NS_PER_S + (point.ended_s or 0.0))
        for name, one, zero_ns in zip("AB", (a, b), zeros_ns, strict=True)
        for point in one.complete_points
    )
    turns = sum(x[1] != y[1] for x, y in pairwise(points))
    return turns, (max(max(start_s, end_s) for start_s, _, end_s in points) - points[0][0]) / 60


def _visits(manifest: RunManifest) -> dict[tuple[Level | None, int], int]:
    """In which sweep of the arm a level's repeat was measured: the repeats of one share what the machine was then, and
    the start of its server. Empty where the manifest knows no sessions."""
    starts = [one["started_s"] for one in manifest.sessions if "started_s" in one]
    return {
        (point.level, point.repeat): bisect_right(starts, (point.started_s or 0.0) + 0.001)
        for point in manifest.complete_points
        if starts and point.repeat is not None
    }
