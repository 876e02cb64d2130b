"""Energy from a run folder to the terminal, summary.json and the price: 100 s at 300 W, 80 s at 400 W, idle at 80 W."""

from __future__ import annotations

import dataclasses
import io
import json
from array import array
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from rich.console import Console

from benchsuite.cli.check import command as check
from benchsuite.cli.decide import command as decide
from benchsuite.errors import PointsError, PriceError, SpecError
from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ServerSample
from benchsuite.report.judge import judge_run
from benchsuite.report.terminal import final_table
from benchsuite.spec_reading import parse_spec
from benchsuite.store.files import GPU, SERVER
from benchsuite.store.journal import Journal
from benchsuite.store.run_folder import RunFolder, read_run

# level -> first send, seconds, watts
LEVELS = {8: (100.0, 100.0, 300.0), 16: (300.0, 80.0, 400.0)}
OWNED = {"purchase_price": 8760.0, "years": 1, "maintenance_ratio": 0.0, "pue": 1.5}


def watts_at(at_s: float) -> float:
    return next((watts for start_s, long_s, watts in LEVELS.values() if start_s <= at_s <= start_s + long_s), 80.0)


def gpu_samples(**fields: Any) -> list[GpuSample]:
    """1 Hz, with the energy counter of the power's steps; memory that vLLM took at start."""
    joules, found = 5e6, []
    for k in range(400):
        at_s = float(k)
        watts = watts_at(at_s)
        found.append(
            GpuSample(
                at_s,
                1e9 + at_s,
                "nvml",
                "GPU-a",
                util_ratio=0.97 if watts > 80 else 0.0,
                power_w=watts,
                energy_j=joules,
                memory_used_bytes=74,
                memory_total_bytes=80,
                **fields,
            )
        )
        joules += watts if watts_at(at_s + 0.5) == watts else 80.0
    return found


def make(folder: Path, *, price: dict[str, Any], samples: list[GpuSample] | None, **telemetry: Any) -> Path:
    """Two levels, 10 requests of 100 tokens each, and a server whose KV cache is at 40 %."""
    run = RunFolder(folder)
    points = []
    for level, (start_s, long_s, _) in LEVELS.items():
        point_id = f"c{level:04d}-r0"
        journal = Journal(run.journal_path(point_id, 0))
        for i in range(10):
            journal.append(_row(point_id, level, i, start_s, long_s))
        journal.close()
        run.finish_point(point_id)
        points.append({"point_id": point_id, "concurrency": level, "status": "complete",
                       "started_s": start_s - 0.01, "ended_s": start_s + long_s + 0.01})  # fmt: skip
    if samples is not None:
        log = run.sample_log(GPU)
        log.append(samples)
        log.close()
    log = run.sample_log(SERVER)
    log.append([ServerSample(float(k), 1e9 + k, "http://a", waiting=0.0, kv_cache_ratio=0.4) for k in range(400)])
    log.close()
    run.finish()
    spec = {"server": {"base_url": "http://127.0.0.1:1", "model": "m"}, "price": price, "slo": "ttft_mean<60s"}
    facts = {"source": "nvml", "devices": [{"uuid": "GPU-a", "mig": False}], "used": ["GPU-a"]}
    idle = {"started_s": 10.0, "ended_s": 70.0}
    run.write_manifest(
        {
            "schema": SCHEMA_VERSION, "run_id": "r", "status": "complete", "model": "m", "points": points,
            "spec": spec | ({"telemetry": telemetry} if telemetry else {}), "server_probe": {"profile": "vllm"},
            "telemetry": {"gpu": facts if samples else None, "server": None, "idle": idle, "problems": []},
        }
    )  # fmt: skip
    return folder


def _row(point_id: str, level: int, i: int, start_s: float, long_s: float) -> RequestRecord:
    sent_s = start_s + i * long_s / 10
    closed_s = sent_s + long_s / 10
    times = dict.fromkeys(("scheduled_s", "sent_s", "headers_s"), sent_s)
    times |= dict.fromkeys(("first_token_s", "first_answer_s"), sent_s + 1)
    times |= dict.fromkeys(("last_token_s", "closed_s"), closed_s)
    counts = {"repeat": 0, "worker": 0, "n_empty_chunks": 0, "merged_reads": 0, "stale_retries": 0, "attempt": 0}
    counts |= dict.fromkeys(("output_tokens", "n_chunks", "n_reads"), 100) | {"input_tokens": 300, "http_status": 200}
    texts = {"token_source": "usage", "stamp_source": "kernel", "finish_reason": "stop", "status": "ok", "run_id": "r"}
    own = {"point_id": point_id, "concurrency": level, "request_id": f"q{i}", "prompt_id": f"p{i}"}
    known: dict[str, Any] = times | counts | texts | own
    known |= {"chunk_gap_us": array("i", [1000] * 99), "connection_reused": True}
    return RequestRecord(**{name: known.get(name) for name in RequestRecord._fields})


