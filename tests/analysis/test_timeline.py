"""The timeline of a point: in flight and tokens per second, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from factory import request_frame as frame
from factory import request_row as row
from hypothesis import given, settings
from hypothesis import strategies as st

from benchsuite.analysis.requests import Rows, as_table, rows_of, timeline
from benchsuite.level import Level

# A is in flight from 0 to 2, with tokens at 0.5, 1 and 2; B from 1 to 4, with tokens at 2.25 and 3.25.
A = row(0.0, 0.5, [0.5, 1.0])
B = row(1.0, 1.25, [1.0], tail_s=0.75)


def rows(*of: object) -> Rows:
    return rows_of(as_table(frame(*of)), Level(1))


def test_four_seconds_by_hand():
    """Mean requests in flight, and tokens by when their chunk came."""
    found = timeline(rows(A, B), 0, bins=4)
    assert found is not None
    assert (found.start_s, found.end_s) == (0.0, 4.0)
    assert found.edges_s.tolist() == [0, 1, 2, 3, 4]
    assert found.in_flight.tolist() == [1, 2, 1, 1]
    assert found.output_tok_s.tolist() == [1, 1, 2, 1]


def test_parts_shorter_than_a_request():
    """A part in which a request begins counts its share."""
    found = timeline(rows(row(0.0, 0.1, [0.9]), row(0.25, 0.1, [0.65])), 0, bins=2)
    assert found is not None
    assert found.in_flight.tolist() == [1.5, 2.0]


def test_tokens_of_a_chunk_and_of_no_stream():
    """Six tokens in three chunks are two each; without streaming they come when the request closes."""
    found = timeline(rows(row(0.0, 0.5, [0.5, 1.0], output_tokens=6)), 0, bins=2)
    assert found is not None
    assert found.output_tok_s.tolist() == [2, 4]
    whole = row(0.0, None, [], closed_s=2.0, output_tokens=6)
    found = timeline(rows(whole), 0, bins=2)
    assert found is not None
    assert found.output_tok_s.tolist() == [0, 6]


def test_failed_requests_hold_a_slot_and_give_no_tokens():
    """They are in flight; their tokens are no output."""
    found = timeline(rows(A, row(0.0, 0.5, [1.5], status="stream_error")), 0, bins=2)
    assert found is not None
    assert found.in_flight.tolist() == [2, 2]
    assert found.output_tok_s.sum() == 3


def test_one_repeat_at_a_time():
    """Another repeat is not in it; one without a request that was sent and closed has none."""
    both = rows(A, row(10.0, 0.5, [0.5], repeat=1))
    found = timeline(both, 1, bins=1)
    assert found is not None
    assert (found.start_s, found.end_s, found.output_tok_s.tolist()) == (10.0, 11.0, [2.0])
    assert timeline(both, 2) is None
    assert timeline(rows(row(None, None, [])), 0) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 50), st.floats(0.01, 3), st.lists(st.floats(0.001, 2), max_size=6)),
        min_size=1,
        max_size=8,
    )
)
def test_nothing_is_lost(requests: list[tuple[float, float, list[float]]]):
    """Over all parts: the request-seconds are those of the requests, and the tokens are all there."""
    found = timeline(rows(*(row(*one) for one in requests)), 0, bins=7)
    assert found is not None
    width_s = (found.end_s - found.start_s) / 7
    busy_s = sum(ttft_s + sum(gaps) for _, ttft_s, gaps in requests)
    assert float(np.sum(found.in_flight)) * width_s == pytest.approx(busy_s, abs=1e-4)
    tokens = sum(len(gaps) + 1 for *_, gaps in requests)
    assert float(np.sum(found.output_tok_s)) * width_s == pytest.approx(tokens)
