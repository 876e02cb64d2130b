"""What speaks against a level: its requests, the client that measured it, its GPUs and server, the levels around it.

Findings only: nothing is dropped. benchsuite/warning_table.py has their texts and, in words, their thresholds.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchsuite.analysis.regression import ONE_RUN_CV
from benchsuite.analysis.requests import LevelRows
from benchsuite.analysis.scalability import elasticities, fit_usl
from benchsuite.analysis.ttft_breakdown import ServerUse
from benchsuite.level import Level
from benchsuite.metrics import METRICS
from benchsuite.results import Estimate, GpuUse, PointSummary, Quality
from benchsuite.servers import SERVERS
from benchsuite.warning_table import WARNINGS, Finding, warn

MAX_ERROR_RATE = 0.01
MAX_ESTIMATED_SHARE = 0.01
_MOST_ENDS = 5  # named in a warning
MAX_LENGTH_SHARE = 0.05
MAX_WRONG_LENGTH_SHARE = 0.01
MAX_SINGLE_CHUNK_SHARE = 0.01  # below, TPOT of the others is that of all
BUFFERED_SHARE = 0.1  # from which on it is more than a client that came late
MAX_LITTLE_ERROR = 0.005
MAX_CHUNK_CORRECTION = 0.02
MAX_MERGED_SHARE = 0.01  # below, no percentile but p99 of ITL can tell
MIN_STEADY_OCCUPANCY = 0.98
MIN_OCCUPANCY = 0.95
MIN_REQUESTS = 100  # in the window of a rate


def check_rows(measured: LevelRows, point: PointSummary, fixed_length: bool) -> Iterator[Finding]:
    """Every warning that the rows of one level give rise to. point: what they come to."""
    rows, at = measured.rows, measured.level
    issued, ok, steady, occupancy = len(rows.ok), point.n_ok, point.steady, point.ratios["occupancy"]
    # what queues up at a rate that saturates is given up by a search
    failures = {k: n for k, n in rows.failures.items() if not (measured.saturated and k == "cancelled")}
    if (failed := sum(failures.values())) > MAX_ERROR_RATE * issued:
        kinds = ", ".join(f"{count} {status}" for status, count in failures.items())
        yield warn("errors", at, failed=failed, issued=issued, kinds=kinds)
    # users of a probe that are there with a request of the one before are in flight all the same
    least = MIN_OCCUPANCY * (at.concurrency or 0) if point.probed else at.concurrency or 0
    if point.max_in_flight is not None and at.concurrency is not None and not least <= point.max_in_flight <= at.users:
        yield warn("concurrency_not_reached", at, max_in_flight=point.max_in_flight)
    if at.rate_per_s is not None:
        yield from _check_rate(measured)
    if point.littles_law_error is not None and point.littles_law_error > MAX_LITTLE_ERROR:
        yield warn("littles_law", at, error=point.littles_law_error)
    open_end = int(np.count_nonzero(~np.isnan(rows.sent_s) & np.isnan(rows.closed_s)))
    if open_end:
        yield warn("unfinished_requests", at, requests=open_end)
    if steady is not None and steady.occupancy is not None and steady.occupancy < MIN_STEADY_OCCUPANCY:
        yield warn("idle_users", at, occupancy=steady.occupancy, shown=_floored(steady.occupancy))
    elif occupancy is not None and occupancy < MIN_OCCUPANCY and not _full_all_along(point):
        values = {"occupancy": occupancy, "shown": _floored(occupancy), "requests": 100 * (at.concurrency or 0)}
        read = "" if steady is None else ", or read the figures of the steady window"
        yield warn("ramp_up_down", at, **values, steady=read)
    # comparisons with NaN are false: what is not known speaks for nothing but its own warning
    differs = (rows.output_tokens < rows.asked_output_tokens) | (rows.output_tokens > rows.asked_output_tokens)
    # all cut at the length that was asked for are as long at every level, as with a fixed length
    cut, as_asked = rows.ended_by_length, rows.output_tokens == rows.asked_output_tokens
    # which of the successful responses are concerned, and up to which share that is no warning
    shares = {
        "empty": (rows.empty, 0.0),
        "single_chunk": (rows.single_chunk, MAX_SINGLE_CHUNK_SHARE),
        "length_not_kept": (differs, MAX_WRONG_LENGTH_SHARE if fixed_length else 1.0),
        # a server may leave reasoning out of its cap
        "usage_over_cap": (rows.output_tokens - np.nan_to_num(rows.reasoning_tokens) > rows.asked_output_tokens, 0.0),
        "truncated_by_max_tokens": (cut, 1.0 if fixed_length or (cut & as_asked)[rows.ok].all() else MAX_LENGTH_SHARE),
        "input_tokens_unknown": (np.isnan(rows.input_tokens), 0.0),
        "output_tokens_unknown": (np.isnan(rows.output_tokens), 0.0),
        "tokens_estimated": (~rows.from_usage & ~rows.from_tokenizer, MAX_ESTIMATED_SHARE),
    }
    for code, (concerned, most) in shares.items():
        responses = int(np.count_nonzero(rows.ok & concerned))
        if responses > most * ok:
            yield warn(code, at, responses=responses, ok=ok)
    for code, responses in rows.notes.items():
        if code in WARNINGS:
            ends = [*map(repr, rows.unknown_ends[:_MOST_ENDS]), *["..."] * (len(rows.unknown_ends) > _MOST_ENDS)]
            yield warn(code, at, responses=responses, ok=ok, ends=", ".join(ends))
    counted, after_first_chunk = rows.sent_tokens[rows.paced], rows.decode_tokens[rows.paced]
    if len(counted) and (correction := 1 - after_first_chunk.sum() / (counted - 1).sum()) > MAX_CHUNK_CORRECTION:
        per_chunk = float(np.mean(counted - after_first_chunk))
        yield warn("several_tokens_per_chunk", at, tokens=per_chunk, correction=float(correction))
    if ok and rows.n_merged_reads > MAX_MERGED_SHARE * rows.n_reads:
        yield warn("merged_reads", at, merged=rows.n_merged_reads, reads=rows.n_reads)


def _full_all_along(point: PointSummary) -> bool:
    """What the users' ends left of its work kept the server as busy as all users did: most of them waited in it."""
    steady = None if point.steady is None else point.steady.output_tok_s
    return bool(steady and point.output_tok_s and point.output_tok_s >= MIN_OCCUPANCY * steady)


