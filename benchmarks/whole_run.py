"""CPU and memory of a whole command, imports and report included, beside `vllm bench serve` on the same server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.clients import ROOT
from benchsuite.load.calibrate import on_cpus
from benchsuite.serving.tiny_model import cached_tiny_model
from benchsuite.simulator.config import LatencyModel, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.workload.dataset import Prompt, make_workload, to_jsonl

REQUESTS, USERS, TOKENS = 2000, 128, 128
VLLM = ROOT / ".venv-vllm" / "bin" / "vllm"


def whole_run() -> list[dict[str, Any]]:
    """2,000 requests of 128 tokens at 100/s through 128 users: CPU seconds and memory of the whole command."""
    rows = []
    cpus = sorted(os.sched_getaffinity(0))
    config = SimulatorConfig(latency=LatencyModel(ttft_s=0.1, itl_s=0.01))
    with (
        on_cpus({cpus[0]}),
        simulator(config) as server,
        on_cpus({cpus[-1]}),
        tempfile.TemporaryDirectory(prefix="benchsuite-bench-") as folder,
    ):
        workload = Path(folder) / "set.jsonl"
        workload.write_text("".join(line + "\n" for line in to_jsonl(_prompts())), "utf-8")
        commands = {"benchsuite": _ours(server.base_url, workload, Path(folder) / "run")}
        if VLLM.exists():
            commands["vllm bench serve"] = _vllm(server.base_url)
        for name, command in commands.items():
            rows.append({"command": name, **_cost(command)})
    for row in rows:
        print(
            f"{row['command']:<18}{row['cpu_s']:>7.1f} s CPU ({row['cpu_s'] / rows[-1]['cpu_s']:.2f} of the last)"
            f"{row['rss_max_mb']:>6.0f} MB in the largest process{row['wall_s']:>7.1f} s wall"
        )
    return rows


def _prompts() -> Any:
    text = " ".join(f"word{i}" for i in range(20))
    message = ({"role": "user", "content": text},)
    return make_workload("whole", tuple(Prompt(f"p{i}", None, message, None, TOKENS) for i in range(REQUESTS)))


def _ours(base_url: str, workload: Path, output: Path) -> list[str]:
    flags = ["--base-url", base_url, "--profile", "vllm", "--workload", str(workload), "--concurrency", str(USERS)]
    flags += ["--warmup-requests", "1", "--warmup-min-s", "0", "--cooldown-min-s", "0", "--usd-per-hour", "1"]
    return [str(Path(sys.executable).parent / "benchsuite"), "sweep", *flags, "--output", str(output), "--quiet"]


def _vllm(base_url: str) -> list[str]:
    flags = ["--backend", "openai-chat", "--base-url", base_url, "--endpoint", "/v1/chat/completions"]
    flags += ["--model", "simulator", "--tokenizer", str(cached_tiny_model()), "--dataset-name", "random"]
    flags += ["--random-input-len", "40", "--random-output-len", str(TOKENS), "--num-prompts", str(REQUESTS)]
    return [str(VLLM), "bench", "serve", *flags, "--max-concurrency", str(USERS), "--ignore-eos", "--disable-tqdm"]


def _cost(command: Sequence[str]) -> dict[str, Any]:
    """CPU (with all descendants), the largest process's memory, wall time; run from a child, to count only it."""
    counted = "import json, resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL,"
    counted += " stderr=subprocess.DEVNULL, timeout=240, check=True); r = resource.getrusage(resource.RUSAGE_CHILDREN);"
    counted += " print(json.dumps([r.ru_utime + r.ru_stime, r.ru_maxrss / 1024]))"
    env = os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    began_s = time.monotonic()
    said = subprocess.run(
        [sys.executable, "-c", counted, *command], capture_output=True, text=True, env=env, check=True
    )
    cpu_s, rss_mb = json.loads(said.stdout)
    return {"cpu_s": cpu_s, "rss_max_mb": rss_mb, "wall_s": time.monotonic() - began_s}
