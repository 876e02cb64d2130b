"""Which models are worth their money: not dominated in (cost, score), and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from benchsuite.analysis.intervals import Z, t_over_runs, wilson
from benchsuite.economics.cost import usd_per_point
from benchsuite.errors import InputError, did_you_mean
from benchsuite.level import Level
from benchsuite.quality.levels import sets_of
from benchsuite.quality.paired import overall_interval, score_draws, wilson_draws
from benchsuite.results import Estimate, Quality, SloVerdict
from benchsuite.strict_model import StrictModel, parse_csv, refuse_lines

Floats = npt.NDArray[np.float64]
_EXPECTED = "model, score; optional params_b, n (items behind a score in percent); or model, item, score from 0 to 1"


@dataclass(frozen=True, slots=True)
class Score:
    """A model's score, higher is better. n: items behind it; then score is the percentage that was right.

    n None: a score of any scale, without an interval. items: score from 0 to 1 by item, where each is known.
    params_b: parameters in 1e9. Of answers that were measured, else None: sets, what is resampled (as of
    quality.paired.score_draws); interval, of the score; usd_per_correct.
    """

    model: str
    score: float
    params_b: float | None = None
    n: int | None = None
    items: Mapping[str, float] | None = None
    sets: Mapping[str, Floats] | None = None
    interval: Estimate | None = None
    usd_per_correct: Estimate | None = None


class _Row(StrictModel):
    """One line of a table of scores."""

    model: str
    score: float
    item: str | None = None
    n: int | None = Field(None, ge=1)
    params_b: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _within_its_scale(self) -> _Row:
        most = 1 if self.item is not None else 100 if self.n is not None else math.inf
        if most < math.inf and not 0 <= self.score <= most:
            raise ValueError(f"score should be from 0 to {most}")
        return self


def parse_scores(text: str, *, where: str) -> dict[str, Score]:
    """Scores by model, in the table's order. A column `item` makes it a table of items, else of models.

    Raises InputError naming the line and the column.
    """
    rows = parse_csv(text, _Row, "the table of scores", where=where, expected=_EXPECTED)
    if not rows:
        raise InputError("the table of scores has no rows", where=where, expected=_EXPECTED)
    seen: dict[tuple[str, str | None], int] = {}
    mistakes: list[tuple[int, str]] = []
    with_items = any(row.item is not None for row in rows.values())
    for line, row in rows.items():
        if with_items and row.item is None:
            mistakes.append((line, "item: required but missing"))
        if seen.setdefault((row.model, row.item), line) != line:
            of_item = f", item {row.item!r}" if row.item else ""
            mistakes.append((line, f"model {row.model!r}{of_item}: scored before, on line {seen[row.model, row.item]}"))
    refuse_lines("the table of scores", mistakes, where=where, expected=_EXPECTED)
    if with_items:
        return _of_items(rows.values())
    return {row.model: Score(row.model, row.score, row.params_b, row.n) for row in rows.values()}


def _of_items(rows: Iterable[_Row]) -> dict[str, Score]:
    items: dict[str, dict[str, float]] = {}
    params: dict[str, float | None] = {}
    for row in rows:
        items.setdefault(row.model, {})[row.item or ""] = row.score
        params[row.model] = row.params_b or params.get(row.model)
    first, expected = next(iter(items.items()))
    for model, scores in items.items():
        odd = sorted(scores.keys() ^ expected.keys())
        if odd:
            raise InputError(
                f"{model} and {first} were not scored on the same items",
                where="item",
                given=f"{odd[0]} is in one of them only ({len(odd)} such)",
                expected="the same items for every model, or one line per model with n",
            )
    return {
        model: Score(model, 100 * sum(scores.values()) / len(scores), params[model], len(scores), scores)
        for model, scores in items.items()
    }


def refuse_versions(measured: Mapping[str, Quality]) -> None:
    """Raises InputError where two runs were scored by different versions of a scorer, or by different references to the
    same prompts. measured: by the run's name.
    """
    versions: dict[str, tuple[str, int]] = {}
    references: dict[str, tuple[str, str]] = {}
    for name, quality in measured.items():
        asked, by = quality.hashes or (name, "")
        other, before = references.setdefault(asked, (name, by))
        if by != before:
            raise InputError(
                "two runs of the same prompts were scored by different references", where=f"{other}, {name}",
                given=f"references {before[:12]} and {by[:12]}", expected="one set of references",
                hint="benchsuite score RUN --workload FILE, of both",
            )  # fmt: skip
        for scorer, version in quality.scorers.items():
            other, known = versions.setdefault(scorer, (name, version))
            if version != known:
                raise InputError(
                    f"two runs were scored by different versions of {scorer}", where=f"{other}, {name}",
                    given=f"{known} and {version}", expected="one version", hint="benchsuite score RUN, of both",
                )  # fmt: skip


def scores_of(measured: Mapping[str, Quality]) -> tuple[dict[str, Score], int]:
    """Scores by model of answers that were measured, over the items that all of them have; and how many some lack.

    Raises InputError where two were scored by different versions of a scorer, or have no item in common.
    """
    refuse_versions(measured)
    items = [{(one.scenario, item) for one in q.scenarios for item in one.items} for q in measured.values()]
    shared = set.intersection(*items)
    if not shared:
        raise InputError(
            "the runs were not scored on the same items", where=", ".join(measured), given="none that all have",
            expected="the same request set",
        )  # fmt: skip
    found = {}
    for model, quality in measured.items():
        sets = sets_of(quality, shared)
        score = overall_interval(sets)
        found[model] = Score(
            model, 100 * (score.value or 0.0), n=len(shared), sets=sets, interval=score,
            usd_per_correct=quality.usd_per_correct,
        )  # fmt: skip
    return found, len(set.union(*items)) - len(shared)


def match_scores(scores: Mapping[str, Score], measured: Sequence[str], *, where: str) -> list[str]:
    """The scored models that were not measured, in the table's order.

    Raises InputError for a name that is nearly that of a measured model without a score, or if no name is known at all.
    """
    unscored = [name for name in measured if name not in scores]
    unknown = [name for name in scores if name not in measured]
    for name in unknown:
        hint = did_you_mean(name, unscored)
        if hint or len(unknown) == len(scores):
            raise InputError(
                "a model of the score table was not measured",
                where=f"{where}: model",
                given=name,
                expected="one of " + ", ".join(measured),
                hint=hint or "use the same model names in both",
            )
    return unknown


DRAWS = 4000
UNKNOWN = "one run per level and no n of the score: neither the cost nor the score has an interval"


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """A model at its own optimum. cost_usd: one run of the set; None with the reason if it has no place.

    repeat_cost_usd: the same, each repeat alone; an interval needs two. usd_per_request: over those that succeeded.
    slo_verdict: of that optimum.
    """

    model: str
    level: Level | None
    cost_usd: float | None
    score: Score | None
    usd_per_request: float | None = None
    repeat_cost_usd: tuple[float, ...] = ()
    slo_verdict: SloVerdict | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ParetoPoint:
    """A model's place. on_frontier None: it has none, `reason` says why. dominated_by: cheapest first. level_with:
    those that would dominate it by so little that it is no difference: within LEVEL_POINTS and LEVEL_COST.

    p_on_frontier: share of the draws in which nobody dominates it; None where neither its cost nor its score has an
    interval. p_dominated_by: the same for each model of dominated_by. held_fixed: what of it was taken as exact.
    usd_per_1m_correct_answers: only for scores that count items; with an interval where the answers were measured, and
    its high None where it has no upper end.
    """

    model: str
    level: Level | None
    cost_usd: float | None
    cost_low_usd: float | None
    cost_high_usd: float | None
    score: float | None
    score_low: float | None
    score_high: float | None
    n: int | None
    params_b: float | None
    usd_per_1m_correct_answers: float | None
    on_frontier: bool | None
    dominated_by: tuple[str, ...] = ()
    p_on_frontier: float | None = None
    p_dominated_by: dict[str, float] = field(default_factory=dict)
    p_reason: str | None = None
    held_fixed: tuple[str, ...] = ()
    slo_verdict: SloVerdict | None = None
    reason: str | None = None
    level_with: tuple[str, ...] = ()
    usd_per_1m_correct_low: float | None = None
    usd_per_1m_correct_high: float | None = None


LEVEL_POINTS, LEVEL_COST = 1.0, 0.01


def frontier(candidates: Sequence[ModelPoint], *, seed: int = 0, draws: int = DRAWS) -> list[ParetoPoint]:
    """Every candidate's place, by cost; those without one last, with the reason.

    A dominates B if it costs no more, scores no less, and one of the two strictly; unless both count items and are
    level in both. Draws of a cost: the run means that
    log-scale t allows (C1's interval); of scores: items resampled, the same for all models, or Wilson's limits. The
    level is held at the optimum. Raises InputError if a model appears twice.
    """
    names = [one.model for one in candidates]
    for name in names:
        if names.count(name) > 1:
            raise InputError("a model has two runs", where="model", given=name, expected="one run per model")
    here = [(one, one.score) for one in candidates if one.cost_usd is not None and one.score is not None]
    apart = {one.model: one.reason or "it has no cost" for one in candidates if one.cost_usd is None}
    unscored = (one for one in candidates if one.model not in apart and one.score is None)
    apart |= {one.model: one.reason or "it has no score" for one in unscored}
    here.sort(key=lambda pair: (pair[0].cost_usd or 0.0, -pair[1].score))
    rng = np.random.default_rng(seed)
    placed = []
    if here:
        cost, score = (np.array([row]) for row in zip(*((c.cost_usd or 0.0, s.score) for c, s in here), strict=True))
        beats = _dominates(cost, score)[0]
        costs = np.column_stack([_cost_draws(c, draws, rng) for c, _ in here])
        often = _dominates(costs, _score_draws([s for _, s in here], draws, rng))
        p_free = 1 - often.any(axis=1).mean(axis=0)
    for j, (one, scored) in enumerate(here):
        fixed = ("cost: one run per level",) * (len(one.repeat_cost_usd) < 2) + ("score: no n",) * (scored.n is None)
        unsure = len(fixed) < 2
        masters = [i for i in range(len(here)) if beats[i, j]]
        near = [i for i in masters if _level(here[i], here[j])]
        masters = [i for i in masters if i not in near]
        placed.append(
            _placed(
                one,
                on_frontier=not masters,
                level_with=tuple(here[i][0].model for i in near),
                dominated_by=tuple(here[i][0].model for i in masters),
                p_on_frontier=float(p_free[j]) if unsure else None,
                p_dominated_by={here[i][0].model: float(often[:, i, j].mean()) for i in masters} if unsure else {},
                p_reason=None if unsure else UNKNOWN,
                held_fixed=fixed,
            )
        )
    return placed + [_placed(c, on_frontier=None, reason=apart[c.model]) for c in candidates if c.model in apart]


def _level(one: tuple[ModelPoint, Score], other: tuple[ModelPoint, Score]) -> bool:
    """Their scores, which count items, and their costs differ by no more than a person would call the same."""
    (a, score_a), (b, score_b) = one, other
    counted = score_a.n is not None and score_b.n is not None
    low, high = sorted((a.cost_usd or 0.0, b.cost_usd or 0.0))
    return counted and abs(score_a.score - score_b.score) <= LEVEL_POINTS and high - low <= LEVEL_COST * low


def _dominates(cost: Floats, score: Floats) -> npt.NDArray[np.bool_]:
    """(draws, models) each -> (draws, i, j): i dominates j."""
    mine, other = cost[:, :, None], cost[:, None, :]
    good, better = score[:, :, None], score[:, None, :]
    beats: npt.NDArray[np.bool_] = (mine <= other) & (good >= better) & ((mine < other) | (good > better))
    return beats


def _cost_draws(one: ModelPoint, draws: int, rng: np.random.Generator) -> Floats:
    """(draws,) of the mean cost: exp(mean ln y + t s / sqrt(n)), t with n - 1 degrees; without repeats as it is."""
    n = len(one.repeat_cost_usd)
    logs = np.log(one.repeat_cost_usd) if n > 1 and min(one.repeat_cost_usd) > 0 else np.zeros(1)
    if logs.std() < 1e-9:  # runs alike to the last digits: their rounding must not break a tie
        return np.full(draws, one.cost_usd, dtype=np.float64)
    drawn: Floats = np.exp(logs.mean() + rng.standard_t(n - 1, draws) * logs.std(ddof=1) / np.sqrt(n))
    return drawn


def _score_draws(here: Sequence[Score], draws: int, rng: np.random.Generator) -> Floats:
    """(draws, models). Items are drawn once for all models, so that what is hard for all is so in every draw."""
    scores = np.empty((draws, len(here)))
    for j, one in enumerate(here):
        if one.sets is not None:  # the same items give the same draws
            scores[:, j] = 100 * score_draws(one.sets, draws=draws)
        elif one.n is None:
            scores[:, j] = one.score
        elif one.items is None:
            scores[:, j] = 100 * wilson_draws(one.score / 100, one.n, rng.standard_normal(draws))
    by_item = {j: one.items for j, one in enumerate(here) if one.items is not None}
    if by_item:
        table = np.array([[items[item] for items in by_item.values()] for item in next(iter(by_item.values()))])
        n = len(table)
        for draw in range(draws):
            scores[draw, list(by_item)] = np.bincount(rng.integers(n, size=n), minlength=n) @ table * (100 / n)
    return scores


def _placed(one: ModelPoint, **place: Any) -> ParetoPoint:
    score = one.score
    place |= {name: getattr(score, name, None) for name in ("score", "n", "params_b")}
    cost, low, high, per_correct = t_over_runs(np.array(one.repeat_cost_usd), one.cost_usd), None, None, None
    if score is not None and score.interval is not None:
        percent = score.interval.times(100)
        low, high = percent.low, percent.high
        if score.usd_per_correct is not None:
            paid = score.usd_per_correct.times(1e6)
            per_correct = paid.value
            place |= {"usd_per_1m_correct_low": paid.low, "usd_per_1m_correct_high": paid.high}
    elif score is not None and score.n is not None:
        low, high = (100 * end for end in wilson(score.score / 100, score.n, Z))
        each = usd_per_point(one.usd_per_request, score.score / 100)
        per_correct = None if each is None else each * 1e6
    return ParetoPoint(
        model=one.model,
        level=one.level,
        cost_usd=one.cost_usd,
        cost_low_usd=cost.low,
        cost_high_usd=cost.high,
        score_low=low,
        score_high=high,
        usd_per_1m_correct_answers=per_correct,
        slo_verdict=one.slo_verdict,
        **place,
    )
