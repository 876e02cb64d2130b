"""What the server says of itself: its /metrics, scraped over plain HTTP beside the load, never inside a request.

A page becomes one reading, whichever server wrote it: it tells its server by the names on it, whatever server was
expected. Sources: docs/METHODS.md, Server metrics.
"""

from __future__ import annotations

import re
import time
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from statistics import fmean
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from benchsuite.clock import NS_PER_S, now_ns
from benchsuite.limits import most
from benchsuite.records import ServerSample
from benchsuite.redact import shortened
from benchsuite.servers import SERVERS
from benchsuite.servers.base import Server
from benchsuite.telemetry.http import bounded_client

_MAX_SAMPLES, _MAX_LINE = most("page_samples"), most("page_line_bytes")
_NAME = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(?=[{ \t])", re.M)
_LABEL = re.compile(r'[ \t]*([a-zA-Z_]\w*)[ \t]*=[ \t]*"([^"\\\n]*(?:\\[^\n][^"\\\n]*)*)"[ \t]*(,?)', re.A)
_ESCAPE = re.compile(r"\\(.)")
_CLOSED = re.compile(r"[ \t]*\}")
_VALUE = re.compile(r"[ \t]*([^ \t\n]{1,400})")
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


class Sample(NamedTuple):
    """One line of a page. Its timestamp and exemplar are left out."""

    name: str
    labels: dict[str, str]
    value: float


class Page(NamedTuple):
    """The wanted samples of a page."""

    samples: list[Sample]
    n_named: int  # lines of the page that begin like a sample, wanted or not
    odd: str | None  # the first wanted line that could not be read, None if all could


def parse_page(text: str, wanted: Container[str]) -> Page:
    """The samples in `text` whose name is in `wanted`, in time linear in the text."""
    samples: list[Sample] = []
    n_named, odd = 0, None
    for line in _NAME.finditer(text):
        n_named += 1
        if line[1] in wanted and len(samples) < _MAX_SAMPLES:
            if (sample := _sample(text, line)) is not None:
                samples.append(sample)
            else:
                end = text.find("\n", line.start())
                odd = odd or shortened(text[line.start() : end if end >= 0 else None][:_MAX_LINE], 120)
    return Page(samples, n_named, odd)


def _sample(text: str, name: re.Match[str]) -> Sample | None:
    """The sample of the line that begins with `name`; None if it cannot be read."""
    labels: dict[str, str] = {}
    at = name.end()
    most_at = at + _MAX_LINE
    if text.startswith("{", at):
        at += 1
        while label := _LABEL.match(text, at, most_at):
            labels[label[1]] = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], label[2])
            at = label.end()
            if not label[3]:
                break
        closed = _CLOSED.match(text, at, most_at)
        if closed is None:
            return None
        at = closed.end()
    found = _VALUE.match(text, at, most_at)
    try:
        return Sample(name[1], labels, float(found[1])) if found and "_" not in found[1] else None
    except ValueError:
        return None


class ServerReading(NamedTuple):
    """What one page says."""

    family: str | None  # whose names it uses, None if nobody's that is known
    figures: dict[str, float]  # by ServerSample's field; absent where the page does not tell
    page: Page


def read_server_page(text: str) -> ServerReading:
    """The figures in a server's /metrics. Raises nothing: text that is no such page has no figures."""
    page = parse_page(text, WANTED)
    by_name: dict[str, list[Sample]] = {}
    for sample in page.samples:
        by_name.setdefault(sample.name, []).append(sample)
    known: dict[str, dict[str, float]] = {name: {} for name in FAMILIES}
    for name, family in FAMILIES.items():
        for figure, totals in family.items():
            values = (_total(by_name, total, mean=figure.endswith("_ratio")) for total in totals)
            if (value := next((value for value in values if value is not None), None)) is not None:
                known[name][figure] = value
    # a gateway may pass on a few names of another family; the page is of the one it says most of
    best = max(known, key=lambda name: len(known[name]))
    return ServerReading(best if known[best] else None, known[best], page)


def _total(samples: Mapping[str, list[Sample]], selectors: list[tuple[str, str, str]], *, mean: bool) -> float | None:
    total = 0.0
    for name, label, text in selectors:
        chosen = [s.value for s in samples.get(name, ()) if not label or s.labels.get(label) == text]
        values = [value for value in chosen if 0 <= value < 1e15]  # NaN, infinities and the like measure nothing
        # one engine's NaN makes a sum of the others wrong; a mean of the others is still theirs
        if not values or (len(values) < len(chosen) and not mean):
            return None
        total += fmean(values) if mean else sum(values)
    return total


class Scrape(NamedTuple):
    """One try."""

    at_s: float  # the middle of the exchange on the run's clock
    wall_s: float  # the same as Unix time
    text: str | None  # None when there is no page; then
    kind: str | None  # why, in few words that never vary
    problem: str | None  # why, in full
    date_s: float | None  # what the server's own clock said (Unix time, whole seconds), None if it did not


def metrics_url(base_url: str, given: str | None = None, path: str = "/metrics") -> str:
    """Where the metrics are: `given`, completed by `path` if it names only a host; else `path` below the base URL."""
    if given is None:
        return base_url.rstrip("/") + path
    return given.rstrip("/") + path if urlsplit(given).path in ("", "/") else given


