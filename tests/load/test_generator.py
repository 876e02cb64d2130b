"""The virtual users of one process against a peer that the test plays itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest

from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange
from benchsuite.client.request import EncodedRequest, PointContext
from benchsuite.clock import now_ns
from benchsuite.errors import StoreError
from benchsuite.level import Level
from benchsuite.load.hand_over import HandOverRates, ProbeShare
from benchsuite.load.open_loop import OpenLoopLoad
from benchsuite.load.schedule import OpenLoop, PointPlan
from benchsuite.load.virtual_users import PointLoad, Slot, without_server
from benchsuite.records import RequestRecord

BODY = b'{"choices":[{"text":"a","finish_reason":"stop"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
FOREVER = (10**18, 10**18, 10**18)


class Rows:
    """A sink; on_tick is called every 10 ms."""

    def __init__(self) -> None:
        self.rows: list[RequestRecord] = []
        self.on_tick: Callable[[], None] = lambda: None

    def append(self, row: RequestRecord) -> None:
        self.rows.append(row)

    def tick(self, at_ns: int) -> None:
        self.on_tick()


def slot_maker(address: object, n: int, users: int | None, streaming: bool = False) -> Callable[[], Slot]:
    """Makes slots of one endpoint, which has n requests."""
    link = Link(asyncio.get_running_loop(), Endpoint(socket.AF_INET, address, "127.0.0.1"), 5.0)
    wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    requests = [EncodedRequest(wire, f"p{i}", None, None) for i in range(n)]
    context = PointContext("run", "c0001-r0", users, 0, 0, now_ns(), streaming, endpoint=str(address))
    return lambda: Slot(Connection(link), link, requests, context)


def load_of(
    address: object, n: int, users: int, limits: tuple[int, int, int] = FOREVER, *, streaming: bool = False
) -> tuple[PointLoad, Rows]:
    """n requests and some users; the rows go to Rows."""
    indices, rows, new_slot = iter(range(n)), Rows(), slot_maker(address, n, users, streaming)
    return PointLoad([new_slot() for _ in range(users)], lambda: next(indices, None), limits, rows), rows


def open_loop_of(
    due_s: list[float], *addresses: object, n_open: int = 1, window_s: float = 0.1, share: tuple[int, int] = (0, 1),
    most: int | None = None, drops: bool = False,
) -> tuple[OpenLoopLoad, Rows]:  # fmt: skip
    """Requests that are due at these seconds of a window; in turn one for each address."""
    makers, rows = [slot_maker(address, len(due_s), None) for address in addresses], Rows()
    plan = OpenLoop("trace", 1.0, 1.0, "", window_s, 0.0, 0.0, most, drops, n_open)
    offsets_ns = [int(at_s * 1e9) for at_s in due_s][share[0] :: share[1]]
    new_slot = lambda k: makers[k]()  # noqa: E731
    return OpenLoopLoad(plan, offsets_ns, share, new_slot, len(makers), n_open, FOREVER, rows, lambda: 0), rows


class Peer:
    """Answers request k of connection c with answers[c][k]; None closes; '...' says nothing. Then it closes."""

    def __init__(self, *answers: list[bytes | None]) -> None:
        self._answers = iter(answers)
        self.n_connections = 0

    async def __aenter__(self) -> object:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        for answer in next(self._answers, []):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                break
            writer.write(answer)
            await writer.drain()
        else:
            await reader.read()
        writer.close()


async def finish(load: PointLoad) -> None:
    """Run a load to its end; a bug ends the wait after a minute."""
    await load.connect()
    await finish_run(load)


async def finish_run(load: PointLoad) -> None:
    """Of one that is connected."""
    async with asyncio.timeout(60):
        await load.run(now_ns())


def told(rows: Rows) -> list[tuple]:
    return [(r.prompt_id, r.status, r.stale_retries, r.connection_reused) for r in rows.rows]


async def test_a_stale_connection_is_tried_once_more():
    """A request that finds its kept-alive connection closed is sent again on a fresh one, and its row says so."""
    async with Peer([OK, None], [OK]) as peer:
        load, rows = load_of(peer.address, 2, 1)
        await finish(load)
    assert told(rows) == [("p0", "ok", 0, False), ("p1", "ok", 1, False)]
    assert peer.n_connections == 2


async def test_and_only_once():
    """A second connection that ends before a byte is the request's failure."""
    async with Peer([OK, None], [None], [OK]) as peer:
        load, rows = load_of(peer.address, 3, 1)
        await finish(load)
    assert told(rows) == [("p0", "ok", 0, False), ("p1", "stream_error", 1, False), ("p2", "ok", 0, False)]


