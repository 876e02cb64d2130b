"""OpenTelemetry, Prometheus, MLflow and W&B: the figures of the table of metrics, under names that others know."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchsuite.api import decide
from benchsuite.errors import InputError
from benchsuite.metrics import BY_COLUMN, METRICS, level_row
from benchsuite.redact import remember_key
from benchsuite.report.judge import Judgement
from benchsuite.report.trackers import as_otlp, as_prometheus, log_mlflow, log_wandb


@pytest.fixture(scope="module")
def judged(stored: Path) -> Judgement:
    (found,) = decide(stored / "faulty")
    return found


def known(judgement: Judgement) -> dict[tuple[str, float], float]:
    """Every figure of the table that is known, by column and level, as the CSV has it."""
    return {
        (column, level.point.level.number): float(value)
        for level in judgement.judged
        for column, value in level_row(level).items()
        if column in BY_COLUMN and value is not None and math.isfinite(value)
    }


def test_prometheus_has_every_figure(judged: Judgement) -> None:
    """A parser reads as many series as figures are known, with their values; labels are the model and the level."""
    found = {}
    for family in text_string_to_metric_families(as_prometheus([judged])):
        assert family.documentation
        for sample in family.samples:
            if set(sample.labels) == {"model", "concurrency"}:
                name = sample.name.removeprefix("benchsuite_")
                name = f"{name.removesuffix('_seconds')}_s" if name.endswith("_seconds") else name
                found[name, float(sample.labels["concurrency"])] = sample.value
    met = {key: found.pop(key) for key in list(found) if key[0] == "slo_met"}
    assert found == {key: value for key, value in known(judged).items() if key[0] != "concurrency"}
    assert set(met.values()) <= {0.0, 0.5, 1.0}


def test_rates_are_told_apart(stored: Path) -> None:
    """Their label is the rate, not a concurrency, in both formats."""
    (rates,) = decide(stored / "rates")
    text = as_prometheus([rates])
    assert 'rate_per_s="2"' in text
    assert "concurrency" not in text
    points = otlp(rates)[1]["benchsuite.output_tok_s"]["gauge"]["dataPoints"]
    found = [{one["key"]: one["value"] for one in point["attributes"]}["benchsuite.rate_per_s"] for point in points]
    assert found == [{"doubleValue": level.point.level.number} for level in rates.judged]


def test_prometheus_file_is_replaced_whole(stored: Path, tmp_path: Path, cli: Any) -> None:
    """The textfile collector finds one file with the name that was given, and series that a second run replaces."""
    file = tmp_path / "benchsuite.prom"
    for _ in range(2):
        assert cli("report", stored / "telemetry", "--format prometheus --output", file).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["benchsuite.prom"]
    assert "run_id" not in file.read_text("utf-8")


def test_prometheus_has_one_series_a_model(judged: Judgement) -> None:
    """Two runs of one model would have the same labels: refused, not mixed."""
    with pytest.raises(InputError, match="two runs have the same series"):
        as_prometheus([judged, judged])


def otlp(judgement: Judgement) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The resource's attributes, and the metrics by name."""
    (line,) = as_otlp([judgement]).splitlines()
    (resource,) = json.loads(line)["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    texts = {one["key"]: one["value"]["stringValue"] for one in resource["resource"]["attributes"]}
    return texts, {one["name"]: one for one in scope["metrics"]}


def test_opentelemetry_histograms_hold_every_request(judged: Judgement) -> None:
    """A point a level, of as many requests as succeeded, whose mean is ours; with the conventions' attributes."""
    texts, metrics = otlp(judged)
    assert texts["service.name"] == "benchsuite"
    assert texts["benchsuite.run_id"] == judged.run_id
    for key, stat in (("ttft_s", "ttft_mean_s"), ("e2e_s", "e2e_mean_s")):
        points = metrics[METRICS[key].otel]["histogram"]["dataPoints"]
        assert metrics[METRICS[key].otel]["unit"] == "s"
        for point, level in zip(points, judged.judged, strict=True):
            assert int(point["count"]) == level.point.n_ok == sum(map(int, point["bucketCounts"]))
            assert len(point["bucketCounts"]) == len(point["explicitBounds"]) + 1
            assert point["sum"] / level.point.n_ok == pytest.approx(BY_COLUMN[stat].of(level))
            attributes = {one["key"]: one["value"] for one in point["attributes"]}
            assert attributes["benchsuite.concurrency"] == {"intValue": f"{level.point.level.number:g}"}
            assert attributes["gen_ai.operation.name"] == {"stringValue": "chat"}
            assert {"gen_ai.provider.name", "gen_ai.request.model"} <= set(attributes)
            assert int(point["startTimeUnixNano"]) <= int(point["timeUnixNano"])


def test_opentelemetry_has_the_names_of_the_conventions(judged: Judgement) -> None:
    """What has a name there has it, by the table of metrics; all figures are gauges of ours; tokens are a sum."""
    _, metrics = otlp(judged)
    theirs = {name for name in metrics if name.startswith("gen_ai.")}
    assert theirs == {m.otel for m in METRICS.values() if m.otel} - {METRICS["reasoning_tokens"].otel}
    tokens = metrics["gen_ai.client.inference.usage.output_tokens"]["sum"]
    assert tokens["isMonotonic"]
    assert [int(point["asInt"]) for point in tokens["dataPoints"]] == [j.point.output_tokens for j in judged.judged]
    gauges = {
        name.removeprefix("benchsuite."): one["gauge"]["dataPoints"] for name, one in metrics.items() if "gauge" in one
    }
    assert sum(map(len, gauges.values())) == len(known(judged))


def test_no_key_leaves(judged: Judgement, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a model's name holds is in no export."""
    import dataclasses

    monkeypatch.setattr("benchsuite.redact._keys", [])
    remember_key("sk-0123456789abcdef")
    named = dataclasses.replace(judged, model="m-sk-0123456789abcdef")
    assert "sk-0123456789abcdef" not in as_otlp([named]) + as_prometheus([named])


class Client:
    """MLflow's client, as far as it is used, which keeps what it is told."""

    def __init__(self, tracking_uri: str) -> None:
        self.told.append(("uri", tracking_uri))

    told: list[tuple[str, Any]] = []  # noqa: RUF012

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str, artifacts: str) -> str:
        return "1"

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        self.told.append(("name", run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r"))

    def log_batch(self, run: str, metrics: list[Any], params: list[Any]) -> None:
        assert len(metrics) <= 1000
        self.told += [("metric", one) for one in metrics] + [("param", one) for one in params]

    def set_terminated(self, run: str) -> None:
        self.told.append(("end", run))


def test_mlflow_gets_every_figure_by_level(judged: Judgement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a local database, figures with the concurrency as their step, what it was as parameters."""
    entities = types.SimpleNamespace(Metric=lambda *words: words, Param=lambda *words: words, __file__="x")
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(MlflowClient=Client, __file__="x"))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setattr(Client, "told", [])
    log_mlflow([judged], tmp_path)
    told = Client.told
    assert told[0] == ("uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert told[1] == ("name", judged.run_id)
    assert told[-1] == ("end", "r")
    figures = {(one[0], float(one[3])): one[1] for kind, one in told if kind == "metric"}
    assert figures == known(judged)
    assert ("slo", str(judged.slo)) in [one for kind, one in told if kind == "param"]


def test_wandb_is_offline_and_knows_nothing_of_the_machine(
    judged: Judgement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step a level, offline whatever the environment says, without code, host or packages."""
    steps: list[dict[str, float]] = []
    given: dict[str, Any] = {}

    class Run:
        def __enter__(self) -> Run:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def define_metric(self, *_: str, **__: str) -> None:
            pass

        def log(self, values: dict[str, float]) -> None:
            steps.append(values)

    def init(**words: Any) -> Run:
        given.update(words)
        return Run()

    fake = types.SimpleNamespace(Settings=lambda **words: words, init=init, __file__="x")
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log_wandb([judged], tmp_path)
    assert given["settings"]["mode"] == "offline"
    assert given["settings"]["x_disable_meta"]
    assert given["settings"]["host"] == "-"
    assert given["dir"] == str(tmp_path)
    assert {(key, step["concurrency"]): value for step in steps for key, value in step.items()} == known(judged)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_library_that_is_missing_is_named(
    name: str, stored: Path, tmp_path: Path, cli: Any, monkeypatch: Any
) -> None:
    """Exit 2 with the command that installs it."""
    monkeypatch.setitem(sys.modules, name, None)
    ended = cli("report", stored / "telemetry", f"--format {name} --output", tmp_path / "x")
    assert (ended.code, ended.error.where) == (2, f"--format {name}")
    assert f"benchsuite[{name}]" in ended.error.hint
