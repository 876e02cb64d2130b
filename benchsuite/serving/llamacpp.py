"""The embedded engine: llama.cpp's own HTTP server, a real server on any laptop in a second.

`python -m benchsuite.serving.llamacpp --port P` runs the C++ server (continuous batching, /metrics, /slots) of the
wheel `xllamacpp`. Python only sets its options and waits for SIGTERM, SIGINT or the end of its standard input, whose
other end is held by the process that started it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

from benchsuite.errors import EngineError
from benchsuite.serving.process import LOOPBACK
from benchsuite.serving.tiny_model import GGUF_NAME, cached_tiny_model, missing_extra


def main() -> None:
    """Serve on 127.0.0.1 until told to stop, then exit with 0."""
    parser = argparse.ArgumentParser(prog="python -m benchsuite.serving.llamacpp", description=__doc__)
    parser.add_argument("--model", type=Path, help=f"GGUF file, or a folder with a {GGUF_NAME}  [default: tiny model]")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=32, help="replies generated at once; more requests wait")
    parser.add_argument("--ctx", type=int, default=8192, help="context of each slot, tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="tiny-llama", help="the model's name in requests")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_stop_with_stdin, args=(stop,), daemon=True).start()
    try:
        if importlib.util.find_spec("xllamacpp") is None:
            raise missing_extra("xllamacpp", "the llama.cpp engine")
        model = options.model or cached_tiny_model()
        gguf = model / GGUF_NAME if model.is_dir() else model
        if not gguf.is_file():
            raise EngineError(
                "there is no GGUF model here",
                where=str(gguf),
                expected=f"a GGUF file, or a folder with a {GGUF_NAME}",
                hint="benchsuite tiny-model DIR",
            )
    except EngineError as error:
        sys.exit(str(error))
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {options.name}
    params.hostnames = [LOOPBACK]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.ctx
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
