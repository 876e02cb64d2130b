"""The wall clock is set while responses stream in: no row is lost, and no time is one at which nothing can have come.

The clock of this process and its kernel's stamps are shifted where benchsuite reads them; the peer keeps the truth.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from benchsuite import clock
from benchsuite.client import connection
from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint
from benchsuite.client.request import EncodedRequest, PointContext
from benchsuite.clock import NS_PER_S, StampClock, now_ns
from benchsuite.load import virtual_users
from benchsuite.load.virtual_users import PointLoad, Slot
from benchsuite.records import RequestRecord

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = [b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'] * 4
EVENTS += [b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n']
N_REQUESTS, N_USERS, GAP_S = 24, 3, 0.003
FOREVER = (10**18, 10**18, 10**18)
MAY_BE_EARLY_S = 200e-6  # the kernel stamps a little before send() returns, and the offset is read within this


@dataclass
class Shifted:
    """By how much the wall clock and the kernel's stamps are off, in seconds."""

    wall_s: float = 0.0
    kernel_s: float = 0.0
    drift: Callable[[], float] = field(default=lambda: 0.0)

    def step(self, by_s: float, *, wall: bool = True, kernel: bool = True) -> None:
        self.wall_s += by_s * wall
        self.kernel_s += by_s * kernel


@pytest.fixture
def shifted(monkeypatch) -> Shifted:
    """A wall clock that a test sets."""
    shift, time_ns, stamp_ns = Shifted(), time.time_ns, clock.kernel_timestamp_ns
    stamped = lambda ancillary: stamp_ns(ancillary) + int((shift.kernel_s + shift.drift()) * NS_PER_S)  # noqa: E731
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() + int((shift.wall_s + shift.drift()) * NS_PER_S))
    monkeypatch.setattr(clock, "kernel_timestamp_ns", stamped)
    monkeypatch.setattr(connection, "kernel_timestamp_ns", stamped)
    monkeypatch.setattr(virtual_users, "_SECOND_EVERY_TICKS", 1)
    return shift


@dataclass
class Measured:
    """Rows in the order of their end, each with the peer's own times of its sends."""

    load: PointLoad
    rows: list[tuple[RequestRecord, list[int]]]


