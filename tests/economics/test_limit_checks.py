"""A limit on failed requests, judged on its own."""

from __future__ import annotations

import pytest
from points_for_tests import point

from benchsuite.economics.verdict import check_limits
from benchsuite.slo import Slo, parse_slo


@pytest.mark.parametrize(
    ("n_ok", "n_failed", "verdict"),
    [
        (1, 0, "undecided"),  # up to 95 % may fail
        (96, 0, "undecided"),  # up to 3.1 %
        (299, 0, "met"),
        (95, 1, "undecided"),
        (98, 2, "undecided"),  # 26 % of sound servers fail as often
        (94, 6, "not met"),
        (80, 20, "not met"),
    ],
)
def test_failed_requests(n_ok, n_failed, verdict):
    """Clopper-Pearson both ways: 299 without a failure prove 1 %, one of 96 rules nothing out."""
    level = point(8, 10.0, 30.0, n_ok=n_ok, n_failed=n_failed, error_rate=n_failed / (n_ok + n_failed))
    (check,) = check_limits(level, parse_slo("error_rate<=1%"))
    assert (check.verdict, check.asked) == (verdict, True)
    if verdict == "undecided":
        assert check.requests is None or check.requests >= 299
    (guard,) = check_limits(level, Slo(()))
    assert (guard.verdict, guard.asked) == (verdict, False)


def test_unknown_failures():
    """Unknown is not none; a guard that nobody asked for is left out."""
    level = point(8, 10.0, 30.0, n_failed=None, error_rate=None)
    assert [check.verdict for check in check_limits(level, parse_slo("error_rate<1%"))] == ["unknown"]
    assert check_limits(level, Slo(())) == ()
