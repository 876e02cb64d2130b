"""The decision across settings of a server: whose cheapest level that meets the SLO costs least, and how sure. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchsuite.analysis.intervals import DRAWS, ONE_RUN, Z
from benchsuite.economics.decision import JudgedLevels, p_least, resample, runs_text
from benchsuite.errors import PointsError
from benchsuite.manifest import RunManifest, SearchAnswer
from benchsuite.results import EvaluatedLevel, SloVerdict

_SEED = 20261121


@dataclass(frozen=True, slots=True)
class JudgedSetting:
    """A setting and its judged levels, None if none was measured to its end.

    problem: why the setting may not be chosen, whatever its levels say (it did not start, its sweep was cut short).
    status: what became of it, in a few words. values, serve: what was set, and what started its server. run: its run's
    folder in the matrix's; manifest: its run's.
    """

    name: str
    gpus: int
    levels: JudgedLevels | None = None
    problem: str | None = None
    status: str = "measured"
    values: tuple[tuple[str, str | int | float | bool], ...] = ()
    serve: str = ""
    run: str = ""
    manifest: RunManifest | None = None

    @property
    def best(self) -> EvaluatedLevel | None:
        """Its cheapest level that meets the SLO; None if it has none, or may not be chosen."""
        return None if self.problem is not None or self.levels is None else self.levels.best

    @property
    def answer(self) -> SearchAnswer | None:
        """Of its search, whether it was given up or not."""
        search = None if self.manifest is None else self.manifest.search
        return None if search is None or search.end is None else search.end.answer

    @property
    def nearest(self) -> EvaluatedLevel | None:
        """The level that stands for the setting; None if none was measured to its end."""
        return None if self.levels is None else self.levels.nearest


@dataclass(frozen=True, slots=True)
class SettingsDecision:
    """settings: in the given order. ranked: places in `settings` of those that can be chosen, cheapest first.

    p_cheapest: by place in `settings`, the share of draws in which the setting holds the cheapest level that meets the
    SLO; what is missing from 1 are draws in which none does. None without several runs of every level; p_method says
    so. by: what was compared.
    """

    settings: tuple[JudgedSetting, ...]
    ranked: tuple[int, ...]
    by: str
    p_cheapest: dict[int, float] | None = None
    p_method: str = ONE_RUN

    @property
    def winner(self) -> JudgedSetting | None:
        """The setting that holds the cheapest level that meets the SLO."""
        return self.settings[self.ranked[0]] if self.ranked else None

    @property
    def verdict(self) -> SloVerdict:
        """Whether the winner's level meets the SLO; without a winner whether it is proven that no setting does."""
        if self.winner is not None and self.winner.best is not None:
            return self.winner.best.slo_verdict
        decisions = [one.levels.decision for one in self.settings if one.levels is not None]
        return "not met" if all(one.verdict == "not met" for one in decisions) else "undecided"

    @property
    def runner_up(self) -> JudgedSetting | None:
        """The setting that would be chosen without the winner."""
        return self.settings[self.ranked[1]] if len(self.ranked) > 1 else None

    @property
    def p_winner(self) -> float | None:
        """How often the winner is chosen when the runs are resampled."""
        return None if self.p_cheapest is None or not self.ranked else self.p_cheapest[self.ranked[0]]

    @property
    def per_token_winner(self) -> JudgedSetting | None:
        """The setting with the least $/1M output tokens, where that is another than the winner; else None."""
        costs = {place: self.settings[place].best for place in self.ranked}
        known = {p: j.cost.usd_per_1m_output_tokens for p, j in costs.items() if j is not None}
        priced = {place: cost for place, cost in known.items() if cost is not None}
        if len(priced) < len(self.ranked) or not priced:
            return None
        least = min(priced, key=lambda place: priced[place])
        return None if least == self.ranked[0] or priced[least] == priced[self.ranked[0]] else self.settings[least]


