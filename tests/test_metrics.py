"""The table of metrics: an entry is all that a metric needs to be in every output, in the grammar and in the gate."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from factory import rate_folder, run_folder
from scored_runs import scored_folder

from benchsuite.errors import InputError
from benchsuite.metrics import BY_COLUMN, COLUMNS, METRICS, STATISTICS, find
from benchsuite.records import unit_of
from benchsuite.report.comparison import parse_regressions
from benchsuite.report.export import as_csv, summary_json
from benchsuite.report.format import cell, head, interval_cell
from benchsuite.report.gate import gate
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.slo import parse_slo
from benchsuite.store.run_folder import read_run

GOODPUT = "ttft<80ms,tpot<20ms"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    """A run with everything that can be measured: several runs a level, GPUs, a price, per-request limits, scores."""
    path = scored_folder(
        tmp_path_factory.mktemp("metrics") / "run",
        lambda prompt_id, *_: float(prompt_id in ("p1", "p2", "p3")),
        levels=(2, 4), repeats=3, noise=0.05, gpu=True, usd_per_hour=3.6, slo="attainment>=50%,goodput>1",
        spec={"goodput": GOODPUT}, row=lambda row: row._replace(reasoning_tokens=3),
    )  # fmt: skip
    return judge_run(read_run(path))


@pytest.fixture(scope="module")
def judged_rates(tmp_path_factory: pytest.TempPathFactory) -> Judgement:
    """The same of an open loop, beside a closed one."""
    path = rate_folder(
        tmp_path_factory.mktemp("metrics") / "rates", rates=(2.0, 4.0), repeats=3, gpu=True,
        slo="attainment>=50%", spec={"goodput": GOODPUT}, row=lambda row: row._replace(reasoning_tokens=3),
    )  # fmt: skip
    closed = run_folder(path.parent / "closed", levels=(2, 4), gpu=True)
    return judge_run(read_run(path), capacity=read_run(closed))


@pytest.mark.parametrize("column", BY_COLUMN)
def test_every_metric_is_in_every_output(judged: Judgement, judged_rates: Judgement, column: str):
    """Table, CSV, JSON, documentation: one entry brings it into all of them, with the same value."""
    judged = judged_rates if BY_COLUMN[column].metric.of_kind == "rate" else judged
    one, level = BY_COLUMN[column], judged.judged[0]
    value = one.of(level)
    assert value is not None, "this run knows every metric"
    assert head(column)
    assert cell(level, column)
    assert interval_cell(level, column)
    assert COLUMNS[column]
    assert unit_of(column) or one.metric.unit in ("", "ratio")

    (row, _) = csv.DictReader(io.StringIO(as_csv([judged])))
    assert float(row[column]) == pytest.approx(float(value))
    point = summary_json(judged)["points"][0]
    shown = point.get(one.metric.key, (point["energy"] or {}) | (point["gpu"] or {}))
    assert shown[one.stat] == pytest.approx(value) if one.stat else shown is not None


@pytest.mark.parametrize("one", [s for s in STATISTICS if s.metric.limitable], ids=lambda one: one.name)
def test_every_metric_is_a_limit(judged: Judgement, one: Any):
    """A limit that the level keeps is met and one that it does not keep is missed, by its name in the SLO."""
    level = judged.judged[0].point
    value, less = one.of_point(level), one.metric.better == "less"
    unit = "s" if one.metric.unit == "s" else ""
    easy, hard = (value * 2 + 1e-3, value / 2) if less else (value / 2, value * 2)
    if one.metric.unit == "ratio":
        easy, hard = min(easy, 1.0), min(hard, 1.0)
    op = "<=" if less else ">="
    kept, broken = (parse_slo(f"{one.name}{op}{limit!r}{unit}").limits[0] for limit in (easy, hard))
    assert kept.statistic == broken.statistic == one
    assert kept.holds(kept.statistic.of_point(level))
    assert broken.holds(value) is (value == broken.value or value == 0)


@pytest.mark.parametrize("one", [s for s in STATISTICS if s.metric.comparable], ids=lambda one: one.name)
def test_every_metric_is_in_the_gate(judged: Judgement, one: Any):
    """A run is no worse than itself in any figure; a share has no ratio, and its limit is named."""
    if one.metric.share:
        with pytest.raises(InputError) as refused:
            parse_regressions(one.name)
        assert "--slo" in refused.value.hint
        return
    (regression,) = parse_regressions(one.name)
    result = gate(judged, judged, regressions=[regression], allowed=["client"])
    found = [criterion for criterion in result.criteria if criterion.kind == "regression"]
    assert [criterion.name for criterion in found] == [one.column] * 2
    assert all(criterion.verdict == "pass" for criterion in found)


def test_names_lead_to_one_metric():
    """No word or alias of one metric is that of another, and every column is found by its own name."""
    words = [word for m in METRICS.values() for word in {m.key, m.word, *m.aliases} if word is not None]
    assert len(words) == len(set(words))
    assert all(find(one.column) == one for one in STATISTICS)


def test_goodput_on_the_command_line(stored: Path, in_stored: Path, cli: CommandLine):
    """decide, report, gate and check take --goodput; vLLM's spelling is in milliseconds."""
    slo, each = "--slo attainment>=0.95,goodput>1", ("--goodput", "ttft:1000 tpot:50")
    assert cli("report repeated --format json", each).data["points"][0]["attainment"] == 1.0
    assert cli("decide repeated", slo, each).code == 0
    assert cli("gate repeated", slo, each).code == 0
    assert "attainment" in cli("report repeated --format md", each).out
    assert cli("check repeated", slo, each).code == 0
