"""What the server says of itself: its /metrics, scraped over plain HTTP beside the load, never inside a request."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchsuite.client.servers import ServerProfile


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
            return None
        return self.running == 0 and not self.waiting


def parse_metrics(text: str, profile: ServerProfile) -> ServerState:
    """The state in a Prometheus text page: sums over labels (engines, models). Raises ValueError if it is none."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value

    def first(names: tuple[str, ...]) -> float | None:
        return next((totals[name] for name in names if name in totals), None)

    return ServerState(first(profile.running), first(profile.waiting), first(profile.generated))


def read_state(client: httpx.Client, profile: ServerProfile) -> ServerState | None:
    """The server's state now, or None if it cannot be had."""
    if profile.metrics_path is None:
        return None
    try:
        answer = client.get(profile.metrics_path)
        return parse_metrics(answer.text, profile) if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None


def wait_until_idle(client: httpx.Client, profile: ServerProfile, min_s: float, max_s: float) -> tuple[float, bool]:
    """Wait at least `min_s` and until the server is idle where that can be seen, at most `max_s`.

    Returns (seconds waited, whether the server was seen idle).
    """
    started_s = time.monotonic()
    while True:
        state = read_state(client, profile)
        waited_s = time.monotonic() - started_s
        seen_idle = state is not None and state.idle is True
        unknown = state is None or state.idle is None
        if waited_s >= min_s and (seen_idle or unknown or waited_s >= max_s):
            return waited_s, seen_idle
        time.sleep(min(0.25, max(0.0, max_s - waited_s)) or 0.01)
