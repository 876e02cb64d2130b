"""Faults: each breaks the response in its own way, and only the response that asked for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from simulator_fixture import CHAT, Client, chat, events, request_bytes

from benchsuite.simulator.config import Fault, ResponseShape, SimulatorConfig
from benchsuite.simulator.responses import SimResponse, plan
from benchsuite.simulator.server import RunningSimulator, drawn_fault, simulator


@pytest.fixture(scope="module")
def sim() -> Iterator[RunningSimulator]:
    with simulator() as running:
        yield running


def broken(kind: str, tokens: int = 4, **fields: Any) -> dict[str, Any]:
    asked = {"stream_options": {"include_usage": True}, "sim": {"fault": {"kind": kind, **fields}, "role": "none"}}
    return chat(tokens, **asked)


@pytest.mark.parametrize(("kind", "status"), [("http_429", 429), ("http_500", 500), ("http_503", 503)])
def test_http_errors_have_a_json_body(sim: RunningSimulator, kind: str, status: int):
    """The status, an error object, and retry-after with 429; the connection lives on."""
    with Client(sim) as client:
        got, head, body = client.ask(CHAT, broken(kind))
        assert (got, json.loads(body)["error"]["code"]) == (status, status)
        assert (b"retry-after: 1" in head) == (status == 429)
        assert client.ask(CHAT, chat())[0] == 200


def test_reset_is_a_reset(sim: RunningSimulator):
    """After two chunks the connection is reset, not closed."""
    with Client(sim) as client, pytest.raises(ConnectionResetError):
        client.ask(CHAT, broken("reset", at_chunk=2))
    with Client(sim) as client:
        assert client.ask(CHAT, chat())[0] == 200


def test_cut_is_a_fin_inside_the_message(sim: RunningSimulator):
    """Two events come, then the end of the connection in place of the last HTTP chunk."""
    with Client(sim) as client, pytest.raises(EOFError):
        client.ask(CHAT, broken("cut", at_chunk=2))


def test_truncated_ends_cleanly_without_a_finish(sim: RunningSimulator):
    """A whole HTTP message, but no finish_reason, no usage, no [DONE]."""
    with Client(sim) as client:
        got = events(client.ask(CHAT, broken("truncated", at_chunk=2))[2])

    assert [event["choices"][0]["finish_reason"] for event in got] == [None, None]


def test_error_event_inside_a_200(sim: RunningSimulator):
    """One token, an error object, [DONE]."""
    with Client(sim) as client:
        status, _, body = client.ask(CHAT, broken("error_event"))

    got = events(body)
    assert (status, len(got), got[1]["error"]["code"], got[2]) == (200, 3, 500, "[DONE]")


def test_malformed_event_and_on(sim: RunningSimulator):
    """One event that is no JSON between the first and second of four tokens."""
    with Client(sim) as client:
        lines = [line for line in client.ask(CHAT, broken("malformed"))[2].decode().splitlines() if line]

    assert len(lines) == 4 + 1 + 2
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(lines[1][6:])


def test_huge_line(sim: RunningSimulator):
    """An event of 300 kB without a token; the tokens are all there."""
    with Client(sim) as client:
        got = events(client.ask(CHAT, broken("huge_line", size_bytes=300_000))[2])

    assert len(got[1]["padding"]) == 300_000
    assert sum(bool(event["choices"]) for event in got[:-1]) == 4


def test_wrong_usage(sim: RunningSimulator):
    """4 tokens, and usage says 11."""
    with Client(sim) as client:
        assert events(client.ask(CHAT, broken("wrong_usage"))[2])[-2]["usage"]["completion_tokens"] == 11


@pytest.mark.parametrize(("kind", "first"), [("early_close", b""), ("garbage_status", b"HTTP/1.1 garbage\r\n\r\n")])
def test_no_headers(sim: RunningSimulator, kind: str, first: bytes):
    """Nothing, or no status line, and the end."""
    with Client(sim) as client:
        client.sock.sendall(request_bytes(CHAT, broken(kind)))
        assert client.rest() == first


def test_stall_and_slow_headers_are_in_the_plan():
    """A stall stands before the chunk after at_chunk; slow headers hold back the head."""
    shape = ResponseShape()
    stalled = plan(
        SimResponse(False, True, "m", 1, 0, 6, "length", False, shape, Fault(kind="stall", at_chunk=2, delay_s=3.0))
    )
    slow = plan(SimResponse(False, True, "m", 1, 0, 6, "length", False, shape, Fault(kind="slow_headers", delay_s=2.0)))

    assert [(w.repeat, w.stall_s) for w in stalled.writes[1:-1]] == [(1, s) for s in (0, 0, 3.0, 0, 0, 0)]
    assert slow.writes[0].at_s == 2.0


def test_refuse():
    """A server that refuses has a port where nobody listens."""
    with simulator(SimulatorConfig(refuse=True)) as sim, pytest.raises(ConnectionRefusedError):
        socket.create_connection((sim.host, sim.port), timeout=5)


def test_drawn_faults_repeat_with_the_seed():
    """The same seed hits the same requests, about as many as its probability says."""
    config = SimulatorConfig(faults=(Fault(kind="reset", probability=0.25),), seed=7)
    hits = [n for n in range(1000) if drawn_fault(config, n)]

    assert hits == [n for n in range(1000) if drawn_fault(config, n)]
    assert 200 < len(hits) < 300
    assert hits != [n for n in range(1000) if drawn_fault(SimulatorConfig(faults=config.faults, seed=8), n)]


def test_server_faults_hit_requests_that_ask_for_none():
    """A rule with probability 1 hits every request but those that ask for no fault."""
    with simulator(SimulatorConfig(faults=(Fault(kind="http_503"),))) as sim, Client(sim) as client:
        assert client.ask(CHAT, chat())[0] == 503
        assert client.ask(CHAT, chat(sim={"fault": None}))[0] == 200
