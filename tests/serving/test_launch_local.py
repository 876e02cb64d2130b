"""Servers that are processes here: how each is called, what is known of it, and that nothing of it is left."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from launch_fixtures import Fakes, ended, put_program

from benchsuite.errors import EngineError
from benchsuite.servers import SERVERS
from benchsuite.serving import process as process_module
from benchsuite.serving.launch import keep_log, launched
from benchsuite.serving.launch_plan import parse_serve


def test_vllm(fakes: Fakes, tmp_path: Path) -> None:
    """`vllm serve MODEL` on loopback, the rest unchanged; version, command and all processes are known."""
    fakes.server("vllm")
    fakes.monkeypatch.setenv("FAKE_STRAY", "1")
    fakes.monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-8f3c")
    with launched(parse_serve("vllm org/m --max-num-seqs 64 --quantization fp8")) as engine:
        port = engine.base_url.rpartition(":")[2]
        argv = ["serve", "org/m", "--host", "127.0.0.1", "--port", port]
        noted = fakes.noted
        assert noted["argv"] == [*argv, "--max-num-seqs", "64", "--quantization", "fp8"]
        assert set(noted["pids"]) < set(engine.pids())
        assert keep_log(engine, tmp_path) == tmp_path / "serve.log"
        assert keep_log(engine, tmp_path) == tmp_path / "serve-2.log"
    assert engine.facts() == {
        "engine": "vllm",
        "plan": "vllm org/m -- --max-num-seqs 64 --quantization fp8",
        "version": "vllm 0.32.0",
        "command": [str(fakes.bin / "vllm"), *noted["argv"]],
        "pid": engine.process.child.pid,
        "image": None,
        "image_digest": None,
        "model": "org/m",
        "quantization": "fp8",
        "gpus": ["1", "GPU-8f3c"],
    }
    assert ended([*noted["pids"], engine.process.child.pid])
    assert (tmp_path / "serve.log").read_text() == "loading weights\n"
    assert engine.process.log_path.parent == tmp_path / "cache" / "benchsuite" / "logs"


def test_an_environment_of_its_own(fakes: Fakes, tmp_path: Path) -> None:
    """--python names an environment: its script is called, or its interpreter where there is no script."""
    fakes.server("vllm", tmp_path / "venv-bin")
    fakes.server("python", tmp_path / "other-bin")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "bin").symlink_to(tmp_path / "venv-bin")
    put_program(tmp_path / "venv-bin", "python", "exit 1")
    with launched(parse_serve(f"vllm m --python {tmp_path / 'venv'}")) as engine:
        assert engine.process.command[:2] == (str(tmp_path / "venv" / "bin" / "vllm"), "serve")
    with launched(parse_serve(f"vllm m --python {tmp_path / 'other-bin' / 'python'}")) as engine:
        assert fakes.noted["argv"][:4] == ["-m", "vllm.entrypoints.openai.api_server", "--model", "m"]
    with (
        pytest.raises(EngineError, match=r"(?s)no Python to run vllm.*nowhere"),
        launched(parse_serve("vllm m --python nowhere")),
    ):
        pytest.fail("the block must not run")


def test_tgi(fakes: Fakes) -> None:
    """text-generation-launcher, bound to loopback, with the version of /info."""
    fakes.server("text-generation-launcher")
    with launched(parse_serve("tgi org/m --quantize awq")) as engine:
        port = engine.base_url.rpartition(":")[2]
        assert fakes.noted["argv"] == [
            "--model-id", "org/m", "--hostname", "127.0.0.1", "--port", port, "--quantize", "awq",
        ]  # fmt: skip
    assert (engine.version, engine.model, engine.facts()["quantization"]) == ("tgi 3.3.5", "org/m", "awq")


@pytest.mark.parametrize(
    ("program", "text", "argv", "version"),
    [
        ("sglang", "sglang org/m --tp 2", "serve --model-path org/m --host 127.0.0.1 --port P --enable-metrics --tp 2",
         "sglang 0.5.21"),
        ("sglang", "sglang org/m --host 0.0.0.0", "serve --model-path org/m --port P --enable-metrics --host 0.0.0.0",
         "sglang 0.5.21"),
        ("lmdeploy", "lmdeploy org/m --tp 2",
         "serve api_server org/m --server-name 127.0.0.1 --server-port P --tp 2", None),
        ("trtllm-serve", "trtllm org/m --tp_size 2", "org/m --host 127.0.0.1 --port P --tp_size 2", "trtllm 0.32.0"),
    ],
)  # fmt: skip
def test_documented_servers(fakes: Fakes, program: str, text: str, argv: str, version: str | None) -> None:
    """Servers known from their documentation alone are called as it says, on loopback unless they say otherwise."""
    fakes.server(program)
    with launched(parse_serve(text)) as server:
        port = server.base_url.rpartition(":")[2]
        assert fakes.noted["argv"] == argv.replace(" P", f" {port}").split()
    assert (server.version, server.model) == (version, "org/m")


@pytest.mark.parametrize(("args", "batching"), [("", ["--continuous-batching"]), ("--no-continuous-batching", [])])
def test_transformers(fakes: Fakes, args: str, batching: list[str]) -> None:
    """transformers serve batches continuously unless told not to: alone, it serves one request at a time."""
    fakes.server("transformers")
    with launched(parse_serve(f"transformers org/m {args}")) as engine:
        port = engine.base_url.rpartition(":")[2]
        own = args.split()
        assert fakes.noted["argv"] == ["serve", "org/m", "--host", "127.0.0.1", "--port", port, *batching, *own]


def test_ollama_pulls_and_loads_what_is_not_there(fakes: Fakes) -> None:
    """Settings and address are environment; the model is pulled, loaded for good, and its quantization asked."""
    fakes.server("ollama")
    with launched(parse_serve("ollama new --num-parallel 8")) as engine:
        address = engine.base_url.removeprefix("http://")
        env = {"OLLAMA_HOST": address, "OLLAMA_NUM_PARALLEL": "8", "OLLAMA_KEEP_ALIVE": "-1"}
        assert (fakes.noted["argv"], fakes.noted["env"]) == (["serve"], env)
        with urllib.request.urlopen(f"{engine.base_url}/calls") as answer:
            assert json.load(answer)["calls"] == [
                ["/api/pull", {"model": "new", "stream": True}],
                ["/api/generate", {"model": "new", "keep_alive": -1, "stream": False}],
                ["/api/show", {"model": "new"}],
            ]
    assert (engine.version, engine.facts()["quantization"]) == ("ollama 0.34.0", "Q4_K_M")


def test_ollama_pulls_nothing_that_is_there(fakes: Fakes) -> None:
    """A model without a tag is the tag latest, and is not pulled again."""
    fakes.server("ollama")
    with launched(parse_serve("ollama there")) as engine, urllib.request.urlopen(f"{engine.base_url}/calls") as answer:
        assert [path for path, _ in json.load(answer)["calls"]] == ["/api/generate", "/api/show"]
        assert engine.facts()["quantization"] is None


def test_ollama_without_the_model(fakes: Fakes) -> None:
    """A model that cannot be pulled is an error in Ollama's words, and the server is stopped."""
    fakes.server("ollama")
    with (
        pytest.raises(EngineError, match=r"(?s)cannot pull unknown.*file does not exist"),
        launched(parse_serve("ollama unknown")),
    ):
        pytest.fail("the block must not run")
    assert ended(fakes.noted["pids"])


