"""Points with the figures that a decision needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchsuite.analysis.summary import parse_points
from benchsuite.level import Level
from benchsuite.results import EMPTY, Distribution, PointSummary

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TABLE4 = parse_points((EXAMPLES / "paper_table4.csv").read_text("utf-8"), where="paper_table4.csv")


def point(concurrency: int, duration_s: float, per_user: float | None, ttft_s: float | None = 0.1, **other: Any) -> Any:
    """A point of model 'm' as a points table would give it. other: fields, ratios or distributions by their key."""
    base: PointSummary = replace(TABLE4[0], model="m", warnings=(), level=Level(concurrency), duration_s=duration_s)
    other = {"ttft_s": EMPTY if ttft_s is None else Distribution(n=1, mean=ttft_s)} | other
    ratios = {key: other.pop(key) for key in base.ratios if key in other}
    distributions = {key: other.pop(key) for key in base.distributions if key in other}
    return replace(
        base,
        ratios=base.ratios | {"output_tok_s_per_user": per_user} | ratios,
        distributions=base.distributions | distributions,
        **other,
    )
