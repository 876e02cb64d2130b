"""A calibration from the simulator to its row."""

from __future__ import annotations

import pytest

from benchmarks import paired
from benchsuite.cli.calibrate import calibration_row
from benchsuite.load.calibrate import Setting, run_setting
from benchsuite.progress import SweepResult


def test_every_chunk_is_compared():
    """16 requests of 400 tokens, as fast as the server can: every gap has its true length beside it."""
    setting = Setting(concurrency=2, tok_s=None)
    row = calibration_row(setting, *run_setting(setting))

    assert (row["requests"], row["n_unmatched"], row["n_chunks"]) == (16, 0, 16 * 400)
    assert row["gap_error_ms"]["n"] == 16 * 399
    assert row["chunks_per_s"] > 0
    assert row["cpu_us_per_chunk"] > row["parse_us_per_chunk"] > 0


def test_a_point_that_was_stopped_stops_all(monkeypatch):
    """Ctrl-C ends a point in order, and with it the calibration: half of a point is compared with nothing."""
    stopped = lambda *asked: SweepResult("run", asked[2], complete=False)  # noqa: E731
    monkeypatch.setattr("benchsuite.load.calibrate.sweep", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_setting(Setting(concurrency=2, tok_s=None))


def test_two_trees_in_turn():
    """The ratio is of the rounds: twice the CPU in each, whatever the machine did between them."""
    theirs = [dict.fromkeys(paired.KEYS, value) for value in (1.0, 3.0)]
    ours = [dict.fromkeys(paired.KEYS, value) for value in (2.0, 6.0)]
    lines = paired.table(ours, theirs, "3a49d2f")
    assert lines[1].split() == ["cpu_us_per_chunk", "2.0000", "4.0000", "2.000", "(2", "to", "2)"]
    assert len(lines) == 1 + len(paired.KEYS)
