"""The planner of a search for the cheapest level that meets an SLO: told what was measured, it names the next probe.

A fold: the same results give the same next level, so that a search that was killed goes on as if it had not been. It
knows no clock, no server and no files. Three phases:

bracket  up from the start until a level misses, its throughput has fallen twice in a row, or there is none above
close    between the two, by where margins cross zero, until little is left to be gained or signs become chance
confirm  longer probes, of the level that is most likely good or of where a better one may be, until one is good with
         the probability asked for: it meets the SLO and is at most `slack` dearer than the cheapest level that does.
         What all probes say together is drawn as curves (_View), not counted as verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchsuite.level import LevelKind
from benchsuite.manifest import SearchAnswer

Phase = Literal["bracket", "close", "confirm"]
EndReason = Literal[
    "confident", "budget_minutes", "budget_usd", "max_reached", "none_feasible", "server_lost", "given_up"
]  # fmt: skip
Estimate = tuple[float, float]  # value, standard error
Floats = NDArray[np.float64]

_WITHIN = 0.5  # a margin beyond e^0.5 says no more of where it crosses zero: limits fall off cliffs
_FALL = 0.02  # of throughput, that is more than noise
_LIKELY_MET = 0.8  # at the end of a budget
_WIDEST = 4.0  # the longest step up
_NEIGHBOUR = 1.3  # an answer has been compared with a level at most so far below it
_PART = 12  # of a budget: what a confirming probe may take at most
_DRAWS = 2000
_PRIOR_SD = 0.02  # what runs of one level are likely to differ by, until they have shown it
_MOST_CLOSING = 8  # probes for a peak
_OUTLOOK_S = 600.0
_MOST_MORE = 50  # probes in that time that are reckoned with: more say little, and thousands take a minute
_GRID = 40  # levels between the lowest and the highest
_SHARE_SD = 0.15  # the like of _PRIOR_SD, of the share of requests beyond a limit
# about a line in ln N: its slope is a random walk, or it walks itself, as it does off a cliff; sd over an e-fold of the
# level, and ln of how likely that is beforehand
_WALKS = (
    *((True, sd, -1.6) for sd in (0.1, 0.4, 1.5, 6.0)), *((False, sd, -3.0) for sd in (0.1, 0.4, 1.5)),
)  # fmt: skip
_RUNS = np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0])  # of what runs differ by, in its prior's middle
_RUNS_PRIOR = -0.5 * (np.log(_RUNS) / 0.7) ** 2


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """low, high: the levels that are allowed. start: the first; None: 32 users, and of a rate what a look at a
    closed loop says; slots: of the server, if known, where a closed loop starts at most. tolerance: how near each
    other the bracket's ends may lie. has_tail: a percentile or a share is limited. budget_s, budget_usd: of the
    whole search; spent_s: of that by what gave no result. least_x: throughput below which the search is not worth
    going on. settle_s, window_s: of a rate's probe what it is left alone for, and measured at least."""

    kind: LevelKind = "concurrency"
    low: float = 1.0
    high: float = 1024.0
    start: float | None = None
    slots: float | None = None
    tolerance: float = 0.05
    slack: float = 0.05
    confidence: float = 0.95
    budget_s: float = 1200.0
    budget_usd: float | None = None
    usd_per_hour: float | None = None
    spent_s: float = 0.0
    least_x: float | None = None
    has_tail: bool = False
    random_seed: int = 0
    settle_s: float = 30.0
    window_s: float = 120.0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe that has ended. n_requests: judged. seconds: with its settling and its end, as they are paid for.

    margins: by limit, ln(limit / figure) signed so that above 0 keeps it. shares: of percentiles the same of the share
    of requests beyond the limit, which says more of the sign. ln_x: of ln(what is paid for, a second).
    failed: no figures came of it, at no fault of a limit. verdict: by its last look, to show.
    """

    level: float
    phase: Phase
    n_requests: int
    seconds: float
    margins: Mapping[str, Estimate] = field(default_factory=dict)
    shares: Mapping[str, Estimate] = field(default_factory=dict)
    ln_x: Estimate | None = None
    saturated: bool = False
    failed: bool = False
    verdict: str | None = None

    @property
    def timed(self) -> bool:
        """There are figures of it."""
        return not (self.failed or self.saturated or self.ln_x is None)

    @property
    def least(self) -> float:
        """The least margin; -inf where the probe has failed or its rate saturated."""
        if not self.timed:
            return -math.inf
        return min((value for value, _ in self.margins.values()), default=math.inf)

    @property
    def z(self) -> float:
        """The least margin of all in standard errors, and what runs differ by."""
        if not math.isfinite(self.least):
            return self.least
        return min((value / math.hypot(error, _PRIOR_SD) for value, error in self.margins.values()), default=math.inf)

    def as_json(self) -> dict[str, Any]:
        """As a manifest has it."""
        names = ("level", "phase", "n_requests", "seconds", "saturated", "failed", "verdict")
        found = {name: getattr(self, name) for name in names}
        for name in ("margins", "shares"):
            found[name] = {limit: list(one) for limit, one in getattr(self, name).items()}
        return found | {"ln_x": self.ln_x and list(self.ln_x)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ProbeResult:
        """From a manifest."""
        maps = {name: {limit: tuple(one) for limit, one in data[name].items()} for name in ("margins", "shares")}
        return cls(**(dict(data) | maps | {"ln_x": data["ln_x"] and tuple(data["ln_x"])}))


@dataclass(frozen=True, slots=True)
class Probe:
    """What to measure next. looks: at how many requests to judge it; it ends at the first that decides, or the last.

    To show, of what is known before it: bracket as SearchAnswer has it; best: the level that is most likely good, with
    its P(good), None before a confirming probe.
    """

    level: float
    phase: Phase
    looks: tuple[int, ...]
    bracket: tuple[float | None, float | None] = field(default=(None, None), compare=False)
    best: float | None = field(default=None, compare=False)
    p_good: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class End:
    """answer: None where no level kept the SLO. most_x: where it was given up, the 97.5 % end of the throughput at the
    best level that meets the SLO."""

    reason: EndReason
    answer: SearchAnswer | None
    most_x: float | None = None


class Search:
    """next(results) of all that was measured, in order: the next probe, or the end."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec

    def next(self, results: Sequence[ProbeResult]) -> Probe | End:
        """Pure: the same results give the same answer."""
        step, least_x = self._next(results), self.spec.least_x
        if least_x is None or not any(one.timed for one in results):
            return step
        if isinstance(step, Probe):
            bracketed = step.phase != "bracket"
        else:
            bracketed = step.reason in ("budget_minutes", "budget_usd") and None not in _Seen(results).bracket
        if not bracketed:
            return step
        most_x = math.exp(_View(self.spec, results).most_ln_x)
        if not 0 < most_x < least_x:
            return step
        return replace(self._end("given_up", results), most_x=most_x)

    def _next(self, results: Sequence[ProbeResult]) -> Probe | End:
        if len(results) > 1 and results[-1].failed and results[-2].failed:
            kept = [one.level for one in results if one.least > 0]
            if not kept or results[-1].level <= max(kept):
                return self._end("server_lost", results)
            return self._probe(max(kept), results[-1].phase)  # whether the server is there at all
        if not any(one.phase == "confirm" for one in results):
            probe = self._locate(_without_rising(results))
            if probe is not None and not self._over(probe, results, reserve=True):
                return replace(probe, bracket=_Seen(results).bracket)
        return self._confirm(results)

    def so_far(self, results: Sequence[ProbeResult]) -> SearchAnswer | None:
        """What a search that stops here would answer."""
        return self._end("server_lost", results).answer

    # ---- bracket and close

    def _locate(self, results: Sequence[ProbeResult]) -> Probe | None:
        """The next level of bracket or close; None: what is left to be gained is for the confirming probes to tell."""
        spec = self.spec
        if not results:
            users = spec.kind == "concurrency"
            return self._probe(min(spec.start or 32.0, (spec.slots if users else None) or math.inf), "bracket")
        seen = _Seen(results)
        lo, hi = seen.bracket
        if hi is not None and len(seen.of(hi)) < 2 and seen.open(hi) and results[-1].phase == "bracket":
            return self._probe(hi, "bracket")  # a miss that is not decided is measured again, before it bounds
        if lo is None:
            assert hi is not None
            return None if hi <= spec.low else self._probe(max(hi / 3, spec.low), "bracket")
        if hi is None and not seen.fallen and lo < spec.high:
            return self._probe(self._up(seen, lo), "bracket")
        return self._between(seen, lo, hi)

    def _hidden(self, seen: _Seen) -> float | None:
        """The middle of two levels between which ln X rises less than beyond them: it is concave in ln N, unless
        something happens between them that made a level in their middle cheaper than both."""
        kept = [level for level in seen.levels if seen.kept(level) and math.isfinite(seen.x(level))]
        slopes = [(seen.x(b) - seen.x(a)) / math.log(b / a) for a, b in pairwise(kept)]
        for (a, b), slope, after in zip(pairwise(kept), slopes, slopes[1:], strict=False):
            middle = self._snap(math.sqrt(a * b))
            if after > slope + 3 * _FALL / math.log(b / a) and b / a > 1.3 and middle not in (a, b):
                return middle
        return None

    def _up(self, seen: _Seen, lo: float) -> float:
        """Twice the start; then 8 % beyond where the last two margins would cross zero, at most four times as far."""
        if len(seen.levels) < 2:
            return 2 * lo
        before = seen.levels[seen.levels.index(lo) - 1]
        cross = _zero(seen, before, lo, beyond=True)
        return min(max(1.08 * cross, 1.25 * lo), (_WIDEST if self.spec.kind == "concurrency" else 2.0) * lo)

    def _between(self, seen: _Seen, lo: float, hi: float | None) -> Probe | None:
        """Where throughput may still be higher than at the best level: in front of the limit, or at a peak below it."""
        spec, levels = self.spec, seen.levels
        closed = [one for one in seen.results if one.phase == "close"]
        if (hidden := self._hidden(seen)) is not None and len(closed) < _MOST_CLOSING:
            return self._probe(hidden, "close")
        best = levels.index(seen.best)
        if best == 0 and levels[0] > spec.low and len(levels) > 1 and seen.x(levels[1]) < seen.x(levels[0]) + _FALL:
            return self._probe(levels[0] / 2, "close")
        found = list[tuple[float, float]]()
        for a, b in pairwise(levels):
            room, at = seen.room(a, b)
            if a == lo and b == hi:
                # a limit on a share is closed in on by longer probes
                if b / a > (1.3 if _has_shares(seen.results) else 1 + spec.tolerance * 1.01) and room > spec.slack / 5:
                    found.append((room, self._cut(seen, a, b, closed)))
            elif b <= lo and room > spec.slack / 2 and b / a > 1.1 and len(closed) < _MOST_CLOSING:
                quarter = math.log(b / a) / 4
                found.append((room, self._snap(a * math.exp(min(max(at, quarter), 3 * quarter)))))
        room, level = max(found, default=(0.0, levels[0]))
        return None if level in levels else self._probe(level, "close")

    def _cut(self, seen: _Seen, lo: float, hi: float, closed: Sequence[ProbeResult]) -> float:
        """Where the first limit's margin crosses zero; the geometric middle after two cuts on one side. lo: no cut, as
        the sign of another such probe would be chance, or there is no level in between."""
        if closed and abs(closed[-1].z) < 1:
            return lo
        cross, cuts, edge = _zero(seen, lo, hi), [one.least > 0 for one in closed], 1 + self.spec.tolerance / 2
        if len(cuts) >= 2 and cuts[-1] == cuts[-2]:
            cross = math.sqrt(lo * hi)
        level = self._snap(min(max(cross, lo * edge), hi / edge))
        return level if lo < level < hi else self._snap(math.sqrt(lo * hi))

    # ---- confirm

    def _confirm(self, results: Sequence[ProbeResult]) -> Probe | End:
        """Where another run tells most: at the level that is most likely good, or where a better one may be."""
        spec, lowest = self.spec, min(one.level for one in results)
        if not any(one.timed for one in results):  # every rate has saturated
            lower = self._probe(lowest / 3, "bracket")
            over = "none_feasible" if lowest <= spec.low else self._over(lower, results)
            return self._end(over, results) if over else lower
        view = _View(spec, results)
        runs = {k: sum(one.level == k and one.phase == "confirm" for one in results) for k in view.levels}
        sure = [k for k in view.levels if view.p_good[k] >= (1 + spec.confidence) / 2]
        best = max(view.levels, key=lambda k: (view.p_good[k], view.p_met[k], runs[k], -k))
        none, rising = max(view.p_met.values()) < 1 - spec.confidence, _rising(results)
        if none:
            best = min((one.level for one in results), key=lambda k: (-view.p_met[k], k)) if rising else lowest
        choice = max(sure, key=lambda k: (view.ln_x[k][1], -k), default=best)
        ready = [k for k in view.levels if runs[k] >= 2 and view.p_good[k] >= spec.confidence]
        answer = max(ready, key=lambda k: (view.ln_x[k][1], -k), default=None)
        level = None
        if answer is not None and view.ln_x[answer][1] > view.ln_x[choice][1] - spec.slack / 5:
            level = self._gap(answer, view, results)
            if level is None:
                return self._end("confident", results, view, answer)
        if none and runs[best] >= 2 and (rising or lowest <= spec.low):
            return self._end("none_feasible", results)
        if level is None:
            to_prove, to_find = 1 - view.p_met[choice], view.p_met[choice] - view.p_good[choice]
            rng = np.random.default_rng([spec.random_seed, len(results)])
            proves = runs[choice] < 2 or rng.random() < to_prove / max(to_prove + to_find, 1e-9)
            level = choice if proves else view.better(choice)
        probe = self._probe(level, "confirm", results)
        if over := self._over(probe, results):
            return self._end(over, results, view, answer)
        best = choice if answer is None else answer
        return replace(probe, bracket=_Seen(results).bracket, best=best, p_good=view.p_good[best])

    def _gap(self, answer: float, view: _View, results: Sequence[ProbeResult]) -> float | None:
        """What may be wrong about the levels next to the answer, as an engine may have a cliff where none was measured.
        Below it: one that is near must have been measured. Above it, the first that misses the SLO or
        does less: a second time, where a burst of prompts may have made a share miss; or the middle between it and the
        level before, where throughput going on as it came up to there would exceed the slack."""
        seen, near = _Seen(results), 1 + self.spec.tolerance
        lower = [k for k in seen.levels if k < answer and math.isfinite(seen.x(k))]
        if lower and answer / lower[-1] > _NEIGHBOUR:
            return self._snap(answer / math.sqrt(_NEIGHBOUR))
        lower = [k for k in lower if k <= answer / 1.25]
        falls = view.ln_x[answer][1] - _FALL
        hi = next((k for k in seen.levels if k > answer and (view.p_met[k] < 0.5 or view.ln_x[k][1] < falls)), None)
        if not lower or hi is None:
            return None
        if _has_shares(results) and len(seen.of(hi)) < 2 and seen.margin(hi) > -_WITHIN and view.p_met[hi] < 0.5:
            return hi
        slope = (seen.x(answer) - seen.x(lower[-1])) / math.log(answer / lower[-1])
        lo = max(k for k in seen.levels if k < hi)
        middle = self._snap(math.sqrt(lo * hi))
        if slope * math.log(hi / answer) < 0.8 * self.spec.slack or hi / lo <= near:
            return None
        return middle if lo < middle < hi else None

    # ---- the end

    def _end(
        self, reason: EndReason, results: Sequence[ProbeResult], view: _View | None = None, answer: float | None = None
    ) -> End:
        """answer: a level that two confirming probes were at; None: the best supported of those that were measured."""
        spec, measured = self.spec, {one.level for one in results if one.timed}
        if reason == "none_feasible" or not measured:
            return End(reason, None)
        view = view or _View(spec, results)
        # a level that may well miss the SLO is worse than one that is somewhat too dear
        safe = {k for k in measured if view.p_met[k] >= _LIKELY_MET} or measured
        level = answer or max(safe, key=lambda k: (view.p_good[k], view.p_met[k], -k))
        if view.p_met[level] < 1 - spec.confidence and not any(one.least > 0 for one in results):
            return End("none_feasible" if min(measured) <= spec.low else reason, None)
        seen = _Seen(_without_rising(results))
        top = seen.levels[-1]
        if (
            reason == "confident"
            and top >= spec.high
            and seen.bracket[1] is None
            and seen.x(top) > seen.x(seen.best) - _FALL
        ):
            reason = "max_reached"
        low, mean, high = (math.exp(one) for one in view.ln_x[level])
        usd = None if spec.usd_per_hour is None else [spec.usd_per_hour / 3600 / x for x in (mean, high, low)]
        seconds = spec.spent_s + sum(one.seconds for one in results)
        more = int(_OUTLOOK_S / max(self._seconds(self._probe(level, "confirm", results), results), 1.0))
        sure = reason in ("confident", "max_reached")
        later = _View(spec, results, more=(level, more)).p_good[level] if more and not sure else None
        found = SearchAnswer(
            level=level,
            throughput=[mean, low, high],
            usd=usd,
            p_met=view.p_met[level],
            p_good=view.p_good[level],
            binding=seen.binding(level),
            bracket=[*seen.bracket],
            seconds=seconds,
            spent_usd=None if usd is None else seconds / 3600 * (spec.usd_per_hour or 0),
            more=more,
            more_p_good=later,
            levels=[[k, view.p_met[k], view.p_good[k]] for k in sorted(measured)],
        )
        return End(reason, found)

    def _over(self, probe: Probe, results: Sequence[ProbeResult], *, reserve: bool = False) -> EndReason | None:
        """The budget that `probe` would exceed. reserve: with two turns of two confirming probes after it."""
        needed = self._seconds(probe, results)
        if reserve and results:
            needed += min(
                4 * self._seconds(self._probe(probe.level, "confirm", results), results), 0.4 * self.spec.budget_s
            )
        spent, spec = self.spec.spent_s + sum(one.seconds for one in results) + needed, self.spec
        if results and spent > spec.budget_s:
            return "budget_minutes"
        if results and spec.budget_usd is not None and spec.usd_per_hour is not None:
            return "budget_usd" if spent / 3600 * spec.usd_per_hour > spec.budget_usd else None
        return None

    def _seconds(self, probe: Probe, results: Sequence[ProbeResult]) -> float:
        """What the probe is likely to take, as the one at the nearest level took."""
        known = [one for one in results if one.n_requests]
        if not known:
            return 0.0
        if self.spec.kind == "rate":  # as long as its requests take to come, whatever the server does
            return self.spec.settle_s + max(self.spec.window_s, probe.looks[-1] / probe.level)
        near = min(reversed(known), key=lambda one: abs(math.log(one.level / probe.level)))
        return near.seconds * (probe.level + probe.looks[-1]) / (near.level + near.n_requests)

    def _enough(self, level: float, results: Sequence[ProbeResult]) -> float:
        """Requests with which a probe's own error is what runs differ by, as the probe at the nearest level had it: 20
        to 200, of a tail or a share 400 to 800."""
        least, most = (400, 800) if self.spec.has_tail else (20, 200)
        known = [one for one in results if one.n_requests and one.ln_x and one.phase != "confirm"]
        if not known:
            return least
        near = min(known, key=lambda one: abs(math.log(one.level / level)))
        ratios = [near.ln_x[1] / _PRIOR_SD if near.ln_x else 0.0]
        for name, (value, error) in near.margins.items():
            if _by_share(name, known):
                ratios.append(near.shares[name][1] / _SHARE_SD)
            elif abs(value) < _WITHIN:
                ratios.append(error / _PRIOR_SD)
        return min(max(near.n_requests * max(ratios) ** 2, least), most)

    def _probe(self, level: float, phase: Phase, results: Sequence[ProbeResult] = ()) -> Probe:
        level = self._snap(level)
        at_once = level if self.spec.kind == "concurrency" else 0
        if phase == "confirm":
            probe = Probe(level, phase, (math.ceil(max(2 * at_once, self._enough(level, results))),))
            fits = self.spec.budget_s / _PART / max(self._seconds(probe, results), 1e-9)
            if fits < 1:
                n = fits * (at_once + probe.looks[0]) - at_once if at_once else self.spec.window_s * level
                probe = Probe(level, phase, (math.ceil(min(max(n, 40, 2 * at_once), probe.looks[0])),))
            return probe
        first = math.ceil(max(40, at_once / 2)) if level >= 8 or at_once == 0 else 20
        return Probe(level, phase, (first, 2 * first, 4 * first))

    def _snap(self, level: float) -> float:
        level = min(max(level, self.spec.low), self.spec.high)
        return _snapped(level, self.spec.kind)


