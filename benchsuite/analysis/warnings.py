"""What the levels of one model say against each other: disturbed runs, named. Warnings only: nothing is dropped.

One level alone is checked in row_checks and points_table. Thresholds: docs/METHODS.md.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchsuite.analysis.requests import LevelRows, Rows
from benchsuite.analysis.scalability import elasticities, fit_usl
from benchsuite.analysis.ttft_breakdown import ServerUse
from benchsuite.results import Finding, GpuUse, PointSummary, SteadyWindow
from benchsuite.servers import SERVERS

MAX_ERROR_RATE = 0.01  # above, a level is no measurement of the set
MAX_ESTIMATED_SHARE = 0.01
MAX_LENGTH_SHARE = 0.05
MAX_WRONG_LENGTH_SHARE = 0.01
MAX_LITTLE_ERROR = 0.005
MAX_MERGED_SHARE = 0.001
MIN_STEADY_OCCUPANCY = 0.98
MIN_OCCUPANCY = 0.95


def check_rows(
    level: LevelRows,
    *,
    fixed_length: bool,
    max_in_flight: int | None,
    littles_law_error: float | None,
    occupancy: float | None,
    steady: SteadyWindow | None,
) -> tuple[Finding, ...]:
    """Every warning that the rows of one level give rise to."""
    rows, concurrency = level.rows, level.concurrency
    found = [
        *_loop(rows, concurrency, max_in_flight, littles_law_error, occupancy, steady),
        *_answers(rows, fixed_length, int(np.count_nonzero(rows.single_chunk))),
        *_tokens(rows),
    ]
    return tuple(Finding(code, finding, remedy, concurrency) for code, finding, remedy in found)


_Finding = tuple[str, str, str]


def _loop(
    rows: Rows,
    concurrency: int,
    max_in_flight: int | None,
    little_error: float | None,
    occupancy: float | None,
    steady: SteadyWindow | None,
) -> Iterator[_Finding]:
    n = len(rows.ok)
    failed = n - int(np.count_nonzero(rows.ok))
    if failed / n > MAX_ERROR_RATE:
        kinds = ", ".join(f"{count} {status}" for status, count in rows.failures.items())
        yield "errors", f"{failed} of {n} requests failed ({kinds})", "find the cause in the rows' error column; repeat"
    if max_in_flight is not None and max_in_flight != concurrency:
        yield (
            "concurrency_not_reached",
            f"at most {max_in_flight} requests were in flight, not {concurrency}",
            "look for a connection limit between client and server, or give the set more requests than users",
        )
    if little_error is not None and little_error > MAX_LITTLE_ERROR:
        yield (
            "littles_law",
            f"Little's law is off by {little_error:.1%}",
            "rows are missing, doubled, or were never closed: do not use this point",
        )
    open_end = int(np.count_nonzero(~np.isnan(rows.sent_s) & np.isnan(rows.closed_s)))
    if open_end:
        yield (
            "unfinished_requests",
            f"{open_end} requests have no end, so their time is not in the run's",
            "repeat the level",
        )
    if steady is not None and steady.occupancy is not None and steady.occupancy < MIN_STEADY_OCCUPANCY:
        yield (
            "idle_users",
            f"virtual users were busy {steady.occupancy:.1%} of the steady window",
            "the client is late between requests: give it a core of its own, or more workers",
        )
    elif occupancy is not None and occupancy < MIN_OCCUPANCY:
        yield (
            "ramp_up_down",
            f"slots were in use {occupancy:.1%} of the run: time and throughput include filling and draining",
            f"use about {100 * concurrency:,} requests at this level, or read the steady window's figures",
        )


def _answers(rows: Rows, fixed_length: bool, n_bursts: int) -> Iterator[_Finding]:
    n_ok = int(np.count_nonzero(rows.ok))
    if n_ok == 0:
        return
    empty = int(np.count_nonzero(rows.ok & (rows.output_tokens == 0)))
    if empty:
        yield "empty", f"{empty} of {n_ok} answers are empty", "look at the prompts: an empty answer costs no decoding"
    if n_bursts:
        yield (
            "single_chunk",
            f"{n_bursts} of {n_ok} answers came in one piece and have no TPOT",
            "turn buffering off in server and proxy; on a machine shared with the server, give the client its own core",
        )
    asked = rows.ok & ~np.isnan(rows.asked_tokens) & ~np.isnan(rows.output_tokens)
    wrong = int(np.count_nonzero(asked & (rows.output_tokens != rows.asked_tokens)))
    if fixed_length and wrong > MAX_WRONG_LENGTH_SHARE * n_ok:
        yield (
            "length_not_kept",
            f"{wrong} of {n_ok} answers have not the length that was asked for",
            "the server does not honour a fixed length: choose its profile, or do not compare levels by time",
        )
    over = int(np.count_nonzero(asked & (rows.output_tokens > rows.asked_tokens)))
    if over:
        yield (
            "usage_over_cap",
            f"{over} of {n_ok} answers report more output tokens than max_tokens allows",
            "the server's usage is wrong, or it ignores max_tokens: trust neither its tokens nor $ per token",
        )
    by_length = int(np.count_nonzero(rows.ok & rows.ended_by_length))
    if not fixed_length and by_length > MAX_LENGTH_SHARE * n_ok:
        yield (
            "truncated_by_max_tokens",
            f"{by_length} of {n_ok} answers were cut at max_tokens, so time and cost depend on that cap",
            "raise max_output_tokens, or ask for a fixed length",
        )
    if rows.n_merged_reads > MAX_MERGED_SHARE * rows.n_reads:
        yield (
            "merged_reads",
            f"{rows.n_merged_reads} of {rows.n_reads} reads held more than one event, which then share one time stamp",
            "chunk gaps are coarser than they look; give the client a core of its own, look for a buffering proxy",
        )


def _tokens(rows: Rows) -> Iterator[_Finding]:
    n_ok = int(np.count_nonzero(rows.ok))
    if n_ok == 0:
        return
    for name, tokens in (("input", rows.input_tokens), ("output", rows.output_tokens)):
        unknown = int(np.count_nonzero(rows.ok & np.isnan(tokens)))
        if unknown:
            yield (
                f"{name}_tokens_unknown",
                f"{unknown} of {n_ok} answers have no {name} token count; sums and rates hold the others' alone",
                "ask for usage (stream_options.include_usage), or name a tokenizer",
            )
    estimated = int(np.count_nonzero(rows.ok & ~rows.from_usage))
    if estimated > MAX_ESTIMATED_SHARE * n_ok:
        yield (
            "tokens_estimated",
            f"{estimated} of {n_ok} token counts are not the server's own",
            "ask for usage (stream_options.include_usage); counted chunks are not tokens",
        )


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

    def warning(self, concurrency: int) -> Finding | None:
        """The verdict as a warning; None when all is well."""
        if self.verdict == "ok":
            return None
        code = self.verdict.replace("-", "_")
        finding = f"the measuring client was {'too busy' if code == 'client_bound' else 'strained'}: "
        return Finding(code, finding + "; ".join(self.reasons), _REMEDY, concurrency)


def judge_client(states: Sequence[Mapping[str, Any]], gap_p50_s: float | None, kernel_stamps: bool) -> ClientVerdict:
    """The verdict on one level. states: `points[].client` of the manifest; gap_p50_s: median gap between chunks."""
    figures = {
        "merged_read_share": _worst(states, "merged_read_share"),
        "cpu_share_max_1s": _worst(states, "cpu_share_max_1s"),
        "read_lag_p99_ms": _worst_ms(states, "read_lag"),
        "loop_lag_p99_ms": _worst_ms(states, "loop_lag"),
        "dispatch_p99_ms": _worst_ms(states, "dispatch_lag"),
        "steal_s": _worst(states, "steal_s"),
    }
    lag = figures["read_lag_p99_ms"] if kernel_stamps else figures["loop_lag_p99_ms"]
    lag_share = lag / (gap_p50_s * 1e3) if lag is not None and gap_p50_s else None
    what = "read lag" if kernel_stamps else "loop lag"
    found = [
        _against(figures["merged_read_share"], 0.001, 0.01, "{:.2%} of reads held several events"),
        _against(figures["cpu_share_max_1s"], 0.6, 0.8, "a process used {:.0%} of a core"),
        _against(lag_share, *((0.5, 1.0) if kernel_stamps else (0.02, 0.1)), what + " p99 was {:.0%} of a median gap"),
        _against(figures["dispatch_p99_ms"], 10, 100, "requests left up to {:.0f} ms (p99) late"),
    ]
    worst = max((rank for rank, _ in found), default=0)
    return ClientVerdict(_VERDICTS[worst], tuple(text for rank, text in found if rank), figures)


def token_balance(point: PointSummary, counted_by_server: Sequence[float | None]) -> Finding | None:
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
    return Finding(
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
    values = [p99 for state in states if (p99 := (state.get(key) or {}).get("p99_us")) is not None]
    return max(values) / 1e3 if values else None


UTIL_TARGET_RATIO, UTIL_ALERT_RATIO = 0.80, 0.70
MAX_QUEUE = 100
MAX_MEMORY_RATIO = 0.90
PREALLOCATES = tuple(name for name, server in SERVERS.items() if server.preallocates)
_HEAT = "cool the card or cap its clocks (nvidia-smi -lgc), then measure again"
_REMEDIES: Mapping[str, str] = {
    "sw_power_cap": "raise the power limit (nvidia-smi -pl), or quote it with the result; then measure again",
    "hw_slowdown": _HEAT,
    "sw_thermal": _HEAT,
    "hw_thermal": _HEAT,
    "power_brake": "the power supply asked for it: look at the host, then measure again",
}


def check_telemetry(
    gpu: GpuUse | None, server: ServerUse | None, concurrency: int, profile: str | None
) -> list[Finding]:
    """What the level's readings say against it. profile: the kind of server, None if not known."""
    found: list[tuple[str, str, str]] = []
    if gpu is not None:
        found += [*_throttled(gpu), *_shared(gpu), *_idle(gpu), *_memory(gpu, server, profile)]
    if server is not None:
        found += [*_queue(server), *_kv_cache(server), *_preempted(server)]
    return [Finding(code, finding, remedy, concurrency) for code, finding, remedy in found]


