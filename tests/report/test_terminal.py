"""The terminal: how wide, and what hostile text cannot do. What is printed is a snapshot (test_surfaces)."""

from __future__ import annotations

import io

import pytest
from factory import run_folder
from rich.console import Console

from benchsuite.report.judge import judge_run
from benchsuite.report.terminal import print_judgement
from benchsuite.store.run_folder import read_run


@pytest.fixture
def judged_text(tmp_path):
    """What is printed of a run, in a terminal of that width and encoding."""

    def text(width=80, encoding="utf-8", quiet=False, **made):
        file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        console = Console(width=width, file=file, force_terminal=True, color_system=None, legacy_windows=False)
        run = run_folder(tmp_path / "run", **made)
        print_judgement(judge_run(read_run(run)), run, quiet=quiet, console=console)
        file.flush()
        return file.buffer.getvalue().decode(encoding)

    return text


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(judged_text, width):
    """80 and 120 columns, with warnings and a long model name; the wide one has more columns."""
    text = judged_text(width, model="an-organisation/" + "long-name-" * 12)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert ["p95" in text, "req/s" in text] == [width == 120] * 2


@pytest.mark.parametrize(("price", "costs"), [(3.6, ["$0.000960", "$5.45"]), (None, ["–", "–"])])
def test_the_row_of_a_level(judged_text, price, costs):
    """TTFT 80 ms, TPOT 16 ms; 16 requests of 11 tokens in 4 waves; without a price costs are dashes, not 0."""
    rows = [line.split() for line in judged_text(usd_per_hour=price).splitlines()]
    assert ["4", "16/0", "0.960", "80.0", "16.0", "45.8", "183", *costs, "yes"] in rows


@pytest.mark.parametrize("tokens", [None, 0, 4])
def test_thinking_is_shown_apart(judged_text, tokens):
    """64 of 176 output tokens, 36.4 %, and that share of the price; no column where nothing thinks."""
    text = judged_text(200, row=lambda row: row._replace(reasoning_tokens=tokens))
    (line,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["4", "16/0"]]
    assert (line[-5:-1] == ["64", "36.4", "%", "$0.000349"]) is bool(tokens)
    assert "$0.000960" in line
    narrow = judged_text(80, row=lambda row: row._replace(reasoning_tokens=tokens))
    assert any(line.split()[:2] == ["4", "16/0"] and "$0.000960" in line for line in narrow.splitlines())
    assert ("thinking" in narrow.partition("looks best")[0]) is bool(tokens)


@pytest.mark.parametrize("slo", ["output_throughput_per_user>30", "output_throughput_per_user>1000"])
def test_quiet_prints_the_decision_alone(judged_text, slo):
    """One line, whether a level meets the SLO or none."""
    assert judged_text(400, quiet=True, slo=slo).count("\n") == 1


def test_ascii_where_the_encoding_is(judged_text):
    """No character that the terminal cannot take; a control sequence in a name does nothing."""
    text = judged_text(encoding="ascii", model="模\x1b[2Jx", usd_per_hour=None)
    assert text.isascii()
    assert "\x1b[2J" not in text
    assert "??[2Jx" in text