def _check_rate(measured: LevelRows) -> Iterator[Finding]:
    rows, level, runs = measured.rows, measured.level, measured.repeats
    dropped = rows.failures.get("dropped")
    if measured.saturated:
        times = [run.saturation for run in runs if run.saturation is not None and run.saturated]
        slower, growing = "a server that had to serve them all would be slower", "latencies grow with the duration"
        yield warn(
            "saturated", level, effect=f"{slower if dropped else growing}; no SLO is met",
            offered=measured.ratio(METRICS["offered_per_s"]) or 0.0,
            unserved=statistics.mean(one.unserved for one in times), n=len(times), runs=len(runs),
            left="dropped, or " * bool(dropped) + "left at the end of the window",
        )  # fmt: skip
    if dropped:
        yield warn("dropped", level, dropped=dropped, issued=len(rows.ok), share=dropped / len(rows.ok))
    if (least := min((len(run.order) for run in runs), default=0)) < MIN_REQUESTS:
        yield warn("few_requests", level, requests=least, least=MIN_REQUESTS)


def _floored(ratio: float) -> str:
    # 94.97 % must not read as the 95 % that it misses
    return f"{math.floor(ratio * 1000) / 10:.1f}%"


MAX_LATE_MS = 2.0
MAX_OPENED_SHARE = 0.01  # connections opened while a rate is sent, of its requests
Verdict = Literal["ok", "degraded", "client-bound"]
_VERDICTS: tuple[Verdict, ...] = ("ok", "degraded", "client-bound")
MAX_TOKENIZER_DIFFERENCE = 0.02
MAX_TOKEN_IMBALANCE = 0.005
BUSY_SHARE, STARVED_SHARE = 0.8, 0.05  # of the time: on a CPU, and waiting for one
_CORES = "give the client dedicated CPU cores (taskset, or another machine)"
_CAUSES = {
    "busy": ("was too busy", "more --workers, and uvloop (the extra `fast`)"),
    "starved": ("had to wait for the CPU because of other processes", f"{_CORES}; more --workers do not help"),
    "late": ("was late", f"{_CORES}, and uvloop (the extra `fast`)"),
}


