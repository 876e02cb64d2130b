"""The terminal: how wide, and what hostile text cannot do. What is printed is a snapshot (test_surfaces)."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from factory import run_folder
from rich.console import Console

from benchsuite.errors import InputError
from benchsuite.report.judge import judge_run
from benchsuite.report.terminal import parse_columns, print_judgement, print_warnings
from benchsuite.store.run_folder import read_run
from benchsuite.warning_table import WARNINGS, warn


@pytest.fixture
def judgement(tmp_path):
    return judge_run(read_run(run_folder(tmp_path / "judged", repeats=3)))


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
    text = judged_text(width, model="an-organisation/" + "long-name-" * 12, requests=200)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert ["p95" in text, "req/s" in text] == [width == 120] * 2


@pytest.mark.parametrize(("price", "costs"), [(3.6, ["$0.000960", "$5.45"]), (None, [])])
def test_the_row_of_a_level(judged_text, price, costs):
    """TTFT 80 ms, TPOT 16 ms; 16 requests of 11 tokens in 4 waves; without a price there are no costs."""
    rows = [line.split() for line in judged_text(usd_per_hour=price).splitlines()]
    assert ["4", "16/0", "0.960", "80.0", "45.8", "16.0", "183", *costs, "yes"] in rows


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (None, ()),
        ("ttft_p50, p99_TTFT", ("ttft_p50_s", "ttft_p99_s")),
        ("cost,usd_per_1m_output_tokens", ("usd_per_1m_output_tokens",)),
        ("ttft,concurrency,", ("ttft_mean_s", "concurrency")),
    ],
)
def test_columns_by_name(text, columns):
    """As an SLO names them, or as files do; each once, in the order given."""
    assert parse_columns(text) == columns


@pytest.mark.parametrize(
    ("text", "hint"), [("ttft_p50,tftp_p99", "ttft_p99"), ("ttft_p42", "ttft_p"), ("cots", "cost")]
)
def test_an_unknown_column_has_a_suggestion(text, hint):
    """The nearest name of the table of metrics."""
    with pytest.raises(InputError) as refused:
        parse_columns(text)
    assert refused.value.where == "--columns"
    assert hint in refused.value.hint


def noted(judgement, *codes):
    """The judgement with the warnings (code, index of the level)."""
    judged = list(judgement.judged)
    for code, i in codes:
        fields = dict.fromkeys(re.findall(r"{(\w+)", WARNINGS[code].finding + WARNINGS[code].remedy), 7)
        values = {name: value for name, value in fields.items() if name != "level"}
        point = judged[i].point
        found = (*point.warnings, warn(code, point.level, **values))
        judged[i] = replace(judged[i], point=replace(point, warnings=found))
    return judged


@pytest.mark.parametrize(
    ("codes", "shown", "more"),
    [
        ([], [], None),
        ([("body_compressed", 0), ("loose_http", 1)], [], "2 notes"),
        ([("drift", 0), ("client_bound", 1), ("single_chunk", 1)], ["client_bound", "single_chunk", "drift"], None),
        (
            [("drift", 0), ("empty", 0), ("single_chunk", 0), ("run_cut_short", 0), ("loose_http", 0), ("errors", 1)],
            ["errors", "run_cut_short", "drift"],
            "3 more",
        ),
    ],
)
def test_warnings_that_matter_come_first(judgement, codes, shown, more):
    """At most three, by what they do to the decision (level 4 is recommended); the rest is counted for `check`."""
    assert judgement.decision.recommended is judgement.judged[1]
    for everything in (False, True):
        console = Console(file=io.StringIO(), width=400)
        print_warnings(noted(judgement, *codes), console, "results/x", judgement.decision, everything=everything)
        lines = console.file.getvalue().splitlines()
        said = [line.split()[1] for line in lines if not line.endswith("benchsuite check results/x")]
        assert said[: len(shown)] == shown
        assert len(said) == (len(codes) if everything else len(shown))
        assert everything or (lines[len(shown) :] == ([f"{more}: benchsuite check results/x"] if more else []))


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
