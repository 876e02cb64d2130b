"""Any server as a child process: start it, wait until it answers, stop it, whatever happens in between.

`python -m benchsuite.serving.process GRACE_S COMMAND...` is the guard of a server that is not ours. It ends the server,
and all that the server started, when its own standard input ends (the other end is held by benchsuite, which may have
been killed), on SIGTERM and on SIGINT. It ends as the server did: with its exit code, or by its signal. So that it
starts at once, what takes long to import here is imported where it is used.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from benchsuite.errors import EngineError, os_error_as

LOOPBACK = "127.0.0.1"
_POLL_S = 0.02
_TAIL_LINES = 25
_TAIL_BYTES = 64 * 1024
_REPORT_EVERY_S = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SECRET = re.compile(r"--?[\w-]*(api-key|token|secret|password)")


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running child. Its stdin is a pipe that closes when this process ends, however it ends."""

    command: tuple[str, ...]
    log_path: Path
    child: subprocess.Popen[bytes]  # the server or its guard; it leads its own process group

    def exit_code(self, wait_s: float = 0.0) -> int | None:
        """None while it runs, waiting at most so long for its end; minus the signal's number if a signal ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(wait_s)
        return self.child.poll()

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines of what it wrote; empty if nothing."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = log.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def died(self, what: str) -> EngineError:
        """An EngineError with the exit code, the command and the end of the log."""
        tail = self.log_tail().replace("\n", "\n    ")
        return EngineError(
            what,
            where=" ".join(without_secrets(self.command)),
            given=f"exit code {self.exit_code()}; the end of its log:\n    {tail or '(it wrote nothing)'}",
            hint=f"the whole log is {self.log_path}",
        )


@contextlib.contextmanager
def running_server(
    command: Sequence[str],
    *,
    ready_url: str,
    log_path: Path,
    env: Mapping[str, str] | None = None,
    ready_timeout_s: float = 60.0,
    stop_timeout_s: float = 10.0,
    guarded: bool = False,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[ServerProcess]:
    """Run `command` while the block runs; enter it when `ready_url` answers 200.

    env: on top of this process's environment. stdout and stderr go to `log_path`. At the end, also after an exception
    or Ctrl-C: SIGTERM, after `stop_timeout_s` SIGKILL, and SIGKILL to what is left of its process group.
    guarded: for a server that does not end when its stdin does: a guard (see above) ends it and all that it started
    when this process is killed. on_wait: called every 5 s until it is ready, with the time so far and its last line.
    Raises EngineError when it cannot be started, dies, or is not ready in time; the message ends with its log.
    """
    guard = (sys.executable, "-m", __name__, str(stop_timeout_s)) if guarded else ()
    shown = " ".join(without_secrets(command))
    with os_error_as(EngineError, "the server cannot be started", shown), log_path.open("wb") as log:
        child = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl-C reaches only us, and we stop it in order
        )
    server = ServerProcess(tuple(command), log_path, child)
    try:
        _wait_until_ready(server, ready_url, ready_timeout_s, on_wait)
        yield server
    finally:
        _stop(child, stop_timeout_s)


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words of a command with *** for what follows --api-key, --hf-token and the like."""
    shown: list[str] = []
    hide = False
    for word in words:
        flag, equals, _ = word.partition("=")
        secret = _SECRET.fullmatch(flag) is not None
        shown.append("***" if hide else f"{flag}=***" if secret and equals else word)
        hide = secret and not equals
    return shown


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free_port(port: int) -> None:
    """Raises EngineError if `port` of 127.0.0.1 is taken: its owner would answer in our server's place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with os_error_as(EngineError, f"port {port} cannot be used", LOOPBACK, hint="another --port"):
            probe.bind((LOOPBACK, port))


def _wait_until_ready(server: ServerProcess, url: str, timeout_s: float, on_wait: Callable[[str], None]) -> None:
    from benchsuite.telemetry.http import bounded_client, is_up

    began_s = reported_s = time.monotonic()
    poll_s = _POLL_S
    with bounded_client(url, timeout_s=2.0) as client:
        while not is_up(client, url):
            now_s = time.monotonic()
            if server.exit_code() is not None:
                raise server.died("the server ended before it was ready")
            if now_s - began_s > timeout_s:
                raise server.died(f"the server was not ready after {timeout_s:g} s ({url})")
            if now_s - reported_s >= _REPORT_EVERY_S:
                reported_s = now_s
                on_wait(f"{now_s - began_s:.0f} s: {server.log_tail(1).strip() or '(its log is empty)'}")
            time.sleep(poll_s)
            poll_s = min(0.5, poll_s * 1.05)  # an embedded engine is there in 0.2 s, a big model in minutes
    if server.exit_code() is not None:
        raise server.died(f"the server ended, and something else answers at {url}")


def _stop(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    try:
        child.terminate()
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdin is not None:
            child.stdin.close()


def guard(command: list[str], grace_s: float) -> int:
    """Run `command` to its end; the exit code, or minus the signal's number."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes our child, whatever group it is in
    try:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        )
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return 127

    def forward(number: int, _: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        server.terminate()

    def end_with_stdin() -> None:
        while os.read(0, 4096):
            pass
        server.terminate()
        try:
            server.wait(grace_s)
        except subprocess.TimeoutExpired:
            server.kill()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    code = server.wait()

    import psutil  # type: ignore[import-untyped]

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    return code


def prctl(option: int, value: int) -> None:
    """Linux only: ask the kernel for something for this process, or thread; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    exit_code = guard(sys.argv[2:], float(sys.argv[1]))
    if exit_code < 0:  # end by the signal that ended the server
        if -exit_code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    sys.exit(exit_code)
