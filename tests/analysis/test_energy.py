"""Energy of a level, against answers on paper: counters, power over time, idle, resets, losses, several GPUs."""

from __future__ import annotations

import numpy as np
import pytest
from samples_for_tests import a_point, every, gpu_table, steady

from benchsuite.analysis.gpu import GpuFacts, gpu_facts, gpu_use, point_energy
from benchsuite.analysis.warnings import check_telemetry
from benchsuite.level import Level
from benchsuite.records import GpuSample

SECONDS = [float(t) for t in range(0, 301)]
WINDOW = ((100.0, 200.0),)


def codes(energy):
    return [warn.code for warn in energy.codes]


def test_constant_power_with_a_counter():
    """300 W for 100 s are 30 kJ: 30 J per output token, 7.5 per token, 300 per request, 1/120 kWh."""
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), WINDOW, a_point(), GpuFacts())

    assert energy.method == "counter"
    assert energy.gross_j == pytest.approx(30_000)
    assert energy.mean_w == pytest.approx(300)
    assert (energy.j_per_output_token, energy.j_per_token) == (pytest.approx(30), pytest.approx(7.5))
    assert energy.j_per_request == pytest.approx(300)
    assert energy.kwh == pytest.approx(1 / 120)
    assert energy.error_ratio == pytest.approx(0.1 / 100)
    assert (energy.net_j, energy.idle_w) == (None, None)
    assert codes(energy) == ["energy_idle_unknown"]


ZEROS = {  # the fields of every reading: energy in J, mean W, and what is taken for unknown
    "all zeros": ({"power_w": 0.0, "energy_j": 0.0, "util_ratio": 0.9}, None, None, ("power_w", "energy_j")),
    "a counter alone, that stands still": ({"energy_j": 5000.0, "util_ratio": 0.9}, None, None, ("energy_j",)),
    "power of zero beside a counter": (lambda t: {"power_w": 0.0, "energy_j": 50.0 * t}, 5000, None, ("power_w",)),
    "averages of zero beside power": (
        {"power_average_w": 0.0, "power_w": 300.0}, 30_000, 300, ("power_average_w",),
    ),
    "no activity, no clocks": (
        {"power_w": 300.0, "util_ratio": 0.0, "sm_clock_mhz": 0.0}, 30_000, 300, ("sm_clock_mhz", "util_ratio"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ZEROS)
def test_zeros_are_unknown(name):
    """Power, energy, clocks and activity that never move from 0 while the GPU serves are unknown, and named."""
    fields, joules, watts, dead = ZEROS[name]
    table = gpu_table(*every(SECONDS, fields if callable(fields) else lambda _: fields))
    energy, use = point_energy(table, WINDOW, a_point(), GpuFacts()), gpu_use(table, WINDOW)
    assert (energy and energy.gross_j) == (None if joules is None else pytest.approx(joules))
    assert use.power_w == (None if watts is None else pytest.approx(watts))
    assert use.zeros == {"GPU-a": dead}
    assert "util_ratio" not in dead or use.util_ratio is None
    assert [warn.code for warn in check_telemetry(use, None, Level(8), "vllm")][:1] == ["gpu_reads_zero"]


def test_an_idle_gpu_beside_a_busy_one_is_0():
    """Activity of 0 on one of two GPUs is a reading; of 0 on both none."""
    one, two = (every(SECONDS, lambda _, r=r: {"power_w": 50.0, "util_ratio": r}, uuid=f"GPU-{r}") for r in (0.0, 0.8))
    use = gpu_use(gpu_table(*one, *two), WINDOW)
    assert (use.util_ratio.least, use.util_ratio.greatest, use.zeros) == (0.0, pytest.approx(0.8), {})


def test_a_counter_that_stands_still_within_a_window():
    """It moves over the run and not while the level was measured, and nothing else tells of power: no energy, not 0."""
    table = gpu_table(*every(SECONDS, lambda t: {"energy_j": 5000.0 + (t > 250)}))
    energy = point_energy(table, WINDOW, a_point(), GpuFacts())
    assert (energy.gross_j, energy.mean_w, codes(energy)) == (None, None, ["energy_counter_still"])


def test_a_counter_that_stands_still_is_no_zero():
    """An exporter's page that never changes: 300 W for 100 s are 30 kJ by the power, not 0 J, and it is said."""
    table = gpu_table(*every(SECONDS, lambda _: {"power_w": 300.0, "energy_j": 5000.0}))
    energy = point_energy(table, WINDOW, a_point(), GpuFacts(interval_s=30, idle=(0.0, 60.0)))
    assert (energy.method, energy.gross_j, energy.idle_w) == ("power", pytest.approx(30_000), pytest.approx(300))
    assert energy.net_j == 0
    assert codes(energy) == ["energy_counter_still", "energy_uncertain"]

    fresh = point_energy(table, WINDOW, a_point(), GpuFacts(interval_s=1, idle=(0.0, 60.0)))
    assert fresh.idle_w == pytest.approx(300)


def test_a_window_between_two_samples_lost_no_gpu():
    """A window of 0.4 s without a sample inside: its edges are known, so nothing is lost, reset or not."""
    window = ((100.2, 100.6),)
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), window, a_point(), GpuFacts(idle=(0.0, 60.0)))
    assert energy.gross_j == pytest.approx(120)
    assert codes(energy) == ["energy_uncertain"]

    table = gpu_table(*every(SECONDS, lambda t: {"power_w": 300.0, "energy_j": 300 * (t if t < 100.5 else t - 100)}))
    anew = point_energy(table, window, a_point(), GpuFacts(idle=(0.0, 60.0)))
    assert (anew.gross_j, codes(anew)) == (None, ["energy_counter_reset"])


