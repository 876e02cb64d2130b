"""One response on its way: which write is next, and when it is due."""

from __future__ import annotations

import socket

from benchsuite.clock import NS_PER_S
from benchsuite.serving.simulator_config import RequestOptions
from benchsuite.serving.simulator_events import ID_HOLE
from benchsuite.serving.simulator_metrics import Sent
from benchsuite.serving.simulator_wire import Plan


class Connection:
    """One accepted socket: what it has said, what it has yet to be sent, the stream it is being given."""

    __slots__ = ("closing", "inbox", "outbox", "sock", "stream")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.stream: Stream | None = None
        self.closing = False


class Stream:
    """The place in a plan. `data` is the write that is next, its id filled in, its stamp holes at `stamp_at`.

    first_ns: when chunk 0 of a paced stream is due. None: the engine gives credits, one per chunk, at credit_ns.
    rest: what is left of a write that is sent in pieces. blocked: the socket takes no more for now.
    """

    __slots__ = (
        "at_ns", "blocked", "conn", "credit", "credit_ns", "data", "first_ns", "hold_ns", "index", "itl_ns", "key",
        "left", "plan", "queued", "rest", "rest_ns", "sent", "shape", "stamp_at", "steps", "steps_done", "tokens",
    )  # fmt: skip

    def __init__(
        self, conn: Connection, plan: Plan, sent: Sent, key: int, first_ns: int | None, options: RequestOptions
    ) -> None:
        self.conn, self.plan, self.sent, self.key = conn, plan, sent, key
        self.first_ns, self.itl_ns, self.shape = first_ns, round(options.itl_s * NS_PER_S), options.shape
        self.credit = self.credit_ns = self.steps_done = self.hold_ns = self.rest_ns = 0
        self.rest = b""
        self.queued = self.blocked = False
        self.load(0, sent.received_ns)

    def load(self, index: int, now_ns: int) -> bool:
        """Make write `index` the next one; False when there is none."""
        if index == len(self.plan.writes):
            return False
        write = self.plan.writes[index]
        self.index, self.left = index, write.repeat
        self.data = bytearray(write.data.replace(ID_HOLE, self.sent.response_id.encode()))
        self.stamp_at, self.steps, self.tokens = write.stamp_at, write.steps, write.tokens
        self.at_ns = None if write.at_s is None else self.sent.received_ns + round(write.at_s * NS_PER_S)
        if write.stall_s and self.first_ns is not None:
            self.first_ns += round(write.stall_s * NS_PER_S)
        elif write.stall_s:
            self.hold_ns = now_ns + round(write.stall_s * NS_PER_S)
        return True

    def due_ns(self) -> int | None:
        """When the next write is due; 0 is at once, None is when the engine says."""
        if self.rest:
            return self.rest_ns
        if self.at_ns is not None:
            return self.at_ns
        if self.steps == 0:
            return 0
        if self.first_ns is not None:
            return self.first_ns + (self.steps_done + self.steps - 1) * self.itl_ns
        return None if self.credit < self.steps else max(self.credit_ns, self.hold_ns)
