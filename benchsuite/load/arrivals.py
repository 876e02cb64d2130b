"""When the requests of an open loop are due: an arrival process under a rate profile, made before the point. Pure.

The processes are stationary and their counts are random: nothing is rescaled to hit rate x time. A profile is a change
of time: arrivals of rate 1 go through the inverse of the cumulative rate (Lewis and Shedler 1979). docs/METHODS.md.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchsuite.errors import SpecError
from benchsuite.limits import most

Floats = NDArray[np.float64]
_NS_PER_S = 1_000_000_000
MOST_ARRIVALS = 10_000_000  # of a point
_KNOTS = 4096  # of a sine's period, where its rate is exact; fewer where there are many periods
_FEWEST_KNOTS, _MOST_KNOTS = 16, 2**20
_PART = 1024  # of arrivals without end
_LARGEST = 1e9  # of a profile's numbers: multiples of the rate, or seconds
_FORMS = "'ramp 0.5 1.5', 'steps 0.5 1 1.5', 'sine 0.5 60' (amplitude, period in s), 'hours FILE.csv'"


class Profile(NamedTuple):
    """The course of a rate over the window. kind: "" where it is even. numbers: multiples of the rate; of a sine its
    amplitude and period in seconds; of hours seconds and multiples in turn."""

    kind: str = ""
    numbers: tuple[float, ...] = ()


def arrivals(
    kind: str,
    rate_per_s: float,
    *,
    shape: float,
    profile: str,
    window_s: float,
    before_s: float,
    after_s: float,
    seed: int,
    repeat: int,
    times_s: Sequence[float] = (),
) -> NDArray[np.int64]:
    """(n,) ascending ns from the window's start at which requests are due, in [-before_s, window_s + after_s).

    kind: constant, poisson, gamma or trace. shape: of gamma gaps, whose coefficient of variation is 1/sqrt(shape).
    profile: as `parse_profile` reads it; before the window its first rate holds, after it its last. times_s: of a
    trace, ascending from 0, taken as they are up to window_s. Neither before_s nor after_s changes what is due in it.
    Raises SpecError for a profile that cannot be, for more than MOST_ARRIVALS, and for times that are not ascending.
    """
    if kind == "trace":
        due_s = np.asarray(times_s, np.float64)
        if len(due_s) and not (due_s[0] >= 0 and (np.diff(due_s) >= 0).all() and np.isfinite(due_s[-1])):
            at = int(np.argmax(np.diff(due_s, prepend=0.0) < 0))
            raise SpecError(
                "the times of the trace are not ascending", where=f"at_s, request {at + 1}", given=float(due_s[at]),
                expected="seconds from 0 on, none before the one before it",
            )  # fmt: skip
        before_s = after_s = 0.0
    else:
        times, rates = _knots(parse_profile(profile), window_s)
        times = np.concatenate([[-before_s], times, [window_s + after_s]])
        rates = np.concatenate([rates[:1], rates, rates[-1:]]) * rate_per_s
        passed = np.concatenate([[0.0], np.cumsum(np.diff(times) * (rates[1:] + rates[:-1]) / 2)])
        passed = np.round(passed - passed[1], 9)  # arrivals since the window's start; a whole number stays one
        if passed[-1] - passed[0] > MOST_ARRIVALS:
            raise SpecError(
                "the point has too many requests", where="--rate, --duration-s", expected=f"at most {MOST_ARRIVALS:,}",
                given=f"{rate_per_s:g} req/s for {before_s + window_s + after_s:g} s",
            )  # fmt: skip
        if kind == "constant":
            even = np.arange(np.ceil(passed[0]), np.ceil(passed[-1]))
        else:
            even = _renewals(shape if kind == "gamma" else 1.0, -passed[0], passed[-1], seed, repeat)
            even = even[(even >= passed[0]) & (even < passed[-1])]  # one beyond each end, where the rate may be 0
        due_s = _inverse(even, times, rates, passed)
    due_ns = np.maximum.accumulate(np.rint(due_s * _NS_PER_S).astype(np.int64))  # times of a cluster round by 1 ns
    first, last = np.searchsorted(due_ns, [round(-before_s * _NS_PER_S), round((window_s + after_s) * _NS_PER_S)])
    return due_ns[first:last]


def unending(kind: str, rate_per_s: float, *, shape: float, seed: int) -> Iterator[NDArray[np.int64]]:
    """When the requests of an even rate are due, ns from a beginning, ascending, without end, in parts.

    kind: constant, poisson or gamma. Its first gap is one like the others.
    """
    rng, last = np.random.default_rng(seed), 0.0
    while True:
        gaps = np.ones(_PART) if kind == "constant" else rng.standard_gamma(shape if kind == "gamma" else 1.0, _PART)
        due = last + np.cumsum(gaps / (shape if kind == "gamma" else 1.0))
        last = float(due[-1])
        yield np.rint(due / rate_per_s * _NS_PER_S).astype(np.int64)


def _renewals(shape: float, before: float, after: float, seed: int, repeat: int) -> Floats:
    """Ascending times in [-before, after] of a stationary process of mean gap 1, the same near 0 whatever the bounds.

    The gap about 0 is drawn by its length (a gamma of shape + 1) and 0 lies anywhere in it: an interval of the process
    that a moment meets (Cox 1962). Of shape 1, the Poisson process, both parts are exponential.
    """
    forward, backward = (
        np.random.Generator(np.random.PCG64(stream)) for stream in np.random.SeedSequence([seed, repeat]).spawn(2)
    )
    gap, place = forward.standard_gamma(shape + 1) / shape, forward.random()

    def times(rng: np.random.Generator, first: float, end: float) -> Floats:
        parts, last = [np.array([first])], first
        while last <= end:
            left = end - last
            parts.append(
                last + np.cumsum(rng.standard_gamma(shape, int(left + 4 * math.sqrt(left / shape)) + 16)) / shape
            )
            last = parts[-1][-1]
        return np.concatenate(parts)

    return np.concatenate([-times(backward, gap * (1 - place), before)[::-1], times(forward, gap * place, after)])


def _inverse(even: Floats, times: Floats, rates: Floats, passed: Floats) -> Floats:
    """The times at which so many have passed; the rate is linear between knots and jumps where two are at once."""
    steps = np.diff(times)
    slopes = np.divide(np.diff(rates), steps, out=np.zeros(len(steps)), where=steps > 0)
    at = np.clip(np.searchsorted(passed, even, side="right") - 1, 0, len(steps) - 1)
    more, rate = even - passed[at], rates[at]
    twice_mean = rate + np.sqrt(np.maximum(rate**2 + 2 * slopes[at] * more, 0))
    due = times[at] + np.divide(2 * more, twice_mean, out=np.zeros(len(even)), where=twice_mean > 0)
    return np.minimum(due, times[at + 1])


def _knots(profile: Profile, window_s: float) -> tuple[Floats, Floats]:
    """Seconds from 0 to window_s, and the rates there, as multiples."""
    kind, numbers = profile
    if kind == "sine":
        amplitude, period_s = numbers
        periods = window_s / period_s
        knots = min(_KNOTS, int(_MOST_KNOTS / periods))
        if knots < _FEWEST_KNOTS:
            raise _refused(f"a period of {period_s:g} s", "sine AMPLITUDE PERIOD_S, a longer period")
        places = np.arange(math.ceil(periods * knots))
        times = np.append(places * (period_s / knots), window_s)
        return times, 1 + amplitude * np.sin(2 * np.pi * np.append(places % knots / knots, periods % 1))
    if kind == "ramp":
        return np.array([0.0, window_s]), np.array(numbers)
    if kind == "hours":
        starts, rates = np.array(numbers[::2]), np.array(numbers[1::2])
        n = max(int(np.searchsorted(starts, window_s)), 1)
        edges = np.concatenate([[0.0], starts[1:n], [window_s]])
    else:
        n, rates = max(len(numbers), 1), np.array(numbers or (1.0,))
        edges = np.linspace(0, window_s, n + 1)
    return np.repeat(edges, 2)[1:-1], np.repeat(rates[:n], 2)


def parse_profile(text: str) -> Profile:
    """The profile that `text` describes; "" is an even rate.

    ramp FIRST LAST is linear, steps A B ... are equal parts of the window, sine AMPLITUDE PERIOD_S swings about 1, and
    hours SECONDS:RATE ... is what `table_profile` makes of hours FILE.csv. Raises SpecError.
    """
    if len(text) > most("profile_chars"):
        raise _refused(f"{len(text):,} characters", f"at most {most('profile_chars'):,} characters")
    kind, *words = text.split() or [""]
    given: list[str] = [part for word in words for part in word.split(":")] if kind == "hours" else words
    try:
        numbers = tuple(map(float, given))
    except ValueError:
        raise _refused(text, f"numbers: {_FORMS}") from None
    if not all(number == 0 or 1e-9 <= number <= _LARGEST for number in numbers):
        raise _refused(text, f"numbers of 0, or from 1e-9 to {_LARGEST:g}")
    if kind == "sine":
        if len(numbers) != 2 or numbers[0] > 1 or not numbers[1]:
            raise _refused(text, "sine AMPLITUDE PERIOD_S, an amplitude of 0 to 1 and a period above 0")
        return Profile(kind, numbers)
    least = {"": 0, "ramp": 2, "steps": 1, "hours": 2}.get(kind)
    if least is None or len(numbers) < least or (kind == "ramp" and len(numbers) > 2) or (not kind and words):
        raise _refused(text, _FORMS)
    if kind == "hours" and (len(numbers) % 2 or any(b <= a for a, b in zip(numbers[::2], numbers[2::2], strict=False))):
        raise _refused(text, "hours SECONDS:RATE ..., ascending")
    if kind and not any(numbers[1::2] if kind == "hours" else numbers):
        raise _refused(text, "a rate above 0 somewhere")
    return Profile(kind, numbers)


def table_profile(table: str, where: str) -> str:
    """The profile `hours 0:0.5 3600:1.5` of a CSV's text: what takes the place of `hours FILE.csv`.

    where: the file. The first column's header is seconds or hours; the second column is the multiple of the rate from
    then on. Raises SpecError.
    """
    if len(table) > most("profile_chars"):
        raise _refused(f"{where}, {len(table):,} characters", f"at most {most('profile_chars'):,} characters")
    header, reader = "seconds,rate or hours,rate", csv.reader(table.splitlines())
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        at = f"{where}:{reader.line_num}"
        raise SpecError("the table of rates is not valid CSV", where=at, given=error, expected=header) from None
    first = rows[0][1] if rows else []
    unit_s = {"seconds": 1, "hours": 3600}.get(first[0].strip().lower()) if first else None
    if unit_s is None:
        given = ",".join(first) or "an empty file"
        raise SpecError("the table of rates has no header", where=where, given=given, expected=header)
    pairs = []
    for number, row in rows[1:]:
        try:
            start, rate = map(float, row)
        except ValueError:
            raise SpecError(
                "a row of the table of rates is not two numbers", where=f"{where}:{number}", given=",".join(row),
                expected=f"{first[0].strip().lower()}, and a multiple of the rate",
            ) from None  # fmt: skip
        pairs.append(f"{start * unit_s!r}:{rate!r}")
    inline = " ".join(["hours", *pairs])
    parse_profile(inline)
    return inline


def _refused(given: str, expected: str) -> SpecError:
    return SpecError(
        "the rate profile is not valid", where="--rate-profile (arrivals.rate_profile)", given=given, expected=expected
    )


def schedule_hash(offsets: NDArray[np.int64]) -> str:
    """sha256 (hex) of a schedule, as little-endian 64-bit integers."""
    return hashlib.sha256(np.ascontiguousarray(offsets, "<i8").tobytes()).hexdigest()
