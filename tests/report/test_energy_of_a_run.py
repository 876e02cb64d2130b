"""Energy from a run folder to summary.json and the price: 100 s at 300 W, 80 s at 400 W, idle at 80 W."""

from __future__ import annotations

import json

import pytest
from factory import run_folder

from benchsuite.errors import SpecError
from benchsuite.report.export import summary_json
from benchsuite.report.judge import judge_run
from benchsuite.report.level_tables import ELECTRICITY, ENERGY, level_table
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import read_run

# level -> first send, seconds, watts; a set of 10 requests takes two waves of 8 users, or one of 16
WINDOWS = {8: (5.0, 100.0, 300.0), 16: (109.0, 80.0, 400.0)}
LATENCY = {8: (1.0, 49 / 99), 16: (1.0, 79 / 99)}
OWNED = {"purchase_price": 8760.0, "years": 1, "maintenance_ratio": 0.0, "pue": 1.5}


def powered(samples, **fields):
    """The samples with the watts of the level, and the energy counter that belongs to them."""
    found, energy_j = [], 5e6
    for one in samples:
        windows = WINDOWS.values()
        power_w = next((w for start_s, long_s, w in windows if start_s <= one.at_s < start_s + long_s), 80.0)
        util = 0.97 if power_w > 80 else 0.0
        found.append(one._replace(power_w=power_w, energy_j=energy_j, util_ratio=util, **fields))
        energy_j += power_w * 0.25
    return found


def memory_for_more(samples):
    """A KV cache in use to 40 %: that the GPU's memory is full says nothing."""
    return [one._replace(kv_cache_ratio=0.4) for one in samples]


@pytest.fixture
def run(tmp_path):
    """Makes a run of two levels, 10 requests of 100 tokens each; gpu: what to make of the samples, None for none."""

    def made(name="run", *, price, gpu=powered, row=None, manifest=None, **telemetry):
        return run_folder(
            tmp_path / name,
            levels=(8, 16), requests=10, latency=LATENCY, tokens=100, usd_per_hour=None, slo="ttft_mean<5s",
            gpu=gpu or False, server=memory_for_more, row=row,
            spec={"price": price, "telemetry": telemetry}, manifest=manifest,
        )  # fmt: skip

    return made


@pytest.fixture
def judged(run):
    """The same, judged."""
    return lambda *words, **made: judge_run(read_run(run(*words, **made)))


def test_energy_reaches_the_judgement_and_summary_json(judged):
    """30 kJ and 32 kJ over 1000 tokens; 22 and 25.6 kJ above idle; 97 % utilisation at 8 users is no warning."""
    judgement = judged(price={"usd_per_hour": 3.6, "usd_per_kwh": 0.18, "pue": 1.2})
    eight, sixteen = judgement.judged
    assert eight.energy.gross_j == pytest.approx(30_000, rel=0.01)
    assert eight.energy.net_j == pytest.approx(22_000, rel=0.01)
    assert sixteen.energy.j_per_output_token == pytest.approx(32, rel=0.01)
    assert eight.energy.electricity_usd == pytest.approx(30_000 * 1.2 / 3.6e6 * 0.18, rel=0.01)
    assert eight.gpu.util_ratio.mean == pytest.approx(0.97, rel=0.01)
    assert [warn.code for j in judgement.judged for warn in j.point.warnings if "gpu" in warn.code] == []
    # a rented hour is never topped up with electricity
    assert eight.cost.cost_usd == pytest.approx(0.1, rel=1e-4)

    plain = json.loads(json.dumps(summary_json(judgement), allow_nan=False))["points"][0]
    assert plain["energy"]["gross_j"] == eight.energy.gross_j
    assert (plain["energy"]["gco2_g"], plain["gpu"]["uuids"]) == (None, ["GPU-0000"])
    assert plain["usd_per_hour_total"] == 3.6


def test_what_a_paid_api_answered_took_no_energy_here(judged):
    """4 of 10 requests went to the fallback: 30 kJ are over the 600 tokens and 6 requests of the own server."""
    where = [{"base_url": "http://a", "role": "own"}, {"base_url": "http://api", "role": "fallback"}]

    def answered(row):
        return row._replace(endpoint=where[int(row.request_id[1:]) < 4]["base_url"])

    eight = judged(price={}, row=answered, manifest={"endpoints": where}).judged[0]
    assert eight.energy.j_per_output_token == pytest.approx(50, rel=0.01)
    assert eight.energy.j_per_request == pytest.approx(5000, rel=0.01)
    assert eight.point.output_tokens == 1000


def test_nothing_measured_is_null(judged):
    """A run without telemetry: no energy, no zero."""
    plain = summary_json(judged(gpu=None, price={}))["points"][0]
    assert (plain["energy"], plain["gpu"]) == (None, None)


def test_throttling_and_strangers_are_warned_of(judged):
    """A power cap all along, and another process: in the level's warnings."""
    judgement = judged(gpu=lambda made: powered(made, throttle_reasons=4, foreign_processes=1), price={})
    assert {warn.code for warn in judgement.judged[0].point.warnings} >= {"gpu_power_capped", "gpu_shared"}