UNASKED = "the server sent bytes before the request"


@pytest.mark.parametrize(
    ("ahead", "expected", "counted"),
    [
        ({(1, 0)}, [("p0", "ok", 0, False), ("p1", "ok", 1, False), ("p2", "ok", 0, True)], 1),
        ({(1, 0), (1, 1)}, [("p0", "ok", 0, False), ("p1", "stream_error", 1, False), ("p2", "ok", 0, False)], 2),
        ({(i, 0) for i in range(3)}, [(f"p{i}", "stream_error", 0, False) for i in range(3)], 3),
    ],
    ids=["once", "on the fresh connection too", "on every connection"],
)
async def test_a_response_ahead_of_its_request(monkeypatch, ahead, expected, counted):
    """It poisons its connection: the request goes on a fresh one, or is a row with the reason; a breaker calls no
    server gone that is there. ahead: requests, and which try at them."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(writer)
        while await reader.read(4096):
            writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    load, rows = load_of(server.sockets[0].getsockname(), 3, 1)
    opening, sending, writers = Connection.open, Connection.send, []

    async def open_and_meet(connection: Connection) -> None:
        await opening(connection)
        writers.append(await accepted.get())

    def send(connection: Connection, request: bytes, exchange: Exchange) -> None:
        if (exchange.index, exchange.retries) in ahead:
            writers[-1].write(OK)
        sending(connection, request, exchange)

    monkeypatch.setattr(Connection, "open", open_and_meet)
    monkeypatch.setattr(Connection, "send", send)
    async with server:
        await finish(load)
    assert told(rows) == expected
    failed = [row for row in rows.rows if row.status != "ok"]
    assert all((r.error, r.n_reads, r.sent_s) == (UNASKED, 1, None) for r in failed)
    assert (load.state.unasked_responses, load.state.back_offs) == (counted, 0)
    assert not any(map(without_server, failed))


async def test_an_answer_that_is_left_over():
    """A server that is an answer ahead throughout, each of them after its request, has one left when the load ends."""
    rows = Rows()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        while not rows.rows:
            await asyncio.sleep(0)
        writer.write(OK)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    load, _ = load_of(server.sockets[0].getsockname(), 1, 1)
    load._sink = rows
    async with server:
        await finish(load)
    assert told(rows) == [("p0", "ok", 0, False)]
    assert load.state.unasked_responses == 1


async def test_one_connection_for_all():
    """A user keeps its connection as long as the server does."""
    async with Peer([OK] * 5) as peer:
        load, rows = load_of(peer.address, 5, 1)
        await finish(load)
    assert [row.connection_reused for row in rows.rows] == [False, True, True, True, True]
    assert (peer.n_connections, load.state.connections_opened) == (1, 0)
    for before, after in zip(rows.rows, rows.rows[1:], strict=False):
        assert before.closed_s <= after.scheduled_s <= after.sent_s


async def test_nobody_listens():
    """Without a server each request has its row, and each is scheduled behind the one before."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    load, rows = load_of(address, 4, 2)
    await finish(load)
    assert sorted(row.prompt_id for row in rows.rows) == ["p0", "p1", "p2", "p3"]
    assert {(row.status, row.sent_s, row.http_status) for row in rows.rows} == {("connect_error", None, None)}
    assert all(row.scheduled_s <= row.closed_s for row in rows.rows)


