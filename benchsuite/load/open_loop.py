"""The open loop of one point in one process: requests leave when they are due, whatever the server does.

The schedule is made before the point (load/arrivals.py). A request is made before it is due. A timerfd wakes the loop
for it, which turns without sleeping until a short spin waits for the very moment: none leaves before its time, and a
late one keeps its clock, which runs from when it was due. Connections are a pool; a request that finds none idle opens
one.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import sys
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from benchsuite.client.http import Exchange, WireError
from benchsuite.clock import NS_PER_S, now_ns
from benchsuite.fault_points import reach
from benchsuite.load.schedule import OTHER_FILES, OpenLoop
from benchsuite.load.virtual_users import CANCELLED, ClientState, PointLoad, Sink, Slot, VirtualUser
from benchsuite.records import RequestRecord, Status

_SPIN_NS = 100_000  # waited for in a spin before a request is due
# before that the loop stays awake, for a core that slept comes late: for a part of the gap, and so of the CPU
_AWAKE_PART, _MOST_AWAKE_NS = 20, 1_000_000
_LEAD_NS = 10_000_000  # from the start to the first request that may be due: the start itself is as late as a timer
_AT_ONCE = 64  # late requests that leave in one turn of the loop, before it reads what came
_OTHERS_NS = 50_000_000  # in which every process has said how many of the window's requests it has open
_NEVER_NS = 2**62
_MOST_FILES = 2**20


class DueTimer:
    """Calls back at a time of CLOCK_MONOTONIC, not before: by a timerfd, elsewhere than on Linux by the loop's timer,
    which may be early and is set again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop, self._callback, self._fd = loop, callback, -1
        self._handle: asyncio.TimerHandle | None = None
        if sys.platform.startswith("linux"):
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)  # 1: CLOCK_MONOTONIC
        if self._fd >= 0:
            loop.add_reader(self._fd, self._readable)

    def arm(self, at_ns: int) -> None:
        """Call back at at_ns; at once if that is over."""
        if self._fd >= 0:
            seconds, ns = divmod(max(at_ns, 1), NS_PER_S)
            setting = (ctypes.c_long * 4)(0, 0, seconds, ns)
            self._libc.timerfd_settime(self._fd, 1, setting, None)  # 1: an absolute time
        else:
            self._handle = self._loop.call_later(max(0, at_ns - now_ns()) / NS_PER_S, self._callback)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # armed anew since
            return
        self._callback()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        elif self._handle is not None:
            self._handle.cancel()