def test_energy_reaches_the_judgement_and_summary_json(tmp_path):
    """30 kJ and 32 kJ over 1000 tokens; 22 and 25.6 kJ above idle; 97 % utilisation at 8 users is no warning."""
    run = make(tmp_path / "r", samples=gpu_samples(), price={"usd_per_hour": 3.6, "usd_per_kwh": 0.18, "pue": 1.2})
    judgement = judge_run(read_run(run))
    eight, sixteen = judgement.judged

    assert eight.energy.gross_j == pytest.approx(30_000, rel=0.01)
    assert eight.energy.net_j == pytest.approx(22_000, rel=0.01)
    assert sixteen.energy.j_per_output_token == pytest.approx(32, rel=0.01)
    assert eight.energy.electricity_usd == pytest.approx(30_000 * 1.2 / 3.6e6 * 0.18, rel=0.01)
    assert eight.gpu.util_ratio.mean == pytest.approx(0.97, rel=0.01)
    assert [warn.code for j in judgement.judged for warn in j.point.warnings if "gpu" in warn.code] == []
    # a rented hour is never topped up with electricity
    assert eight.cost.cost_usd == pytest.approx(0.1)

    plain = json.loads(json.dumps(judgement.summary(), allow_nan=False))["points"][0]
    assert plain["energy"]["gross_j"] == eight.energy.gross_j
    assert (plain["energy"]["gco2_g"], plain["gpu"]["uuids"]) == (None, ["GPU-a"])
    assert plain["usd_per_hour_total"] == 3.6


def test_what_a_paid_api_answered_took_no_energy_here(tmp_path):
    """4 of 10 requests went to the fallback: 30 kJ are over the 600 tokens and 6 requests of the own server."""
    run = make(tmp_path / "r", samples=gpu_samples(), price={})
    rows = read_run(run).table
    where = [{"base_url": "http://a", "role": "own"}, {"base_url": "http://api", "role": "fallback"}]
    names = ["http://api" if int(q[1:]) < 4 else "http://a" for q in rows["request_id"].to_pylist()]
    told = rows.set_column(rows.column_names.index("endpoint"), "endpoint", pa.array(names))
    found = read_run(run)
    found = dataclasses.replace(found, table=told, manifest=found.manifest.replaced(endpoints=where))
    eight = judge_run(found).judged[0]

    assert eight.energy.j_per_output_token == pytest.approx(50, rel=0.01)
    assert eight.energy.j_per_request == pytest.approx(5000, rel=0.01)
    assert eight.point.output_tokens == 1000


def test_nothing_measured_is_null(tmp_path):
    """A run without telemetry: no energy, no column, no zero."""
    judgement = judge_run(read_run(make(tmp_path / "r", samples=None, price={})))
    plain = judgement.summary()["points"][0]
    assert (plain["energy"], plain["gpu"]) == (None, None)
    assert "J/out" not in printed(judgement, 140)
    assert "energy" not in printed(judgement, 140)


def printed(judgement: Any, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    final_table(judgement.judged, judgement.decision, judgement.slo, console=console)
    return console.file.getvalue()


def test_the_terminal_says_that_it_is_the_gpus_alone(tmp_path):
    """Columns where there is room, a line at any width."""
    judgement = judge_run(read_run(make(tmp_path / "r", samples=gpu_samples(), price={"usd_per_hour": 3.6})))
    wide, narrow = printed(judgement, 140), printed(judgement, 80)
    assert "J/out" in wide
    assert "J/out" not in narrow
    assert all(len(line) <= 80 for line in narrow.splitlines())
    assert all("of the GPUs alone: the host" in " ".join(text.split()) for text in (wide, narrow))
    assert "8: 300 W, 30.0 J; 16: 400 W, 32.0 J" in " ".join(narrow.split())
    assert "8: 300 W" not in wide


def test_throttling_and_strangers_are_warned_of(tmp_path):
    """A power cap all along, and another process: in the level's warnings."""
    samples = gpu_samples(throttle_reasons=4, foreign_processes=1)
    judgement = judge_run(read_run(make(tmp_path / "r", samples=samples, price={})))
    codes = {warn.code for warn in judgement.judged[0].point.warnings}
    assert {"gpu_throttled", "gpu_shared"} <= codes


def test_owned_gpus_are_priced_at_the_power_they_drew(tmp_path):
    """$1 an hour and 0.3 (0.4) kW x 1.5 x $0.20: $1.09 and $1.12 an hour."""
    price = {"owned": OWNED, "usd_per_kwh": 0.2}
    judgement = judge_run(read_run(make(tmp_path / "r", samples=gpu_samples(), price=price)))
    eight, sixteen = judgement.judged

    assert eight.cost.usd_per_hour == pytest.approx(1.09, abs=2e-3)
    assert sixteen.cost.usd_per_hour == pytest.approx(1.12, abs=2e-3)
    assert sixteen.cost.cost_usd == pytest.approx(1.12 * 80 / 3600, rel=2e-3)
    assert judgement.usd_per_hour == sixteen.cost.usd_per_hour  # of the optimum
    assert judgement.hourly == {8: eight.cost.usd_per_hour, 16: sixteen.cost.usd_per_hour}


def test_owned_gpus_without_power_have_no_price(tmp_path):
    """Said, with the remedy; the constant that the user gives then counts."""
    price = {"owned": OWNED, "usd_per_kwh": 0.2}
    judgement = judge_run(read_run(make(tmp_path / "r", samples=None, price=price)))
    assert (judgement.usd_per_hour, judgement.judged[0].cost.cost_usd) == (None, None)
    assert "owned_power_unknown" in {warn.code for warn in judgement.judged[0].point.warnings}

    given = judge_run(read_run(make(tmp_path / "s", samples=None, price=price, constant_kw=0.3)))
    assert given.judged[0].cost.usd_per_hour == pytest.approx(1.09)
    assert given.judged[0].energy.method == "constant"


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ({"owned": OWNED}, "owned GPUs need the price of electricity"),
        ({"owned": OWNED, "usd_per_kwh": 1, "usd_per_hour": 2}, "one of them"),
        ({"owned": OWNED | {"electricity_per_kwh": 1}, "usd_per_kwh": 1}, "not both"),
        ({"pue": 0.9}, "greater than or equal to 1"),
    ],
)
def test_prices_that_contradict_themselves(price, said):
    """Refused before anything is measured."""
    with pytest.raises(SpecError, match=said):
        parse_spec({"server": {"base_url": "http://a:1"}, "price": price}, where="t")


