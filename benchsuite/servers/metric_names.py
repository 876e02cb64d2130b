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
from prometheus_client.samples import Sample

from benchsuite.redact import masked
from benchsuite.servers import SERVERS

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{ \t])")
_SELECTOR = re.compile(r'([\w:]+)(?:\{(\w+)="(.*?)"\})?')  # a name, and the label that its samples must carry

# server -> figure -> alternatives -> the (name, label, value) that are added up
FAMILIES = {
    name: {
        figure: [_SELECTOR.findall(total) for total in expression.split(" or ")]
        for figure, expression in server.metrics.items()
    }
    for name, server in SERVERS.items()
    if server.metrics
}
WANTED = frozenset(
    name for family in FAMILIES.values() for totals in family.values() for total in totals for name, _, _ in total
)


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted samples of a page. n_named: lines of the page that begin like a sample, wanted or not.

    odd: the first wanted line that could not be read, None if all could.
    """

    samples: tuple[Sample, ...]
    n_named: int
    odd: str | None = None


def parse_page(text: str, wanted: Container[str]) -> Page:
    """The samples in `text` whose name is in `wanted`. Timestamps and exemplars are left out."""
    samples: list[Sample] = []
    n_named, odd = 0, None
    for line in text.split("\n"):
        name = _NAME.match(line)
        if name is None:
            continue
        n_named += 1
        if name.group() in wanted:
            try:
                (family,) = text_string_to_metric_families(line)
                samples += family.samples
            except (ValueError, IndexError, KeyError, OverflowError):
                odd = odd or masked(line)[:120]
    return Page(tuple(samples), n_named, odd)


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
    known: dict[str, dict[str, float]] = {name: {} for name in FAMILIES}
    for name, family in FAMILIES.items():
        for figure, totals in family.items():
            values = (_total(page, total, mean=figure.endswith("_ratio")) for total in totals)
            if (value := next((value for value in values if value is not None), None)) is not None:
                known[name][figure] = value
    # a gateway may pass on a few names of another family; the page is of the one it says most of
    best = max(known, key=lambda name: len(known[name]))
    return ServerReading(best if known[best] else None, known[best], page.n_named, page.odd)


def _total(page: Page, selectors: list[tuple[str, str, str]], *, mean: bool) -> float | None:
    total = 0.0
    for name, label, text in selectors:
        chosen = [s.value for s in page.samples if s.name == name and (not label or s.labels.get(label) == text)]
        values = [value for value in chosen if math.isfinite(value)]  # NaN and infinities measure nothing
        # one engine's NaN makes a sum of the others wrong; a mean of the others is still theirs
        if not values or (len(values) < len(chosen) and not mean):
            return None
        total += fmean(values) if mean else sum(values)
    return total
