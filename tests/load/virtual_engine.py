"""A batch engine in virtual time, to prove a search hundreds of times: laws, probes by hand-over, truth.

A step takes base + per user x active + per prompt token x prefill, and gives every active request a token. Between two
events all steps are alike, so that the cost is per request and not per step. Speeds differ from probe to probe.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchsuite.analysis.probe import PARTS, Look, ProbeRows, look
from benchsuite.level import Level, LevelKind
from benchsuite.load.search import End, Probe, ProbeResult, Search, SearchSpec
from benchsuite.saturation import saturation
from benchsuite.slo import Slo, parse_slo


@dataclass(frozen=True)
class Law:
    """An engine, its requests and what is asked of it. Times in ms; tokens lognormal with these means and log sds."""

    slo: str
    base: float = 8.0
    per_user: float = 0.18
    per_prompt_token: float = 0.02
    slots: int = 10**9
    prompt: tuple[float, float] = (500.0, 0.8)
    output: tuple[float, float] = (220.0, 0.7)
    most_output: int = 1024
    noise: float = 0.015  # of a probe's speed, log sd
    alike: float = 0.0  # correlation of that with the probe's before
    chunk: int = 2048
    kind: LevelKind = "concurrency"
    high: float = 4096
    within: tuple[float, float] = (8, 512)  # where the truth is looked for
    more: Callable[[int], float] = lambda active: 0.0  # ms of a step besides
    uncached: Callable[[int], float] = lambda users: 1.0  # share of a prompt that is prefilled
    speed: Callable[[np.random.Generator, float], float] = lambda rng, hours: 1.0  # factor of a probe's steps
    fails: Callable[[float], bool] = lambda level: False

    @property
    def limits(self) -> Slo:
        return parse_slo(self.slo)


_DRAWN = 1 << 15


def _lengths(rng: np.random.Generator, mean: float, sd: float, most: int) -> list[int]:
    drawn = rng.lognormal(math.log(mean) - sd * sd / 2, sd, _DRAWN)
    return [int(n) for n in np.clip(np.rint(drawn), 1, most)]


class Engine:
    """Virtual users, or arrivals at a rate, on one engine; now_s counts on over its probes."""

    def __init__(self, law: Law, seed: int, *, noisy: bool = True) -> None:
        self.law, self.rng, self.noisy = law, np.random.default_rng(seed), noisy
        self.prompts = _lengths(self.rng, *law.prompt, 16384)
        self.outputs = _lengths(self.rng, *law.output, law.most_output)
        self.now_s, self.step, self.factor, self.tokens = 0.0, 0, 1.0, 0
        self.running: list[tuple[int, int]] = []  # the step in which each ends, its index
        self.prefilling: deque[list[int]] = deque()  # index, tokens left
        self.waiting: deque[int] = deque()  # for a slot
        self.begin_s, self.first_s, self.end_s = list[float](), list[float](), list[float]()
        self.users = 0  # in the closed loop
        self.wanted = 0
        self.next_due_s, self.rate = math.inf, 0.0
        self.ended, self.luck = 0, self.rng.standard_normal()
        self.log_s, self.log_tokens, self.ends_s = [0.0], [0], list[float]()

    def _send(self, at_s: float) -> None:
        self.begin_s.append(at_s)
        self.first_s.append(math.nan)
        self.end_s.append(math.nan)
        self.waiting.append(len(self.begin_s) - 1)

    def set(self, level: float) -> None:
        """Hand over to another level: nothing is drained."""
        law = self.law
        self.factor = law.speed(self.rng, self.now_s / 3600) if self.noisy else 1.0
        if self.noisy:
            drawn = math.sqrt(1 - law.alike**2) * self.rng.standard_normal()
            self.luck = law.alike * self.luck + drawn
            self.factor *= math.exp(law.noise * self.luck)
        if law.kind == "rate":
            self.rate = level
            self.next_due_s = self.now_s + self.rng.exponential(1 / level)
            return
        self.wanted = int(level)
        for _ in range(self.wanted - self.users):
            self._send(self.now_s)
        self.users = max(self.users, self.wanted)

    def run(self) -> None:
        """Go on to the next end of a request, or a little further."""
        law, running, prefilling = self.law, self.running, self.prefilling
        before = self.ended
        while self.ended == before:
            while self.next_due_s <= self.now_s:
                self._send(self.next_due_s)
                self.next_due_s += self.rng.exponential(1 / self.rate)
            while self.waiting and len(running) + len(prefilling) < law.slots:
                index = self.waiting.popleft()
                share = law.uncached(len(running) + len(prefilling) + 1)
                prefilling.append([index, max(1, int(self.prompts[index % _DRAWN] * share))])
            active = len(running) + len(prefilling)
            if not active:
                self.now_s = self.next_due_s
                continue
            plain_s = (law.base + law.per_user * active + law.more(active)) * 1e-3 * self.factor
            if prefilling:
                left, done = law.chunk, []
                while prefilling and left:
                    one = prefilling[0]
                    part = min(left, one[1])
                    left -= part
                    one[1] -= part
                    if not one[1]:
                        done.append(prefilling.popleft()[0])
                steps, took_s = 1, plain_s + law.per_prompt_token * (law.chunk - left) * 1e-3 * self.factor
                self.now_s += took_s
                self.step += 1
                self.tokens += len(running) + len(done)
                for index in done:
                    self.first_s[index] = self.now_s
                    heapq.heappush(running, (self.step + self.outputs[index % _DRAWN] - 1, index))
            else:
                steps = running[0][0] - self.step
                if self.next_due_s < self.now_s + steps * plain_s:
                    steps = max(1, math.ceil((self.next_due_s - self.now_s) / plain_s))
                self.now_s += steps * plain_s
                self.step += steps
                self.tokens += steps * len(running)
            self.log_s.append(self.now_s)
            self.log_tokens.append(self.tokens)
            while running and running[0][0] <= self.step:
                index = heapq.heappop(running)[1]
                self.end_s[index] = self.now_s
                self.ends_s.append(self.now_s)
                self.ended += 1
                if law.kind == "concurrency":
                    if self.users > self.wanted:
                        self.users -= 1
                    else:
                        self._send(self.now_s)

    def probe(self, probe: Probe) -> ProbeResult:
        """A probe by hand-over, judged at its looks."""
        law, began_s = self.law, self.now_s
        if law.fails(probe.level):
            self.now_s += 30.0
            return ProbeResult(probe.level, probe.phase, 0, 30.0, failed=True)
        self.set(probe.level)
        if law.kind == "rate":
            settle_s = self.now_s + 30.0
            while self.now_s < settle_s:
                self.run()
        else:
            until = self.ended + int(probe.level)
            while self.ended < until:
                self.run()
        start_s, first, whole = self.now_s, len(self.begin_s), len(self.begin_s)
        level = Level(probe.level, law.kind)
        looks = [(n, 120.0) for n in probe.looks] if law.kind == "rate" else [(n, 0.0) for n in probe.looks]
        if law.kind == "rate":
            looks = [(0, 30.0), (0, 60.0), (0, 90.0), *looks]
        for n, least_s in looks:
            while whole - first < n or self.now_s - start_s < least_s:
                self.run()
                while whole < len(self.end_s) and self.end_s[whole] == self.end_s[whole]:
                    whole += 1
            far, saturated = self.saturated(start_s)
            if far or (n and saturated):
                judged = Look("missed", {}, {}, None)
                break
            if n and (judged := look(law.limits, self.rows(first, whole, start_s), level)).verdict != "undecided":
                break
        if saturated:  # what is there is given up before another rate is tried
            self.end_s = [self.now_s if math.isnan(at_s) else at_s for at_s in self.end_s]
            self.running, self.prefilling, self.waiting, self.ended = [], deque(), deque(), len(self.end_s)
        return ProbeResult(
            probe.level, probe.phase, whole - first, self.now_s - began_s, judged.margins, judged.shares,
            judged.ln_x, saturated=saturated,
        )  # fmt: skip

    def rows(self, first: int, whole: int, start_s: float) -> ProbeRows:
        begin_s, first_s, end_s = (np.array(times[first:whole]) for times in (self.begin_s, self.first_s, self.end_s))
        tokens = np.array([self.outputs[i % _DRAWN] for i in range(first, whole)], dtype=float)
        spans_s = np.where(tokens > 1, end_s - first_s, np.nan)
        each = {"ttft_s": first_s - begin_s, "e2e_s": end_s - begin_s, "tpot_s": spans_s / np.maximum(tokens - 1, 1)}
        # tokens of requests in flight are not known to who reads rows: up to when the last that is judged began
        end_s = float(begin_s[-1]) if len(begin_s) else self.now_s
        edges_s = np.linspace(start_s, end_s, PARTS + 1)
        parts = {
            "arrived_tokens": np.diff(np.interp(edges_s, self.log_s, self.log_tokens)),
            "completed": np.diff(np.searchsorted(self.ends_s, edges_s)).astype(float),
        }
        n = whole - first
        good = np.ones(n, dtype=bool)
        for limit in self.law.limits.goodput:
            good &= limit.holds(each[limit.metric]) | np.isnan(each[limit.metric])
        if self.law.limits.goodput:
            parts["good_completed"] = parts["completed"] * (good.mean() if n else 0.0)
        sums = {
            "issued": np.ones(n), "failed": np.zeros(n), "empty": np.zeros(n), "good": good.astype(float),
            "output_tokens": tokens,
            "decode_tokens": np.maximum(tokens - 1, 0), "decode_span_s": np.nan_to_num(spans_s),
        }  # fmt: skip
        return ProbeRows(each, sums, parts, (end_s - start_s) / PARTS, each["e2e_s"])

    def saturated(self, start_s: float) -> tuple[bool, bool]:
        """Of the window up to now: by far, and at all."""
        if self.law.kind != "rate":
            return False, False
        due_s, ends_s = np.array(self.begin_s), np.array(self.end_s)
        ends_s[ends_s > self.now_s] = np.nan
        found = saturation(due_s, ends_s, np.zeros(len(due_s), bool), start_s, self.now_s)
        if found is None:
            return False, False
        return found.far(int(np.count_nonzero(due_s >= start_s))), found.saturated


@dataclass
class Truth:
    """Long runs at many levels of an engine whose speed does not vary."""

    law: Law
    requests: int = 15_000
    measured: dict[float, tuple[float, float]] = field(default_factory=dict)

    def at(self, level: float) -> tuple[float, float]:
        """The least margin of all limits, and ln of the throughput."""
        if level not in self.measured:
            n = max(self.requests, 30 * int(level) if self.law.kind == "concurrency" else 0)
            if any((limit.share or 0) > 0.98 for limit in self.law.limits.limits):
                n *= 5
            found = Engine(self.law, 987654321, noisy=False).probe(Probe(level, "confirm", (n,)))
            self.measured[level] = found.least, found.ln_x[0] if found.ln_x else -math.inf
        return self.measured[level]

    def best(self, levels: int = 20) -> tuple[float, float]:
        """The cheapest level that keeps the SLO, and ln of its throughput; NaN where there is none."""
        tried = sorted({self.snap(level) for level in np.geomspace(*self.law.within, levels)})
        while True:
            kept = [level for level in tried if self.at(level)[0] > 0]
            if not kept:
                return math.nan, math.nan
            top = max(kept, key=lambda level: self.at(level)[1])
            place = tried.index(top)
            low, high = tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)]
            finer = sorted({*tried, *(self.snap(level) for level in np.geomspace(low, high, 7))})
            if len(finer) == len(tried) or high / low < 1.01:
                return top, self.at(top)[1]
            tried = finer

    def snap(self, level: float) -> float:
        return float(round(level)) if self.law.kind == "concurrency" else float(f"{level:.3g}")


def spec_of(law: Law, seed: int, **spec: Any) -> SearchSpec:
    """What a person would ask of a server with this law."""
    given: dict[str, Any] = {"kind": law.kind, "high": law.high, "random_seed": seed}
    if law.slots < 10**9:
        given["slots"] = law.slots
    if law.kind == "rate":  # from 0.7 of what a closed loop does, as a real search looks at one before
        users = min(32, law.slots)
        loop = Engine(replace(law, kind="concurrency"), seed)
        loop.set(users)
        while loop.ended < 4 * users:
            loop.run()
        per_s = 2 * users / (loop.now_s - loop.ends_s[2 * users - 1])
        given |= {"low": 0.01, "high": 200.0, "start": 0.7 * per_s}
    given["has_tail"] = any(limit.share is not None for limit in law.limits.limits)
    return SearchSpec(**(given | spec))


def find(law: Law, seed: int, **spec: Any) -> tuple[End, list[ProbeResult]]:
    """A whole search on a new engine, cold at its start."""
    search, engine, results = Search(spec_of(law, seed, **spec)), Engine(law, seed), list[ProbeResult]()
    while not isinstance(step := search.next(results), End):
        results.append(engine.probe(step))
    return step, results


KNOWN = {
    "speed binds": Law("output_throughput_per_user>20"),
    "TTFT p95 binds": Law("ttft_p95<75ms"),
    "slots bind": Law("ttft_mean<1s", slots=64),
    "peak below the limit": Law("output_throughput_per_user>20", more=lambda n: 0.0016 * n * n),
}


def _two_speeds(rng: np.random.Generator, hours: float) -> float:
    return 1.06 if rng.random() < 0.3 else 1.0


LOOKED_AT = {  # while the planner's rules were made
    "speculation to 48": Law("tpot_mean<45ms", more=lambda n: -0.4 * (8 + 0.18 * n) if n <= 48 else 0.0),
    "prefix cache thrashes": Law(
        "ttft_p90<120ms", uncached=lambda n: 0.2 if n < 90 else min(1.0, 0.2 + 0.03 * (n - 90))
    ),
    "heavy-tailed lengths": Law("e2e_p90<16s", output=(220.0, 1.4), most_output=4096),
    "two speeds": Law("output_throughput_per_user>20", speed=_two_speeds),
    "noise of 4 %": Law("output_throughput_per_user>20", noise=0.04),
    "noise of 4 %, TTFT": Law("ttft_p95<75ms", noise=0.04),
    "drift of 6 % an hour": Law("tpot_p90<48ms", speed=lambda rng, hours: 1 + 0.06 * hours),
    "optimum at 2": Law("tpot_mean<25ms", base=16.0, per_user=4.0, within=(1, 16)),
    "optimum near 1,500": Law(
        "output_throughput_per_user>8", per_user=0.06, output=(100.0, 0.7), prompt=(100.0, 0.8), within=(256, 4096)
    ),
    "TPOT p99": Law("tpot_p99<60ms"),
    "attainment": Law("attainment>=0.95;goodput:ttft<90ms,tpot<55ms"),
    "step at 100": Law("tpot_p95<45ms", more=lambda n: 14.0 if n > 100 else 0.0),
    "preemption above 96": Law("tpot_mean<60ms", more=lambda n: 0.25 * max(n - 96, 0)),
    "rate, TTFT p95": Law("ttft_p95<60ms", kind="rate", within=(2, 30)),
    "rate, goodput": Law("attainment>=0.9;goodput:ttft<200ms,tpot<30ms", kind="rate", within=(2, 30)),
    "none": Law("ttft_p50<5ms", within=(1, 64)),
    "highest level keeps it": Law("tpot_mean<60ms", high=64, within=(8, 64)),
    "fails above 100": Law("tpot_mean<60ms", fails=lambda level: level > 100, within=(8, 100)),
    "jumps at multiples of 64": Law("tpot_mean<45ms", more=lambda n: 3.0 * (n // 64)),
    "speculation to 100": Law("tpot_mean<60ms", more=lambda n: -0.35 * (8 + 0.18 * n) if n <= 100 else 0.0),
    "throughput from below": Law("tpot_mean<40ms,output_throughput>3100"),
    "optimum at 5": Law("tpot_p95<40ms", base=16.0, per_user=4.0, within=(1, 32)),
    "only 1": Law("tpot_mean<22.5ms", base=16.0, per_user=4.0, within=(1, 16)),
    "TTFT p99": Law("ttft_p99<120ms"),
    "E2E p99": Law("e2e_p99<30s"),
    "goodput, E2E": Law("attainment>=0.9;goodput:e2e<12s", output=(220.0, 1.0)),
    "noise alike": Law("output_throughput_per_user>20", noise=0.03, alike=0.9),
    "one in 17 slow": Law("tpot_mean<40ms", speed=lambda rng, hours: 1.25 if rng.random() < 0.06 else 1.0),
    "cold at first": Law("tpot_mean<40ms", speed=lambda rng, hours: 1.3 if hours < 0.01 else 1.0),
    "rate, E2E p90": Law("e2e_p90<10s", kind="rate", within=(2, 30)),
    "rate, 32 slots": Law("ttft_p95<1s", slots=32, kind="rate", within=(1, 30)),
    "rate, TPOT": Law("tpot_mean<25ms", kind="rate", within=(2, 30)),
}
FRESH = {  # written when they were done
    "long prompts": Law("ttft_p90<400ms", prompt=(4000.0, 0.6), output=(60.0, 0.7)),
    "E2E mean": Law("e2e_mean<6s", output=(400.0, 0.5)),
    "chunks of 512": Law("ttft_p95<300ms,tpot_mean<50ms", chunk=512),
    "padded to 64": Law("tpot_p95<45ms", more=lambda n: 0.18 * (-n % 64)),
    "96 slots, TTFT p99": Law("ttft_p99<500ms", slots=96),
    "two limits": Law("output_throughput_per_user>22,ttft_mean<62ms"),
    "small and slow": Law("tpot_mean<80ms", base=30.0, per_user=3.0, within=(1, 64)),
    "all tokens at most": Law("error_rate<1%", more=lambda n: 0.0004 * n * n, high=512),
    "rate, speed": Law("decode_throughput>35", kind="rate", within=(2, 30)),
}
