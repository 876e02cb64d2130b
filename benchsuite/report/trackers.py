"""A run's judgement for dashboards and experiment trackers: OpenTelemetry, Prometheus, MLflow, W&B. Nothing is sent.

What they show is the table of metrics: every statistic of every level that is known. OpenTelemetry and Prometheus are
text, pure and without their libraries; MLflow and W&B are written by theirs into a folder of this machine.
"""

from __future__ import annotations

import datetime
import importlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchsuite import __version__
from benchsuite.analysis.summary import MeasuredLevel
from benchsuite.errors import InputError
from benchsuite.metrics import METRICS, STATISTICS, Metric, Statistic
from benchsuite.redact import json_text, printable, single_line
from benchsuite.report.judge import Judgement
from benchsuite.results import EvaluatedLevel

_VERDICTS = {"not met": 0, "undecided": 0.5, "unknown": 0.5, "met": 1}


def _values(level: EvaluatedLevel) -> Iterator[tuple[Statistic, float]]:
    """Every figure of a level that is known."""
    for one in STATISTICS:
        value = one.of(level)
        if value is not None and math.isfinite(value):
            yield one, float(value)


def _facts(judgement: Judgement) -> dict[str, str]:
    """What a run is called and by what it was judged, as text that is safe to show."""
    known: dict[str, Any] = {"run_id": judgement.run_id, "model": judgement.model, "slo": judgement.slo}
    if judgement.run is not None:
        manifest = judgement.run.manifest
        known |= {
            "server": manifest.server_probe.name, "workload": manifest.workload.in_words(),
            "created": manifest.created, "benchsuite": manifest.benchsuite,
        }  # fmt: skip
    decision = judgement.decision
    level = decision.nearest if decision.kind == "none" else decision.recommended
    known |= {"verdict": decision.verdict}
    known |= {} if level is None else dict.fromkeys(level.point.level.named(), level.point.level)
    return {key: single_line(str(value)) for key, value in known.items() if value not in (None, "")}


# OpenTelemetry: MetricsData as a line of JSON (OTLP's file format), with the names of the conventions for generative AI
# 0.1.0, which are in development. https://github.com/open-telemetry/semantic-conventions-genai
_BOUNDS_S = [0.01 * 2**i for i in range(14)]  # that they ask for, of every latency
_CUMULATIVE = 2
_UCUM = {"ratio": "1", "usd": "USD", "tokens": "{token}", "tok/s": "{token}/s", "req/s": "{request}/s", "": "1"}


def as_otlp(runs: Sequence[Judgement]) -> str:
    """A line of OTLP JSON for each run: histograms of its latencies, tokens, and each figure as a gauge.

    Successful requests. Raises PointsError for a table of levels.
    """
    return "".join(json_text({"resourceMetrics": [_resource_metrics(one)]}, indent=None) + "\n" for one in runs)


def _attributes(**facts: Any) -> list[dict[str, Any]]:
    def value(v: Any) -> dict[str, Any]:
        if isinstance(v, float):
            return {"doubleValue": v}
        return {"intValue" if isinstance(v, int) else "stringValue": str(v)}

    return [{"key": key.replace("__", "."), "value": value(v)} for key, v in facts.items()]


def _resource_metrics(judgement: Judgement) -> dict[str, Any]:
    manifest = judgement.facts.manifest
    completions = (manifest.spec.get("server") or {}).get("endpoint") == "completions"
    common = {
        "gen_ai__operation__name": "text_completion" if completions else "chat",
        "gen_ai__provider__name": single_line(manifest.server_probe.profile or "_OTHER"),
        "gen_ai__request__model": single_line(judgement.model),
    }
    metrics: dict[str, dict[str, Any]] = {}
    start_ns = _start_ns(judgement)
    ends_s = [point.ended_s for point in manifest.complete_points if point.ended_s is not None]
    times = {"startTimeUnixNano": str(start_ns), "timeUnixNano": str(start_ns + int(1e9 * max(ends_s, default=0.0)))}

    def add(name: str, metric: Metric, kind: str, point: dict[str, Any], level: EvaluatedLevel, **more: Any) -> None:
        attributes = _attributes(**common, **level.point.level.named("benchsuite__"), **more)
        unit = {"unit": _UCUM.get(metric.unit, metric.unit), "description": metric.meaning}
        of_all = {} if kind == "gauge" else {"aggregationTemporality": _CUMULATIVE}
        of_all |= {"isMonotonic": True} if kind == "sum" else {}
        found = metrics.setdefault(name, {"name": name, **unit, kind: {**of_all, "dataPoints": []}})
        found[kind]["dataPoints"].append({"attributes": attributes, **times, **point})

    rows = {one.level: one for one in judgement.measured}
    for level in judgement.judged:
        for metric in METRICS.values():
            if metric.otel and metric.per_request and (histogram := _histogram(metric, rows[level.point.level])):
                add(metric.otel, metric, "histogram", histogram, level)
            elif metric.otel and metric.of is not None and (tokens := metric.of(level)) is not None:
                # what a server counts together may be of any modality
                add(metric.otel, metric, "sum", {"asInt": str(int(tokens))}, level, gen_ai__token__modality="unknown")
        for one, value in _values(level):
            add(f"benchsuite.{one.column}", one.metric, "gauge", {"asDouble": value}, level)
    service = _attributes(service__name="benchsuite", service__version=__version__)
    run = [{"key": f"benchsuite.{key}", "value": {"stringValue": text}} for key, text in _facts(judgement).items()]
    scope = {"name": "benchsuite", "version": __version__}
    return {
        "resource": {"attributes": service + run},
        "scopeMetrics": [{"scope": scope, "metrics": [*metrics.values()]}],
    }