def _by_share(name: str, timed: Sequence[ProbeResult]) -> bool:
    """Of a limit on a share; and a percentile that jumps, as between two humps, tells less of its sign than the share
    of requests beyond it."""
    of = [one for one in timed if name in one.margins]
    if any(name not in one.shares for one in of):
        return False
    if any(one.shares[name] == one.margins[name] for one in of):
        return True
    near = [one.margins[name][1] for one in of if abs(one.margins[name][0]) < _WITHIN]
    return bool(near) and float(np.median(near)) > 2 * _PRIOR_SD


def _has_shares(results: Sequence[ProbeResult]) -> bool:
    timed = [one for one in results if one.timed]
    return any(_by_share(name, timed) for name in timed[0].shares)


def _snapped(level: float, kind: LevelKind) -> float:
    return float(round(level)) if kind == "concurrency" else float(f"{level:.3g}")


def _rising(results: Sequence[ProbeResult]) -> set[str]:
    """The limits that more load keeps better, such as on throughput: they bound a level from below."""
    found = set[str]()
    timed = sorted((one for one in results if one.timed), key=lambda one: one.level)
    for name in {name for one in timed for name in one.margins}:
        (low, error), *_, (high, other) = [one.margins[name] for one in timed if name in one.margins] * 2
        if high - low > 3 * math.hypot(error, other, _PRIOR_SD):
            found.add(name)
    return found


