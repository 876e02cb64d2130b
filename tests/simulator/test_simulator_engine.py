"""When tokens are due: answers known on paper."""

from __future__ import annotations

import pytest

from benchsuite.simulator.config import LatencyModel
from benchsuite.simulator.engine import BatchEngine, PrefixCache

MS = 1_000_000


def engine(**latency: object) -> BatchEngine:
    return BatchEngine(LatencyModel(**({"slots": 64} | latency)))  # type: ignore[arg-type]


def times_ms(given: list[tuple[int, int]], key: int) -> list[float]:
    return [at / MS for at, name in given if name == key]


def test_paced_first_chunk_is_due_ttft_after_the_request():
    """T0 after receipt, exact, whatever the clock says."""
    assert LatencyModel(ttft_s=0.1, itl_s=0.01).first_due_ns(1_234_567, 0) == 101_234_567


def test_synchronized_rounds_up_to_the_grid():
    """Synchronized, the first chunk waits for the next multiple of D."""
    grid = LatencyModel(ttft_s=0.1, itl_s=0.01, synchronized=True)
    assert grid.first_due_ns(1_234_567, 0) == 110_000_000
    assert grid.first_due_ns(0, 0) == 100_000_000
    assert LatencyModel(synchronized=True).first_due_ns(7, 0) == 7


