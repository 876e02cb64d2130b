"""Length distributions and seeded draws."""

from __future__ import annotations

import pytest

from benchsuite.workload.random_set import RandomStream
from benchsuite.workload.wineval import LengthDistribution

MIX = LengthDistribution(median=100, sigma=0.5, low=20, high=2000, tail_share=0.1, tail_from=300, tail_alpha=2.0)


@pytest.mark.parametrize(
    ("u", "length"),
    [
        (0.45, 100),  # the middle of the body
        (0.9 * 0.841344746, 165),  # one sigma up: 100 * exp(0.5)
        (0.9 * 0.158655254, 61),
        (0.9, 300),  # where the tail begins
        (0.975, 600),  # a quarter of the tail is left: 300 * (1/4)^(-1/2)
        (0.9999999, 2000),  # clipped
        (1e-9, 20),
    ],
)
def test_quantiles(u: float, length: int) -> None:
    """A uniform number stands for the length that the closed forms of body and tail give."""
    assert length == MIX.at(u)


def test_lengths_follow_the_distribution() -> None:
    """Stratified lengths have the distribution's shares: 45 % below the median of the body, 10 % in the tail."""
    drawn = MIX.sample(1000, RandomStream(7))

    assert sum(length < 100 for length in drawn) == pytest.approx(450, abs=8)
    assert sum(length >= 300 for length in drawn) == pytest.approx(110, abs=10)


def test_same_seed_same_draws() -> None:
    """A seed and stream give the same numbers for ever, and another stream gives others."""
    stream = RandomStream(0, 1)

    assert [stream.integer(1, 6) for _ in range(8)] == [2, 6, 4, 6, 5, 3, 2, 4]
    assert MIX.sample(5, RandomStream(0, 1)) != MIX.sample(5, RandomStream(0, 2))


def test_sample_takes_each_item_once() -> None:
    """sample never repeats an item, and gives all when asked for more than there are."""
    assert sorted(RandomStream(3).sample([1, 2, 3], 9)) == [1, 2, 3]
    assert len(set(RandomStream(3).sample(range(100), 40))) == 40