_Found = list[tuple[str, str, str]]


def _throttled(gpu: GpuUse) -> _Found:
    return [
        ("gpu_throttled", f"{reason} for {seconds:,.1f} s: the run is not what the card can do", _REMEDIES[reason])
        for reason, seconds in (gpu.throttle_s or {}).items()
    ]


def _shared(gpu: GpuUse) -> _Found:
    if not gpu.foreign_processes:
        return []
    finding = f"{gpu.foreign_processes} other process{'es' * (gpu.foreign_processes > 1)} on the server's GPU"
    return [("gpu_shared", finding, "end it, or measure on a GPU of its own: speed, power and memory are of both")]


def _idle(gpu: GpuUse) -> _Found:
    if gpu.util_ratio is None or gpu.util_ratio.mean >= UTIL_ALERT_RATIO:
        return []
    finding = f"GPU utilisation {gpu.util_ratio.mean:.0%}, below the alert line of {UTIL_ALERT_RATIO:.0%} "
    finding += f"(target: above {UTIL_TARGET_RATIO:.0%})"
    remedy = (
        "more users, a smaller or one GPU less; if more users do not help, the server's CPU or the client holds it up"
    )
    return [("gpu_util_low", finding, remedy)]


def _memory(gpu: GpuUse, server: ServerUse | None, profile: str | None) -> _Found:
    if gpu.memory_ratio is None or gpu.memory_ratio.greatest < MAX_MEMORY_RATIO:
        return []
    finding = f"GPU memory {gpu.memory_ratio.greatest:.0%} in use (target: below {MAX_MEMORY_RATIO:.0%})"
    if profile not in PREALLOCATES:
        return [("gpu_memory", finding, "a shorter context, fewer slots, a quantised model, or a GPU with more memory")]
    if server is not None and server.kv_cache_max_ratio is not None:
        return []  # its KV cache says it
    finding += f", but {profile} takes it at start: no sign of load, and its KV cache use is not known"
    return [
        ("gpu_memory", finding, "let the server's metrics be read (--metrics-url): KV cache use is the sign of load")
    ]


