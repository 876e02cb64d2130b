"""The verdict on the measuring client."""

from typing import Any

import pytest

from benchsuite.analysis.summary import parse_points
from benchsuite.analysis.warnings import judge_client, token_balance


def state(**over: Any) -> dict[str, Any]:
    lag = {"n": 1000, "p50_us": 20.0, "p99_us": 100.0, "max_us": 900.0}
    quiet = {"merged_read_share": 0.0, "cpu_share_max_1s": 0.2, "steal_s": 0.0}
    return quiet | {"read_lag": lag, "loop_lag": lag, "dispatch_lag": lag} | over


def lag(p99_us: float) -> dict[str, Any]:
    return {"n": 9, "p50_us": 1.0, "p99_us": p99_us, "max_us": p99_us}


@pytest.mark.parametrize(
    ("over", "kernel", "verdict"),
    [
        ({}, True, "ok"),
        ({"merged_read_share": 0.001}, True, "ok"),
        ({"merged_read_share": 0.0011}, True, "degraded"),
        ({"merged_read_share": 0.011}, True, "client-bound"),
        ({"cpu_share_max_1s": 0.61}, True, "degraded"),
        ({"cpu_share_max_1s": 0.81}, True, "client-bound"),
        ({"read_lag": lag(5000)}, True, "ok"),  # half of a gap of 10 ms
        ({"read_lag": lag(9000)}, True, "degraded"),
        ({"read_lag": lag(11000)}, True, "client-bound"),
        ({"loop_lag": lag(9000)}, True, "ok"),  # with kernel stamps the loop's lag is no error
        ({"loop_lag": lag(900)}, False, "degraded"),
        ({"loop_lag": lag(1100)}, False, "client-bound"),
        ({"dispatch_lag": lag(20_000)}, True, "degraded"),
        ({"merged_read_share": None, "cpu_share_max_1s": None, "read_lag": None}, True, "ok"),
    ],
)
def test_limits(over: dict[str, Any], kernel: bool, verdict: str) -> None:
    """Each limit of the table in the module's docstring, with a median gap of 10 ms."""
    assert judge_client([state(**over)], 0.010, kernel).verdict == verdict


def test_the_worst_repeat_counts() -> None:
    """Two repeats, one of them bad: bad."""
    found = judge_client([state(), state(cpu_share_max_1s=0.95)], 0.010, True)

    assert found.verdict == "client-bound"
    assert found.reasons == ("a process used 95% of a core",)
    assert found.figures["cpu_share_max_1s"] == 0.95


@pytest.mark.parametrize(("share", "code"), [(0.02, "client_bound"), (0.002, "client_degraded"), (0.0, None)])
def test_the_verdict_as_a_warning(share: float, code: str | None) -> None:
    """One code for each verdict that is not ok; none when all is well."""
    warning = judge_client([state(merged_read_share=share)], 0.010, True).warning(8)
    assert (warning and (warning.code, warning.concurrency)) == (code and (code, 8))


@pytest.mark.parametrize(
    ("counts", "warned"),
    [([500.0, 500.0], False), ([500.0, 504.0], False), ([500.0, 506.0], True), ([500.0, None], False), ([], False)],
)
def test_token_balance(counts: list[float | None], warned: bool) -> None:
    """1,000 tokens here; up to half a percent apart is agreement, an unknown count is no verdict."""
    (point,) = parse_points("model,concurrency,requests,time_s,output_tokens\nm,8,10,5,1000\n", where="t.csv")
    found = token_balance(point, counts)

    assert (found is not None) == warned
    if found is not None:
        assert (found.code, found.concurrency) == ("token_balance", 8)
        assert found.values == {"ours": 1000, "servers": 1006}
