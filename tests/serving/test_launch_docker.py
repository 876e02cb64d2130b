"""Servers in containers, against a fake docker that notes its calls; the compose files themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from launch_fixtures import Fakes, ended, put_program

from benchsuite.errors import EngineError
from benchsuite.serving.launch import launched, parse_serve

ROOT = Path(__file__).parents[2]
COMPOSE = Path(str(files("benchsuite.serving") / "compose"))
FILES = sorted(path.name for path in COMPOSE.iterdir())
PINNED = {
    "compose.vllm.yml": "image: ${VLLM_IMAGE:-vllm/vllm-openai:v0.32.0}",
    "compose.tgi.yml": "image: ${TGI_IMAGE:-ghcr.io/huggingface/text-generation-inference:3.3.5}",
    "compose.ollama.yml": "image: ${OLLAMA_IMAGE:-ollama/ollama:0.34.0}",
    "compose.balanced.yml": "image: ${VLLM_IMAGE:-vllm/vllm-openai:v0.32.0}",
}


@pytest.fixture
def docker(fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake docker on PATH; returns the file of its calls."""
    put_program(fakes.bin, "docker", f'exec {sys.executable} {Path(__file__).with_name("fake_docker.py")} "$@"')
    calls = tmp_path / "calls"
    monkeypatch.setenv("FAKE_CALLS", str(calls))
    monkeypatch.delenv("GPU_COUNT", raising=False)
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
    assert up["argv"][:5] == ["compose", "-p", f"benchsuite-vllm-{port}", "-f", str(COMPOSE / "compose.vllm.yml")]
    assert up["argv"][-3:] == ["up", "--no-color", "--abort-on-container-exit"]
    assert up["override"] == {
        "services": {
            "server": {"command": ["--model", "org/m", "--tensor-parallel-size", "2", "--chat-template", "$$x"]}
        }
    }
    assert (up["env"]["PORT"], up["env"]["MODEL"], up["env"]["GPU_COUNT"]) == (port, "org/m", "2")
    assert calls[-1]["argv"][1:-3] == up["argv"][1:-3]
    assert calls[-1]["argv"][-3:] == ["down", "--timeout", "30"]
    facts = engine.facts()
    assert (facts["image"], facts["image_digest"]) == ("vllm/vllm-openai:v0.32.0", "vllm/vllm-openai@sha256:d16e57")
    assert facts["version"] == "vllm 0.32.0"
    assert engine.log_path.read_text() == "server-1  | loading weights\nContainer removed\n"


def test_an_image_of_ones_own(docker: Path) -> None:
    """--image goes before the compose file's; TGI keeps its port inside the container."""
    with launched(parse_serve("docker:tgi m --image tgi@sha256:ab -- --num-shard 2")):
        pass
    assert calls_of(docker)[1]["override"] == {
        "services": {
            "server": {"command": ["--model-id", "m", "--port", "80", "--num-shard", "2"], "image": "tgi@sha256:ab"}
        }
    }


def test_an_exception_takes_the_containers_down(docker: Path) -> None:
    """Whatever happens in the block, `down` comes last."""
    with pytest.raises(KeyboardInterrupt), launched(parse_serve("docker:vllm m")):
        raise KeyboardInterrupt
    assert verb(calls_of(docker)[-1]) == "down"


def test_a_killed_benchsuite_stops_the_containers(docker: Path) -> None:
    """kill -9 of the process that launched it ends `up`, which stops the containers."""
    program = (
        "import signal\nfrom benchsuite.serving.launch import launched, parse_serve\n"
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


def test_the_folder_docker_shows_the_packaged_files() -> None:
    """docker/ at the top has every compose file once: as a link to the one that is installed."""
    for name in FILES:
        assert (ROOT / "docker" / name).resolve() == (COMPOSE / name).resolve()


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yml")])
def test_compose_files_say_what_they_must(name: str) -> None:
    """Pinned image, loopback only, GPUs reserved, a health check without curl, weights in volumes, no token inside."""
    text = (COMPOSE / name).read_text()
    assert PINNED[name] in text
    assert text.count('- "127.0.0.1:') == text.count("ports:") > 0
    for needed in ("driver: nvidia", "capabilities: [gpu]", "healthcheck:", "start_period:", "volumes:"):
        assert needed in text
    assert "curl" not in text.replace("maybe no curl", "").replace("neither curl", "")
    assert "HF_TOKEN=" not in text
    assert ":latest" not in text


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".yml")])
def test_compose_accepts_the_files(name: str) -> None:
    """`docker compose config`, where it is there, finds the services."""
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "compose", "version"], capture_output=True).returncode:
        pytest.skip("no docker compose here")
    said = subprocess.run(
        [program, "compose", "-f", COMPOSE / name, "config", "--services"],
        env={**os.environ, "MODEL": "m"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    services = {"replica-a", "replica-b", "nginx"} if "balanced" in name else {"server"}
    assert set(said.stdout.split()) == services