class OpenLoopLoad(PointLoad):
    """Sends the requests of one process at their times. To be made inside the loop that runs it.

    new_slot: a slot at the k-th endpoint. share: (number of this process, of how many): it sends request i where i
    modulo their number is its own. n_open: connections made beforehand, at least one to each endpoint. others_open: how
    many of the window's requests all processes together have open, as they said last. issued: told at once how many
    were due, so that it is known of a process that dies.
    """

    def __init__(
        self,
        plan: OpenLoop,
        offsets_ns: Sequence[int],
        share: tuple[int, int],
        new_slot: Callable[[int], Slot],
        n_endpoints: int,
        n_open: int,
        limits: tuple[int, int, int],
        sink: Sink,
        others_open: Callable[[], int],
        issued: Callable[[int], object] = lambda _: None,
    ) -> None:
        slots = [new_slot(i % n_endpoints) for i in range(max(n_open, n_endpoints))]
        super().__init__(slots, lambda: None, limits, sink)
        self._plan, self._offsets, self._share, self._issued = plan, offsets_ns, share, issued
        self._new_slot, self._n_endpoints, self._others_open = new_slot, n_endpoints, others_open
        self._of_endpoint = slots[:n_endpoints]
        # in turn: a server that closes idle connections keeps those of a whole pool that is used
        self._idle = [deque(self._users[k::n_endpoints]) for k in range(n_endpoints)]
        self._closed: list[list[VirtualUser]] = [[] for _ in range(n_endpoints)]  # idle, without a connection
        self._endpoint = {id(user): k for k, users in enumerate(self._idle) for user in users}
        self._waiting: deque[tuple[int, int, Slot]] = (
            deque()
        )  # index and time due of what is one too many, and its slot
        number, n = share
        most = plan.max_in_flight
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        files = _MOST_FILES if files == resource.RLIM_INFINITY else files
        # a request above that has no connection, and waits
        self._most = max(1, (files - OTHER_FILES) // 2) if most is None else most // n + (number < most % n)
        self._due: Iterator[tuple[int, int]] = iter(())  # index and time due of what is still to be made
        self._zero_ns, self._end_ns = 0, _NEVER_NS
        self._ready = Exchange(0, _NEVER_NS), slots[0], b""  # the next request
        self._awake_ns = _NEVER_NS  # from when on the loop stays awake for it
        self.n_window_open = 0  # of the window's requests: not ended, those not yet due too
        self._tail_ended = False
        self._timer = DueTimer(self.loop, self._send_due)

    backs_off = False

    async def connect(self) -> None:
        await super().connect()
        for user in self._users:
            user.driver.kept = True

    def _begin(self, start_ns: int) -> None:
        window_ns = int(self._plan.window_s * NS_PER_S)
        self._zero_ns = start_ns + _LEAD_NS + int(self._plan.before_s * NS_PER_S)
        self._end_ns = self._zero_ns + window_ns
        self.n_window_open = bisect_left(self._offsets, window_ns) - bisect_left(self._offsets, 0)
        self._busy = 0
        number, n = self._share
        self._due = ((number + k * n, self._zero_ns + offset_ns) for k, offset_ns in enumerate(self._offsets))
        self._prepare()
        self._sleep()

    def _prepare(self) -> None:
        """Make the next request, before it is due: its making would be in its lateness."""
        index, self._due_ns = next(self._due, (0, _NEVER_NS))
        if self._due_ns == _NEVER_NS:
            return
        slot = self._of_endpoint[index % self._n_endpoints]
        self._ready = Exchange(index, self._due_ns), slot, slot.requests[index].wire
        gap_ns = self._due_ns - now_ns()
        self._awake_ns = self._due_ns - min(max(_SPIN_NS, gap_ns // _AWAKE_PART), _MOST_AWAKE_NS)

    def _sleep(self) -> None:
        if self._due_ns == _NEVER_NS:
            self._leave_if_done()
            return
        if now_ns() < self._awake_ns:
            self._timer.arm(self._awake_ns)
        else:
            self.loop.call_soon(self._send_due)  # the loop turns meanwhile

    def _in_window(self, due_ns: int) -> bool:
        return self._zero_ns <= due_ns < self._end_ns

    def _send_due(self) -> None:
        try:
            for _ in range(_AT_ONCE):
                if self._due_ns - now_ns() > _SPIN_NS:
                    break
                self._send_next()
                self._prepare()
            self._sleep()
        except Exception as error:  # nobody else would wake it: the point would never end
            self._error = self._error or error
            self.abort()

    def _send_next(self) -> None:
        (exchange, slot, wire), state = self._ready, self.state
        state.n_issued += 1
        self._issued(state.n_issued)
        state.n_measured += self._in_window(exchange.scheduled_ns)
        reach("send")
        user = self._free_user(exchange.index % self._n_endpoints) if self._busy < self._most else None
        while now_ns() < exchange.scheduled_ns:
            pass
        if user is not None:
            user.serve(slot)
            user.begin(exchange, wire)
        elif self._plan.drops:
            state.n_dropped += 1
            full = f"{self._busy} requests of this process were in flight (--max-in-flight)"
            self._end_unsent(exchange, slot, WireError("dropped", full))
        else:
            state.n_waited += 1
            self._waiting.append((exchange.index, exchange.scheduled_ns, slot))

    def _free_user(self, k: int) -> VirtualUser:
        self._busy += 1
        while self._idle[k]:
            if (user := self._idle[k].popleft()).driver.is_open:
                return user
            self._closed[k].append(user)
        return self._closed[k].pop() if self._closed[k] else self._new_user(k)

    def _new_user(self, k: int) -> VirtualUser:
        slot = self._new_slot(k)
        self._slots += [slot] if slot.fallback is None else [slot, slot.fallback]
        user = VirtualUser(self, slot)
        self._endpoint[id(user)] = k
        self._users.append(user)
        self._backlog = max(self._backlog, 2 * len(self._users))
        return user

    def _end_unsent(self, exchange: Exchange, slot: Slot, error: WireError) -> None:
        exchange.error = error
        self.finished(exchange, slot)

    # for the users
    def take(self, free_ns: int) -> None:  # noqa: ARG002  # the schedule gives users their requests
        return None

    def finished(self, exchange: Exchange, slot: Slot) -> None:
        if self._in_window(exchange.scheduled_ns):
            self.n_window_open -= 1
        super().finished(exchange, slot)

    def left(self, user: VirtualUser) -> None:
        self._busy -= 1
        self._idle[self._endpoint[id(user)]].append(user)
        if self._waiting and not self.stopping:
            index, due_ns, slot = self._waiting.popleft()
            user = self._free_user(index % self._n_endpoints)
            user.serve(slot)
            user.begin(Exchange(index, due_ns))
        self._leave_if_done()

    def _leave_if_done(self) -> None:
        over = self.stopping or now_ns() >= self._end_ns  # the server is measured for the whole window
        if over and self._due_ns == _NEVER_NS and not self._busy and not self._waiting:
            self._done.set()

    def _tick(self) -> None:
        super()._tick()
        at_ns = now_ns()
        if at_ns > self._end_ns + _OTHERS_NS and not (self._tail_ended or self.n_window_open or self._others_open()):
            self._tail_ended = True  # every request of the window has ended: the load that went on behind it may go
            self._send_no_more()
            for user in self._users:
                user.abort("cancelled", "the window's requests have ended")
        self._leave_if_done()

    def _send_no_more(self) -> None:
        self._due, self._due_ns = iter(()), _NEVER_NS
        while self._waiting:
            index, due_ns, slot = self._waiting.popleft()
            self._end_unsent(Exchange(index, due_ns), slot, CANCELLED)

    def stop(self) -> None:
        super().stop()
        self._send_no_more()
        self._leave_if_done()

    def abort(self, status: Status = "cancelled", message: str = "the run was stopped") -> None:
        self.stop()
        super().abort(status, message)

    async def run(self, start_ns: int) -> ClientState:
        try:
            return await super().run(start_ns)
        finally:
            self._timer.close()

    def _append(self, row: RequestRecord, origin_ns: int) -> None:
        start_s, end_s = (self._zero_ns - origin_ns) / NS_PER_S, (self._end_ns - origin_ns) / NS_PER_S
        of_rate = row._replace(rate_per_s=self._plan.rate_per_s, window_start_s=start_s, window_end_s=end_s)
        super()._append(of_rate, origin_ns)
