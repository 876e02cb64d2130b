"""Length distributions with a long tail, and the seeded random numbers that synthetic text is made of.

Only uniform numbers are taken from numpy, as its other draws may change between versions: the same seed must give the
same bytes on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_NORMAL = NormalDist()


class RandomStream:
    """A stream of seeded draws: PCG64 seeded by SeedSequence([seed, *stream]). The one thing here with a state."""

    def __init__(self, seed: int, *stream: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *stream])))
        self._block: list[float] = []

    def uniform(self) -> float:
        """A number in [0, 1)."""
        if not self._block:
            self._block = self._rng.random(4096).tolist()
        return self._block.pop()

    def integer(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self.uniform() * len(items))]

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """n different items (by place) in random order; all of them if there are fewer."""
        left = list(items)
        return [left.pop(int(self.uniform() * len(left))) for _ in range(min(n, len(left)))]

    def stratified(self, n: int) -> list[float]:
        """n numbers in (0, 1), one in each of n equal strips, in random order: a sample with little luck in it."""
        edges = [(i + max(self.uniform(), 1e-9)) / n for i in range(n)]
        return self.sample(edges, n)


@dataclass(frozen=True, slots=True)
class LengthDistribution:
    """A lognormal body with a Pareto tail, clipped: how long texts are in the real world (tokens).

    body: exp(Normal(ln median, sigma)), with probability 1 - tail_share.
    tail: tail_from * (1 - v)^(-1/tail_alpha), v uniform in [0, 1): survival (x / tail_from)^(-tail_alpha).
    Lengths are rounded and clipped to low..high. Raises ValueError for parameters that describe no distribution.
    """

    median: float
    sigma: float
    low: int
    high: int
    tail_share: float = 0.0
    tail_from: float = 1.0
    tail_alpha: float = 2.0

    def __post_init__(self) -> None:
        if min(self.median, self.tail_from, self.tail_alpha) <= 0 or self.sigma < 0:
            raise ValueError(f"median, tail_from and tail_alpha are above 0, sigma is not negative: {self}")
        if not 0 <= self.tail_share <= 1 or not 0 < self.low <= self.high:
            raise ValueError(f"tail_share is within 0..1 and 0 < low <= high: {self}")

    def at(self, u: float) -> int:
        """The length that one uniform number u in (0, 1) stands for: the body below 1 - tail_share, the tail above."""
        body = 1 - self.tail_share
        if u < body:
            length = self.median * math.exp(self.sigma * _NORMAL.inv_cdf(u / body))
        else:
            length = self.tail_from * (1 - (u - body) / self.tail_share) ** (-1 / self.tail_alpha)
        return round(min(max(length, self.low), self.high))

    def sample(self, n: int, stream: RandomStream) -> list[int]:
        """n lengths, stratified: their histogram follows the distribution even for small n."""
        return [self.at(u) for u in stream.stratified(n)]
