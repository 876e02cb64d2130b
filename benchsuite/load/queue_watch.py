"""How many requests wait at each server, looked at beside the load, so that a full one need not be tried."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableSequence, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

import httpx

from benchsuite.client.servers import ServerProfile
from benchsuite.load.preflight import Preflight, control_client, spec_at
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.server import read_state

_EVERY_S = 0.25


def watch_queues(spec: SweepSpec, found: Preflight) -> Callable[[MutableSequence[int]], AbstractContextManager[object]]:
    """What a fleet needs to keep the queues' lengths known; nothing where no fallback asks for them."""
    if found.fallback is None or found.fallback.max_waiting is None:
        return lambda _: nullcontext()

    def watch(waiting: MutableSequence[int]) -> AbstractContextManager[object]:
        clients = [control_client(spec_at(spec, url)) for url in spec.server.base_urls]
        return QueueWatch(clients, found.profile, waiting)

    return watch


class QueueWatch:
    """Reads every server's number of waiting requests a few times a second, from entering to leaving.

    A server that does not tell counts as one where nothing waits: its own answer decides.
    """

    def __init__(
        self,
        clients: Sequence[httpx.Client],
        profile: ServerProfile,
        waiting: MutableSequence[int],
        every_s: float = _EVERY_S,
    ) -> None:
        self._clients, self._profile, self._waiting, self._every_s = clients, profile, waiting, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="benchsuite-queue-watch", daemon=True)

    def __enter__(self) -> QueueWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with ExitStack() as stack:
            for client in self._clients:
                stack.enter_context(client)
            while not self._stop.is_set():
                self.look()
                self._stop.wait(self._every_s)

    def look(self) -> None:
        """Read all once."""
        for k, client in enumerate(self._clients):
            state = read_state(client, self._profile)
            self._waiting[k] = int(state.waiting) if state is not None and state.waiting is not None else 0
