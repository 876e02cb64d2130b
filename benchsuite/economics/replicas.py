"""How many requests are in flight at a rate, and how many replicas keep the SLO: birth-death chain of measured speeds.

The chain: requests arrive at random (Poisson); with n in flight a replica completes X(n) a second, as the closed-loop
levels measured it. pi(n) ~ product of rate / X(i). X is interpolated in ln n between measured levels, per-user speed is
that of the lowest level below it, and X stays flat above the highest, where nothing is known. Depends on the mean size
of a request only as far as the replica shares its speed among those in flight. docs/METHODS.md, Capacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.sparse.linalg import spsolve
from scipy.special import gammaincc, gammaln

Floats = NDArray[np.float64]
Balancing = Literal["least-connections", "round-robin", "random"]
KEPT = 0.95  # share of arrivals that must find at most the highest level that meets the SLO
_MOST_STATES = 400_000
_PHASES = 8  # of an Erlang arrival process: round robin over 8 replicas or more


def erlang_c(slots: int, offered: float) -> float:
    """Probability that an arrival waits: M/M/c, c = slots, a = offered = rate x service time. A check of the chain.

    1.0 from offered >= slots on. B = P(X = c) / P(X <= c) with X ~ Poisson(a); C = B / (1 - (a/c)(1 - B)).
    """
    if offered <= 0:
        return 0.0
    if offered >= slots:
        return 1.0
    exactly = math.exp(slots * math.log(offered) - offered - float(gammaln(slots + 1)))
    blocked = exactly / float(gammaincc(slots + 1, offered))
    return blocked / (1 - offered / slots * (1 - blocked))


@dataclass(frozen=True, slots=True)
class SpeedCurve:
    """Requests a second that one replica completes with n in flight. levels: ascending; per_s: at each."""

    levels: tuple[float, ...]
    per_s: tuple[float, ...]

    def at(self, n: Floats | float) -> Floats:
        """X(n) for any n >= 0."""
        n = np.asarray(n, dtype=np.float64)
        levels, per_s = np.array(self.levels), np.array(self.per_s)
        with np.errstate(divide="ignore"):
            inside = np.interp(np.log(np.maximum(n, 1e-300)), np.log(levels), per_s)
        return np.asarray(np.where(n < levels[0], per_s[0] * n / levels[0], inside))

    @property
    def highest(self) -> float:
        """The highest measured level."""
        return self.levels[-1]


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests in flight on each of `replicas` alike. shares: of time; found: of arrivals, that meet n already there.

    n: (states,) in flight on one replica. None where the rate is more than the replicas complete.
    """

    n: Floats
    shares: Floats
    found: Floats
    per_s: float

    @property
    def mean(self) -> float:
        """Mean number in flight on a replica."""
        return float(self.n @ self.shares)

    @property
    def time_s(self) -> float:
        """Mean time of a request in the system, by Little's law."""
        return self.mean / self.per_s

    def kept(self, highest: float) -> float:
        """Share of the arrivals after which at most `highest` are in flight on their replica."""
        return float(self.found[self.n + 1 <= highest + 1e-9].sum())

    def average(self, figure: Callable[[Floats], Floats]) -> float:
        """A figure of n, averaged over what arrivals find once they are in."""
        return float(figure(self.n + 1) @ self.found)


def in_flight(
    curve: SpeedCurve, rate_per_s: float, replicas: int = 1, balancing: Balancing = "least-connections"
) -> InFlight | None:
    """The requests in flight when `rate_per_s` arrive at `replicas`; None if they cannot complete as many.

    least-connections: one pool whose n spread evenly. random: each replica has a stream of its own. round-robin: each
    gets every k-th arrival, an Erlang process of k phases (8 at most).
    """
    share_per_s = rate_per_s / replicas
    if share_per_s >= curve.per_s[-1] or not rate_per_s > 0:
        return None
    if balancing == "least-connections":
        total = _states(curve, share_per_s, replicas)
        counts = np.arange(total + 1, dtype=np.float64)
        done = replicas * curve.at(counts / replicas)
        pi = _birth_death(rate_per_s, done)
        return InFlight(counts / replicas, pi, pi, share_per_s)
    counts = np.arange(_states(curve, share_per_s, 1) + 1, dtype=np.float64)
    done = curve.at(counts)
    if balancing == "random" or replicas == 1:
        pi = _birth_death(share_per_s, done)
        return InFlight(counts, pi, pi, share_per_s)
    pi, found = _erlang_arrivals(share_per_s, done, min(replicas, _PHASES))
    return InFlight(counts, pi, found, share_per_s)


def _states(curve: SpeedCurve, share_per_s: float, replicas: int) -> int:
    """So many that the geometric tail beyond the highest level holds less than 1e-9."""
    ratio = share_per_s / curve.per_s[-1]
    tail = math.log(1e-9) / math.log(ratio)
    return int(min(_MOST_STATES, math.ceil(replicas * curve.highest + tail + 50)))


def _birth_death(rate_per_s: float, done_per_s: Floats) -> Floats:
    steps = np.log(rate_per_s) - np.log(done_per_s[1:])
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    pi = np.exp(logs - logs.max())
    return np.asarray(pi / pi.sum())


def _erlang_arrivals(rate_per_s: float, done_per_s: Floats, phases: int) -> tuple[Floats, Floats]:
    """Shares of time, and of what arrivals find, with states (n, phase); phases pass at phases x rate."""
    n, step = len(done_per_s), rate_per_s * phases
    index = np.arange(n * phases).reshape(n, phases)
    sources = [index[:, :-1].ravel(), index[:-1, -1], index[1:].ravel()]
    targets = [index[:, 1:].ravel(), index[1:, 0], index[:-1].ravel()]
    rates = [np.full(len(sources[0]), step), np.full(n - 1, step), np.repeat(done_per_s[1:], phases)]
    source, target, rate = (np.concatenate(parts) for parts in (sources, targets, rates))
    size = n * phases
    leaving = np.bincount(source, weights=rate, minlength=size)
    rows = np.concatenate([target, np.arange(size)])
    columns = np.concatenate([source, np.arange(size)])
    values = np.concatenate([rate, -leaving])
    kept = rows != size - 1  # the last balance follows from the others; in its place: all shares add up to 1
    rows = np.concatenate([rows[kept], np.full(size, size - 1)])
    columns = np.concatenate([columns[kept], np.arange(size)])
    values = np.concatenate([values[kept], np.ones(size)])
    right = np.zeros(size)
    right[-1] = 1.0
    pi = np.asarray(spsolve(csc_array((values, (rows, columns)), shape=(size, size)), right)).reshape(n, phases)
    found = pi[:, -1].clip(0) / pi[:, -1].clip(0).sum()
    return pi.sum(axis=1), found


def replicas_for(
    curve: SpeedCurve,
    rate_per_s: float,
    highest: float,
    *,
    target_utilization: float,
    balancing: Balancing = "least-connections",
    most: int = 1_000_000,
) -> int | None:
    """The fewest replicas at which 95 % of the arrivals find the SLO kept; None: more than `most`.

    highest: the highest level that meets the SLO. target_utilization: of what a replica completes there.
    """
    least = max(1, math.ceil(rate_per_s / (float(curve.at(highest)) * target_utilization) - 1e-9))

    def keeps(replicas: int) -> bool:
        found = in_flight(curve, rate_per_s, replicas, balancing)
        return found is not None and found.kept(highest) >= KEPT

    low, high = least - 1, least
    while high <= most and not keeps(high):
        low, high = high, high + max(1, high // 8)
    if high > most:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high