@pytest.mark.parametrize(
    ("limits", "error"),
    [((0, 10**18, 10**18), "no byte for 0 s"), ((10**18, 0, 10**18), "not finished within 0 s")],
)
async def test_silence_is_a_timeout(limits, error):
    """A request that is not answered in time is given up, and its user goes on."""
    async with Peer([b""], [b""]) as peer:
        load, rows = load_of(peer.address, 2, 1, limits)
        await finish(load)
    assert [(row.status, row.error) for row in rows.rows] == [("timeout", error)] * 2


async def test_stop_lets_what_is_in_flight_finish():
    """A load that is stopped sends nothing new."""
    async with Peer([OK] * 9) as peer:
        load, rows = load_of(peer.address, 9, 1)
        load.stop()
        await finish(load)
    assert rows.rows == []


async def test_abort_gives_up_what_is_in_flight():
    """A load that is aborted ends at once, with a row for what it had sent."""
    async with Peer([b""], [b""]) as peer:
        load, rows = load_of(peer.address, 9, 2)
        rows.on_tick = load.abort
        await finish(load)
    assert sorted(told(rows)) == [("p0", "cancelled", 0, False), ("p1", "cancelled", 0, False)]


async def test_abort_while_connections_are_made():
    """An abort in the very turn in which a user begins to connect still ends that user, with its row."""
    async with Peer([OK] * 9) as peer:
        load, rows = load_of(peer.address, 3, 1)
        take = load._take

        def take_and_abort() -> int | None:
            load.loop.call_soon(load.abort)  # comes before the first step of a task made after it
            return take()

        load._take = take_and_abort
        async with asyncio.timeout(60):
            await load.run(now_ns())  # no connect(): the user must open its connection
    assert told(rows) == [("p0", "cancelled", 0, False)]


async def test_a_sink_that_fails_ends_the_load():
    """When rows cannot be kept the load gives up at once and raises the sink's error."""
    async with Peer([b""]) as peer:
        load, rows = load_of(peer.address, 9, 1)

        def full() -> None:
            raise StoreError("a journal cannot be written")

        rows.on_tick = full
        with pytest.raises(StoreError):
            await finish(load)
    assert told(rows) == [("p0", "cancelled", 0, False)]


async def test_no_users():
    """A worker that got no users of a small level ends at once."""
    load, rows = load_of(("127.0.0.1", 1), 3, 0)
    await finish(load)
    assert rows.rows == []


