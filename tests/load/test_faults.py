"""Servers that fail, fall silent or go away: no wait without an end, no request without a row."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections import Counter

import pytest
from fault_plans import faults
from sweeps_for_tests import Watcher, prompts, run, spec_of
from test_generator import OK, Peer, finish, load_of, told

from benchmarks.chaos_faults import all_faults, faults_together
from benchmarks.chaos_kit import FAST
from benchsuite.clock import now_ns
from benchsuite.errors import InputError, ServerRefused, SpecError
from benchsuite.load import preflight
from benchsuite.load.virtual_users import CircuitBreaker, without_server
from benchsuite.records import RequestRecord
from benchsuite.simulator.config import Fault, LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import LoadSpec, parse_spec

PING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n: ping\n\r\n"
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(TOKEN), TOKEN)


def row(status: str, **fields: object) -> RequestRecord:
    """A row of that status whose other fields are None or 0."""
    values: dict[str, object] = dict.fromkeys(RequestRecord._fields)
    return RequestRecord(**(values | {"status": status, "n_reads": 0} | fields))  # type: ignore[arg-type]


def breaker(users: int, max_failed: int | None = None) -> CircuitBreaker:
    """An armed one."""
    made = CircuitBreaker(multiprocessing.get_context("spawn").Array("q", 5))
    made.arm(users, max_failed)
    return made


# the breaker
@pytest.mark.parametrize(
    ("found", "nobody"),
    [
        (row("connect_error"), True),
        (row("timeout"), True),
        (row("timeout", sent_s=1.0), False),
        (row("stream_error"), True),
        (row("stream_error", n_reads=1), False),
        (row("truncated", n_reads=1), False),
        (row("http_error", n_reads=1, http_status=503), False),
    ],
)
def test_requests_without_a_server(found, nobody):
    """No connection, or one that ended before a byte: nobody was there. Any answer is somebody's."""
    assert without_server(found) is nobody


def test_the_breaker_opens_at_the_last_of_a_streak():
    """At 12 users 24 in a row open it; one that found the server starts the count again; what we cancelled is none."""
    one = breaker(12)
    for status in ["connect_error"] * 23 + ["ok"] + ["connect_error"] * 23 + ["cancelled"]:
        one.note(row(status))
    assert (one.tripped, one.streak, one.reason) == (False, 23, None)
    one.note(row("connect_error"))
    assert one.reason == "the server is down: the last 24 requests could not connect"
    one.arm(2, None)
    assert (one.tripped, one.streak) == (False, 0)


def test_the_breaker_counts_failures():
    """Three may fail in any way, the fourth is too many; without a limit any number may."""
    one, free = breaker(2, 3), breaker(2)
    for _ in range(3):
        one.note(row("http_error", http_status=429))
    assert not one.tripped
    one.note(row("truncated", n_reads=1))
    assert one.reason == "more than 3 of its requests failed (--max-errors)"
    for _ in range(500):
        free.note(row("http_error", http_status=429))
    assert not free.tripped


@pytest.mark.parametrize(("given", "limit"), [(None, None), (7, 7), ("7", 7), ("5%", 15), ("0.5%", 1), ("0%", 0)])
def test_max_errors(given, limit):
    """A number, or a share of the set of 300 rounded down."""
    assert LoadSpec(max_errors=given).error_limit(300) == limit


@pytest.mark.parametrize("given", ["five", "101%", "-1%", -1, "nan%"])
def test_max_errors_refused(given):
    """What is no number of requests is refused with the form that is expected."""
    with pytest.raises(SpecError, match="max_errors"):
        parse_spec({"server": {"base_url": "http://h"}, "load": {"max_errors": given}}, where="test")


# users
async def test_a_refused_user_backs_off():
    """Users whose connection is refused wait 20, 40, 80 ms ... and their wait is no time of theirs."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    load, rows = load_of(address, 4, 1)
    await finish(load)
    assert (load.state.back_offs, round(load.state.back_off_s, 3)) == (4, 0.3)
    gaps = [b.scheduled_s - a.closed_s for a, b in zip(rows.rows, rows.rows[1:], strict=False)]
    assert [gap >= least for gap, least in zip(gaps, (0.02, 0.04, 0.08), strict=True)] == [True] * 3


async def test_abort_ends_a_pause():
    """A user that pauses leaves at once when the point is given up, without a row."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    load, rows = load_of(address, 100, 3)
    rows.on_tick = lambda: load.state.back_offs >= 9 and load.abort()
    await finish(load)
    assert 9 <= len(rows.rows) < 100
    assert {status for _, status, _, _ in told(rows)} == {"connect_error"}


