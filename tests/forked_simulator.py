"""Simulators forked from one process that has imported what they need: milliseconds of CPU each, not half a second."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchsuite.errors import EngineError
from benchsuite.simulator.config import SimulatorConfig
from benchsuite.simulator.server import RunningSimulator, serve


@contextlib.contextmanager
def simulator(config: SimulatorConfig | None = None) -> Iterator[RunningSimulator]:
    """As benchsuite.simulator.server.simulator; its process ends with the block or with this process."""
    config = config or SimulatorConfig()
    with tempfile.TemporaryDirectory(prefix="benchsuite-simulator-") as folder:
        output = Path(folder) / "out"
        os.mkfifo(output)
        order = {"config": config.model_dump_json(), "output": str(output), "cpus": sorted(os.sched_getaffinity(0))}
        commands = _parent().stdin
        assert commands is not None
        commands.write(json.dumps(order) + "\n")
        commands.flush()
        with output.open() as lines:
            pid = int(lines.readline())
            try:
                line = lines.readline()
                if not line:
                    raise EngineError("the simulator did not start", hint="its message is on stderr")
                address = json.loads(line)
                yield RunningSimulator(address["base_url"], pid, config.host, address["port"])
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                lines.read()  # until it has ended


@functools.cache
def _parent() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def _fork() -> None:
    """Forks a simulator for each line of the standard input; they end with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    group = os.getpid()
    os.setpgid(0, 0)
    while line := sys.stdin.readline():
        if os.fork() == 0:
            _become(json.loads(line))
    os.killpg(group, signal.SIGTERM)


def _become(order: dict[str, Any]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.sched_setaffinity(0, order["cpus"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(order["output"], os.O_WRONLY), 1)
    print(os.getpid(), flush=True)
    try:
        serve(SimulatorConfig.model_validate_json(order["config"]))
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    _fork()
