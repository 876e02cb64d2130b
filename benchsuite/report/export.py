"""A run's judgement as plain data for other programs: summary.json. Missing is null; NaN never leaves this file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchsuite.economics.verdict import why_text
from benchsuite.level import Level, as_plain
from benchsuite.manifest import RunManifest
from benchsuite.metrics import METRICS, level_row
from benchsuite.redact import csv_table, markdown_table, markdown_text
from benchsuite.report import format as fmt
from benchsuite.report.judge import Judgement
from benchsuite.results import Decision, EvaluatedLevel, LimitCheck

_TABLE = (
    "concurrency", "ttft_mean_s", "ttft_p95_s", "tpot_mean_s", "output_tok_s", "output_tok_s_per_user",
    "goodput_per_s", "attainment", "error_rate", "usd_per_1m_output_tokens", "cost_usd",
)  # fmt: skip


def facts_of(manifest: RunManifest) -> tuple[tuple[str, str], ...]:
    """Run, server, GPUs, workload and date, as far as the manifest tells."""
    gpu, workload = manifest.gpu, manifest.workload
    names = [str(device.name) for device in gpu.devices if device.uuid in gpu.used]
    size = workload.requests
    said = {
        "run": manifest.run_id,
        "server": manifest.server_probe.name,
        "GPUs": ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)),
        "driver": gpu.driver,
        "workload": workload.name if size is None else f"{workload.name}, {size:,} requests",
        "measured": (manifest.created or "")[:10],
        "benchsuite": manifest.benchsuite,
    }
    return tuple((key, str(value)) for key, value in said.items() if value)


def as_markdown(runs: Sequence[Judgement]) -> str:
    """A heading, the decision, a table of levels and the warnings, for each run; as GitHub's Markdown."""
    return "\n".join(_markdown(one) for one in runs)


def _markdown(one: Judgement) -> str:
    columns = fmt.with_judged(fmt.with_goodput(_TABLE, one.judged), one.judged)
    of_run = () if one.run is None else facts_of(one.run.manifest)
    facts = "; ".join(f"{key} {markdown_text(value)}" for key, value in (*of_run, ("SLO", str(one.slo))))
    decision = one.decision, one.judged
    said = [markdown_text(text) for text in (fmt.headline(*decision), *fmt.asides(*decision))]
    warned = [
        f"- `{warn.code}` at {', '.join(map(str, levels))}: {markdown_text(fmt.spaced(warn.finding))}"
        for warn, levels in fmt.same_warnings(warn for j in one.judged for warn in j.point.warnings)
    ]
    several = fmt.has_intervals(one.judged)  # then a level with one run has no interval like the others'
    cells = [fmt.cell if several and j.point.repeat_count == 1 else fmt.interval_cell for j in one.judged]
    rows = [[*(show(j, name) for name in columns), j.slo_verdict] for show, j in zip(cells, one.judged, strict=True)]
    lines = [
        f"### {markdown_text(one.model)}",
        "",
        f"**{said[0]}**",
        "",
        *([*(f"- {aside}" for aside in said[1:]), ""] if said[1:] else []),
        *markdown_table((*map(fmt.head, columns), "SLO"), rows),
        "",
        *([*warned, ""] if warned else []),
        f"<sub>{facts}. Value [95 % interval{' over runs' * several}].</sub>",
    ]
    return "\n".join(lines) + "\n"


def as_csv(runs: Sequence[Judgement]) -> str:
    """A header and one row per run and level. Empty: not known. Text that looks like a formula gets an apostrophe."""
    return csv_table(
        [{"run": one.source_name, **level_row(j), "slo": str(one.slo)} for one in runs for j in one.judged]
    )


SUMMARY_SCHEMA = 1


def summary_json(judgement: Judgement) -> dict[str, Any]:
    """The content of summary.json. usd_per_hour is ONE GPU's price, usd_per_hour_total the machine's; None: unknown."""
    return {
        "schema": SUMMARY_SCHEMA,
        "run_id": judgement.run_id,
        "model": judgement.model,
        "slo": str(judgement.slo),
        "usd_per_hour": _clean(judgement.usd_per_hour),
        "gpus": judgement.gpus,
        "usd_per_hour_total": _clean(judgement.usd_per_hour_total),
        "points": [
            point_json(one)
            | {"client": as_plain(judgement.clients.get(one.point.level))}
            | balance_json(judgement, one.point.level)
            for one in judgement.judged
        ],
        **decision_json(judgement.decision),
    }


