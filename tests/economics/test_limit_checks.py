"""A limit on failed requests, judged on its own."""

from __future__ import annotations

import pytest
from points_for_tests import point

from benchsuite.economics.gate_limits import _errors
from benchsuite.slo import parse_slo

(ONE_PERCENT,) = parse_slo("error_rate<1%").limits


@pytest.mark.parametrize(
    ("n_ok", "n_failed", "verdict"),
    [
        (100, 0, "pass"),
        (98, 2, "inconclusive"),  # 26 % of sound servers fail as often
        (80, 20, "fail"),
        (100, None, "inconclusive"),  # unknown is not none
    ],
)
def test_failed_requests(n_ok, n_failed, verdict):
    """Kept as observed passes, far beyond chance fails; what is within chance, or not known, is neither."""
    rate = None if n_failed is None else n_failed / (n_ok + n_failed)
    level = point(8, 10.0, 30.0, n_ok=n_ok, n_failed=n_failed, error_rate=rate)
    assert _errors(level, ONE_PERCENT)[0] == verdict