def _kv_cache(server: ServerUse) -> _Found:
    ratio = server.kv_cache_max_ratio
    if ratio is None or ratio < MAX_MEMORY_RATIO:
        return []
    mean = "" if server.kv_cache_mean_ratio is None else f", {server.kv_cache_mean_ratio:.0%} on average"
    remedy = "next come preemptions: more memory for the cache, a shorter context, or fewer users"
    return [
        ("kv_cache_full", f"KV cache up to {ratio:.0%} in use{mean} (target: below {MAX_MEMORY_RATIO:.0%})", remedy)
    ]


def _queue(server: ServerUse) -> _Found:
    if server.waiting_max is None or server.waiting_max < MAX_QUEUE:
        return []
    mean = "" if server.waiting_mean is None else f", {server.waiting_mean:,.0f} on average"
    finding = f"up to {server.waiting_max:,.0f} requests waited in the server{mean} (target: below {MAX_QUEUE})"
    return [("queue_depth", finding, "more slots (vLLM: --max-num-seqs), another replica, or fewer users")]


def _preempted(server: ServerUse) -> _Found:
    if not server.preemptions:
        return []
    finding = f"{server.preemptions:,.0f} requests were preempted: their KV cache was thrown away and made again"
    return [("preemptions", finding, "more memory for the cache (vLLM: --gpu-memory-utilization), or fewer users")]


