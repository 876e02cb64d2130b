"""The planner of a search: right about engines in virtual time, a fold over what was measured, honest at its edges."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import pytest
from virtual_engine import FRESH, KNOWN, LOOKED_AT, Engine, Law, Truth, find, spec_of

from benchsuite.load.search import End, Probe, ProbeResult, Search, SearchSpec

SEEDS = range(4)  # benchmarks/search.py has sixty


def as_likely(k: int, n: int, p: float) -> bool:
    """Whether P(Binomial(n, p) >= k) is above 1 %."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1)) > 0.01


@pytest.mark.parametrize("name", KNOWN)
def test_searches_of_engines_in_virtual_time(name):
    """No more miss the true SLO, or are over 5 % dearer than the best level, than 6 % and 10 % make likely; within 20
    minutes; and each is a fold: what was measured, through JSON and cut anywhere, gives the same next probe."""
    law = KNOWN[name]
    truth = Truth(law, requests=4000)
    _, best_ln_x = truth.best(levels=8)
    missed = bad = 0
    for seed in SEEDS:
        end, results = find(law, seed)
        margin, ln_x = truth.at(end.answer.level)
        missed += margin < -0.01
        bad += margin < -0.01 or best_ln_x - ln_x > math.log(1.06)  # of shorter runs than the study's

        assert end.reason in ("confident", "budget_minutes")
        assert end.reason != "confident" or end.answer.p_good >= 0.95
        assert end.answer.level in [one.level for one in results]
        assert sum(one.seconds for one in results) < 1.1 * 1200
    assert as_likely(missed, len(SEEDS), 0.06)
    assert as_likely(bad, len(SEEDS), 0.10)

    search = Search(spec_of(law, SEEDS[-1]))
    stored = [ProbeResult.of(json.loads(json.dumps(one.as_json()))) for one in results]
    assert stored == results
    for n in (0, 1, 2, len(results) // 2, len(results) - 1):
        step = search.next(stored[:n])
        assert (step.level, step.phase) == (results[n].level, results[n].phase)
    assert search.next(stored) == end


def test_the_optimum_of_a_known_law():
    """A step of 1 ms + 0.1 ms x active and decode > 200 tok/s: 5 ms a token, so 40 users; found within 5 %."""
    law = Law("decode_throughput>200", base=1.0, per_user=0.1, per_prompt_token=0.0, noise=0.0, prompt=(50.0, 0.3))
    end, _ = find(law, 1)

    assert end.reason == "confident"
    assert 38 <= end.answer.level <= 40
    assert end.answer.binding == "decode_throughput"


@pytest.mark.parametrize("seed", range(2))
def test_a_limit_that_more_users_keep_better_bounds_from_below(seed):
    """A throughput of 3,100 tok/s comes at about 80 users and up, a token in 40 ms at no more than about 130: what is
    below misses as well, and no search goes down to 1. An answer had a level at most 1.3 times below it measured."""
    end, results = find(LOOKED_AT["throughput from below"], seed)
    levels = [one.level for one in results]

    assert end.reason == "confident"
    assert min(levels) > 8
    assert any(end.answer.level / 1.3 <= level < end.answer.level for level in levels)
    assert any(one.least > 0 for one in results if one.level == end.answer.level)


def test_what_binds_is_the_nearest_limit():
    """Not a percentile at a tenth of its limit, of whose bad requests, none, less is known than of a speed 1 % beside
    its own."""
    results = [
        ProbeResult(
            level, "confirm", 800, 13.0, {"ttft_p95": ttft, "speed": (speed, 2e-3)}, {"ttft_p95": (4.4, 1.4)}, (x, 2e-3)
        )
        for level, ttft, speed, x in (
            (40.0, (2.3, 0.05), 0.04, 6.98), (64.0, (0.4, 0.06), -0.35, 7.05), (42.0, (2.3, 0.05), 0.011, 7.0),
            (44.0, (2.3, 0.05), -0.022, 7.01), *[(42.0, (2.3, 0.05), 0.01, 7.0)] * 4,
        )
    ]  # fmt: skip
    end = Search(SearchSpec(budget_s=20.0)).next(results)

    assert (end.answer.level, end.answer.binding) == (42.0, "speed")


def test_the_highest_level_that_is_allowed():
    """Where the SLO is kept up to there, the end says that it is no optimum."""
    end, _ = find(LOOKED_AT["highest level keeps it"], 1)

    assert end.reason == "max_reached"
    assert end.answer.bracket[1] is None


def test_a_setting_that_cannot_be_the_cheapest_is_given_up():
    """40 users of 5 ms a token make 8,000 a second. Where another setting surely makes half as many again, the search
    ends with its bracket; where it is sure of 2 % less, as of an equal one, it goes on to its answer."""
    law = Law("decode_throughput>200", base=1.0, per_user=0.1, per_prompt_token=0.0, noise=0.015, prompt=(50.0, 0.3))
    for seed in range(10):
        end, results = find(law, seed, least_x=12_000.0)
        assert (end.reason, {one.phase for one in results} <= {"bracket", "close"}) == ("given_up", True)
        assert 7500 < end.most_x < 12_000
    for seed in range(10):
        assert find(law, seed, least_x=0.98 * 8000)[0].reason != "given_up"
    alone, beaten = find(law, 1), find(law, 1, least_x=12_000.0)
    assert len(beaten[1]) < len(alone[1])
    assert find(law, 1, least_x=100.0) == alone


def test_no_level_keeps_the_slo():
    """There is no answer where the lowest level misses."""
    end, results = find(LOOKED_AT["none"], 1)

    assert end == End("none_feasible", None)
    assert results[-1].level == 1


def test_levels_at_which_probes_fail():
    """A server that runs out of memory above 100 users: the answer is below, and close to it."""
    end, results = find(LOOKED_AT["fails above 100"], 1)

    assert any(one.failed for one in results)
    assert 90 <= end.answer.level <= 100


def test_a_server_that_is_gone():
    """Two probes in a row that fail, the second at a level that had kept the SLO, end the search with what it has."""
    good = ProbeResult(32.0, "bracket", 200, 30.0, {"ttft_mean": (0.4, 0.01)}, {}, (7.0, 0.01))
    lost = [ProbeResult(64.0, "bracket", 0, 5.0, failed=True), ProbeResult(32.0, "bracket", 0, 5.0, failed=True)]
    search = Search(SearchSpec())

    assert search.next([lost[0], lost[1]]) == End("server_lost", None)
    again = search.next([good, lost[0], lost[0]])
    assert isinstance(again, Probe)
    assert again.level == 32
    end = search.next([good, *lost])
    assert (end.reason, end.answer.level) == ("server_lost", 32)


def test_a_guard_that_is_exceeded_at_one_level_bars_no_other():
    """Errors at 256 users say nothing of 128."""
    plain = {"ttft_mean": (0.4, 0.01)}
    results = [
        ProbeResult(level, "confirm", 500, 30.0, plain, {}, (x, 0.005))
        for level, x in ((32.0, 6.0), (64.0, 6.5), (128.0, 6.9), (128.0, 6.9), (128.0, 6.91))
    ]
    failing = [ProbeResult(144.0, "confirm", 500, 30.0, plain | {"error_rate": (-2.0, 0.2)}, {}, (6.95, 0.01))] * 2
    end = Search(SearchSpec(budget_s=211)).next([*results, *failing])

    assert end.answer.level == 128
    assert end.answer.p_met > 0.5


def test_money_ends_a_search():
    """At 36 $/h two dollars are 200 s: the answer says what was spent, what it costs, what more time would bring."""
    end, results = find(KNOWN["speed binds"], 1, budget_usd=2.0, usd_per_hour=36.0)

    assert end.reason == "budget_usd"
    assert end.answer.spent_usd == pytest.approx(sum(one.seconds for one in results) / 100)
    assert end.answer.spent_usd < 2.4
    assert end.answer.usd[0] == pytest.approx(0.01 / end.answer.throughput[0])
    assert end.answer.usd[1] < end.answer.usd[0] < end.answer.usd[2]
    assert end.answer.more > 0
    assert 0 <= end.answer.more_p_good <= 1


def test_a_rate_that_saturates_is_a_miss():
    """The answer of a rate is below what the engine can do, and no saturated rate is one."""
    law = FRESH["rate, speed"]
    end, results = find(law, 1)

    saturated = [one.level for one in results if one.saturated]
    assert end.answer.level < min(saturated, default=math.inf)
    assert Truth(law, requests=3000).at(end.answer.level)[0] > 0


def test_a_search_goes_on_below_rates_that_saturate():
    """While its budget lasts, to the lowest that is allowed: none was lost, and none kept the SLO."""
    search = Search(SearchSpec("rate", low=1.0, high=100.0, budget_s=300.0))
    high = ProbeResult(30.0, "bracket", 100, 100.0, saturated=True)
    low = ProbeResult(1.0, "bracket", 100, 10.0, saturated=True)

    assert search.next([high]).level == 10.0
    assert search.next([high, replace(high, level=10.0)]) == End("budget_minutes", None)
    assert search.next([high, low]) == End("none_feasible", None)


def test_an_engine_takes_what_its_law_says():
    """64 users, 100 tokens each, no prompts: a step takes 8 + 0.18 x 64 ms, and the users share its tokens."""
    law = Law("tpot_mean<1s", prompt=(1.0, 0.01), output=(100.0, 0.01), per_prompt_token=0.0)
    found = Engine(law, 1, noisy=False).probe(Probe(64.0, "confirm", (2000,)))

    step_s = (8 + 0.18 * 64) / 1000
    assert found.margins["tpot_mean"][0] == pytest.approx(math.log(1 / step_s), abs=0.002)
    assert math.exp(found.ln_x[0]) == pytest.approx(64 / step_s, rel=0.02)


@pytest.mark.parametrize("seed", range(25))
def test_a_search_ends_whatever_is_measured(seed):
    """Noise of any size, cliffs, levels without figures, failures, bounds that leave one level: allowed levels are
    asked for, the end comes, and an answer was measured."""
    rng = random.Random(seed)
    low = rng.choice([1.0, 2.0, 8.0])
    high = low * rng.choice([1, 2, 10, 1000, 1e5])
    spec = SearchSpec(
        kind=rng.choice(["concurrency", "rate"]), low=low, high=high, start=rng.choice([1.0, 32.0, 200.0]),
        slots=rng.choice([None, 1.0, 64.0]), has_tail=rng.random() < 0.5, budget_s=rng.choice([1, 60, 600]),
        budget_usd=rng.choice([None, 0.1]), usd_per_hour=rng.choice([None, 2.0]), random_seed=seed,
    )  # fmt: skip
    bound = low * math.exp(1.2 * rng.random() * math.log(max(high / low, 1.01)))
    slope, rise, noise = rng.choice([0.1, 1, 5, 50]), rng.choice([0, 0.3, 1, -0.5]), rng.choice([0, 0.01, 0.1, 1])
    search, results = Search(spec), list[ProbeResult]()
    while not isinstance(step := search.next(results), End):
        assert spec.low <= step.level <= spec.high
        value = max(-5.0, min(5.0, slope * math.log(bound / step.level) + noise * rng.gauss(0, 1)))
        margins = {"a": (value, noise * rng.random())} | ({"b": (2.0, 1.41)} if rng.random() < 0.3 else {})
        shares = {name: one for name, one in margins.items() if rng.random() < 0.3}
        ln_x = (rise * math.log(step.level) + noise * rng.gauss(0, 0.3), rng.choice([0, 0.3]))
        results.append(
            ProbeResult(
                step.level, step.phase, step.looks[-1], rng.uniform(5, 100), margins, shares,
                ln_x if rng.random() > 0.05 else None, spec.kind == "rate" and step.level > 2 * bound,
                failed=rng.random() < 0.03,
            )
        )  # fmt: skip

    if step.answer is not None:
        assert step.answer.level in [one.level for one in results]
        assert 0 <= step.answer.p_good <= step.answer.p_met <= 1
