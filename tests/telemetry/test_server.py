"""What real servers say of themselves in /metrics."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from benchsuite.servers import SERVERS
from benchsuite.telemetry.server_metrics import ServerState, read_server_page, read_state

CAPTURES = Path(__file__).parents[1] / "data" / "captures"


def page(name: str) -> str:
    """The body of a captured /metrics."""
    return (CAPTURES / f"{name}_after_metrics.txt").read_bytes().split(b"\r\n\r\n", 1)[1].decode()


@pytest.mark.parametrize(
    ("name", "state"),
    [("vllm", ServerState(0.0, 0.0, 20969.0)), ("llamacpp", ServerState(0.0, 0.0, 20864.0))],
)
def test_real_pages(name, state):
    """A real server's page gives its running and waiting requests and its tokens."""
    with client(httpx.Response(200, text=page(name))) as http:
        assert read_state(http, SERVERS[name]) == state


def test_engines_add_up():
    """Samples of one name are summed over their labels."""
    text = 'vllm:num_requests_running{engine="0"} 2\nvllm:num_requests_running{engine="1"} 3\n'
    assert read_server_page(text).figures == {"running": 5.0}


@pytest.mark.parametrize(
    ("running", "waiting", "idle"),
    [(None, None, None), (None, 1.0, False), (0.0, None, True), (0.0, 0.0, True), (0.0, 1.0, False), (1.0, 0.0, False)],
)
def test_idle(running, waiting, idle):
    """A server is idle when nothing runs or waits; one that does not tell is neither."""
    assert ServerState(running, waiting, None).idle is idle


def client(answer: httpx.Response | Exception) -> httpx.Client:
    """A client whose every request is answered so."""

    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.Client(transport=httpx.MockTransport(handle), base_url="http://h")


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(404), httpx.Response(200, text="<html>"), httpx.ConnectError("no"), httpx.Response(200, text="a{")],
)
def test_no_state(answer):
    """A server without a readable page has no state, and that is no error."""
    with client(answer) as http:
        assert read_state(http, SERVERS["vllm"]) == ServerState()


def test_profiles_without_metrics():
    """A server without /metrics is not asked."""
    with client(AssertionError("asked")) as http:
        assert read_state(http, SERVERS["ollama"]) == ServerState()


@pytest.mark.parametrize(("running", "idle"), [("0", True), ("1", False), ("NaN", None), ("+Inf", None)])
def test_idle_by_its_gauge(running: str, idle: bool | None):
    """A server is idle when nothing runs; a gauge that says nothing leaves it open."""
    with client(httpx.Response(200, text=f"vllm:num_requests_running {running}\n")) as http:
        state = read_state(http, SERVERS["vllm"])
    assert (None if state is None else state.idle) is idle
