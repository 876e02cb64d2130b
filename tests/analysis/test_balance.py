"""Requests by endpoint: counts, shares, and when like servers are not alike."""

from __future__ import annotations

import pyarrow as pa
import pytest
from factory import request_frame as frame
from factory import request_row as row

from benchsuite.analysis.endpoints import balance

OWN = [{"base_url": "http://a", "role": "own"}, {"base_url": "http://b", "role": "own"}]
API = {"base_url": "http://api", "role": "fallback"}


def table(*rows: object) -> pa.Table:
    return pa.Table.from_pandas(frame(*rows), preserve_index=False)


def at(
    endpoint: str | None, sent_s: float, ttft_s: float, gaps_s: tuple[float, ...] = (0.1,), **other: object
) -> object:
    return row(sent_s, ttft_s, list(gaps_s), endpoint=endpoint, **{"concurrency": 2} | other)


def test_a_level_by_endpoint():
    """Each endpoint has its requests, failures, tokens, means and share of the time in flight, the API apart."""
    (level,) = balance(
        table(
            at("http://a", 0.0, 0.2, (0.1, 0.1)),
            at("http://a", 1.0, 0.4),
            at("http://b", 0.0, 0.3),
            at("http://b", 1.0, 0.3, status="http_error", output_tokens=None),
            at("http://api", 2.0, 0.5, token_source="chunks"),
        ),
        [*OWN, API],
    )
    a, b, api = level.parts
    assert [part.role for part in level.parts] == ["own", "own", "fallback"]
    assert (a.requests, a.request_share, a.failures, a.output_tokens, a.input_tokens) == (2, 0.4, 0, 5, 20)
    assert (a.ttft_s, a.tpot_s) == (pytest.approx(0.3), pytest.approx(0.1))
    assert a.busy_share == pytest.approx(0.9 / 2.3)  # of 0.4 + 0.5 here, 0.4 + 0.4, 0.6
    assert (b.requests, b.failures, b.output_tokens, b.n_ttft) == (2, 1, 2, 1)
    assert (api.requests, api.tokens_unknown, a.tokens_unknown) == (1, 1, 0)
    assert (level.imbalance, level.warnings, level.of("fallback")) == (1.0, (), (api,))


def test_an_uneven_spread_is_named():
    """An endpoint with 1.5 times the mean is a finding if it is not a few requests' chance; another one where the users
    could not be even."""
    rows = [at("http://a", i, 0.2) for i in range(3)] + [at("http://b", 0.0, 0.2)]
    (few,), (level,) = balance(table(*rows), OWN), balance(table(*rows * 10), OWN)
    assert (few.imbalance, level.imbalance, few.warnings) == (1.5, 1.5, ())
    (warn,) = level.warnings
    assert (warn.code, warn.values["most_at"], warn.values["least_at"]) == ("imbalance", "http://a", "http://b")
    (odd,) = balance(table(*(at(u, i, 0.2, concurrency=3) for i, u in enumerate(["http://a"] * 2 + ["http://b"]))), OWN)
    assert [warn.code for warn in odd.warnings] == ["uneven_users"]


def test_a_slow_endpoint_is_named():
    """An endpoint whose TTFT is more than 1.5 times that of the others, and 10 ms more, is a finding; less is none."""
    (level,) = balance(table(at("http://a", 0.0, 0.2), at("http://b", 0.0, 0.4)), OWN)
    (warn,) = level.warnings
    assert (warn.code, warn.values["endpoint"], round(warn.values["ttft_ms"])) == ("slow_endpoint", "http://b", 400)
    for first_s, second_s in ((0.2, 0.3), (0.004, 0.013)):
        (level,) = balance(table(at("http://a", 0.0, first_s), at("http://b", 0.0, second_s)), OWN)
        assert level.warnings == ()
    # two of three users at b, which is twice as busy
    odd = [at("http://a", 0.0, 0.2, concurrency=3), *(at("http://b", t, 0.4, concurrency=3) for t in (0.0, 1.0))]
    (level,) = balance(table(*odd), OWN)
    assert [warn.code for warn in level.warnings] == ["uneven_users"]


def test_endpoints_without_rows_and_rows_without_endpoint():
    """An endpoint that got nothing is there with 0; a run that does not say has one part without a name."""
    (level,) = balance(table(at("http://a", 0.0, 0.2, concurrency=1)), OWN)
    assert [(p.endpoint, p.requests, p.ttft_s) for p in level.parts] == [
        ("http://a", 1, pytest.approx(0.2)),
        ("http://b", 0, None),
    ]
    assert level.imbalance == 2.0
    (level,) = balance(table(at(None, 0.0, 0.2)), [])
    assert [(p.endpoint, p.role, p.requests) for p in level.parts] == [(None, "own", 1)]
    assert (level.imbalance, level.warnings) == (None, ())