def _start_ns(judgement: Judgement) -> int:
    """When the run began, in ns since 1970; 0, which in OTLP means unknown, where its manifest does not tell."""
    try:
        return int(datetime.datetime.fromisoformat(judgement.facts.manifest.created or "").timestamp() * 1e9)
    except ValueError:
        return 0


def _histogram(metric: Metric, measured: MeasuredLevel) -> dict[str, Any] | None:
    """The requests' values in the conventions' buckets, upper ends included; None where there is none."""
    rows = measured.rows
    all_s = rows.gaps_of(rows.ok) * 1e-6 if metric.each == "chunks" else measured.each[metric.key]
    known_s = all_s[np.isfinite(all_s)]
    if not len(known_s):
        return None
    counts = np.bincount(np.searchsorted(_BOUNDS_S, known_s), minlength=len(_BOUNDS_S) + 1)
    ends = {"sum": float(known_s.sum()), "min": float(known_s.min()), "max": float(known_s.max())}
    return {
        "count": str(len(known_s)),
        **ends,
        "bucketCounts": [*map(str, counts.tolist())],
        "explicitBounds": _BOUNDS_S,
    }


def as_prometheus(runs: Sequence[Judgement]) -> str:
    """Gauges in Prometheus' text format, for node_exporter's textfile collector: `--output DIR/benchsuite.prom`.

    Labels are the model and the concurrency or rate, so that a new run takes the place of the one before. Raises
    InputError for two runs of one model, whose series would be the same.
    """
    models = [single_line(one.model) for one in runs]
    if twice := next((name for name in models if models.count(name) > 1), None):
        raise InputError(
            "two runs have the same series", where="--format prometheus", given=twice, expected="one a model"
        )
    lines: dict[str, list[str]] = {}

    def add(name: str, meaning: str, value: float, **labels: str) -> None:
        escaped = {key: text.replace("\\", "\\\\").replace('"', '\\"') for key, text in labels.items()}
        text = ",".join(f'{key}="{text}"' for key, text in escaped.items())
        lines.setdefault(name, [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]).append(
            f"{name}{{{text}}} {value!r}"
        )

    for model, judgement in zip(models, runs, strict=True):
        for level in judgement.judged:
            (kind,) = level.point.level.named()
            at = {"model": model, kind: f"{level.point.level.number:g}"}
            for one, value in _values(level):
                if one.column == kind:
                    continue
                name = one.column.removesuffix("_s") + "_seconds" if one.metric.unit == "s" else one.column
                add(f"benchsuite_{name}", f"{one.name}: {one.metric.meaning}", value, **at)
            words = "whether the level meets the SLO: 1 met, 0 not met, 0.5 not decided"
            add("benchsuite_slo_met", words, float(_VERDICTS[level.slo_verdict]), **at)
        if judgement.run is not None:
            add("benchsuite_run_start_time_seconds", "when the run began", _start_ns(judgement) / 1e9, model=model)
    return printable("".join(f"{line}\n" for group in lines.values() for line in group))


def _library(name: str) -> Any:
    try:
        found = importlib.import_module(name)
        if found.__file__ is None:  # a folder of that name
            raise ImportError(f"{name} is a folder here")
        return found
    except ImportError as error:
        where, hint = f"--format {name}", f"pip install 'benchsuite[{name}]'"
        raise InputError(f"{name} is not installed", where=where, given=str(error), hint=hint) from None


def log_mlflow(runs: Sequence[Judgement], folder: Path) -> None:
    """A run of MLflow's experiment `benchsuite` for each, in folder/mlflow.db: figures by concurrency as their step, of
    rates by requests in 1,000 s.

    `mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow.db` shows it. Raises InputError without the library.
    """
    client = _library("mlflow").MlflowClient(tracking_uri=f"sqlite:///{folder.resolve()}/mlflow.db")
    entities = _library("mlflow.entities")
    experiment = client.get_experiment_by_name("benchsuite")
    artifacts = (folder.resolve() / "artifacts").as_uri()
    at = experiment.experiment_id if experiment else client.create_experiment("benchsuite", artifacts)
    for one in runs:
        facts = _facts(one)
        logged = client.create_run(
            at, run_name=facts.get("run_id"), tags={"mlflow.source.name": "benchsuite"}
        ).info.run_id
        now_ms = _start_ns(one) // 1_000_000
        figures = [
            entities.Metric(stat.column, value, now_ms, at.concurrency or round(1000 * at.number))
            for level in one.judged
            for at in (level.point.level,)
            for stat, value in _values(level)
        ]
        params = [entities.Param(key, text[:500]) for key, text in facts.items()]
        for start in range(0, len(figures), 1000):  # as many as it takes at once
            client.log_batch(logged, metrics=figures[start : start + 1000], params=params if not start else ())
        client.set_terminated(logged)


def log_wandb(runs: Sequence[Judgement], folder: Path) -> None:
    """An offline run of W&B's project `benchsuite` for each, a step for each level; `wandb sync` would send it.

    Nothing of this machine, its environment or its code is in it. Raises InputError without the library.
    """
    wandb = _library("wandb")
    for one in runs:
        facts = _facts(one)
        settings = wandb.Settings(
            mode="offline", console="off", disable_code=True, disable_git=True, save_code=False, silent=True,
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
            x_save_requirements=False, host="-", username="-", program="benchsuite",
        )  # fmt: skip
        with wandb.init(
            project="benchsuite", name=facts.get("run_id"), config=facts, dir=str(folder), settings=settings
        ) as run:
            run.define_metric("*", step_metric="rate_per_s" if one.of_rates else "concurrency")
            for level in one.judged:
                run.log({stat.column: value for stat, value in _values(level)})
