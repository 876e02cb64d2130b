"""What the simulator counts: vLLM's metrics with exact counts, and the true send time of every chunk.

Counted in plain numbers and written out by hand: prometheus_client's counters take a lock for every increment, its
histograms search their buckets one after the other, and importing it takes a third of the simulator's start.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

from benchsuite.clock import NS_PER_S

KEPT_RESPONSES = 50_000
_TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_ITL_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_REQUEST_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0)
_BUCKETS = {
    "time_to_first_token": _TTFT_S,
    "inter_token_latency": _ITL_S,
    "request_queue_time": _REQUEST_S,
    "request_prefill_time": _REQUEST_S,
    "request_decode_time": _REQUEST_S,
    "e2e_request_latency": _REQUEST_S,
}


class _Histogram:
    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s, self.counts, self.sum_s = bounds_s, [0] * (len(bounds_s) + 1), 0.0

    def observe_ns(self, value_ns: int) -> None:
        value_s = value_ns / NS_PER_S
        self.counts[bisect_left(self.bounds_s, value_s)] += 1
        self.sum_s += value_s


@dataclass(slots=True)
class SendTimes:
    """The truth about one response, CLOCK_MONOTONIC ns: when its request was read and each token-bearing write sent.

    admitted_ns: when it was given a slot, None while it waits. due_ns: when each write was due. finished: None while it
    runs, else length, stop, error or abort.
    """

    response_id: str
    received_ns: int
    input_tokens: int
    admitted_ns: int | None = None
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    due_ns: array[int] = field(default_factory=lambda: array("q"))
    output_tokens: int = 0
    finished: str | None = None

    def row(self) -> dict[str, Any]:
        """As JSON; ttft_ns is None before the first token."""
        return {
            "id": self.response_id,
            "received_ns": self.received_ns,
            "ttft_ns": self.sent_ns[0] - self.received_ns if self.sent_ns else None,
            "sent_ns": self.sent_ns.tolist(),
            "due_ns": self.due_ns.tolist(),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "finished": self.finished,
        }


class SimulatorMetrics:
    """Everything counted since the start or the last reset."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.responses: deque[SendTimes] = deque(maxlen=KEPT_RESPONSES)
        self.reset()

    def reset(self) -> None:
        """All counts to 0. Responses in flight go on being counted from here."""
        self.responses.clear()
        self.prompt_tokens = self.generation_tokens = self.requests = self.connections = 0
        self.cache_queries_tokens = self.cache_hits_tokens = 0
        self.finished = dict.fromkeys(("stop", "length", "abort", "error"), 0)
        self._histograms = {name: _Histogram(bounds_s) for name, bounds_s in _BUCKETS.items()}

    def admit(self, times: SendTimes, at_ns: int) -> None:
        """A request was given a slot."""
        times.admitted_ns = at_ns
        self._histograms["request_queue_time"].observe_ns(at_ns - times.received_ns)

    def write(self, times: SendTimes, sent_ns: int, due_ns: int, tokens: int) -> None:
        """A token-bearing write was sent."""
        if not times.sent_ns:
            self.prompt_tokens += times.input_tokens
            self._histograms["time_to_first_token"].observe_ns(sent_ns - times.received_ns)
            if times.admitted_ns is not None:
                self._histograms["request_prefill_time"].observe_ns(sent_ns - times.admitted_ns)
        times.sent_ns.append(sent_ns)
        times.due_ns.append(due_ns)
        times.output_tokens += tokens
        self.generation_tokens += tokens

    def finish(self, times: SendTimes, reason: str, now_ns: int) -> None:
        """A response ended; its gaps are counted now."""
        times.finished = reason
        self.finished[reason] += 1
        self._histograms["e2e_request_latency"].observe_ns(now_ns - times.received_ns)
        if times.sent_ns:
            self._histograms["request_decode_time"].observe_ns(times.sent_ns[-1] - times.sent_ns[0])
        observe_ns = self._histograms["inter_token_latency"].observe_ns
        for before_ns, at_ns in pairwise(times.sent_ns):
            observe_ns(at_ns - before_ns)

    def exposition(self, running: int, waiting: int, kv_usage_ratio: float) -> bytes:
        """The text of /metrics, under vLLM's names."""
        labels = f'engine="0",model_name={json.dumps(self.model, ensure_ascii=False)}'
        lines = []
        for kind, name, value in (
            ("gauge", "num_requests_running", running),
            ("gauge", "num_requests_waiting", waiting),
            ("gauge", "kv_cache_usage_perc", kv_usage_ratio),
            ("counter", "prompt_tokens_total", self.prompt_tokens),
            ("counter", "generation_tokens_total", self.generation_tokens),
            ("counter", "prefix_cache_queries_total", self.cache_queries_tokens),
            ("counter", "prefix_cache_hits_total", self.cache_hits_tokens),
        ):
            lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{labels}}} {float(value)}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason, count in self.finished.items():
            lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)}')
        for name, histogram in self._histograms.items():
            name, bounds = f"vllm:{name}_seconds", (*map(str, histogram.bounds_s), "+Inf")
            totals = list(accumulate(histogram.counts))
            lines.append(f"# TYPE {name} histogram")
            lines += [f'{name}_bucket{{{labels},le="{le}"}} {n}' for le, n in zip(bounds, totals, strict=True)]
            lines += [f"{name}_count{{{labels}}} {totals[-1]}", f"{name}_sum{{{labels}}} {histogram.sum_s}"]
        return "\n".join([*lines, ""]).encode()

    def stats(self, detail: bool) -> dict[str, Any]:
        """Exact counts as JSON; with `detail`, the truth about every response."""
        stats = {"clock": "CLOCK_MONOTONIC", "requests": self.requests, "connections": self.connections}
        return stats | ({"responses": [times.row() for times in self.responses]} if detail else {})
