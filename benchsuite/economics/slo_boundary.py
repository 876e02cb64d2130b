"""Where between the measured levels the SLO breaks, and what the machine would cost there. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchsuite.analysis.boundary import FALLING, RISING, Runs, crossing, users_at_limit
from benchsuite.economics.cost import SECONDS_PER_HOUR, HourPrice
from benchsuite.economics.optimum import MAX_ERROR_RATE, measured
from benchsuite.results import Decision, Estimate, PointSummary
from benchsuite.slo import Limit, Slo

NONE_HOLDS = "no level keeps it"
ALL_HOLD = "every level at which it is known keeps it"


@dataclass(frozen=True, slots=True)
class LimitUsers:
    """Up to how many users a limit holds. users: interpolated, with its interval; None: `note` says why."""

    limit: str
    users: Estimate | None
    note: str


def breakable_limits(points: Sequence[PointSummary], slo: Slo) -> tuple[Limit, ...]:
    """The SLO's limits that users break, and the limit on errors that every decision has."""
    own = [limit for limit in slo.limits if limit.metric in (*FALLING, *RISING)]
    errors = any(limit.metric == "error_rate" for limit in own) or all(p.error_rate is None for p in points)
    return tuple(own) if errors else (*own, MAX_ERROR_RATE)


def _curve(points: Sequence[PointSummary], limit: Limit) -> tuple[list[int], list[float]]:
    known = [(p.concurrency, value) for p in points if (value := measured(p, limit)) is not None]
    return [level for level, _ in known], [value for _, value in known]


def limit_users(
    points: Sequence[PointSummary], limit: Limit, repeats: Sequence[Sequence[PointSummary]], seed: int
) -> LimitUsers:
    levels, values = _curve(points, limit)
    if not levels:
        return LimitUsers(str(limit), None, "not known at any level")
    users = users_at_limit(levels, values, limit, _runs(levels, limit, repeats), seed)
    if users is not None:
        return LimitUsers(str(limit), users, users.method)
    if crossing(levels, values, limit) == 0:
        return LimitUsers(str(limit), None, NONE_HOLDS)
    missed = [str(level) for level, value in zip(levels, values, strict=True) if not limit.holds(value)]
    told = f"missed at {', '.join(missed)} only, against the trend: repeat that level" if missed else ALL_HOLD
    return LimitUsers(str(limit), None, told)


def _runs(levels: Sequence[int], limit: Limit, repeats: Sequence[Sequence[PointSummary]]) -> Runs | None:
    if not repeats:
        return None
    values = np.full((len(repeats), len(levels)), np.nan)
    weights = np.zeros_like(values)
    for i, own in enumerate(repeats):
        for p in own:
            value = measured(p, limit)
            if value is not None and p.concurrency in levels:
                column = levels.index(p.concurrency)
                values[i, column] = value
                weights[i, column] = (p.wall_s or 0.0) if limit.metric in FALLING else p.n_ok
    return Runs(values, weights)


def boundary_users(points: Sequence[PointSummary], limits: Sequence[Limit]) -> float | None:
    """Users at which the first of the limits breaks; None if none breaks, or one holds at no level."""
    found = [crossing(*curve, limit) for limit in limits if (curve := _curve(points, limit))[0]]
    breaks = [users for users in found if users is not None]
    return min(breaks) or None if breaks else None


class BoundaryCost:
    """What the set of the optimum costs at any number of users: its tokens at the interpolated rate v(N) N."""

    def __init__(self, points: Sequence[PointSummary], decision: Decision, usd_per_hour: HourPrice) -> None:
        self.usd_per_hour = usd_per_hour
        self.choice = decision.choice.point if decision.kind == "optimum" else None
        known = [(p.concurrency, p.output_tok_s / p.concurrency) for p in points if p.output_tok_s]
        self.levels, self.speeds = [math.log(level) for level, _ in known], [speed for _, speed in known]

    def __call__(self, users: float) -> tuple[float | None, float | None]:
        """Dollars (None without a price) and the share saved against the optimum; None where not known."""
        choice = self.choice
        if choice is None or not choice.output_tokens or not choice.wall_s or not self.levels:
            return None, None
        from scipy.optimize import isotonic_regression

        speeds = isotonic_regression(np.asarray(self.speeds), increasing=False).x
        rate = float(np.interp(math.log(users), self.levels, speeds)) * users
        wall_s = choice.output_tokens / choice.repeat_count / rate
        hour = self.hour_at(users)
        if hour is None:
            return None, 1 - wall_s / choice.wall_s
        usd = hour * wall_s / SECONDS_PER_HOUR
        before = self.hour_at(choice.concurrency)
        return usd, 1 - wall_s / choice.wall_s * (hour / before if before else 1.0)

    def hour_at(self, users: float) -> float | None:
        """The machine's hour, between levels straight in the logarithm of users."""
        if not isinstance(self.usd_per_hour, Mapping):
            return self.usd_per_hour
        levels = sorted(self.usd_per_hour)
        return float(np.interp(math.log(users), np.log(levels), [self.usd_per_hour[level] for level in levels]))
