"""Start any server that benchsuite knows and hold it while it is measured: a process of this machine, or containers.

Containers are `docker compose up` in the foreground, so that they stop with benchsuite however it ends: the guard ends
`up`, and `up` stops them. The compose file is made of what `servers` says; Compose reads JSON too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchsuite import __version__
from benchsuite.errors import EngineError, os_error_as
from benchsuite.redact import masked
from benchsuite.servers.base import fill
from benchsuite.serving.launch_plan import LaunchPlan, LocalCommand, local_command
from benchsuite.serving.process import (
    LOOPBACK,
    ServerProcess,
    free_port,
    private_file,
    require_free_port,
    running_server,
    without_secrets,
)
from benchsuite.serving.tiny_model import cache_dir
from benchsuite.telemetry.http import ask_json, post_json_lines

LOG_NAME = "serve.log"
_KEPT_LOGS = 20
_STOP_TIMEOUT_S = 30.0
_COMPOSE_STOP_TIMEOUT_S = 60.0  # the containers have 30 s of it
_REPORT_EVERY_S = 5.0
_LOAD_TIMEOUT_S = 1800.0
SERVICE = "server"
UP = ("up", "--no-color", "--abort-on-container-exit")
_DOWN = ("down", "--timeout", "30")
_DOWN_TIMEOUT_S = 120.0
_ASK_TIMEOUT_S = 30.0
_HEALTH = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}{path}', timeout=5)"


@dataclass(frozen=True, slots=True)
class LaunchedServer:
    """A server that is ready. Whatever is not known is None."""

    plan: LaunchPlan
    base_url: str  # without /v1
    process: ServerProcess
    model: str | None  # its name in requests
    version: str | None  # of the engine
    quantization: str | None
    image: str | None = None
    image_digest: str | None = None
    container_pid: int | None = None  # on this host

    def pids(self) -> tuple[int, ...]:
        """The server's processes on this machine: what was started, its container's, and all their descendants."""
        pids: dict[int, None] = {}
        for pid in (self.process.child.pid, self.container_pid):
            with contextlib.suppress(psutil.Error):
                children = psutil.Process(pid).children(recursive=True) if pid else []
                pids |= dict.fromkeys([*filter(None, [pid]), *(child.pid for child in children)])
        return tuple(pids)

    def facts(self) -> dict[str, Any]:
        """What was started, for the manifest, without keys and tokens. gpus: as CUDA_VISIBLE_DEVICES names them."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # the server inherits it
        return {
            "engine": self.plan.engine,
            "plan": shlex.join(without_secrets(shlex.split(replace(self.plan, port=None).text))),
            "version": self.version,
            "command": without_secrets(self.process.command),
            "pid": self.process.child.pid,
            "image": self.image,
            "image_digest": self.image_digest,
            "model": self.model,
            "quantization": self.quantization,
            "gpus": None if visible is None else [word.strip() for word in visible.split(",") if word.strip()],
        }


