"""Open loop: how late requests leave, what waits are measured in queues known on paper, what saturation is found."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from scipy import special

from benchsuite.clock import now_ns
from benchsuite.load.arrivals import arrivals
from benchsuite.load.open_loop import DueTimer
from benchsuite.load.sweep import sweep
from benchsuite.progress import View
from benchsuite.saturation import Saturation, saturation
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import RunningSimulator, simulator
from benchsuite.spec import parse_spec
from benchsuite.store.run_folder import Run, read_run
from benchsuite.workload.dataset import Prompt, make_workload

RATES, SECONDS = (50.0, 500.0, 2000.0), 4.0
RHOS, SERVICE_S, WINDOW_S = (0.5, 0.7, 0.9), 0.02, float(os.environ.get("WINDOW_S", "60"))
SEEDS, QUEUE_SEEDS = int(os.environ.get("SEEDS", "20")), int(os.environ.get("SEEDS", "5"))
_WORDS_PER_S = 5000  # of the server of `queues`: a prompt's words are its service
_SECOND_MOMENT = {"M/D/1": 1.0, "M/M/1": 2.0}  # of the service, in squares of its mean


def lateness() -> list[dict[str, Any]]:
    """How late requests leave, us: the sender of a sweep, its timer alone, and the event loops' own timers."""
    rows = []
    for rate in RATES:
        late: dict[str, list[float]] = {"sweep --rate": _sweep_late_us(rate)}
        gaps_ns = np.random.default_rng(1).exponential(1e9 / rate, int(rate * SECONDS))
        for name, new_loop, wait in (
            ("timerfd and spin", uvloop.new_event_loop, _by_timer),
            ("call_at, asyncio", asyncio.new_event_loop, _by_call_at),
            ("sleep, asyncio", asyncio.new_event_loop, _by_sleep),
            ("sleep, uvloop", uvloop.new_event_loop, _by_sleep),
        ):
            loop = new_loop()
            late[name] = [ns / 1e3 for ns in loop.run_until_complete(wait(np.cumsum(gaps_ns).astype(np.int64)))]
            loop.close()
        for name, found in late.items():
            p50, p90, p99 = np.quantile(found, (0.5, 0.9, 0.99))
            early = float(np.mean(np.array(found) < 0))
            rows.append({"rate": rate, "sender": name, "p50": p50, "p90": p90, "p99": p99, "early": early})
            print(
                f"{rate:6g}/s  {name:18} p50 {p50:8.1f}  p90 {p90:8.1f}  p99 {p99:9.1f}  early {early:.1%}", flush=True
            )
    return rows


def _sweep_late_us(rate: float) -> list[float]:
    with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.02, itl_s=0.005))) as server:
        found = _run(server.base_url, rate, window_s=SECONDS, tokens=4, arrival="poisson")
    sent, due = (np.array(found.table[name].to_pylist(), dtype=float) for name in ("sent_s", "scheduled_s"))
    return [late_s * 1e6 for late_s in (sent - due)[~np.isnan(sent)]]


def _run(
    url: str, *rates: float, window_s: float, tokens: int, seed: int = 0, texts: Sequence[str] = (), **arrivals: Any
) -> Run:
    tree = {
        "server": {"base_url": url, "profile": "openai", "model": "simulator"},
        "load": {"rate": rates, "random_seed": seed, "cooldown_min_s": 0, "cooldown_max_s": 5.0},
        "arrivals": {"duration_s": window_s, "warmup_s": min(5.0, window_s / 4), "tail_max_s": 5.0} | arrivals,
        "telemetry": {"gpu": "off"},
    }
    messages = [({"role": "user", "content": text},) for text in texts or [f"question {i}" for i in range(64)]]
    workload = make_workload("open loop", [Prompt(f"p{i}", "x", one, None, tokens) for i, one in enumerate(messages)])
    with tempfile.TemporaryDirectory() as folder:
        sweep(parse_spec(tree, where="benchmark"), workload, Path(folder) / "run", View())
        return read_run(Path(folder) / "run")


async def _by_timer(due_ns: np.ndarray) -> list[int]:
    late, at, done, zero = [], 0, asyncio.Event(), now_ns() + 50_000_000

    def act() -> None:
        nonlocal at
        while at < len(due_ns):
            due = zero + int(due_ns[at])
            if due - now_ns() > 100_000:
                timer.arm(due - 100_000)
                return
            while now_ns() < due:
                pass
            late.append(now_ns() - due)
            at += 1
        done.set()

    timer = DueTimer(asyncio.get_running_loop(), act)
    act()
    await done.wait()
    timer.close()
    return late


async def _by_call_at(due_ns: np.ndarray) -> list[int]:
    loop, late, done, zero = asyncio.get_running_loop(), list[int](), asyncio.Event(), now_ns() + 50_000_000
    for due in due_ns.tolist():
        loop.call_at(
            (zero + due) / 1e9,
            lambda due=due: (late.append(now_ns() - zero - due), done.set() if len(late) == len(due_ns) else None),
        )
    await done.wait()
    return late


