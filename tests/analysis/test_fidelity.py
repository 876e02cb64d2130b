"""Recorded times against the server's own."""

import pyarrow as pa
import pytest

from benchsuite.analysis.client_accuracy import Sent, fidelity

MS = 1_000_000


def test_errors_of_a_known_stream() -> None:
    """Sent at 1 s; arrives 0.1 ms later, first token leaves 100 ms after that and comes 0.2 ms later; gaps 10 ms."""
    origin_ns = 5_000 * MS
    received_ns = origin_ns + 1_000 * MS + MS // 10
    sends_ns = [received_ns + 100 * MS, received_ns + 110 * MS, received_ns + 120 * MS]
    rows = pa.table(
        {
            "response_id": ["a", "lost", "b"],
            "sent_s": [1.0, 2.0, 3.0],
            "first_token_s": [1.1003, 2.1, None],
            "chunk_gap_us": [[10_000, 10_050], [10_000], []],
        }
    )

    found = fidelity(rows, origin_ns, {"a": Sent(received_ns, sends_ns), "b": Sent(received_ns, sends_ns)})

    assert found["n_unmatched"] == 2
    assert found["ttft_error_ms"]["mean"] == pytest.approx(0.3)
    assert found["send_error_ms"]["p99"] == pytest.approx(0.1)
    gap = found["gap_error_ms"]
    assert (gap["n"], gap["p50"], gap["max"]) == (2, 0.0, pytest.approx(0.05))


def test_nothing_matched_is_none() -> None:
    """Without a counterpart there is no error, not an error of 0."""
    rows = pa.table({"response_id": ["x"], "sent_s": [1.0], "first_token_s": [2.0], "chunk_gap_us": [[1]]})

    found = fidelity(rows, 0, {})

    assert (found["gap_error_ms"]["n"], found["gap_error_ms"]["p99"], found["ttft_error_ms"]["mean"]) == (0, None, None)
