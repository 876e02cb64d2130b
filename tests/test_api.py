"""Runs in a notebook: frames, the table of levels, the decision, a sweep."""

from __future__ import annotations

import asyncio
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import benchsuite
from benchsuite.errors import InputError, PointsError, PriceError, RunError
from benchsuite.records import DERIVED, TABLES, GpuSample, RequestRecord, ScoreRecord, ServerSample
from benchsuite.report.export import summary_json
from benchsuite.report.judge import judge_run
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.files import SAMPLE_SCHEMAS
from benchsuite.store.run_folder import read_run

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "tests" / "fixtures" / "demo"


@pytest.fixture(scope="module")
def run():
    """The demo's run."""
    return benchsuite.read_run(DEMO)


def test_import_is_light():
    """`import benchsuite` brings no library that takes its time, and knows its names all the same."""
    script = "import sys, json, benchsuite; print(json.dumps([sorted(sys.modules), dir(benchsuite)]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    modules, names = json.loads(done.stdout)
    assert not {"numpy", "pandas", "pyarrow", "pydantic", "asyncio", "httpx"} & set(modules)
    assert set(benchsuite.__all__) <= set(names)


def test_every_name_is_there():
    """Everything in __all__ exists and says what it is."""
    for name in benchsuite.__all__:
        assert getattr(benchsuite, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'readrun'"):
        benchsuite.readrun  # noqa: B018


@pytest.mark.parametrize(
    ("table", "record"),
    [("requests", RequestRecord), ("gpu", GpuSample), ("server", ServerSample), ("scores", ScoreRecord)],
)
def test_every_column_of_a_record_is_documented(table, record):
    """The words cover the record's columns in their order, and add those that only frames have."""
    names = list(TABLES[table])
    assert names[: len(record._fields)] == list(record._fields)
    assert all(TABLES[table].values())
    more = {"requests": list(DERIVED), "scores": []}
    assert names[len(record._fields) :] == more.get(table, ["point_id", "concurrency", "rate_per_s"])


def test_frames_have_the_documented_columns(run):
    """What `columns` lists is what the frames have."""
    for table, frame in (("requests", run.requests), ("gpu", run.gpu), ("server", run.server), ("scores", run.scores)):
        assert list(frame.columns) == list(benchsuite.columns(table).index)
    assert list(benchsuite.summarise(run).columns) == list(benchsuite.columns("levels").index)
    assert benchsuite.columns("levels").loc["ttft_p95_s_low", "unit"] == "s"
    assert "first_token_s - sent_s" in type(run).requests.__doc__
    assert "usd_per_1m_output_tokens_high" in benchsuite.summarise.__doc__


def test_requests_are_the_rows_with_their_derived_figures(run):
    """576 rows of the demo; the derived columns follow from the stored ones."""
    frame = run.requests
    assert len(frame) == 576
    assert frame["whole"].all()
    assert (frame["ttft_s"] - (frame["first_token_s"] - frame["sent_s"])).abs().max() == 0.0
    several = frame[frame["output_tokens"] >= 2]
    span = several["last_token_s"] - several["first_token_s"]
    assert (several["tpot_s"] - span / (several["output_tokens"] - 1)).abs().max() < 1e-12


def test_levels_are_those_of_summary_json(run):
    """`summarise` gives the figures that a sweep writes into summary.json."""
    points = summary_json(judge_run(read_run(DEMO)))["points"]
    levels = benchsuite.summarise(run)
    assert levels["concurrency"].tolist() == [1, 4, 8, 16, 32, 64]
    assert levels["ttft_mean_s"].tolist() == pytest.approx([point["ttft_s"]["mean"] for point in points])
    assert levels["output_tok_s"].tolist() == pytest.approx([point["output_tok_s"] for point in points])
    assert levels["within_limits"].tolist() == [True, True, True, True, False, False]
    assert levels["slo_verdict"].tolist()[4] == "undecided"  # 4 % off the limit in one run
    assert levels["misses"][4] == "output_throughput_per_user>50 undecided: 49.85 tok/s"  # of the steady window


def test_intervals_hold_their_estimate(run):
    """Where there is an interval it holds the figure that it is about."""
    levels = benchsuite.summarise(run)
    for figure, low in (("ttft_p95_s", "ttft_p95_s"), ("ttft_mean_s_steady", "ttft_mean_s")):
        known = levels[levels[f"{low}_low"].notna() & levels[f"{low}_high"].notna()]
        assert len(known) >= 3
        assert (known[f"{low}_low"] <= known[figure]).all()
        assert (known[figure] <= known[f"{low}_high"]).all()


def test_the_optimum_follows_slo_and_price(run):
    """The demo's own optimum; another SLO moves it, another price changes only the cost; a path will do for a run."""
    own = benchsuite.find_optimum(run)
    assert (own.kind, own.choice.point.level.users) == ("optimum", 16)
    assert benchsuite.find_optimum(str(DEMO), slo="output_throughput_per_user>200").choice.point.level.users == 4
    dearer = benchsuite.find_optimum(run, usd_per_hour=1.0, gpus=3)
    assert dearer.choice.cost.cost_usd == pytest.approx(30 * own.choice.cost.cost_usd)
    assert benchsuite.find_optimum(run, preset="h100-low").choice.cost.usd_per_hour == 1.99
    assert benchsuite.find_optimum(run, slo="ttft_mean<1us").kind == "none"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: benchsuite.read_run(ROOT / "docs"), PointsError),
        (lambda: benchsuite.columns("request"), InputError),
        (lambda: benchsuite.find_optimum(DEMO, gpus=0), PriceError),
        (lambda: benchsuite.find_optimum(DEMO, usd_per_hour=-1), PriceError),
        (lambda: benchsuite.find_optimum(DEMO, usd_per_hour=1, preset="h100-low"), PriceError),
    ],
)
def test_mistakes_are_errors_of_the_tree(call, error):
    """What makes no sense is refused as the command line refuses it."""
    with pytest.raises(error):
        call()