def test_spread_first_chunks():
    """Request k is later by the spread times the fraction of k * golden ratio: 0, 0.618, 0.236 of 10 ms."""
    spread = LatencyModel(ttft_spread_s=0.01)
    assert [spread.first_due_ns(0, k) // 1000 for k in range(3)] == [0, 6180, 2360]


def test_one_request_alone():
    """TTFT = t0 + input/rate = 10 + 50 ms; ITL = a + b = 5 + 1 ms."""
    alone = engine(ttft_s=0.01, prefill_tokens_per_s=2000, itl_s=0.005, itl_per_stream_s=0.001)
    alone.arrive(1, 0, input_tokens=100, output_tokens=4, steps=4)

    given = alone.advance(1000 * MS)

    assert times_ms(given, 1) == [60.0, 66.0, 72.0, 78.0]
    assert alone.next_ns is None


def test_two_that_decode_together_share_the_step():
    """Both prefill for 10 ms, then step every a + 2b = 7 ms; the one that is left steps in 6 ms."""
    pair = engine(ttft_s=0.01, itl_s=0.005, itl_per_stream_s=0.001)
    pair.arrive(1, 0, 5, 3, steps=3)
    pair.arrive(2, 0, 5, 5, steps=5)

    given = pair.advance(1000 * MS)

    assert times_ms(given, 1) == [10.0, 17.0, 24.0]
    assert times_ms(given, 2) == [10.0, 17.0, 24.0, 30.0, 36.0]


def test_a_latecomer_joins_at_the_end_of_the_step():
    """Prefilled in the middle of a step, it gets its first chunk at the step's end and slows the next one."""
    running = engine(itl_s=0.010, itl_per_stream_s=0.001)
    running.arrive(1, 0, 5, 4, steps=4)
    assert times_ms(running.advance(5 * MS), 1) == [0.0]
    running.arrive(2, 5 * MS, 5, 2, steps=2)

    given = running.advance(1000 * MS)

    assert times_ms(given, 1) == [11.0, 23.0, 34.0]
    assert times_ms(given, 2) == [11.0, 23.0]


def test_not_synchronized_each_stream_steps_alone():
    """Two streams a half step apart keep their phase; each step lasts a + 2b = 12 ms while both decode."""
    running = engine(synchronized=False, itl_s=0.010, itl_per_stream_s=0.001)
    running.arrive(1, 0, 5, 3, steps=3)
    first = running.advance(5 * MS)
    running.arrive(2, 5 * MS, 5, 3, steps=3)

    given = first + running.advance(1000 * MS)

    assert times_ms(given, 1) == [0.0, 11.0, 23.0]
    assert times_ms(given, 2) == [5.0, 17.0, 29.0]


def test_requests_above_the_slots_wait_in_order():
    """With one slot and 2 chunks of 10 ms each, request n starts when n - 1 ends."""
    admitted: list[tuple[int, int]] = []
    latency = LatencyModel(slots=1, ttft_s=0.01, itl_s=0.01)
    running = BatchEngine(latency, lambda key, at_ns: admitted.append((key, at_ns)))
    for key in (1, 2, 3):
        running.arrive(key, 0, 5, 2, steps=2)
    assert (len(running.running), len(running.waiting)) == (1, 2)

    given = running.advance(1000 * MS)

    assert [times_ms(given, key) for key in (1, 2, 3)] == [[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]
    assert admitted == [(1, 0), (2, 20 * MS), (3, 40 * MS)]


def test_requests_wait_for_kv_tokens():
    """100 tokens of KV hold one request of 60 + 20 at a time; a third of 10 + 10 does not overtake."""
    running = engine(kv_tokens=100, itl_s=0.01)
    running.arrive(1, 0, 60, 20, steps=2)
    running.arrive(2, 0, 60, 20, steps=2)
    running.arrive(3, 0, 10, 10, steps=2)

    assert (running.kv_used_tokens, len(running.waiting)) == (80, 2)
    given = running.advance(1000 * MS)
    assert times_ms(given, 2)[0] >= times_ms(given, 1)[-1]
    assert times_ms(given, 2)[0] == times_ms(given, 3)[0]
    assert running.kv_used_tokens == 0


def test_a_request_larger_than_the_cache_runs_alone():
    """It must not block the queue for ever."""
    running = engine(kv_tokens=10)
    running.arrive(1, 0, 60, 20, steps=1)

    assert running.advance(0) == [(0, 1)]


def test_serial_prefill_is_one_at_a_time():
    """Three prompts of 100 tokens at 1000 tokens/s: first chunks at 100, 200, 300 ms."""
    running = engine(prefill_tokens_per_s=1000, prefill_serial=True)
    for key in (1, 2, 3):
        running.arrive(key, 0, 100, 1, steps=1)

    assert running.advance(1000 * MS) == [(100 * MS, 1), (200 * MS, 2), (300 * MS, 3)]


def test_cached_tokens_are_not_prefilled():
    """100 tokens of which 80 are cached, at 1000 tokens/s: 20 ms."""
    assert LatencyModel(slots=1, prefill_tokens_per_s=1000).prefill_ns(100, 80) == 20 * MS


@pytest.mark.parametrize("n", [1, 4, 32])
def test_batch_throughput_is_n_over_step_time(n: int):
    """n streams of 101 chunks take 100 steps of a + b*n."""
    running = engine(slots=n, itl_s=0.005, itl_per_stream_s=0.001)
    for key in range(n):
        running.arrive(key, 0, 1, 101, steps=101)

    given = running.advance(10**12)

    assert len(given) == 101 * n
    assert given[-1][0] == 100 * (5 + n) * MS


def test_cancel_frees_the_slot_and_stops_the_chunks():
    """The next in the queue is let in at that moment, and the cancelled request is given nothing more."""
    running = engine(slots=1, itl_s=0.01)
    running.arrive(1, 0, 5, 100, steps=100)
    running.arrive(2, 0, 5, 1, steps=1)
    running.advance(15 * MS)
    running.cancel(1, 15 * MS)

    assert {key for _, key in running.advance(1000 * MS)} == {2}
    assert (running.kv_used_tokens, running.running) == (0, {})


def test_prefix_cache_counts_whole_blocks():
    """Blocks of 16: 40 words seen before give 32 cached tokens; another beginning gives none."""
    cache, words = PrefixCache(), [f"w{i}" for i in range(40)]
    assert cache.cached_tokens(words) == 0
    assert cache.cached_tokens(words) == 32
    assert cache.cached_tokens(["other", *words]) == 0
    assert cache.cached_tokens(words[:32]) == 31  # the last token is always computed
    cache.seen.clear()
    assert cache.cached_tokens(words) == 0
