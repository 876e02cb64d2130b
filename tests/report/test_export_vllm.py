"""vLLM's result files: its own figures from its own lists, and there and back again without loss."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from factory import rate_folder

from benchsuite.analysis.summary import summarise_points
from benchsuite.errors import PointsError
from benchsuite.importers.vllm_bench import parse
from benchsuite.report.export import vllm_files, vllm_result
from benchsuite.store.files import SCHEMA
from benchsuite.store.run_folder import Run, read_run

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "tests" / "fixtures" / "demo"
THEIRS = ROOT / "tests" / "data" / "importers" / "vllm_bench_0.32.json"
BLANK = {
    "status": "ok", "error": None, "http_status": None, "text": None, "input_tokens": 5, "scheduled_s": 0.0,
    "chunk_gap_us": [],
}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@pytest.fixture(scope="module")
def demo() -> Run:
    return read_run(DEMO)


def test_vllms_own_figures_from_its_own_lists():
    """A real file of vllm bench, imported and written again: its printed means."""
    theirs = json.loads(THEIRS.read_text("utf-8"))
    (point,) = parse(THEIRS.read_text("utf-8"), where="x")
    rows = [BLANK | one.model_dump() | {"scheduled_s": one.sent_s, "text": None} for one in point.requests]

    ours = vllm_result(table(rows), theirs["duration"])

    # gaps: whole us; one response of 32 tokens came in 21 chunks, and its first chunk's tokens are left out of TPOT
    for key, digits in (("mean_ttft_ms", 1e-9), ("mean_tpot_ms", 2e-3), ("mean_itl_ms", 1e-4)):
        assert ours[key] == pytest.approx(theirs[key], rel=digits)
    for key in ("completed", "failed", "total_input_tokens", "total_output_tokens", "input_lens", "output_lens"):
        assert ours[key] == theirs[key]
    for key in ("ttfts", "latencies", "start_times"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-9)


def test_tpot_where_chunks_hold_several_tokens():
    """Four tokens every 120 ms, answers of eight: 30 ms a token, where 7 tokens in 120 ms would be 17.1."""
    times = {"sent_s": 0.0, "first_token_s": 0.1, "last_token_s": 0.22}
    rows = [BLANK | times | {"chunk_gap_us": [120_000], "output_tokens": 8}]
    assert vllm_result(table(rows), 1.0)["mean_tpot_ms"] == pytest.approx(30.0)


@pytest.mark.parametrize("odd", [{"sent_s": -1e14}, {"first_token_s": -1e14}, {"last_token_s": 9e14}, {"sent_s": 9e14}])
def test_rows_of_impossible_times_take_no_memory(odd):
    """A table of the seconds of a run that would last longer than the earth: its peaks are of what is possible."""
    times = {"sent_s": 0.0, "first_token_s": 0.1, "last_token_s": 0.2, "output_tokens": 2, "chunk_gap_us": [100_000]}
    rows = [BLANK | times, BLANK | times | odd]
    tracemalloc.start()
    try:
        vllm_result(table(rows), 1.0)
        assert tracemalloc.get_traced_memory()[1] < 1e9
    finally:
        tracemalloc.stop()


def test_vllms_keys():
    """A run of two requests by hand: names, units, interpolated percentiles, peaks by the second."""
    times = (
        {"sent_s": 0.0, "first_token_s": 0.1, "last_token_s": 0.3},
        {"sent_s": 0.5, "first_token_s": 0.8, "last_token_s": 1.6},
    )
    gaps = ([100_000, 100_000], [400_000, 400_000])
    rows = [BLANK | time | {"chunk_gap_us": gap, "output_tokens": 3} for time, gap in zip(times, gaps, strict=True)]

    found = vllm_result(table(rows), 2.0)

    assert found["ttfts"] == pytest.approx([0.1, 0.3])
    assert [found[key] for key in ("mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms")] == pytest.approx([200, 200, 298])
    assert [found[key] for key in ("mean_tpot_ms", "std_tpot_ms", "p50_tpot_ms")] == pytest.approx([250, 150, 250])
    assert [found["mean_itl_ms"], found["mean_e2el_ms"]] == pytest.approx([250, 700])
    assert [found["output_throughput"], found["total_token_throughput"]] == [3.0, 8.0]
    assert [found["request_throughput"], found["max_output_tokens_per_s"]] == [1.0, 4.0]
    assert found["max_concurrent_requests"] == 2
    assert found["request_goodput"] is None


def test_failed_requests_are_as_vllm_has_them():
    """An error, no tokens and no latency; the first token of a broken stream stays; no figure is made of none."""
    none = BLANK | {"first_token_s": None, "last_token_s": None}
    rows = [
        none | {"status": "timeout", "sent_s": 1.0, "output_tokens": None},
        none | {"status": "stream_error", "sent_s": 1.0, "first_token_s": 1.5, "last_token_s": 1.5, "output_tokens": 1},
        none | {"status": "ok", "sent_s": 2.0, "output_tokens": 0},
    ]

    found = vllm_result(table(rows), 2.0)

    assert [found["completed"], found["failed"]] == [0, 3]
    assert [found["ttfts"], found["latencies"], found["output_lens"]] == [[0.0, 0.5, 0.0], [0.0] * 3, [0] * 3]
    assert found["errors"][0].startswith("benchsuite: the request ended as timeout")
    assert "Never received a valid chunk" in found["errors"][2]
    assert [found["mean_ttft_ms"], found["p99_itl_ms"]] == [None, None]


def test_there_and_back_again(cli, demo: Run, tmp_path: Path):
    """report --format vllm, then import vllm-bench: every latency, token and chunk of the demo run is the same."""
    assert cli("report", DEMO, "--format vllm --output", tmp_path / "v").out == f"{tmp_path / 'v'}\n"
    files = sorted((tmp_path / "v").glob("*.json"))
    ended = cli(
        "import vllm-bench", *files, "--output", tmp_path / "back", "--quiet --slo output_throughput_per_user>1"
    )
    assert ended.code == 0, ended

    ours = summarise_points(demo.whole, model="m")
    back = summarise_points(read_run(tmp_path / "back").whole, model="m")

    assert [point.level.number for point in back] == [1, 4, 8, 16, 32, 64]
    for mine, theirs in zip(ours, back, strict=True):
        for name in ("ttft_s", "tpot_s", "e2e_s", "itl_s"):
            assert dataclasses.astuple(theirs.distributions[name]) == pytest.approx(
                dataclasses.astuple(mine.distributions[name]), rel=1e-6, abs=1e-9
            )
        for name in ("n_ok", "n_failed", "input_tokens", "output_tokens", "repeat_count"):
            assert getattr(theirs, name) == getattr(mine, name)
        # what their file cannot hold: the time from the last token to the close of the response
        assert theirs.duration_s == pytest.approx(mine.duration_s, rel=0.01)
        assert theirs.ratios["decode_tok_s"] == pytest.approx(mine.ratios["decode_tok_s"], rel=1e-6)


def test_files_name_their_point_and_their_run(demo: Run):
    """One file a level and repeat, with vLLM's header and where it is from."""
    found = dict(vllm_files(demo))
    head = found["c0008-r0.json"]

    assert list(found) == [f"c{n:04d}-r0.json" for n in (1, 4, 8, 16, 32, 64)]
    assert [head[key] for key in ("backend", "model_id", "request_rate", "max_concurrency", "num_prompts")] == [
        "openai-chat", "tiny-llama", "inf", 8, 96,
    ]  # fmt: skip
    assert head["date"] == "20261121-123150"
    assert head["benchsuite_run_id"] == "20261121T123150Z-tiny-llama-66e3"
    assert head["duration"] == pytest.approx(5.593353426)
    assert {len(head[key]) for key in ("ttfts", "itls", "errors", "generated_texts", "queue_times")} == {96}


def test_the_rates_of_a_file_are_of_its_requests(tmp_path):
    """Of a rate: those that were due in the window, until the last has ended; good ones are no more than completed."""
    folder = rate_folder(tmp_path / "run", repeats=3, slo="ttft_p95<1s;goodput:ttft<1s")
    for found in dict(vllm_files(read_run(folder))).values():
        good = sum(ttft_s < 1 for ttft_s in found["ttfts"])
        assert found["request_throughput"] == pytest.approx(found["completed"] / found["duration"])
        assert found["request_goodput"] == pytest.approx(good / found["duration"])


def test_a_run_without_streams_is_refused(demo: Run):
    """Without first tokens vLLM's file would call every request failed."""
    table = demo.table
    place = table.column_names.index("first_token_s")
    blind = table.set_column(place, "first_token_s", pa.nulls(table.num_rows, pa.float64()))

    with pytest.raises(PointsError, match="not streamed"):
        list(vllm_files(dataclasses.replace(demo, table=blind)))