@contextlib.contextmanager
def launched(
    plan: LaunchPlan,
    *,
    log_path: Path | None = None,
    ready_timeout_s: float | None = None,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[LaunchedServer]:
    """Run the server of `plan` while the block runs; enter it when the server answers.

    It listens on 127.0.0.1 unless its own arguments say --host. log_path: None keeps the log in the cache folder, where
    the last 20 stay. ready_timeout_s: None is 60 s for the embedded engines, else 1800. on_wait: called every 5 s with
    what the server last wrote. The server ends with the block, with an exception, and with this process however it
    ends. Raises EngineError (not installed, died, not ready in time; with the end of its log).
    """
    port = plan.port or free_port()
    if plan.port is not None:
        require_free_port(port)
    log_path = log_path or _new_log(plan.engine)
    base_url = f"http://{LOOPBACK}:{port}"
    with contextlib.ExitStack() as stack:
        compose = stack.enter_context(compose_project(plan, port, log_path, on_wait)) if plan.docker else None
        command = LocalCommand([*compose, *UP], {}, None) if compose else local_command(plan, port)
        process = stack.enter_context(
            running_server(
                command.words,
                ready_url=base_url + plan.server.ready_path,
                log_path=log_path,
                env=command.env,
                ready_timeout_s=ready_timeout_s or plan.local.ready_timeout_s,
                stop_timeout_s=_COMPOSE_STOP_TIMEOUT_S if compose else _STOP_TIMEOUT_S,
                guarded=not plan.local.embedded,  # which ends with its standard input by itself
                afterwards=[*compose, *_DOWN] if compose else (),
                on_wait=on_wait,
            )
        )
        info = (ask_json(base_url, plan.server.info_path) if plan.server.info_path else None) or {}
        version = info.get("version")
        routes, quantization = plan.local.model_routes, plan.quantization
        if routes is not None and plan.model:
            load_model(routes, base_url, plan.model, on_wait)
            with contextlib.suppress(OSError, StopIteration):
                reply = next(post_json_lines(base_url, routes["show"], {"model": plan.model}, timeout_s=10.0))
                details = reply.get("details")
                level = details.get("quantization_level") if isinstance(details, dict) else None
                quantization = None if level == "unknown" else level  # like Q4_K_M
        yield LaunchedServer(
            plan,
            base_url,
            process,
            plan.served_name or plan.local.default_name,
            f"{plan.engine} {version}" if version else _package_version(plan, command.python),
            quantization,
            **(container_facts(compose) if compose else {}),
        )


def keep_log(server: LaunchedServer, folder: Path) -> Path | None:
    """Copy what the server wrote so far into `folder`; None where that cannot be done. Raises nothing.

    It is serve.log; where there is one, of a run before it was resumed, serve-2.log and
    so on.
    """
    for name in (LOG_NAME, *(f"serve-{number}.log" for number in range(2, 1000))):
        try:  # a link of this name is there too, wherever it leads
            server.process.log.flush()
            with server.process.log_path.open("rb") as log, private_file(folder / name, os.O_EXCL) as copy:
                shutil.copyfileobj(log, copy.buffer)
            return folder / name
        except FileExistsError:
            continue
        except OSError:
            break
    return None


def _package_version(plan: LaunchPlan, python: str | None) -> str | None:
    """Of the Python package that the interpreter has; None where it cannot say."""
    package = (plan.local.package or "").partition("[")[0]
    if not package or python is None:
        return f"{plan.engine} {__version__}" if plan.local.embedded else None
    program = f"import importlib.metadata as m; print({package!r}, m.version({package!r}))"
    return (_output([python, "-c", program]) or "").strip() or None


def load_model(routes: Mapping[str, str], base_url: str, model: str, on_wait: Callable[[str], None]) -> None:
    """Pull `model` unless it is there, and load it for good, so that no request pays for it. Raises EngineError."""
    listed = ask_json(base_url, routes["list"]) or {}
    names = {str(entry.get("name")) for entry in listed.get("models") or () if isinstance(entry, dict)}
    load = ("load", {"model": model, "keep_alive": -1, "stream": False})
    pull = ("pull", {"model": model, "stream": True})
    for verb, body in [load] if {model, f"{model}:latest"} & names else [pull, load]:
        path = routes[verb]
        on_wait(f"{verb}ing {model}")
        failed, reported_s = f"the server cannot {verb} {model}", time.monotonic()
        with os_error_as(EngineError, failed, base_url + path):
            for line in post_json_lines(base_url, path, body, timeout_s=_LOAD_TIMEOUT_S):
                if "error" in line:
                    raise EngineError(failed, where=base_url + path, given=line["error"])
                if time.monotonic() - reported_s >= _REPORT_EVERY_S and "status" in line:
                    reported_s = time.monotonic()
                    done, total = line.get("completed"), line.get("total")
                    share = f" {done / total:.0%}" if isinstance(done, int) and isinstance(total, int) and total else ""
                    on_wait(f"{line['status']}{share}")


def _new_log(engine: str) -> Path:
    folder = cache_dir() / "logs"
    hint = "--log FILE, or set XDG_CACHE_HOME"
    with os_error_as(EngineError, "the server's log cannot be written", hint=hint):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for path in sorted(folder.glob("*.log"))[: -_KEPT_LOGS + 1]:
            path.unlink(missing_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{engine}-{os.getpid()}.log"


@contextlib.contextmanager
def compose_project(
    plan: LaunchPlan, port: int, log_path: Path, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[list[str]]:
    """`docker compose` for the containers of `plan`, which are removed at the end; volumes with weights stay.

    on_wait: told what they are called, and if they are left.

    Raises EngineError: no docker, no compose.
    """
    docker = _docker()
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as folder:
        file = Path(folder) / "compose.json"
        file.write_text(json.dumps(compose_file(plan, port)), "utf-8")
        name, removed = f"benchsuite-{plan.engine}-{port}", False
        compose = [docker, "compose", "-p", name, "-f", str(file)]
        on_wait(f"its containers are the Compose project {name}")
        try:
            yield compose
        finally:
            try:
                with (
                    contextlib.suppress(OSError, subprocess.SubprocessError),
                    private_file(log_path, os.O_APPEND) as log,
                ):
                    done = subprocess.run(
                        [*compose, *_DOWN], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, timeout=_DOWN_TIMEOUT_S, text=True, errors="surrogateescape",
                    )  # fmt: skip
                    removed = done.returncode == 0
                    log.write(masked(done.stdout))
            finally:
                if not removed:
                    on_wait(f"its containers may remain: docker compose -p {name} down")


def compose_file(plan: LaunchPlan, port: int) -> dict[str, Any]:
    """The compose file of a plan: pinned image, loopback only, GPUs, weights in volumes that stay, a health check.

    Tokens stay in the caller's environment: a variable without a value is passed on if it is set there.
    """
    box = plan.server.docker
    assert box is not None, plan.engine
    port_inside = box.port or plan.server.ports[0]
    command = [*fill(box.command, model=plan.model), *plan.arguments]
    health = box.health or ("python3", "-c", _HEALTH.format(port=port_inside, path=plan.server.ready_path))
    asked, visible = os.environ.get("GPU_COUNT", ""), "CUDA_VISIBLE_DEVICES" in os.environ
    count = int(asked) if asked.isdecimal() else "all" if visible else plan.gpus or "all"
    gpu = {"driver": "nvidia", "count": count, "capabilities": ["gpu"]}
    names = map(plan.variable, plan.local.settings or ()) if plan.local.as_env else ()
    environment: dict[str, str | None] = dict.fromkeys((*names, "CUDA_VISIBLE_DEVICES"))
    for default in box.environment:
        name, equals, value = default.partition("=")
        environment[name] = value if equals and name not in os.environ else None
    service = {
        "image": plan.image or box.image,
        # a $ would be a variable to Compose
        **({"command": [word.replace("$", "$$") for word in command]} if command else {}),
        "ports": [f"{LOOPBACK}:{port}:{port_inside}"],
        "environment": environment | plan.environment,
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
    """The image by name and digest, and the process on this host; empty where docker does not say."""
    docker, container = compose[0], (_output([*compose, "ps", "-q", SERVICE]) or "").partition("\n")[0]
    inspected = _output([docker, "inspect", "--format", "{{.Config.Image}} {{.Image}} {{.State.Pid}}", container]) or ""
    if len(words := inspected.split()) != 3:
        return {}
    image, image_id, pid = words
    digests = (_output([docker, "image", "inspect", "--format", '{{join .RepoDigests " "}}', image_id]) or "").split()
    return {"image": image, "image_digest": [*digests, image_id][0], "container_pid": int(pid) or None}


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
