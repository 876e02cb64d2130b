"""A calibration from the simulator to its row."""

from __future__ import annotations

from benchsuite.cli.calibrate import calibration_row
from benchsuite.load.calibrate import Setting, run_setting


def test_every_chunk_is_compared():
    """16 requests of 400 tokens, as fast as the server can: every gap has its true length beside it."""
    setting = Setting(concurrency=2, tok_s=None)
    row = calibration_row(setting, *run_setting(setting))

    assert (row["requests"], row["n_unmatched"], row["n_chunks"]) == (16, 0, 16 * 400)
    assert row["gap_error_ms"]["n"] == 16 * 399
    assert row["chunks_per_s"] > 0
    assert row["cpu_us_per_chunk"] > row["parse_us_per_chunk"] > 0