class Scraper:
    """Reads one URL again and again over one connection of its own; the common part of what samples such pages.

    headers, verify: as the requests have them, if the page is behind the same door. problems: what went wrong so far,
    each kind once.
    """

    source = "server metrics"  # how problems call it

    def __init__(
        self,
        url: str,
        origin_ns: int,
        hz: float = 1.0,
        *,
        headers: Mapping[str, str] | None = None,
        verify: bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self._origin_ns, self.period_s = url, origin_ns, 1.0 / hz
        self._client = bounded_client(
            url,
            headers=headers,
            verify=verify,
            timeout_s=2.0,
            total_s=most("page_s"),
            max_bytes=most("page_bytes"),
            transport=transport,
        )
        self._problems: dict[str, str] = {}

    def problems(self) -> Sequence[str]:
        return tuple(self._problems.values())

    def _problem(self, kind: str, words: str | None) -> None:
        if len(self._problems) < most("problems"):
            self._problems.setdefault(kind, f"{self.source}: {words}")

    def get(self) -> Scrape:
        """The page now. Never raises."""
        asked_ns, wall_s = now_ns(), time.time()
        text, kind, problem, date_s = None, None, None, None
        try:
            with self._client.stream("GET", self.url) as answer:
                with suppress(KeyError, ValueError, TypeError, OverflowError):
                    date_s = parsedate_to_datetime(answer.headers["date"]).timestamp()
                if answer.status_code == 200:
                    text = answer.read().decode("utf-8", "replace")
                else:
                    kind = f"answered {answer.status_code}"
                    problem = f"{self.url} answered {answer.status_code} {answer.reason_phrase}".rstrip()
        except httpx.TimeoutException:
            kind, problem = "timeout", f"{self.url}: no complete page in time"
        except Exception as error:  # of httpx, its transports or a decoder: the page cannot be had
            kind, problem = "unreachable", f"{self.url} cannot be read: {str(error) or type(error).__name__}"
        half_s = (now_ns() - asked_ns) / NS_PER_S / 2
        at_s = (asked_ns - self._origin_ns) / NS_PER_S + half_s
        return Scrape(at_s, wall_s + half_s, text, kind, problem, date_s)

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class ServerState:
    """Requests running and waiting, tokens generated since its start. None: not told."""

    running: float | None = None
    waiting: float | None = None
    generated_tokens: float | None = None

    @property
    def idle(self) -> bool | None:
        """True when nothing runs or waits; None when the server does not tell."""
        if self.running is None:
            return False if self.waiting else None
        return self.running == 0 and not self.waiting


def read_state(client: httpx.Client, profile: Server, base_urls: Sequence[str] = ("",)) -> ServerState:
    """The server's state now, of which nothing is told where it has no page that can be read.

    base_urls: of several like servers (empty: the client's own); then the sums, None where one of them does not tell.
    """
    states = []
    for url in base_urls if profile.metrics_path else ():
        try:
            answer = client.get(url + (profile.metrics_path or ""))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return ServerState()
        figures = read_server_page(answer.text).figures if answer.status_code == 200 else {}
        states.append([figures.get(name) for name in ("running", "waiting", "generated_tokens")])
    return ServerState(*(None if None in column else sum(filter(None, column)) for column in zip(*states, strict=True)))


class ServerSampler(Scraper):
    """Samples one server's metrics page; a Sampler. endpoint: base URL of the server, as in the requests' rows."""

    def __init__(self, url: str, endpoint: str, origin_ns: int, hz: float = 1.0, **options: Any) -> None:
        super().__init__(url, origin_ns, hz, **options)
        self._endpoint = endpoint
        self._family: str | None = None
        self._figures: set[str] = set()

    def sample(self) -> Sequence[ServerSample]:
        """One row, whatever comes back."""
        scrape = self.get()
        if scrape.text is None:
            self._problem(scrape.kind or "", scrape.problem)
            return (ServerSample(scrape.at_s, scrape.wall_s, self._endpoint, error=scrape.problem),)
        reading = read_server_page(scrape.text)
        self._family = reading.family or self._family
        self._figures |= set(reading.figures)
        error = None
        if reading.page.odd is not None:
            error = f"{self.url}: a line cannot be read: {reading.page.odd!r}"
            self._problem("odd line", error)
        elif reading.family is None:
            known = f"no metrics of a known server ({', '.join(FAMILIES)})"
            error = f"{self.url}: {known if reading.page.n_named else 'no Prometheus text'}"
            self._problem("no figures", error)
        return (ServerSample(scrape.at_s, scrape.wall_s, self._endpoint, error=error, **reading.figures),)

    def has_page(self) -> bool:
        """Whether there is a page with figures of a known server now; nothing is remembered."""
        text = self.get().text
        return text is not None and read_server_page(text).family is not None

    def facts(self) -> dict[str, Any]:
        """Where the page is, whose names it uses, which of that family's figures it has and lacks."""
        known = FAMILIES.get(self._family or "", {})
        return {
            "url": self.url,
            "endpoint": self._endpoint,
            "family": self._family,
            "period_s": self.period_s,
            "figures": sorted(self._figures),
            "missing": sorted(set(known) - self._figures),
        }