async def measure(at: Callable[[int, int], None], before: Callable[[], None] = lambda: None) -> Measured:
    """Measure a peer that calls at(request, event) before it sends that event; before: between connecting and load."""
    sends: dict[str, list[int]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
                sends[path] = []
                number = len(sends)
                for i, event in enumerate(EVENTS):
                    await asyncio.sleep(GAP_S)
                    at(number, i)
                    sends[path].append(now_ns())
                    writer.write((b"" if i else HEAD) + b"%x\r\n%s\r\n" % (len(event), event))
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(asyncio.get_running_loop(), Endpoint(socket.AF_INET, server.sockets[0].getsockname(), "127.0.0.1"), 5.0)
    heads = [b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n" % i for i in range(N_REQUESTS)]
    requests = [EncodedRequest(head, f"/{i}", None, None) for i, head in enumerate(heads)]
    context, indices, rows = PointContext("run", "c0003-r0", N_USERS, 0, 0, 0, True), iter(range(N_REQUESTS)), []

    class Sink:
        def append(self, row: RequestRecord) -> None:
            assert row.closed_s * NS_PER_S <= now_ns()
            rows.append((row, sends[row.prompt_id]))

        def tick(self, at_ns: int) -> None:
            pass

    slots = [Slot(Connection(link), link, requests, context) for _ in range(N_USERS)]
    load = PointLoad(slots, lambda: next(indices, None), FOREVER, Sink())
    async with asyncio.timeout(60), server:
        await load.connect()
        before()
        await load.run(now_ns())
    return Measured(load, rows)


def check_times(measured: Measured) -> None:
    """Every request has its row, whose times are in order and never before the peer sent what they are of."""
    assert len(measured.rows) == N_REQUESTS
    for row, sent_ns in measured.rows:
        assert (row.status, row.n_chunks) == ("ok", len(EVENTS))
        at_s, times = row.first_token_s, [row.first_token_s]
        assert row.sent_s <= row.headers_s <= row.first_token_s
        for gap_us in row.chunk_gap_us:
            assert gap_us >= 0
            at_s += gap_us / 1e6
            times.append(at_s)
        assert times[-1] == pytest.approx(row.last_token_s, abs=2e-6)
        assert row.last_token_s <= row.closed_s
        for came_s, peer_ns in zip(times, sent_ns, strict=True):
            assert came_s >= peer_ns / NS_PER_S - MAY_BE_EARLY_S


BOTH, WALL, KERNEL = {}, {"kernel": False}, {"wall": False}
STEPS: dict[str, tuple[list[tuple[int, int, float]], dict[str, bool]]] = {
    "back 5 s": ([(8, 2, -5)], BOTH),
    "ahead 5 s": ([(8, 2, 5)], BOTH),
    "back 0.4 s": ([(8, 2, -0.4)], BOTH),
    "back 20 ms": ([(8, 2, -0.02)], BOTH),
    "back 2 ms, less than a gap": ([(8, 2, -0.002)], BOTH),
    "ahead 2 ms": ([(8, 2, 0.002)], BOTH),
    "back 40 min: no column holds the gap": ([(8, 2, -2400)], BOTH),
    "ahead 1 h": ([(8, 2, 3600)], BOTH),
    "back before 1970": ([(8, 2, -3e9)], BOTH),
    "several": ([(5, 1, -5), (9, 3, 60), (14, 0, -0.4), (20, 4, 3600)], BOTH),
    "there and back within a response": ([(8, 1, -0.5), (8, 3, 0.5)], BOTH),
    "before the first event of a response": ([(8, 0, -2)], BOTH),
    "the clock alone, back": ([(8, 2, -5)], WALL),
    "the clock alone, 2 ms ahead": ([(8, 2, 0.002)], WALL),
    "the stamps alone, back 5 s": ([(8, 2, -5)], KERNEL),
    "the stamps alone, ahead 5 s": ([(8, 2, 5)], KERNEL),
}


@pytest.mark.parametrize(("steps", "which"), STEPS.values(), ids=STEPS)
async def test_a_step_while_responses_run(shifted, steps, which):
    """The rows that it touches have the process's own stamps and say so; none is lost, none has a false time."""
    due = {(request, event): by_s for request, event, by_s in steps}

    def at(request: int, event: int) -> None:
        if by_s := due.pop((request, event), None):
            shifted.step(by_s, **which)

    measured = await measure(at)
    assert not due
    check_times(measured)
    of_user = [row for row, _ in measured.rows if row.stamp_source == "user"]
    assert of_user
    assert all(row.notes == "kernel_stamps_refused" and row.read_lag_max_us is None for row in of_user)
    state = measured.load.state
    if sum(by_s for *_, by_s in steps):  # there and back between two looks at the clock is no step to see
        assert (state.clock_steps > 0) == (which is not KERNEL)
    assert state.clock_contradictions == (which is KERNEL)


async def test_stamps_that_leave_the_clock_by_less_than_a_gap(shifted):
    """No read shows it, so that some rows may be false before the probe does: then the point is no measurement."""
    measured = await measure(lambda request, event: (request, event) == (8, 2) and shifted.step(-0.002, wall=False))
    assert len(measured.rows) == N_REQUESTS
    assert measured.load.state.clock_contradictions == 1
    assert measured.rows[-1][0].stamp_source == "user"


@pytest.mark.realtime
@pytest.mark.parametrize("drift", [500e-6, -500e-6])
async def test_a_clock_that_is_slewed(shifted, drift):
    """NTP's fastest slew is no step: the offset is followed, and the kernel's stamps are kept."""
    start_ns = now_ns()
    shifted.drift = lambda: drift * (now_ns() - start_ns) / NS_PER_S
    measured = await measure(lambda request, event: None)
    check_times(measured)
    assert measured.load.state.clock_steps == 0
    assert sum(row.stamp_source == "kernel" for row, _ in measured.rows) >= N_REQUESTS / 2  # a busy machine reads late


async def test_a_step_before_the_load(shifted):
    """Between connecting and the first request: no row is touched, and none is doubted once it was seen."""
    measured = await measure(lambda request, event: None, lambda: shifted.step(-3600))
    check_times(measured)
    assert measured.rows[-1][0].stamp_source == "kernel"


async def test_stamps_of_another_clock_from_the_start(shifted):
    """They are not asked for at all: every row has the process's own, without a word of refused ones."""
    shifted.step(-7, wall=False)
    measured = await measure(lambda request, event: None)
    check_times(measured)
    assert {(row.stamp_source, row.notes) for row, _ in measured.rows} == {("user", None)}
    assert measured.load.state.clock_contradictions == 0


def test_a_clock_that_stands_is_never_doubted():
    """Looking and probing find nothing where nothing was set, however often."""
    stamps = StampClock()
    for _ in range(300):
        stamps.look(probe=True)
    assert (stamps.steps, stamps.usable, stamps.contradicted, stamps.doubted_ns) == (0, True, False, 0)
