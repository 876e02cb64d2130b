"""Several endpoints, and a fallback for what they refuse: who was asked, and that no request is lost or told twice."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.tgi import FakeTgi
from sweeps_for_tests import column, each_once, most_in_flight, prompts, run, spec_of
from test_generator import OK, Peer, Rows, finish

from benchsuite.client.connection import Connection, Link
from benchsuite.client.http import Endpoint, Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext
from benchsuite.clock import now_ns
from benchsuite.errors import InputError, ServerRefused, ServerUnreachable
from benchsuite.load import sweep
from benchsuite.load.preflight import read_queue_depths
from benchsuite.load.virtual_users import PointLoad, Slot, is_refusal
from benchsuite.servers import SERVERS
from benchsuite.simulator.config import Fault, LatencyModel, SimulatorConfig
from benchsuite.simulator.server import drawn_fault, simulator

LATENCY = LatencyModel(ttft_s=0.005, itl_s=0.001)
API = {"model": "paid", "usd_per_1m_input": 2.0, "usd_per_1m_output": 8.0}
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def pair():
    """Two like servers, slow enough that all users are at work at once."""
    config = SimulatorConfig(latency=LatencyModel(ttft_s=0.02, itl_s=0.001))
    with simulator(config) as one, simulator(config) as two:
        yield one.base_url, two.base_url


@pytest.fixture(scope="module")
def api():
    """The paid API."""
    with simulator(SimulatorConfig(latency=LATENCY, model="paid")) as running:
        yield running.base_url


def test_users_are_dealt_out_in_turn(pair, tmp_path):
    """Of three users the first endpoint gets two and the second one, over however many processes; no row is lost."""
    spec = spec_of(pair[0], [3], workers=2, server={"base_url": list(pair), "profile": "vllm"})
    result, found = run(spec, prompts(30), tmp_path / "run")
    assert result.complete
    assert each_once(found, "c0003-r0", 30)
    assert set(column(found, "status")) == {"ok"}
    assert set(column(found, "endpoint")) == set(pair)
    assert all(most_in_flight(found, endpoint=url) <= users for url, users in zip(pair, (2, 1), strict=True))
    assert [(e["base_url"], e["role"]) for e in found.manifest["endpoints"]] == [(url, "own") for url in pair]
    tokens = sum(column(found, "output_tokens"))
    assert found.manifest["points"][0]["server"]["generated_tokens"] == tokens  # by the counters of both


def test_one_endpoint_is_named_too(pair, tmp_path):
    """Rows of a run with one server say which it was."""
    _, found = run(spec_of(pair[0], [2]), prompts(4), tmp_path / "run")
    assert column(found, "endpoint") == [pair[0]] * 4
    assert found.manifest["points"][0]["client"]["fallback_tries"] == 0


def test_endpoints_must_be_replicas(pair, api, tmp_path):
    """Base URLs that serve different models are refused, naming both; so is one that nobody answers at."""
    with pytest.raises(ServerRefused) as refused:
        run(spec_of(pair[0], [2], server={"base_url": [pair[0], api]}), prompts(4), tmp_path / "a")
    assert (refused.value.given, refused.value.where) == ("simulator and paid", f"{pair[0]} and {api}")
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9/v1/models"):
        run(spec_of(pair[0], [2], server={"base_url": [pair[0], "http://127.0.0.1:9"]}), prompts(4), tmp_path / "b")


N, SEED = 40, 16


def test_refused_requests_go_to_the_api(api, tmp_path):
    """What the own server refuses is answered by the API: one row each, that says so; the refused tries are counted."""
    config = SimulatorConfig(latency=LATENCY, faults=(Fault(kind="http_429", probability=0.3),), seed=SEED)
    drawn = [drawn_fault(config, i) is not None for i in range(2 + N)]
    assert drawn[:2] == [False, False]  # the preflight's requests
    assert sum(drawn) == 13
    with simulator(config) as own:
        server = {"base_url": own.base_url, "fallback": API | {"base_url": api}}
        _, found = run(spec_of(own.base_url, [4], workers=2, server=server), prompts(N), tmp_path / "run")
    assert each_once(found, "c0004-r0", N)
    assert set(column(found, "status")) == {"ok"}
    assert Counter(column(found, "endpoint")) == {api: 13, own.base_url: N - 13}
    client = found.manifest["points"][0]["client"]
    assert (client["fallback_tries"], client["fallback_skips"]) == (13, 0)
    roles = [(e["base_url"], e["role"], e["model"]) for e in found.manifest["endpoints"]]
    assert roles == [(own.base_url, "own", "simulator"), (api, "fallback", "paid")]


@pytest.mark.parametrize("endpoint", ["chat", "native"])
def test_an_overload_told_in_a_stream(api, tmp_path, endpoint):
    """TGI refuses what is over its limit with a 200 and an error event: those requests go on to the API."""
    with FakeTgi(max_concurrent=2, token_s=0.01) as own:
        server = {"base_url": own.base_url, "endpoint": endpoint, "fallback": API | {"base_url": api}}
        _, found = run(spec_of(own.base_url, [6], server=server), prompts(24, tokens=4), tmp_path / "run")
    assert each_once(found, "c0006-r0", 24)
    assert set(column(found, "status")) == {"ok"}
    by = Counter(column(found, "endpoint"))
    assert by[api] == found.manifest["points"][0]["client"]["fallback_tries"] > 0
    assert by[own.base_url] == 24 - by[api] > 0


def test_refusals_that_are_not_named_stay(api, tmp_path):
    """A fallback on 429 alone leaves a 503 as the failure that it is."""
    config = SimulatorConfig(latency=LATENCY, faults=(Fault(kind="http_503", probability=0.3),), seed=SEED)
    with simulator(config) as own:
        server = {"base_url": own.base_url, "fallback": API | {"base_url": api, "on": ["429"]}}
        _, found = run(spec_of(own.base_url, [4], server=server), prompts(N), tmp_path / "run")
    assert Counter(column(found, "status")) == {"ok": N - 13, "http_error": 13}
    assert set(column(found, "endpoint")) == {own.base_url}


@pytest.mark.parametrize(("waiting", "skips"), [(3, 0), (4, 12)])
def test_a_full_queue_is_not_tried(pair, api, tmp_path, monkeypatch, waiting, skips):
    """With more requests waiting than allowed, new ones go to the API at once; with as many, they do not."""

    def seen(_spec: Any, _profile: Any, depths: Any) -> Any:
        depths[0] = waiting
        return nullcontext()

    monkeypatch.setattr(sweep, "watch_queues", seen)
    server = {"base_url": pair[0], "fallback": API | {"base_url": api, "max_waiting": 3}}
    spec = spec_of(pair[0], [4], workers=2, server=server, load={"warmup_requests": 5})
    _, found = run(spec, prompts(12), tmp_path / "run")
    assert Counter(column(found, "endpoint")) == Counter({api: skips, pair[0]: 12 - skips})
    point = found.manifest["points"][0]
    assert (point["client"]["fallback_skips"], point["client"]["fallback_tries"]) == (skips, 0)
    assert (point["warmup"]["n_ok"], point["server"]["generated_tokens"] == 0) == (5, skips == 12)


def test_what_a_fallback_needs(pair, tmp_path):
    """A queue that the server does not report it of, and a client that does not show refusals, are refused at once."""
    fallback = API | {"base_url": "http://127.0.0.1:9", "max_waiting": 3}
    server = {"base_url": pair[0], "profile": "openai", "model": "simulator", "fallback": fallback}
    with pytest.raises(InputError, match="does not report how many requests wait"):
        run(spec_of(pair[0], [2], server=server), prompts(4), tmp_path / "a")
    del fallback["max_waiting"]
    with pytest.raises(InputError, match="openai client"):
        run(spec_of(pair[0], [2], server=server, load={"driver": "openai"}), prompts(4), tmp_path / "b")
    with pytest.raises(ServerUnreachable):
        run(spec_of(pair[0], [2], server=server), prompts(4), Path(tmp_path) / "c")


async def test_the_users_view_of_a_fallback():
    """A request that is refused, then answered, counts from its first send; the next tries its own server again."""
    async with Peer([REFUSED, OK, REFUSED]) as own, Peer([OK, OK]) as paid:
        rows, began_ns = Rows(), now_ns()
        slot, spare = (slot_at(peer.address, name, began_ns) for peer, name in ((own, "own"), (paid, "api")))
        sent: list[int] = []
        send = slot.driver.send
        watched = Watched(
            slot.driver, lambda request, exchange: (send(request, exchange), sent.append(exchange.sent_ns))
        )
        indices = iter(range(3))
        slots = [dataclasses.replace(slot, driver=watched, fallback=spare, refuses=on(429))]
        load = PointLoad(slots, lambda: next(indices, None), (10**18, 10**18, 10**18), rows)
        await finish(load)
    assert [(row.endpoint, row.status, row.http_status) for row in rows.rows] == [
        ("api", "ok", 200),
        ("own", "ok", 200),
        ("api", "ok", 200),
    ]
    assert [round(row.sent_s * 1e9) + began_ns for row in rows.rows] == pytest.approx(sent, abs=100)
    assert all(row.sent_s < row.headers_s for row in rows.rows)
    assert (load.state.fallback_tries, load.state.connections_opened, paid.n_connections) == (2, 1, 1)


class Watched:
    """A driver whose sends are seen."""

    def __init__(self, driver: Any, send: Any) -> None:
        self._driver, self.send = driver, send

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def slot_at(address: Any, name: str, origin_ns: int) -> Slot:
    """A user's place at a peer whose rows are called `name`."""
    wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    context = PointContext("run", "c0001-r0", 1, 0, 0, origin_ns, False, endpoint=name)
    link = Link(asyncio.get_running_loop(), Endpoint(socket.AF_INET, address, "127.0.0.1"), 5.0)
    return Slot(Connection(link), link, [EncodedRequest(wire, f"p{i}", None, None) for i in range(3)], context)