async def test_when_nobody_can_look_for_timeouts():
    """An error in the 10 ms turn ends the point with that error: without the turn nothing would ever be given up."""
    async with Peer([]) as peer:
        load, rows = load_of(peer.address, n=1, users=1, limits=())  # no limits to compare with
        with pytest.raises(ValueError, match="unpack"):
            await asyncio.wait_for(load.run(now_ns()), 60)
    assert [row.status for row in rows.rows] == ["cancelled"]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request with OK, until the client leaves."""
    while await reader.read(4096):
        writer.write(OK)
    writer.close()


async def test_connections_that_were_opened_beforehand() -> None:
    """They are there before the first request, which finds its own; one that finds none opens one."""
    async with Peer([OK], [OK], [OK]) as peer:
        load, rows = open_loop_of([0.0] * 3, peer.address, n_open=2)
        await load.connect()
        while peer.n_connections < 2:
            await asyncio.sleep(0)
        await finish_run(load)
    assert sorted(told(rows)) == [("p0", "ok", 0, True), ("p1", "ok", 0, True), ("p2", "ok", 0, False)]
    assert (peer.n_connections, load.state.connections_opened) == (3, 1)


async def test_idle_connections_that_the_server_closed() -> None:
    """Each request opens another, and waits for it on its own clock; the idle ones that are open go first."""
    closed = asyncio.Semaphore(0)
    count = iter(range(100))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(count) in (1, 2):
            writer.close()
            closed.release()
        else:
            await answer(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    load, rows = open_loop_of([0.0, 0.0], server.sockets[0].getsockname(), n_open=3)
    async with server:
        await load.connect()
        for _ in range(2):
            await closed.acquire()
        while sum(user.driver.is_open for user in load._users) > 1:
            await asyncio.sleep(0)
        await finish_run(load)
    assert sorted(told(rows)) == [("p0", "ok", 0, True), ("p1", "ok", 0, False)]
    assert load.state.connections_opened == 1


async def test_a_connection_that_ends_before_its_first_request() -> None:
    """One of the pool that the server closes in the moment of the sending is stale, as one that was used."""
    async with Peer([None], [OK]) as peer:
        load, rows = open_loop_of([0.0], peer.address)
        await finish(load)
    assert told(rows) == [("p0", "ok", 1, False)]


async def test_an_open_loop_without_a_server() -> None:
    """Each arrival has its row at once, and none waits for another; it is in flight no more."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    load, rows = open_loop_of([0.0, 0.0, 0.01, 0.02], address, most=1)
    await finish(load)
    assert sorted(row.prompt_id for row in rows.rows) == ["p0", "p1", "p2", "p3"]
    assert {row.status for row in rows.rows} == {"connect_error"}
    assert (load.state.n_issued, load.state.n_measured, load.state.n_dropped) == (4, 4, 0)


async def test_what_is_dropped_is_its_own_endpoints() -> None:
    """A request that is not sent counts at the endpoint that it was for."""
    async with Peer([b""]) as first, Peer([b""]) as second:
        load, rows = open_loop_of([0.0] * 4, first.address, second.address, most=1, drops=True)
        rows.on_tick = lambda: load.abort() if len(rows.rows) == 3 else None
        await finish(load)
    found = {row.prompt_id: (row.status, row.endpoint) for row in rows.rows}
    ends = {"p0": "cancelled"} | dict.fromkeys(("p1", "p2", "p3"), "dropped")
    places = {f"p{i}": str((first, second)[i % 2].address) for i in range(4)}
    assert found == {name: (ends[name], places[name]) for name in places}


@pytest.mark.parametrize(
    ("due_s", "window_s", "n_measured"), [([], 0.05, 0), ([0.0], 0.05, 1), ([-0.01, 0.0, 0.05], 0.05, 1)]
)
async def test_the_whole_window_is_measured(due_s: list[float], window_s: float, n_measured: int) -> None:
    """A process with nothing more to send stays until its end; what is due at the end is not in it."""
    async with Peer([OK] * 3, [OK] * 3, [OK] * 3) as peer:
        load, rows = open_loop_of(due_s, peer.address, window_s=window_s)
        began_ns = now_ns()
        await finish(load)
        assert now_ns() - began_ns >= window_s * 1e9
    assert (len(rows.rows), load.state.n_issued, load.state.n_measured) == (len(due_s), len(due_s), n_measured)
    assert load.n_window_open == 0
    assert all(row.sent_s >= row.scheduled_s for row in rows.rows)


async def test_a_request_that_cannot_be_made_ends_the_point() -> None:
    """With the error; those before it have their rows."""
    async with Peer([OK, OK]) as peer:
        load, rows = open_loop_of([0.0, 0.01, 0.02], peer.address)
        del load._of_endpoint[0].requests[2]
        with pytest.raises(IndexError):
            await finish(load)
    assert {row.prompt_id for row in rows.rows} <= {"p0", "p1"}
    assert load.state.n_issued == len(rows.rows)


class ProbeRows(Rows):
    """A sink of a probe."""

    hidden = closed = False

    def hide(self) -> None:
        self.hidden = True

    def close(self) -> None:
        self.closed = True


