"""The page of a run with repeats, noise, and samples of a GPU and a server: every part has something to show."""

from pathlib import Path

import pytest
from factory import run_folder

from benchsuite.report.judge import judge_run
from benchsuite.report.page import write_report
from benchsuite.store.run_folder import read_run

SLOTS = 64  # of the server: what is beyond waits


def big_run(path: Path, levels: tuple[int, ...], **more: int) -> Path:
    """A server that slows down with the requests that it works on; the SLO holds up to 48 users."""
    latency = {level: (0.06 + 0.0016 * min(level, SLOTS), 0.012 + 0.00062 * min(level, SLOTS)) for level in levels}
    return run_folder(
        path, levels=levels, latency=latency, tokens=67, slots=SLOTS, noise=0.1, gpu=True, server=True,
        slo="ttft_mean<1s,output_throughput_per_user>20", usd_per_hour=2.5, model="made-up-8b (nothing was measured)",
        **more,
    )  # fmt: skip


@pytest.fixture(scope="session")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of six levels in three repeats."""
    run = big_run(tmp_path_factory.mktemp("big") / "run", (8, 16, 32, 48, 64, 128), repeats=3, requests=192)
    return write_report(judge_run(read_run(run)))


@pytest.fixture(scope="session")
def page_of_twenty_levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of many levels."""
    run = big_run(tmp_path_factory.mktemp("twenty") / "run", tuple(range(2, 62, 3)), repeats=2, requests=62)
    return write_report(judge_run(read_run(run)))
