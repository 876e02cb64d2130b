"""`benchsuite tiny-model` and `benchsuite serve`: what they print and how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from benchsuite.cli import serve, tiny_model
from benchsuite.serving.process import free_port

pytest.importorskip("gguf", reason="the tiny model needs the extra `engine`")
pytest.importorskip("tokenizers", reason="the tiny model needs the extra `engine`")


def test_tiny_model_lists_what_it_wrote(tmp_path: Path) -> None:
    """The verb prints the sizes and each file; --no-gguf leaves the GGUF file out."""
    result = CliRunner().invoke(tiny_model.command, [str(tmp_path / "m"), "--layers", "1", "--no-gguf"])

    assert result.exit_code == 0
    assert result.output.startswith(f"{tmp_path / 'm'}: 1.20 M parameters, vocabulary 4096 (")
    assert "model.safetensors" in result.output
    assert "model.gguf" not in result.output


def test_serve_lists_its_engines() -> None:
    """The help names the engines without importing them."""
    result = CliRunner().invoke(serve.command, ["--help"])

    assert result.exit_code == 0
    assert "llamacpp" in result.output


@pytest.mark.engine
def test_serve_llamacpp_says_when_it_is_ready_and_stops_cleanly() -> None:
    """One line with URL and model when it answers; SIGTERM ends it with exit code 0."""
    pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
    port = free_port()
    command = [sys.executable, "-m", "benchsuite.cli.main", "serve", "llamacpp", "--port", str(port)]
    with subprocess.Popen(
        [*command, "--slots", "1", "--ctx", "512"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            health = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code
        finally:
            child.terminate()
        rest, errors = child.communicate(timeout=20)

    assert line == f"ready: http://127.0.0.1:{port} model tiny-llama\n"
    assert health == 200
    assert (child.returncode, rest, errors) == (0, "", "stopped\n")
