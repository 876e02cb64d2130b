"""Arrival schedules: known answers of the processes and of the profiles, and what changes nothing in the window."""

from __future__ import annotations

import contextlib
import csv
import math
import time

import numpy as np
import pytest

from benchsuite.errors import SpecError
from benchsuite.limits import most
from benchsuite.load.arrivals import arrivals, parse_profile, schedule_hash, table_profile


def due_s(kind: str = "constant", rate: float = 10.0, **given: object) -> np.ndarray:
    """The schedule in seconds, with what the case leaves out."""
    usual = {"shape": 1.0, "profile": "", "window_s": 60.0, "before_s": 0.0, "after_s": 0.0, "seed": 1, "repeat": 0}
    offsets = arrivals(kind, rate, **(usual | given))
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    return offsets / 1e9


@pytest.mark.parametrize(("kind", "shape", "expected"), [
    ("poisson", 9.0, 1.0), ("gamma", 1.0, 1.0), ("gamma", 4.0, 0.5), ("gamma", 0.25, 2.0),
])  # fmt: skip
def test_the_spread_of_gaps(kind, shape, expected):
    """The coefficient of variation is 1/sqrt(shape), of Poisson 1, and the count is random about rate x time."""
    gaps = np.diff(due_s(kind, 100.0, shape=shape, window_s=2000.0))
    assert gaps.std() / gaps.mean() == pytest.approx(expected, abs=3 * max(expected**2, 1) / math.sqrt(len(gaps)))
    counts = [len(due_s(kind, 20.0, shape=shape, window_s=10.0, repeat=i)) for i in range(400)]
    assert np.mean(counts) == pytest.approx(200, abs=3 * np.std(counts) / 20)
    # the variance of a stationary renewal count; a rescaled one has none
    assert np.var(counts) / 200 == pytest.approx(expected**2, rel=0.35)


def test_the_start_is_any_moment():
    """A stationary process: the first arrival comes after (1 + CV^2) / 2 mean gaps, on both sides of the start."""
    for shape in (0.25, 4.0):
        firsts = np.array([
            [times[times >= 0][0], -times[times < 0][-1]]
            for times in (due_s("gamma", shape=shape, before_s=60.0, seed=i) for i in range(2000))
        ])  # fmt: skip
        assert firsts.mean(axis=0) * 10 == pytest.approx([(1 + 1 / shape) / 2] * 2, rel=0.15)


@pytest.mark.parametrize(("rate", "profile", "window_s", "count"), [
    (10.0, "", 60.0, 600), (0.3, "", 10.0, 3), (1 / 3, "", 3600.0, 1200), (2.5, "", 1.0, 3),
    (10.0, "ramp 0.5 1.5", 60.0, 600), (10.0, "ramp 1 0", 60.0, 300), (10.0, "ramp 0 1", 60.0, 300),
    (10.0, "steps 0.5 1 1.5", 60.0, 600), (10.0, "steps 1 0 1", 60.0, 400), (10.0, "sine 0.5 60", 60.0, 600),
    (7.0, "sine 1 0.7", 70.0, 490), (10.0, "sine 0.5 0.01", 60.0, 600),
    (10.0, "hours 0:0.5 20:1 40:1.5 90:7", 60.0, 600), (10.0, "hours 5:2", 60.0, 1200),
])  # fmt: skip
def test_constant_arrivals_fill_the_window(rate, profile, window_s, count):
    """A window holds rate x time exactly, whatever the profile, warm-up and tail."""
    for around_s in (0.0, 7.7):
        times = due_s("constant", rate, profile=profile, window_s=window_s, before_s=around_s, after_s=around_s)
        assert ((times >= 0) & (times < window_s)).sum() == count


def test_profiles_at_known_times():
    """The 150th of a ramp from 5 to 15 a second in a minute is due at 21.962 s; steps and a sine by hand."""
    ramp = due_s(profile="ramp 0.5 1.5", before_s=10.0, after_s=10.0)
    assert ramp[50 + 150] == pytest.approx(-30 + math.sqrt(2700), abs=2e-9)  # 21.962
    assert np.diff(ramp)[[0, -1]] == pytest.approx([1 / 5, 1 / 15])
    assert due_s(profile="steps 0.5 1 1.5")[[0, 50, 100, 200, 300]] == pytest.approx([0, 10, 20, 30, 40])
    sine = due_s(profile="sine 0.5 60", rate=100.0)
    passed = sine + 0.5 * 60 / (2 * math.pi) * (1 - np.cos(2 * math.pi * sine / 60))
    assert passed * 100 == pytest.approx(np.arange(6000), abs=1e-3)


def test_what_lies_about_the_window_changes_nothing_in_it():
    """Warm-up and tail of any length leave the window as it is; seed and repeat alone change it."""
    for kind, shape in (("poisson", 1.0), ("gamma", 0.3), ("constant", 1.0)):
        for profile in ("", "ramp 0.5 1.5", "sine 0.9 7"):
            given = {"shape": shape, "profile": profile, "window_s": 30.0}
            times = due_s(kind, **given)
            longer = due_s(kind, before_s=45.5, after_s=500.0, **given)
            assert np.array_equal(longer[(longer >= 0) & (longer < 30)], times)
            assert longer[0] >= -45.5
            assert longer[-1] < 530
            assert abs(len(longer) / len(times) - 575.5 / 30) < 25
            changed = [due_s(kind, seed=2, **given), due_s(kind, repeat=1, **given)]
            assert [np.array_equal(times, one) for one in changed] == [kind == "constant"] * 2


@pytest.mark.parametrize(("profile", "quiet"), [("steps 0 0 1", (-20, 40)), ("ramp 1 0", (60, 80)),
                                                ("steps 1 0", (30, 80))])  # fmt: skip
