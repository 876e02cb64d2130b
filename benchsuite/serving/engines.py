"""Engines that benchsuite starts itself. `llamacpp` is the embedded one: a real server on any laptop in a second."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchsuite.errors import EngineError
from benchsuite.serving.launch_plan import missing_extra
from benchsuite.serving.process import (
    LOOPBACK,
    ServerProcess,
    free_port,
    require_free_port,
    running_server,
    without_secrets,
)
from benchsuite.serving.tiny_model import GGUF_NAME, cached_tiny_model

DEFAULT_SLOTS = 32
DEFAULT_CONTEXT_TOKENS = 8192
TINY_MODEL_NAME = "tiny-llama"


@dataclass(frozen=True, slots=True)
class Engine:
    """A server that is ready. base_url: without /v1. model: the name to ask for. version: of the engine.

    plan: what was asked for, as `parse_serve` reads it, without the port. gpus: ids as CUDA_VISIBLE_DEVICES gives them;
    None where it does not. container_pid: on this host, of a container.
    Whatever is not known is None.
    """

    base_url: str
    model: str | None
    version: str | None
    process: ServerProcess
    name: str = "llamacpp"
    plan: str | None = None
    image: str | None = None
    image_digest: str | None = None
    quantisation: str | None = None
    gpus: tuple[str, ...] | None = None
    container_pid: int | None = None

    @property
    def pid(self) -> int:
        """The process id of what was started: the server, or the keeper that holds it."""
        return self.process.pid

    def pids(self) -> tuple[int, ...]:
        """The server's processes on this machine: what was started, its container's, and all their descendants."""
        found: dict[int, None] = {}
        for pid in (self.process.pid, self.container_pid):
            if pid:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    found |= dict.fromkeys([process.pid, *(child.pid for child in process.children(recursive=True))])
        return tuple(found)

    def facts(self) -> dict[str, Any]:
        """What was started, for the manifest (`served`), without keys and tokens. None: not known."""
        return {
            "engine": self.name,
            "plan": self.plan and shlex.join(without_secrets(shlex.split(self.plan))),
            "version": self.version,
            "command": without_secrets(self.process.command),
            "pid": self.process.pid,
            "image": self.image,
            "image_digest": self.image_digest,
            "model": self.model,
            "quantisation": self.quantisation,
            "gpus": None if self.gpus is None else list(self.gpus),
        }

    @property
    def log_path(self) -> Path:
        """What the server writes; gone after it stopped unless the caller chose the path."""
        return self.process.log_path


@contextlib.contextmanager
def llamacpp(
    *,
    model: Path | None = None,
    name: str = TINY_MODEL_NAME,
    port: int | None = None,
    slots: int = DEFAULT_SLOTS,
    context_tokens: int = DEFAULT_CONTEXT_TOKENS,
    threads: int = 1,
    log_path: Path | None = None,
    ready_timeout_s: float = 60.0,
) -> Iterator[Engine]:
    """Run llama.cpp's server while the block runs.

    model: a GGUF file or a folder with a model.gguf; None: the default tiny model, made once and kept in the cache.
    port: None finds a free one. slots: replies generated at once (more requests queue in the server), each with
    `context_tokens` of context. log_path: None is a temporary file. Raises EngineError.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise missing_extra("xllamacpp", "the llama.cpp engine")
    gguf = _gguf_file(model if model is not None else cached_tiny_model())
    if port is None:
        port = free_port()
    else:
        require_free_port(port)
    base_url = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "-m", "benchsuite.serving.llamacpp", str(gguf)]
    command += ["--port", str(port), "--slots", str(slots), "--ctx-per-slot", str(context_tokens)]
    command += ["--threads", str(threads), "--alias", name, "--until-stdin-closes"]
    with contextlib.ExitStack() as stack:
        if log_path is None:
            log_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchsuite-"))) / "llamacpp.log"
        process = stack.enter_context(
            running_server(command, ready_url=f"{base_url}/health", log_path=log_path, ready_timeout_s=ready_timeout_s)
        )
        version = f"xllamacpp {importlib.metadata.version('xllamacpp')}"
        yield Engine(base_url=base_url, model=name, version=version, process=process)


def visible_gpus() -> tuple[str, ...] | None:
    """The ids in CUDA_VISIBLE_DEVICES, which a server that we start inherits; None where it is not set."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if named is None else tuple(word.strip() for word in named.split(",") if word.strip())


def _gguf_file(model: Path) -> Path:
    path = model / GGUF_NAME if model.is_dir() else model
    if not path.is_file():
        raise EngineError(
            "there is no GGUF model here",
            where=str(path),
            expected=f"a GGUF file, or a folder with a {GGUF_NAME}",
            hint="benchsuite tiny-model DIR",
        )
    return path
