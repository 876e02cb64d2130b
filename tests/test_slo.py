"""The SLO grammar: what each form means, what is refused and how, and that what is written can be read back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite import slo as grammar
from benchsuite.errors import SloError
from benchsuite.limits import most
from benchsuite.metrics import METRICS, STATS
from benchsuite.slo import PAPER_SLO, Limit, Op, Slo, parse_goodput, parse_slo


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("ttft<1s", [("ttft_s", "mean", "<", 1.0)]),
        ("ttft_mean<=1s", [("ttft_s", "mean", "<=", 1.0)]),
        ("ttft_p99 = 500 ms", [("ttft_s", "p99", "<=", 0.5)]),
        ("TTFT_P95<1S", [("ttft_s", "p95", "<", 1.0)]),
        ("tpot_p50<50000us", [("tpot_s", "p50", "<", 0.05)]),
        ("p99_ttft<2s", [("ttft_s", "p99", "<", 2.0)]),
        ("p99_itl<40ms", [("itl_s", "p99", "<", 0.04)]),
        ("itl<40ms", [("itl_s", "mean", "<", 0.04)]),
        ("e2el_p90<10s", [("e2e_s", "p90", "<", 10.0)]),
        ("latency<1e1s", [("e2e_s", "mean", "<", 10.0)]),
        ("latency<1e+1s", [("e2e_s", "mean", "<", 10.0)]),
        ("ttft:500 tpot:50", [("ttft_s", "mean", "<=", 0.5), ("tpot_s", "mean", "<=", 0.05)]),
        ("ttft:2s", [("ttft_s", "mean", "<=", 2.0)]),
        ("throughput>20", [("output_tok_s", None, ">", 20.0)]),
        ("output_throughput>=20 tok/s", [("output_tok_s", None, ">=", 20.0)]),
        ("output_throughput_per_user>20", [("output_tok_s_per_user", None, ">", 20.0)]),
        ("decode_throughput>20tokens/s", [("decode_tok_s", None, ">", 20.0)]),
        ("rps>5", [("request_per_s", None, ">", 5.0)]),
        ("goodput>5 req/s", [("goodput_per_s", None, ">", 5.0)]),
        ("attainment>=0.95", [("attainment", None, ">=", 0.95)]),
        ("attainment >= 95 %", [("attainment", None, ">=", 0.95)]),
        ("error_rate<1%", [("error_rate", None, "<", 0.01)]),
        ("errors<=0.01", [("error_rate", None, "<=", 0.01)]),
        ("ttft<1s, throughput>20", [("ttft_s", "mean", "<", 1.0), ("output_tok_s", None, ">", 20.0)]),
        ("ttft < 1 s ; throughput > 20 tok/s", [("ttft_s", "mean", "<", 1.0), ("output_tok_s", None, ">", 20.0)]),
        ("TTFT<1s TPOT<50ms", [("ttft_s", "mean", "<", 1.0), ("tpot_s", "mean", "<", 0.05)]),
        ("ttft_p50<1s,ttft_p99<3s", [("ttft_s", "p50", "<", 1.0), ("ttft_s", "p99", "<", 3.0)]),
    ],
)
def test_forms(text, limits):
    """Every form is these limits, in seconds, ratios and per second."""
    assert parse_slo(text) == Slo(tuple(Limit(*limit) for limit in limits))


@pytest.mark.parametrize(
    ("text", "what", "given", "expected"),
    [
        ("", "the SLO is empty", "''", "ttft_mean<1s"),
        (" , ", "the SLO is empty", "' , '", "ttft_mean<1s"),
        ("ttft", "an SLO limit does not parse", "'ttft'", "ttft_mean<1s"),
        ("ttft<-1s", "an SLO limit does not parse", "'ttft<-1s'", "ttft_mean<1s"),
        ("throughput>20,tfft<1s", "unknown metric 'tfft'; did you mean 'ttft'?", "'tfft<1s'", "ttft_mean<1s"),
        ("ttft_p97<1s", "unknown metric 'ttft_p97'; did you mean 'ttft_p9", "'ttft_p97<1s'", "ttft_mean<1s"),
        ("quality>1", "unknown metric 'quality'", "'quality>1'", "ttft_mean<1s"),
        ("ttft<1", "ttft needs a unit", "'ttft<1'", "s, ms or us"),
        ("ttft<1min", "unit 'min' does not fit ttft", "'ttft<1min'", "s, ms or us"),
        ("ttft<1.2.3s", "'1.2.3' is not a number", "'ttft<1.2.3s'", "ttft_mean<1s"),
        ("ttft<1e999s", "'1e999' is not a finite number", "'ttft<1e999s'", "ttft_mean<1s"),
        ("ttft>1s", "ttft takes an upper limit", "'ttft>1s'", "ttft<1s"),
        ("ttft<0s", "a limit on ttft is above 0", "'ttft<0s'", "ttft_mean<1s"),
        ("attainment>100%", "nothing can meet attainment > 1", "'attainment>100%'", "attainment>1%"),
        ("error_rate<0", "nothing can meet error_rate < 0", "'error_rate<0'", "error_rate<1%"),
        ("ttft_p101<1s", "unknown metric 'ttft_p101'", "'ttft_p101<1s'", "ttft_mean<1s"),
        ("throughput<20", "output_throughput takes a lower limit", "'throughput<20'", "throughput>20"),
        ("throughput>20ms", "unit 'ms' does not fit output_throughput", "'throughput>20ms'", "throughput>20"),
        (
            "throughput>20req/s",
            "unit 'req/s' does not fit output_throughput",
            "'throughput>20req/s'",
            "through",
        ),
        (
            "throughput_p99>20",
            "throughput is a metric of the whole level and has no p99",
            "'throughput_p",
            "throughput",
        ),
        ("error_rate>1%", "error_rate takes an upper limit", "'error_rate>1%'", "error_rate<1%"),
        ("error_rate<2", "error_rate is a ratio from 0 to 1, or a percentage", "'error_rate<2'", "error_rate<1%"),
        ("ttft<1s,ttft_mean<2s", "the SLO limits ttft_mean twice", "ttft<1s,ttft_mean<2s", "one limit a metric"),
    ],
)
def test_refusals(text, what, given, expected):
    """A limit that means nothing is refused with what is wrong, the part that it is in, and what would do."""
    with pytest.raises(SloError) as refused:
        parse_slo(text, where="sweep.toml")
    assert refused.value.what.startswith(what)
    assert refused.value.given.startswith(given)
    assert expected in refused.value.expected
    assert refused.value.where == "sweep.toml"
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (PAPER_SLO, "ttft_mean < 1000 ms, output_throughput_per_user > 20 tok/s"),
        ("ttft_p99<=450ms", "ttft_p99 <= 450 ms"),
        ("e2e<12s,ttft<12.5s", "e2e_mean < 12 s, ttft_mean < 12.5 s"),
        ("error_rate<1%", "error_rate < 1 %"),
        ("error_rate<0.012345", "error_rate < 0.012345"),
        ("tpot<12.3456ms", "tpot_mean < 0.0123456 s"),
        ("rps>5", "request_throughput > 5 req/s"),
        ("attainment>=0.95; goodput: ttft:1000 tpot:50", "attainment >= 95 %; goodput: ttft <= 1000 ms, tpot <= 50 ms"),
    ],
)
def test_written(text, written):
    """An SLO is shown as it was typed; what nobody typed is written in one way, without losing a digit."""
    slo = parse_slo(text)
    limits = (*slo.limits, *slo.goodput)
    assert [str(limit) for limit in limits] == [limit.typed for limit in limits]
    assert all(limit.typed in text for limit in limits)
    bare = Slo(*(tuple(replace(limit, typed="") for limit in part) for part in (slo.limits, slo.goodput)))
    assert str(bare) == written
    assert bare == slo


@pytest.mark.parametrize("text", ["ttft_p95<=1.5s", "TTFT_P95 <= 1.5 s", "p95_ttft<1500ms", "ttft<" + "0" * 80 + "1s"])
def test_typed(text):
    """A limit is echoed as it was typed, unless it is longer than any person types."""
    (limit,) = parse_slo(f" {text} ").limits
    assert str(limit) == (text if len(text) < 60 else "ttft_mean < 1000 ms")


@pytest.mark.parametrize(
    ("limit", "value", "shown"),
    [
        ("ttft<1s", 0.4823, "482.3 ms"),
        ("tpot<50ms", 0.00005, "0.05 ms"),
        ("itl_p99<1s", 0.99999, "999.99 ms"),
        ("ttft<30s", 12.34, "12.34 s"),
        ("e2e<30s", 1.5, "1.5 s"),
        ("error_rate<1%", 0.02, "2 %"),
        ("rps>5", 4.2, "4.2 req/s"),
    ],
)
def test_shown(limit, value, shown):
    """TTFT, TPOT and ITL are in milliseconds up to 10 s, and no value is rounded across its limit."""
    assert parse_slo(limit).limits[0].show(value) == shown


LIMITABLE = [metric for metric in METRICS.values() if metric.limitable]


@st.composite
def limits(draw: st.DrawFn, of_each: bool = False) -> Limit:
    """Any limit that the grammar can write. of_each: one that each request has to keep."""
    metric = draw(st.sampled_from([m for m in LIMITABLE if not of_each or callable(m.each)]))
    op: Op = draw(st.sampled_from(("<", "<=") if metric.better == "less" else (">", ">=")))
    least, most = (1e-9, 0.999) if metric.unit == "ratio" else (1e-9, 1e9)
    stat = draw(st.sampled_from(STATS)) if metric.per_request and not of_each else None
    return Limit(metric.key, stat, op, draw(st.floats(least, most)))


@given(
    st.lists(limits(), min_size=1, unique_by=lambda limit: limit.name),
    st.lists(limits(of_each=True), unique_by=lambda limit: limit.name),
)
def test_round_trip(limits, goodput):
    """What is written of an SLO is read back as the same SLO."""
    slo = Slo(tuple(limits), tuple(goodput))
    assert parse_slo(str(slo)) == slo
    assert str(parse_slo(str(slo))) == str(slo)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("ttft_p95<1s", "a limit of each request has no p95"),
        ("itl<50ms", "itl is not a metric of a single request"),
        ("throughput>20", "output_throughput is not a metric of a single request"),
        ("", "the list of per-request limits is empty"),
    ],
)
def test_refused_limits_of_a_request(text, what):
    """What a request has no single value of is no limit that it can keep."""
    with pytest.raises(SloError) as refused:
        parse_goodput(text)
    assert (refused.value.what, refused.value.where) == (what, "--goodput")


def test_goodput_needs_limits():
    """A limit on goodput or attainment without per-request limits is refused with the way out."""
    with pytest.raises(SloError) as refused:
        Slo(()).override("attainment>=0.95", None)
    assert "--goodput" in refused.value.hint


def test_what_is_given_replaces_an_slo():
    """Limits and per-request limits apart; those in the SLO's own text come before those of the run."""
    own = parse_slo("ttft<1s; goodput: tpot<50ms")
    assert own.override(None, None) == own
    assert own.override("attainment>=0.95", None) == Slo(parse_slo("attainment>=0.95").limits, own.goodput)
    assert own.override(None, "ttft:500 tpot:50").goodput == parse_goodput("ttft<=500ms,tpot<=50ms")
    assert own.override("e2e<9s; goodput: ttft<2s", None).goodput == parse_goodput("ttft<2s")