def test_a_silent_gpu_blames_no_other():
    """One of two cards is lost for the last seconds: only that one is named, and it even at 98 % of the time."""
    lost = every(SECONDS, lambda t: steady(200)(t) if t < 198 else {"error": "GPU is lost"}, uuid="GPU-b")
    energy = point_energy(gpu_table(*every(SECONDS, steady(300)), *lost), WINDOW, a_point(), GpuFacts())
    assert (energy.gross_j, codes(energy)) == (None, ["gpu_lost"])
    assert energy.codes[0].values["uuid"] == "GPU-b"
    assert round(energy.codes[0].values["coverage"], 2) == 0.97


def test_net_of_idle():
    """With 80 W idle, 22 kJ of 30 are the load's: 22 J per output token; nothing is left to warn of."""
    idle, busy = steady(80), steady(300, start_j=1000 - 220 * 80)
    table = gpu_table(*every(SECONDS, lambda at_s: idle(at_s) if at_s <= 80 else busy(at_s)))
    energy = point_energy(table, WINDOW, a_point(), GpuFacts(idle=(0.0, 60.0)))

    assert energy.idle_w == pytest.approx(80)
    assert energy.gross_j == pytest.approx(30_000)
    assert energy.net_j == pytest.approx(22_000)
    assert energy.net_j_per_output_token == pytest.approx(22)
    assert codes(energy) == []


def test_an_edge_between_two_samples():
    """The counter is interpolated at a window's edges: 100.25 to 200.75 s at 300 W are 30,150 J."""
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), ((100.25, 200.75),), a_point(), GpuFacts())
    assert energy.gross_j == pytest.approx(30_150)


def test_repeats_are_averaged_per_run_and_summed_per_token():
    """Two windows of 100 and 140 s at 300 W: 36 kJ a run, 72 kJ over the 2000 tokens of both."""
    point = a_point(output=2000, repeats=2)
    windows = ((10.0, 110.0), (150.0, 290.0))
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), windows, point, GpuFacts())

    assert (energy.gross_j, energy.window_s) == (pytest.approx(36_000), 120)
    assert energy.j_per_output_token == pytest.approx(36)
    assert energy.mean_w == pytest.approx(300)
    assert energy.kwh == pytest.approx(0.01)


