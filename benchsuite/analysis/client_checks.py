"""Was it the client? A verdict on the measuring processes of a point, from what they recorded of themselves. Pure.

And: does the server's own count of tokens agree with ours?

Limits: ok up to the first, degraded up to the second, client-bound beyond.

merged reads (share of socket reads that held several events): 0.1 %, 1 %
CPU of a measuring process (worst second): 60 %, 80 % of a core
self-lag p99 (our stamp - the kernel's) against the median gap between chunks: 50 %, 100 % with kernel stamps, whose
    values a late client spoils only when chunks merge, that is when it is late by a whole gap; 2 %, 10 % without
dispatch p99 (sent - free to send): 10 ms, 100 ms
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchsuite.results import PointSummary, Warn

Verdict = Literal["ok", "degraded", "client-bound"]
_VERDICTS: tuple[Verdict, ...] = ("ok", "degraded", "client-bound")
MAX_TOKEN_IMBALANCE = 0.005
_REMEDY = "give the client cores of its own (taskset), more --workers, and uvloop (the extra `fast`)"


@dataclass(frozen=True, slots=True)
class ClientVerdict:
    """How far the client is to be trusted at one level: the worst of its repeats. figures: what was judged."""

    verdict: Verdict
    reasons: tuple[str, ...]
    figures: dict[str, float | None]

    def warning(self, concurrency: int) -> Warn | None:
        """The verdict as a warning; None when all is well."""
        if self.verdict == "ok":
            return None
        code = self.verdict.replace("-", "_")
        finding = f"the measuring client was {'too busy' if code == 'client_bound' else 'strained'}: "
        return Warn(code, finding + "; ".join(self.reasons), _REMEDY, concurrency)


def judge_client(states: Sequence[Mapping[str, Any]], gap_p50_s: float | None, kernel_stamps: bool) -> ClientVerdict:
    """The verdict on one level. states: `points[].client` of the manifest; gap_p50_s: median gap between chunks."""
    figures = {
        "merged_read_share": _worst(states, "merged_read_share"),
        "cpu_share_max_1s": _worst(states, "cpu_share_max_1s"),
        "self_lag_p99_ms": _worst_ms(states, "self_lag"),
        "loop_lag_p99_ms": _worst_ms(states, "loop_lag"),
        "dispatch_p99_ms": _worst_ms(states, "dispatch_lag"),
        "steal_s": _worst(states, "steal_s"),
    }
    lag = figures["self_lag_p99_ms"] if kernel_stamps else figures["loop_lag_p99_ms"]
    lag_share = lag / (gap_p50_s * 1e3) if lag is not None and gap_p50_s else None
    what = "self-lag" if kernel_stamps else "loop lag"
    found = [
        _against(figures["merged_read_share"], 0.001, 0.01, "{:.2%} of reads held several events"),
        _against(figures["cpu_share_max_1s"], 0.6, 0.8, "a process used {:.0%} of a core"),
        _against(lag_share, *((0.5, 1.0) if kernel_stamps else (0.02, 0.1)), what + " p99 was {:.0%} of a median gap"),
        _against(figures["dispatch_p99_ms"], 10, 100, "requests left up to {:.0f} ms (p99) late"),
    ]
    worst = max((rank for rank, _ in found), default=0)
    return ClientVerdict(_VERDICTS[worst], tuple(text for rank, text in found if rank), figures)


def token_balance(point: PointSummary, counted_by_server: Sequence[float | None]) -> Warn | None:
    """Our output tokens against the server's own counter over the same runs: a warning when they are > 0.5 % apart.

    counted_by_server: one count a run of the level. None where one of them is unknown, or where a request failed, whose
    tokens the server may have counted and we not.
    """
    counts = [count for count in counted_by_server if count is not None]
    if point.n_failed or point.output_tokens is None or not counts or len(counts) < len(counted_by_server):
        return None
    theirs = sum(counts)
    if theirs <= 0 or abs(point.output_tokens - theirs) <= MAX_TOKEN_IMBALANCE * theirs:
        return None
    return Warn(
        "token_balance",
        f"{point.output_tokens:,} output tokens here, {theirs:,.0f} by the server's own counter",
        "somebody else used the server, or its usage is wrong: tokens and $ per token are in doubt",
        point.concurrency,
    )


def _against(value: float | None, ok: float, degraded: float, text: str) -> tuple[int, str]:
    if value is None or value <= ok:
        return 0, ""
    return (1 if value <= degraded else 2), text.format(value)


def _worst(states: Sequence[Mapping[str, Any]], key: str) -> float | None:
    return max((state[key] for state in states if state.get(key) is not None), default=None)


def _worst_ms(states: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [state[key]["p99_us"] for state in states if state.get(key) and state[key]["p99_us"] is not None]
    return max(values) / 1e3 if values else None
