"""`benchsuite import` from the outside: the folder that it leaves is a run like any other."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from benchsuite.store.run_folder import read_run
from tests.importers.files_for_tests import AIPERF, GUIDELLM, VLLM, vllm_with


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text("utf-8"))


def test_several_files_are_one_run(cli, tmp_path):
    """Levels of one run, a level's second file is its repeat; tool, file, hash and definitions are in the manifest."""
    files = []
    for i, level in enumerate((8, 4, 8)):
        files.append(tmp_path / f"c{i}.json")
        files[-1].write_text(vllm_with(max_concurrency=level), "utf-8")

    ran = cli("import vllm-bench", *files, "--usd-per-hour 2 --gpus 2 --output", tmp_path / "run")

    manifest = read_run(tmp_path / "run").manifest
    assert ran.code == 0
    assert [point["point_id"] for point in manifest["points"]] == ["c0008-r0", "c0004-r0", "c0008-r1"]
    assert manifest["points"][1]["imported"]["sha256"] == hashlib.sha256(files[1].read_bytes()).hexdigest()
    assert manifest["imported"]["tool"] == "vllm-bench"
    assert manifest["imported"]["definitions"]
    assert manifest["spec"]["load"]["repeats"] == 2
    found = summary(tmp_path / "run")
    assert [(p["concurrency"], p["repeat_count"], p["n_ok"]) for p in found["points"]] == [(4, 1, 12), (8, 2, 24)]
    assert found["usd_per_hour_total"] == 4
    assert "report.html" in {path.name for path in (tmp_path / "run").iterdir()}


def test_a_pipe_is_read_once(cli, tmp_path):
    """It has the hash of what came out of it, and nobody waits for it to be written again."""
    pipe = tmp_path / "results.json"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(VLLM.read_bytes(),), daemon=True).start()
    assert cli("import vllm-bench", pipe, "--output", tmp_path / "run").code == 0
    sha256 = read_run(tmp_path / "run").manifest["points"][0]["imported"]["sha256"]
    assert sha256 == hashlib.sha256(VLLM.read_bytes()).hexdigest()


def test_missing_is_null_in_the_rows(cli, tmp_path):
    """What vllm bench does not record is null, not 0 and not a guess."""
    cli("import vllm-bench", VLLM, "--output", tmp_path / "run")

    row = read_run(tmp_path / "run").table.to_pylist()[0]
    unknown = (
        "n_reads",
        "merged_reads",
        "n_empty_chunks",
        "worker",
        "connection_reused",
        "token_source",
        "http_status",
    )
    assert {row[name] for name in (*unknown, "headers_s", "finish_reason", "asked_output_tokens")} == {None}
    assert row["stamp_source"] == "user"


def test_decide_and_report_read_it(cli, tmp_path):
    """The verbs that read run folders read this one, with another SLO and price."""
    cli("import vllm-bench", VLLM, "--output", tmp_path / "run", "--quiet")
    (row,) = cli.data("decide", tmp_path / "run", "--usd-per-hour 1 --slo ttft_mean<1s")
    assert row["optimum_concurrency"] == 8
    assert cli("report", tmp_path / "run").code == 0


def test_guidellm_file_of_two_levels(cli, tmp_path):
    """One file, two strategies, two levels."""
    cli("import guidellm", GUIDELLM, "--output", tmp_path / "run")

    points = summary(tmp_path / "run")["points"]
    assert [(p["concurrency"], p["n_ok"], p["n_failed"]) for p in points] == [(1, 2, 0), (2, 2, 2)]
    assert points[0]["ttft_s"]["mean"] == pytest.approx(0.1, abs=1e-6)
    assert points[0]["tpot_s"]["mean"] == pytest.approx(0.1, abs=1e-6)


def test_aiperf_is_told_its_level(cli, tmp_path):
    """Its file does not tell the concurrency: the user must, and may name the model."""
    cli("import aiperf", AIPERF, "--concurrency 4 --model mine --output", tmp_path / "run")

    found = summary(tmp_path / "run")
    assert (found["model"], found["points"][0]["concurrency"]) == ("mine", 4)
    assert found["points"][0]["failures"] == {"cancelled": 1, "http_error": 1, "connect_error": 1}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (("aiperf", AIPERF), AIPERF.name),
        (("vllm-bench", VLLM, VLLM, "--concurrency 16"), VLLM.name),
        (("vllm-bench", VLLM, VLLM, "--concurrency 8,8,8"), "--concurrency"),
        (("vllm-bench", VLLM, VLLM, "--concurrency 0"), "0"),
        (("vllm-bench", VLLM, "other.json"), "other"),
        (("guidellm", "nothing.json"), "nothing.json"),
        (("guidellm", "binary"), "binary"),
        (("vllm-bench", VLLM, "--output taken"), "taken"),
    ],
)
def test_refused(cli, tmp_path, monkeypatch, words, where):
    """No level, one against the file's, too many, none; two models; no file, not text; a folder with anything in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text(vllm_with(model_id="other"), "utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine", "utf-8")

    ended = cli("import --output run", *words)

    assert ended.code == 2
    assert where in str(getattr(ended.error, "where", None) or ended.error)
    assert not (tmp_path / "run").exists()
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["notes.txt"]
