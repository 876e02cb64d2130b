"""The law: answers known on paper."""

from __future__ import annotations

import pytest

from benchsuite.errors import SpecError
from benchsuite.serving.simulator_law import Engine, Law, PrefixCache, first_due_ns

MS = 1_000_000


def engine(**law: object) -> Engine:
    return Engine(Law(mode="engine", **law))  # type: ignore[arg-type]


def times_ms(given: list[tuple[int, int]], key: int) -> list[float]:
    return [at / MS for at, name in given if name == key]


def test_paced_first_chunk_is_due_ttft_after_the_request():
    """T0 after receipt, exact, whatever the clock says."""
    assert first_due_ns(1_234_567, 0.1, 0.01, sync=False) == 101_234_567


def test_paced_sync_rounds_up_to_the_grid():
    """With sync the first chunk waits for the next multiple of D."""
    assert first_due_ns(1_234_567, 0.1, 0.01, sync=True) == 110_000_000
    assert first_due_ns(0, 0.1, 0.01, sync=True) == 100_000_000
    assert first_due_ns(7, 0.0, 0.0, sync=True) == 7


def test_one_request_alone():
    """TTFT = t0 + input/rate = 10 + 50 ms; ITL = a + b = 5 + 1 ms."""
    alone = engine(prefill_fixed_s=0.01, prefill_tokens_per_s=2000, step_base_s=0.005, step_per_active_s=0.001)
    alone.arrive(1, 0, input_tokens=100, output_tokens=4, steps=4)

    given = alone.advance(1000 * MS)

    assert times_ms(given, 1) == [60.0, 66.0, 72.0, 78.0]
    assert alone.next_ns is None


def test_two_that_decode_together_share_the_step():
    """Both prefill for 10 ms, then step every a + 2b = 7 ms; the one that is left steps in 6 ms."""
    pair = engine(prefill_fixed_s=0.01, step_base_s=0.005, step_per_active_s=0.001)
    pair.arrive(1, 0, 5, 3, steps=3)
    pair.arrive(2, 0, 5, 5, steps=5)

    given = pair.advance(1000 * MS)

    assert times_ms(given, 1) == [10.0, 17.0, 24.0]
    assert times_ms(given, 2) == [10.0, 17.0, 24.0, 30.0, 36.0]


def test_a_latecomer_joins_at_the_end_of_the_step():
    """Prefilled in the middle of a step, it gets its first chunk at the step's end and slows the next one."""
    law = engine(step_base_s=0.010, step_per_active_s=0.001)
    law.arrive(1, 0, 5, 4, steps=4)
    assert times_ms(law.advance(5 * MS), 1) == [0.0]
    law.arrive(2, 5 * MS, 5, 2, steps=2)

    given = law.advance(1000 * MS)

    assert times_ms(given, 1) == [11.0, 23.0, 34.0]
    assert times_ms(given, 2) == [11.0, 23.0]


def test_without_sync_each_stream_steps_alone():
    """Two streams a half step apart keep their phase; each step lasts a + 2b = 12 ms while both decode."""
    law = engine(sync=False, step_base_s=0.010, step_per_active_s=0.001)
    law.arrive(1, 0, 5, 3, steps=3)
    first = law.advance(5 * MS)
    law.arrive(2, 5 * MS, 5, 3, steps=3)

    given = first + law.advance(1000 * MS)

    assert times_ms(given, 1) == [0.0, 11.0, 23.0]
    assert times_ms(given, 2) == [5.0, 17.0, 29.0]