def test_samples_name_the_point_that_was_measured(tmp_path):
    """A reading inside a point's window has its level; one between points has none."""
    folder = tmp_path / "run"
    shutil.copytree(DEMO, folder)
    points = json.loads((folder / "manifest.json").read_text())["points"]
    inside, before = points[2]["started_s"] + 0.1, points[2]["started_s"] - 0.001
    assert points[1]["ended_s"] < before
    rows = [
        GpuSample(before, 0.0, "nvml", "GPU-1", power_w=70.0),
        GpuSample(inside, 0.1, "nvml", "GPU-1", power_w=300.0),
    ]
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=SAMPLE_SCHEMAS["gpu"])
    pq.write_table(table, folder / "gpu.parquet")
    frame = benchsuite.read_run(folder).gpu
    assert frame["point_id"].isna().tolist() == [True, False]
    level = points[2]["concurrency"]
    assert frame[frame["concurrency"] == level]["power_w"].tolist() == [300.0]


SCRIPT = """
import asyncio, os, benchsuite

def measure(output, workload):
    return benchsuite.sweep(base_url={url!r}, output=output, workload=workload, concurrency=[1, 2],
                            warmup_requests=1, warmup_min_s=0, cooldown_min_s=0, gpu="off",
                            server_metrics=False, usd_per_hour=2)

async def cell(*words):  # as in a notebook: a loop is running, and nothing guards __main__
    return measure(*words)

run = asyncio.run(cell("run", "few.jsonl"))
print(len(run.requests), benchsuite.find_optimum(run).choice.point.level.users)
os.environ["BENCHSUITE_FAULT_POINTS"] = "batch@worker-0:2:signal=2"  # Ctrl-C once the first rows are written
try:
    asyncio.run(cell("stopped", "many.jsonl"))
except KeyboardInterrupt:
    print("interrupted", benchsuite.read_run("stopped").manifest["status"])
"""


def test_sweeps_from_a_script_without_a_guard(tmp_path):
    """`sweep` measures and gives back the run where a loop runs; an interrupt ends it in order."""
    for name, requests in (("few", 6), ("many", 4000)):
        lines = [f'{{"prompt": "q {i}", "max_output_tokens": 3}}\n' for i in range(requests)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.001, itl_s=0.001))) as server:
        (tmp_path / "cell.py").write_text(SCRIPT.format(url=server.base_url))
        done = subprocess.run(
            [sys.executable, "cell.py"], cwd=tmp_path, capture_output=True, text=True, start_new_session=True
        )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("12 ")
    assert second == "interrupted stopped"


async def test_a_sweep_in_a_thread(tmp_path, simulated):
    """`sweep` need not be called in the main thread."""
    asked = {"concurrency": [1, 2], "warmup_requests": 1, "warmup_min_s": 0, "gpu": "off", "server_metrics": False}
    (tmp_path / "set.jsonl").write_text(
        '{"prompt": "q", "max_output_tokens": 3}\n{"prompt": "r", "max_output_tokens": 3}\n'
    )
    run = await asyncio.to_thread(
        benchsuite.sweep,
        base_url=simulated.base_url,
        output=tmp_path / "run",
        workload=str(tmp_path / "set.jsonl"),
        **asked,
    )
    assert len(run.requests) == 4


@pytest.mark.parametrize(
    ("flags", "error", "words"),
    [
        ({"concurency": [1]}, InputError, "concurency"),
        ({"slo": "ttft<1"}, InputError, "ttft needs a unit"),
        ({"base_url": "http://127.0.0.1:9"}, RunError, "the server cannot be reached"),
    ],
)
def test_a_sweep_that_cannot_be_is_an_error(tmp_path, flags, error, words):
    """What the command line would print is the message of the error."""
    with pytest.raises(error, match=words):
        benchsuite.sweep(**({"output": tmp_path / "x", "base_url": "http://127.0.0.1:9"} | flags))


def test_the_example_runs(monkeypatch, capsys):
    """docs/examples/notebook.py prints the table of levels and two decisions."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["notebook.py", str(DEMO)])
    runpy.run_path("docs/examples/notebook.py")
    printed = capsys.readouterr().out
    assert "concurrency" in printed
    assert "ttft_mean<1s,output_throughput_per_user>50: 16 users, $0.000150 a run" in printed