MAX_ELASTICITY = 1.1
MAX_USL_RESIDUAL = 0.15
MAX_LENGTH_DEVIATION = 0.05
NOISE = 0.01  # a smaller step the wrong way is what one run differs from the next by


def check_levels(points: Sequence[PointSummary]) -> list[Finding]:
    """What the levels of ONE model find wrong with each other, by level. points: any order, each level once.

    Levels without a time or without tokens are left out of the checks that need them. One level alone finds nothing.
    """
    ordered = sorted(points, key=lambda p: p.concurrency)
    rated = [
        _Rated(p, p.concurrency, p.output_tok_s, p.output_tok_s / p.concurrency)
        for p in ordered
        if p.output_tok_s is not None and p.output_tok_s > 0
    ]
    found = [*_superlinear(rated), *_falling(rated), *_slower(ordered), *_off_curve(rated), *_lengths(ordered)]
    return sorted(found, key=lambda warn: warn.concurrency or 0)


@dataclass(frozen=True, slots=True)
class _Rated:
    point: PointSummary
    level: int
    output_tok_s: float
    user_tok_s: float


def _superlinear(rated: Sequence[_Rated]) -> Iterator[Finding]:
    """In a closed loop a user never gets faster by company: where one seems to, the levels below were disturbed."""
    steps = elasticities([one.level for one in rated], [one.output_tok_s for one in rated])
    disturbed: dict[int, Finding] = {}
    for i, elasticity in enumerate(steps):
        below, above = rated[i], rated[i + 1]
        # levels that lie close together: noise alone can be steeper than 1.1
        if elasticity <= MAX_ELASTICITY or above.user_tok_s <= below.user_tok_s * (1 + NOISE):
            continue
        slow = [one for one in rated[: i + 1] if one.user_tok_s < above.user_tok_s]
        names = ", ".join(str(one.level) for one in slow)
        yield Finding(
            "superlinear_scaling",
            f"output tokens/s grow faster than users from {below.level} to {above.level} "
            f"(elasticity {elasticity:.2f}); disturbed below: {names}",
            "repeat the levels that are named; if they stay as they are, look for prefix-cache hits at this one",
            above.level,
        )
        for one in slow:
            disturbed[one.level] = Finding(
                "slow_level",
                f"{one.user_tok_s:.2f} tok/s per user, less than the {above.user_tok_s:.2f} at {above.level} users",
                "a bad run: repeat this level before trusting it, or an optimum next to it",
                one.level,
            )
    yield from disturbed.values()


