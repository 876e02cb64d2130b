"""Sweeps of the smoke runs: `benchsuite sweep --serve ...` as a user types it, and the run folder read back."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from smoke.checks import Check, Expected, RunFiles, check_run

SLO = "ttft_mean<60s,output_throughput_per_user>0.1"  # any server that answers at all meets it
TIMEOUT_S = 1500.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep. source: the flags that say which server, `--serve TEXT` or `--base-url URL ...`.

    env: on top of ours. models: folders of models by the names that `source` has for them. gpu_hz: None where no GPU is
    to be looked for.
    """

    source: tuple[str, ...]
    expected: Expected
    env: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, Path] = field(default_factory=dict)
    gpu_hz: float | None = None
    idle_s: float = 5.0
    warmup_requests: int = 4
    usd_per_hour: float = 1.0
    slo: str = SLO
    may_miss_slo: bool = False

    def command(self, output: Path) -> list[str]:
        """As it is run."""
        asked = self.expected
        words = ["sweep", *self.source, "--profile", "auto", "--workload", "wineval", "--requests", str(asked.requests)]
        words += ["--concurrency", ",".join(map(str, asked.levels)), "--repeats", str(asked.repeats)]
        words += ["--max-output-tokens", str(asked.max_output_tokens), "--warmup-requests", str(self.warmup_requests)]
        words += ["--usd-per-hour", f"{self.usd_per_hour:g}", "--slo", self.slo, "--output", str(output)]
        words += (
            ["--gpu", "off"]
            if self.gpu_hz is None
            else ["--gpu-sample-hz", f"{self.gpu_hz:g}", "--idle-power-s", str(self.idle_s)]
        )
        return [sys.executable, "-m", "benchsuite", *words]


def sweep(plan: Sweep, output: Path) -> tuple[RunFiles | None, list[Check]]:
    """Run it into `output`, a new folder; its files and what was checked. None where the sweep itself failed."""
    command = plan.command(output.resolve())
    print(f"benchsuite {shlex.join(command[3:])}", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchsuite-smoke-") as here:
        for name, folder in plan.models.items():
            (Path(here) / name).symlink_to(folder)
        try:
            code = subprocess.run(
                command, env={**os.environ, **plan.env}, cwd=here, timeout=TIMEOUT_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return None, [Check("sweep", "WRONG", f"not done after {TIMEOUT_S:g} s")]
    if code not in (0, 6) and not (code == 3 and plan.may_miss_slo):
        return None, [Check("sweep", "WRONG", f"exit code {code}, expected 0")]
    run = read_run(output)
    return run, [Check("sweep", "ok", f"exit code {code}, {output}"), *check_run(run, plan.expected)]


def read_run(folder: Path) -> RunFiles:
    """The files of a run folder."""
    return RunFiles(
        manifest=json.loads((folder / "manifest.json").read_text("utf-8")),
        summary=json.loads((folder / "summary.json").read_text("utf-8")),
        rows=pq.read_table(folder / "requests.parquet").to_pylist(),
        gpu=_table(folder / "gpu.parquet"),
        server=_table(folder / "server.parquet"),
    )


def attribution(folder: Path) -> list[dict[str, Any]]:
    """`benchsuite check --attribution --json`: where TTFT went, a dict a level."""
    command = [sys.executable, "-m", "benchsuite", "check", str(folder), "--attribution", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    levels: list[dict[str, Any]] = json.loads(said.stdout)["attribution"]
    return levels


def _table(path: Path) -> list[dict[str, Any]] | None:
    return pq.read_table(path).to_pylist() if path.is_file() else None
