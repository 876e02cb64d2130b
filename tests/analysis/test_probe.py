"""One look at a probe: margins and intervals known by hand, and verdicts that are as often wrong as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchsuite.analysis.probe import PARTS, ProbeRows, look
from benchsuite.level import Level
from benchsuite.slo import parse_slo

USERS = Level(16)


def rows(ttft_s, *, failed=0, good=None, tokens_per_part=100.0, part_s=1.0):
    """A probe of requests with these times to first token."""
    n = len(ttft_s)
    sums = {"issued": np.ones(n), "empty": np.zeros(n), "failed": np.zeros(n)}
    sums["failed"][np.random.default_rng(2).permutation(n)[:failed]] = 1
    sums |= {} if good is None else {"good": (np.arange(n) < good).astype(float)}
    return ProbeRows({"ttft_s": ttft_s}, sums, {"arrived_tokens": np.full(PARTS, tokens_per_part)}, part_s)


def test_margins_of_a_mean_and_a_rate():
    """ln(limit / figure): 0.5 s of 1 s is ln 2; 1,000 tok/s of 16 users against 50 each ln(62.5 / 50)."""
    found = look(
        parse_slo("ttft_mean<1s,output_throughput_per_user>50"),
        rows(np.full(200, 0.5), tokens_per_part=2000.0, part_s=2.0),
        USERS,
    )

    assert found.verdict == "kept"
    assert found.margins == {
        "ttft_mean": (pytest.approx(math.log(2)), 0.0),
        "output_throughput_per_user": (pytest.approx(math.log(1000 / 16 / 50)), 0.0),
    }
    assert found.ln_x == (pytest.approx(math.log(1000)), 0.0)


def test_every_rate_has_its_parts():
    """4 requests a second of 200 tokens read and 100 made: the rates of the system; a limit on none is unknown."""
    parts = {"completed": np.full(PARTS, 4.0), "prefilled_tokens": np.full(PARTS, 800.0)}
    parts |= {"arrived_tokens": np.full(PARTS, 400.0), "good_completed": np.full(PARTS, 2.0)}
    one = rows(np.full(200, 0.5), good=100)
    slo = parse_slo("rps>2,throughput>200,total_throughput>600,goodput>1;goodput:ttft<1s")
    found = look(slo, ProbeRows(one.each, one.sums, parts, 1.0), Level(4.0, "rate"))

    assert [value for value, _ in found.margins.values()] == [pytest.approx(math.log(2))] * 4
    assert found.ln_x[0] == pytest.approx(math.log(2))


def test_the_margin_of_a_share_is_that_of_its_bad_part():
    """10 of 400 are not good, where 20 may be: ln(0.05 / (10.5 / 401)); of none at all half a one is counted."""
    slo = parse_slo("attainment>=95%;goodput:ttft<1s")
    some, none = (look(slo, rows(np.full(400, 0.5), good=good), USERS) for good in (390, 400))

    assert some.margins["attainment"][0] == pytest.approx(math.log(0.05 * 401 / 10.5))
    assert some.shares == some.margins
    assert none.margins["attainment"] == (pytest.approx(math.log(0.05 * 401 / 0.5)), pytest.approx(2**0.5, rel=0.01))


def test_a_percentile_has_a_margin_and_a_share():
    """p95 of 1 to 400 ms is 380 ms; of a limit of 340.5 ms, sixty of 400 are beyond it."""
    values = np.random.default_rng(1).permutation(np.arange(1, 401)) / 1000
    low, near, high = (look(parse_slo(f"ttft_p95<{limit}ms"), rows(values), USERS) for limit in (340.5, 380.5, 440.5))

    assert low.margins["ttft_p95"][0] == pytest.approx(math.log(340.5 / 380))
    assert low.shares["ttft_p95"][0] == pytest.approx(math.log(0.05 * 401 / 60.5))
    assert (low.verdict, near.verdict, high.verdict) == ("missed", "undecided", "kept")


def test_a_guard_speaks_only_where_it_is_proven_exceeded():
    """40 of 400 that failed are more than 1 %; 4 of them are not known to be."""
    slo = parse_slo("ttft_mean<1s")
    few, many = (look(slo, rows(np.full(400, 0.5), failed=failed), USERS) for failed in (4, 40))

    assert (few.verdict, many.verdict) == ("kept", "missed")
    assert "error_rate" not in few.margins
    assert many.margins["error_rate"][0] < 0


def test_what_is_not_known_keeps_nothing():
    """No time to first token, no token in the window, a rate that saturates: all miss."""
    slo, known = parse_slo("ttft_mean<1s"), rows(np.full(100, 0.5))
    unknown = rows(np.full(100, np.nan))
    silent = rows(np.full(100, 0.5), tokens_per_part=0.0)
    saturated = ProbeRows(known.each, known.sums, known.parts, 1.0, saturated=True)

    assert [look(slo, one, USERS).verdict for one in (known, unknown, silent)] == ["kept", "missed", "missed"]
    assert look(slo, saturated, Level(4.0, "rate")).verdict == "missed"


@pytest.mark.parametrize(("slo", "figure"), [("ttft_mean<1s", 1.0), ("ttft_p90<1s", 1 / math.log(10))])
@pytest.mark.parametrize("dependence", [0.0, 0.8])
def test_verdicts_are_seldom_wrong(slo, figure, dependence):
    """A level exactly at its limit is undecided: in 300 probes, of independent requests and not, a verdict is rare."""
    rng, verdicts = np.random.default_rng(5), []
    for _ in range(300):
        normal = rng.standard_normal(400)
        for i in range(1, 400):
            normal[i] = dependence * normal[i - 1] + math.sqrt(1 - dependence**2) * normal[i]
        uniform = np.array([0.5 * math.erfc(one / math.sqrt(2)) for one in normal])
        verdicts.append(look(parse_slo(slo), rows(-np.log(uniform) * figure), USERS).verdict)

    wrong = sum(one != "undecided" for one in verdicts)
    assert wrong <= 0.06 * 300
