"""Servers in containers: `docker compose up` in the foreground as the process that is held, `down` at the end.

In the foreground, so that the containers stop with benchsuite however it ends: the guard ends `up`, and `up` stops
them. The compose file is made of what `servers` says; Compose reads JSON too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchsuite.errors import EngineError
from benchsuite.servers.base import fill
from benchsuite.serving.launch_plan import LaunchPlan
from benchsuite.serving.process import LOOPBACK

SERVICE = "server"
UP = ("up", "--no-color", "--abort-on-container-exit")
_DOWN_TIMEOUT_S = 120.0
_ASK_TIMEOUT_S = 30.0
_HEALTH = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}', timeout=5)"


@contextlib.contextmanager
def compose_project(plan: LaunchPlan, port: int, log_path: Path) -> Iterator[list[str]]:
    """`docker compose` for the containers of `plan`, which are removed at the end; volumes with weights stay.

    Raises EngineError: no docker, no compose.
    """
    docker = _docker()
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as folder:
        file = Path(folder) / "compose.json"
        file.write_text(json.dumps(compose_file(plan, port)), "utf-8")
        compose = [docker, "compose", "-p", f"benchsuite-{plan.engine}-{port}", "-f", str(file)]
        try:
            yield compose
        finally:
            with contextlib.suppress(OSError, subprocess.SubprocessError), log_path.open("ab") as log:
                down = [*compose, "down", "--timeout", "30"]
                subprocess.run(down, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_DOWN_TIMEOUT_S)


def compose_file(plan: LaunchPlan, port: int) -> dict[str, Any]:
    """The compose file of a plan: pinned image, loopback only, GPUs, weights in volumes that stay, a health check.

    Tokens stay in the caller's environment: a variable without a value is passed on if it is set there.
    """
    box = plan.server.docker
    assert box is not None, plan.engine
    port_inside = box.port or plan.server.ports[0]
    command = [*fill(box.command, model=plan.model), *plan.arguments]
    health = box.health or ("python3", "-c", _HEALTH.format(port=port_inside, path=plan.server.ready_path))
    gpu = {"driver": "nvidia", "count": _gpu_count(plan), "capabilities": ["gpu"]}
    service = {
        "image": plan.image or box.image,
        # a $ would be a variable to Compose
        **({"command": [word.replace("$", "$$") for word in command]} if command else {}),
        "ports": [f"{LOOPBACK}:{port}:{port_inside}"],
        "environment": _environment(plan, box.environment),
        "volumes": [f"{name}:{path}" for name, path in box.volumes.items()],
        **({"ipc": "host"} if box.shared_memory == "host" else {"shm_size": box.shared_memory}),
        "deploy": {"resources": {"reservations": {"devices": [gpu]}}},
        "healthcheck": {
            "test": ["CMD", *health],
            "interval": "10s",
            "timeout": "10s",
            "retries": 3,
            "start_period": f"{plan.local.ready_timeout_s:g}s",  # weights are downloaded before it answers
        },
        "stop_grace_period": "30s",
    }
    return {"services": {SERVICE: service}, "volumes": {name: {"name": f"benchsuite-{name}"} for name in box.volumes}}


def _environment(plan: LaunchPlan, defaults: tuple[str, ...]) -> dict[str, str | None]:
    prefix = plan.local.as_env
    names = [prefix + name.upper().replace("-", "_") for name in plan.local.settings or ()] if prefix else []
    given: dict[str, str | None] = dict.fromkeys((*names, "CUDA_VISIBLE_DEVICES"))
    for default in defaults:
        name, equals, value = default.partition("=")
        given[name] = value if equals and name not in os.environ else None
    return given | plan.environment


def _gpu_count(plan: LaunchPlan) -> int | str:
    count = os.environ.get("GPU_COUNT", "")
    if count.isdecimal():
        return int(count)
    return "all" if "CUDA_VISIBLE_DEVICES" in os.environ else plan.gpus or "all"


def _docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        raise EngineError(
            "docker is not installed here", where="PATH", expected="the program docker with its plugin compose"
        )
    if _output([docker, "compose", "version"]) is None:
        raise EngineError(
            "docker has no compose here",
            where=f"{docker} compose version",
            expected="Docker Compose v2",
            hint="install the package docker-compose-plugin",
        )
    return docker


def container_facts(compose: list[str]) -> dict[str, Any]:
    """The image by name and digest, and the process on this host; None what docker does not say."""
    docker, container = compose[0], (_output([*compose, "ps", "-q", SERVICE]) or "").split("\n")[0].strip()
    inspected = _first(_output([docker, "inspect", container])) if container else {}
    image_id = inspected.get("Image")
    image = _first(_output([docker, "image", "inspect", image_id])) if isinstance(image_id, str) else {}
    digests = image.get("RepoDigests") or []
    state, config = inspected.get("State"), inspected.get("Config")
    return {
        "image": config.get("Image") if isinstance(config, dict) else None,
        "image_digest": digests[0] if digests else image_id,
        "container_pid": (state.get("Pid") or None) if isinstance(state, dict) else None,
    }


def _first(text: str | None) -> dict[str, Any]:
    try:
        tree = json.loads(text or "[]")
    except ValueError:
        return {}
    return tree[0] if isinstance(tree, list) and tree and isinstance(tree[0], dict) else {}


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
