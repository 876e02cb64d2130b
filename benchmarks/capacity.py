"""The birth-death chain of `plan` against simulations of events that know nothing of it. Seeded."""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import Any

import numpy as np

from benchsuite.economics.capacity import SpeedCurve, in_flight
from benchsuite.economics.plan_file import Balancing

SEED, ARRIVALS = 20261129, 250_000
LEVELS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
COARSE = (1, 8, 64, 256)
SLOTS = 256
MEMORY_S, COMPUTE_S, EACH_S, PREFILL_S = 0.012, 0.008, 0.00015, 0.004  # a step: the longer of the first, and the second
# with EACH_S for each request in it; PREFILL_S more for each that enters
MEAN_TOKENS, SIGMA, HEAVY = 200.0, 0.8, 1.5
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


def capacity() -> dict[str, Any]:
    """The chain's requests in flight, and what arrivals find at each balancing, against events."""
    measured = [closed_loop(n, 12_000) for n in LEVELS]
    curve = SpeedCurve(tuple(map(float, LEVELS)), tuple(measured))
    coarse = SpeedCurve(tuple(map(float, COARSE)), tuple(measured[LEVELS.index(n)] for n in COARSE))
    print(
        "a server of steps of 12 ms, or 8 ms and 0.15 ms a request in it, and 4 ms a prefill: closed loop, requests/s"
    )
    print("  " + ", ".join(f"{n}: {x:.2f}" for n, x in zip(LEVELS, measured, strict=True)))
    print("in flight in an open loop, by load (share of X at the highest level)")
    print(f"  load    chain   events: shared speed      events: steps   chain of levels {COARSE}")
    one = []
    for load in LOADS:
        rate = load * measured[-1]
        found, sparse = in_flight(curve, rate), in_flight(coarse, rate)
        assert found is not None
        assert sparse is not None
        shared, _ = shared_speed(curve, rate, 1, "random", ARRIVALS, curve.highest)
        in_steps = open_loop(rate, ARRIVALS // 5)
        row = {"load": load, "chain": found.mean, "shared_speed": shared, "steps": in_steps, "coarse": sparse.mean}
        one.append(row)
        print(
            f"  {load:4.0%} {found.mean:7.2f} {shared:9.2f} ({found.mean / shared - 1:+6.1%})"
            f" {in_steps:12.2f} ({found.mean / in_steps - 1:+6.1%})"
            f" {sparse.mean:12.2f} ({sparse.mean / in_steps - 1:+6.1%})"
        )
    return {
        "curve": dict(zip(LEVELS, measured, strict=True)),
        "in_flight": one,
        "heavy_tails": heavy_tails(),
        "balancing": balancing(),
    }


def heavy_tails() -> list[dict[str, Any]]:
    """Requests in flight where answers are lognormal with sigma 1.5: the chain knows their mean alone."""
    measured = [closed_loop(n, 12_000, HEAVY) for n in LEVELS]
    curve, rows = SpeedCurve(tuple(map(float, LEVELS)), tuple(measured)), []
    print("the same with heavy tails (CV of an answer's length 2.9)")
    for load in LOADS:
        found = in_flight(curve, load * measured[-1])
        assert found is not None
        rows.append({"load": load, "chain": found.mean, "steps": open_loop(load * measured[-1], ARRIVALS // 5, HEAVY)})
        print(f"  {load:4.0%} {found.mean:7.2f} {rows[-1]['steps']:9.2f} ({found.mean / rows[-1]['steps'] - 1:+6.1%})")
    return rows


def balancing(replicas: int = 4, slots: int = 16) -> list[dict[str, Any]]:
    """Share of arrivals that find every place of their replica taken: chain, events, and Erlang-C of one line."""
    curve = SpeedCurve(tuple(map(float, range(1, slots + 1))), tuple(map(float, range(1, slots + 1))))
    print(f"arrivals that wait, {replicas} replicas of {slots} places at a speed of their own (M/M/{slots} each)")
    print("  load  balancing            chain   events   Erlang-C of one line")
    rows = []
    for load in (0.7, 0.8, 0.9):
        rate, line = load * replicas * slots, erlang_c(replicas * slots, load * replicas * slots)
        for way in ("least-connections", "round-robin", "random"):
            found = in_flight(curve, rate, replicas, way)
            assert found is not None
            in_events, waiting = shared_speed(curve, rate, replicas, way, ARRIVALS, float(slots))
            row = {"load": load, "balancing": way, "chain": 1 - found.kept(slots), "events": waiting, "erlang_c": line}
            row |= {"chain_in_flight": found.mean, "events_in_flight": in_events}
            rows.append(row)
            print(f"  {load:4.0%}  {way:18} {row['chain']:7.2%}  {waiting:7.2%}  {line:7.2%}")
    return rows


def erlang_c(servers: int, offered: float) -> float:
    """P(an arrival waits) at M/M/servers."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def shared_speed(
    curve: SpeedCurve, rate_per_s: float, replicas: int, way: Balancing, arrivals: int, highest: float
) -> tuple[float, float]:
    """Mean in flight on a replica, and share of arrivals after which more than `highest` are on theirs.

    Each replica completes X(n) in all, shared evenly among its n (exponential sizes, mean 1): a heap of virtual times.
    """
    rng = np.random.default_rng(SEED)
    gaps, sizes = rng.exponential(1 / rate_per_s, arrivals), rng.exponential(1.0, arrivals)
    chances = rng.integers(0, replicas, arrivals) if way == "random" else None
    speeds = [0.0, *(float(curve.at(n)) / n for n in range(1, int(curve.highest) + 1))]
    most = curve.per_s[-1]
    served: list[list[float]] = [[] for _ in range(replicas)]
    virtual, clock = [0.0] * replicas, [0.0] * replicas
    area, late, now = 0.0, 0, 0.0

    def until(k: int, when: float) -> None:
        nonlocal area
        heap = served[k]
        while heap:
            n = len(heap)
            speed = speeds[n] if n < len(speeds) else most / n
            ends = clock[k] + (heap[0] - virtual[k]) / speed
            if ends > when:
                virtual[k] += (when - clock[k]) * speed
                area += n * (when - clock[k])
                break
            area += n * (ends - clock[k])
            clock[k], virtual[k] = ends, heapq.heappop(heap)
        clock[k] = when

    for i in range(arrivals):
        now += gaps[i]
        if chances is not None:
            k = int(chances[i])
            until(k, now)
        elif way == "round-robin":
            k = i % replicas
            until(k, now)
        else:
            for each in range(replicas):
                until(each, now)
            k = min(range(replicas), key=lambda each: len(served[each]))
        heapq.heappush(served[k], virtual[k] + sizes[i])
        late += len(served[k]) > highest
    for k in range(replicas):
        until(k, now)
    return area / now / replicas, late / arrivals


def closed_loop(users: int, requests: int, sigma: float = SIGMA) -> float:
    """Requests a second with so many users, each sending its next when the last has ended."""
    return steps(deque([0.0] * users), max(requests, 240 * users), sigma, again=True)[0]


def open_loop(rate_per_s: float, requests: int, sigma: float = SIGMA) -> float:
    """Mean number of requests in the server and its queue, with arrivals at random."""
    gaps = np.random.default_rng(SEED + 1).exponential(1 / rate_per_s, 2 * requests)
    return steps(deque(np.cumsum(gaps).tolist()), requests, sigma, again=False)[1]


def steps(arrivals: deque[float], requests: int, sigma: float, *, again: bool) -> tuple[float, float]:
    """Requests a second, and mean number of them in server and queue, until so many have ended.

    A step gives each request in a slot its next token; who has arrived enters between two steps. again: who ends sends
    anew.
    """
    rng, now, step, ended, total_s = np.random.default_rng(SEED), 0.0, 0, 0, 0.0
    drawn = rng.lognormal(math.log(MEAN_TOKENS) - sigma**2 / 2, sigma, requests + SLOTS).round()
    tokens, active = iter(np.maximum(1, drawn).astype(int).tolist()), list[tuple[int, float]]()
    while ended < requests:
        if not active:
            now = max(now, arrivals[0])
        before = len(active)
        while arrivals and arrivals[0] <= now and len(active) < SLOTS:
            heapq.heappush(active, (step + next(tokens), arrivals.popleft()))
        step += 1
        now += max(MEMORY_S, COMPUTE_S + EACH_S * len(active)) + PREFILL_S * (len(active) - before)
        while active and active[0][0] <= step:
            total_s += now - heapq.heappop(active)[1]
            ended += 1
            if again:
                arrivals.append(now)
    return ended / now, total_s / now