def _without_rising(results: Sequence[ProbeResult]) -> list[ProbeResult]:
    names = _rising(results)
    return [replace(one, margins={k: v for k, v in one.margins.items() if k not in names}) for one in results]


class _Seen:
    """What is known of each level: the means of its probes."""

    def __init__(self, results: Sequence[ProbeResult]) -> None:
        self.results = results
        self.levels = sorted({one.level for one in results})

    def of(self, level: float) -> list[ProbeResult]:
        return [one for one in self.results if one.level == level]

    def margin(self, level: float) -> float:
        return float(np.mean([np.clip(one.least, -_WITHIN, _WITHIN) for one in self.of(level)]))

    def binding(self, level: float) -> str | None:
        """The limit whose figure is nearest to it."""
        values: dict[str, list[float]] = {}
        for one in self.of(level):
            for name, (value, _) in one.margins.items():
                values.setdefault(name, []).append(value)
        return min(values, key=lambda name: np.mean(values[name]), default=None)

    def kept(self, level: float) -> bool:
        return self.margin(level) > 0

    def open(self, level: float) -> bool:
        """Whether its last probe could as well have had the other sign."""
        return abs(self.of(level)[-1].z) < 2

    def x(self, level: float) -> float:
        """ln of the throughput; -inf where none came."""
        known = [one.ln_x[0] for one in self.of(level) if one.ln_x and one.timed]
        return float(np.mean(known)) if known else -math.inf

    @property
    def bracket(self) -> tuple[float | None, float | None]:
        """The highest level that kept the SLO below the lowest that missed it."""
        hi = next((level for level in self.levels if not self.kept(level)), None)
        kept = [level for level in self.levels if hi is None or level < hi]
        return (kept[-1] if kept else None), hi

    def room(self, a: float, b: float) -> tuple[float, float]:
        """By how much ln X may at most be higher between two neighbours than at the best level, as a curve that is
        concave in ln N lies below the lines through the levels outside; and where, in ln from a."""
        width = math.log(b / a)
        before = [one for one in self.levels if one < a / 1.15 and math.isfinite(self.x(one))]
        after = [one for one in self.levels if one > b * 1.15 and math.isfinite(self.x(one))]
        up = max((self.x(a) - self.x(before[-1])) / math.log(a / before[-1]), 0.0) if before else 1.0
        down = 0.0 if not math.isfinite(self.x(b)) else math.inf
        if after and down:
            down = max((self.x(b) - self.x(after[0])) / math.log(after[0] / b), 0.0)
        at, most = width, self.x(a) + up * width
        if math.isfinite(down):  # where the two lines meet
            at = min(max((self.x(b) - self.x(a) + down * width) / (up + down), 0.0), width) if up + down else 0.0
            most = self.x(a) + up * at
        return most - self.x(self.best), at

    @property
    def best(self) -> float:
        """Of the levels that kept the SLO the one with the most throughput."""
        return max((level for level in self.levels if self.kept(level)), key=self.x)

    @property
    def fallen(self) -> bool:
        """Throughput has fallen twice in a row."""
        xs = [self.x(level) for level in self.levels[-3:]]
        return len(xs) == 3 and all(b < a - _FALL for a, b in pairwise(xs))


