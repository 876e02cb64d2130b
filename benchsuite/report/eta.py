"""How long a sweep still takes, from the points that are done: an estimate for a person who waits. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

_ONE_KNOWN = -0.5  # between a server that is full already and one that scales with its users


def point_s(level: int, known_s: Mapping[int, float]) -> float | None:
    """Seconds that a point at `level` takes, where points at other levels took known_s. None: nothing is known.

    The same set at N users takes t ~ N^s: s from the two nearest levels, in [-1, 0] outside of them, -0.5 from one.
    """
    if level in known_s or not known_s:
        return known_s.get(level)
    levels = sorted(one for one in known_s if known_s[one] > 0)
    if not levels:
        return None
    below = [one for one in levels if one < level]
    if len(levels) == 1:
        near, slope = levels[0], _ONE_KNOWN
    elif below and len(below) < len(levels):
        near, slope = below[-1], _slope(below[-1], levels[len(below)], known_s)
    else:
        near, other = levels[-2:][::-1] if below else levels[:2]
        slope = min(0.0, max(-1.0, _slope(near, other, known_s)))
    return float(known_s[near] * (level / near) ** slope)


def _slope(one: int, other: int, known_s: Mapping[int, float]) -> float:
    return log(known_s[other] / known_s[one]) / log(other / one)


def sweep_left_s(to_come: Sequence[int], known_s: Mapping[int, float], point_left_s: float | None) -> float | None:
    """Seconds until the sweep ends. to_come: the levels after the present point, of which point_left_s is left."""
    each = [point_s(level, known_s) for level in to_come]
    if point_left_s is None or None in each:
        return None
    return point_left_s + sum(one for one in each if one is not None)