@pytest.mark.parametrize(
    ("text", "value", "holds", "miss"),
    [
        ("ttft<1s", 0.999, True, 0.0),
        ("ttft<1s", 1.0, False, 0.0),
        ("ttft<=1s", 1.0, True, 0.0),
        ("ttft<1s", 1.5, False, 0.5),
        ("throughput>20", 20.0, False, 0.0),
        ("throughput>=20", 20.0, True, 0.0),
        ("throughput>20", 15.0, False, 0.25),
        ("error_rate<=0", 0.5, False, float("inf")),
        ("ttft<1s", float("nan"), False, None),
    ],
)
def test_holds(text, value, holds, miss):
    """A limit holds strictly or not as it is written, and says by what part of itself it is missed."""
    (limit,) = parse_slo(text).limits
    assert limit.holds(value) is holds
    if miss is not None:
        assert limit.miss(value) == miss


def test_no_limits():
    """An SLO without limits says so."""
    assert str(Slo(())) == "none"


@pytest.mark.parametrize("parse", [parse_slo, parse_goodput])
@pytest.mark.parametrize("unit", ["ttft<1s,", " ", ",", "a", "9", " goodput:", "ttft<1s goodput:"])
def test_a_long_text_is_refused(monkeypatch, parse, unit):
    """Before a pattern is run over it."""
    for pattern in ("_LIMIT", "_PARTS", "_GOODPUT"):
        monkeypatch.setattr(grammar, pattern, SimpleNamespace(split=pytest.fail, match=pytest.fail))
    with pytest.raises(SloError, match="at most"):
        parse("ttft" + unit * most("slo_chars"))