def test_a_rate_of_nothing(profile, quiet):
    """Where the rate is 0 nothing is due: not at an end of the window, warm-up or tail either."""
    for kind in ("constant", "poisson", "gamma"):
        times = due_s(kind, shape=0.5, profile=profile, before_s=20.0, after_s=20.0)
        assert not ((times >= quiet[0]) & (times < quiet[1])).any()
        assert len(times) > 50


def test_a_trace_is_taken_as_it_is():
    """Its times up to the window's end; what is not ascending is refused with its place."""
    assert due_s("trace", times_s=[0, 0.5, 0.5, 2.0, 3.0], window_s=3.0, before_s=9.0).tolist() == [0, 0.5, 0.5, 2]
    assert len(due_s("trace")) == 0
    for times_s, at in (([0, 2, 1], 3), ([-1.0, 2], 1)):
        with pytest.raises(SpecError, match=f"request {at}"):
            due_s("trace", times_s=times_s)


@pytest.mark.parametrize(("text", "expected"), [
    ("ramp", "'ramp 0.5 1.5'"), ("ramp 1 2 3", "'ramp 0.5 1.5'"), ("ramp 1 x", "numbers"), ("ramp 0 0", "above 0"),
    ("steps", "'steps"), ("steps 1 -1", "of 0"), ("steps 1 nan", "of 0"), ("sine 2 60", "0 to 1"),
    ("steps 1e308 0", "1e+09"), ("ramp 0 1e-320", "1e-9"), ("sine 1 1e308", "1e+09"), ("hours 0:1 1e10:1", "1e+09"),
    ("sine 0.5 0", "above 0"), ("sine 0.5", "PERIOD_S"), ("saw 1 2", "'sine"), ("hours x.csv", "numbers"),
    ("hours 0:1 0:2", "ascending"), ("hours 0:1 2", "SECONDS:RATE"), ("hours 0:0 5:0", "above 0"), ("hours", "'hours"),
])  # fmt: skip
def test_profiles_that_are_refused(text, expected):
    """With what was given, and what is expected."""
    with pytest.raises(SpecError) as refused:
        parse_profile(text)
    assert refused.value.given == text
    assert expected in refused.value.expected


def test_a_profile_has_a_length():
    """A profile that is valid but longer than the limit is refused before its numbers are read; so is its table."""
    characters = most("profile_chars")
    assert len(parse_profile("steps 1" + " 1" * (characters // 2 - 4)).numbers) == characters // 2 - 3
    with pytest.raises(SpecError, match="characters"):
        parse_profile("steps 1" + " 1" * (characters // 2))
    with pytest.raises(SpecError, match="characters"):
        table_profile("seconds,rate\n0,1\n" + "\n" * characters, "rates.csv")


def test_a_table_of_rates():
    """Seconds or hours by the header; the rows take the place of the file's name."""
    assert table_profile("hours,rate\n0,0.5\n1,1.5\n\n", "d.csv") == "hours 0.0:0.5 3600.0:1.5"
    assert table_profile("Seconds,rate\n0,1\n", "d.csv") == "hours 0.0:1.0"
    assert parse_profile("hours 0.0:0.5 3600.0:1.5") == ("hours", (0.0, 0.5, 3600.0, 1.5))
    for table, expected in (("0,1\n", "seconds,rate"), ("", "seconds,rate"), ("hours,rate\n0,1,2\n", "multiple"),
                            ("hours,rate\n0\n", "multiple"), ("hours,rate\n", "FILE.csv"),
                            ("hours,rate\n" + "0,1\n" * 70_000, "262,144 characters")):  # fmt: skip
        with pytest.raises(SpecError) as refused:
            table_profile(table, "d.csv")
        assert expected in refused.value.expected


def test_a_table_of_rates_that_is_no_csv():
    """With its line: a cell beyond the limit of the csv module, which is 131,072 characters before others raise it."""
    before = csv.field_size_limit(100)
    try:
        with pytest.raises(SpecError, match="not valid CSV") as refused:
            table_profile(f"hours,rate\n{'1' * 101},1\n", "d.csv")
    finally:
        csv.field_size_limit(before)
    assert refused.value.where == "d.csv:2"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("profile", ["steps 1e9 0 1e-9", "ramp 0 1e-9", "hours 0:0 1e9:1", "sine 1 1e9", "ramp 0 1"])
@pytest.mark.parametrize(("kind", "shape"), [("constant", 1.0), ("gamma", 1e-300), ("gamma", 1e6), ("gamma", 1e-3)])
def test_the_ends_of_what_is_allowed(kind, shape, profile):
    """Ascending times, or a refusal; no warning of numpy, and no more memory than for the most arrivals."""
    for rate, window_s in ((0.001, 0.001), (1.0, 1e6), (1e5, 1e6)):
        with contextlib.suppress(SpecError):
            due_s(kind, rate, shape=shape, profile=profile, window_s=window_s)


def test_a_million_arrivals_are_fast_and_more_than_ten_are_refused():
    """Under a second of CPU; and the hash tells schedules apart."""
    begun = time.process_time()
    offsets = arrivals("gamma", 1000.0, shape=0.5, profile="sine 0.5 60", window_s=1000.0, before_s=0.0, after_s=0.0,
                       seed=0, repeat=0)  # fmt: skip
    digest = schedule_hash(offsets)
    assert time.process_time() - begun < 1
    assert len(offsets) == pytest.approx(1e6, rel=0.01)
    assert (len(digest), digest) == (64, schedule_hash(offsets.copy()))
    assert schedule_hash(offsets[1:]) != digest
    with pytest.raises(SpecError, match="10,000,000"):
        due_s("poisson", 1e6)
    with pytest.raises(SpecError, match="period"):
        due_s(profile="sine 0.5 0.0001")
