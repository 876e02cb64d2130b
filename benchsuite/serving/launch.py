"""Start any server that benchsuite knows and hold it while it is measured: a process of this machine, or containers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchsuite import __version__
from benchsuite.errors import EngineError
from benchsuite.redact import masked_bytes
from benchsuite.servers.base import ModelStore
from benchsuite.serving.docker import running_containers
from benchsuite.serving.launch_plan import LaunchPlan, check_plan, local_command
from benchsuite.serving.llamacpp import llamacpp
from benchsuite.serving.process import (
    LOOPBACK,
    LaunchedServer,
    free_port,
    require_free_port,
    running_server,
    visible_gpus,
)
from benchsuite.serving.tiny_model import cache_dir
from benchsuite.telemetry.http import ask_json, post_json_lines

LOG_NAME = "serve.log"
_KEPT_LOGS = 20
_STOP_TIMEOUT_S = 30.0
_REPORT_EVERY_S = 5.0
_LOAD_TIMEOUT_S = 1800.0


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
    the last 20 stay. ready_timeout_s: None is 60 s for the embedded engines, else 1800. on_wait: told every 5 s what
    the server last wrote. The server ends with the block, with an exception, and with this process however it ends.
    Raises InputError (the plan), EngineError (not installed, died, not ready in time; with the end of its log).
    """
    check_plan(plan)
    if plan.port is None:
        port = free_port()
    else:
        port = plan.port
        require_free_port(port)
    log_path = log_path if log_path is not None else _new_log(plan.engine)
    ready_timeout_s = ready_timeout_s or plan.local.ready_timeout_s
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(_started(plan, port, log_path, ready_timeout_s, on_wait))
        except EngineError as error:
            if error.hint is None and log_path.exists():
                hint = f"the whole log is {log_path}"
                raise EngineError(
                    error.what, where=error.where, given=error.given, expected=error.expected, hint=hint
                ) from error
            raise
        yield replace(server, plan=replace(plan, port=None).text)


def keep_log(server: LaunchedServer, folder: Path) -> Path | None:
    """Copy what the server wrote so far into `folder`; None where that cannot be done. Raises nothing.

    Our API keys are starred out. It is serve.log; where there is one, of a run before it was resumed, serve-2.log and
    so on.
    """
    names = (LOG_NAME, *(f"serve-{number}.log" for number in range(2, 1000)))
    free = next((folder / name for name in names if not (folder / name).exists()), folder / LOG_NAME)
    try:
        with server.log_path.open("rb") as log, free.open("wb") as copy:
            copy.writelines(map(masked_bytes, log))
        return free
    except OSError:
        return None


@contextlib.contextmanager
def _started(
    plan: LaunchPlan, port: int, log_path: Path, ready_timeout_s: float, on_wait: Callable[[str], None]
) -> Iterator[LaunchedServer]:
    if plan.engine == "llamacpp":
        settings = {"context_tokens" if name == "ctx" else name: value for name, value in plan.settings.items()}
        model = plan.model or settings.pop("model", None)
        settings |= {"model": Path(model) if model else None, "port": port, "log_path": log_path}
        with llamacpp(**settings, ready_timeout_s=ready_timeout_s) as server:
            yield server
        return
    if plan.how == "docker":
        with running_containers(plan, port, log_path, ready_timeout_s, on_wait) as server:
            yield _described(plan, server, None, on_wait)
        return
    command = local_command(plan, port)
    base_url = f"http://{LOOPBACK}:{port}"
    name = plan.served_name or (plan.engine if plan.local.embedded else None)
    with running_server(
        command.words,
        ready_url=base_url + plan.server.ready_path,
        log_path=log_path,
        env=command.env,
        ready_timeout_s=ready_timeout_s,
        stop_timeout_s=_STOP_TIMEOUT_S,
        guarded=not plan.local.embedded,  # which ends with its standard input by itself
        on_wait=on_wait,
    ) as process:
        server = LaunchedServer(base_url, name, None, process, name=plan.engine, gpus=visible_gpus())
        yield _described(plan, server, command.python, on_wait)


def _described(
    plan: LaunchPlan, server: LaunchedServer, python: str | None, on_wait: Callable[[str], None]
) -> LaunchedServer:
    """The server with its model loaded and what it says of itself."""
    path, store, quantisation = plan.server.info_path, plan.local.models, plan.quantisation
    info = (ask_json(server.base_url, path) if path else None) or {}
    version = __version__ if plan.local.embedded else info.get("version") or _package_version(plan, python)
    if store is not None and plan.model:
        load_model(store, server.base_url, plan.model, on_wait)
        quantisation = _stored_quantisation(store, server.base_url, plan.model)
    return replace(server, version=f"{plan.engine} {version}" if version else None, quantisation=quantisation)


def _package_version(plan: LaunchPlan, python: str | None) -> str | None:
    """Of the Python package that the interpreter has; None where it cannot say."""
    if python is None or plan.local.package is None:
        return None
    program = f"import importlib.metadata as m; print(m.version({plan.local.package!r}))"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def load_model(store: ModelStore, base_url: str, model: str, on_wait: Callable[[str], None]) -> None:
    """Pull `model` unless it is there, and load it for good, so that no request pays for it. Raises EngineError."""
    listed = ask_json(base_url, store.list_path) or {}
    names = {str(entry.get("name")) for entry in listed.get("models") or () if isinstance(entry, dict)}
    load = ("load", store.load_path, {"model": model, "keep_alive": -1, "stream": False})
    pull = ("pull", store.pull_path, {"model": model, "stream": True})
    for verb, path, body in [load] if {model, f"{model}:latest"} & names else [pull, load]:
        on_wait(f"{verb}ing {model}")
        failed, reported_s = f"the server cannot {verb} {model}", time.monotonic()
        try:
            for line in post_json_lines(base_url, path, body, timeout_s=_LOAD_TIMEOUT_S):
                if "error" in line:
                    raise EngineError(failed, where=base_url + path, given=line["error"])
                if time.monotonic() - reported_s >= _REPORT_EVERY_S and "status" in line:
                    reported_s = time.monotonic()
                    done, total = line.get("completed"), line.get("total")
                    share = f" {done / total:.0%}" if isinstance(done, int) and isinstance(total, int) and total else ""
                    on_wait(f"{line['status']}{share}")
        except OSError as error:
            raise EngineError(failed, where=base_url + path, given=str(error)) from error


def _stored_quantisation(store: ModelStore, base_url: str, model: str) -> str | None:
    """Such as Q4_K_M; None where the server does not say."""
    with contextlib.suppress(OSError):
        for line in post_json_lines(base_url, store.show_path, {"model": model}, timeout_s=10.0):
            details = line.get("details")
            level = details.get("quantization_level") if isinstance(details, dict) else None
            return str(level) if level else None
    return None


def _new_log(engine: str) -> Path:
    folder = cache_dir() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("*.log"), key=lambda path: path.name)
        for path in old[: max(0, len(old) - _KEPT_LOGS + 1)]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(
            "the server's log cannot be written", given=str(error), hint="--log FILE, or set XDG_CACHE_HOME"
        ) from error
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{engine}-{os.getpid()}.log"
