"""The order of a sweep: randomised complete blocks, the same prompts for all levels of a repeat."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.load.schedule import minutes_words, plan_points, plan_words, seconds_between
from benchsuite.spec import LoadSpec


def plan(n: int = 50, run_id: str = "run", **load: object):
    """The points of a sweep over n requests."""
    return plan_points(LoadSpec(**load), n, run_id)


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=7, unique=True),
    st.integers(1, 5),
    st.integers(0, 2**40),
    st.integers(1, 60),
)
def test_blocks(levels, repeats, seed, n):
    """Every repeat visits every level once, and every point sends every prompt once."""
    points = plan(n, concurrency=levels, repeats=repeats, random_seed=seed)
    assert len(points) == len(levels) * repeats
    for repeat in range(repeats):
        block = points[repeat * len(levels) : (repeat + 1) * len(levels)]
        assert {point.repeat for point in block} == {repeat}
        assert sorted(point.users for point in block) == sorted(levels)
        assert len({tuple(point.order) for point in block}) == 1
    assert all(sorted(point.order) == list(range(n)) for point in points)
    assert len({point.point_id for point in points}) == len(points)
    salts = [salt for point in points for salt in (point.salt(), point.salt("warm-up"), point.salt(copy=1))]
    assert len(set(salts)) == len(salts)
    assert plan(n, concurrency=levels, repeats=repeats, random_seed=seed) == points


LITERAL = [
    ("c0032-r0", (2, 4, 3, 0, 1)),
    ("c0008-r0", (2, 4, 3, 0, 1)),
    ("c0016-r0", (2, 4, 3, 0, 1)),
    ("c0016-r1", (1, 4, 3, 0, 2)),
    ("c0032-r1", (1, 4, 3, 0, 2)),
    ("c0008-r1", (1, 4, 3, 0, 2)),
]


def test_literal_order():
    """Seed 0 gives this order, on every machine, until the protocol changes."""
    points = plan(5, concurrency=[8, 16, 32], repeats=2)
    assert [(p.point_id, tuple(p.order)) for p in points] == LITERAL


def test_repeats_differ():
    """Every repeat has a shuffle of its own, and so has every seed."""
    points = plan(concurrency=[8], repeats=5)
    assert len({tuple(point.order) for point in points}) == 5
    assert plan(concurrency=[8], random_seed=1)[0].order != points[0].order


def test_levels_are_shuffled():
    """Levels do not come in ascending order in every repeat."""
    points = plan(concurrency=[1, 2, 4, 8], repeats=8)
    blocks = {tuple(p.users for p in points[i : i + 4]) for i in range(0, 32, 4)}
    assert len(blocks) > 4


def test_adding_a_level_keeps_the_prompts():
    """The prompts' order of a repeat does not depend on the levels."""
    assert plan(concurrency=[8])[0].order == plan(concurrency=[4, 8, 16])[0].order


def test_salts_are_of_the_run():
    """Another run has other salts: a server's cache knows none of its prompts."""
    salts = {p.salt() for p in plan(concurrency=[8, 16])}
    assert len(salts) == 2
    assert not salts & {p.salt() for p in plan(concurrency=[8, 16], run_id="other")}


@pytest.mark.parametrize(
    ("n", "load", "expected"),
    [
        (999, {}, (64, 0.0, 0.0, 300.0)),
        (1000, {}, (64, 30.0, 30.0, 300.0)),
        (1000, {"warmup_requests": 0, "warmup_min_s": 0, "cooldown_min_s": 1, "cooldown_max_s": 2}, (0, 0.0, 1.0, 2.0)),
        (50, {"warmup_min_s": 5}, (64, 5.0, 0.0, 300.0)),
    ],
)
def test_warm_up_and_cool_down(n, load, expected):
    """Sets of 1000 or more get the full protocol; what is given is taken."""
    (point,) = plan(n, concurrency=[8], **load)
    assert (point.warmup_requests, point.warmup_min_s, point.cooldown_min_s, point.cooldown_max_s) == expected


@pytest.mark.parametrize(("level", "requests"), [(1, 64), (32, 64), (33, 66), (128, 256)])
def test_warm_up_requests(level, requests):
    """The warm-up is two rounds of every user, 64 requests at least."""
    (point,) = plan(300, concurrency=[level])
    assert point.warmup_requests == requests


def test_how_long_a_sweep_takes_is_between_two_assumptions() -> None:
    """Of 1 s a request, 8 requests and 4 to warm up at 2 users: 6 s at best, 12 s one after another; pauses on top."""
    load = LoadSpec(concurrency=(2,), warmup_requests=4, warmup_min_s=0, cooldown_min_s=3)
    points = plan_points(load, 8, "run")
    assert seconds_between(points, 1.0) == (9.0, 15.0)
    assert plan_words(points).startswith("1 point: 8 requests and 4 to warm up")
    assert minutes_words(9.0, 15.0, None) == "9 to 15 s"
    assert minutes_words(60, 36_000, 2.0) == "1 to 600 min, $0.0333 to $20"
