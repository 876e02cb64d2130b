"""What the simulator counts: vLLM's metrics with exact counts, and the true send time of every chunk."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchsuite.clock import NS_PER_S

KEPT_RESPONSES = 50_000
_TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_ITL_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0)
_WAIT_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0)


class Histogram:
    """A Prometheus histogram of seconds."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, value_s: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds_s, value_s)] += 1
        self.sum_s += value_s

    def lines(self, name: str, labels: str) -> list[str]:
        """The exposition: cumulative buckets, count, sum."""
        total, lines = 0, [f"# TYPE {name} histogram"]
        for bound, count in zip((*map(str, self.bounds_s), "+Inf"), self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
        return [*lines, f"{name}_count{{{labels}}} {total}", f"{name}_sum{{{labels}}} {self.sum_s!r}"]


@dataclass(slots=True)
class Sent:
    """The truth about one response, CLOCK_MONOTONIC ns: when its request was read and each token-bearing write sent.

    admitted_ns: when it was given a slot, None while it waits. due_ns: when the law wanted each write. finished: None
    while it runs, else length, stop, error or abort.
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


def quantiles(values: list[int]) -> dict[str, int] | None:
    """p50, p99, p99.9 and max (nearest rank) of ns. None without values."""
    if not values:
        return None
    values.sort()
    last = len(values) - 1
    ranks = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {name: values[min(last, int(rank * len(values)))] for name, rank in ranks.items()}


class Counters:
    """Everything counted since the start or the last reset."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.responses: deque[Sent] = deque(maxlen=KEPT_RESPONSES)
        self.reset()

    def reset(self) -> None:
        """All counts to 0. Responses in flight go on being counted from here."""
        self.responses.clear()
        self.prompt_tokens = self.generation_tokens = self.requests = self.connections = 0
        self.cache_queries_tokens = self.cache_hits_tokens = 0
        self.finished = dict.fromkeys(("stop", "length", "abort", "error"), 0)
        self.ttft, self.itl = Histogram(_TTFT_S), Histogram(_ITL_S)
        self.queue, self.e2e = Histogram(_WAIT_S), Histogram(_WAIT_S)
        self.prefill, self.decode = Histogram(_WAIT_S), Histogram(_WAIT_S)

    def admit(self, sent: Sent, at_ns: int) -> None:
        """A request was given a slot."""
        sent.admitted_ns = at_ns
        self.queue.observe((at_ns - sent.received_ns) / NS_PER_S)

    def begin(self, sent: Sent, stamp_ns: int) -> None:
        """A response's first token was sent."""
        self.prompt_tokens += sent.input_tokens
        self.ttft.observe((stamp_ns - sent.received_ns) / NS_PER_S)
        if sent.admitted_ns is not None:
            self.prefill.observe((stamp_ns - sent.admitted_ns) / NS_PER_S)

    def finish(self, sent: Sent, reason: str, now_ns: int) -> None:
        """A response ended; its gaps are counted now."""
        sent.finished = reason
        self.finished[reason] += 1
        self.e2e.observe((now_ns - sent.received_ns) / NS_PER_S)
        if sent.sent_ns:
            self.decode.observe((sent.sent_ns[-1] - sent.sent_ns[0]) / NS_PER_S)
        for before_ns, at_ns in pairwise(sent.sent_ns):
            self.itl.observe((at_ns - before_ns) / NS_PER_S)

    def exposition(self, running: int, waiting: int, kv_usage: float) -> str:
        """The text of /metrics, under vLLM's names."""
        labels = f'engine="0",model_name="{self.model}"'
        gauges = {"num_requests_running": running, "num_requests_waiting": waiting, "kv_cache_usage_perc": kv_usage}
        counters = {
            "prompt_tokens_total": self.prompt_tokens,
            "generation_tokens_total": self.generation_tokens,
            "prefix_cache_queries_total": self.cache_queries_tokens,
            "prefix_cache_hits_total": self.cache_hits_tokens,
        }
        lines = []
        for kind, values in (("gauge", gauges), ("counter", counters)):
            for name, value in values.items():
                lines += [f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{labels}}} {float(value)!r}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason, count in self.finished.items():
            lines.append(f'vllm:request_success_total{{{labels},finished_reason="{reason}"}} {float(count)!r}')
        lines += self.ttft.lines("vllm:time_to_first_token_seconds", labels)
        lines += self.itl.lines("vllm:inter_token_latency_seconds", labels)
        lines += self.queue.lines("vllm:request_queue_time_seconds", labels)
        lines += self.prefill.lines("vllm:request_prefill_time_seconds", labels)
        lines += self.decode.lines("vllm:request_decode_time_seconds", labels)
        lines += self.e2e.lines("vllm:e2e_request_latency_seconds", labels)
        return "\n".join([*lines, ""])

    def stats(self, detail: bool) -> dict[str, Any]:
        """The truth as JSON: quantiles of TTFT, gaps and lateness (sent - due) in ns; with `detail`, every response."""
        ttft: list[int] = []
        gaps: list[int] = []
        late: list[int] = []
        for sent in self.responses:
            stamps = sent.sent_ns
            if stamps:
                ttft.append(stamps[0] - sent.received_ns)
            gaps.extend(after - before for before, after in pairwise(stamps))
            late.extend(at - due for at, due in zip(stamps, sent.due_ns, strict=True))
        stats: dict[str, Any] = {
            "clock": "CLOCK_MONOTONIC",
            "requests": self.requests,
            "connections": self.connections,
            "writes": len(late),
            "ttft_ns": quantiles(ttft),
            "itl_ns": quantiles(gaps),
            "lateness_ns": quantiles(late),
        }
        if detail:
            stats["responses"] = [sent.row() for sent in self.responses]
        return stats