def test_without_a_counter_power_is_integrated():
    """A ramp from 100 to 300 W over 100 s is 20 kJ by the trapezoid, and said to be no counter."""
    table = gpu_table(*every(SECONDS, lambda at_s: {"power_w": 100 + 2 * (at_s - 100)}))
    energy = point_energy(table, WINDOW, a_point(), GpuFacts())

    assert (energy.method, energy.gross_j) == ("power", pytest.approx(20_000))
    assert codes(energy) == ["energy_no_counter", "energy_idle_unknown"]


def test_a_counter_that_starts_anew_gives_no_energy():
    """A driver loaded anew at 150 s: no energy, not even a wrong one; the sampled power remains."""
    table = gpu_table(
        *every(SECONDS, lambda at_s: {"power_w": 300.0, "energy_j": 300 * (at_s if at_s < 150 else at_s - 150)})
    )
    energy = point_energy(table, WINDOW, a_point(), GpuFacts())

    assert (energy.gross_j, energy.j_per_output_token, energy.kwh, energy.method) == (None, None, None, None)
    assert energy.mean_w == pytest.approx(300)
    assert codes(energy) == ["energy_counter_reset"]


def test_a_reset_that_ends_higher_than_it_began_is_seen():
    """The counter may pass its old value after a reset: the fall between is what counts."""
    table = gpu_table(*every(SECONDS, lambda at_s: {"energy_j": at_s if at_s < 150 else 300 * (at_s - 150)}))
    assert point_energy(table, WINDOW, a_point(), GpuFacts()).gross_j is None


def test_counter_and_power_that_disagree():
    """A sensor that shows 270 of 300 W: -10 %, named; 290 W (-3.3 %) are not."""

    def shown(watts):
        table = gpu_table(*every(SECONDS, lambda at_s: {"power_w": watts, "energy_j": 300 * at_s}))
        return point_energy(table, WINDOW, a_point(), GpuFacts(idle=(0, 60)))

    assert codes(shown(270.0)) == ["energy_power_differs"]
    assert shown(270.0).codes[0].values["difference"] == pytest.approx(-0.1)
    assert codes(shown(290.0)) == []


def test_a_short_window_says_what_it_leaves_open():
    """10 s: readings up to 0.1 s old leave 1 % open."""
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), ((100.0, 110.0),), a_point(), GpuFacts(idle=(0, 60)))
    assert codes(energy) == ["energy_window_short"]
    assert energy.codes[0].values == pytest.approx({"window_s": 10, "error": 0.01, "least_s": 60})


