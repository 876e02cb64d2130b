"""Whole sweeps against servers that know their own queue and prefill: the tables say what the server knows."""

from __future__ import annotations

import dataclasses

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sweeps_for_tests import Watcher, prompts, run, spec_of

from benchsuite.analysis.time_series import ServerSeries, windows_of
from benchsuite.report.judge import judge_run, ttft_breakdown
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import Run

N = 48
SLOTS = 4
LATENCY = LatencyModel(slots=SLOTS, ttft_s=0.02, itl_s=0.004, itl_per_stream_s=0.0005)


def test_the_simulator(tmp_path):
    """Queue, prefill and network add up to TTFT; the server's TTFT is the truth; only beyond the slots is a queue."""
    view = Watcher()
    with simulator(SimulatorConfig(latency=LATENCY)) as server:
        spec = spec_of(server.base_url, [2, 8], telemetry={"gpu": "off", "server_sample_hz": 10.0})
        _, found = run(spec, prompts(N, tokens=8), tmp_path / "run", view)
        truth = {one["id"]: one for one in httpx.get(f"{server.base_url}/stats").json()["responses"]}
    below, beyond = ttft_breakdown(judge_run(found))
    for one in (below, beyond):
        assert (one.n, one.client_s, one.reasons, one.warnings) == (N, 0.0, {}, ())
        true_s = [truth[row["response_id"]]["ttft_ns"] * 1e-9 for row in found.table.to_pylist()
                  if row["concurrency"] == one.level.users]  # fmt: skip
        assert one.server_ttft_s == pytest.approx(np.mean(true_s), abs=1e-9)
        assert one.server_ttft_s == pytest.approx(one.queue_s + one.prefill_s)
        assert one.ttft_s == pytest.approx(one.network_s + one.queue_s + one.prefill_s)
        assert one.rest_s == pytest.approx(0.0, abs=1e-9)
        assert one.prefill_s >= LATENCY.ttft_s
        assert one.network_s > 0
    assert below.queue_s == 0.0
    assert beyond.queue_s > 0  # the second four wait for the first to be served
    assert below.server_itl_s >= LATENCY.itl_s  # and what a second stream adds, while there is one
    use = judge_run(found).server_use
    assert use[0].running_max <= 2
    assert use[1].running_max <= SLOTS  # samples see what there is at their time
    assert use[0].waiting_max == 0.0
    assert use[1].waiting_max <= SLOTS
    assert use[0].preemptions is None
    (facts,) = found.manifest["telemetry"]["server"]
    assert (facts["family"], facts["missing"]) == ("vllm", ["preemptions"])
    assert len(view.notes) == 1  # how long it takes
    twice = judge_run(_with_an_abandoned_attempt(found))
    assert (ttft_breakdown(twice), twice.server_use) == ([below, beyond], use)


def _with_an_abandoned_attempt(found: Run) -> Run:
    """The run with all its rows once more, a minute earlier, of attempts that were given up."""
    earlier = found.table
    for name in ("scheduled_s", "sent_s", "first_token_s", "last_token_s", "closed_s"):
        moved = pc.subtract(earlier[name], 60.0)
        earlier = earlier.set_column(earlier.schema.get_field_index(name), earlier.schema.field(name), moved)
    attempt = earlier.schema.get_field_index("attempt")
    given_up = pc.add(earlier["attempt"], 1).cast(earlier.schema.field(attempt).type)
    earlier = earlier.set_column(attempt, earlier.schema.field(attempt), given_up)
    entries = [entry | {"attempt": 1, "status": "abandoned"} for entry in found.manifest["points"]]
    manifest = found.manifest.replaced(points=[*entries, *found.manifest["points"]])
    return dataclasses.replace(found, table=pa.concat_tables([earlier, found.table]), manifest=manifest)


@pytest.mark.slow
@pytest.mark.engine
def test_the_embedded_engine(tmp_path):
    """What llama.cpp says of each request is what its metrics grew by; it tells of no queue, so that stays empty."""
    pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
    from benchsuite.serving.launch import launched
    from benchsuite.serving.launch_plan import parse_serve

    with launched(parse_serve("llamacpp --slots 2 --ctx 512")) as engine:
        spec = spec_of(engine.base_url, [2], telemetry={"gpu": "off", "server_sample_hz": 10.0})
        _, found = run(spec, prompts(24, tokens=64), tmp_path / "run")  # long enough for samples inside
    judgement = judge_run(found)
    (one,), (use,) = ttft_breakdown(judgement), judgement.server_use
    (window,) = windows_of(found.manifest, found.table)
    grown, _ = ServerSeries(found.server).growth(("prefill_sum_s", "decode_sum_s", "generated_tokens"), window, 64 * 24)
    assert grown is not None
    prefill_s, decode_s, tokens = grown
    assert tokens == 64 * 24
    assert (one.sources["prefill"], one.sources["server_itl"]) == ("each answer", "each answer")
    assert one.server_itl_s == pytest.approx(decode_s / (63 * 24), rel=1e-4)
    # its counter stops before the first token is sampled, its answer's duration after
    assert 0 < prefill_s / 24 < one.prefill_s < one.ttft_s
    assert one.rest_s == pytest.approx(one.ttft_s - one.prefill_s)
    assert (one.queue_s, one.network_s) == (None, None)
    assert one.reasons["queue"] == "the server does not report it"
    assert use.running_max <= 2
    assert use.prefix_cache_hit_ratio is not None
