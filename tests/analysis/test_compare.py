"""Two sets of runs compared: literal answers, and the promises about false alarms on simulated runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from factory import request_frame as frame
from factory import request_row as row

from benchsuite.analysis.regression import (
    LOOKS,
    changes,
    difference_verdicts,
    log_margin,
    look_alpha,
    repeats_needed,
    verdicts,
)
from benchsuite.analysis.requests import by_repeat, level_rows
from benchsuite.errors import InputError
from benchsuite.metrics import BY_COLUMN
from benchsuite.report.comparison import parse_regressions

MARGIN = math.log(1.05)


def compared(new, baseline, **flags):
    flags = {"paired": True, "higher_is_better": False} | flags
    return changes([np.array(new)], [np.array(baseline)], **flags)[0]


def judged(new, baseline, margin=MARGIN, **flags):
    return verdicts([compared(new, baseline, **flags)], [margin])[0]


def test_paired_differences_are_what_counts():
    """Repeats that differ by 20 % but pair exactly: 10 % slower in each is a sure 10 %."""
    found = compared([1.1, 1.32, 1.1], [1.0, 1.2, 1.0])

    assert (found.theta, found.df, found.n_new) == (pytest.approx(math.log(1.1)), 2, 3)
    assert found.se == pytest.approx(0, abs=1e-12)
    assert verdicts([found], [MARGIN]) == ["fail"]


def test_interval_of_three_pairs_by_hand():
    """d = 0, .1, .2: mean .1, s .1, t(2) 4.3027, half-width .2484."""
    found = compared(np.exp([0.0, 0.1, 0.2]), [1.0, 1.0, 1.0])

    assert (found.low, found.high) == (pytest.approx(0.1 - 0.24841, abs=1e-5), pytest.approx(0.1 + 0.24841, abs=1e-5))


def test_unpaired_runs_are_welchs():
    """Two sides of 4 and 3 runs: theta and Welch's standard error and degrees from their own variances."""
    new, old = np.exp([0.1, 0.2, 0.3, 0.4]), np.exp([0.0, 0.1, 0.2])
    found = compared(new, old, paired=False)

    assert found.theta == pytest.approx(0.15)
    assert found.se == pytest.approx(math.sqrt((1 / 60) / 4 + 0.01 / 3))
    assert found.df == pytest.approx(4.959, abs=1e-3)


@pytest.mark.parametrize(
    ("new", "baseline", "verdict"),
    [
        ([1.0, 1.01, 0.99, 1.0, 1.0], [1.0, 1.0, 1.0, 1.01, 0.99], "pass"),
        ([1.2, 1.21, 1.19, 1.2, 1.2], [1.0, 1.0, 1.0, 1.01, 0.99], "fail"),
        ([1.05, 1.06, 1.04, 1.05, 1.05], [1.0, 1.0, 1.0, 1.01, 0.99], "inconclusive"),
        ([1.2, 1.0], [1.0, 0.9], "inconclusive"),
        ([0.8, 0.9], [1.0, 0.9], "inconclusive"),
    ],
)
def test_three_results(new, baseline, verdict):
    """Equal passes, 20 % slower fails, at the margin and two noisy repeats prove nothing."""
    assert judged(new, baseline) == verdict


def test_rates_are_worse_when_lower():
    """A rate that halves fails, one that doubles passes; 5 % of a rate is a loss of 5 %."""
    margin = log_margin(0.05, higher_is_better=True)

    assert margin == pytest.approx(-math.log(0.95))
    assert judged([5.0, 5.1, 5.0], [10.0, 10.1, 10.0], margin, higher_is_better=True) == "fail"
    assert judged([20.0, 20.1, 20.0], [10.0, 10.1, 10.0], margin, higher_is_better=True) == "pass"