def decide_settings(settings: Sequence[JudgedSetting]) -> SettingsDecision:
    """Rank the settings by the cost of one run of the set at their cheapest level that meets the SLO, of rates by that
    of a request which was due.

    Without a price, or where the hour is free, by GPU-seconds, which rank as any price of a GPU-hour would. Equals: the
    fewer GPUs, then the given order. Raises PointsError where settings ran other work, SLOs or prices.
    """
    _refuse_unlike(settings)
    measured = [j for one in settings if one.levels is not None for j in one.levels.judged]
    priced = bool(measured) and all(j.cost.usd_per_hour for j in measured)
    known: dict[int, float] = {}
    answers = {place: one.answer for place, one in enumerate(settings) if one.best is not None and one.answer}
    searched = any(one.answer is not None for one in settings)
    for place, one in enumerate(settings):
        if searched:
            known |= {place: _cost_of(one, answers[place])[0]} if place in answers else {}
        elif one.best is not None:
            duration_s = one.best.point.duration_s
            gpu_s = None if duration_s is None else duration_s * one.gpus
            of_run = one.best.cost.cost_usd if priced else gpu_s
            known |= {} if of_run is None else {place: of_run / (one.best.point.level.rate_per_s or 1.0)}
    ranked = tuple(sorted(known, key=lambda place: (known[place], settings[place].gpus, place)))
    rates = any(j.point.level.rate_per_s for j in measured)
    if searched:
        p_cheapest, method = _chances_of_answers({place: settings[place] for place in answers})
        unit = "an output token" if not rates else "what is paid for"
    else:
        p_cheapest, method = _chances(settings, priced)
        unit = "a request" if rates else "one run of the set"
    by = f"{'cost' if priced else 'GPU-seconds'} of {unit}"
    return SettingsDecision(tuple(settings), ranked, by, p_cheapest, method)


def _cost_of(one: JudgedSetting, answer: SearchAnswer) -> tuple[float, float, float]:
    """Of one of what is paid for, with its interval: dollars, without a price GPU-seconds."""
    if answer.usd is not None:
        value, low, high = answer.usd
    else:
        value, high, low = (one.gpus / x for x in answer.throughput)
    return value, low, high


def _chances_of_answers(settings: Mapping[int, JudgedSetting]) -> tuple[dict[int, float] | None, str]:
    """Each answer's cost drawn from its interval, with its P(SLO met), apart from the others'."""
    rng, drawn = np.random.default_rng(_SEED), list[NDArray[np.float64]]()
    for one in settings.values():
        assert one.answer is not None
        value, low, high = _cost_of(one, one.answer)
        costs = value * np.exp(rng.standard_normal(DRAWS) * np.log(high / low) / (2 * Z))
        drawn.append(np.where(rng.random(DRAWS) < one.answer.p_met, costs, np.inf))
    if not drawn:
        return None, "no interval: no search has an answer"
    shares = dict(zip(settings, p_least(np.array(drawn)), strict=True))
    return shares, f"{DRAWS} draws of each answer's cost and P(SLO met), one start of each server"


def _refuse_unlike(settings: Sequence[JudgedSetting]) -> None:
    judged = [(one.name, one.levels) for one in settings if one.levels is not None]
    facts: dict[str, Callable[[JudgedLevels], object]] = {
        "workload_hash": lambda levels: levels.workload_hash,
        "slo": lambda levels: levels.slo,
        "price": lambda levels: levels.price and levels.price.model_dump_json(exclude={"gpus"}),
    }
    for what, fact in facts.items():
        values = {fact(levels): name for name, levels in judged}
        if len(values) > 1:
            raise PointsError(
                "the settings' costs do not compare",
                where=what,
                given="; ".join(f"{value} ({name})" for value, name in values.items()),
                expected="one for all settings",
            )


def _chances(settings: Sequence[JudgedSetting], priced: bool) -> tuple[dict[int, float] | None, str]:
    """The rule on every draw: each setting's runs resampled apart from the others', for they share none."""
    places = {p: one.levels.resampling for p, one in enumerate(settings) if one.problem is None and one.levels}
    lacking = [p for p, levels in places.items() if not levels or any(len(sums.runs) < 2 for sums in levels)]
    if not places or lacking:
        few = len(lacking) < len(places)
        return None, f"{ONE_RUN} of a level: {', '.join(settings[p].name for p in lacking)}" if few else ONE_RUN
    expense = np.array([_least(settings[p], priced, _SEED + p) for p in places])
    said = runs_text(sums for levels in places.values() for sums in levels)
    shares = dict(zip(places, p_least(expense), strict=True))
    return shares, f"block bootstrap, {DRAWS} draws over {said} runs a level, one start of each server"


def _least(setting: JudgedSetting, priced: bool, seed: int) -> NDArray[np.float64]:
    """(DRAWS,) of the least expense among the levels that meet the SLO; inf where none does."""
    levels = setting.levels
    assert levels is not None
    rates = {j.point.level: j.cost.usd_per_hour if priced else setting.gpus for j in levels.judged}
    least = np.full(DRAWS, np.inf)
    for level, feasible, duration_s in resample(levels.resampling, seed=seed):
        rate = rates.get(level)
        if rate is not None:
            spent = duration_s * (rate / 3600 if priced else rate) / (level.rate_per_s or 1.0)
            least = np.minimum(least, np.where(feasible, spent, np.inf))
    return least
