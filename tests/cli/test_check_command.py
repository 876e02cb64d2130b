"""`benchsuite check` from the outside: the paper's table, and a run folder with repeats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

import benchsuite.store.run_folder
from benchsuite.cli.check import command
from benchsuite.errors import BenchsuiteError, PointsError, PriceError, SloError
from benchsuite.records import RequestRecord

TABLE4 = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
GLM, SEED = "GLM-4-32B-0414", "Seed-OSS-36B"


def run(*flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, flags, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout


def found(*flags: str) -> dict[str, set[tuple[str, int]]]:
    """Model and level by code."""
    _, text = run("--points", str(TABLE4), "--json", *flags)
    by_code: dict[str, set[tuple[str, int]]] = {}
    for row in json.loads(text):
        assert list(row) == ["model", "concurrency", "code", "finding", "remedy"]
        assert row["finding"]
        assert row["remedy"]
        by_code.setdefault(row["code"], set()).add((row["model"], row["concurrency"]))
    return by_code


def test_what_is_wrong_in_the_papers_table():
    """The wrong throughput cells, the disturbed runs, the rising times and the optima that hang on 1 %."""
    codes = found()
    assert codes["throughput_identity"] == {(GLM, 32), (GLM, 48), (GLM, 64), (GLM, 128)}
    assert codes["disturbed_run"] == {(GLM, 16), (GLM, 32), (SEED, 32)}
    assert codes["elasticity"] == {(GLM, 48), (SEED, 48)}
    assert codes["time_rises"] == {(GLM, 16), (SEED, 32), ("Qwen3-30B", 32), ("WiNGPT-3.5", 128)}
    assert codes["fragile_optimum"] == {("medgemma-27b", 32), ("Qwen3-30B", 64), ("WiNGPT-2.7", 32)}


def test_fragile_is_a_matter_of_the_slo():
    """At 15 tok/s other levels hang on a hair: Seed-OSS's 48 users do not, GLM's 64 do not miss it by 1 %."""
    assert ("medgemma-27b", 32) not in found("--slo", "throughput>15").get("fragile_optimum", set())


def test_exit_codes(tmp_path):
    """0 whatever is found; --strict: 4 when something is, 0 when nothing is."""
    assert run("--points", str(TABLE4))[0] == 0
    assert run("--points", str(TABLE4), "--strict")[0] == 4
    clean = tmp_path / "clean.csv"
    lines = TABLE4.read_text("utf-8").splitlines()
    clean.write_text("\n".join([lines[0], *(line for line in lines if line.startswith("Mistral"))]) + "\n", "utf-8")
    code, text = run("--points", str(clean), "--strict")
    assert code == 0
    assert "Mistral-Small: nothing found" in text


def test_table_for_people():
    """Level, code, finding, and each remedy once."""
    _, text = run("--points", str(TABLE4))
    assert "GLM-4-32B-0414: 13 found" in text
    assert "disturbed below: 16, 32" in " ".join(text.split())
    assert text.count("disturbed_run: a bad run") == 1


def test_scaling_as_json():
    """Warnings and scaling side by side, with the known answers of WiNGPT-2.7."""
    _, text = run("--points", str(TABLE4), "--usd-per-hour", "1.58", "--scaling", "--json")
    both = json.loads(text)
    assert both["warnings"]
    (wingpt,) = [one for one in both["scaling"] if one["model"] == "WiNGPT-2.7"]
    assert wingpt["boundary_users"]["value"] == pytest.approx(31.5, abs=0.05)
    assert wingpt["zone"]["levels"] == [16]
    assert [round(level["elasticity"], 2) for level in wingpt["levels"][1:]] == [0.74, 0.61, 0.4, 0.31, 0.17]
    assert wingpt["limits"][0]["note"] == "every level at which it is known keeps it"


def test_scaling_for_people():
    """The sentence of the price of the SLO: 0.69 % looser saves 32 %."""
    _, text = run("--points", str(TABLE4), "--usd-per-hour", "1.58", "--scaling")
    said = " ".join(text.split())
    assert "throughput > 20 tok/s: 0.69 % looser saves 32 % (32 users)" in said
    assert "throughput > 20 tok/s holds up to 31.5 users" in said
    assert "average cost falls in 4 of 5 steps" in said
    assert "zone of best cost: 48 to 64 users" in said


def _row(**fields: Any) -> RequestRecord:
    blank = dict.fromkeys(RequestRecord._fields)
    blank |= {"run_id": "r", "point_id": "p", "request_id": "q", "prompt_id": "q", "worker": 0}
    blank |= {"scheduled_s": 0.0, "n_chunks": 2, "n_reads": 2, "merged_reads": 0, "status": "ok"}
    blank |= {"token_source": "usage", "input_tokens": 5, "output_tokens": 10, "chunk_gap_us": [200_000]}
    return RequestRecord(**(blank | fields))


def _fake_run(path: Path) -> benchsuite.store.run_folder.Run:
    """Three repeats of 12 requests of 10 tokens: 0.30, 0.32, 0.34 s alone, 0.9 s three times as many users (disturbed),
    0.5 s at 6 users.
    """
    rows = []
    for repeat, slower in enumerate((1.0, 1.02, 1.04)):
        for level, base_s in ((1, 0.3), (3, 0.9), (6, 0.5)):
            took_s = base_s * slower
            for k in range(12):
                sent_s = (k // level) * took_s
                times = {"sent_s": sent_s, "scheduled_s": sent_s, "first_token_s": sent_s + 0.1}
                times |= {"last_token_s": sent_s + took_s, "closed_s": sent_s + took_s}
                rows.append(_row(concurrency=level, repeat=repeat, **times))
    table = pa.Table.from_pylist([row._asdict() for row in rows])
    spec = {"server": {"base_url": "http://localhost:1", "model": "tiny"}, "slo": "throughput>25"}
    points = [{"point_id": "p", "status": "complete"}]
    return benchsuite.store.run_folder.Run(path, {"run_id": "r", "spec": spec, "points": points}, table)


def test_a_run_folder(monkeypatch):
    """Its own SLO; the disturbed level is named, and repeats give the boundary an interval."""
    monkeypatch.setattr(benchsuite.store.run_folder, "read_run", _fake_run)
    _, text = run("somewhere", "--scaling", "--json")
    both = json.loads(text)
    assert {(row["model"], row["concurrency"]) for row in both["warnings"] if row["code"] == "disturbed_run"} == {
        ("tiny", 3)
    }
    (scaled,) = both["scaling"]
    assert scaled["slo"] == "throughput > 25 tok/s"
    users = scaled["boundary_users"]
    assert users["n"] == 3
    assert users["low"] <= users["value"] <= users["high"]


def test_warnings_reach_the_judgement_of_a_run(monkeypatch):
    """`decide`, `sweep` and the report read them off the points, once each."""
    from benchsuite.report.judge import judge_run

    judged = judge_run(_fake_run(Path("somewhere"))).judged
    codes = [(warn.code, warn.concurrency) for one in judged for warn in one.point.warnings]
    assert codes.count(("disturbed_run", 3)) == codes.count(("elasticity", 6)) == 1


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ((), PointsError),
        (("run", "--points", str(TABLE4)), PointsError),
        (("no-such-folder",), PointsError),
        (("--points", str(TABLE4), "--slo", "speed>20"), SloError),
        (("--points", str(TABLE4), "--usd-per-hour", "-1"), PriceError),
    ],
)
def test_bad_input_exits_2(flags, error):
    """Named by its class, which carries exit code 2."""
    with pytest.raises(BenchsuiteError) as caught:
        run(*flags)
    assert isinstance(caught.value, error)
    assert caught.value.exit_code == 2
