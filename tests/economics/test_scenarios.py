"""The article's three scenarios in explicit units, with its printed figures beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchsuite.economics.api_vs_own import parse_scenarios
from benchsuite.errors import PriceError

TEXT = (Path(__file__).parents[2] / "docs" / "examples" / "article_scenarios.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("i", "tokens", "api_usd", "own_usd", "saving", "break_even", "printed"),
    [
        (0, 1.5e6, 1.50, 252.00, -167.0, 252e6, (1500.0, 252.0, 0.83)),
        (1, 30e6, 900.00, 1452.70, -0.614, 48.4e6, (900_000.0, 1453.0, 0.99)),
        (2, 600e6, 18_000.00, 5810.80, 0.677, 193.7e6, (18_000.0, 5813.0, 0.68)),
    ],
)
def test_the_article_redone(i, tokens, api_usd, own_usd, saving, break_even, printed):
    """What the arithmetic gives, and what was printed."""
    found = parse_scenarios(TEXT, "article")[i]
    assert found.tokens_per_month == tokens
    assert found.api_usd == pytest.approx(api_usd)
    assert found.own_usd == pytest.approx(own_usd)
    assert found.saving_ratio == pytest.approx(saving, abs=6e-4)
    assert found.break_even_tokens == pytest.approx(break_even, rel=1e-3)
    assert tuple(found.printed.values()) == printed
    assert found.why


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("api_usd_per_1m_tokens = 1.0", "api_usd_per_1k_tokens = 1.0", "scenario.0.api_usd_per_1k_tokens: unknown key"),
        ("usd_per_hour = 0.35", "usd_per_hour = -0.35", "scenario.0.usd_per_hour"),
        ("gpus = 1\n", "", "scenario.0.gpus: required but missing"),
        ("api_usd = 1500.0", "api_cost = 1500.0", "scenario.0.printed.api_cost: unknown key"),
        ("[[scenario]]", "[[scenario]", "do not parse"),
    ],
)
def test_nonsense_is_refused(old, new, message):
    """By scenario and key."""
    with pytest.raises(PriceError, match=message):
        parse_scenarios(TEXT.replace(old, new, 1), "file")
