"""A server as a child process: ready, dead, too slow, stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchsuite.errors import EngineError
from benchsuite.serving.process import free_port, require_free_port, running_server


def http_command(port: int) -> list[str]:
    """A server that answers 200 to GET /."""
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]


def test_a_server_runs_inside_the_block_and_not_after(tmp_path: Path) -> None:
    """The server answers inside the block; afterwards its process is gone and its port free."""
    port = free_port()
    with running_server(http_command(port), ready_url=f"http://127.0.0.1:{port}/", log_path=tmp_path / "log") as server:
        assert server.exit_code() is None
        pid = server.child.pid

    assert not psutil.pid_exists(pid)
    require_free_port(port)


def test_an_exception_in_the_block_stops_the_server(tmp_path: Path) -> None:
    """Ctrl-C in the block goes on upwards, after the server was stopped."""
    port = free_port()
    with (
        pytest.raises(KeyboardInterrupt),
        running_server(http_command(port), ready_url=f"http://127.0.0.1:{port}/", log_path=tmp_path / "log") as server,
    ):
        raise KeyboardInterrupt

    assert server.exit_code() == -15


def test_a_server_that_dies_tells_its_last_words(tmp_path: Path) -> None:
    """The error has the exit code and the end of the log."""
    command = [sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)"]

    with (
        pytest.raises(EngineError, match=r"(?s)exited before it was ready.*exit code 3.*no such model"),
        running_server(command, ready_url=f"http://127.0.0.1:{free_port()}/", log_path=tmp_path / "log"),
    ):
        pytest.fail("the block must not run")


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    """Past the deadline the error says so, and no child is left."""
    before = psutil.Process().children()

    with (
        pytest.raises(EngineError, match=r"not ready after 0.1 s"),
        running_server(
            [sys.executable, "-c", "import signal; signal.pause()"],
            ready_url=f"http://127.0.0.1:{free_port()}/",
            log_path=tmp_path / "log",
            ready_timeout_s=0.1,
        ),
    ):
        pytest.fail("the block must not run")

    assert psutil.Process().children() == before


def test_a_log_that_cannot_be_written_is_an_engine_error(tmp_path: Path) -> None:
    """A log path in a folder that does not exist is named, and nothing is started."""
    with (
        pytest.raises(EngineError, match=r"(?s)cannot be started.*nowhere"),
        running_server(["true"], ready_url="http://127.0.0.1:1/", log_path=tmp_path / "nowhere" / "log"),
    ):
        pytest.fail("the block must not run")


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """SIGKILL follows when SIGTERM does not help."""
    port = free_port()
    program = (
        "import http.server, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"http.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    with running_server(
        [sys.executable, "-c", program],
        ready_url=f"http://127.0.0.1:{port}/",
        log_path=tmp_path / "log",
        stop_timeout_s=0.2,
    ) as server:
        pass

    assert server.exit_code() == -9


def test_a_command_that_does_not_exist_is_an_engine_error(tmp_path: Path) -> None:
    """A program that cannot be started is named."""
    with (
        pytest.raises(EngineError, match=r"(?s)cannot be started.*no-such-program"),
        running_server(["no-such-program"], ready_url="http://127.0.0.1:1/", log_path=tmp_path / "log"),
    ):
        pytest.fail("the block must not run")


def test_the_environment_is_added_to(tmp_path: Path) -> None:
    """`env` reaches the child on top of what it inherits."""
    program = "import os; print(os.environ['GREETING'], 'PATH' in os.environ)"

    with (
        pytest.raises(EngineError, match="hello True"),
        running_server(
            [sys.executable, "-c", program],
            ready_url=f"http://127.0.0.1:{free_port()}/",
            log_path=tmp_path / "log",
            env={"GREETING": "hello"},
        ),
    ):
        pytest.fail("the block must not run")

    assert "GREETING" not in os.environ


def test_a_taken_port_is_refused() -> None:
    """A port that somebody listens on is an EngineError that suggests another."""
    with socket.create_server(("127.0.0.1", 0)) as owner, pytest.raises(EngineError, match="another --port"):
        require_free_port(owner.getsockname()[1])


# a server that ignores SIGTERM, with children in its group, in a session of their own, and of a double fork
STUBBORN = """
import http.server, os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
note = pathlib.Path(sys.argv[2])
def child(*steps):
    if os.fork() == 0:
        for step in steps:
            step()
        with note.open("a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(600)
def fork_again():
    if os.fork():
        os._exit(0)
child(); child(os.setsid); child(os.setsid, fork_again); child(fork_again, os.setsid, fork_again)
while len(note.read_text().split()) < 4 if note.exists() else True:
    time.sleep(0.01)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
HARNESS = """
import sys
from pathlib import Path
from benchsuite.serving.process import running_server
port, folder = sys.argv[1:3]
command = [sys.executable, "-c", sys.argv[3], port, folder + "/pids"]
afterwards = [sys.executable, "-c", f"import pathlib; pathlib.Path({folder!r}, 'removed').touch()"]
with running_server(command, ready_url=f"http://127.0.0.1:{port}/", log_path=Path(folder, "log"), stop_timeout_s=0.2,
                    guarded=True, afterwards=afterwards, on_wait=lambda text: print("TOLD", text, flush=True)):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["its block ends", "SIGKILL of the harness"])
def test_nothing_of_a_server_is_left(end: str, tmp_path: Path) -> None:
    """Not what ignores SIGTERM, nor daemons in other sessions, however it ends; who is there to be told is told."""
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(free_port()), str(tmp_path), STUBBORN],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert harness.stdout is not None
    assert harness.stdin is not None
    assert harness.stdout.readline() == "ready\n"
    (guard,) = psutil.Process(harness.pid).children()
    started = [*guard.children(), *(psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split())]
    assert len({process.pid for process in started}) >= 5
    if end == "its block ends":
        harness.stdin.close()
    else:
        harness.kill()
    said = harness.stdout.read()
    harness.wait(60)
    assert psutil.wait_procs([guard, *started], timeout=60)[1] == []
    assert ("TOLD it did not exit within 0.2 s" in said) == (end == "its block ends")
    assert ("TOLD its remaining processes were killed" in said) == (end == "its block ends")
    assert (tmp_path / "removed").exists() == (end != "its block ends")


def test_a_killed_guard_leaves_nothing(tmp_path: Path) -> None:
    """Somebody kills the guard itself: what it guarded carries a mark in its environment, by which it is found."""
    port = free_port()
    command = [sys.executable, "-c", STUBBORN, str(port), str(tmp_path / "pids")]
    said: list[str] = []
    with running_server(
        command, ready_url=f"http://127.0.0.1:{port}/", log_path=tmp_path / "log", guarded=True, on_wait=said.append
    ) as server:
        started = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
        server.child.kill()
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert any("remaining processes were killed" in words for words in said)
