"""One load of one process under changing levels: probes hand over to each other without draining.

Users that are there take their next request with the new probe's; some are added, or leave with their last response.
What the probe before has in flight ends in its own journal, which is closed with its last row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from benchsuite.clock import now_ns
from benchsuite.load.virtual_users import ClientState, PointLoad, Sink, Slot, VirtualUser
from benchsuite.records import RequestRecord
from benchsuite.telemetry.host import open_descriptors


class ProbeSink(Sink, Protocol):
    """A sink of one probe's rows. hide: another probe's are shown from now on."""

    def hide(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class ProbeShare:
    """A process's share of a probe. new_slot: of its i-th user. templates: by an endpoint's address, whose requests and
    context users take that are there already. n_open: its requests without a row yet. over: set with the last of them,
    once another probe has taken its place."""

    point_id: str
    n_users: int
    sink: ProbeSink
    new_slot: Callable[[int], Slot]
    templates: Mapping[str | None, Slot]
    state: ClientState = field(default_factory=ClientState)
    n_open: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)


class _User(VirtualUser):
    __slots__ = ()

    def next(self, free_ns: int) -> None:
        load = self._load
        assert isinstance(load, HandOverLoad)
        if load.surplus > 0 and not load.stopping:
            load.surplus -= 1
            load.left(self)
            return
        template = load.current.templates[self._slot.context.endpoint]
        if self._slot.context is not template.context:
            self._slot = replace(self._slot, requests=template.requests, context=template.context)
            self._current = self._slot
        super().next(free_ns)


class HandOverLoad(PointLoad):
    """Runs the users of one probe after the other, from the first `hand_over` to `stop`.

    take: the next index, without end. To be made inside the loop that runs it.
    """

    current: ProbeShare

    def __init__(
        self,
        take: Callable[[], int | None],
        limits: tuple[int, int, int],
        pause: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._probes: dict[str, ProbeShare] = {}
        super().__init__([], take, limits, self, pause)
        self.surplus = 0  # users that leave with their last response

    def _begin(self, start_ns: int) -> None:
        pass

    async def hand_over(self, probe: ProbeShare) -> ProbeShare | None:
        """Let the probe take the place of the one before, which is given back."""
        before = getattr(self, "current", None)
        n_more = probe.n_users - (self._busy - self.surplus)
        users = [_User(self, probe.new_slot(i)) for i in range(max(n_more, 0))]
        await asyncio.gather(*(user.driver.open() for user in users), return_exceptions=True)
        self._users += users
        self._slots += [user.slot for user in users]
        self._links = list(dict.fromkeys(slot.link for slot in self._slots))
        self._backlog = max(self._backlog, 2 * len(self._users))
        self._stop_ticking()
        self.state.fds_end = open_descriptors()
        self._probes[probe.point_id], self.current, self.state = probe, probe, probe.state
        self.state.fds_start = open_descriptors()
        self._start_ticking()
        if before is not None:
            before.sink.hide()
        self.surplus = max(-n_more, 0)
        self._busy += len(users)
        for user in users:
            user.next(now_ns())
        if before is not None:
            self._close_if_over(before)
        return before

    def take(self, free_ns: int) -> tuple[int, int] | None:
        taken = super().take(free_ns)
        self.current.n_open += taken is not None
        return taken

    def left(self, user: VirtualUser) -> None:
        self._busy -= 1
        user.driver.close()
        self._users.remove(user)
        self._slots = [slot for slot in self._slots if slot.driver is not user.driver]
        if self.stopping and not self._busy:
            self._done.set()

    def stop(self) -> None:
        super().stop()
        if not self._busy:
            self._done.set()

    def _append(self, row: RequestRecord, origin_ns: int) -> None:  # noqa: ARG002
        probe = self._probes[row.point_id]
        self.append(row)
        probe.n_open -= 1
        self._close_if_over(probe)

    def _close_if_over(self, probe: ProbeShare) -> None:
        if probe.n_open == 0 and probe is not self.current and not probe.over.is_set():
            del self._probes[probe.point_id]
            probe.over.set()

    # the sink of the load is all of its probes'
    def append(self, row: RequestRecord) -> None:
        self._probes[row.point_id].sink.append(row)

    def tick(self, at_ns: int) -> None:
        for probe in [*self._probes.values()]:
            probe.sink.tick(at_ns)
