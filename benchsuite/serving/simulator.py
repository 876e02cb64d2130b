"""An OpenAI-compatible server with a law: it knows when it sent what, and says so in every chunk.

It runs in a process of its own, so that its pacing and the client's do not share an interpreter. Every chunk carries
the server's CLOCK_MONOTONIC ns just before its send() in `system_fingerprint`; the response id is
`sim-<sequence>-<ns when the request was read>`. /stats tells the same for all responses.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from benchsuite.errors import EngineError
from benchsuite.serving.simulator_config import SimulatorConfig
from benchsuite.serving.simulator_server import Server

_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that answers. base_url has no /v1."""

    base_url: str
    pid: int
    host: str
    port: int


def listen(config: SimulatorConfig) -> socket.socket:
    """The socket a simulator serves; bound, and listening unless config.refuse. Raises EngineError when taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((config.host, config.port))
    except OSError as error:
        sock.close()
        raise EngineError(
            "the simulator cannot have its port", given=f"{config.host}:{config.port}", hint=str(error)
        ) from None
    if not config.refuse:
        sock.listen(4096)
    sock.setblocking(False)
    return sock


def run(config: SimulatorConfig, sock: socket.socket, leash: IO[bytes] | None = None) -> None:
    """Serve on the socket of `listen` until SIGTERM, SIGINT, or the end of `leash` (a pipe from the parent).

    Raises EngineError when `leash` is no pipe.
    """
    with contextlib.suppress(OSError, AttributeError):
        # Linux: wake-ups of this thread to the microsecond instead of up to 50 us late. Elsewhere it stays as it is.
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    try:
        server = Server(config, None if config.refuse else sock, (woken,) if leash is None else (woken, leash))
    except PermissionError:  # epoll's word for a file or /dev/null
        raise EngineError("the simulator can wait for the end of a pipe only", given="standard input") from None
    # A handler alone would not end select(), which Python takes up again after a signal; the wake-up socket does.
    before_fd = signal.set_wakeup_fd(wake.fileno())
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        for end in (woken, wake, sock):
            end.close()


@contextlib.contextmanager
def simulator(config: SimulatorConfig | None = None) -> Iterator[RunningSimulator]:
    """A simulator in a process of its own, as long as the block lasts or this process lives, whichever ends first.

    Raises EngineError when it does not start.
    """
    config = config or SimulatorConfig()
    command = [sys.executable, "-m", "benchsuite.serving.simulator", config.to_json()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise EngineError("the simulator did not start", given=config.to_json(), hint="its message is on stderr")
        said = json.loads(line)
        base_url = f"http://{config.host}:{said['port']}"
        yield RunningSimulator(base_url, process.pid, config.host, said["port"])
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()


def serve(config: SimulatorConfig, leash: IO[bytes] | None = None) -> None:
    """Listen, print {"port": ...} and the base URL as one line of JSON, and serve."""
    sock = listen(config)
    port = sock.getsockname()[1]
    print(json.dumps({"port": port, "base_url": f"http://{config.host}:{port}"}), flush=True)
    run(config, sock, leash)


if __name__ == "__main__":
    serve(SimulatorConfig.from_json(sys.argv[1]), sys.stdin.buffer)
