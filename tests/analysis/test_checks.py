"""Disturbed runs: what the levels of the paper's Table 4 say against each other, and the laws of the checks."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.analysis.summary import parse_points
from benchsuite.analysis.warnings import Finding, check_levels
from benchsuite.level import Level

FILE = Path(__file__).parents[2] / "docs" / "examples" / "paper_table4.csv"
TABLE4 = parse_points(FILE.read_text("utf-8"), where="paper_table4.csv")
MODELS = list(dict.fromkeys(p.model for p in TABLE4))


@functools.cache
def of_paper() -> dict[str, list[Finding]]:
    """The warnings of each of the paper's models."""
    return {model: check_levels([p for p in TABLE4 if p.model == model]) for model in MODELS}


def named(code: str) -> set[tuple[str, int]]:
    """Model and level of every warning with this code."""
    return {(model, warn.level.users) for model, warns in of_paper().items() for warn in warns if warn.code == code}


@pytest.mark.parametrize(
    ("code", "levels"),
    [
        ("slow_level", {("GLM-4-32B-0414", 16), ("GLM-4-32B-0414", 32), ("Seed-OSS-36B", 32)}),
        ("superlinear_scaling", {("GLM-4-32B-0414", 48), ("Seed-OSS-36B", 48)}),
        ("duration_rises", {("GLM-4-32B-0414", 16), ("Qwen3-30B", 32), ("WiNGPT-3.5", 128)}),
        ("throughput_drop", {("Seed-OSS-36B", 32)}),
    ],
)
def test_the_papers_disturbed_runs(code, levels):
    """The bad runs of Table 4, by name, and no others."""
    assert named(code) == levels


def test_the_law_through_all_levels_finds_the_three_disturbed_series():
    """More than 15 % off the robust USL fit: GLM, Seed-OSS and Qwen3 alone, with 67, 51 and 38 % at most."""
    assert {model for model, _ in named("usl_residual")} == {"GLM-4-32B-0414", "Seed-OSS-36B", "Qwen3-30B"}
    assert {("GLM-4-32B-0414", 32), ("Seed-OSS-36B", 32), ("Qwen3-30B", 32)} <= named("usl_residual")
    (seed,) = [warn for warn in of_paper()["Seed-OSS-36B"] if warn.code == "usl_residual"]
    assert round(seed.values["residual"], 2) == 0.51


def test_answers_of_another_length():
    """Seed-OSS at 32 wrote 39 % more than the median; WiNGPT-2.7 and Mistral kept their length."""
    (seed,) = [warn for warn in of_paper()["Seed-OSS-36B"] if warn.code == "output_length"]
    assert seed.level.users == 32
    assert round(seed.values["deviation"], 3) == 0.393
    assert named("output_length") == {
        ("GLM-4-32B-0414", 16),
        ("GLM-4-32B-0414", 32),
        ("gpt-oss-20b-low", 16),
        ("WiNGPT-3.0", 128),
        ("Seed-OSS-36B", 32),
        ("medgemma-27b", 16),
        ("Qwen3-30B", 32),
        ("WiNGPT-3.5", 8),
        ("WiNGPT-3.5", 64),
    }


def test_sound_series_find_nothing():
    """Mistral and WiNGPT-2.7 are clean."""
    assert of_paper()["Mistral-Small"] == of_paper()["WiNGPT-2.7"] == []


def test_the_finding_names_what_to_repeat():
    """The level that is too fast names the slow ones below it; each of them has a warning of its own."""
    (jump,) = [warn for warn in of_paper()["GLM-4-32B-0414"] if warn.code == "superlinear_scaling"]
    assert (jump.level.users, jump.values["below"], jump.values["disturbed"]) == (48, Level(32), "16, 32")
    assert round(jump.values["elasticity"], 2) == 2.26
    at_16 = next(warn for warn in of_paper()["GLM-4-32B-0414"] if warn.code == "slow_level")
    assert (round(at_16.values["tok_s"], 2), round(at_16.values["above_tok_s"], 2)) == (16.56, 18.36)


def series(rates, levels=(1, 2, 4, 8, 16)):  # type: ignore[no-untyped-def]
    """Points of one model with these system rates, all with 1,000 answers of 100 tokens."""
    base = replace(TABLE4[0], n_ok=1000, output_tokens=100_000, warnings=())
    return [
        replace(
            base,
            level=Level(level),
            duration_s=1e5 / rate if rate else None,
            ratios=base.ratios | {"output_tok_s": rate},
        )
        for level, rate in zip(levels, rates, strict=True)
    ]


def test_little_to_go_by():
    """No point, one point, or points without rates find nothing."""
    assert check_levels([]) == []
    assert check_levels(series([50.0], [8])) == []
    assert check_levels(series([None, 0.0, None], [1, 2, 4])) == []


def test_noise_on_a_plateau_is_no_finding():
    """Half a percent down, or neighbours at 31 and 32 users half a percent too steep, is what runs differ by."""
    assert check_levels(series([100, 190, 320, 420, 418])) == []
    assert check_levels(series([620.0, 643.5], [31, 32])) == []


def test_sets_of_another_size_are_not_compared_by_time():
    """Twice the requests take longer: no finding."""
    small, large = series([100.0, 150.0], [1, 2])
    large = replace(large, n_ok=3000, output_tokens=300_000, duration_s=2000.0)
    assert check_levels([small, large]) == []


@settings(max_examples=40)
@given(
    rate=st.floats(1, 1000),
    contention=st.floats(0, 0.3),
    coherency=st.floats(0, 1e-4),
    order=st.permutations([1, 2, 4, 8, 16, 32, 64]),
)
def test_a_server_that_follows_the_law_is_never_disturbed(rate, contention, coherency, order):
    """Whatever its parameters and the order of its points; past its peak only the falling rate is said."""
    law = [rate * n / (1 + contention * (n - 1) + coherency * n * (n - 1)) for n in order]
    codes = {warn.code for warn in check_levels(series(law, order))}
    assert codes <= {"throughput_drop", "duration_rises"}
