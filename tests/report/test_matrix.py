"""The matrix's sentence, rows and table: what they say of known settings."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from benchsuite.analysis.summary import parse_points
from benchsuite.economics.decision import JudgedLevels, decide, judge_points
from benchsuite.economics.matrix_decision import JudgedSetting, decide_settings
from benchsuite.manifest import RunManifest
from benchsuite.report.matrix import headline, notes, print_matrix, rows, to_csv, to_json, to_markdown
from benchsuite.results import Estimate, PointEnergy
from benchsuite.slo import parse_slo

COST = "usd_per_1m_output_tokens"
SLO = parse_slo("ttft_mean<1s,output_throughput_per_user>20")
HEAD = "model,concurrency,requests,time_s,ttft_s,output_tokens\n"
ENERGY = PointEnergy(2, 60.0, "counter", 600.0, None, None, 10.0, 0.25, None, None, None, None, None)


def curve(name: str, gpus: int, lines: str, usd: float | None = 3.6, j: PointEnergy | None = None) -> JudgedSetting:
    points = parse_points(HEAD + lines, where="test")
    judged = [replace(one, energy=j) for one in judge_points(points, SLO, None if usd is None else usd * gpus)]
    levels = JudgedLevels(
        model="m", source="test", slo=SLO, judged=tuple(judged), decision=decide(judged), gpus=gpus,
        usd_per_hour=usd, hour_price=None if usd is None else usd * gpus,
    )  # fmt: skip
    return JudgedSetting(name, gpus, levels, values=(("tp", 2),), serve="vllm M --tp 2", run="tp-2")


TWO = curve("tp=2", 2, "m,8,100,60,0.1,20000\nm,16,100,50,0.2,12000")
ONE = curve("tp=1", 1, "m,8,100,100,0.1,20000")
BAD = curve("tp=4", 4, "m,8,100,100,0.1,8000")
DEAD = JudgedSetting("fp8", 1, problem="did not start: CUDA out of memory", status="did not start")


def test_what_is_said(snapshot):
    """The sentence of the cheapest, with and without a probability, and of none; what is said against settings."""
    settings = decide_settings([TWO, ONE])
    free = decide_settings([curve("a", 1, "m,8,100,100,0.1,20000", usd=None)])
    stopped = replace(DEAD, problem="stopped", status="stopped")
    one, bad = (replace(s, manifest=RunManifest(benchsuite=v)) for s, v in ((ONE, "1"), (BAD, "2")))
    assert {
        "cheapest": headline(settings),
        "surely": headline(replace(settings, p_cheapest={0: 0.25, 1: 0.75})),
        "none meets the SLO": headline(decide_settings([BAD])),
        "none of those measured": headline(decide_settings([BAD, DEAD])),
        "none measured": headline(decide_settings([DEAD])),
        "none so far": headline(decide_settings([BAD, stopped])),
        "against": notes(decide_settings([one, bad, DEAD])),
        "no price": notes(free),
    } == snapshot


def test_rows_are_plain_and_missing_is_none():
    """Each setting's figures at the level that stands for it; a server that did not start has none."""
    found = decide_settings([TWO, DEAD])
    first, second = rows(found)
    assert (first["rank"], first["set_tp"], first["gpus"], first["concurrency"]) == (1, 2, 2, 8)
    assert (first["cost_usd"], first["gpu_s"]) == pytest.approx((0.12, 120.0))
    assert {second[key] for key in ("rank", "concurrency", "cost_usd", "j_per_output_token", "slo_verdict")} == {None}
    plain = to_json(found, str(SLO))
    assert (plain["cheapest"], plain["concurrency"], plain["runner_up"]) == ("tp=2", 8, None)
    assert to_csv(found).count("\n") == 3


def test_the_table(snapshot):
    """Energy and P have a column where they are known; what is not chosen has its level in brackets."""
    powered = curve("tp=2", 2, "m,8,100,60,0.1,20000", j=ENERGY)
    found = replace(decide_settings([powered, BAD, DEAD]), p_cheapest={0: 0.9, 1: 0.1})
    out = io.StringIO()
    print_matrix(found, str(SLO), Console(file=out, width=100))
    assert to_markdown(found, str(SLO)) + out.getvalue() == snapshot


def test_a_narrow_terminal_cuts_no_word():
    """Names take a line a flag, intervals and verdicts two; all words stay whole in 80 columns."""
    judged = tuple(
        replace(one, intervals={COST: Estimate(one.cost.usd_per_1m_output_tokens, 5.111, 7.222, 3, "t")})
        for one in ONE.levels.judged
    )
    levels = replace(ONE.levels, judged=judged, decision=decide(judged))
    named = replace(ONE, name="kv-cache=fp8 max-seqs=64", levels=levels)
    found = replace(decide_settings([named, DEAD]), p_cheapest={0: 1.0})
    out = io.StringIO()
    print_matrix(found, str(SLO), Console(file=out, width=80))
    for said in ("\nmax-seqs=64 ", "\nkv-cache=fp8 ", "[$5.11,", "$7.22]", "1.00", " start"):
        assert said in out.getvalue()