@dataclass(frozen=True, slots=True)
class ClientEffects:
    """What the client did to one level's figures, by its rows. Shares are None where they are not known.

    late_share: of the users' time that went by between a response's end and the next request; connecting_share: that
    went by on connecting anew, as the server had closed the connection.
    merged_share: of the socket reads that held several events because the client came late; merged_by_sender_share:
    that the sender had joined, for the client came well before the next ones. kernel_stamps: times are the kernel's.
    Of a rate, late_p99_s: how late requests were sent; waited_share: of them that waited for max_in_flight.
    """

    kernel_stamps: bool
    gap_p50_s: float | None = None
    late_share: float | None = None
    connecting_share: float | None = None
    merged_share: float | None = None
    merged_by_sender_share: float | None = None
    late_p99_s: float | None = None
    waited_share: float | None = None
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class ClientVerdict:
    """How far the client is to be trusted at one level: the worst of its repeats.

    client-bound: figures may be moved by more than a reader would take for noise. cause: busy (its own CPU time),
    starved (it waited for a CPU) or late (neither is known); None when all is well. figures: what was judged.
    kernel_stamps: the kernel stamped its times, but for a few; else the client did, and they lag behind.
    effects: what the reasons do to the figures.
    """

    verdict: Verdict
    cause: str | None
    reasons: tuple[str, ...]
    figures: dict[str, float | None]
    kernel_stamps: bool = True
    effects: tuple[str, ...] = ()

    def warnings(self, level: Level) -> Iterator[Finding]:
        """The verdict as a warning, none when all is well; and that the sender joined events, if it did."""
        if self.cause is not None:
            code, (what, remedy) = (
                "client_bound" if self.verdict == "client-bound" else "client_degraded",
                _CAUSES[self.cause],
            )
            reasons, effect = "; ".join(self.reasons), "; ".join(self.effects)
            yield warn(code, level, what=what, reasons=reasons, effect=effect, remedy=remedy)
        if connections := self.figures["unasked_responses"]:
            yield warn("unasked_responses", level, connections=int(connections))
        if waited := self.figures.get("waited_share"):
            yield warn("waited_for_slot", level, share=waited)
        opened, issued = (self.figures.get(name) or 0 for name in ("connections_opened", "n_issued"))
        if opened > MAX_OPENED_SHARE * issued:
            yield warn("connections_opened", level, opened=int(opened), requests=int(issued), share=opened / issued)
        connecting = self.figures.get("connecting_share") or 0.0
        if connecting > 1 - MIN_STEADY_OCCUPANCY:
            yield warn("connections_closed", level, share=connecting)
        share = self.figures["merged_by_sender_share"]
        # a client that came late cannot tell who joined a few of them
        if share is not None and share > (MAX_MERGED_SHARE if self.cause is None else BUFFERED_SHARE):
            yield warn("merged_by_sender", level, share=share)

    def explains(self, finding: Finding) -> bool:
        """Another warning says it: merged reads in any case, what the client's being late looks like, connecting."""
        if finding.code == "idle_users" and (connecting := self.figures.get("connecting_share")):
            return self.cause is not None or finding.values["occupancy"] + connecting >= MIN_STEADY_OCCUPANCY
        if finding.code == "merged_reads" or self.cause is None:
            return finding.code == "merged_reads"
        if finding.code == "single_chunk":
            few = finding.values["responses"] <= BUFFERED_SHARE * finding.values["ok"]
            return few or (self.figures["merged_share"] or 0.0) > BUFFERED_SHARE
        return finding.code == "idle_users"


