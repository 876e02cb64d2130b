"""A run's judgement as plain data for other programs: summary.json. Missing is null; NaN never leaves this file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from benchsuite.manifest import RunManifest
from benchsuite.redact import csv_table, markdown_text
from benchsuite.report.format import asides, grouped_warnings, headline, interval, number, percent, spaced, tail, usd
from benchsuite.report.judge import Judgement
from benchsuite.results import Decision, Distribution, Estimate, EvaluatedLevel, Optimum

_LATENCIES = ("ttft", "ttfa", "tpot", "e2e", "itl")
_STATS = ("mean", "p50", "p90", "p95", "p99", "max")
_RATES = (
    "output_tok_s_per_user", "decode_tok_s", "output_tok_s", "total_tok_s", "request_per_s",
)  # fmt: skip
_HEAD = (
    "concurrency", "SLO", "TTFT mean ms", "TTFT p95 ms", "TPOT mean ms", "output tok/s", "tok/s per user", "errors",
    "$/1M output", "$ per run",
)  # fmt: skip
_WITH_ENDS = ("duration_s", "output_tok_s", "ttft_mean_s", "ttft_p95_s", "tpot_mean_s", "usd_per_1m_output_tokens")


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
    return "\n".join(_section(one) for one in runs)


def _section(one: Judgement) -> str:
    of_run = () if one.run is None else facts_of(one.run.manifest)
    facts = "; ".join(f"{key} {markdown_text(value)}" for key, value in (*of_run, ("SLO", str(one.slo))))
    said = [markdown_text(text) for text in (headline(one.decision, one.judged), *asides(one.decision, one.judged))]
    warned = [
        f"- `{warn.code}` at {', '.join(map(str, levels))}: {markdown_text(spaced(warn.finding))}"
        for warn, levels in grouped_warnings(one.judged)
    ]
    lines = [
        f"### {markdown_text(one.model)}",
        "",
        f"**{said[0]}**",
        "",
        *([*(f"- {aside}" for aside in said[1:]), ""] if said[1:] else []),
        "| " + " | ".join(_HEAD) + " |",
        "|" + "|".join("---" if name == "SLO" else "---:" for name in _HEAD) + "|",
        *("| " + " | ".join(_row(judged)) + " |" for judged in one.judged),
        "",
        *([*warned, ""] if warned else []),
        f"<sub>{facts}. Value [95 % interval].</sub>",
    ]
    return "\n".join(lines) + "\n"


def _row(judged: EvaluatedLevel) -> list[str]:
    point = judged.point

    def shown(name: str, value: float | None, show: Any, scale: float = 1.0) -> str:
        found = _interval_of(judged, name, value)
        return show(None if value is None else value * scale) if found is None else interval(found, show, scale)

    return [
        str(point.concurrency),
        markdown_text(
            judged.slo_verdict if judged.slo_verdict != "unknown" else "met" if judged.meets_slo else "not known"
        ),
        shown("ttft_mean_s", point.ttft_s.mean, number, 1e3),
        shown("ttft_p95_s", tail(point.ttft_s, "p95"), number, 1e3),
        shown("tpot_mean_s", point.tpot_s.mean, number, 1e3),
        shown("output_tok_s", point.output_tok_s, number),
        shown("output_tok_s_per_user", point.output_tok_s_per_user, number),
        percent(point.error_rate),
        shown("usd_per_1m_output_tokens", judged.cost.usd_per_1m_output_tokens, usd),
        usd(judged.cost.cost_usd),
    ]


def _interval_of(judged: EvaluatedLevel, name: str, value: float | None) -> Estimate | None:
    """The interval of the figure as it is shown; None where there is none, or it is of the steady window alone."""
    found = judged.intervals.get(name)
    if found is None or found.value is None or value is None or not math.isclose(found.value, value, rel_tol=1e-9):
        return None
    return found


def as_csv(runs: Sequence[Judgement]) -> str:
    """A header and one row per run and level. Empty: not known. Text that looks like a formula gets an apostrophe."""
    return csv_table([_flat(one, judged) for one in runs for judged in one.judged])


def _flat(one: Judgement, judged: EvaluatedLevel) -> dict[str, Any]:
    point, cost, energy = judged.point, judged.cost, judged.energy
    latencies: dict[str, Any] = {}
    for name in _LATENCIES:
        values: Distribution = getattr(point, f"{name}_s")
        latencies |= {f"{name}_{stat}_s": values.stat(stat) for stat in _STATS}
    figures: dict[str, Any] = {
        "run": one.source_name,
        "model": one.model,
        "concurrency": point.concurrency,
        "repeats": point.repeat_count,
        "n_ok": point.n_ok,
        "n_failed": point.n_failed,
        "error_rate_ratio": point.error_rate,
        "duration_s": point.duration_s,
        **latencies,
        **{name: getattr(point, name) for name in _RATES},
        "occupancy_ratio": point.occupancy,
        "input_tokens": point.input_tokens,
        "output_tokens": point.output_tokens,
        "usd_per_hour_total": cost.usd_per_hour,
        "cost_usd": cost.cost_usd,
        "usd_per_1m_output_tokens": cost.usd_per_1m_output_tokens,
        "usd_per_1m_total_tokens": cost.usd_per_1m_total_tokens,
        "usd_per_request": cost.usd_per_request,
        "gross_j": energy.gross_j if energy else None,
        "j_per_output_token": energy.j_per_output_token if energy else None,
        "gpu_mean_w": energy.mean_w if energy else None,
    }
    ends: dict[str, Any] = {}
    for name in _WITH_ENDS:
        found = _interval_of(judged, name, figures[name])
        ends |= {f"{name}_low": found.low if found else None, f"{name}_high": found.high if found else None}
    return {
        **figures,
        **ends,
        "slo": str(one.slo),
        "meets_slo": judged.meets_slo,
        "slo_verdict": judged.slo_verdict,
        "p_met": judged.p_met,
        "misses": "; ".join(judged.misses),
        "warnings": " ".join(dict.fromkeys(warn.code for warn in point.warnings)),
    }


SUMMARY_SCHEMA = 1


def summary_json(judgement: Judgement) -> dict[str, Any]:
    """The content of summary.json. usd_per_hour is ONE GPU's price, usd_per_hour_total the machine's; None: unknown."""
    points = []
    for one in judgement.judged:
        level = one.point.concurrency
        client = {"client": _plain(judgement.clients.get(level))}
        points.append(point_json(one) | client | balance_json(judgement, level))
    return {
        "schema": SUMMARY_SCHEMA,
        "run_id": judgement.run_id,
        "model": judgement.model,
        "slo": str(judgement.slo),
        "usd_per_hour": _clean(judgement.usd_per_hour),
        "gpus": judgement.gpus,
        "usd_per_hour_total": _clean(judgement.usd_per_hour_total),
        "points": points,
        **decision_json(judgement.decision),
    }


def balance_json(judgement: Judgement, level: int) -> dict[str, Any]:
    """A level's `endpoints`, `imbalance` and `fallback`; null where the run does not say."""
    at = judgement.endpoints.get(level)
    named = at is not None and any(part.endpoint for part in at.parts)
    return {
        "endpoints": [dataclasses.asdict(part) for part in at.parts] if at is not None and named else None,
        "imbalance": None if at is None else at.imbalance,
        "fallback": _plain(judgement.fallback.get(level)),
    }


def _plain(value: Any) -> dict[str, Any] | None:
    """A dataclass as a dict, None as None."""
    return None if value is None else dataclasses.asdict(value)


def point_json(judged: EvaluatedLevel) -> dict[str, Any]:
    """One level: its figures, its cost, its verdict; its energy and GPUs (of the GPUs alone, without the host)."""
    point: dict[str, Any] = dataclasses.asdict(judged.point)
    warnings = point.pop("warnings")
    cost = dataclasses.asdict(judged.cost)
    hourly = cost.pop("usd_per_hour")
    del point["model"]
    beside = {
        "usd_per_hour_total": hourly,
        "energy": _plain(judged.energy),
        "gpu": _plain(judged.gpu),
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


def _short(judged: EvaluatedLevel) -> dict[str, Any]:
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
