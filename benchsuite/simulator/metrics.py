"""What the simulator counts: vLLM's metrics with exact counts, and the true send time of every chunk.

Counted in plain numbers and written out by hand: prometheus_client's counters and histograms take 3 times as long a
count, and its page 30 times as long, while no stream is served.
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
_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 240.0)
_HISTOGRAMS = (
    "time_to_first_token", "inter_token_latency", "request_queue_time", "request_prefill_time", "request_decode_time",
    "e2e_request_latency",
)  # fmt: skip


class _Histogram:
    def __init__(self) -> None:
        self.counts, self.sum_s = [0] * (len(_BOUNDS_S) + 1), 0.0

    def observe_ns(self, value_ns: int) -> None:
        value_s = value_ns / NS_PER_S
        self.counts[bisect_left(_BOUNDS_S, value_s)] += 1
        self.sum_s += value_s


@dataclass(slots=True)
class SendTimes:
    """The truth about one response, CLOCK_MONOTONIC ns."""

    response_id: str
    received_ns: int  # when its request was read
    input_tokens: int
    admitted_ns: int | None = None  # when it was given a slot, None while it waits
    sent_ns: array[int] = field(default_factory=lambda: array("q"))  # when each token-bearing write was sent
    due_ns: array[int] = field(default_factory=lambda: array("q"))  # when each was due
    output_tokens: int = 0
    finished: str | None = None  # None while it runs, else length, stop, error or abort

    def row(self) -> dict[str, Any]:
        """As JSON; ttft_ns is None before the first token."""
        row = {name: getattr(self, name) for name in ("received_ns", "input_tokens", "output_tokens", "finished")}
        ttft_ns = self.sent_ns[0] - self.received_ns if self.sent_ns else None
        return {"id": self.response_id, "ttft_ns": ttft_ns} | row | {
            "sent_ns": self.sent_ns.tolist(), "due_ns": self.due_ns.tolist(),
        }  # fmt: skip


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
        self._histograms = {name: _Histogram() for name in _HISTOGRAMS}

    def admit(self, times: SendTimes, at_ns: int) -> None:
        times.admitted_ns = at_ns
        self._histograms["request_queue_time"].observe_ns(at_ns - times.received_ns)

    def write(self, times: SendTimes, sent_ns: int, due_ns: int, tokens: int) -> None:
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
            name, totals = f"vllm:{name}_seconds", list(accumulate(histogram.counts))
            lines.append(f"# TYPE {name} histogram")
            for le, n in zip((*_BOUNDS_S, "+Inf"), totals, strict=True):
                lines.append(f'{name}_bucket{{{labels},le="{le}"}} {n}')
            lines += [f"{name}_count{{{labels}}} {totals[-1]}", f"{name}_sum{{{labels}}} {histogram.sum_s}"]
        return "\n".join([*lines, ""]).encode()