def judge_client(
    states: Sequence[Mapping[str, Any]], effects: ClientEffects, calibrated_s: float | None = None
) -> ClientVerdict:
    """The verdict on one level, by what the client did to its figures; its CPU tells only why.

    states: `points[].client` of the manifest. calibrated_s: what `calibrate` found on this machine for stamps of this
    kind at such a level: the gaps' error, p99; None where it was not run.
    """

    def worst(values: Iterator[float | None], scale: float = 1.0) -> float | None:
        return max((value * scale for value in values if value is not None), default=None)

    def worst_ms(key: str) -> float | None:
        return worst(((state.get(key) or {}).get("p99_us") for state in states), 1e-3)

    names = ("merged_read_share", "cpu_share_mean", "cpu_share_max_1s", "run_queue_wait_share", "steal_s")
    figures = {key: worst(state.get(key) for state in states) for key in (*names, "unasked_responses")}
    figures |= {"read_lag_p99_ms": worst_ms("read_lag"), "loop_lag_p99_ms": worst_ms("loop_lag")}
    figures["dispatch_p99_ms"] = worst_ms("dispatch_lag")
    of_rows = ("late_share", "connecting_share", "merged_share", "merged_by_sender_share")
    figures |= {name: getattr(effects, name) for name in of_rows}
    late_ms = None if effects.late_p99_s is None else effects.late_p99_s * 1e3
    if effects.rate_per_s is not None:
        figures |= {"sent_late_p99_ms": late_ms, "waited_share": effects.waited_share}
        figures |= {key: sum(state.get(key) or 0 for state in states) for key in ("connections_opened", "n_issued")}
    cpu, waited = figures["cpu_share_max_1s"] or 0.0, figures["run_queue_wait_share"]
    cause = "busy" if cpu > BUSY_SHARE else "starved" if waited is not None and waited > STARVED_SHARE else "late"
    # the kernel's stamps are right however late they are read; without them the loop's lag is in every one
    error_ms = None if effects.kernel_stamps else figures["loop_lag_p99_ms"]
    if error_ms is not None and calibrated_s is not None and cause == "late" and waited is not None:
        error_ms = min(error_ms, calibrated_s * 1e3)
    gap_ms = (effects.gap_p50_s or 0.0) * 1e3
    users, chunks = "throughput is too low, $ too high", "TPOT and ITL are coarser than they look"
    sent = "TTFT and E2E include how late the client sent"
    limits = (
        (figures["late_share"], 0.05, 0.15, users,
         "{:.1%} of the users' time passed between a response and the next request"),
        (figures["merged_share"], MAX_MERGED_SHARE, 0.1, chunks,
         "{:.2%} of reads held several events with one timestamp"),
        (error_ms / gap_ms if error_ms is not None and gap_ms else None, 0.05, 0.25, chunks,
         "its timestamps (p99) are late by {:.0%} of a median gap"),
        (late_ms, MAX_LATE_MS, 10 * MAX_LATE_MS, sent, "requests were sent {:.1f} ms late (p99)"),
        (late_ms * 1e-3 * effects.rate_per_s if late_ms is not None and effects.rate_per_s and late_ms > MAX_LATE_MS
         else None, 0.05, 0.5, sent, "late by {:.0%} of the mean time between two requests"),
        (figures["cpu_share_mean"], 0.9, 0.98, "figures may be too high or too low",
         "a process used {:.0%} of a core throughout"),
    )  # fmt: skip
    ranked = [
        (0 if v is None or v <= ok else 1 if v <= degraded else 2, effect, text, v)
        for v, ok, degraded, effect, text in limits
    ]
    moved = tuple(dict.fromkeys(effect for rank, effect, _, _ in ranked if rank))
    reasons = [text.format(value) for rank, _, text, value in ranked if rank]
    if reasons and cause == "busy":
        reasons.append(f"{cpu:.0%} of a core in its busiest second")
    elif reasons and waited is not None:
        reasons.append(f"{waited:.0%} of the time it waited for a CPU")
    verdict = _VERDICTS[max(rank for rank, *_ in ranked)]
    return ClientVerdict(verdict, cause if reasons else None, tuple(reasons), figures, effects.kernel_stamps, moved)


def token_balance(point: PointSummary, counted_by_server: Sequence[float | None]) -> Finding | None:
    """Our output tokens against the server's own counter over the same runs: a warning when they are > 0.5 % apart.

    counted_by_server: one count a run of the level. None where one of them is unknown, or where a request failed, whose
    tokens the server may have counted and we not; and of a rate, whose warm-up and tail the server has counted too.
    """
    counts = [count for count in counted_by_server if count is not None]
    if point.level.rate_per_s is not None:
        return None
    if point.n_failed or point.output_tokens is None or not counts or len(counts) < len(counted_by_server):
        return None
    theirs = sum(counts)
    if theirs <= 0 or abs(point.output_tokens - theirs) <= MAX_TOKEN_IMBALANCE * theirs:
        return None
    return warn("token_balance", point.level, ours=point.output_tokens, servers=theirs)


