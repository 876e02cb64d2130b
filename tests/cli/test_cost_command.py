"""`benchsuite cost` from the outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from benchsuite.cli.cost import command
from benchsuite.errors import InputError

PAPER = (
    "--purchase-price 120000 --currency CNY --fx 7.09 --years 3 --utilisation 1 "
    "--power-kw .4 --pue 1.5 --electricity 1 --maintenance .03"
)


def run(flags: str) -> Any:
    return CliRunner().invoke(command, flags.split(), catch_exceptions=False)


@pytest.mark.parametrize(
    ("flags", "usd"),
    [
        (PAPER, 0.786625),
        (PAPER.replace("--utilisation 1", "--utilisation .7"), 1.062640),
        (PAPER.replace("--utilisation 1", "--utilisation .7") + " --mode note", 1.123750),
        ("--preset a800-owned", 0.786625),
        ("--preset a800-paper", 0.79),
        ("--usd-per-hour 1.99", 1.99),
    ],
)
def test_price_of_an_hour(flags, usd):
    """The known answers, times two GPUs."""
    found = json.loads(run(flags + " --gpus 2 --json").output)
    assert found["usd_per_hour"] == pytest.approx(usd, abs=5e-7)
    assert found["usd_per_hour_total"] == pytest.approx(2 * usd, abs=1e-6)
    assert found["gpus"] == 2
    assert found["source"]


def test_parts_are_named_and_add_up():
    """Depreciation, power and maintenance; no hosting in mode eq5."""
    found = json.loads(run(PAPER + " --json").output)
    assert list(found["parts"]) == ["depreciation_usd_per_hour", "power_usd_per_hour", "maintenance_usd_per_hour"]
    assert sum(found["parts"].values()) == pytest.approx(found["usd_per_hour"])
    assert found["mode"] == "eq5"


def test_table_for_people():
    """The total to six decimals."""
    assert "0.786625" in run(PAPER).output


def test_presets_with_source_and_date():
    """Nine prices, none without provenance."""
    listed = json.loads(run("--list-presets --json").output)
    assert len(listed) == 9
    assert all(price["source"] and price["as_of"] for price in listed)
    assert "a800-owned" in run("--list-presets").output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "exactly one way"),
        ("--preset l4 --usd-per-hour 1", "exactly one way"),
        ("--purchase-price 1000", "--power-kw"),
        ("--purchase-price 1000 --power-kw 1", "--electricity"),
        (PAPER.replace("--pue 1.5", "--pue 0.5"), "pue"),
        ("--preset h200", "did you mean"),
        ("--usd-per-hour -1", "usd_per_hour"),
        ("--usd-per-hour 1 --utilisation .5", "--utilisation"),
        ("--usd-per-hour 1 --mode full", "--mode"),
        ("--usd-per-hour 1 --redo-hours 1", "--redo-hours"),
        ("--usd-per-hour 1 --rent reserved --utilisation 0", "utilisation"),
        ("--usd-per-hour 1 --rent spot --fallback-ratio 1.5", "fallback_ratio"),
        ("--usd-per-hour 1 --reserved-ratio .5", "a mixture needs both"),
        ("--usd-per-hour 1 --reserved-ratio 1.5 --reserved-usd-per-hour 1", "shares"),
        ("--preset a800-owned --rent spot", "--rent"),
        ("--preset a800-owned --pue .9", "pue"),
        ("--preset a800-owned --output-tok-s 9", "--sensitivity"),
        ("--preset a800-owned --sensitivity --range pue", "KEY=LOW:HIGH"),
        ("--preset a800-owned --sensitivity --range pue=.9:1", "pue"),
        ("--preset a800-owned --sensitivity --range prize=1:2", "no such input"),
        ("--preset a800-owned --sensitivity --output-tok-s 0", "--output-tok-s"),
        ("--preset a800-owned --sensitivity --against-usd-per-1m 1", "--output-tok-s"),
        ("--prices no-such-file.toml --preset l4", "cannot be read"),
        ("--preset l4 --today soon", "--today"),
    ],
)
def test_bad_input_is_refused(flags, message):
    """One message that names the flag or key, exit code 2."""
    with pytest.raises(InputError, match=message):
        run(flags)


@pytest.mark.parametrize(
    ("flags", "usd", "mode"),
    [
        ("--usd-per-hour 1.2 --rent reserved --utilisation .5", 2.4, "reserved"),
        ("--usd-per-hour .9 --rent spot --interruptions-per-hour .1 --redo-hours 1", 1.0, "spot"),
        (
            "--usd-per-hour 2 --reserved-usd-per-hour 1.2 --reserved-ratio .7 --utilisation .9",
            0.7 * 1.2 / 0.9 + 0.6,
            "mixture",
        ),
        ("--preset a800-owned --utilisation .7", 1.062640, "eq5"),
    ],
)
def test_every_way_to_pay(flags, usd, mode):
    """One value with its parts and all that was assumed, rented or owned, presets changed in part."""
    found = json.loads(run(flags + " --json").output)
    assert found["usd_per_hour"] == pytest.approx(usd, abs=1e-6)
    assert sum(found["parts"].values()) == pytest.approx(found["usd_per_hour"])
    assert found["mode"] == mode
    assert found["assumptions"]


def test_sensitivity_of_the_paper():
    """The bundled ranges: .48, .75, 1.20 a GPU-hour; two cards at 1,029 tok/s turn that into dollars per million."""
    flags = "--preset a800-owned --gpus 2 --sensitivity --output-tok-s 1029 --against-usd-per-1m .5"
    found = json.loads(run(flags + " --json").output)["sensitivity"]
    hour, per_1m = found["usd_per_hour"], found["usd_per_1m_output_tokens"]
    assert (hour["p5"], hour["p50"], hour["p95"]) == pytest.approx((0.48, 0.75, 1.20), abs=0.01)
    assert per_1m["value"] == pytest.approx(2 * 0.786625 * 1e6 / 3600 / 1029, abs=1e-5)
    assert per_1m["p95"] == pytest.approx(hour["p95"] * 2e6 / 3600 / 1029)
    assert 0.7 < found["share_below"] < 0.8
    assert max(found["sobol_total"], key=found["sobol_total"].get) == "purchase_price"
    assert "purchase_price" in run(flags).output


def test_sensitivity_of_ranges_given():
    """The tornado's utilisation bar from 1 to .5: .787 to 1.431."""
    flags = "--preset a800-owned --sensitivity --range utilisation=1:.5 --json"
    (swing,) = json.loads(run(flags).output)["sensitivity"]["tornado"]
    assert (swing["usd_at_low"], swing["usd_at_high"]) == pytest.approx((0.787, 1.431), abs=6e-4)


def test_own_prices_and_their_age(tmp_path):
    """A user's file is read before the bundled prices; past 90 days a price is warned of."""
    path = tmp_path / "mine.toml"
    path.write_text('[presets.mine]\nusd_per_hour = 1.5\nsource = "invoice"\nas_of = 2026-11-01\n')
    flags = f"--prices {path} --preset mine --json --today "
    found = json.loads(run(flags + "2026-11-21").output)
    assert (found["usd_per_hour"], found["source"], found["warnings"]) == (1.5, "invoice", [])
    (warning,) = json.loads(run(flags + "2027-02-01").output)["warnings"]
    assert "92 days old" in warning
