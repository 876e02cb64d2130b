"""One load of one process under changing levels: probes hand over to each other without draining.

Users that are there take their next request with the new probe's; some are added, or leave with their last response.
Of rates the arrivals of the new probe follow those of the one before, from a moment on that all processes are told.
What the probe before has in flight ends in its own journal, which is closed with its last row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

from benchsuite.clock import now_ns
from benchsuite.load.open_loop import OpenLoopLoad
from benchsuite.load.schedule import PointPlan
from benchsuite.load.virtual_users import ClientState, PointLoad, Sink, Slot, VirtualUser
from benchsuite.records import RequestRecord, Status
from benchsuite.telemetry.host import open_descriptors


class ProbeSink(Sink, Protocol):
    """A sink of one probe's rows. hide: another probe's are shown from now on."""

    def hide(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class ProbeShare:
    """A process's share of a probe. n_users: of a rate, connections. new_slot: of its i-th user. templates: by an
    endpoint's address, whose requests and context users take that are there already. n_open: its requests without a row
    yet. over: set with the last of them, once another probe has taken its place."""

    plan: PointPlan
    n_users: int
    sink: ProbeSink
    new_slot: Callable[[int], Slot]
    templates: Mapping[str | None, Slot]
    state: ClientState = field(default_factory=ClientState)
    n_open: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)


class _OfProbes(PointLoad):
    """A load whose rows go to the sinks of their probes: it is its own sink."""

    current: ProbeShare
    _probes: dict[str, ProbeShare]

    def _begin(self, start_ns: int) -> None:
        pass

    def _take_place(self, probe: ProbeShare) -> None:
        before = getattr(self, "current", None)
        slots = [*self._slots, *probe.templates.values()]
        self._links = list(dict.fromkeys(slot.link for slot in slots))
        ticks = not self._done.is_set()  # else it has been given up, and nobody would stop it again
        if ticks:
            self._stop_ticking()
        self.state.fds_end = open_descriptors()
        self._probes[probe.plan.point_id], self.current, self.state = probe, probe, probe.state
        self.state.fds_start = open_descriptors()
        if ticks:
            self._start_ticking()
        if before is not None:
            before.sink.hide()
        probe.sink.tick(now_ns())  # its counts are shown, none yet, before anyone reads them

    def _append(self, row: RequestRecord, origin_ns: int) -> None:  # noqa: ARG002
        probe = self._probes[row.point_id]
        self.append(row._replace(rate_per_s=probe.plan.level.rate_per_s))
        probe.n_open -= 1
        self._close_if_over(probe)

    def _close_if_over(self, probe: ProbeShare) -> None:
        if probe.n_open == 0 and probe is not self.current and not probe.over.is_set():
            del self._probes[probe.plan.point_id]
            probe.over.set()

    def append(self, row: RequestRecord) -> None:
        self._probes[row.point_id].sink.append(row)

    def tick(self, at_ns: int) -> None:
        for probe in [*self._probes.values()]:
            probe.sink.tick(at_ns)


class _User(VirtualUser):
    __slots__ = ()

    def next(self, free_ns: int) -> None:
        load = self._load
        assert isinstance(load, HandOverLoad)
        if load.surplus > 0 and not load.stopping:
            load.surplus -= 1
            load.left(self)
            return
        self.serve(load.current.templates[self._slot.context.endpoint])
        super().next(free_ns)


class HandOverLoad(_OfProbes):
    """Runs the users of one probe after the other, from the first `hand_over` to `stop`.

    take: the next index, without end. To be made inside the loop that runs it.
    """

    def __init__(
        self,
        take: Callable[[], int | None],
        limits: tuple[int, int, int],
        pause: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._probes: dict[str, ProbeShare] = {}
        super().__init__([], take, limits, self, pause)
        self.surplus = 0  # users that leave with their last response

    async def prepare(self, probe: ProbeShare) -> None:
        """Open the connections that it needs besides those that are there."""
        self._joining = [_User(self, probe.new_slot(i)) for i in range(probe.n_users - (self._busy - self.surplus))]
        await asyncio.gather(*(user.driver.open() for user in self._joining), return_exceptions=True)

    async def hand_over(self, probe: ProbeShare, start_ns: int) -> ProbeShare | None:  # noqa: ARG002
        """Let the probe take the place of the one before, which is given back; now, as users begin one by one."""
        before, users = getattr(self, "current", None), self._joining
        self._users += users
        self._slots += [user.slot for user in users]
        self._backlog = max(self._backlog, 2 * len(self._users))
        self._take_place(probe)
        self._busy += len(users)
        self.surplus = max(self._busy - probe.n_users, 0)
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

    def abort(self, status: Status = "cancelled", message: str = "the run was stopped") -> None:
        super().abort(status, message)
        self.stop()  # no user may be there at all


class HandOverRates(_OfProbes, OpenLoopLoad):
    """Sends the arrivals of one probe after the other, from the first `hand_over` to `stop`; the arguments are those of
    OpenLoopLoad. Every arrival that is due before a probe's start is of the one before, however late it leaves."""

    def __init__(
        self, plan: PointPlan, share: tuple[int, int], new_slot: Callable[[int], Slot], n_endpoints: int,
        limits: tuple[int, int, int], issued: Callable[[int], object] = lambda _: None,
    ) -> None:  # fmt: skip
        assert plan.open_loop is not None
        self._probes = {}
        self._coming: tuple[ProbeShare, int] | None = None
        self._begun = asyncio.Event()
        super().__init__(plan.open_loop, (), share, new_slot, n_endpoints, 0, limits, self, lambda: 0, issued)

    async def prepare(self, probe: ProbeShare) -> None:
        """Open the connections that it is to have besides those that are there."""
        self._new_slot = probe.new_slot
        users = [self._new_user(i % self._n_endpoints) for i in range(len(self._users), probe.n_users)]
        await asyncio.gather(*(user.driver.open() for user in users), return_exceptions=True)
        for user in users:
            user.driver.kept = True
            self._idle[self._endpoint[id(user)]].append(user)

    async def hand_over(self, probe: ProbeShare, start_ns: int) -> ProbeShare | None:
        """Let the probe take the place of the one before, which is given back, from start_ns on."""
        before = getattr(self, "current", None)
        self._coming = probe, start_ns
        self._begun.clear()
        if self._due_ns >= start_ns:
            self._follow()
            self._sleep()
        await self._begun.wait()
        if before is not None:
            self._close_if_over(before)
        return before

    def _prepare(self) -> None:
        super()._prepare()
        if self._coming is not None and self._due_ns >= self._coming[1]:
            self._follow()

    def _follow(self) -> None:
        assert self._coming is not None
        (probe, start_ns), self._coming = self._coming, None
        (number, n), parts = self._share, probe.plan.arrivals()
        mine_ns = islice(chain.from_iterable(part.tolist() for part in parts), number, None, n)
        self._due = ((number + k * n, start_ns + offset_ns) for k, offset_ns in enumerate(mine_ns))
        self._of_endpoint = [*probe.templates.values()]
        self._take_place(probe)
        if not self.stopping:
            super()._prepare()
        self._begun.set()

    def _send_next(self) -> None:
        self.current.n_open += 1
        super()._send_next()

    def stop(self) -> None:
        super().stop()
        if self._coming is not None:
            self._follow()