def test_one_run_each_decides_only_what_is_far():
    """30 % slower could be the runs' own spread; twice as slow is not; tails are given more room."""
    assert [judged([x], [1.0]) for x in (1.0, 1.3, 2.0, 0.5)] == ["inconclusive", "inconclusive", "fail", "pass"]
    assert judged([2.0], [1.0], tail=True) == "inconclusive"
    assert judged([3.0], [1.0], tail=True) == "fail"


def test_one_run_against_several_uses_their_spread():
    """One new run against five: the spread of the five, widened for the one."""
    found = compared([2.0], [1.0, 1.02, 0.98, 1.01, 0.99], paired=False)

    assert found.df == 4
    assert found.se == pytest.approx(np.log([1.0, 1.02, 0.98, 1.01, 0.99]).std(ddof=1) * math.sqrt(1.2))


@pytest.mark.parametrize("bad", [[0.0, 1.0], [math.nan, 1.0], []])
def test_what_has_no_log_is_undecided(bad):
    """A figure that is missing or 0 in a run proves nothing."""
    assert compared(bad, [1.0, 1.0], paired=False) is None
    assert verdicts([None], [MARGIN]) == ["inconclusive"]


def test_holm_asks_more_of_many_criteria():
    """An effect that fails alone does not among twenty quiet criteria; its neighbours keep their passes."""
    weak = compared([1.11, 1.16, 1.08, 1.2, 1.1], [1.0, 1.0, 1.0, 1.0, 1.0])
    quiet = compared([1.0, 1.01, 0.99, 1.0, 1.0], [1.0, 1.0, 1.0, 1.01, 0.99])

    assert verdicts([weak], [MARGIN]) == ["fail"]
    assert verdicts([weak, *[quiet] * 20], [MARGIN] * 21) == ["inconclusive", *["pass"] * 20]


def test_repeats_needed():
    """s .03, margin .05 away: 5 (t .975 + t .8 with 4 degrees: 3.717 x .03 / sqrt 5 = .0499; with 4 it is .0624)."""
    assert repeats_needed(0.03, 0.05) == 5
    assert repeats_needed(0.0, 0.05) == 2
    assert repeats_needed(0.5, 0.001) is None
    assert repeats_needed(0.03, 0.0) is None


def test_false_alarms_and_power_of_many_simulated_gates():
    """400 gates of 8 criteria and 5 repeats (CV 3 %): A/A never fails by more than chance, at the margin neither fails
    nor passes more often than promised, 20 % slower fails."""
    rng = np.random.default_rng(7)

    def shares(effect):
        counts = {"pass": 0, "fail": 0, "inconclusive": 0}
        for _ in range(400):
            base = np.exp(0.03 * rng.standard_normal((8, 5)))
            new = np.exp(effect + 0.03 * rng.standard_normal((8, 5)))
            changes = [compared(a, b) for a, b in zip(new, base, strict=True)]
            found = verdicts(changes, [MARGIN] * 8)
            overall = "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
            counts[overall] += 1
        return {name: count / 400 for name, count in counts.items()}

    same, edge, slow = shares(0.0), shares(MARGIN), shares(math.log(1.2))

    assert same["fail"] <= 0.01
    assert edge["fail"] <= 0.05
    assert edge["pass"] <= 0.05
    assert slow["fail"] >= 0.95
    assert slow["pass"] == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ttft", "ttft_mean_s"),
        ("TTFT_p95", "ttft_p95_s"),
        ("ttft_p95_s", "ttft_p95_s"),
        ("tpot", "tpot_mean_s"),
        ("itl_p99", "itl_p99_s"),
        ("e2el", "e2e_mean_s"),
        ("cost", "usd_per_1m_output_tokens"),
        ("p99_ttft", "ttft_p99_s"),
        ("throughput", "output_tok_s"),
        ("output_throughput_per_user", "output_tok_s_per_user"),
        ("rps", "request_per_s"),
        ("duration", "duration_s"),
    ],
)
def test_names_people_use(text, name):
    """The summary's names, the SLO's and the field's all lead to one figure."""
    assert [one.figure.column for one in parse_regressions(text)] == [name]


