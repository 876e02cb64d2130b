"""Repeated requests are new to the prefix cache, and hits that the set cannot have are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeps_for_tests import Watcher, spec_of

from benchsuite.analysis.summary import parse_points
from benchsuite.analysis.warnings import check_prefix_hits
from benchsuite.level import Level
from benchsuite.load.sweep import sweep
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.store.run_folder import read_run
from benchsuite.workload.dataset import Prompt, Workload, copy_numbers, make_workload, shared_prefix_ratio, take

SLO = "ttft_mean<5s"


def texts(*words: str) -> Workload:
    return make_workload("t", [Prompt(f"p{i}", None, None, text, 2) for i, text in enumerate(words)])


def long_set(n: int) -> Workload:
    """n prompts of 200 words that share nothing."""
    return texts(*(" ".join(f"w{i}x{k}" for k in range(200)) for i in range(n)))


def swept(folder: Path, requests: Workload, **more: Any) -> Judgement:
    with simulator(SimulatorConfig(prefix_cache=True)) as server:
        tables = {"server": {"endpoint": "completions", "profile": "vllm"} | more.pop("server", {})} | more
        spec = spec_of(server.base_url, [2], **tables)
        sweep(spec, requests, folder, Watcher())
    return judge_run(read_run(folder), slo=SLO)


def cached_share(judgement: Judgement) -> float:
    rows = judgement.facts.table.to_pandas()
    return float(rows["cached_tokens"].fillna(0).sum() / rows["input_tokens"].sum())


@pytest.mark.parametrize("bust", ["field", "prompt"])
def test_copies_are_new_to_the_cache(tmp_path: Path, bust: str) -> None:
    """Four prompts sent as sixteen: no token comes from the cache, and nothing is warned."""
    found = swept(tmp_path / "run", take(long_set(4), 16), workload={"cache_bust": bust})
    assert cached_share(found) == 0
    assert found.facts.manifest.workload.distinct == 4
    assert not [w for w in found.judged[0].point.warnings if w.code.startswith("prefix_hits")]


def test_reuse_that_was_asked_for_is_no_warning(tmp_path: Path) -> None:
    """--cache-bust off: three of four copies hit, as wanted."""
    found = swept(tmp_path / "run", take(long_set(4), 16), workload={"cache_bust": "off"})
    assert cached_share(found) > 0.65
    assert not [w for w in found.judged[0].point.warnings if w.code.startswith("prefix_hits")]


def test_a_server_that_ignores_the_salt_is_seen(tmp_path: Path) -> None:
    """One salt for all requests, whatever is sent: the copies hit, and what met its SLO is undecided."""
    found = swept(tmp_path / "run", take(long_set(4), 16), server={"extra_body": {"cache_salt": "x"}})
    (level,) = found.judged
    (warning,) = (w for w in level.point.warnings if w.code == "prefix_hits_unexpected")
    assert warning.values["hits"] > 0.65
    assert warning.values["expected"] == pytest.approx(96 / 200, abs=0.03)
    assert level.slo_verdict == "undecided"


def test_what_a_set_shares() -> None:
    """By characters against the best neighbour; copies share within their own round alone."""
    assert shared_prefix_ratio(texts("aaaabbbb", "aaaacccc").prompts) == 4 / 16
    assert shared_prefix_ratio(texts("aaaabbbb", "aaaacccc", "aaaabbbb").prompts) == 4 / 24
    assert shared_prefix_ratio(texts("one", "two").prompts) == pytest.approx(0)
    assert copy_numbers(texts("a", "b", "a", "a").prompts) == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("hits", "shared", "tokens", "codes"),
    [
        (0.727, 0.02, 1000, ["prefix_hits_unexpected"]),
        (0.727, 0.70, 1000, []),  # a common system prompt
        (0.327, 0.02, 196, []),  # a chat template of 64 tokens before prompts of 128
        (0.0, 0.02, 1000, []),
        (None, 0.02, 1000, ["prefix_hits_unknown"]),
        (0.727, None, 1000, []),
    ],
)
def test_hits_against_the_set(hits: float | None, shared: float | None, tokens: int, codes: list[str]) -> None:
    """By the tokens of a prompt; what is not known of the set is not judged."""
    table = f"model,concurrency,requests,time_s,input_tokens,output_tokens\nm,8,10,5,{10 * tokens},1000\n"
    found = check_prefix_hits(parse_points(table, where="t.csv"), {Level(8): hits}, shared)
    assert [warning.code for warning in found] == codes