def check_tokenizer(point: PointSummary, compared: Sequence[Mapping[str, Any]]) -> Finding | None:
    """The server's output tokens against a tokenizer's count of the same texts: a warning when they are > 2 % apart.

    compared: of each run of the level, PointEntry.tokens. A stop token is in no text, and may be in usage or not.
    """
    keys = ("usage_output_tokens", "tokenizer_output_tokens", "stopped")
    usage, ours, stopped = (sum(n for run in compared if isinstance(n := run.get(key), int)) for key in keys)
    if ours * (1 - MAX_TOKENIZER_DIFFERENCE) <= usage <= (ours + stopped) * (1 + MAX_TOKENIZER_DIFFERENCE):
        return None
    return warn("tokenizer_disagrees", point.level, usage=usage, tokenizer=ours)


MAX_UNEXPECTED_HITS = 0.05
_TEMPLATE_TOKENS = 96  # of a chat template (gpt-oss: 68) and a salt, which all prompts share and the set does not show


def check_prefix_hits(
    points: Sequence[PointSummary], hits: Mapping[Level, float | None], shared_ratio: float | None
) -> Iterator[Finding]:
    """The share of prompt tokens that the server had in its prefix cache, against what the set could have.

    hits: by level, None where nothing tells. shared_ratio: the set's; None where it is not known or reuse was wanted.
    """
    if shared_ratio is None or not points:
        return
    known = [(point, share) for point in points if (share := hits[point.level]) is not None]
    for point, share in known:
        mean_tokens = point.input_tokens / point.n_ok if point.input_tokens and point.n_ok else None
        template = min(1.0, _TEMPLATE_TOKENS / mean_tokens) if mean_tokens else 0.0
        expected = shared_ratio + (1 - shared_ratio) * template
        if share > expected + MAX_UNEXPECTED_HITS:
            yield warn("prefix_hits_unexpected", point.level, hits=share, expected=expected)
    if not known:
        yield warn("prefix_hits_unknown", points[-1].level)


MAX_UNREAD, MAX_CUT = 0.05, 0.02  # of a scenario's answers


def check_quality(quality: Mapping[Level, Quality]) -> Iterator[Finding]:
    """What stands against the scores of each level, and whether they fall with load."""
    for level, one in quality.items():
        for code, most in (("unread", MAX_UNREAD), ("cut", MAX_CUT)):
            shares = [(getattr(scenario, code) / scenario.n, scenario) for scenario in one.scenarios]
            if above := sorted((pair for pair in shares if pair[0] > most), key=lambda pair: -pair[0]):
                worst, more = above[0][1], len(above) - 1
                yield warn(
                    f"answers_{code}", level, count=getattr(worst, code), n=worst.n,
                    scenario=worst.scenario or "the set", examples=", ".join(worst.examples[code]),
                    others=f"; too many in {more} more scenario{'s' * (more > 1)}" * bool(more),
                )  # fmt: skip
        if one.partial and one.judge_can_tell:
            yield warn("quality_partial", level, count=one.total("not_judged"), n=one.total("n"))
        if one.change is not None and one.change.falls:
            ends = (one.change.difference.value, one.change.difference.high, one.change.difference.low)
            fall, low, high = (-100 * (end or 0.0) for end in ends)
            below = next(iter(quality))
            yield warn("quality_falls", level, p=one.change.p_corrected, below=below, fall=fall, low=low, high=high)


UTIL_TARGET_RATIO, UTIL_ALERT_RATIO = 0.80, 0.70
MAX_QUEUE = 100
MAX_MEMORY_RATIO = 0.90
_THROTTLED = {"sw_power_cap": "gpu_power_capped", "power_brake": "gpu_power_brake"}  # all others: by heat


