"""Reading a table of points: the paper's 54 rows, its identities, and bad input by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchsuite.analysis.summary import parse_points
from benchsuite.errors import PointsError

PATH = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
POINTS = parse_points(PATH.read_text("utf-8"), where="t.csv")
HEADER = "model,concurrency,requests,time_s,ttft_s,input_tokens,output_tokens,total_tokens,throughput_tok_s\n"


def test_the_papers_54_rows():
    """Nine models at six levels, and three TTFT cells that nothing proves."""
    assert len(POINTS) == 54
    assert {p.level.users for p in POINTS} == {8, 16, 32, 48, 64, 128}
    empty = [(p.model, p.level.users) for p in POINTS if p.ttft_s.mean is None]
    assert empty == [("Mistral-Small", 48), ("Mistral-Small", 128), ("WiNGPT-3.5", 32)]


def test_throughput_identity():
    """Printed = output / (time * concurrency) in 50 of 54 rows, GLM's 16.56 being true of one of its five only.

    In two of the 50 (Qwen3/48, WiNGPT-3.5/48) the last digit holds only because the time was rounded as well.
    """
    printed = [float(line.split(",")[8]) for line in PATH.read_text("utf-8").splitlines()[1:]]
    pairs = list(zip(printed, (p.ratios["output_tok_s_per_user"] for p in POINTS), strict=True))
    assert sum(abs(a - b) <= 0.005 for a, b in pairs) == 48
    assert sum(abs(a - b) <= 0.0051 for a, b in pairs) == 50
    flagged = {p.level.users: p for p in POINTS if p.warnings}
    assert {p.model for p in flagged.values()} == {"GLM-4-32B-0414"}
    recomputed = {level: round(p.ratios["output_tok_s_per_user"], 2) for level, p in flagged.items()}
    assert recomputed == {32: 11.00, 48: 18.36, 64: 15.18, 128: 7.90}
    assert all(p.warnings[0].code == "throughput_identity" for p in flagged.values())


def test_one_row_by_hand():
    """100 s, 4 users, 50 requests, 1000 + 2000 tokens."""
    (p,) = parse_points(HEADER + "m,4,50,100,0.5,1000,2000,3000,5.0\n", where="t.csv")
    assert (p.ratios["output_tok_s_per_user"], p.output_tok_s, p.ratios["total_tok_s"], p.request_per_s) == (
        5.0,
        20.0,
        30.0,
        0.5,
    )
    assert (p.ttft_s.n, p.ttft_s.mean, p.ttft_s.p99) == (50, 0.5, None)
    assert (p.n_ok, p.n_failed, p.ratios["error_rate"], p.warnings) == (50, None, None, ())


def test_without_output_tokens_the_printed_throughput_serves():
    """And what cannot be known is None."""
    (p,) = parse_points("model,concurrency,requests,time_s,throughput_tok_s,extra\nm,4,50,100,5.25,x\n", where="t")
    assert (p.ratios["output_tok_s_per_user"], p.output_tok_s, p.ttft_s.mean) == (5.25, None, None)


def test_a_wrong_total_is_said():
    """2000 + 1000 is not 3001."""
    (p,) = parse_points(HEADER + "m,4,50,100,0.5,1000,2000,3001,5.0\n", where="t.csv")
    assert [warn.code for warn in p.warnings] == ["token_identity"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"lacks columns: model, concurrency, requests, time_s"),
        ("model,concurrency,time_s\nm,1,1\n", r"lacks columns: requests"),
        (HEADER, r"no rows"),
        (HEADER + "m,4,50,fast,0.5,1,2,3,5\n", r"line 2: time_s: .*fast"),
        (HEADER + "m,4,50,1,,1,2,3,\nm,8,50,0,,1,2,3,\n", r"line 3: time_s: .*0"),
        (HEADER + "m,4,50,,0.5,1,2,3,5\n", r"line 2: time_s: required"),
        (HEADER + ",4,50,1,0.5,1,2,3,5\n", r"line 2: model: required"),
        (HEADER + "m,4.5,50,1,0.5,1,2,3,5\n", r"line 2: concurrency: .*4\.5"),
        (HEADER + "m,4,50,1,nan,1,2,3,5\n", r"line 2: ttft_s: .*nan"),
        (HEADER + "m,4,50,1,0.5,1,-2,3,5\n", r"line 2: output_tokens: .*-2"),
        (HEADER + "m,4,50,1\n", r"number of cells differs"),
        (HEADER + "m,4,50,1,0.5,1,2,3,5,6\n", r"number of cells differs"),
        (HEADER + "m,4,50,1,,1,2,3,\n" * 2, r"line 3: .*twice"),
    ],
)
def test_bad_tables_name_the_line(text, message):
    """What is wrong, where, what was given."""
    with pytest.raises(PointsError, match=message):
        parse_points(text, where="t.csv")