async def _by_sleep(due_ns: np.ndarray) -> list[int]:
    late, zero = [], now_ns() + 50_000_000
    for due in due_ns.tolist():
        if (wait_ns := zero + due - now_ns()) > 0:
            await asyncio.sleep(wait_ns / 1e9)
        late.append(now_ns() - zero - due)
    return late


def queues() -> list[dict[str, Any]]:
    """A server of one request at a time, of fixed and of exponential service: mean waits, beside the formula's.

    A wait is what a request takes above its service and above what one takes that finds the server idle. That is on the
    way, and most of it while the server serves others: the formula with it as service is an upper bound.
    """
    rows = []
    with simulator(SimulatorConfig(latency=LatencyModel(slots=1, prefill_tokens_per_s=_WORDS_PER_S))) as server:
        for kind, rho in itertools.product(_SECOND_MOMENT, RHOS):
            runs = [_queue(server.base_url, kind, rho, seed) for seed in range(QUEUE_SEEDS)]
            wait_ms, by_hand_ms, way_ms = (np.array(column) * 1e3 for column in zip(*runs, strict=True))
            low_ms, high_ms = _t_interval(wait_ms)
            least_ms, most_ms = _t_interval(wait_ms - by_hand_ms)
            rate = rho / SERVICE_S
            formula_ms, bound_ms = (  # Pollaczek and Khinchine
                1e3 * rate * _SECOND_MOMENT[kind] * s**2 / (2 * (1 - rate * s)) if rate * s < 1 else np.inf
                for s in (SERVICE_S, SERVICE_S + way_ms.mean() * 1e-3)
            )
            inside, as_by_hand = low_ms <= formula_ms <= high_ms, least_ms <= 0 <= most_ms
            rows.append(
                {"queue": kind, "rho": rho, "wait_ms": wait_ms.tolist(), "by_hand_ms": by_hand_ms.tolist(),
                 "way_ms": way_ms.tolist(), "formula_ms": formula_ms, "inside": bool(inside)}
            )  # fmt: skip
            print(
                f"{kind} rho {rho}: wait {wait_ms.mean():.2f} ms ({low_ms:.2f} to {high_ms:.2f}, {len(runs)} seeds), "
                f"formula {formula_ms:.2f}: {'inside' if inside else 'OUTSIDE'} (with {way_ms.mean():.2f} ms on the "
                f"way as service {bound_ms:.2f}); the same arrivals by hand {by_hand_ms.mean():.2f}, measured "
                f"{(wait_ms - by_hand_ms).mean():+.2f} ms ({least_ms:+.2f} to {most_ms:+.2f}): "
                f"{'inside' if as_by_hand else 'OUTSIDE'}",
                flush=True,
            )
    return rows


def _queue(url: str, kind: str, rho: float, seed: int) -> tuple[float, float, float]:
    """Seconds of one run: the mean wait, that of the same arrivals and services by hand, what a request takes above its
    service that finds the server idle."""
    rate, rng = rho / SERVICE_S, np.random.default_rng(seed)
    n = int(1.2 * rate * (1.5 * WINDOW_S + 10)) + 64  # so that none is sent twice
    drawn = np.ones(n) if kind == "M/D/1" else rng.standard_exponential(n)
    n_words = np.maximum(1, np.rint(drawn * SERVICE_S * _WORDS_PER_S).astype(int) - 1)  # and the salt
    texts = ["w" + " w" * (k - 1) for k in n_words.tolist()]
    found = _run(
        url, rate, window_s=WINDOW_S, tokens=1, seed=seed, texts=texts, warmup_s=WINDOW_S / 2, arrival="poisson"
    )
    names = ("scheduled_s", "first_token_s", "input_tokens", "window_start_s", "window_end_s")
    rows = np.array([found.table[name].to_pylist() for name in names], dtype=float).T
    due_s, first_s, tokens, start_s, end_s = rows[~np.isnan(rows).any(axis=1)].T
    order = due_s.argsort()
    due_s, first_s, service_s = due_s[order], first_s[order], tokens[order] / _WORDS_PER_S
    by_hand_s, free_s = np.empty(len(due_s)), -np.inf
    for i, (due, service) in enumerate(zip(due_s, service_s, strict=True)):
        by_hand_s[i] = max(0.0, free_s - due)
        free_s = max(due, free_s) + service
    in_window = (due_s >= start_s[0]) & (due_s < end_s[0])
    over_s = first_s - due_s - service_s - by_hand_s
    alone_s = float(over_s[in_window & (by_hand_s == 0)].mean())
    wait_s = first_s - due_s - service_s - alone_s
    return float(wait_s[in_window].mean()), float(by_hand_s[in_window].mean()), alone_s