def balance_json(judgement: Judgement, level: Level) -> dict[str, Any]:
    """A level's `endpoints`, `imbalance` and `fallback`; null where the run does not say."""
    at = judgement.endpoints.get(level)
    named = at is not None and any(part.endpoint for part in at.parts)
    return {
        "endpoints": [as_plain(part) for part in at.parts] if at is not None and named else None,
        "imbalance": None if at is None else at.imbalance,
        "fallback": as_plain(judgement.fallback.get(level)),
    }


def point_json(judged: EvaluatedLevel) -> dict[str, Any]:
    """One level: its metrics by key, its verdict; its energy and GPUs (of the GPUs alone, without the host)."""
    point: dict[str, Any] = as_plain(judged.point)
    del point["model"], point["intervals"]
    warnings, ratios, distributions = (point.pop(name) for name in ("warnings", "ratios", "distributions"))
    costs = {m.key: m.of(judged) for m in METRICS.values() if m.of is not None and m.unit == "usd"}
    cleaned: dict[str, Any] = _clean(
        {
            **point,
            **ratios,
            **distributions,
            **costs,
            "energy": as_plain(judged.energy),
            "gpu": as_plain(judged.gpu),
            "slo_verdict": judged.slo_verdict,
            "within_limits": judged.within_limits,
            "p_met": judged.p_met,
            "misses": judged.misses,
            "doubts": judged.doubts,
            "limits": [_limit_json(check) for check in judged.limits],
            "intervals": as_plain(judged.intervals),
            "warnings": warnings,
        }
    )
    return cleaned


def _limit_json(check: LimitCheck) -> dict[str, Any]:
    """The verdict on one limit, what it rests on and what would decide."""
    names = ("asked", "value", "steady", "verdict", "p", "why")
    plain = {"limit": str(check.limit), **{name: getattr(check, name) for name in names}}
    return plain | {"text": why_text(check), "repeats": check.repeats, "requests": check.requests}


def decision_json(decision: Decision) -> dict[str, Any]:
    """`optimum` and `no_feasible`, one of them null."""
    effort = {"effort": as_plain(decision.effort)}
    # how often the rule picks each level; None without several runs of each. JSON has text keys alone
    by_level = {str(level): p for level, p in decision.p_by_level.items()} or None
    sure = {"p_by_level": by_level, "p_method": decision.p_method}
    if decision.kind == "none":
        nearest = _level_json(decision.nearest)
        said = {"nearest": nearest, "reason": decision.reason, "verdict": decision.verdict}
        return {"optimum": None, "no_feasible": _clean(said | effort | sure)}
    level, proven = decision.recommended, decision.proven
    optimum = {
        "concurrency": level.point.level.concurrency,
        "binding": decision.binding,
        "cost_usd": level.cost.cost_usd,
        "usd_per_1m_output_tokens": level.cost.usd_per_1m_output_tokens,
        "runner_up": _level_json(decision.runner_up),
        "reason": decision.reason,
        "verdict": decision.verdict,
        "cheapest_concurrency": decision.choice.point.level.concurrency,
        "proven_concurrency": None if proven is None else proven.point.level.concurrency,
        **effort,
        "p_opt": decision.p_opt,
        **sure,
    }
    return {"optimum": _clean(optimum), "no_feasible": None}


def _level_json(judged: EvaluatedLevel | None) -> dict[str, Any] | None:
    if judged is None:
        return None
    return {
        "concurrency": judged.point.level.concurrency,
        "cost_usd": judged.cost.cost_usd,
        "usd_per_1m_output_tokens": judged.cost.usd_per_1m_output_tokens,
        "misses": [*judged.misses],
        "doubts": [*judged.doubts],
        "slo_verdict": judged.slo_verdict,
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
