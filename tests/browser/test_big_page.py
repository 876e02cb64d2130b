"""The page of a run with repeats and samples of GPUs and servers, read as text: every part has something to show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def html(run_page: Path) -> str:
    return run_page.read_text("utf-8")


def test_every_section_is_there(html: str):
    """The list of links names what the page has, and nothing is missing."""
    assert re.findall(r'<a href="#([a-z]+)">', html) == [
        "warnings", "curves", "levels", "more", "provenance",
    ]  # fmt: skip
    assert re.findall(r'<h2 id="([a-z]+)">', html.partition('id="more"')[2]) == [
        "metrics", "figures", "gpu", "server", "scaling", "distributions", "timeline", "cost", "client", "provenance",
    ]  # fmt: skip


def test_the_timeline_has_all_its_panels(html: str):
    """Requests, tokens, GPU, power, queue and cache on one clock, for a wide and for a narrow screen."""
    (figure,) = [one for one in re.findall(r"<figure.*?</figure>", html, re.S) if "seconds since the first" in one]
    for label in (
        "requests in flight", "output tok/s", "GPU activity (%)", "GPU power (W)", "server: requests",
        "server: KV cache (%)",
    ):  # fmt: skip
        assert figure.count(f">{label}</text>") == 2
    assert re.search(r"<title>at [0-9.]+ s: in flight 48.0, tok/s [0-9,.]+, any kernel 9", figure)


def test_gpu_energy_and_server_state_findings(html: str):
    """Each says what it shows in its title, and that the host is not in it."""
    for finding in (
        r"GPU activity \([A-Za-z]+\) rises from [0-9.]+ % at concurrency 8 to [0-9.]+ % at 128",
        r"Energy per output token \(net\) falls from [0-9.]+ J at concurrency 8 to [0-9.]+ J at 128",
        r"At concurrency 128, 94\u00a0% of TTFT is queueing in the server",
        r"Requests queue in the server from concurrency 128 up",
        r"KV cache usage \(max\) rises from [0-9.]+ % at concurrency 8 to 90.0 % at 128",
        r"At concurrency 48, the steady window is [0-9]+\u00a0% of the run&#39;s [0-9.]+ s",
    ):
        assert re.search(f"<figcaption>{finding}</figcaption>", html), finding
    assert "GPUs only: without host, fans and losses of the power supply." in html
    assert "Made-up GPU (GPU-0000); read by nvml" in html


@pytest.mark.slow
def test_twenty_levels_stay_small(page_of_twenty_levels: Path):
    """About 300 kB with every part of the page."""
    assert page_of_twenty_levels.stat().st_size < 310_000
