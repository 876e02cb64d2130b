"""Start any server that benchsuite knows and hold it while it is measured: a process of this machine, or containers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchsuite import __version__
from benchsuite.errors import EngineError
from benchsuite.redact import masked_bytes
from benchsuite.serving.docker import running_containers
from benchsuite.serving.launch_plan import (
    ENGINES,
    LaunchPlan,
    check_plan,
    llamacpp_settings,
    local_start,
    package_version,
    parse_serve,
    plan_of,
)
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

_TELL_EVERY_S = 5.0
_LOAD_TIMEOUT_S = 1800.0


def ensure_model(base_url: str, model: str, on_wait: Callable[[str], None]) -> None:
    """Pull `model` unless it is there, and load it for good, so that no request pays for it. Raises EngineError."""
    listed = ask_json(base_url, "/api/tags") or {}
    names = {str(entry.get("name")) for entry in listed.get("models") or () if isinstance(entry, dict)}
    if not {model, f"{model}:latest"} & names:
        on_wait(f"pulling {model}")
        _post(base_url, "/api/pull", {"model": model, "stream": True}, on_wait, f"ollama cannot pull {model}")
    on_wait(f"loading {model}")
    _post(
        base_url,
        "/api/generate",
        {"model": model, "keep_alive": -1, "stream": False},
        on_wait,
        f"ollama cannot load {model}",
    )


def quantisation_of(base_url: str, model: str) -> str | None:
    """Such as Q4_K_M; None where Ollama does not say."""
    try:
        for told in post_json_lines(base_url, "/api/show", {"model": model}, timeout_s=10.0):
            details = told.get("details")
            level = details.get("quantization_level") if isinstance(details, dict) else None
            return str(level) if level else None
    except OSError:
        pass
    return None


def _post(base_url: str, path: str, body: dict[str, object], on_wait: Callable[[str], None], failed: str) -> None:
    told_s = time.monotonic()
    try:
        for line in post_json_lines(base_url, path, body, timeout_s=_LOAD_TIMEOUT_S):
            if "error" in line:
                raise EngineError(failed, where=base_url + path, given=line["error"])
            if time.monotonic() - told_s >= _TELL_EVERY_S and "status" in line:
                told_s = time.monotonic()
                done, total = line.get("completed"), line.get("total")
                share = (
                    f" {100 * done / total:.0f} %" if isinstance(done, int) and isinstance(total, int) and total else ""
                )
                on_wait(f"{line['status']}{share}")
    except OSError as error:
        raise EngineError(failed, where=base_url + path, given=str(error)) from error


__all__ = ["ENGINES", "LOG_NAME", "LaunchPlan", "check_plan", "keep_log", "launched", "parse_serve", "plan_of"]

LOG_NAME = "serve.log"
_KEPT_LOGS = 20
_READY_TIMEOUT_S = {"llamacpp": 60.0, "simulator": 60.0}
_SLOW_READY_TIMEOUT_S = 1800.0  # weights to download, graphs to capture
_STOP_TIMEOUT_S = 30.0


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
    if ready_timeout_s is None:
        ready_timeout_s = _READY_TIMEOUT_S.get(plan.engine, _SLOW_READY_TIMEOUT_S)
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(_started(plan, port, log_path, ready_timeout_s, on_wait))
        except EngineError as error:
            if error.hint is None and log_path.exists():
                raise EngineError(
                    error.what,
                    where=error.where,
                    given=error.given,
                    expected=error.expected,
                    hint=f"the whole log is {log_path}",
                ) from error
            raise
        yield replace(engine, plan=replace(plan, port=None).text)


def keep_log(engine: LaunchedServer, folder: Path) -> Path | None:
    """Copy what the server wrote so far into `folder`; None where that cannot be done. Raises nothing.

    Our API keys are starred out. It is serve.log; where there is one, of a run before it was resumed, serve-2.log and
    so on.
    """
    names = (LOG_NAME, *(f"serve-{number}.log" for number in range(2, 1000)))
    free = next((folder / name for name in names if not (folder / name).exists()), folder / LOG_NAME)
    try:
        with engine.log_path.open("rb") as log, free.open("wb") as copy:
            copy.writelines(map(masked_bytes, log))
        return free
    except OSError:
        return None


@contextlib.contextmanager
def _started(
    plan: LaunchPlan, port: int, log_path: Path, ready_timeout_s: float, on_wait: Callable[[str], None]
) -> Iterator[LaunchedServer]:
    if plan.engine == "llamacpp":
        settings = llamacpp_settings(plan.args)
        with llamacpp(
            model=Path(plan.model) if plan.model else settings.model,
            name=settings.name,
            port=port,
            slots=settings.slots,
            context_tokens=settings.ctx,
            threads=settings.threads,
            log_path=log_path,
            ready_timeout_s=ready_timeout_s,
        ) as engine:
            yield engine
        return
    if plan.how == "docker":
        with running_containers(plan, port, log_path, ready_timeout_s, on_wait) as engine:
            yield _known(plan, engine, None, on_wait)
        return
    start = local_start(plan, port)
    base_url = f"http://{LOOPBACK}:{port}"
    with running_server(
        start.command,
        ready_url=base_url + start.ready_path,
        log_path=log_path,
        env=start.env,
        ready_timeout_s=ready_timeout_s,
        stop_timeout_s=_STOP_TIMEOUT_S,
        guarded=plan.engine != "simulator",  # which ends with its standard input by itself
        on_wait=on_wait,
    ) as process:
        engine = LaunchedServer(base_url, start.model, None, process, name=plan.engine, gpus=visible_gpus())
        yield _known(plan, engine, start.python, on_wait)


def _known(
    plan: LaunchPlan, engine: LaunchedServer, python: str | None, on_wait: Callable[[str], None]
) -> LaunchedServer:
    """The engine with its model loaded and what it says of itself."""
    told: str | None = None
    quantisation = plan.quantisation
    match plan.engine:
        case "vllm":
            told = (ask_json(engine.base_url, "/version") or {}).get("version") or package_version(python, "vllm")
        case "tgi":
            told = (ask_json(engine.base_url, "/info") or {}).get("version")
        case "simulator":
            told = __version__
        case "transformers":
            told = package_version(python, "transformers")
        case "ollama":
            told = (ask_json(engine.base_url, "/api/version") or {}).get("version")
            if plan.model:
                ensure_model(engine.base_url, plan.model, on_wait)
                quantisation = quantisation_of(engine.base_url, plan.model)
    return replace(engine, version=f"{plan.engine} {told}" if told else None, quantisation=quantisation)


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