def test_requests_above_the_slots_wait_in_order():
    """With one slot and 2 chunks of 10 ms each, request n starts when n - 1 ends."""
    law = engine(slots=1, prefill_fixed_s=0.01, step_base_s=0.01)
    for key in (1, 2, 3):
        law.arrive(key, 0, 5, 2, steps=2)
    assert (len(law.running), len(law.waiting)) == (1, 2)

    given = law.advance(1000 * MS)

    assert [times_ms(given, key) for key in (1, 2, 3)] == [[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]
    assert law.admitted == [(1, 0), (2, 20 * MS), (3, 40 * MS)]


def test_requests_wait_for_kv_tokens():
    """100 tokens of KV hold one request of 60 + 20 at a time; a third of 10 + 10 does not overtake."""
    law = engine(kv_tokens=100, step_base_s=0.01)
    law.arrive(1, 0, 60, 20, steps=2)
    law.arrive(2, 0, 60, 20, steps=2)
    law.arrive(3, 0, 10, 10, steps=2)

    assert (law.kv_used_tokens, len(law.waiting)) == (80, 2)
    given = law.advance(1000 * MS)
    assert times_ms(given, 2)[0] >= times_ms(given, 1)[-1]
    assert times_ms(given, 2)[0] == times_ms(given, 3)[0]
    assert law.kv_used_tokens == 0


def test_a_request_larger_than_the_cache_runs_alone():
    """It must not block the queue for ever."""
    law = engine(kv_tokens=10)
    law.arrive(1, 0, 60, 20, steps=1)

    assert law.advance(0) == [(0, 1)]


def test_serial_prefill_is_one_at_a_time():
    """Three prompts of 100 tokens at 1000 tokens/s: first chunks at 100, 200, 300 ms."""
    law = engine(prefill_tokens_per_s=1000, prefill_serial=True)
    for key in (1, 2, 3):
        law.arrive(key, 0, 100, 1, steps=1)

    assert law.advance(1000 * MS) == [(100 * MS, 1), (200 * MS, 2), (300 * MS, 3)]


def test_cached_tokens_are_not_prefilled():
    """100 tokens of which 80 are cached, at 1000 tokens/s: 20 ms."""
    assert Law(prefill_tokens_per_s=1000).prefill_ns(100, 80) == 20 * MS


@pytest.mark.parametrize("n", [1, 4, 32])
def test_batch_throughput_is_n_over_step_time(n: int):
    """n streams of 101 chunks take 100 steps of a + b*n."""
    law = engine(slots=n, step_base_s=0.005, step_per_active_s=0.001)
    for key in range(n):
        law.arrive(key, 0, 1, 101, steps=101)

    given = law.advance(10**12)

    assert len(given) == 101 * n
    assert given[-1][0] == 100 * (5 + n) * MS


def test_cancel_frees_the_slot_and_stops_the_chunks():
    """The next in the queue is let in at that moment, and the cancelled request is given nothing more."""
    law = engine(slots=1, step_base_s=0.01)
    law.arrive(1, 0, 5, 100, steps=100)
    law.arrive(2, 0, 5, 1, steps=1)
    law.advance(15 * MS)
    law.cancel(1, 15 * MS)

    assert {key for _, key in law.advance(1000 * MS)} == {2}
    assert (law.kv_used_tokens, law.running) == (0, {})


def test_prefix_cache_counts_whole_blocks():
    """Blocks of 16: 40 words seen before give 32 cached tokens; another beginning gives none."""
    cache, words = PrefixCache(), [f"w{i}" for i in range(40)]
    assert cache.cached_tokens(words) == 0
    assert cache.cached_tokens(words) == 32
    assert cache.cached_tokens(["other", *words]) == 0
    assert cache.cached_tokens(words[:32]) == 31  # the last token is always computed
    cache.reset()
    assert cache.cached_tokens(words) == 0


@pytest.mark.parametrize("bad", [{"slots": 0}, {"itl_s": -1.0}, {"prefill_tokens_per_s": 0}, {"mode": "fast"}])
def test_impossible_laws_are_refused(bad: dict[str, object]):
    """Nothing starts with a law that cannot hold."""
    with pytest.raises(SpecError):
        Law(**bad)  # type: ignore[arg-type]
