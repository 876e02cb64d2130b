"""Servers in containers: `docker compose up` in the foreground as the process that is held, `down` at the end.

The compose files lie in serving/compose. In the foreground, so that the containers stop with benchsuite however it
ends: the keeper ends `up`, and `up` stops them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from benchsuite.errors import EngineError
from benchsuite.serving.launch_plan import LaunchPlan, argument, ollama_environment, served_name
from benchsuite.serving.process import LOOPBACK, LaunchedServer, running_server, visible_gpus

COMPOSE = "compose"
SERVICE = "server"
_STOP_TIMEOUT_S = 60.0  # the containers have 30 s of it
_ASK_TIMEOUT_S = 30.0
_READY_PATHS = {"vllm": "/health", "tgi": "/health", "ollama": "/api/version"}


@contextlib.contextmanager
def running_containers(
    plan: LaunchPlan, port: int, log_path: Path, ready_timeout_s: float, on_wait: Callable[[str], None]
) -> Iterator[LaunchedServer]:
    """The containers of `plan` while the block runs, its image known by digest; without the engine's own version.

    Raises EngineError: no docker, no compose, containers that end or are not ready in time.
    """
    docker = _docker()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(as_file(files("benchsuite.serving") / COMPOSE))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchsuite-")))
        (scratch / "override.json").write_text(json.dumps(override(plan)), "utf-8")
        compose = [docker, "compose", "-p", f"benchsuite-{plan.engine}-{port}"]
        compose += ["-f", str(folder / f"compose.{plan.engine}.yml"), "-f", str(scratch / "override.json")]
        env = environment(plan, port)
        stack.callback(_down, compose, env, log_path)
        base_url = f"http://{LOOPBACK}:{port}"
        process = stack.enter_context(
            running_server(
                [*compose, "up", "--no-color", "--abort-on-container-exit"],
                ready_url=base_url + _READY_PATHS[plan.engine],
                log_path=log_path,
                env=env,
                ready_timeout_s=ready_timeout_s,
                stop_timeout_s=_STOP_TIMEOUT_S,
                guarded=True,
                on_wait=on_wait,
            )
        )
        container = _said([*compose, "ps", "-q", SERVICE], env) or ""
        facts = _container_facts(docker, container.split("\n")[0].strip())
        yield LaunchedServer(base_url, served_name(plan), None, process, name=plan.engine, gpus=visible_gpus(), **facts)


def override(plan: LaunchPlan) -> dict[str, Any]:
    """What the plan changes in the compose file: the command, word for word, and the image. Compose reads JSON too."""
    server: dict[str, Any] = {}
    if plan.engine == "vllm":
        server["command"] = [*(["--model", plan.model] if plan.model else []), *plan.args]
    elif plan.engine == "tgi":
        server["command"] = [*(["--model-id", plan.model] if plan.model else []), "--port", "80", *plan.args]
    if "command" in server:  # a $ would be a variable to Compose
        server["command"] = [word.replace("$", "$$") for word in server["command"]]
    if plan.image is not None:
        server["image"] = plan.image
    return {"services": {SERVICE: server}}


def environment(plan: LaunchPlan, port: int) -> dict[str, str]:
    """The variables that the compose file asks for. Tokens come from the caller's environment, never from here."""
    env = {"PORT": str(port), "MODEL": plan.model or served_name(plan) or "", "ARGS": shlex.join(plan.args)}
    count = argument(plan.args, "--tensor-parallel-size") or argument(plan.args, "-tp")
    if plan.engine == "ollama":
        env |= {"OLLAMA_KEEP_ALIVE": "-1", **ollama_environment(plan.args)}
    elif count and "GPU_COUNT" not in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ:
        env["GPU_COUNT"] = count
    return env


def _docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        raise EngineError(
            "docker is not installed here", where="PATH", expected="the program docker with its plugin compose"
        )
    if _said([docker, "compose", "version"], {}) is None:
        raise EngineError(
            "docker has no compose here",
            where=f"{docker} compose version",
            expected="Docker Compose v2",
            hint="install the package docker-compose-plugin",
        )
    return docker


def _container_facts(docker: str, container: str) -> dict[str, Any]:
    """The image by name and digest, and the process on this host; None what docker does not say."""
    told = _first(_said([docker, "inspect", container], {})) if container else {}
    image_id = told.get("Image")
    image = _first(_said([docker, "image", "inspect", image_id], {})) if isinstance(image_id, str) else {}
    digests = image.get("RepoDigests") or []
    state, config = told.get("State"), told.get("Config")
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


def _said(command: list[str], env: Mapping[str, str]) -> str | None:
    try:
        said = subprocess.run(
            command, env={**os.environ, **env}, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout


def _down(compose: list[str], env: Mapping[str, str], log_path: Path) -> None:
    """Remove the containers and their network; the volumes with weights stay."""
    with contextlib.suppress(OSError, subprocess.SubprocessError), log_path.open("ab") as log:
        subprocess.run(
            [*compose, "down", "--timeout", "30"],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=2 * _STOP_TIMEOUT_S,
            check=False,
        )
