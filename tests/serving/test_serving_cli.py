"""`benchsuite tiny-model` and `benchsuite serve`: what they print and how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from benchsuite.serving.process import free_port

pytest.importorskip("gguf", reason="the tiny model needs the extra `engine`")
pytest.importorskip("tokenizers", reason="the tiny model needs the extra `engine`")


def test_tiny_model_lists_what_it_wrote(cli, tmp_path: Path) -> None:
    """The verb prints the sizes and each file; --no-gguf leaves the GGUF file out."""
    ended = cli("tiny-model", tmp_path / "m", "--layers 1 --no-gguf")

    assert ended.code == 0
    assert "1.20 M parameters" in ended.out
    assert ["model.safetensors" in ended.out, "model.gguf" in ended.out] == [True, False]


@pytest.mark.engine
def test_serve_llamacpp_says_when_it_is_ready_and_stops_cleanly() -> None:
    """One line with URL and model when it answers; SIGTERM ends it with exit code 0."""
    pytest.importorskip("xllamacpp", reason="the embedded engine needs the extra `engine`")
    port = free_port()
    command = [sys.executable, "-m", "benchsuite", "serve", "llamacpp", "--port", str(port)]
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
    assert (child.returncode, rest, errors.splitlines()[-1]) == (0, "", "stopped")