def test_check_energy(tmp_path):
    """Both tables with the prices of the flags; plain data with --json; nothing known is said."""
    run = make(tmp_path / "r", samples=gpu_samples(), price={"usd_per_hour": 3.6})
    flags = ["--energy", "--usd-per-kwh", "0.2", "--pue", "1.5", "--gco2-per-kwh", "400"]
    text = " ".join(CliRunner().invoke(check, [str(run), *flags], standalone_mode=False).stdout.split())
    assert "m: energy per run of the set" in text
    assert "of the GPUs alone: the host, its fans" in text
    assert "PUE 1.5" in text
    assert "GPU use" in text
    assert "utilisation is 95% or more from 8 users on: that is expected" in text

    plain = json.loads(CliRunner().invoke(check, [str(run), *flags, "--json"], standalone_mode=False).stdout)
    (row, _) = plain["energy"]
    assert (row["model"], row["concurrency"]) == ("m", 8)
    assert row["energy"]["gco2_g"] == pytest.approx(30_000 * 1.5 / 3.6e6 * 400, rel=0.01)
    table = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
    with pytest.raises(PointsError, match="a table of points has no telemetry"):
        CliRunner().invoke(check, ["--points", str(table), "--energy"], standalone_mode=False, catch_exceptions=False)
    bare = make(tmp_path / "s", samples=None, price={})
    assert "energy is not known" in CliRunner().invoke(check, [str(bare), "--energy"], standalone_mode=False).stdout


def test_tables_without_a_figure_are_left_out(tmp_path):
    """A GPU that was lost before the first level leaves no energy, so no table of what it costs: no bare column."""
    lost = [GpuSample(float(k), 1e9 + k, "nvml", "GPU-a", error="GPU is lost") for k in range(90, 400)]
    run = make(tmp_path / "r", samples=[*gpu_samples()[:90], *lost], price={})
    lines = CliRunner().invoke(check, [str(run), "--energy"], standalone_mode=False).stdout.splitlines()
    energy = lines[lines.index("m: energy per run of the set") :]
    assert [line.split()[1] for line in energy if line.startswith("users")] == ["s"]
    assert any(line.startswith("gpu_lost at 8") for line in energy)


def test_decide_with_another_price_of_electricity(tmp_path):
    """--usd-per-kwh counts for owned GPUs, over what the run said; --usd-per-hour replaces them."""
    run = make(tmp_path / "r", samples=gpu_samples(), price={"owned": OWNED | {"electricity_per_kwh": 0.2}})

    def cost(*flags: str) -> float:
        return json.loads(CliRunner().invoke(decide, [str(run), "--json", *flags], standalone_mode=False).stdout)[0][
            "cost_usd"
        ]

    assert cost() == pytest.approx(1.12 * 80 / 3600, rel=2e-3)
    assert cost("--usd-per-kwh", "0.4") == pytest.approx(1.24 * 80 / 3600, rel=2e-3)
    assert cost("--pue", "1") == pytest.approx(1.08 * 80 / 3600, rel=2e-3)
    assert cost("--usd-per-hour", "3.6") == pytest.approx(0.08)


def test_terms_of_owned_gpus_are_checked_with_them(tmp_path):
    """Salvage in a mode that leaves it out."""
    price = {"owned": OWNED | {"salvage": 100, "mode": "eq5", "power_kw": 0.4}, "usd_per_kwh": 0.2}
    with pytest.raises(PriceError, match="leaves salvage out"):
        judge_run(read_run(make(tmp_path / "r", samples=None, price=price)))
