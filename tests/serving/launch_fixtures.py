"""Programs on PATH that stand in for servers and for docker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

FAKE_SERVER = Path(__file__).with_name("fake_server.py")


def put_program(folder: Path, name: str, script: str) -> Path:
    """An executable shell script `name` in `folder`."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


class Fakes:
    """A folder first on PATH, and what the fake server noted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.record, self.monkeypatch = folder / "bin", folder / "record.json", monkeypatch
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")
        monkeypatch.setenv("FAKE_RECORD", str(self.record))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name in ("BENCHSUITE_VLLM_PYTHON", "BENCHSUITE_TRANSFORMERS_PYTHON", "CUDA_VISIBLE_DEVICES"):
            monkeypatch.delenv(name, raising=False)

    def server(self, name: str, folder: Path | None = None) -> Path:
        """Put the fake server on PATH under a name."""
        return put_program(folder or self.bin, name, f'exec {sys.executable} {FAKE_SERVER} "$@"')

    @property
    def noted(self) -> dict[str, Any]:
        """argv, env and pids of the last fake server."""
        noted: dict[str, Any] = json.loads(self.record.read_text())
        return noted


def ended(pids: list[int]) -> bool:
    """Whether all the processes end soon."""
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)
