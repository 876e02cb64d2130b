"""What virtual users send through, and how their process fares: values between the generator and its callers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchsuite.client.exchange import Exchange
from benchsuite.client.request import PointContext, Prepared
from benchsuite.client.wire import Link
from benchsuite.spec import TimeoutSpec
from benchsuite.telemetry.host import Histogram


class Driver(Protocol):
    """What a virtual user sends through, one exchange at a time: `wire.Connection`, or one of client/drivers.py."""

    free_ns: int

    @property
    def is_open(self) -> bool: ...

    async def open(self) -> None: ...

    def send(self, request: bytes, exchange: Exchange) -> None: ...

    def abort(self, status: str, message: str) -> None: ...

    def overdue(self, at_ns: int, idle_ns: int, whole_ns: int) -> str | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When a request is given up (ns): without any byte, in all, without a token."""

    idle_ns: int
    request_ns: int
    first_token_ns: int = 2**62


def limits_of(timeouts: TimeoutSpec) -> Limits:
    """The spec's timeouts as limits; a first token may take as long as any silence unless it says otherwise."""
    first_token_s = timeouts.idle_s if timeouts.first_token_s is None else timeouts.first_token_s
    return Limits(int(timeouts.idle_s * 1e9), int(timeouts.request_s * 1e9), int(first_token_s * 1e9))


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint as its users see it: its link, the requests as its bytes, and what its rows share."""

    link: Link
    requests: Sequence[Prepared]
    context: PointContext


@dataclass(frozen=True, slots=True)
class Spare:
    """Where a user's request goes when its own endpoint refuses it.

    refuses: whether an exchange that ended is a refusal. full: whether not even to try the user's own endpoint.
    """

    route: Route
    driver: Driver
    refuses: Callable[[Exchange], bool]
    full: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Seat:
    """What one virtual user sends through."""

    route: Route
    driver: Driver
    spare: Spare | None = None


@dataclass(slots=True)
class ClientState:
    """How this process fared while the point ran. cpu: process CPU seconds over wall seconds, in all and per second.

    parse_s: CPU seconds spent on finished responses, from their bytes to their rows in the sink. rss_*: memory of
    the process at the start and the end of the point; fds_*: its open file descriptors before the first connection
    and after the last; None where the system does not tell. fallback_tries: requests that their own endpoint refused
    and that went on to the spare one; fallback_skips: that went there untried. back_offs, back_off_s: pauses of users
    whose request found nobody.
    """

    self_lag: Histogram = field(default_factory=Histogram)
    loop_lag: Histogram = field(default_factory=Histogram)
    dispatch_lag: Histogram = field(default_factory=Histogram)
    n_reads: int = 0
    merged_reads: int = 0
    n_chunks: int = 0
    cpu_s: float = 0.0
    parse_s: float = 0.0
    wall_s: float = 0.0
    cpu_max_share: float = 0.0
    steal_s: float | None = None
    clock_steps: int = 0
    connections_opened: int = 0
    fallback_tries: int = 0
    fallback_skips: int = 0
    rss_start_bytes: int | None = None
    rss_end_bytes: int | None = None
    fds_start: int | None = None
    fds_end: int | None = None
    back_offs: int = 0
    back_off_s: float = 0.0
