"""What the conductor and the measuring processes tell each other: orders, reports, and the few numbers they share."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchsuite.client.request import PointContext
from benchsuite.client.servers import BodyPlan
from benchsuite.load.breaker import Breaker
from benchsuite.load.endpoints import Endpoint, Fallback
from benchsuite.load.seats import ClientState
from benchsuite.spec import DriverName, TimeoutSpec
from benchsuite.workload.dataset import Prompt

RUN, DRAIN, ABORT = 0, 1, 2  # what the shared signal says
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what whole process groups are sent


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker needs to know once. Virtual users are dealt out in turn to `endpoint` and `more_endpoints`."""

    endpoint: Endpoint
    prompts: tuple[Prompt, ...]
    timeouts: TimeoutSpec
    driver: DriverName = "wire"
    max_rps: float | None = None
    more_endpoints: tuple[Endpoint, ...] = ()
    fallback: Fallback | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All own endpoints."""
        return (self.endpoint, *self.more_endpoints)


@dataclass(frozen=True, slots=True)
class PointOrder:
    """One point, or its warm-up (journal None): then requests repeat until `at_least` are sent and `min_s` is over.

    first_user: the number of the worker's first virtual user among those of all workers (`Fleet.run_point` counts).
    """

    context: PointContext
    plan: BodyPlan
    order: tuple[int, ...]
    n_users: int
    journal: Path | None
    closes_after_response: bool = False
    at_least: int = 0
    min_s: float = 0.0
    first_user: int = 0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How one worker's part of a point went. The rows are in its journal."""

    worker: int
    n_ok: int
    n_failed: int
    output_tokens: int
    first_error: str | None
    state: ClientState


@dataclass(frozen=True, slots=True)
class Progress:
    """Live figures of a running point, summed over workers. ttft_s: mean so far, None before the first token."""

    done: int
    failed: int
    output_tokens: int
    ttft_s: float | None


@dataclass(frozen=True, slots=True)
class Shared:
    """What all processes of a run share: cursor, stop signal, progress numbers, each own endpoint's queue, breaker."""

    cursor: Any
    signal: Any
    progress: Any
    waiting: Any
    breaker: Breaker
