"""What a limit is on is what is shown: in the table, in Markdown, on the page, on a comparison's axis."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command_line import CommandLine
from factory import run_folder
from rich.console import Console

from benchsuite.economics.scaling import SloPrice, SloStep
from benchsuite.level import Level
from benchsuite.report.console import table
from benchsuite.report.export import as_markdown
from benchsuite.report.format import cell, plural, with_judged
from benchsuite.report.judge import Judgement, judge_run
from benchsuite.report.sections_cost import price_sentence
from benchsuite.slo import parse_slo
from benchsuite.store.run_folder import read_run


def judged(path: Path, slo: str) -> Judgement:
    return judge_run(read_run(run_folder(path)), slo=slo)


def test_the_judged_statistic_comes_first_and_has_its_value(tmp_path: Path) -> None:
    """A limit on p95: p95 before the mean, or alone, and its value though 16 requests support no p95 elsewhere."""
    one = judged(tmp_path / "run", "ttft_p95<1s,itl_p99<1s")
    columns = ("concurrency", "duration_s", "ttft_mean_s", "ttft_p95_s", "output_tok_s")
    assert with_judged(columns, one.judged) == (
        "concurrency", "duration_s", "ttft_p95_s", "itl_p99_s", "ttft_mean_s", "output_tok_s",
    )  # fmt: skip
    assert "ttft_mean_s" not in with_judged(columns, one.judged, alone=True)
    assert [cell(level, "ttft_p95_s") for level in one.judged] == ["50.0", "80.0", "140"]
    assert cell(one.judged[0], "ttft_p99_s") == "–"


def test_markdown_shows_it(tmp_path: Path) -> None:
    """The head of p95 stands before that of the mean, and its value in the decision's sentence before the price."""
    text = as_markdown([judged(tmp_path / "run", "ttft_p95<1s")])
    heads = next(line for line in text.splitlines() if line.startswith("| concurrency"))
    assert ": TTFT p95 140 ms, $" in text
    assert heads.index("TTFT p95") < heads.index("TTFT mean")


@pytest.mark.parametrize("slo", ["", "--slo ttft_mean<1s"])
def test_unlike_request_sets_are_refused(cli: CommandLine, tmp_path: Path, slo: str) -> None:
    """`decide A B` of 16 and of 24 requests, as `frontier` and `report` refuse them."""
    a, b = run_folder(tmp_path / "a", slo="ttft_mean<1s"), run_folder(tmp_path / "b", slo="ttft_mean<1s", requests=24)
    assert cli(f"decide {a} {b} {slo}").code == 2


def test_unlike_slos_are_refused_and_one_for_all_is_not(cli: CommandLine, tmp_path: Path) -> None:
    """Each run's own SLO differs; --slo makes them comparable, and each is named by its folder."""
    a, b = run_folder(tmp_path / "aa", slo="ttft_mean<1s"), run_folder(tmp_path / "bb", slo="ttft_mean<2s")
    assert cli(f"decide {a} {b}").code == 2
    ended = cli(f"decide {a} {b} --slo ttft_mean<1s")
    assert ended.code != 2
    assert "aa" in ended.out
    assert "bb" in ended.out


def test_money_is_never_cut() -> None:
    """A table that is wider than its terminal folds its cells: every character of the amount is there."""
    console = Console(width=40, file=io.StringIO(), force_terminal=False)
    console.print(table(console, [f"column{i}" for i in range(5)], [["$338,123.45"] * 5]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert text.count("5") == 5


def test_heads_are_not_parted_inside_a_word() -> None:
    """In a narrow terminal a long head is a short one."""
    console = Console(width=30, file=io.StringIO())
    console.print(table(console, ["concurrency", "successful/failed", "duration s"], [["1", "96/0", "6.12"]] * 2))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "-\n" not in text.replace(" ", "")
    assert "conc." in text


def test_small_times_and_single_things() -> None:
    """Milliseconds, not 3.46e-06 s; one request, two requests."""
    assert parse_slo("ttft_mean<3.46us").limits[0].show(3.45e-6) == "0.00345 ms"
    assert [plural(1, "request"), plural(2, "request")] == ["1 request", "2 requests"]


def test_a_price_of_the_slo_on_a_disturbed_level_says_so() -> None:
    """'8.2 % looser saves 70 %' of a level that is disturbed names it; of sound levels it says no more."""
    saving = SloStep(looser=0.082, at=1.08, level=Level(16), cost_usd=0.3, cost_change=-0.7)
    price = SloPrice("ttft_mean < 1 s", (saving,), ())
    assert price_sentence(price, Level(4), {Level(8): "disturbed"}).endswith("(concurrency 16)")
    assert price_sentence(price, Level(4), {Level(16): "disturbed"}).endswith("; not certain: 16 is disturbed")
