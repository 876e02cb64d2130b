from pathlib import Path

import pytest
from big_run_for_tests import make_big_run

from benchsuite.report.page import write_report


@pytest.fixture(scope="session")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with repeats and samples of GPUs and servers."""
    return write_report(make_big_run(tmp_path_factory.mktemp("big") / "run"))