def check_telemetry(gpu: GpuUse | None, server: ServerUse | None, at: Level, profile: str | None) -> Iterator[Finding]:
    """What the readings of level `at` say against it. profile: the kind of server, None if not known."""
    kv_cache = None if server is None else server.kv_cache_max_ratio
    if gpu is not None:
        for reason, seconds in (gpu.throttle_s or {}).items():
            yield warn(_THROTTLED.get(reason, "gpu_thermal_throttling"), at, reason=reason, seconds=seconds)
        for uuid, names in gpu.zeros.items():
            yield warn("gpu_reads_zero", at, uuid=uuid, names=", ".join(names))
        if gpu.foreign_processes:
            yield warn("gpu_shared", at, processes=gpu.foreign_processes)
        if gpu.util_ratio is not None and gpu.util_ratio.mean < UTIL_ALERT_RATIO:
            yield warn("gpu_util_low", at, util=gpu.util_ratio.mean, alert=UTIL_ALERT_RATIO, target=UTIL_TARGET_RATIO)
        if gpu.memory_ratio is not None and gpu.memory_ratio.greatest >= MAX_MEMORY_RATIO:
            used = {"used": gpu.memory_ratio.greatest, "target": MAX_MEMORY_RATIO}
            if profile not in SERVERS or not SERVERS[profile].preallocates:
                yield warn("gpu_memory", at, **used)
            elif kv_cache is None:  # else the KV cache's use is the sign of load
                yield warn("gpu_memory_reserved", at, **used, profile=profile)
    if server is not None:
        if server.waiting_max is not None and server.waiting_max >= MAX_QUEUE:
            yield warn("queue_depth", at, waiting=server.waiting_max, target=MAX_QUEUE)
        if kv_cache is not None and kv_cache >= MAX_MEMORY_RATIO:
            yield warn("kv_cache_full", at, used=kv_cache, target=MAX_MEMORY_RATIO)
        if server.preemptions:
            yield warn("preemptions", at, requests=server.preemptions)


MAX_ELASTICITY = 1.1
MAX_USL_RESIDUAL, MAX_DENT = 0.15, 0.10
MAX_LENGTH_DEVIATION = 0.05
NOISE = 0.01  # a smaller step the wrong way is nothing; where that is not known, ONE_RUN_CV
CHANCE = 0.01


def check_levels(points: Sequence[PointSummary]) -> list[Finding]:
    """What the levels of ONE model find wrong with each other, by level. points: any order, each level once. Of rates
    no more than falling throughput and what differs in the answers.

    Levels without a time or without tokens are left out of the checks that need them. One level alone finds nothing.
    """
    ordered = sorted(points, key=lambda p: p.level)
    rates = {p.level: _figure(p, "output_tok_s", p.output_tok_s) for p in ordered if p.output_tok_s}
    users = {p.level: p for p in ordered if p.level in rates and p.level.concurrency is not None}
    found = [*_superlinear(users)]
    by_level = [*rates.values()]
    for i, ((below, lower), (above, upper)) in enumerate(itertools.pairwise(rates.items())):
        if _above(lower, upper) and not _past_peak(by_level, i, _above):
            found.append(warn("throughput_drop", above, tok_s=upper.value, below_tok_s=lower.value, below=below))
    answered = [p for p in ordered if p.n_ok and p.ratios["empty_rate"] == 0]
    for p in ordered:
        share, below_n = p.ratios["empty_rate"], sum(one.n_ok for one in answered if one.level < p.level)
        # the chance that all of them are of this level
        if share and below_n and (p.n_ok / (p.n_ok + below_n)) ** (share * p.n_ok) < CHANCE:
            found.append(warn("empty_under_load", p.level, share=share, below=answered[0].level))
    durations = [p for p in ordered if p.duration_s is not None and p.of_whole_runs]
    took = [_figure(p, "duration_s", p.duration_s) for p in durations]
    for i, (lower_p, upper_p) in enumerate(itertools.pairwise(durations)):
        dropped = any(one.code == "throughput_drop" and one.level == upper_p.level for one in found)
        dropped |= _past_peak(took, i, lambda one, other: _above(other, one))
        if _requests(lower_p) == _requests(upper_p) and _above(took[i + 1], took[i]) and not dropped:
            values = {"duration_s": took[i + 1].value, "below_s": took[i].value, "below": lower_p.level}
            found.append(warn("duration_rises", upper_p.level, **values))
    n, tok_s = [level.number for level in users], [p.output_tok_s or 0.0 for p in users.values()]
    usl = fit_usl(n, tok_s) if _dented(n, tok_s) else None
    for level, measured, residual in zip(users, tok_s, usl.residuals if usl else (), strict=False):
        if abs(residual) > MAX_USL_RESIDUAL:
            fitted = measured * (1 + residual)
            found.append(warn("usl_residual", level, tok_s=measured, fitted_tok_s=fitted, residual=residual))
    of_set = [p for p in ordered if p.of_whole_runs and p.output_tokens and p.n_ok]
    lengths = {p.level: (p.output_tokens or 0) / p.n_ok for p in of_set}
    median = statistics.median(lengths.values()) if len(lengths) >= 3 else 0.0
    for level, tokens in lengths.items():
        if median and abs(tokens / median - 1) > MAX_LENGTH_DEVIATION:
            found.append(warn("output_length", level, tokens=tokens, median=median, deviation=tokens / median - 1))
    return sorted(found, key=lambda finding: finding.level or Level(0))


