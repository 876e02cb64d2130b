"""Fetches a page of metrics over plain HTTP, beside the load and never inside a request; what goes wrong is a word."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from benchsuite.clock import NS_PER_S, now_ns
from benchsuite.telemetry.bounded import MAX_BYTES, bounded_client

Transport = httpx.BaseTransport
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
    """Reads one URL again and again over one connection of its own."""

    def __init__(
        self,
        url: str,
        origin_ns: int,
        *,
        headers: Mapping[str, str] | None = None,
        verify: bool = True,
        timeout_s: float = 2.0,
        transport: Transport | None = None,
    ) -> None:
        self.url, self._origin_ns = url, origin_ns
        self._client = bounded_client(
            headers=headers, verify=verify, timeout_s=timeout_s, total_s=_TOTAL_S, transport=transport
        )

    def get(self) -> Scrape:
        """The page now. Never raises."""
        asked_ns, wall_s = now_ns(), time.time()
        text, kind, problem, date_s = None, None, None, None
        try:
            with self._client.stream("GET", self.url) as answer:
                date_s = _date_s(answer.headers.get("date"))
                if answer.status_code == 200:
                    text = _body(answer, asked_ns)
                else:
                    kind = f"answered {answer.status_code}"
                    problem = f"{self.url} answered {answer.status_code} {answer.reason_phrase}".rstrip()
        except _TooBigError:
            kind, problem = "too big", f"{self.url}: the page is bigger than {MAX_BYTES // 1024**2} MiB"
        except (httpx.TimeoutException, _TooSlowError):
            kind, problem = "timeout", f"{self.url}: no whole page in time"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            kind, problem = "unreachable", f"{self.url} cannot be read: {str(error) or type(error).__name__}"
        half_s = (now_ns() - asked_ns) / NS_PER_S / 2
        at_s = (asked_ns - self._origin_ns) / NS_PER_S + half_s
        return Scrape(at_s, wall_s + half_s, text, kind, problem, date_s)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class _TooBigError(Exception):
    pass


class _TooSlowError(Exception):
    pass


def _body(answer: httpx.Response, asked_ns: int) -> str:
    content = bytearray()
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise _TooBigError
        if now_ns() - asked_ns > _TOTAL_S * NS_PER_S:
            raise _TooSlowError
    return content.decode("utf-8", "replace")


def _date_s(text: str | None) -> float | None:
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