@pytest.mark.parametrize(
    ("text", "hint"), [("tttf_p95", "ttft_p95"), ("cots", "cost"), ("error_rate", "--slo"), ("ttft_p42", "ttft_p")]
)
def test_names_nobody_knows(text, hint):
    """An unknown name is refused with the nearest one, an error rate with the flag for it."""
    with pytest.raises(InputError, match="no such figure") as caught:
        parse_regressions(text)
    assert hint in str(caught.value)


def test_figures_of_each_run_by_hand():
    """Two repeats of two requests: the second twice as slow; 4 users' seconds, tokens and dollars worked out."""
    rows = [
        row(0.0, 0.5, [0.5], concurrency=2, repeat=0, prompt_id="a"),
        row(0.0, 1.5, [0.5], concurrency=2, repeat=0, prompt_id="b"),
        row(10.0, 1.0, [1.0], concurrency=2, repeat=1, prompt_id="a"),
        row(10.0, 3.0, [1.0], concurrency=2, repeat=1, prompt_id="b"),
    ]
    (level,) = level_rows(frame(*rows))
    figures = ("duration_s", "ttft_mean_s", "ttft_max_s", "output_tok_s", "decode_tok_s", "itl_mean_s", "occupancy",
               "cost_usd", "usd_per_1m_output_tokens")  # fmt: skip

    assert {name: by_repeat(level, BY_COLUMN[name], 3600.0).tolist() for name in figures} == {
        "duration_s": [2.0, 4.0],
        "ttft_mean_s": [1.0, 2.0],
        "ttft_max_s": [1.5, 3.0],
        "output_tok_s": [2.0, 1.0],
        "decode_tok_s": [2.0, 1.0],
        "itl_mean_s": [0.5, 1.0],
        "occupancy": [0.75, 0.75],
        "cost_usd": [2.0, 4.0],
        "usd_per_1m_output_tokens": [0.5e6, 1e6],
    }


def test_what_the_looks_may_err_by():
    """O'Brien and Fleming's spending: next to nothing at the first look, 5 % over all."""
    spent = [look_alpha(share, before) for share, before in zip((*LOOKS, 1.0), (0.0, *LOOKS), strict=True)]
    assert sum(spent) == pytest.approx(0.05)
    assert spent == sorted(spent)
    assert spent[0] == pytest.approx(8.9e-5, rel=0.01)  # 2 (1 - Phi(1.96 / sqrt(0.25)))


@pytest.mark.parametrize(("truth", "wrong"), [(1.0, {"slower", "faster"}), (1.05, {"slower"}), (1 / 1.05, {"faster"})])
def test_a_difference_is_seldom_said_where_there_is_none_beyond_the_margin(truth, wrong):
    """Six figures of 8 rounds, spread 3 %, margin 5 %: at most 5 % of sessions say one, at the margin too."""
    rng = np.random.default_rng(7)
    margins = [log_margin(0.05, higher_is_better=False)] * 6
    alarms = 0
    for _ in range(300):
        a, b = (list(level * np.exp(0.03 * rng.standard_normal((6, 8)))) for level in (1.0, truth))
        found = difference_verdicts(changes(b, a, paired=True, higher_is_better=False), margins)
        alarms += bool(wrong & set(found))
    assert alarms <= 15 + 2 * 3.8  # two standard errors


def test_a_difference_is_found_and_named_by_its_side():
    """20 % more is slower, 20 % less is faster, the same is no difference."""
    rng = np.random.default_rng(8)
    noise = [list(level * np.exp(0.02 * rng.standard_normal((1, 12)))) for level in (1.2, 0.8, 1.0, 1.0)]
    margins = [log_margin(0.05, higher_is_better=False)]
    found = [
        difference_verdicts(changes(b, noise[3], paired=False, higher_is_better=False), margins) for b in noise[:3]
    ]
    assert found == [["slower"], ["faster"], ["no difference"]]
