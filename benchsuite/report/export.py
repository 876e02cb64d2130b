"""A run's judgement as plain data for other programs: summary.json. Missing is null; NaN never leaves this file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from benchsuite.results import Decision, Judged, Optimum
from benchsuite.slo import Slo

SUMMARY_SCHEMA = 1


def summary_json(
    *,
    run_id: str | None,
    model: str | None,
    judged: Sequence[Judged],
    decision: Decision,
    slo: Slo,
    usd_per_hour: float | None,
    gpus: int = 1,
) -> dict[str, Any]:
    """The content of summary.json. usd_per_hour is ONE GPU's price, usd_per_hour_total the machine's; None: unknown."""
    return {
        "schema": SUMMARY_SCHEMA,
        "run_id": run_id,
        "model": model,
        "slo": str(slo),
        "usd_per_hour": _clean(usd_per_hour),
        "gpus": gpus,
        "usd_per_hour_total": None if usd_per_hour is None else _clean(usd_per_hour * gpus),
        "points": [point_json(one) for one in judged],
        **decision_json(decision),
    }


def point_json(judged: Judged) -> dict[str, Any]:
    """One level: its figures, its cost, its verdict; its energy and GPUs (of the GPUs alone, without the host)."""
    point: dict[str, Any] = dataclasses.asdict(judged.point)
    warnings = point.pop("warnings")
    cost = dataclasses.asdict(judged.cost)
    hourly = cost.pop("usd_per_hour")
    del point["model"]
    beside = {
        "usd_per_hour_total": hourly,
        "energy": None if judged.energy is None else dataclasses.asdict(judged.energy),
        "gpu": None if judged.gpu is None else dataclasses.asdict(judged.gpu),
    }
    verdict = {
        "meets_slo": judged.meets_slo,
        "misses": [*judged.misses],
        "unknown": [*judged.unknown],
        "slo_verdict": judged.slo_verdict,
        "p_met": judged.p_met,
        "intervals": {name: dataclasses.asdict(found) for name, found in judged.intervals.items()},
    }
    cleaned: dict[str, Any] = _clean({**point, **cost, **beside, **verdict, "warnings": list(warnings)})
    return cleaned


def decision_json(decision: Decision) -> dict[str, Any]:
    """`optimum` and `no_feasible`, one of them null."""
    if isinstance(decision, Optimum):
        choice, second = decision.choice, decision.runner_up
        optimum = {
            "concurrency": choice.point.concurrency,
            "binding": decision.binding,
            "cost_usd": choice.cost.cost_usd,
            "usd_per_1m_output_tokens": choice.cost.usd_per_1m_output_tokens,
            "runner_up": None if second is None else _short(second),
            "reason": decision.reason,
            "recommended_concurrency": decision.recommended.point.concurrency,
            "p_opt": decision.p_opt,
            **_probabilities(decision),
        }
        return {"optimum": _clean(optimum), "no_feasible": None}
    nearest = None if decision.nearest is None else _short(decision.nearest)
    none = {"nearest": nearest, "reason": decision.reason, **_probabilities(decision)}
    return {"optimum": None, "no_feasible": _clean(none)}


def _probabilities(decision: Decision) -> dict[str, Any]:
    """How often the rule picks each level; None without several runs of each. JSON has text keys alone."""
    by_level = {str(level): p for level, p in decision.p_by_level.items()} or None
    return {"p_by_level": by_level, "p_method": decision.p_method}


def _short(judged: Judged) -> dict[str, Any]:
    return {
        "concurrency": judged.point.concurrency,
        "cost_usd": judged.cost.cost_usd,
        "usd_per_1m_output_tokens": judged.cost.usd_per_1m_output_tokens,
        "misses": [*judged.misses],
        "unknown": [*judged.unknown],
    }


def _clean(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _clean(item) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item) for item in value]
    return value
