"""A server as a child process: ready, dead, too slow, stopped."""

from __future__ import annotations

import os
import socket
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
        pytest.raises(EngineError, match=r"(?s)ended before it was ready.*exit code 3.*no such model"),
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
