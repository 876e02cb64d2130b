"""The embedded engine: llama.cpp's real server with the tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchsuite.errors import EngineError
from benchsuite.serving.launch import LaunchedServer, launched
from benchsuite.serving.launch_plan import parse_serve

pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
pytestmark = pytest.mark.engine


def serve(words: str) -> AbstractContextManager[LaunchedServer]:
    """The engine with these arguments."""
    return launched(parse_serve(f"llamacpp {words}"))


@pytest.fixture(scope="module")
def engine() -> Iterator[LaunchedServer]:
    """A running engine with 4 slots."""
    with serve("--slots 4 --ctx 2048") as running:
        yield running


@pytest.fixture(scope="module")
def client(engine: LaunchedServer) -> Iterator[httpx.Client]:
    """An HTTP client of the engine: a connection a request, because llama.cpp promises keep-alive and hangs up."""
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=engine.base_url, trust_env=False, timeout=30.0, limits=limits) as connected:
        yield connected


def stream(client: httpx.Client, text: str, max_tokens: int) -> list[dict[str, Any]]:
    """The events of one streamed chat reply, without [DONE]."""
    body = {
        "model": "tiny-llama",
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    reply = client.post("/v1/chat/completions", json=body).raise_for_status()
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


@pytest.mark.parametrize("max_tokens", [1, 7, 100])
def test_a_reply_has_exactly_max_tokens_tokens(client: httpx.Client, max_tokens: int) -> None:
    """usage counts max_tokens, each token is one visible chunk, and the reason is the length."""
    events = stream(client, f"患者，男性，58岁，胸闷 {max_tokens} 天。", max_tokens)
    choices = [event["choices"][0] for event in events if event["choices"]]
    pieces = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]

    assert events[-1]["usage"]["completion_tokens"] == max_tokens
    assert len(pieces) == max_tokens
    assert "".join(pieces).isascii()
    assert choices[-1]["finish_reason"] == "length"


def test_the_server_splits_text_as_our_tokenizer_does(client: httpx.Client) -> None:
    """llama.cpp and the folder's tokenizer.json give the same ids, for Chinese, JSON and newlines."""
    from tokenizers import Tokenizer

    from benchsuite.serving.tiny_model import cached_tiny_model

    tokenizer = Tokenizer.from_file(str(cached_tiny_model() / "tokenizer.json"))
    text = '患者，男性，58岁，反复胸闷3个月。\n\n {"WBC": [12.3]}  The patient\'s cough'

    assert client.post("/tokenize", json={"content": text}).json()["tokens"] == tokenizer.encode(text).ids


def test_every_slot_has_its_own_context(client: httpx.Client) -> None:
    """4 slots of 2048 tokens each, as asked for."""
    slots = client.get("/slots").json()

    assert [slot["n_ctx"] for slot in slots] == [2048] * 4
    assert client.get("/props").json()["total_slots"] == 4


def test_metrics_count_the_tokens(client: httpx.Client) -> None:
    """llamacpp:tokens_predicted_total grows by exactly the tokens of a reply."""

    def predicted() -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("llamacpp:tokens_predicted_total")).split()[1])

    before = predicted()
    stream(client, "How many?", 13)

    assert predicted() - before == 13


def test_the_engine_tells_what_it_is(engine: LaunchedServer, client: httpx.Client) -> None:
    """Model name, version and log belong to the running server."""
    assert client.get("/v1/models").json()["data"][0]["id"] == engine.model == "tiny-llama"
    assert engine.version.startswith("xllamacpp 20")
    assert "listening on" in engine.process.log_path.read_text("utf-8")


def test_the_engine_stops_with_its_block() -> None:
    """After the block the process is gone, and it ended by itself."""
    with serve("--slots 1 --ctx 512") as running:
        pid = running.process.child.pid

    assert running.process.exit_code() == 0
    assert not psutil.pid_exists(pid)


def test_a_broken_model_ends_with_the_engines_own_words(tmp_path: Path) -> None:
    """A file that is no GGUF is an EngineError with the end of the server's log."""
    broken = tmp_path / "model.gguf"
    broken.write_bytes(b"not a model")

    with (
        pytest.raises(EngineError, match=r"(?s)exited before it was ready.*model\.gguf"),
        launched(parse_serve(f"llamacpp {broken}")),
    ):
        pytest.fail("the block must not run")


def test_a_folder_without_a_gguf_is_named(tmp_path: Path) -> None:
    """A folder without model.gguf is an EngineError that says how to make one."""
    with pytest.raises(EngineError, match="benchsuite tiny-model"), serve(str(tmp_path)):
        pytest.fail("the block must not run")


def test_the_server_dies_with_its_parent() -> None:
    """When the process that started the engine is killed, the server ends too."""
    program = (
        "from benchsuite.serving.launch import launched\n"
        "from benchsuite.serving.launch_plan import parse_serve\n"
        "import signal\n"
        "with launched(parse_serve('llamacpp --slots 1 --ctx 512')) as engine:\n"
        "    print(engine.process.child.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    psutil.wait_procs([server], timeout=10)

    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
