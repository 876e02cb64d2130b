"""A server's keeper: `python -m benchsuite.serving.guard GRACE_S COMMAND...` runs it and outlives nobody.

Between benchsuite and a server that is not ours: it ends the server, and all that the server started, when its own
standard input ends (the other end is held by benchsuite, which may have been killed), on SIGTERM and on SIGINT. It ends
as the server did: with its exit code, or by its signal. Standard library only until the end, so that it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from types import FrameType

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def keep(command: list[str], grace_s: float) -> int:
    """Run `command` to its end; the exit code, or minus the signal's number."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes our child, whatever group it is in
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return 127

    def forward(number: int, _: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        server.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    threading.Thread(target=_watch_stdin, args=(server, grace_s), daemon=True).start()
    code = server.wait()
    _kill_descendants()
    return code


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere the pipe alone keeps watch
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _watch_stdin(server: subprocess.Popen[bytes], grace_s: float) -> None:
    while os.read(0, 4096):
        pass
    server.terminate()
    try:
        server.wait(grace_s)
    except subprocess.TimeoutExpired:
        server.kill()


def _kill_descendants() -> None:
    import psutil  # type: ignore[import-untyped]

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


def main() -> None:
    """End as the server ended."""
    code = keep(sys.argv[2:], float(sys.argv[1]))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