def exporter(seconds, watts=300.0):
    """A DCGM exporter that collects every 30 s and is scraped every second."""
    return [GpuSample(t, t, "dcgm", "GPU-a", power_w=watts, energy_j=watts * (t // 30) * 30) for t in seconds]


@pytest.mark.parametrize(("end_s", "short"), [(220.0, True), (700.0, False)])
def test_an_exporter_with_30_s_steps(end_s, short):
    """delta P / E: 25 % in 120 s, exactly 5 % in 600 s; the energy stays within that bound."""
    windows = ((100.0, end_s),)
    energy = point_energy(gpu_table(*exporter(SECONDS + [float(t) for t in range(301, 800)])), windows, a_point(),
                          GpuFacts(interval_s=30.0, idle=(0.0, 60.0)))  # fmt: skip
    exact_j = 300 * (end_s - 100)
    assert abs(energy.gross_j - exact_j) <= 30 * 300
    assert ("energy_uncertain" in codes(energy)) is short
    if short:
        assert energy.error_ratio == pytest.approx(30 / 120)
        assert energy.codes[0].values["least_s"] == 600
    assert energy.idle_w == pytest.approx(300)  # of the sampled power: two steps of the counter would tell nothing


def test_two_gpus_are_summed():
    """300 and 200 W are 50 kJ in 100 s; with idle 80 and 60 W, 36 kJ of them the load's."""
    one = every(SECONDS, lambda t: {"power_w": 80.0 if t < 90 else 300.0})
    two = every(SECONDS, lambda t: {"power_w": 60.0 if t < 90 else 200.0}, uuid="GPU-b")
    energy = point_energy(gpu_table(*one, *two), WINDOW, a_point(), GpuFacts(idle=(0.0, 60.0)))

    assert (energy.n_gpus, energy.gross_j, energy.mean_w) == (2, pytest.approx(50_000), pytest.approx(500))
    assert (energy.idle_w, energy.net_j) == (pytest.approx(140), pytest.approx(36_000))


def test_only_the_gpus_that_serve_are_counted():
    """A second GPU in the host that does not serve adds nothing."""
    table = gpu_table(*every(SECONDS, steady(300)), *every(SECONDS, steady(200), uuid="GPU-b"))
    energy = point_energy(table, WINDOW, a_point(), GpuFacts(used=("GPU-a",)))
    assert (energy.n_gpus, energy.gross_j) == (1, pytest.approx(30_000))


def test_a_lost_gpu_leaves_no_energy():
    """From 150 s on the driver knows the second GPU no more: no total, its word is told, nothing is 0."""
    lost = every(SECONDS, lambda t: steady(200)(t) if t < 150 else {"error": "GPU is lost"}, uuid="GPU-b")
    energy = point_energy(gpu_table(*every(SECONDS, steady(300)), *lost), WINDOW, a_point(), GpuFacts())

    assert (energy.gross_j, energy.mean_w) == (None, None)
    assert codes(energy) == ["gpu_lost"]
    assert energy.codes[0].values["uuid"] == "GPU-b"
    assert round(energy.codes[0].values["coverage"], 2) == 0.49
    assert "GPU is lost" in energy.codes[0].values["driver"]


def test_a_used_gpu_that_was_never_read_leaves_no_energy():
    """Energy of one of two GPUs is not the energy of two."""
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), WINDOW, a_point(), GpuFacts(used=("GPU-a", "GPU-b")))
    assert (energy.n_gpus, energy.gross_j) == (2, None)
    assert codes(energy) == ["gpu_lost"]


def test_missing_samples():
    """20 of 100 s without samples: the counter still knows the energy, the power alone does not."""
    times = [t for t in SECONDS if not 130 < t < 150]
    counted = point_energy(gpu_table(*every(times, steady(300))), WINDOW, a_point(), GpuFacts(idle=(0, 60)))
    assert counted.gross_j == pytest.approx(30_000)
    assert codes(counted) == ["gpu_samples_missing"]
    assert round(counted.codes[0].values["coverage"], 1) == 0.8

    powered = point_energy(gpu_table(*every(times, lambda _: {"power_w": 300.0})), WINDOW, a_point(), GpuFacts())
    assert (powered.gross_j, powered.mean_w) == (None, None)
    assert codes(powered) == ["gpu_samples_missing"]


def test_a_mig_slice_is_told_to_be_the_whole_card():
    """Power and energy of a slice are the card's."""
    facts = gpu_facts({"gpu": {"source": "nvml", "used": ["GPU-a"], "devices": [{"uuid": "GPU-a", "mig": True}]}})
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), WINDOW, a_point(), facts)
    assert codes(energy) == ["energy_whole_card", "energy_idle_unknown"]


