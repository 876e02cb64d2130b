"""What the DCGM exporter says of cards and MIG instances, how old it is, and what happens when it does not."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from benchsuite.records import GpuSample
from benchsuite.telemetry.dcgm import DcgmSampler, read_dcgm_page

DATA = Path(__file__).parents[1] / "data" / "metrics"
H100, MIG = (DATA / "dcgm_h100.txt").read_text(), (DATA / "dcgm_mig.txt").read_text()
FIRST, SECOND = "GPU-11111111-aaaa-bbbb-cccc-000000000000", "GPU-22222222-aaaa-bbbb-cccc-000000000000"
SLICED = "GPU-34319582-d595-d1c7-d1d2-179bcfa61660"
MIB = 1024**2


def sampler(*pages: str | int, interval_s: float = 1.0, gpu_ids: tuple[str, ...] = (), **more: str) -> DcgmSampler:
    """A sampler of an exporter that shows these pages (or answers with these numbers) in turn, the last for ever."""
    left = list(pages)

    def handle(_: httpx.Request) -> httpx.Response:
        page = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(page) if isinstance(page, int) else httpx.Response(200, text=page, headers=more)

    return DcgmSampler("http://h:9400", 0, interval_s, gpu_ids, transport=httpx.MockTransport(handle))


def sample_at(monkeypatch: pytest.MonkeyPatch, one: DcgmSampler, *times_s: float) -> list[list[GpuSample]]:
    """The rows of one scrape at each of these times."""
    rows = []
    for time_s in times_s:
        at_ns = round(time_s * 1e9)
        monkeypatch.setattr("benchsuite.telemetry.server_metrics.now_ns", lambda at_ns=at_ns: at_ns)
        rows.append(list(one.sample()))
    return rows


def test_two_cards():
    """Each figure in our units, by UUID; the pods that the exporter adds change nothing."""
    first, second = sampler(H100).sample()
    assert (first.source, first.uuid, second.uuid) == ("dcgm", FIRST, SECOND)
    assert (first.util_ratio, first.memory_util_ratio) == (pytest.approx(0.97), pytest.approx(0.61))
    assert (first.power_w, first.energy_j) == (512.34, pytest.approx(123456.789))
    assert (first.memory_used_bytes, first.memory_total_bytes) == (75469 * MIB, 81559 * MIB)
    assert (first.sm_clock_mhz, first.memory_clock_mhz, first.temperature_c) == (1980, 2619, 45)
    assert (first.throttle_reasons, second.throttle_reasons) == (4, 1)
    assert (first.sm_active_ratio, first.tensor_active_ratio, first.dram_active_ratio) == (0.62, 0.18, 0.7)
    assert (first.power_limit_w, first.n_processes, first.error) == (None, None, None)
    assert (second.util_ratio, second.sm_active_ratio) == (0.0, 0.0)


def test_mig():
    """A card with instances: power and energy once, of the card; activity and memory each; no utilisation at all."""
    card, large, small = sampler(MIG).sample()
    assert [card.uuid, large.uuid, small.uuid] == [SLICED, f"{SLICED}/gi1", f"{SLICED}/gi13"]
    assert (card.power_w, card.energy_j, card.sm_clock_mhz) == (182.5, 555.0, 1410)
    assert (card.util_ratio, card.sm_active_ratio, card.memory_used_bytes) == (None, None, None)
    assert (large.power_w, large.energy_j, large.util_ratio) == (None, None, None)
    assert (large.sm_active_ratio, large.dram_active_ratio) == (0.8, 0.64)
    assert (large.memory_used_bytes, large.memory_total_bytes) == (4384 * MIB, 19744 * MIB)
    assert (small.sm_active_ratio, small.memory_used_bytes) == (0.0, 6 * MIB)


def test_facts():
    """The manifest names the cards, the driver, and where the interval is from."""
    one = sampler(MIG, interval_s=30.0)
    one.sample()
    facts = one.facts()
    assert (facts["source"], facts["driver"], facts["url"]) == ("dcgm", "570.86.15", "http://h:9400/metrics")
    assert facts["used"] == [SLICED, f"{SLICED}/gi1", f"{SLICED}/gi13"]
    assert [device["mig"] for device in facts["devices"]] == [None, "3g.20gb", "1g.5gb"]
    assert facts["devices"][1] == {
        "uuid": f"{SLICED}/gi1", "index": "0", "name": "NVIDIA A100-SXM4-40GB", "memory_total_bytes": 19744 * MIB,
        "power_limit_w": None, "mig": "3g.20gb", "card": SLICED,
    }  # fmt: skip
    assert (facts["interval_s"], facts["interval_source"], facts["clock_offset_s"]) == (30.0, "given", None)


def test_facts_at_the_start():
    """The cards are known before the first sample, for a run that is taken up again must be on the same ones."""
    assert sampler(H100, gpu_ids=("0",)).facts()["used"] == [FIRST]


def test_an_older_or_newer_name():
    """The newest name wins, whatever the order on the page; DCGM's blank values and NaN are missing."""
    labels = f'{{gpu="0",UUID="{FIRST}"}}'
    page = "".join(
        f"{name}{labels} {value}\n"
        for name, value in (
            ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", 8),
            ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", 1),
            ("DCGM_FI_DEV_GPU_TEMP", 2147483632),
            ("DCGM_FI_DEV_POWER_USAGE", 140737488355328.0),
            ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 140737488355328),
            ("DCGM_FI_PROF_SM_ACTIVE", "NaN"),
        )
    )
    (row,) = sampler(page).sample()
    assert (row.throttle_reasons, row.temperature_c, row.power_w, row.sm_active_ratio) == (8, None, None, None)
    assert row.energy_j == pytest.approx(140737488355.328)