def on(*statuses: int) -> Any:
    """What a fallback on these statuses takes for a refusal."""
    return partial(is_refusal, statuses)


IN_STREAM = b'data: {"error":{"message":"Model is overloaded","http_status_code":422}}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("status", "data", "error", "refused"),
    [
        (429, b"", None, True),
        (429, b"", WireError("truncated", "cut"), True),
        (429, b"", WireError("cancelled", "stopped"), False),
        (503, b"", None, False),
        (200, IN_STREAM, None, True),
        (200, b'data: {"choices":[{"text":"the \\"error\\" is: overloaded"}]}', None, False),
        (200, IN_STREAM + b" " * 3000, None, False),
    ],
)
def test_what_a_refusal_is(status, data, error, refused):
    """429 is one however its body ends, a stopped run is none, and TGI's overload inside a stream is a 429."""
    exchange = Exchange(0, 0)
    exchange.status, exchange.error = status, error
    exchange.data += data
    assert on(429)(exchange) is refused
    assert on(503)(exchange) is (status == 503)


def test_the_queue_is_read_of_every_server():
    """Each server's own gauge is put in its place; one that does not answer counts as empty."""

    def page(text: str) -> httpx.Client:
        answer = httpx.Response(200, text=text) if text else httpx.Response(500)
        return httpx.Client(base_url="http://s", transport=httpx.MockTransport(lambda _: answer))

    waiting = [-1, -1]
    gauge = 'vllm:num_requests_running{engine="0"} 9.0\nvllm:num_requests_waiting{engine="0"} 7.0\n'
    read_queue_depths([page(gauge), page("")], SERVERS["vllm"], waiting)
    assert waiting == [7, 0]