def test_slices_of_one_card_are_counted_once():
    """Two slices, the card's power on the first row: 30 kJ of one card, not of two, and nothing is missing."""
    table = gpu_table(
        *every(SECONDS, steady(300), uuid="MIG-a"), *every(SECONDS, lambda _: {"memory_used_bytes": 9}, uuid="MIG-b")
    )
    facts = gpu_facts({"gpu": {"source": "nvml", "used": ["MIG-a", "MIG-b"]}})
    energy = point_energy(table, WINDOW, a_point(), facts)
    assert (energy.n_gpus, energy.gross_j) == (1, pytest.approx(30_000))
    assert codes(energy) == ["energy_whole_card", "energy_idle_unknown"]
    assert gpu_use(table, WINDOW, facts.used, mig=True).power_w == pytest.approx(300)
    assert gpu_use(table, WINDOW, facts.used).power_w is None


@pytest.mark.parametrize("table", [None, gpu_table(*every(SECONDS, lambda _: {"error": "no power sensor"}))])
def test_the_constant_that_was_given(table):
    """1.2 kW for 100 s are 120 kJ, of the four GPUs it was given for; without it there is no energy at all."""
    assert point_energy(table, WINDOW, a_point(), GpuFacts()) is None

    energy = point_energy(table, WINDOW, a_point(), gpu_facts(None, 1.2, 4))
    assert (energy.method, energy.gross_j, energy.n_gpus) == ("constant", pytest.approx(120_000), 4)
    assert (energy.net_j, energy.error_ratio) == (None, None)
    assert codes(energy) == ["energy_constant_power"]


def test_a_measured_gpu_beats_the_constant():
    """The constant is for where nothing measures."""
    energy = point_energy(gpu_table(*every(SECONDS, steady(300))), WINDOW, a_point(), gpu_facts(None, 1.2))
    assert energy.gross_j == pytest.approx(30_000)


def test_facts_of_a_manifest():
    """The exporter's interval counts for DCGM alone; an idle window must be one."""
    told = {"gpu": {"source": "dcgm", "interval_s": 30.0, "used": ["GPU-a"]}, "idle": {"started_s": 1, "ended_s": 61}}
    assert gpu_facts(told) == GpuFacts(used=("GPU-a",), interval_s=30.0, idle=(1.0, 61.0))
    assert gpu_facts({"gpu": {"source": "nvml", "interval_s": 1.0}, "idle": None}) == GpuFacts()
    assert gpu_facts(None) == GpuFacts()


@pytest.mark.parametrize("seed", range(5))
def test_laws(seed):
    """gross = net + idle T; energy adds up over GPUs, and over windows that touch."""
    rng = np.random.default_rng(seed)
    times = np.arange(0.0, 301.0)

    def card(uuid):
        watts = rng.uniform(50, 400, len(times))
        grown = np.concatenate([[0.0], np.cumsum((watts[1:] + watts[:-1]) / 2)])
        return [
            GpuSample(t, t, "nvml", uuid, power_w=w, energy_j=j)
            for t, w, j in zip(times.tolist(), watts.tolist(), grown.tolist(), strict=True)
        ]

    one, two = card("GPU-a"), card("GPU-b")
    facts = GpuFacts(idle=(5.0, 65.0))
    first, second = (point_energy(gpu_table(*own), WINDOW, a_point(), facts) for own in (one, two))
    both = point_energy(gpu_table(*one, *two), WINDOW, a_point(), facts)
    assert both.gross_j == pytest.approx(both.net_j + both.idle_w * 100)
    assert both.gross_j == pytest.approx(first.gross_j + second.gross_j)
    assert both.net_j == pytest.approx(first.net_j + second.net_j)

    cut = float(rng.uniform(110, 190))
    halves = [point_energy(gpu_table(*one), (part,), a_point(), facts) for part in ((100.0, cut), (cut, 200.0))]
    assert sum(half.gross_j for half in halves) == pytest.approx(first.gross_j)
    powered = gpu_table(*(sample._replace(energy_j=None) for sample in one))
    assert point_energy(powered, WINDOW, a_point(), facts).gross_j == pytest.approx(first.gross_j)
