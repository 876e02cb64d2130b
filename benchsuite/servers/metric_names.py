"""A page of metrics becomes one reading, whichever server wrote it. Pure.

The page tells its server by the names on it, whatever server was expected. Sources: docs/METHODS.md, Server metrics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container
from dataclasses import dataclass
from statistics import fmean

from prometheus_client.parser import text_string_to_metric_families

from benchsuite.redact import masked
from benchsuite.servers import SERVERS
from benchsuite.servers.base import Metrics, MetricSource

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{ \t])")

FAMILIES: dict[str, Metrics] = {name: server.metrics for name, server in SERVERS.items() if server.metrics}
WANTED = frozenset(
    name for family in FAMILIES.values() for sources in family.values() for source in sources for name in source.names
)


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


@dataclass(frozen=True, slots=True)
class ServerReading:
    """What one page says. family: whose names it uses, None if nobody's that is known. figures: by ServerSample's
    field; absent where the page does not tell. odd: a line that could not be read.
    """

    family: str | None
    figures: dict[str, float]
    n_named: int
    odd: str | None = None


def read_server_page(text: str) -> ServerReading:
    """The figures in a server's /metrics. Raises nothing: text that is no such page has no figures."""
    page = parse_page(text, WANTED)
    known: dict[str, dict[str, float]] = {}
    for family, table in FAMILIES.items():
        values = {field: [_value(page, source) for source in sources] for field, sources in table.items()}
        first = {field: next((v for v in each if v is not None), None) for field, each in values.items()}
        known[family] = {field: value for field, value in first.items() if value is not None}
    # a gateway may pass on a few names of another family; the page is of the one it says most of
    family = max(known, key=lambda name: len(known[name]))
    return ServerReading(family if known[family] else None, known[family], page.n_named, page.odd)


def _value(page: Page, source: MetricSource) -> float | None:
    total = 0.0
    for name in source.names:
        own = [
            reading.value
            for reading in page.readings
            if reading.name == name and all(reading.labels.get(key) == text for key, text in source.labels)
        ]
        values = [value for value in own if value is not None]
        # one engine's NaN makes a sum of the others wrong; a mean of the others is still theirs
        if not values or (len(values) < len(own) and source.fold == "sum"):
            return None
        total += fmean(values) if source.fold == "mean" else sum(values)
    return total
