"""llama.cpp's own HTTP server in this process: `python -m benchsuite.serving.llamacpp MODEL.gguf --port P`.

It is the C++ server (continuous batching, /metrics, /slots) from the wheel `xllamacpp`; Python only sets its options
and waits for SIGTERM, SIGINT or, with --until-stdin-closes, for the death of the process that started it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import Any


def serve(model: str, *, port: int, slots: int, context_tokens: int, threads: int, alias: str) -> Any:
    """Start the server on 127.0.0.1 and return it, ready; it lives as long as the returned object.

    slots: replies generated at once, more wait in a queue; each has `context_tokens` of context to itself.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {alias}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = slots * context_tokens
    params.kv_unified = False  # an equal share for each slot, never a pool that one slot can empty
    params.cont_batching = True
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # every open stream holds one: with fewer, waiting requests would queue unseen and /metrics with them
    params.n_threads_http = 2 * slots + 256
    params.cache_ram_mib = 0  # no 8 GiB of host memory for prompts of finished requests
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.use_jinja = True
    return xllamacpp.Server(params)


def main(argv: list[str] | None = None) -> None:
    """Serve until told to stop, then exit with 0."""
    parser = argparse.ArgumentParser(prog="python -m benchsuite.serving.llamacpp", description=__doc__)
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--ctx-per-slot", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alias", default="tiny-llama")
    parser.add_argument("--until-stdin-closes", action="store_true", help="also stop when stdin ends")
    options = parser.parse_args(argv)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if options.until_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()
    server = serve(
        options.model,
        port=options.port,
        slots=options.slots,
        context_tokens=options.ctx_per_slot,
        threads=options.threads,
        alias=options.alias,
    )
    print(f"listening on {server.listening_address}", flush=True)
    stop.wait()
    # the server's destructor waits for open streams, and nothing here needs saving
    sys.stdout.flush()
    os._exit(0)


def _watch_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


if __name__ == "__main__":
    main()