def _falling(rated: Sequence[_Rated]) -> Iterator[Finding]:
    for below, above in itertools.pairwise(rated):
        if above.output_tok_s < below.output_tok_s * (1 - NOISE):
            yield Finding(
                "throughput_drop",
                f"{above.output_tok_s:,.0f} output tok/s, less than {below.output_tok_s:,.0f} at {_users(below.level)}",
                "repeat the level; if it stays so, the server is past its peak",
                above.level,
            )


def _slower(ordered: Sequence[PointSummary]) -> Iterator[Finding]:
    timed = [(p, p.duration_s) for p in ordered if p.duration_s is not None]
    for (below, before_s), (above, after_s) in itertools.pairwise(timed):
        if _requests(below) != _requests(above) or after_s <= before_s * (1 + NOISE):
            continue
        digits = 0 if before_s >= 100 else 2  # enough to see them apart
        finding = f"the set takes {after_s:,.{digits}f} s, "
        finding += f"longer than the {before_s:,.{digits}f} s at {_users(below.concurrency)}"
        longer = _growth(_length(below), _length(above))
        if longer is not None and longer > NOISE:
            finding += f"; answers are {longer:.0%} longer"
        yield Finding(
            "duration_rises",
            finding,
            "repeat the level; compare levels by $ per 1M output tokens, or ask for a fixed length",
            above.concurrency,
        )


def _off_curve(rated: Sequence[_Rated]) -> Iterator[Finding]:
    usl = fit_usl([one.level for one in rated], [one.output_tok_s for one in rated])
    for one, residual in zip(rated, usl.residuals if usl else (), strict=False):
        if abs(residual) > MAX_USL_RESIDUAL:
            yield Finding(
                "usl_residual",
                f"{one.output_tok_s:,.0f} output tok/s where the scaling law through all levels has "
                f"{one.output_tok_s * (1 + residual):,.0f} ({residual:+.0%})",
                "some level of this model is off the curve of the others: repeat the disturbed ones, then check again",
                one.level,
            )


def _lengths(ordered: Sequence[PointSummary]) -> Iterator[Finding]:
    known = [(p, length) for p in ordered if (length := _length(p))]
    if len(known) < 3:
        return
    median = statistics.median(length for _, length in known)
    for p, length in known:
        off = length / median - 1
        if abs(off) > MAX_LENGTH_DEVIATION:
            yield Finding(
                "output_length",
                f"{length:,.1f} output tokens per answer, {off:+.1%} from the median of the levels ({median:,.1f})",
                "time and cost per run compare lengths here: use $ per 1M output tokens, or ask for a fixed length",
                p.concurrency,
            )


def _length(p: PointSummary) -> float | None:
    """Output tokens per answer."""
    return p.output_tokens / p.n_ok if p.output_tokens is not None and p.n_ok else None


def _growth(before: float | None, after: float | None) -> float | None:
    return after / before - 1 if before and after else None


def _requests(p: PointSummary) -> float:
    """Requests of one run of the set."""
    return (p.n_ok + (p.n_failed or 0)) / p.repeat_count


def _users(level: int) -> str:
    return "1 user" if level == 1 else f"{level} users"