def probe_of(point_id: str, rate: float, address: object) -> tuple[ProbeShare, Callable[[int], Slot]]:
    """A share of a rate's probe, of one process that has all of it, with constant gaps."""
    make = slot_maker(address, 1000, None)
    loop = OpenLoop("constant", rate, 1.0, "", 1.0, 0.0, 0.0, None, False, 1)
    plan = PointPlan("run", point_id, Level(rate, "rate"), 0, 1000, 1, 0, 0.0, 0.0, 0.0, open_loop=loop)
    context = replace(make().context, point_id=point_id)
    new_slot = lambda _: replace(make(), context=context)  # noqa: E731
    return ProbeShare(plan, 2, ProbeRows(), new_slot, {str(address): new_slot(0)}), new_slot


@pytest.mark.parametrize("lead_s", [0.04, 0.0, -0.04])
async def test_a_rate_follows_another(lead_s: float) -> None:
    """Each arrival has one row, in its own probe's sink, at its own time; those that were due before the next began are
    of the one before. A process that hears of it too late has sent some of these, and sends the next one's late."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address = server.sockets[0].getsockname()
        (first, new_slot), (second, _) = (
            probe_of("f01-q500-r0", 500.0, address),
            probe_of("f02-q250-r0", 250.0, address),
        )
        load = HandOverRates(first.plan, (0, 1), new_slot, 1, FOREVER)
        await load.connect()
        running = asyncio.ensure_future(load.run(now_ns()))
        await asyncio.sleep(0)
        begun_ns = []
        for probe, in_s in ((first, 0.0), (second, lead_s)):
            await load.prepare(probe)
            begun_ns.append(now_ns() + int(in_s * 1e9))
            before = await load.hand_over(probe, begun_ns[-1])
            assert before is (first if probe is second else None)
            while len(probe.sink.rows) < 60:
                await asyncio.sleep(0.005)
        await asyncio.wait_for(first.over.wait(), 60)
        load.stop()
        await asyncio.wait_for(running, 60)
    for probe, rate, start_ns in zip((first, second), (500, 250), begun_ns, strict=True):
        rows = sorted(probe.sink.rows, key=lambda row: row.scheduled_s)
        origin_ns = probe.templates[str(address)].context.origin_ns
        assert [int(row.request_id.rpartition("-")[2]) for row in rows] == [*range(len(rows))]
        for k, row in enumerate(rows):
            assert row.scheduled_s == pytest.approx((start_ns - origin_ns) / 1e9 + (k + 1) / rate, abs=1e-6)
            assert row.sent_s >= row.scheduled_s
        assert {(row.point_id, row.status, row.rate_per_s) for row in rows} == {(probe.plan.point_id, "ok", rate)}
        assert (probe.n_open, probe.state.n_issued) == (0, len(rows))
    n_before = (begun_ns[1] - begun_ns[0] - 1) * 500 // 10**9
    assert len(first.sink.rows) == n_before if lead_s >= 0 else len(first.sink.rows) >= n_before
    assert first.sink.hidden


async def test_a_rate_that_is_given_up() -> None:
    """What is in flight is cancelled, a row each; nothing more is sent."""
    async with Peer([b""], [b""], [b""], [b""]) as peer:
        probe, new_slot = probe_of("f01-q100-r0", 100.0, peer.address)
        load = HandOverRates(probe.plan, (0, 1), new_slot, 1, FOREVER)
        await load.connect()
        running = asyncio.ensure_future(load.run(now_ns()))
        await asyncio.sleep(0)
        await load.prepare(probe)
        await load.hand_over(probe, now_ns())
        while probe.n_open < 3:
            await asyncio.sleep(0.001)
        load.abort()
        await asyncio.wait_for(running, 60)
    assert {row.status for row in probe.sink.rows} == {"cancelled"}
    assert (probe.n_open, len(probe.sink.rows)) == (0, probe.state.n_issued)