@pytest.mark.parametrize(
    ("gpu_ids", "uuids"),
    [
        (("1",), [SECOND]),
        ((FIRST,), [FIRST]),
        (("GPU-2222",), [SECOND]),
        ((SECOND, FIRST), [FIRST, SECOND]),
        ((), [FIRST, SECOND]),
    ],
)
def test_chosen_cards(gpu_ids, uuids):
    """Cards are chosen by index, UUID or its beginning; without a choice all are sampled."""
    assert [row.uuid for row in sampler(H100, gpu_ids=gpu_ids).sample()] == uuids


def test_chosen_instance():
    """An instance comes with its card, for the power is the card's."""
    assert [row.uuid for row in sampler(MIG, gpu_ids=(f"{SLICED}/gi13",)).sample()] == [SLICED, f"{SLICED}/gi13"]


def test_a_card_that_is_not_there():
    """A card that the page does not have is named once, with those that it has; the others are sampled."""
    one = sampler(H100, gpu_ids=("GPU-none", "0"))
    assert [row.uuid for row in one.sample()] == [FIRST]
    one.sample()
    assert one.problems() == (f"DCGM exporter: no GPU GPU-none on its page; it has {FIRST}, {SECOND}",)


def test_a_card_lost():
    """A card that leaves the page has rows without values from then on; the other goes on."""
    one = sampler(H100, "\n".join(line for line in H100.split("\n") if FIRST not in line))
    one.sample()
    rows = {row.uuid: row for row in one.sample()}
    assert (rows[FIRST].power_w, rows[FIRST].error) == (None, "not on the exporter's page")
    assert (rows[SECOND].power_w, rows[SECOND].error) == (69.871, None)
    assert one.problems() == (f"DCGM exporter: {FIRST} is no longer on the page",)


@pytest.mark.parametrize(
    ("page", "word"), [(503, "answered 503"), ("<html>", "no Prometheus text"), ("up 1\n", "no DCGM fields")]
)
def test_no_page(page, word):
    """Without a page every known card has a row that says why, and it is told once."""
    one = sampler(H100, page)
    one.sample()
    for _ in range(2):
        rows = one.sample()
        assert [row.uuid for row in rows] == [FIRST, SECOND]
        assert all(word in row.error and row.power_w is None for row in rows)
    assert len(one.problems()) == 1


def collections(every_s: int, seconds: int) -> list[str]:
    """What a scrape each second sees of an exporter that collects every so often."""
    return [H100.replace("123456789", str(10**6 + 1000 * (second // every_s))) for second in range(seconds)]


def test_the_interval_is_measured(monkeypatch):
    """How often the values change is how often the exporter collects, whatever was said; the trap is told."""
    one = sampler(*collections(10, 35), interval_s=30.0)
    sample_at(monkeypatch, one, *range(35))
    assert (one.facts()["interval_s"], one.facts()["interval_source"]) == (10.0, "measured")
    (problem,) = one.problems()
    assert "did not change for 3.0 s" in problem
    assert "-c 1000" in problem


def test_a_fresh_exporter(monkeypatch):
    """One that collects every second is measured so, and nothing is complained of though 30 s were assumed."""
    one = sampler(*collections(1, 8), interval_s=30.0)
    sample_at(monkeypatch, one, *range(8))
    assert (one.facts()["interval_s"], one.problems()) == (1.0, ())


def test_clock_offset(monkeypatch):
    """The exporter's clock is compared by its Date header; samples keep our own time."""
    monkeypatch.setattr("benchsuite.telemetry.server_metrics.time.time", lambda: 1_700_000_000.0)
    one = sampler(H100, date="Tue, 14 Nov 2023 22:13:10 GMT")  # 1_699_999_990
    (rows,) = sample_at(monkeypatch, one, 5.0)
    assert [row.at_s for row in rows] == [5.0, 5.0]
    assert (one.facts()["clock_offset_s"], one.facts()["clock_offset_error_s"]) == (9.5, 0.5)


def test_xid():
    """An error of the driver is told by its number, once."""
    (line,) = [line for line in H100.split("\n") if line.startswith("DCGM_FI_DEV_XID_ERRORS") and FIRST in line]
    one = sampler(H100.replace(line, line.removesuffix("0") + "79"))
    one.sample()
    one.sample()
    assert one.problems() == (f"{FIRST}: the driver's last error is XID 79",)


def test_rows_without_a_card():
    """A line without a UUID is of no card."""
    assert read_dcgm_page('DCGM_FI_DEV_GPU_UTIL{gpu="0"} 5\n').devices == []
