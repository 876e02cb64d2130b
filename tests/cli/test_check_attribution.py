"""`benchsuite check --attribution`: the two tables of a run folder, and why a cell is empty."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchsuite.cli.check import command
from benchsuite.errors import PointsError
from benchsuite.records import SCHEMA_VERSION, RequestRecord, ServerSample
from benchsuite.store.files import SERVER
from benchsuite.store.journal import Journal
from benchsuite.store.run_folder import RunFolder

TABLE4 = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
SLO = "ttft_mean<1s,throughput>20"


def make_run(folder: Path, *, sampled: bool) -> Path:
    """Levels 1 and 2, 20 requests each: 100 ms to the first of 11 tokens (queue 30, prefill 50), then 10 ms each."""
    run = RunFolder(folder)
    log = run.sample_log(SERVER) if sampled else None
    points = []
    for level in (1, 2):
        start_s, point = 100.0 * level, f"c{level}"
        journal = Journal(run.journal_path(point, 0))
        for i in range(20):
            journal.append(_row(point, level, i, start_s + i // level * 0.2))
        journal.close()
        run.finish_point(point)
        points.append({"point_id": point, "status": "complete", "concurrency": level, "started_s": start_s - 0.5,
                       "ended_s": start_s + 5.0})  # fmt: skip
        if log is not None:
            # at level 2 somebody else asked, too
            done = {"before": 20.0 * (level - 1), "after": 20.0 * level + 9 * (level - 1)}
            log.append([_sample(start_s - 0.5, done["before"], 0.0)])
            log.append([_sample(start_s + 1.0, done["before"] + 3, 0.5)])
            log.append([_sample(start_s + 5.0, done["after"], 0.0)])
    if log is not None:
        log.close()
    run.finish()
    run.write_manifest(
        {
            "schema": SCHEMA_VERSION, "run_id": "r", "status": "complete", "model": "m", "points": points,
            "spec": {"server": {"base_url": "http://h:1", "model": "m"}, "slo": SLO},
        }
    )  # fmt: skip
    return folder


def _row(point: str, level: int, i: int, sent_s: float) -> RequestRecord:
    blank = dict.fromkeys(RequestRecord._fields)
    blank |= {"run_id": "r", "point_id": point, "concurrency": level, "repeat": 0, "request_id": f"q{i}", "worker": 0}
    blank |= {"prompt_id": f"p{i}", "scheduled_s": sent_s, "sent_s": sent_s, "first_token_s": sent_s + 0.1}
    blank |= {"last_token_s": sent_s + 0.2, "closed_s": sent_s + 0.2, "chunk_gap_us": array("i", [10_000] * 10)}
    blank |= {"output_tokens": 11, "input_tokens": 5, "n_chunks": 11, "n_empty_chunks": 0, "n_reads": 11}
    blank |= {"merged_reads": 0, "connection_reused": True, "stale_retries": 0, "token_source": "usage"}
    blank |= {"stamp_source": "kernel", "finish_reason": "stop", "status": "ok", "attempt": 0, "endpoint": "http://h:1"}
    return RequestRecord(**blank)


def _sample(at_s: float, done: float, kv_ratio: float) -> ServerSample:
    return ServerSample(
        at_s, at_s, "http://h:1", running=1.0, waiting=2.0, kv_cache_ratio=kv_ratio,
        queue_sum_s=0.030 * done, queue_count=done, prefill_sum_s=0.050 * done, prefill_count=done,
        ttft_sum_s=0.090 * done, ttft_count=done, itl_sum_s=0.1 * done, itl_count=10 * done,
        prefix_cache_hits=2 * done, prefix_cache_queries=5 * done, preemptions=0.0,
    )  # fmt: skip


def check(*flags: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, flags, catch_exceptions=False, standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.return_value, done.stdout


def test_the_tables(tmp_path):
    """What is known is in milliseconds; a level with foreign requests has dashes, and the reason stands below."""
    code, said = check(str(make_run(tmp_path / "run", sampled=True)), "--attribution")
    assert code == 0
    lines = [line.split() for line in said.splitlines()]
    assert ["1", "20", "100", "0", "10.0", "30.0", "50.0", "10.0", "0"] in lines
    assert ["2", "20", "100", "0", "\u2013", "\u2013", "\u2013", "\u2013", "0"] in lines
    words = " ".join(said.split())
    assert "server queue unknown (2 users): the server counted 29 requests and we 20 in c2" in words
    assert ["1", "10.0", "10.0", "1.00", "1.00", "2.00", "2.00", "50.0", "50.0", "40.0", "0"] in lines


def test_json(tmp_path):
    """--json has both tables beside the findings, missing as null."""
    _, text = check(str(make_run(tmp_path / "run", sampled=True)), "--attribution", "--json")
    told = json.loads(text)
    assert set(told) == {"warnings", "attribution", "server_use"}
    first, second = told["attribution"]
    assert (first["model"], first["concurrency"], first["queue_s"]) == ("m", 1, pytest.approx(0.030))
    assert (second["queue_s"], second["rest_s"]) == (None, None)
    assert told["server_use"][0]["kv_cache_max_ratio"] == 0.5


def test_a_run_without_samples(tmp_path):
    """Everything but TTFT and the client's part is a dash, and one line says why."""
    _, said = check(str(make_run(tmp_path / "run", sampled=False)), "--attribution")
    assert ["1", "20", "100", "0", *"\u2013" * 4, "0"] in [line.split() for line in said.splitlines()]
    assert "server queue unknown: the server's metrics were not sampled" in said


def test_a_table_of_points():
    """A table of points has no requests to take apart: bad input."""
    with pytest.raises(PointsError) as caught:
        check("--points", str(TABLE4), "--attribution")
    assert caught.value.exit_code == 2
