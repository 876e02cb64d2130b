"""`benchsuite cost`: an hour owned or rented, its parts, and how sure it is."""

from __future__ import annotations

import pytest

PAPER = (
    "cost --purchase-price 120000 --currency CNY --currency-per-usd 7.09 --years 3 --utilisation 1 "
    "--power-kw .4 --pue 1.5 --electricity-per-kwh 1 --maintenance-ratio .03"
)


@pytest.mark.parametrize(
    ("flags", "usd", "mode"),
    [
        (PAPER, 0.786625, "eq5"),
        (f"{PAPER} --utilisation .7", 1.062640, "eq5"),
        (f"{PAPER} --utilisation .7 --mode note", 1.123750, "note"),
        ("cost --preset a800-owned", 0.786625, "eq5"),
        ("cost --preset a800-owned --utilisation .7", 1.062640, "eq5"),
        ("cost --preset a800-paper", 0.79, "on-demand"),
        ("cost --usd-per-hour 1.99", 1.99, "on-demand"),
        ("cost --usd-per-hour 1.2 --billing reserved --utilisation .5", 2.4, "reserved"),
        ("cost --usd-per-hour .9 --billing spot --interruptions-per-hour .1 --interruption-hours 1", 1.0, "spot"),
        (
            "cost --usd-per-hour 2 --reserved-usd-per-hour 1.2 --reserved-ratio .7 --utilisation .9",
            0.7 * 1.2 / 0.9 + 0.6,
            "mixture",
        ),
    ],
)
def test_price_of_an_hour(cli, flags, usd, mode):
    """The known answers, times two GPUs, with parts that add up, a source, and all that was assumed."""
    found = cli.data(flags, "--gpus 2")
    assert found["usd_per_hour"] == pytest.approx(usd, abs=1e-6)
    assert found["usd_per_hour_total"] == pytest.approx(2 * usd, abs=2e-6)
    assert sum(found["parts"].values()) == pytest.approx(found["usd_per_hour"])
    assert (found["gpus"], found["mode"]) == (2, mode)
    assert found["source"]
    assert found["terms"]


def test_parts_are_named(cli):
    """Depreciation, power and maintenance; no hosting in mode eq5."""
    parts = ["depreciation_usd_per_hour", "power_usd_per_hour", "maintenance_usd_per_hour"]
    assert list(cli.data(PAPER)["parts"]) == parts


def test_presets_with_source_and_date(cli):
    """Nine prices, none without provenance."""
    listed = cli.data("cost --list-presets")
    assert len(listed) == 9
    assert all(price["source"] and price["as_of"] for price in listed)


def test_sensitivity_of_the_paper(cli):
    """The bundled ranges: .48, .75, 1.20 a GPU-hour; two cards at 1,029 tok/s turn that into dollars per million."""
    flags = "cost --preset a800-owned --gpus 2 --sensitivity --output-tok-s 1029 --versus-usd-per-1m .5"
    found = cli.data(flags)["sensitivity"]
    hour, per_1m = found["usd_per_hour"], found["usd_per_1m_output_tokens"]
    assert (hour["p5"], hour["p50"], hour["p95"]) == pytest.approx((0.48, 0.75, 1.20), abs=0.01)
    assert per_1m["value"] == pytest.approx(2 * 0.786625 * 1e6 / 3600 / 1029, abs=1e-5)
    assert per_1m["p95"] == pytest.approx(hour["p95"] * 2e6 / 3600 / 1029)
    assert 0.7 < found["share_below"] < 0.8
    shares = found["sobol_total"]  # of the ranges that the rows show, not of the narrower ones that are drawn from
    wanted = {"years": 0.46, "purchase_price": 0.30, "utilisation": 0.27}
    assert {name: shares[name] for name in wanted} == pytest.approx(wanted, abs=0.01)


def test_sensitivity_of_ranges_given(cli):
    """The tornado's utilisation bar from 1 to .5: .787 to 1.431."""
    (swing,) = cli.data("cost --preset a800-owned --sensitivity --uncertain utilisation=1:.5")["sensitivity"]["tornado"]
    assert (swing["usd_at_low"], swing["usd_at_high"]) == pytest.approx((0.787, 1.431), abs=6e-4)


def test_own_prices_and_their_age(cli, tmp_path):
    """A user's file is read before the bundled prices; past 90 days a price is warned of."""
    path = tmp_path / "mine.toml"
    path.write_text('[presets.mine]\nusd_per_hour = 1.5\nsource = "invoice"\nas_of = 2026-11-01\n')
    found = cli.data("cost --preset mine --as-of 2026-11-21 --prices", path)
    assert (found["usd_per_hour"], found["source"], found["warnings"]) == (1.5, "invoice", [])
    (warning,) = cli.data("cost --preset mine --as-of 2027-02-01 --prices", path)["warnings"]
    assert "92 days" in warning
