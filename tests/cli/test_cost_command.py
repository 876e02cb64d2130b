"""`benchsuite cost` from the outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from benchsuite.cli.cost import command
from benchsuite.errors import PriceError

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
    ],
)
def test_bad_input_is_refused(flags, message):
    """With exit code 2 by way of PriceError."""
    with pytest.raises(PriceError, match=message):
        run(flags)