def test_owned_gpus_are_priced_at_the_power_they_drew(judged):
    """$1 an hour and 0.3 (0.4) kW x 1.5 x $0.20: $1.09 and $1.12 an hour."""
    judgement = judged(price={"owned": OWNED, "usd_per_kwh": 0.2})
    eight, sixteen = judgement.judged
    assert eight.cost.usd_per_hour == pytest.approx(1.09, abs=2e-3)
    assert sixteen.cost.usd_per_hour == pytest.approx(1.12, abs=2e-3)
    assert sixteen.cost.cost_usd == pytest.approx(1.12 * 80 / 3600, rel=2e-3)
    assert judgement.usd_per_hour == sixteen.cost.usd_per_hour  # of the optimum
    assert judgement.hour_price == {
        eight.point.level: eight.cost.usd_per_hour,
        sixteen.point.level: sixteen.cost.usd_per_hour,
    }


def test_owned_gpus_without_power_have_no_price(judged):
    """Said, with the remedy; the constant that the user gives then counts."""
    price = {"owned": OWNED, "usd_per_kwh": 0.2}
    judgement = judged(gpu=None, price=price)
    assert (judgement.usd_per_hour, judgement.judged[0].cost.cost_usd) == (None, None)
    assert "owned_power_unknown" in {warn.code for warn in judgement.judged[0].point.warnings}
    given = judged("given", gpu=None, price=price, assumed_power_kw=0.3).judged[0]
    assert given.cost.usd_per_hour == pytest.approx(1.09)
    assert given.energy.method == "constant"


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ({"owned": OWNED}, "owned GPUs need one price of electricity"),
        ({"owned": OWNED, "usd_per_kwh": 1, "usd_per_hour": 2}, "one of them"),
        ({"owned": OWNED | {"electricity_per_kwh": 1}, "usd_per_kwh": 1}, "one price of electricity"),
        ({"pue": 0.9}, "greater than or equal to 1"),
    ],
)
def test_prices_that_contradict_themselves(price, said):
    """Refused before anything is measured."""
    with pytest.raises(SpecError, match=said):
        parse_spec({"server": {"base_url": "http://a:1"}, "price": price}, where="t")


def test_check_energy_has_the_prices_of_the_flags(cli, run):
    """Over what the run said; unknown without a GPU."""
    folder = run(price={"usd_per_hour": 3.6})
    first, _ = cli.data("check", folder, "--energy --usd-per-kwh 0.2 --pue 1.5 --gco2-per-kwh 400")["energy"]
    assert (first["model"], first["concurrency"]) == ("m", 8)
    assert first["energy"]["gco2_g"] == pytest.approx(30_000 * 1.5 / 3.6e6 * 400, rel=0.01)
    assert {row["energy"] for row in cli.data("check", run("bare", gpu=None, price={}), "--energy")["energy"]} == {None}


def test_a_lost_gpu(judged):
    """Lost before the first level: a window and an idle power, no energy, so no column of it, and a warning."""

    def lost(samples):
        return [*samples[:20], *(one._replace(error="GPU is lost", **UNREAD) for one in samples[20:])]

    levels = judged(gpu=lost, price={}).judged
    heads, _ = level_table((*ENERGY, *ELECTRICITY), [(j.point.level, j.energy) for j in levels])
    assert heads == ("concurrency", "window s", "idle W")
    assert "gpu_lost" in {code.code for code in levels[0].energy.codes}


UNREAD = dict.fromkeys(("power_w", "energy_j", "util_ratio", "memory_used_bytes", "sm_clock_mhz", "throttle_reasons"))


@pytest.mark.parametrize(
    ("flags", "usd"),
    [("", 1.12 * 80 / 3600), ("--usd-per-kwh 0.4", 1.24 * 80 / 3600), ("--pue 1", 1.08 * 80 / 3600),
     ("--usd-per-hour 3.6", 0.08)],
)  # fmt: skip
def test_decide_with_another_price_of_electricity(cli, run, flags, usd):
    """--usd-per-kwh counts for owned GPUs, over what the run said; --usd-per-hour replaces them.

    Ten requests cannot have 16 in flight, so whether 16 meets the SLO stays open: exit code 6.
    """
    (row,) = cli.data("decide", run(price={"owned": OWNED | {"electricity_per_kwh": 0.2}}), flags, code=6)
    assert row["cost_usd"] == pytest.approx(usd, rel=2e-3)


def test_terms_of_owned_gpus_are_checked_with_them(judged):
    """Salvage in a mode that leaves it out is a mistake of the spec, which names the key and where it stands."""
    owned = OWNED | {"salvage": 100, "mode": "eq5", "power_kw": 0.4}
    with pytest.raises(SpecError, match="salvage: mode eq5 leaves it out"):
        judged(gpu=None, price={"owned": owned, "usd_per_kwh": 0.2})
