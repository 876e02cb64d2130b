"""What a gate asks and finds. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchsuite.analysis.compare import Verdict


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that was asked at one level. said: the finding in words. asked: 'ttft_p95 < 0.5 s', or the figure and
    its margin. value, baseline: of the run and of the baseline (geometric means over runs), change_ratio with its
    95 % ends: value / baseline - 1; None for limits, and where a run lacks the figure."""

    kind: Literal["slo", "regression"]
    name: str
    concurrency: int
    asked: str
    verdict: Verdict
    said: str
    value: float | None = None
    baseline: float | None = None
    change_ratio: float | None = None
    change_low: float | None = None
    change_high: float | None = None


@dataclass(frozen=True, slots=True)
class GateResult:
    """Every criterion, levels ascending, limits first. notes: what a reader must know beside."""

    run_id: str
    baseline_id: str | None
    criteria: tuple[Criterion, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """fail where anything failed, else inconclusive where anything is, else pass."""
        found = {one.verdict for one in self.criteria}
        return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
