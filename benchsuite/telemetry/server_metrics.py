"""What the server says of itself: its /metrics, scraped over plain HTTP beside the load, never inside a request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchsuite.clock import NS_PER_S, now_ns
from benchsuite.records import ServerSample
from benchsuite.servers.base import Server
from benchsuite.servers.metric_names import FAMILIES, read_server_page
from benchsuite.telemetry.http import bounded_client

_TOTAL_S = 5.0  # a page that drips is given up, whatever each read takes


@dataclass(frozen=True, slots=True)
class Scrape:
    """One try. at_s: the middle of the exchange on the run's clock, wall_s the same as Unix time.

    text is None when there is no page; problem then says why, and kind is the same in few words that never vary.
    date_s: what the server's own clock said (Unix time, whole seconds), None if it did not.
    """

    at_s: float
    wall_s: float
    text: str | None
    kind: str | None = None
    problem: str | None = None
    date_s: float | None = None


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
            headers=headers, verify=verify, timeout_s=2.0, total_s=_TOTAL_S, transport=transport
        )
        self._problems: dict[str, str] = {}

    def problems(self) -> Sequence[str]:
        return tuple(self._problems.values())

    def get(self) -> Scrape:
        """The page now. Never raises."""
        asked_ns, wall_s = now_ns(), time.time()
        text, kind, problem, date_s = None, None, None, None
        try:
            with self._client.stream("GET", self.url) as answer:
                date_s = _date_s(answer.headers.get("date"))
                if answer.status_code == 200:
                    text = answer.read().decode("utf-8", "replace")
                else:
                    kind = f"answered {answer.status_code}"
                    problem = f"{self.url} answered {answer.status_code} {answer.reason_phrase}".rstrip()
        except httpx.TimeoutException:
            kind, problem = "timeout", f"{self.url}: no whole page in time"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            kind, problem = "unreachable", f"{self.url} cannot be read: {str(error) or type(error).__name__}"
        half_s = (now_ns() - asked_ns) / NS_PER_S / 2
        at_s = (asked_ns - self._origin_ns) / NS_PER_S + half_s
        return Scrape(at_s, wall_s + half_s, text, kind, problem, date_s)

    def close(self) -> None:
        self._client.close()


def _date_s(text: str | None) -> float | None:
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class ServerState:
    """Requests running and waiting, tokens generated since its start. None: not told."""

    running: float | None
    waiting: float | None
    generated_tokens: float | None

    @property
    def idle(self) -> bool | None:
        """True when nothing runs or waits; None when the server does not tell."""
        if self.running is None:
            return False if self.waiting else None
        return self.running == 0 and not self.waiting


def read_state(client: httpx.Client, profile: Server, base_urls: Sequence[str] = ("",)) -> ServerState | None:
    """The server's state now, or None if it cannot be had.

    base_urls: of several like servers (empty: the client's own); then the sums, None where one of them does not tell.
    """
    states = []
    for url in base_urls if profile.metrics_path else ():
        try:
            answer = client.get(url + (profile.metrics_path or ""))
        except httpx.HTTPError:
            return None
        reading = read_server_page(answer.text) if answer.status_code == 200 else None
        if reading is None or reading.family is None:
            return None
        states.append([reading.figures.get(name) for name in ("running", "waiting", "generated_tokens")])
    if not states:
        return None
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
            self._problems.setdefault(scrape.kind or "", f"server metrics: {scrape.problem}")
            return (ServerSample(scrape.at_s, scrape.wall_s, self._endpoint, error=scrape.problem),)
        reading = read_server_page(scrape.text)
        self._family = reading.family or self._family
        self._figures |= set(reading.figures)
        error = None
        if reading.odd is not None:
            error = f"{self.url}: a line cannot be read: {reading.odd!r}"
            self._problems.setdefault("odd line", f"server metrics: {error}")
        elif reading.family is None:
            known = f"no metrics of a known server ({', '.join(FAMILIES)})"
            error = f"{self.url}: {known if reading.n_named else 'no Prometheus text'}"
            self._problems.setdefault("no figures", f"server metrics: {error}")
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
