"""One look at a probe: margins and intervals known by hand, and verdicts that are as often wrong as they say."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from factory import request_row

from benchsuite.analysis.probe import PARTS, ProbeRows, look, rows_of_probe
from benchsuite.level import Level
from benchsuite.slo import parse_slo
from benchsuite.store.files import SCHEMA

USERS = Level(16)


def rows(ttft_s, *, failed=0, good=None, tokens_per_part=100.0, part_s=1.0):
    """A probe of requests with these times to first token."""
    n = len(ttft_s)
    sums = {"issued": np.ones(n), "empty": np.zeros(n), "failed": np.zeros(n)}
    sums["failed"][np.random.default_rng(2).permutation(n)[:failed]] = 1
    sums |= {} if good is None else {"good": np.random.default_rng(2).permutation(np.arange(n) < good).astype(float)}
    sums |= {"output_tokens": np.full(n, tokens_per_part * PARTS / n)}
    cycle_s, parts = np.full(n, USERS.users * part_s * PARTS / n), {"arrived_tokens": np.full(PARTS, tokens_per_part)}
    return ProbeRows({"ttft_s": ttft_s}, sums, parts, part_s, cycle_s)


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
    found = look(slo, ProbeRows(one.each, one.sums, parts, 1.0, one.cycle_s), Level(4.0, "rate"))

    assert [value for value, _ in found.margins.values()] == [pytest.approx(math.log(2))] * 4
    assert found.ln_x[0] == pytest.approx(math.log(2))


@pytest.mark.parametrize(("bad", "p_met"), [(10, 0.991), (0, 1.0 - 2.5e-10), (20, 0.5), (35, 0.0008)])
def test_the_margin_of_a_share_is_that_of_its_bad_part(bad, p_met):
    """Of 400, of which 20 may be bad: ln(0.05 / the median of Jeffreys' posterior), about (bad + 1/6) / (400 + 1/3); in
    its standard errors it is above 0 as likely as 5 % are not exceeded, by that posterior."""
    slo = parse_slo("attainment>=95%;goodput:ttft<1s")
    found = look(slo, rows(np.full(400, 0.5), good=400 - bad), USERS)
    margin, error = found.margins["attainment"]

    assert found.shares == found.margins
    assert margin == pytest.approx(math.log(0.05 * (400 + 1 / 3) / (bad + 1 / 6)), abs=0.35 if bad == 0 else 0.01)
    assert 0.5 * math.erfc(-margin / error / math.sqrt(2)) == pytest.approx(p_met, abs=0.02)


def test_a_percentile_has_a_margin_and_a_share():
    """p95 of 1 to 400 ms is 380 ms; of a limit of 340.5 ms, sixty of 400 are beyond it."""
    values = np.random.default_rng(1).permutation(np.arange(1, 401)) / 1000
    low, near, high = (look(parse_slo(f"ttft_p95<{limit}ms"), rows(values), USERS) for limit in (340.5, 380.5, 440.5))

    assert low.margins["ttft_p95"][0] == pytest.approx(math.log(340.5 / 380))
    assert low.shares["ttft_p95"][0] == pytest.approx(math.log(0.05 * (400 + 1 / 3) / (60 + 1 / 6)), abs=0.001)
    assert (low.verdict, near.verdict, high.verdict) == ("missed", "undecided", "kept")


def test_a_guard_speaks_only_where_it_is_proven_exceeded():
    """40 of 400 that failed are more than 1 %; 4 of them are not known to be."""
    slo = parse_slo("ttft_mean<1s")
    few, many = (look(slo, rows(np.full(400, 0.5), failed=failed), USERS) for failed in (4, 40))

    assert (few.verdict, many.verdict) == ("kept", "missed")
    assert "error_rate" not in few.margins
    assert many.margins["error_rate"][0] < 0


def test_what_is_not_known_keeps_nothing():
    """No time to first token, no token in the window: both miss."""
    slo, known = parse_slo("ttft_mean<1s"), rows(np.full(100, 0.5))
    unknown = rows(np.full(100, np.nan))
    silent = rows(np.full(100, 0.5), tokens_per_part=0.0)

    assert [look(slo, one, USERS).verdict for one in (known, unknown, silent)] == ["kept", "missed", "missed"]


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.96, "kept"), (0.98, "undecided"), (1.02, "undecided"), (1.04, "missed")]
)
def test_a_verdict_within_3_percent_is_none(value, verdict):
    """However sure the figure of this run is, another run may be off by as much."""
    assert look(parse_slo("ttft_mean<1s"), rows(np.full(200, value)), USERS).verdict == verdict


def test_an_interval_is_of_three_looks():
    """Twenty batches about 0.9 s whose mean has a standard error of 2.9 %: with t of 2.09, of 95 %, the margin of
    ln(1 / 0.9) = 10.5 % would be above 3 %; with 2.61, of 1 - 0.05 / 3, it is not."""
    spread = np.random.default_rng(3).permutation(np.repeat([-1.0, 1.0], PARTS // 2)) * 0.9 * 0.029 * math.sqrt(19)
    found = look(parse_slo("ttft_mean<1s"), rows(np.repeat(0.9 + spread, 10)), USERS)

    assert found.margins["ttft_mean"] == (pytest.approx(math.log(1 / 0.9)), pytest.approx(0.029))
    assert found.verdict == "undecided"


def test_batches_that_are_alike_are_joined():
    """Five steps of four batches each: five values, not twenty. Their standard deviation is 0.1 sqrt(2.5) of 1."""
    values = np.repeat(np.arange(5) * 0.1 + 0.8, 40)
    error = look(parse_slo("ttft_mean<2s"), rows(values), USERS).margins["ttft_mean"][1]

    assert error == pytest.approx(0.1 * math.sqrt(2.5) / math.sqrt(5))


def test_bad_requests_that_come_together_are_worth_less():
    """20 of 400 in one burst say less of the share than 20 that are spread."""
    slo = parse_slo("ttft_p90<1s")
    burst, spread = (np.where(bad, 2.0, 0.5) for bad in (np.arange(400) < 20, np.arange(400) % 20 == 0))
    found = [look(slo, rows(one), USERS) for one in (burst, spread)]

    assert found[0].shares["ttft_p90"][0] == found[1].shares["ttft_p90"][0]
    assert found[0].shares["ttft_p90"][1] > 2 * found[1].shares["ttft_p90"][1]


def test_a_percentile_that_few_requests_cannot_show_is_not_kept():
    """The p99 of 100 requests, all of 0.5 s: the slowest of 1 % may not be among them."""
    few, many = (look(parse_slo("ttft_p99<1s"), rows(np.full(n, 0.5)), USERS) for n in (100, 2000))

    assert (few.verdict, many.verdict) == ("undecided", "kept")


def test_a_request_that_was_taken_later_and_sent_earlier():
    """Of two processes: number 4 leaves just before the settling ends, and 3 just after. What counts begins with 5."""
    import pyarrow as pa

    from benchsuite.store.files import SCHEMA

    sent_s = [0.0, 1.0, 2.0, 4.01, 3.99, *map(float, range(5, 40))]
    made = [
        request_row(at_s, 0.5, [0.1], concurrency=1)._replace(request_id=f"c1-{i}") for i, at_s in enumerate(sent_s)
    ]
    table = pa.Table.from_pylist([one._asdict() for one in made], schema=SCHEMA)
    n, probe = rows_of_probe(table, Level(1), parse_slo("ttft_mean<1s"), 4.0)
    assert (n, len(probe.each["ttft_s"])) == (35, 35)


def test_a_users_time_between_its_requests_is_paid_for_too():
    """One that is in flight for half of its time, as it connects anew each time, gets half the tokens a second."""
    import pyarrow as pa

    from benchsuite.store.files import SCHEMA

    made = [request_row(float(i), 0.5, [0.1], concurrency=1) for i in range(60)]
    made = [one._replace(scheduled_s=one.sent_s - 0.5, request_id=f"c1-{i}") for i, one in enumerate(made)]
    table = pa.Table.from_pylist([one._asdict() for one in made], schema=SCHEMA)
    _, probe = rows_of_probe(table, Level(1), parse_slo("ttft_mean<9s"), 0.0)
    cycle_s = made[0].closed_s - made[0].scheduled_s
    assert cycle_s == pytest.approx(0.5 + made[0].closed_s - made[0].sent_s)
    assert look(parse_slo("ttft_mean<9s"), probe, Level(1)).ln_x[0] == pytest.approx(
        math.log(made[0].output_tokens / cycle_s)
    )


def test_a_probe_is_read_up_to_its_first_request_that_has_not_ended():
    """Of 40 requests, the 31st not yet a row: 30; of those from before its settling none, and below 20 nothing."""
    made = [
        request_row(float(i), 0.5, [0.1], concurrency=1)._replace(request_id=f"c1-{i}") for i in range(40) if i != 30
    ]
    table = pa.Table.from_pylist([one._asdict() for one in made[::-1]], schema=SCHEMA)
    slo = parse_slo("ttft_mean<1s")

    n, whole = rows_of_probe(table, Level(1), slo, 0.0)
    assert (n, len(whole.each["ttft_s"]), whole.part_s) == (30, 30, pytest.approx(29 / PARTS))
    assert rows_of_probe(table, Level(1), slo, 5.0)[0] == 25
    assert rows_of_probe(table, Level(1), slo, 11.0) == (19, None)
    assert rows_of_probe(table, Level(1), slo, 100.0) == (0, None)


def test_a_request_without_a_connection_counts_too():
    """Of 50 a second apart every fifth was never sent, as its server was not there: none ends the count, and all are
    failed requests."""
    made = []
    for k in range(50):
        known = {"scheduled_s": float(k), "request_id": f"f01-c0001-r0-{k:05d}", "concurrency": 1}
        if k % 5 == 4:
            made.append(request_row(None, None, **known, status="connect_error"))
        else:
            made.append(request_row(float(k), 0.05, [0.001] * 3, **known))
    table = pa.Table.from_pylist([row._asdict() for row in made], schema=SCHEMA)
    n, found = rows_of_probe(table, Level(1), parse_slo("ttft_mean<100ms"), 0.0)

    assert (n, found.sums["failed"].sum()) == (50, 10)
    assert look(parse_slo("ttft_mean<100ms"), found, Level(1)).verdict == "missed"


def test_requests_of_a_rate_count_from_when_they_were_due():
    """Ten a second from second 10 on, answered 50 ms after they were sent, every other one 20 ms late. Those due before
    20 s are left out and every tenth was dropped; the 150th from there has no row yet, so that 149 are judged."""
    rate, slo = Level(10.0, "rate"), parse_slo("ttft_mean<100ms,attainment>=80%;goodput:ttft<60ms")
    made = []
    for k in range(300):
        late_s = 0.02 if k % 2 else 0.0
        other = {
            "scheduled_s": 10 + k / 10,
            "request_id": f"f01-q10-r0-{k:05d}",
            "concurrency": None,
            "rate_per_s": 10.0,
        }
        if k % 10 == 0:
            made.append(request_row(None, None, **other, status="dropped"))
        else:
            made.append(request_row(10 + k / 10 + late_s, 0.05, [0.001] * 3, **other))
    del made[100 + 149]
    table = pa.Table.from_pylist([row._asdict() for row in made], schema=SCHEMA)
    n, found = rows_of_probe(table, rate, slo, 20.0)

    assert n == 149
    ttft_s = found.each["ttft_s"]
    assert (np.nanmin(ttft_s), np.nanmax(ttft_s)) == (pytest.approx(0.05), pytest.approx(0.07))
    assert np.count_nonzero(np.isnan(ttft_s)) == found.sums["failed"].sum() == 15
    assert found.sums["good"].sum() == 60  # sent in time
    assert found.part_s == pytest.approx(14.8 / PARTS)
    assert found.parts["good_completed"].sum() == 60 - 1  # the last but one ended behind the last
    assert look(slo, found, rate).verdict == "missed"
    # the last one before has no row yet: it is not known which is the first
    assert rows_of_probe(pa.concat_tables([table[:99], table[100:]]), rate, slo, 20.0) == (0, None)


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
