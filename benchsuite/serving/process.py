"""Any server as a child process: start it, wait until it answers, stop it, whatever happens in between.

`python -m benchsuite.serving.process GRACE_S AFTERWARDS COMMAND...` is the guard of a server that is not ours. It ends
the server, by SIGKILL after GRACE_S, and all that the server started, in whatever session, when its own standard input
ends (the other end is held by benchsuite, which may have been killed; then it runs the command AFTERWARDS, a list in
JSON), on SIGTERM and on SIGINT. It ends as the server did: with its exit code, or by its signal. So that it starts at
once, what takes long to import here is imported where it is used.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import json
import os
import re
import secrets
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from benchsuite.errors import EngineError, os_error_as
from benchsuite.redact import longest_hidden, masked, remember_key, remember_secrets, settled

LOOPBACK = "127.0.0.1"
_POLL_S = 0.02
_TAIL_LINES = 25
_TAIL_BYTES = 64 * 1024
_REPORT_EVERY_S = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MARK = "BENCHSUITE_LAUNCH"  # in the environment of all that a launch starts
_SAYS = "benchsuite: "  # how the guard's own lines in a server's log begin
_AFTERWARDS_S = 120.0
_KILLED_S = 5.0  # for what was sent SIGKILL to be gone
_COPY_EVERY_S, _COPY_BYTES = 0.5, 2**20
_SECRET = re.compile(r"(?i)-{0,2}([\w-]*[_-])?((api|access|auth)[_-]?key|token|secret|passw(or)?d|credentials?)")


def private_file(path: Path, how: int = os.O_TRUNC) -> TextIO:
    """A file of any text, which nobody else may read whatever the umask. how: or O_APPEND, O_EXCL. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.fchmod(descriptor, 0o600)  # one that was there before
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="")


