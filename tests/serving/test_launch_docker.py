"""Servers in containers, against a fake docker that notes its calls; the compose files that are made for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launch_fixtures import Fakes, ended, put_program

from benchsuite.errors import EngineError
from benchsuite.servers import SERVERS
from benchsuite.serving.launch import compose_file, launched
from benchsuite.serving.launch_plan import parse_serve

BALANCED = Path(__file__).parents[2] / "docker" / "compose.balanced.yml"
IN_DOCKER = [name for name, server in SERVERS.items() if server.docker]


@pytest.fixture
def docker(fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake docker on PATH; returns the file of its calls."""
    put_program(fakes.bin, "docker", f'exec {sys.executable} {Path(__file__).with_name("fake_docker.py")} "$@"')
    calls = tmp_path / "calls"
    monkeypatch.setenv("FAKE_CALLS", str(calls))
    for name in ("GPU_COUNT", "OLLAMA_NUM_PARALLEL", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return calls


def calls_of(path: Path) -> list[dict[str, Any]]:
    """The noted calls, in order."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def verb(call: dict[str, Any]) -> str:
    """up, ps, down, inspect, image, version."""
    argv = call["argv"]
    known = ("version", "up", "ps", "down", "image", "inspect")
    return next(word for word in argv if word in known)


def test_up_health_digest_down(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose is brought up with the plan's own command, asked for the image's digest, and taken down."""
    plan = parse_serve("docker:vllm org/m -- --tensor-parallel-size 2 --chat-template '$x'")
    with subprocess.Popen(["sleep", "60"]) as container:
        monkeypatch.setenv("FAKE_PID", str(container.pid))
        with launched(plan) as engine:
            port = engine.base_url.rpartition(":")[2]
            assert container.pid in engine.pids()
        container.kill()
    calls = calls_of(docker)
    assert [verb(call) for call in calls] == ["version", "up", "ps", "inspect", "image", "down"]
    up = calls[1]
    assert up["argv"][:4] == ["compose", "-p", f"benchsuite-vllm-{port}", "-f"]
    assert up["argv"][-3:] == ["up", "--no-color", "--abort-on-container-exit"]
    service = up["file"]["services"]["server"]
    assert service["image"] == "vllm/vllm-openai:v0.32.0"
    assert service["command"] == ["--model", "org/m", "--tensor-parallel-size", "2", "--chat-template", "$$x"]
    assert service["ports"] == [f"127.0.0.1:{port}:8000"]
    assert service["environment"] == {"CUDA_VISIBLE_DEVICES": None, "HF_TOKEN": None, "VLLM_NO_USAGE_STATS": "1"}
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2
    assert calls[-1]["argv"][1:-3] == up["argv"][1:-3]
    assert calls[-1]["argv"][-3:] == ["down", "--timeout", "30"]
    facts = engine.facts()
    assert (facts["image"], facts["image_digest"]) == ("vllm/vllm-openai:v0.32.0", "vllm/vllm-openai@sha256:d16e57")
    assert facts["version"] == "vllm 0.32.0"
    assert engine.process.log_path.read_text() == "server-1  | loading weights\nContainer removed\n"


def test_an_image_of_ones_own(docker: Path) -> None:
    """--image goes before the compose file's; TGI keeps its port inside the container."""
    with launched(parse_serve("docker:tgi m --image tgi@sha256:ab -- --num-shard 2")):
        pass
    service = calls_of(docker)[1]["file"]["services"]["server"]
    assert service["command"] == ["--model-id", "m", "--port", "80", "--num-shard", "2"]
    assert (service["image"], service["shm_size"]) == ("tgi@sha256:ab", "1g")


def test_an_exception_takes_the_containers_down(docker: Path) -> None:
    """Whatever happens in the block, `down` comes last."""
    with pytest.raises(KeyboardInterrupt), launched(parse_serve("docker:vllm m")):
        raise KeyboardInterrupt
    assert verb(calls_of(docker)[-1]) == "down"


def test_a_killed_benchsuite_stops_the_containers(docker: Path) -> None:
    """kill -9 of the process that launched it ends `up`, which stops the containers."""
    program = (
        "import signal\nfrom benchsuite.serving.launch import launched\n"
        "from benchsuite.serving.launch_plan import parse_serve\n"
        "with launched(parse_serve('docker:vllm m')) as engine:\n"
        "    print(*engine.pids(), flush=True)\n    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    assert ended(pids)


def test_without_docker_or_compose(docker: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the plugin, and without docker, the error says what to install; nothing is brought up."""
    monkeypatch.setenv("FAKE_NO_COMPOSE", "1")
    with pytest.raises(EngineError, match="docker-compose-plugin"), launched(parse_serve("docker:vllm m")):
        pytest.fail("the block must not run")
    assert [verb(call) for call in calls_of(docker)] == ["version"]
    monkeypatch.setenv("PATH", str(fakes.bin / "nowhere"))
    with pytest.raises(EngineError, match="docker is not installed"), launched(parse_serve("docker:vllm m")):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("name", IN_DOCKER)
def test_compose_files_say_what_they_must(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned image, loopback only, GPUs reserved, a health check without curl, weights in volumes, no token inside."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    made = compose_file(parse_serve(f"docker:{name} m"), 8123)
    service, text = made["services"]["server"], json.dumps(made)
    tag = service["image"].rpartition(":")[2]
    assert any(letter.isdigit() for letter in tag)
    assert all(port.startswith("127.0.0.1:8123:") for port in service["ports"])
    assert service["deploy"]["resources"]["reservations"]["devices"][0] == {
        "driver": "nvidia", "count": "all", "capabilities": ["gpu"],
    }  # fmt: skip
    assert service["volumes"]
    assert {volume.partition(":")[0] for volume in service["volumes"]} == set(made["volumes"])
    assert service["healthcheck"]["test"][0] == "CMD"
    assert "curl" not in text
    assert "hf_secret" not in text


@pytest.mark.parametrize(
    ("text", "variables", "gpus", "environment"),
    [
        ("docker:vllm m", {"GPU_COUNT": "3"}, 3, {}),
        ("docker:vllm m -- -tp 4", {"CUDA_VISIBLE_DEVICES": "0,1"}, "all", {"CUDA_VISIBLE_DEVICES": None}),
        ("docker:sglang m -- --tp 2 --dp 2", {}, 4, {"HF_TOKEN": None}),
        ("docker:ollama m", {}, "all", {"OLLAMA_NUM_PARALLEL": "32", "OLLAMA_MAX_QUEUE": None}),
        ("docker:ollama m", {"OLLAMA_NUM_PARALLEL": "2"}, "all", {"OLLAMA_NUM_PARALLEL": None}),
        ("docker:ollama m --num-parallel 8", {"OLLAMA_NUM_PARALLEL": "2"}, "all", {"OLLAMA_NUM_PARALLEL": "8"}),
    ],
)
def test_gpus_and_variables(docker: Path, monkeypatch, text, variables, gpus, environment) -> None:
    """GPUs by GPU_COUNT, else by CUDA_VISIBLE_DEVICES, else by the arguments; settings go before variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    service = compose_file(parse_serve(text), 8123)["services"]["server"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == gpus
    assert {name: service["environment"].get(name, "none") for name in environment} == environment


def test_the_compose_file_is_printed(cli) -> None:
    """`serve --print-compose` starts nothing and prints a file that Compose reads."""
    printed = cli("serve tgi org/m --port 8123 --print-compose -- --num-shard 2").data
    assert printed == compose_file(parse_serve("docker:tgi org/m -- --num-shard 2"), 8123)


def test_the_balanced_file_has_the_same_image() -> None:
    """The example of two replicas behind one address runs the vLLM that benchsuite starts, on loopback."""
    text = BALANCED.read_text()
    assert SERVERS["vllm"].docker is not None
    assert f"image: ${{VLLM_IMAGE:-{SERVERS['vllm'].docker.image}}}" in text
    assert text.count('- "127.0.0.1:') == text.count("ports:") > 0
    assert "HF_TOKEN=" not in text


@pytest.mark.parametrize("name", [*IN_DOCKER, "balanced"])
def test_compose_accepts_the_files(name: str, tmp_path: Path) -> None:
    """`docker compose config`, where it is there, finds the services."""
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose here")
    file = BALANCED if name == "balanced" else tmp_path / "compose.json"
    if name != "balanced":
        file.write_text(json.dumps(compose_file(parse_serve(f"docker:{name} m"), 8123)))
    done = subprocess.run(
        [program, "compose", "-f", file, "config", "--services"],
        env={**os.environ, "MODEL": "m"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    services = {"replica-a", "replica-b", "nginx"} if name == "balanced" else {"server"}
    assert set(done.stdout.split()) == services
