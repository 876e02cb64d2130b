"""A page of Prometheus text to its samples. Pure; takes any text and raises nothing.

A page is the work of a stranger: one odd line must not lose the others, so lines are parsed one at a time, and only
those whose name is wanted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchsuite.foreign import masked

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{ \t])")


@dataclass(frozen=True, slots=True)
class Reading:
    """One sample. value: NaN and infinities are None, for they measure nothing."""

    name: str
    labels: dict[str, str]
    value: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted samples of a page. n_named: lines of the page that begin like a sample, wanted or not.

    odd: the first wanted line that could not be read, None if all could.
    """

    readings: tuple[Reading, ...]
    n_named: int
    odd: str | None = None


def parse_page(text: str, wanted: Container[str]) -> Page:
    """The samples in `text` whose name is in `wanted`. Timestamps and exemplars are left out."""
    found: list[Reading] = []
    n_named, odd = 0, None
    for line in text.split("\n"):
        name = _NAME.match(line)
        if name is None:
            continue
        n_named += 1
        if name.group() in wanted:
            try:
                (family,) = text_string_to_metric_families(line)
                found += [Reading(sample.name, sample.labels, _finite(sample.value)) for sample in family.samples]
            except (ValueError, IndexError, KeyError, OverflowError):
                odd = odd or masked(line)[:120]
    return Page(tuple(found), n_named, odd)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