def _zero(seen: _Seen, a: float, b: float, *, beyond: bool = False) -> float:
    """Where the first of the limits' margins crosses zero on its line through two levels, a below b, in ln."""
    runs = [next(one for one in reversed(seen.results) if one.level == level) for level in (a, b)]
    width, found = math.log(b / a), math.inf
    for name in {*runs[0].margins} & {*runs[1].margins}:
        first, last = (float(np.clip(one.margins[name][0], -_WITHIN, _WITHIN)) for one in runs)
        if beyond:
            first, last = (one.margins[name][0] for one in runs)
        if first > last and (beyond or last < 0):
            found = min(found, math.log(a) + width * first / (first - last))
    if not math.isfinite(found):
        return math.inf if beyond else math.sqrt(a * b)
    return math.exp(min(found, math.log(b) + 10))


class _View:
    """What all probes together say of every level between the lowest and the highest that was measured: draws of the
    long-run figures. levels: ascending; by level: p_met, p_good, ln_x (2.5 %, middle, 97.5 %).

    Each margin and ln X is a line in ln N and a random walk about it, so that a level says much of its neighbours and
    little of those far off; runs differ by more than their own error. How much of both is drawn as the data support it.
    """

    def __init__(self, spec: SearchSpec, results: Sequence[ProbeResult], *, more: tuple[float, int] = (1.0, 0)) -> None:
        rng = np.random.default_rng([spec.random_seed, len(results), 1])
        measured = sorted({one.level for one in results})
        top = measured[-1]
        if _Seen(results).margin(top) > -_WITHIN:  # it may not be beyond the limit
            top = min(1.5 * top, spec.high)
        near = (_snapped(k, spec.kind) for k in np.geomspace(measured[0], top, _GRID))
        self.levels = sorted({*measured, *near})
        at = np.log(self.levels)
        timed = [one for one in results if one.timed]
        again = [one for one in timed if one.level == more[0]]  # as they went so far, in turn
        extra = (again * _MOST_MORE)[: min(more[1], _MOST_MORE)]
        met = np.ones((_DRAWS, len(at)), np.bool_)
        for name in sorted({name for one in timed for name in one.margins}):
            shares = _by_share(name, timed)
            part, sd = ("shares", _SHARE_SD) if shares else ("margins", _PRIOR_SD)
            kept, missed = (_WITHIN, sd), (-_WITHIN, sd)  # a guard not proven exceeded; a probe without figures
            points = [(one.level, *getattr(one, part).get(name, kept)) for one in [*timed, *extra]]
            points += [(one.level, *missed) for one in results if not one.timed]
            drawn = _walks(points, at, sd, 2 * _WITHIN if shares else _WITHIN, rng)
            met &= drawn > 0
        xs = [(one.level, *one.ln_x) for one in [*timed, *extra] if one.ln_x]
        x = _walks(_as_asked(xs) if spec.kind == "rate" else xs, at, _PRIOR_SD, math.inf, rng)
        value = np.where(met, x, -math.inf)
        good = met & (value >= value.max(axis=1, keepdims=True) - math.log1p(spec.slack))
        ends = np.quantile(x, [0.025, 0.5, 0.975], axis=0)
        self.p_met = dict(zip(self.levels, met.mean(axis=0).tolist(), strict=True))
        self.p_good = dict(zip(self.levels, good.mean(axis=0).tolist(), strict=True))
        self.ln_x = {k: (float(a), float(b), float(c)) for k, (a, b, c) in zip(self.levels, ends.T, strict=True)}
        self.most_ln_x = float(np.quantile(value.max(axis=1), 0.975, method="inverted_cdf"))
        self._good, self._best = good, np.where(met.any(axis=1), value.argmax(axis=1), 0)

    def better(self, level: float) -> float:
        """Where the best level most often is in the draws in which `level` is not good."""
        bad = self._best[~self._good[:, self.levels.index(level)]]
        counts = np.bincount(bad, minlength=len(self.levels))
        around = np.convolve(counts, [1, 2, 1])[1:-1]
        return self.levels[int(around.argmax())]


