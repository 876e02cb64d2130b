"""The terminal: what is printed, how wide, and what hostile text cannot do."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runs_for_tests import make_run

from benchsuite.report.judge import judge_run
from benchsuite.report.terminal import print_judgement
from benchsuite.store.run_folder import read_run


def console(width: int = 80, terminal: bool = True, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(width=width, file=file, force_terminal=terminal, color_system=None, legacy_windows=False)


def printed(made: Console) -> str:
    made.file.flush()
    return made.file.buffer.getvalue().decode(made.encoding)  # type: ignore[attr-defined,no-any-return]


def judged_text(folder: Path, made: Console, quiet: bool = False, **of: Any) -> str:
    judgement = judge_run(read_run(make_run(folder / "run", **of)))
    print_judgement(judgement, folder / "run", quiet=quiet, console=made)
    return printed(made)


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int):
    """80 and 120 columns, with warnings and a long model name."""
    text = judged_text(tmp_path, console(width), model="an-organisation/" + "long-name-" * 12)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert ("p95 ms" in text) == (width == 120)
    assert ("req/s" in text) == (width == 120)


def test_the_row_of_a_level(tmp_path: Path):
    """TTFT 80 ms, TPOT 16 ms; 16 requests of 11 tokens in 4 waves of 0.24 s, at $3.6 an hour."""
    text = judged_text(tmp_path, console(80))
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["4"])
    assert row == ["4", "16/0", "0.960", "80.0", "16.0", "45.8", "183", "$0.000960", "$5.45", "yes"]
    assert "optimum 4: $0.000960 per run of 16 requests, $5.45/1M output tokens" in " ".join(text.split())
    assert "next level 8 misses throughput > 30 tok/s (25 tok/s)" in " ".join(text.split())
    assert "one run per level: no interval" in text


def test_repeats_drop_the_remark_on_one_run(tmp_path: Path):
    """Two runs per level: nothing is said of one."""
    assert "one run per level" not in judged_text(tmp_path, console(80), repeats=2)


def test_quiet_prints_the_decision_alone(tmp_path: Path):
    """One line."""
    text = judged_text(tmp_path, console(80, terminal=False), quiet=True)
    assert text.count("\n") == 1
    assert text.startswith("optimum 4: ")


def test_no_level(tmp_path: Path):
    """The nearest, and why not."""
    text = judged_text(tmp_path, console(80, terminal=False), quiet=True, slo="throughput>1000")
    assert text.startswith("no level meets the SLO; nearest: 2 misses throughput > 1000 tok/s (")


def test_without_a_price_costs_are_dashes(tmp_path: Path):
    """Missing is an en dash, never 0."""
    text = judged_text(tmp_path, console(80), price=False)
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["4"])
    assert row[-3:] == ["–", "–", "yes"]


def test_ascii_where_the_encoding_is(tmp_path: Path):
    """No character that the terminal cannot take; a control sequence in a name does nothing."""
    text = judged_text(tmp_path, console(80, encoding="ascii"), model="模\x1b[2Jx", price=False)
    assert text.isascii()
    assert "\x1b[2J" not in text
    assert "??[2Jx" in text
