"""When each token of each request is due. Pure: time comes in, due times go out, in integer ns.

Paced (no slots): write i of a stream is due at received + T0 + i*D, T0 = ttft_s and D = itl_s, whatever else happens.
Synchronized, the first one is rounded up to the next multiple of D of the clock: all streams of one D step together.

Batch engine: S slots, FIFO. A request waits until a slot and its KV tokens (input + most output) are free; is prefilled
for T0 + uncached_input_tokens / rate; then gives one chunk per step. A step lasts D + b * active, b = itl_per_stream_s.
    synchronized (as batch engines are): one step for all. A step that starts with n streams ends D + b*n later and
        gives one chunk to each of the n, and the first chunk to every request whose prefill ended meanwhile. On an idle
        engine the first chunk comes as the prefill ends, and a step starts.
    not synchronized: each stream steps alone, D + b * (streams decoding when its step starts).
Answers on paper: one request alone has TTFT = T0 + input/rate and ITL = D + b; n <= S that decode together have
ITL = D + b*n and n / (D + b*n) chunks/s, whose limit is 1/b; with n > S the rest wait.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from benchsuite.simulator.config import LatencyModel

PREFIX_BLOCK_TOKENS = 16


@dataclass(slots=True)
class _Job:
    key: int
    input_tokens: int
    cached_tokens: int
    kv_tokens: int
    steps_left: int


class BatchEngine:
    """Continuous batching as a state machine. Feed it arrivals and the time; it says who is given a chunk, and when.

    Time must not run backwards. Keys are the caller's and unique while their request lives. on_admit: called with the
    key of a request that gets a slot, and when.
    """

    def __init__(self, latency: LatencyModel, on_admit: Callable[[int, int], None] | None = None) -> None:
        self.latency, self._on_admit = latency, on_admit
        self.waiting: deque[_Job] = deque()
        self.running: dict[int, _Job] = {}
        self.kv_used_tokens = 0
        self._slots = latency.slots or 0
        self._synchronized = latency.synchronized is not False
        self._events: list[tuple[int, int, int]] = []  # (due_ns, order, key): a prefill ends, or a lone step
        self._order = 0
        self._decoding: dict[int, _Job] = {}
        self._prefilled: list[_Job] = []
        self._step_end_ns: int | None = None
        self._prefill_free_ns = 0

    def arrive(self, key: int, now_ns: int, input_tokens: int, output_tokens: int, steps: int, cached: int = 0) -> None:
        """Queue a request that will take `steps` chunks and hold input + output tokens of KV while it runs."""
        self.waiting.append(_Job(key, input_tokens, cached, input_tokens + output_tokens, steps))
        self._admit(now_ns)

    def cancel(self, key: int, now_ns: int) -> None:
        """Forget a request, wherever it is; its slot goes to the next. An unknown key is ignored."""
        self.waiting = deque(job for job in self.waiting if job.key != key)
        if key in self.running:
            self._release(key)
            self._prefilled = [job for job in self._prefilled if job.key != key]
        self._admit(now_ns)

    @property
    def next_ns(self) -> int | None:
        """When `advance` has next something to do. None when nothing runs."""
        due_ns = self._events[0][0] if self._events else None
        if self._step_end_ns is None or (due_ns is not None and due_ns <= self._step_end_ns):
            return due_ns
        return self._step_end_ns

    def advance(self, now_ns: int) -> list[tuple[int, int]]:
        """All chunks due up to now, as (due_ns, key) in order."""
        given: list[tuple[int, int]] = []
        while (at_ns := self.next_ns) is not None and at_ns <= now_ns:
            keys = []
            while self._events and self._events[0][0] == at_ns:
                keys.append(heapq.heappop(self._events)[2])
            arrivals = [self.running[key] for key in keys if key in self.running]  # the others were cancelled
            if not self._synchronized:
                self._decoding |= {job.key: job for job in arrivals}
                for job in arrivals:
                    if self._give(job, at_ns, given):
                        self._push(at_ns + self.latency.step_ns(len(self._decoding)), job.key)
                self._admit(at_ns)
                continue
            self._prefilled += arrivals
            if self._step_end_ns is None or self._step_end_ns == at_ns:
                self._decoding |= {job.key: job for job in self._prefilled}
                self._prefilled = []
                for job in list(self._decoding.values()):
                    self._give(job, at_ns, given)
                active = len(self._decoding)
                self._step_end_ns = at_ns + self.latency.step_ns(active) if active else None
                self._admit(at_ns)
        return given

    def _give(self, job: _Job, at_ns: int, given: list[tuple[int, int]]) -> bool:
        given.append((at_ns, job.key))
        job.steps_left -= 1
        if job.steps_left == 0:
            self._release(job.key)
        return job.steps_left > 0

    def _release(self, key: int) -> None:
        self.kv_used_tokens -= self.running.pop(key).kv_tokens
        self._decoding.pop(key, None)

    def _admit(self, now_ns: int) -> None:
        limit = self.latency.kv_tokens
        while self.waiting and len(self.running) < self._slots:
            job = self.waiting[0]
            # A request larger than the whole cache is let in when it is alone: it must not block the queue for ever.
            if limit is not None and self.running and self.kv_used_tokens + job.kv_tokens > limit:
                return
            self.waiting.popleft()
            self.running[job.key] = job
            if self._on_admit is not None:
                self._on_admit(job.key, now_ns)
            self.kv_used_tokens += job.kv_tokens
            start_ns = max(now_ns, self._prefill_free_ns) if self.latency.prefill_serial else now_ns
            self._prefill_free_ns = start_ns + self.latency.prefill_ns(job.input_tokens, job.cached_tokens)
            self._push(self._prefill_free_ns, job.key)

    def _push(self, due_ns: int, key: int) -> None:
        self._order += 1
        heapq.heappush(self._events, (due_ns, self._order, key))


class PrefixCache:
    """Which prompt prefixes were seen, in blocks of 16 tokens; unbounded until it is reset."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def cached_tokens(self, tokens: list[str], salt: str = "") -> int:
        """Leading tokens that were seen before with the salt (whole blocks, not the last token). All are kept."""
        cached, prefix, hit = 0, hash(salt), True
        for start in range(0, len(tokens) - PREFIX_BLOCK_TOKENS + 1, PREFIX_BLOCK_TOKENS):
            prefix = hash((prefix, *tokens[start : start + PREFIX_BLOCK_TOKENS]))
            hit = hit and prefix in self.seen
            cached += PREFIX_BLOCK_TOKENS * hit
            self.seen.add(prefix)
        return min(cached, max(0, len(tokens) - 1))