def _as_asked(xs: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Of rates: one that is kept up with does as much as it asks for, and what a probe differs from that is its
    arrivals' chance, unless it is less by more than that."""
    each = float(np.median([x - math.log(level) for level, x, _ in xs]))
    found = list[tuple[float, float, float]]()
    for level, x, error in xs:
        asked = each + math.log(level)
        found.append((level, asked, 1e-3) if x > asked - 3 * error else (level, x, error))
    return found


def _walks(
    points: Sequence[tuple[float, float, float]], at: Floats, sd: float, within: float, rng: np.random.Generator
) -> Floats:
    """(_DRAWS, at) curves through points of level, value and standard error. at: ln of levels. sd: what runs differ by,
    likely. within: values beyond it are taken as it."""
    x, y, error = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    x, clipped = np.log(x), np.clip(y, -within, within)
    y, error = clipped, np.where(y == clipped, error, error * np.abs(clipped / np.where(y == 0, 1.0, y)))
    middle, start = float(y.mean()), min(float(x.min()), float(at.min()))
    y = y - middle

    def covariance(a: Floats, b: Floats, smooth: bool, walk: float) -> Floats:
        a, b = a[:, None] - start, b[None, :] - start
        less, more = np.minimum(a, b), np.maximum(a, b)
        found: Floats = 9.0 + 2.0 * (a - 1) * (b - 1) + walk**2 * (less**2 * (3 * more - less) / 6 if smooth else less)
        return found

    found, scores = [], []
    for smooth, walk, likely in _WALKS:
        prior = covariance(x, x, smooth, walk)
        for ratio, belief in zip(_RUNS, _RUNS_PRIOR, strict=True):
            factor = np.linalg.cholesky(prior + np.diag(error**2 + (ratio * sd) ** 2))
            white = np.linalg.solve(factor, y)
            scores.append(likely + belief - 0.5 * float(white @ white) - float(np.log(np.diag(factor)).sum()))
            found.append((smooth, walk, factor, white))
    weights = np.exp(np.array(scores) - max(scores))
    weights[weights < 0.01] = 0.0
    counts, drawn = rng.multinomial(_DRAWS, weights / weights.sum()), list[Floats]()
    for (smooth, walk, factor, white), n in zip(found, counts.tolist(), strict=True):
        if n:
            seen = np.linalg.solve(factor, covariance(x, at, smooth, walk))
            left = covariance(at, at, smooth, walk) - seen.T @ seen
            root = np.linalg.cholesky(left + 1e-7 * np.eye(len(at)))
            drawn.append(middle + seen.T @ white + rng.standard_normal((n, len(at))) @ root.T)
    result: Floats = np.concatenate(drawn)
    return result[rng.permutation(len(result))]