async def test_http_errors_do_not_back_off():
    """A server that answers is asked again at once, whatever it says."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with Peer([busy, busy, OK]) as peer:
        load, rows = load_of(peer.address, 3, 1)
        await finish(load)
    assert [status for _, status, _, _ in told(rows)] == ["http_error", "http_error", "ok"]
    assert load.state.back_offs == 0


@pytest.mark.parametrize(
    ("answer", "error"), [(PING, "no token for 3600 s"), (PING + CHUNK, "not finished within 7200 s")]
)
async def test_a_drip_is_no_token(answer, error):
    """A stream that only pings is given up for want of a token; one with a token has until its end."""
    hour_ns = 3600 * 10**9

    def hours_go_by() -> None:
        exchange = load._users[0]._exchange
        if exchange is not None and exchange.stamps:  # the answer, which comes in one piece, was read
            load.watch(now_ns() + hour_ns)
            load.watch(now_ns() + 2 * hour_ns)

    async with Peer([answer]) as peer:
        load, rows = load_of(peer.address, 1, 1, (10**18, 2 * hour_ns, hour_ns), streaming=True)
        rows.on_tick = hours_go_by
        await finish(load)
    assert [(r.status, r.error) for r in rows.rows] == [("timeout", error)]
    assert rows.rows[0].n_chunks == (1 if CHUNK in answer else 0)


async def test_nothing_leaks():
    """After a point with refused, silent and answered requests no task and no socket is left."""
    tasks = len(asyncio.all_tasks())
    async with Peer([OK, None], [b""], [OK]) as peer:
        load, rows = load_of(peer.address, 4, 2, (150_000_000, 10**18, 10**18))
        await finish(load)
    assert len(rows.rows) == 4
    assert load.state.fds_start is None or load.state.fds_end <= load.state.fds_start + 2  # the peer's own ends
    assert len(asyncio.all_tasks()) <= tasks + 3  # the peer's


# sweeps
@pytest.mark.parametrize("kind", ["stall", "slow_headers"])
def test_a_silent_server_ends_the_preflight(tmp_path, kind):
    """A server that takes the first request and says nothing is refused in time."""
    fault = Fault(kind=kind, probability=1.0, at_chunk=0, delay_s=60.0)
    with simulator(SimulatorConfig(faults=(fault,))) as server, pytest.raises(ServerRefused) as refused:
        run(spec_of(server.base_url, [1], timeouts={"idle_s": 1.5}), prompts(2), tmp_path / "run")
    assert refused.value.given in ("timeout: no byte for 1.5 s", "timeout: no token for 1.5 s")  # what is due first


def test_all_faults_at_once():
    """At 64 users and 2 workers every request has its row, of the status that the server caused; no file stays."""
    (found,) = faults_together(192, 64, 2, tries=1)
    assert (found.good, found.expected, found.outcome) == (True, 192, "counts exact by class")
    assert len(all_faults(0.1)) == 14


def test_a_server_that_dies_mid_point(tmp_path):
    """The point fails with its reason, early and without a spin; with the server back a resume measures it again."""
    with simulator(SimulatorConfig(latency=FAST)) as server, faults(f"batch:2:kill={server.pid}"):
        spec = spec_of(server.base_url, [16], load={"concurrency": [16], "server_recovery_timeout_s": 0.2})
        result, before = run(spec, prompts(1500), tmp_path / "run")
    (entry,) = before.manifest["points"]
    assert (result.complete, entry["status"]) == (False, "failed")
    assert entry["reason"] == "the server is down: the last 32 requests could not connect"
    assert entry["client"]["back_offs"] >= 32
    assert 16 < before.table.num_rows < 1500
    with simulator(SimulatorConfig(latency=FAST, port=server.port)):
        result, found = run(spec, prompts(1500), tmp_path / "run")
    first, second = found.manifest["points"]
    assert (first["status"], first["attempt"], second["status"], second["attempt"]) == ("abandoned", 0, "complete", 1)
    assert found.table.num_rows == before.table.num_rows + 1500
    assert Counter(found.whole["status"].to_pylist()) == {"ok": 1500}


def test_too_many_errors_end_the_point_and_not_the_sweep(tmp_path):
    """The level that fails too often is given up in words, the others are measured."""
    # engine mode with a fault from the seed: a third of all requests fail, whatever the level
    config = SimulatorConfig(
        latency=LatencyModel(ttft_s=0.01), faults=(Fault(kind="http_503", probability=0.3),), seed=4
    )
    view = Watcher()
    with simulator(config) as server:
        spec = spec_of(server.base_url, [2, 4], load={"concurrency": [2, 4], "max_errors": "10%"})
        result, found = run(spec, prompts(100), tmp_path / "run", view)
    assert not result.complete
    assert [words.split(": ")[1] for words in result.failures] == [
        "more than 10 of its requests failed (--max-errors)"
    ] * 2
    assert [point["status"] for point in found.manifest["points"]] == ["failed", "failed"]
    assert found.manifest["status"] == "failed"
    failed = Counter(zip(found.table["point_id"].to_pylist(), found.table["status"].to_pylist(), strict=True))
    assert all(11 <= failed[point, "http_error"] < 100 for point in ("c0002-r0", "c0004-r0"))


def test_open_files(monkeypatch):
    """A level that needs more files than the hard limit is refused before anything is asked, with the number."""
    monkeypatch.setattr(preflight, "raise_limit", lambda wanted: 1024)
    spec = spec_of("http://127.0.0.1:1", [1000])
    with pytest.raises(InputError) as refused:
        preflight.check_descriptors(spec)
    assert (refused.value.where, refused.value.expected) == ("ulimit -n", "1256 or more")
    preflight.check_descriptors(spec_of("http://127.0.0.1:1", [1000], workers=2))
