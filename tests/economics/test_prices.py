"""The bundled prices: each with a value, a source and a date."""

from __future__ import annotations

import pytest

from benchsuite.economics.prices import preset, presets
from benchsuite.errors import PriceError


def test_known_prices():
    """The paper's card unrounded and as printed, the article's clouds as printed."""
    found = {name: round(price.usd_per_hour, 6) for name, price in presets().items()}
    assert found == {
        "a800-owned": 0.786625,
        "a800-paper": 0.79,
        "l4": 0.35,
        "a100-low": 0.73,
        "a100-high": 0.79,
        "l40s-low": 0.73,
        "l40s-high": 0.79,
        "h100-low": 1.99,
        "h100-high": 2.86,
    }
    assert 2 * preset("a800-paper").usd_per_hour == pytest.approx(1.58)
    assert 2 * preset("a800-owned").usd_per_hour == pytest.approx(1.573249, abs=1e-6)


def test_every_price_says_where_it_is_from():
    """Source, date and the caveat."""
    for price in presets().values():
        assert price.source
        assert price.as_of in ("2025-10", "2026-03")
        assert "erified" in price.note or "unrounded" in price.note


def test_unknown_preset_suggests():
    """The nearest name and the list."""
    with pytest.raises(PriceError, match="did you mean 'a800-owned'") as caught:
        preset("A800-own")
    assert "h100-high" in str(caught.value)
