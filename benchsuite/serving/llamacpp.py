"""The embedded engine: llama.cpp's own HTTP server, a real server on any laptop in a second.

`llamacpp()` starts `python -m benchsuite.serving.llamacpp MODEL.gguf --port P`: the C++ server (continuous batching,
/metrics, /slots) from the wheel `xllamacpp`. Python only sets its options and waits for SIGTERM, SIGINT or, with
--until-stdin-closes, for the death of the process that started it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from benchsuite.errors import EngineError
from benchsuite.serving.process import LOOPBACK, LaunchedServer, free_port, require_free_port, running_server

DEFAULT_SLOTS = 32
DEFAULT_CONTEXT_TOKENS = 8192
TINY_MODEL_NAME = "tiny-llama"


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
) -> Iterator[LaunchedServer]:
    """Run llama.cpp's server while the block runs.

    model: a GGUF file or a folder with a model.gguf; None: the default tiny model, made once and kept in the cache.
    port: None finds a free one. slots: replies generated at once (more requests queue in the server), each with
    `context_tokens` of context. log_path: None is a temporary file. Raises EngineError.
    """
    from benchsuite.serving.tiny_model import GGUF_NAME, cached_tiny_model, missing_extra

    if importlib.util.find_spec("xllamacpp") is None:
        raise missing_extra("xllamacpp", "the llama.cpp engine")
    model = model if model is not None else cached_tiny_model()
    gguf = model / GGUF_NAME if model.is_dir() else model
    if not gguf.is_file():
        raise EngineError(
            "there is no GGUF model here",
            where=str(gguf),
            expected=f"a GGUF file, or a folder with a {GGUF_NAME}",
            hint="benchsuite tiny-model DIR",
        )
    if port is None:
        port = free_port()
    else:
        require_free_port(port)
    base_url = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "-m", __name__, str(gguf)]
    command += ["--port", str(port), "--slots", str(slots), "--ctx-per-slot", str(context_tokens)]
    command += ["--threads", str(threads), "--alias", name, "--until-stdin-closes"]
    with contextlib.ExitStack() as stack:
        if log_path is None:
            log_path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchsuite-"))) / "llamacpp.log"
        process = stack.enter_context(
            running_server(command, ready_url=f"{base_url}/health", log_path=log_path, ready_timeout_s=ready_timeout_s)
        )
        version = f"xllamacpp {importlib.metadata.version('xllamacpp')}"
        yield LaunchedServer(base_url=base_url, model=name, version=version, process=process)


def main() -> None:
    """Serve on 127.0.0.1 until told to stop, then exit with 0."""
    parser = argparse.ArgumentParser(prog="python -m benchsuite.serving.llamacpp", description=__doc__)
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=DEFAULT_SLOTS)
    parser.add_argument("--ctx-per-slot", type=int, default=DEFAULT_CONTEXT_TOKENS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alias", default=TINY_MODEL_NAME)
    parser.add_argument("--until-stdin-closes", action="store_true", help="also stop when stdin ends")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if options.until_stdin_closes:
        threading.Thread(target=_stop_with_stdin, args=(stop,), daemon=True).start()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [LOOPBACK]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.ctx_per_slot
    params.kv_unified = False  # an equal share for each slot, never a pool that one slot can empty
    params.cont_batching = True
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    # every open stream holds one: with fewer, waiting requests would queue unseen and /metrics with them
    params.n_threads_http = 2 * options.slots + 256
    params.cache_ram_mib = 0  # no 8 GiB of host memory for prompts of finished requests
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.use_jinja = True
    server = xllamacpp.Server(params)
    print(f"listening on {server.listening_address}", flush=True)
    stop.wait()
    # the server's destructor waits for open streams, and nothing here needs saving
    sys.stdout.flush()
    os._exit(0)


def _stop_with_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