def _t_interval(values: np.ndarray) -> tuple[float, float]:
    """Of the mean, 95 %."""
    half = special.stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def stall() -> list[dict[str, Any]]:
    """A server of 50 ms that stops for 2 s, at 10 requests a second for 20 s: what each clock says of it."""
    rows = []
    for most in (None, 1):
        with simulator(SimulatorConfig(latency=LatencyModel(ttft_s=0.05))) as server:
            stopper = threading.Timer(2.0 + 5.0 + 4.0, _stop_for_2_s, [server])
            stopper.start()
            more = {} if most is None else {"max_in_flight": most}
            arrivals = {"arrival": "constant", "warmup_s": 2.0, "tail_max_s": 5.0} | more
            found = _run(server.base_url, 10.0, window_s=20.0, tokens=1, **arrivals)
            stopper.join()
        due, sent = _of_window(found), _of_window(found, "sent_s")
        rows.append({"max_in_flight": most, "scheduled_mean_s": float(due.mean()), "sent_mean_s": float(sent.mean())})
        figures = f"mean {due.mean():.3f} s from the schedule, {sent.mean():.3f} s from the sending"
        worst = f"p99 {np.quantile(due, 0.99):.2f} and {np.quantile(sent, 0.99):.2f} s"
        print(f"--max-in-flight {most or 'none'}: {figures}; {worst}; by hand 0.05 + 21/200 = 0.155 s", flush=True)
    return rows


def _stop_for_2_s(server: RunningSimulator) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(2.0)
    os.kill(server.pid, signal.SIGCONT)


def _of_window(found: Run, since: str = "scheduled_s") -> np.ndarray:
    names = ("scheduled_s", "first_token_s", "window_start_s", "window_end_s", since)
    due, first, start, end, began = (np.array(found.table[name].to_pylist(), dtype=float) for name in names)
    return (first - began)[(due >= start) & (due < end)]


def saturated() -> list[dict[str, Any]]:
    """A batch server of 16 slots at shares of its capacity: in how many runs it is found saturated."""
    rows = []
    latency = LatencyModel(ttft_s=0.01, itl_s=0.01, slots=16)
    capacity = 16 / (0.01 + 9 * 0.01)  # requests/s of 10 tokens
    with simulator(SimulatorConfig(latency=latency)) as server:
        for share in (0.9, 1.1):
            found = [
                _run(server.base_url, share * capacity, window_s=WINDOW_S / 2, tokens=10, seed=seed)
                for seed in range(SEEDS)
            ]
            verdicts = [Saturation.of(run.manifest.complete_points[0].saturation) for run in found]
            n = sum(one is not None and one.saturated for one in verdicts)
            rows.append({"share": share, "runs": len(found), "saturated": n})
            print(f"{share} of capacity ({share * capacity:.0f}/s): saturated in {n} of {len(found)}", flush=True)
    return rows


def saturation_model() -> list[dict[str, Any]]:
    """The share of 40 windows that are found saturated, of queues simulated in virtual time."""
    rows = []
    for service, servers, window_s in itertools.product(("fixed", "exponential", "lognormal"), (1, 32), (120, 300)):
        shares = {}
        for rho in (0.7, 0.9, 0.95, 1.03, 1.1, 1.3):
            found = [_found_saturated(service, servers, window_s, rho, seed) for seed in range(40)]
            shares[rho] = sum(found) / len(found)
        rows.append({"service": service, "servers": servers, "window_s": window_s} | shares)
        words = "  ".join(f"{rho}: {share:4.0%}" for rho, share in shares.items())
        print(f"{service:12} {servers:3} servers {window_s} s  {words}", flush=True)
    return rows


def _found_saturated(service: str, servers: int, window_s: float, rho: float, seed: int) -> bool:
    """Poisson arrivals at rho of the capacity of `servers`, each with a mean service of 0.1 s, of 32 servers 1 s."""
    rng, mean_s = np.random.default_rng(seed), 0.1 if servers == 1 else 1.0
    due_s = 1e-9 * arrivals(
        "poisson", rho * servers / mean_s, shape=1, profile="", window_s=window_s, before_s=30, after_s=10, seed=seed,
        repeat=0,
    )  # fmt: skip
    draw = {"fixed": np.ones, "exponential": rng.standard_exponential, "lognormal": lambda n: rng.lognormal(-0.5, 1, n)}
    took_s = mean_s * draw[service](len(due_s))
    free_s, ended_s = [-30.0] * servers, np.empty(len(due_s))
    for i, (due, took) in enumerate(zip(due_s, took_s, strict=True)):
        ended_s[i] = max(due, heapq.heappop(free_s)) + took
        heapq.heappush(free_s, ended_s[i])
    found = saturation(due_s, ended_s, np.zeros(len(due_s), bool), 0, window_s)
    return found is not None and found.saturated