def _superlinear(points: Mapping[Level, PointSummary]) -> Iterator[Finding]:
    """In a closed loop a user never gets faster by company: where one seems to, the levels below were disturbed."""
    tok_s = [p.output_tok_s or 0.0 for p in points.values()]
    per_user = {level: rate / level.number for level, rate in zip(points, tok_s, strict=True)}
    disturbed: dict[Level, Finding] = {}

    def faster(above: Level, level: Level) -> bool:
        # users that were not there, at the end of few requests, made the other no slower
        busy = (_busy_user(points[one]) for one in (above, level))
        return per_user[above] > per_user[level] and _above(*busy)

    steps = elasticities([level.number for level in points], tok_s)
    for (below, above), elasticity in zip(itertools.pairwise(points), steps, strict=True):
        # levels that lie close together: noise alone can be steeper than 1.1
        if elasticity <= MAX_ELASTICITY or not faster(above, below):
            continue
        slow = [level for level in points if level <= below and faster(above, level)]
        names = ", ".join(map(str, slow))
        yield warn("superlinear_scaling", above, below=below, elasticity=elasticity, disturbed=names)
        for level in slow:
            values = {"tok_s": per_user[level], "above_tok_s": per_user[above], "above": above}
            disturbed[level] = warn("slow_level", level, **values)
    yield from disturbed.values()


def _figure(p: PointSummary, column: str, value: float | None) -> Estimate:
    """A figure with the interval of its runs; of a table, of which nothing is known but its figures, with n 0."""
    return p.intervals.get(column) or Estimate(value, None, None, 0, "a table")


def _busy_user(p: PointSummary) -> Estimate:
    """Output tokens/s of a user in flight."""
    rate, busy = _figure(p, "output_tok_s", p.output_tok_s), p.level.number * (p.ratios["occupancy"] or 1.0)
    value, low, high = (None if end is None else end / busy for end in (rate.value, rate.low, rate.high))
    return Estimate(value, low, high, rate.n, rate.method)


def _above(one: Estimate, other: Estimate) -> bool:
    """One figure is above the other by more than runs differ: by 1 % where their intervals do not meet, else 10 %."""
    apart = 0 in (one.n, other.n) or (one.low is not None and other.high is not None and one.low > other.high)
    return (one.value or 0.0) > (other.value or 0.0) * (1 + (NOISE if apart else ONE_RUN_CV))


def _past_peak(figures: Sequence[Estimate], i: int, better: Callable[[Estimate, Estimate], bool]) -> bool:
    """A fall from place i to the next is that beyond a peak: it goes on from an earlier one, or the levels above do not
    recover from it. A fall to the last level alone may be a disturbance."""
    before, lower, upper, higher = figures[:i], figures[i], figures[i + 1], figures[i + 2 :]
    goes_on = any(better(one, lower) for one in before)
    return not any(better(one, upper) for one in higher) and (goes_on or bool(higher))


def _dented(n: Sequence[float], tok_s: Sequence[float]) -> bool:
    """A level is below the line between its neighbours, and below the higher one, by MAX_DENT. A server that is full
    from some level on has a knee, which is above it, and one past its peak falls: no smooth law has either, and nothing
    is wrong."""
    return any(
        x < (1 - MAX_DENT) * x1 and x < (1 - MAX_DENT) * (x0 + (x1 - x0) * (at - n0) / (n1 - n0))
        for n0, at, n1, x0, x, x1 in zip(n, n[1:], n[2:], tok_s, tok_s[1:], tok_s[2:], strict=False)
    )


def _requests(p: PointSummary) -> float:
    """Requests of one run of the set."""
    return (p.n_ok + (p.n_failed or 0)) / p.repeat_count