@pytest.mark.parametrize(
    "engine", [f"{name} m" for name, server in SERVERS.items() if server.local and not server.local.embedded]
)
def test_what_is_not_installed_is_named(fakes: Fakes, engine: str) -> None:
    """A missing program is an error that says what to install."""
    with pytest.raises(EngineError, match=r"(?s)is not installed here.*try:"), launched(parse_serve(engine)):
        pytest.fail("the block must not run")


def test_a_server_that_dies_leaves_its_log(fakes: Fakes) -> None:
    """The error ends with the server's last words, its own exit code, and the place of the whole log."""
    fakes.server("vllm")
    fakes.monkeypatch.setenv("FAKE_DIES", "1")
    with (
        pytest.raises(EngineError, match=r"(?s)exit code 3.*out of memory.*the whole log is") as died,
        launched(parse_serve("vllm m --api-key k-123")),
    ):
        pytest.fail("the block must not run")
    assert "k-123" not in str(died.value)
    assert Path(str(died.value.hint).removeprefix("the whole log is ")).read_text() == "CUDA error: out of memory\n"


def test_waiting_is_told(fakes: Fakes) -> None:
    """Until the server is ready, the time so far and its last line are told."""
    fakes.server("vllm")
    fakes.monkeypatch.setenv("FAKE_DELAY_S", "0.4")
    fakes.monkeypatch.setattr(process_module, "_REPORT_EVERY_S", 0.01)
    told: list[str] = []
    with launched(parse_serve("vllm m"), on_wait=told.append):
        pass
    assert told[-1].split(" s: ")[1] == "loading weights"


def test_nothing_outlives_a_killed_benchsuite(fakes: Fakes) -> None:
    """kill -9 of the process that launched it ends the server, and what the server started in another session."""
    fakes.server("vllm")
    fakes.monkeypatch.setenv("FAKE_STRAY", "1")
    program = (
        "import signal\nfrom benchsuite.serving.launch import launched\n"
        "from benchsuite.serving.launch_plan import parse_serve\n"
        "with launched(parse_serve('vllm m')) as engine:\n"
        "    print(*engine.pids(), flush=True)\n    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 3
    assert ended(pids)
