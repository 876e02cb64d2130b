"""What the levels of one model say against each other: disturbed runs, named. Warnings only: nothing is dropped.

One level alone is checked in row_checks and points_table. Thresholds: docs/METHODS.md.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchsuite.analysis.usl import elasticities, fit_usl
from benchsuite.results import PointSummary, Warn

MAX_ELASTICITY = 1.1
MAX_USL_RESIDUAL = 0.15
MAX_LENGTH_DEVIATION = 0.05
NOISE = 0.01  # a smaller step the wrong way is what one run differs from the next by


def check_levels(points: Sequence[PointSummary]) -> list[Warn]:
    """What the levels of ONE model find wrong with each other, by level. points: any order, each level once.

    Levels without a time or without tokens are left out of the checks that need them. One level alone finds nothing.
    """
    ordered = sorted(points, key=lambda p: p.concurrency)
    rated = [
        _Rated(p, p.concurrency, p.output_tok_s, p.output_tok_s / p.concurrency)
        for p in ordered
        if p.output_tok_s is not None and p.output_tok_s > 0
    ]
    found = [*_superlinear(rated), *_falling(rated), *_slower(ordered), *_off_curve(rated), *_lengths(ordered)]
    return sorted(found, key=lambda warn: warn.concurrency or 0)


@dataclass(frozen=True, slots=True)
class _Rated:
    point: PointSummary
    level: int
    output_tok_s: float
    user_tok_s: float


def _superlinear(rated: Sequence[_Rated]) -> Iterator[Warn]:
    """In a closed loop a user never gets faster by company: where one seems to, the levels below were disturbed."""
    steps = elasticities([one.level for one in rated], [one.output_tok_s for one in rated])
    disturbed: dict[int, Warn] = {}
    for i, elasticity in enumerate(steps):
        below, above = rated[i], rated[i + 1]
        # levels that lie close together: noise alone can be steeper than 1.1
        if elasticity <= MAX_ELASTICITY or above.user_tok_s <= below.user_tok_s * (1 + NOISE):
            continue
        slow = [one for one in rated[: i + 1] if one.user_tok_s < above.user_tok_s]
        names = ", ".join(str(one.level) for one in slow)
        yield Warn(
            "elasticity",
            f"output tokens/s grow faster than users from {below.level} to {above.level} "
            f"(elasticity {elasticity:.2f}); disturbed below: {names}",
            "repeat the levels that are named; if they stay as they are, look for prefix-cache hits at this one",
            above.level,
        )
        for one in slow:
            disturbed[one.level] = Warn(
                "disturbed_run",
                f"{one.user_tok_s:.2f} tok/s per user, less than the {above.user_tok_s:.2f} at {above.level} users",
                "a bad run: repeat this level before trusting it, or an optimum next to it",
                one.level,
            )
    yield from disturbed.values()


def _falling(rated: Sequence[_Rated]) -> Iterator[Warn]:
    for below, above in itertools.pairwise(rated):
        if above.output_tok_s < below.output_tok_s * (1 - NOISE):
            yield Warn(
                "output_rate_falls",
                f"{above.output_tok_s:,.0f} output tok/s, less than {below.output_tok_s:,.0f} at {_users(below.level)}",
                "repeat the level; if it stays so, the server is past its peak",
                above.level,
            )


def _slower(ordered: Sequence[PointSummary]) -> Iterator[Warn]:
    timed = [(p, p.wall_s) for p in ordered if p.wall_s is not None]
    for (below, before_s), (above, after_s) in itertools.pairwise(timed):
        if _requests(below) != _requests(above) or after_s <= before_s * (1 + NOISE):
            continue
        digits = 0 if before_s >= 100 else 2  # enough to see them apart
        finding = f"the set takes {after_s:,.{digits}f} s, "
        finding += f"longer than the {before_s:,.{digits}f} s at {_users(below.concurrency)}"
        longer = _growth(_length(below), _length(above))
        if longer is not None and longer > NOISE:
            finding += f"; answers are {longer:.0%} longer"
        yield Warn(
            "time_rises",
            finding,
            "repeat the level; compare levels by $ per 1M output tokens, or ask for a fixed length",
            above.concurrency,
        )


def _off_curve(rated: Sequence[_Rated]) -> Iterator[Warn]:
    usl = fit_usl([one.level for one in rated], [one.output_tok_s for one in rated])
    for one, residual in zip(rated, usl.residuals if usl else (), strict=False):
        if abs(residual) > MAX_USL_RESIDUAL:
            yield Warn(
                "usl_residual",
                f"{one.output_tok_s:,.0f} output tok/s where the scaling law through all levels has "
                f"{one.output_tok_s * (1 + residual):,.0f} ({residual:+.0%})",
                "some level of this model is off the curve of the others: repeat the disturbed ones, then check again",
                one.level,
            )


def _lengths(ordered: Sequence[PointSummary]) -> Iterator[Warn]:
    known = [(p, length) for p in ordered if (length := _length(p))]
    if len(known) < 3:
        return
    median = statistics.median(length for _, length in known)
    for p, length in known:
        off = length / median - 1
        if abs(off) > MAX_LENGTH_DEVIATION:
            yield Warn(
                "output_length",
                f"{length:,.1f} output tokens per answer, {off:+.1%} from the median of the levels ({median:,.1f})",
                "time and cost per run compare lengths here: use $ per 1M output tokens, or ask for a fixed length",
                p.concurrency,
            )


def _length(p: PointSummary) -> float | None:
    """Output tokens per answer."""
    return p.output_tokens / p.n_ok if p.output_tokens is not None and p.n_ok else None


def _growth(before: float | None, after: float | None) -> float | None:
    return after / before - 1 if before and after else None


def _requests(p: PointSummary) -> float:
    """Requests of one run of the set."""
    return (p.n_ok + (p.n_failed or 0)) / p.repeat_count


def _users(level: int) -> str:
    return "1 user" if level == 1 else f"{level} users"