class ServerLog:
    """What a server writes: as it is in a file without a name, and from there, without our keys, in the file `path`.

    So the server never waits for us, and a key that it writes is nowhere once this process has ended, however it did.
    """

    def __init__(self, path: Path) -> None:
        import tempfile

        self.path, self._file = path, private_file(path)
        # on the same disk, unless that is a device
        self.raw = tempfile.TemporaryFile(dir=path.parent if path.is_file() else None)  # noqa: SIM115 - until close
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._n_read, self._rest, self._tail, self._cut = 0, "", "", False
        self._lock, self._closed = threading.Lock(), threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # a full disk; closed
            while not self._closed.wait(_COPY_EVERY_S):
                if not self._copy():
                    self.flush()  # nothing was written meanwhile: what is held back is no half of a key

    def _copy(self) -> bool:
        """Take over what is new but the last characters, which may be the beginning of a key; False: nothing is."""
        with self._lock:
            before, size = self._n_read, os.fstat(self.raw.fileno()).st_size  # it may grow faster than this
            while self._n_read < size:
                piece = os.pread(self.raw.fileno(), _COPY_BYTES, self._n_read)
                self._n_read += len(piece)
                self._rest += self._decoder.decode(piece)
                self._write(settled(self._rest))
            return self._n_read > before

    def _write(self, size: int, *, last: bool = False) -> None:
        text, self._rest = self._rest[:size], self._rest[size:]
        self._file.write(masked(text, cut_before=self._cut, cut_after=last))
        self._file.flush()
        self._cut = last if text else self._cut

    def flush(self) -> None:
        """Take over all that was written so far. Raises nothing where the disk is full."""
        with contextlib.suppress(OSError):
            self._copy()
            with self._lock:
                self._write(len(self._rest), last=True)

    def tail(self, lines: int) -> str:
        """The last lines, masked; empty if nothing."""
        if not self.raw.closed:
            size = os.fstat(self.raw.fileno()).st_size
            start = max(0, size - _TAIL_BYTES - 4 * longest_hidden())
            text = os.pread(self.raw.fileno(), size - start, start).decode("utf-8", errors="replace")
            self._tail = masked(text, cut_before=start > 0, cut_after=True)[-_TAIL_BYTES:]
        return "\n".join(self._tail.splitlines()[-lines:])

    def close(self) -> None:
        """The server has ended."""
        self._closed.set()
        self.flush()
        self.tail(0)
        with self._lock:
            self._file.close()
            self.raw.close()


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running child. Its stdin is a pipe that closes when this process ends, however it ends."""

    command: tuple[str, ...]
    log: ServerLog
    child: subprocess.Popen[bytes]  # the server or its guard; it leads its own process group

    def exit_code(self, wait_s: float = 0.0) -> int | None:
        """None while it runs, waiting at most so long for its end; minus the signal's number if a signal ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(wait_s)
        return self.child.poll()

    @property
    def log_path(self) -> Path:
        return self.log.path

    def died(self, what: str) -> EngineError:
        """An EngineError with the exit code, the command and the end of the log."""
        tail = self.log.tail(_TAIL_LINES).replace("\n", "\n    ")
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
    afterwards: Sequence[str] = (),
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[ServerProcess]:
    """Run `command` while the block runs; enter it when `ready_url` answers 200.

    env: on top of this process's environment, whose secrets, and those among the command's words, are remembered.
    stdout and stderr go to `log_path` (`ServerLog`). At the end, also after an exception or Ctrl-C: SIGTERM, after
    `stop_timeout_s` SIGKILL, and SIGKILL to what it left behind, wherever that went.
    guarded: for a server that does not end when its stdin does: a guard (see above) ends it and all that it started
    when this process is killed, and then runs `afterwards`. on_wait: called every 5 s until it is ready, with the time
    so far and its last line; and at the end with what had to be killed.
    Raises EngineError when it cannot be started, dies, or is not ready in time; the message ends with its log.
    """
    guard = (sys.executable, "-m", __name__, str(stop_timeout_s), json.dumps([*afterwards])) if guarded else ()
    mark = secrets.token_hex(8)
    shown = " ".join(without_secrets(command))
    env = {**os.environ, **(env or {}), _MARK: mark}
    remember_secrets(env)
    for word in {*command}.difference(without_secrets(command)):
        remember_key(word.partition("=")[2] if word.startswith("-") else word)
    with contextlib.ExitStack() as stack:
        with os_error_as(EngineError, "the server cannot be started", shown):
            log = stack.enter_context(contextlib.closing(ServerLog(log_path)))
            child = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.PIPE,
                stdout=log.raw,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C reaches only us, and we stop it in order
            )
        server = ServerProcess(tuple(command), log, child)
        stack.callback(_stop, server, stop_timeout_s, mark, on_wait, guarded=guarded)
        _wait_until_ready(server, ready_url, ready_timeout_s, on_wait)
        log.flush()
        yield server


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words of a command with *** for what follows --api-key, --hf-token and the like."""
    shown: list[str] = []
    hide = False
    for word in words:
        flag, equals, _ = word.partition("=")
        secret = _SECRET.fullmatch(flag) is not None
        shown.append("***" if hide else f"{flag}=***" if secret and equals else word)
        hide = secret and not equals and word.startswith("-")
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
                raise server.died("the server exited before it was ready")
            if now_s - began_s > timeout_s:
                raise server.died(f"the server was not ready after {timeout_s:g} s ({url})")
            if now_s - reported_s >= _REPORT_EVERY_S:
                reported_s = now_s
                last = server.log.tail(1).strip() or "(its log is empty)"
                on_wait(f"not ready after {now_s - began_s:.0f} s: {last}")
            time.sleep(poll_s)
            poll_s = min(0.5, poll_s * 1.05)  # an embedded engine is there in 0.2 s, a big model in minutes
    if server.exit_code() is not None:
        raise server.died(f"the server exited, and another process answers at {url}")


def _stop(server: ServerProcess, grace_s: float, mark: str, tell: Callable[[str], None], *, guarded: bool) -> None:
    """End it, and whatever carries the mark. tell: what had to be killed, in words."""
    child, killed = server.child, f"it did not exit within {grace_s:g} s of SIGTERM, and was killed"
    try:
        child.terminate()
        child.wait(grace_s + 2 * _KILLED_S * guarded)  # the guard keeps to grace_s itself
    except subprocess.TimeoutExpired:
        tell(killed)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        lines = (
            [line for line in server.log.tail(_TAIL_LINES).splitlines() if line.startswith(_SAYS)] if guarded else []
        )
        for words in [*lines, *_killed(lambda: _marked(mark))]:
            tell(words.removeprefix(_SAYS))
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_KILLED_S)
        if child.stdin is not None:
            child.stdin.close()


def _marked(mark: str) -> list[Any]:
    """The processes that a launch started, as far as they kept their environment."""
    import psutil  # type: ignore[import-untyped]

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(_MARK) == mark:
                found.append(process)
    return found


def _killed(found: Callable[[], list[Any]]) -> list[str]:
    """SIGKILL to all of them until there are none: a line that names them, or nothing."""
    import psutil

    names: dict[int, str] = {}
    end_s = time.monotonic() + _KILLED_S
    while (processes := found()) and time.monotonic() < end_s:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    names[process.pid] = process.name()
                    process.kill()
        time.sleep(_POLL_S)
    listed = ", ".join(f"{name} ({pid})" for pid, name in names.items())
    return [f"its remaining processes were killed: {listed}"] if names else []


def guard(command: list[str], grace_s: float, afterwards: list[str]) -> int:
    """Run `command` to its end; the exit code, or minus the signal's number."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes our child, whatever session it is in
    try:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        )
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return 127
    ending, alone = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        ending.set()

    def end_with_stdin() -> None:
        while os.read(0, 4096):
            pass
        alone.set()
        ending.set()

    def end_in_order() -> None:
        ending.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGTERM)
            time.sleep(grace_s)
            os.kill(server.pid, signal.SIGKILL)
            print(f"{_SAYS}it did not exit within {grace_s:g} s of SIGTERM, and was killed", flush=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    for target in (end_with_stdin, end_in_order):
        threading.Thread(target=target, daemon=True).start()
    pid, status = 0, 0
    while pid != server.pid:  # whoever ends is reaped
        pid, status = os.wait()

    import psutil

    def left() -> list[Any]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # those that came to us and ended
                pass
        children: list[Any] = psutil.Process().children(recursive=True)
        return children

    for line in _killed(left):
        print(_SAYS + line, flush=True)
    if alone.is_set() and afterwards:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(afterwards, stdin=subprocess.DEVNULL, timeout=_AFTERWARDS_S)
    return os.waitstatus_to_exitcode(status)


def prctl(option: int, value: int) -> None:
    """Linux only: ask the kernel for something for this process, or thread; elsewhere nothing."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    exit_code = guard(sys.argv[3:], float(sys.argv[1]), json.loads(sys.argv[2]))
    if exit_code < 0:  # end by the signal that ended the server
        if -exit_code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-exit_code, signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    sys.exit(exit_code)
