"""Measure the same vLLM with `vllm bench serve` and with benchsuite in turn, and compare: do the two agree?

    python benchmarks/vllm_agreement.py [--pairs 6] [--endpoint completions|chat] [--json FILE] [--keep DIR]

Needs .venv-vllm (tests/smoke/setup_vllm_cpu.sh) with what the bench itself wants on top:
`.venv-vllm/bin/pip install -r benchmarks/vllm_bench_requirements.txt`. Both tools send the same prompts (shuffled each
in its own way), ask for the same number of tokens, ignore EOS, use temperature 0 and as many connections; the server's
prefix cache is off; a first run of each is discarded. Odd pairs run in the other order (A B B A ...), so a
drift of the machine cancels. What the machine does between two runs does not: so each tool is also compared with what
the server itself says of the same requests.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "smoke"))

from run_vllm import ENV, MODEL, VLLM  # noqa: E402

from benchsuite.analysis.summary import summarise_points  # noqa: E402
from benchsuite.input_files import read_workload  # noqa: E402
from benchsuite.results import PointSummary  # noqa: E402
from benchsuite.serving.process import LOOPBACK, free_port, running_server  # noqa: E402
from benchsuite.serving.tiny_model import TinyModelSpec, cached_tiny_model  # noqa: E402
from benchsuite.spec import WorkloadSpec  # noqa: E402
from benchsuite.store.run_folder import read_run  # noqa: E402

SETTLE_S = 1.0  # until the server's counters have caught up
SERVER_FIGURES = {
    "ttft_ms": "vllm:time_to_first_token_seconds",
    "tpot_ms": "vllm:request_time_per_output_token_seconds",
    "e2e_ms": "vllm:e2e_request_latency_seconds",
}
FIGURES = ("ttft_ms", "tpot_ms", "e2e_ms", "output_tok_s")
PROMPT_CHARS = 60  # about 100 tokens
# slow enough (about 10 ms a step on one core) that the server, not the client, is what both tools measure
SPEC = TinyModelSpec(hidden_size=384, layers=6, heads=6, kv_heads=2, intermediate_size=1024)
# vLLM's engine and worker wait for each other in loops of sched_yield, two processes that never sleep. With two cores
# the kernel (6.18) then leaves a client runnable but not running for 0.1 to 2 s (/proc/PID/schedstat), either tool's.
NO_SPIN = "import os, time\nos.sched_yield = lambda: time.sleep(2e-5)\n"


@dataclass(frozen=True, slots=True)
class Load:
    """What both tools are asked for."""

    endpoint: str
    concurrency: int
    requests: int
    output_tokens: int
    driver: str


def main() -> int:
    """Run the pairs, print the comparison; 0 if everything ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--endpoint", choices=("completions", "chat"), default="completions")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--requests", type=int, default=384)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--driver", default="wire", help="benchsuite's: wire or httpx")
    parser.add_argument("--json", type=Path, help="write the figures of every run here")
    parser.add_argument("--keep", type=Path, help="keep result files and run folders here; default: thrown away")
    options = parser.parse_args()
    load = Load(options.endpoint, options.concurrency, options.requests, options.output_tokens, options.driver)
    with tempfile.TemporaryDirectory(prefix="benchsuite-agreement-") as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        pairs = measure(load, options.pairs, folder)
    result = {"load": {name: getattr(load, name) for name in load.__slots__}, "pairs": pairs, "summary": compare(pairs)}
    result["excess_over_server_ms"] = excess(pairs)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


def measure(load: Load, n_pairs: int, folder: Path) -> list[dict[str, Any]]:
    """A fresh vLLM, one discarded run of each tool, then the pairs: who -> figures.

    who: theirs, ours (our definitions), printed (vLLM's own words), server_theirs, server_ours (what the server says).
    """
    model = cached_tiny_model(SPEC)
    base_url = f"http://{LOOPBACK}:{(port := free_port())}"
    command = [str(VLLM), "serve", str(model), "--host", LOOPBACK, "--port", str(port), "--served-model-name", MODEL]
    command += ["--max-model-len", "8192", "--enforce-eager", "--no-enable-prefix-caching"]
    write_prompts(load, folder)
    (folder / "sitecustomize.py").write_text(NO_SPIN, "utf-8")
    pairs = []
    with running_server(
        command,
        ready_url=f"{base_url}/health",
        log_path=folder / "vllm.log",
        env=ENV | {"PYTHONPATH": str(folder)},
        ready_timeout_s=300.0,
        stop_timeout_s=30.0,
    ):
        for i in range(-1, n_pairs):
            tools = [lambda i=i: theirs(load, base_url, model, folder, i), lambda i=i: ours(load, base_url, folder, i)]
            figures: dict[str, Any] = {}
            for tool in tools if i % 2 == 0 else reversed(tools):
                before = server_sums(base_url)
                figures |= (found := tool())
                time.sleep(SETTLE_S)
                figures[f"server_{next(iter(found))}"] = server_means(before, server_sums(base_url))
            if i >= 0:
                pairs.append(figures)
                print(f"pair {i}: " + ", ".join(f"{k} {ratio(figures, k) - 1:+.1%}" for k in FIGURES), flush=True)
    return pairs


def server_sums(base_url: str) -> dict[str, float]:
    """Sums and counts of the server's own latency histograms: the same requests, seen from inside."""
    text = httpx.get(f"{base_url}/metrics", trust_env=False).raise_for_status().text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    names = [f"{name}_{part}" for name in SERVER_FIGURES.values() for part in ("sum", "count")]
    return {name: sum(sample.value for sample in samples if sample.name == name) for name in names}


def server_means(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Mean latencies (ms) of what the server did in between; where we measured, with our two preflight requests."""
    grown = {name: after[name] - before[name] for name in after}
    return {key: 1e3 * grown[f"{name}_sum"] / grown[f"{name}_count"] for key, name in SERVER_FIGURES.items()}


def write_prompts(load: Load, folder: Path) -> None:
    """The same prompts in both tools' formats: the user's messages of the wineval set."""
    prompts = read_workload(WorkloadSpec(requests=load.requests), 0).prompts
    texts = [(prompt.messages or ({"content": ""},))[-1]["content"][:PROMPT_CHARS] for prompt in prompts]
    for name, key in (("theirs.jsonl", "output_tokens"), ("ours.jsonl", "max_output_tokens")):
        lines = [json.dumps({"prompt": text, key: load.output_tokens}, ensure_ascii=False) for text in texts]
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")


def theirs(load: Load, base_url: str, model: Path, folder: Path, i: int) -> dict[str, Any]:
    """`vllm bench serve`, its file through our importer; "printed" are its own figures."""
    backend = {"completions": "openai", "chat": "openai-chat"}[load.endpoint]
    path = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}[load.endpoint]
    file = f"theirs{i}.json"
    command = [VLLM, "bench", "serve", "--backend", backend, "--base-url", base_url, "--endpoint", path]
    command += ["--model", MODEL, "--tokenizer", model, "--dataset-name", "custom", "--custom-output-len", -1]
    command += ["--dataset-path", folder / "theirs.jsonl", "--skip-chat-template", "--num-prompts", load.requests]
    command += ["--max-concurrency", load.concurrency, "--ignore-eos", "--temperature", 0, "--seed", i + 1]
    command += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--disable-tqdm"]
    command += ["--save-result", "--save-detailed", "--result-dir", folder, "--result-filename", file]
    call(command, ENV)
    output = folder / f"theirs{i}"
    benchsuite("import", "vllm-bench", folder / file, "--output", output, "--quiet")
    printed = json.loads((folder / file).read_text("utf-8"))
    return {
        "theirs": figures_of(output),
        "printed": {
            **{f"{name}_ms": printed[f"mean_{key}_ms"] for name, key in (("ttft", "ttft"), ("tpot", "tpot"))},
            "e2e_ms": printed["mean_e2el_ms"],
            "output_tok_s": printed["output_throughput"],
        },
    }


def ours(load: Load, base_url: str, folder: Path, i: int) -> dict[str, Any]:
    """`benchsuite sweep` at one level."""
    output, spec = folder / f"ours{i}", folder / "ours.toml"
    spec.write_text("[server]\nextra_body = {temperature = 0}\n", "utf-8")
    options: dict[str, object] = {
        "--base-url": base_url,
        "--model": MODEL,
        "--profile": "vllm",
        "--endpoint": load.endpoint,
        "--workload": folder / "ours.jsonl",
        "--concurrency": load.concurrency,
        "--warmup-requests": 0,
        "--cache-bust": "off",
        "--driver": load.driver,
        "--random-seed": i + 1,
        "--output": output,
    }
    flat = [str(part) for pair in options.items() for part in pair]
    benchsuite("sweep", spec, *flat, "--fixed-length", "--quiet")
    return {"ours": figures_of(output)}


def benchsuite(*words: object) -> None:
    """Our command line; exit code 3 (no level meets the SLO) is as good as 0 here."""
    call([sys.executable, "-m", "benchsuite", *words], {}, also=3)


def call(command: list[Any], env: dict[str, str], also: int = 0) -> None:
    """Run a command to its end, quietly unless it fails."""
    ran = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
        start_new_session=True,  # an autogroup of its own: Linux shares the CPU out between sessions, then in them
    )
    if ran.returncode not in (0, also):
        raise SystemExit(f"{command[:4]} ended with {ran.returncode}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")


def figures_of(folder: Path) -> dict[str, float]:
    """Our definitions, from a run folder of one level."""
    run = read_run(folder)
    (point,) = summarise_points(run.table, model=MODEL, fixed_length=True)
    if point.n_failed:
        raise SystemExit(f"{point.n_failed} requests failed in {folder.name}")
    return {**_means(point), "output_tokens": float(point.output_tokens or 0), "wall_s": point.duration_s or math.nan}


def _means(point: PointSummary) -> dict[str, float]:
    seconds = {
        "ttft_ms": point.ttft_s.mean,
        "tpot_ms": point.distributions["tpot_s"].mean,
        "e2e_ms": point.distributions["e2e_s"].mean,
    }
    scaled = {name: math.nan if value is None else value * 1e3 for name, value in seconds.items()}
    return {**scaled, "output_tok_s": point.output_tok_s or math.nan}


def ratio(pair: dict[str, Any], figure: str, above: str = "ours", below: str = "theirs") -> float:
    """One pair's ratio of a figure."""
    value: float = pair[above][figure] / pair[below][figure]
    return value


def compare(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Per figure: mean of each, run-to-run CV, geometric mean of ours / theirs with its 95 % t-interval over pairs."""
    summary = {}
    for figure in FIGURES:
        logs = np.log([ratio(pair, figure) for pair in pairs])
        half = (
            stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan
        )
        columns = {who: np.array([pair[who][figure] for pair in pairs]) for who in ("theirs", "printed", "ours")}
        summary[figure] = {
            **{who: float(values.mean()) for who, values in columns.items()},
            **{f"cv_{who}": float(values.std(ddof=1) / values.mean()) for who, values in columns.items()},
            "ratio": float(np.exp(logs.mean())),
            "ratio_low": float(np.exp(logs.mean() - half)),
            "ratio_high": float(np.exp(logs.mean() + half)),
            "difference_mean": float(np.mean(columns["ours"] - columns["theirs"])),
            "definition_ratio": float(np.exp(np.mean(np.log(columns["theirs"] / columns["printed"])))),
        }
    return summary


def excess(pairs: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Per tool and latency: client minus server in the same run, [mean, low, high] ms with a 95 % t-interval."""
    found: dict[str, dict[str, list[float]]] = {"theirs": {}, "ours": {}}
    for who, figures in found.items():
        for figure in SERVER_FIGURES:
            values = np.array([pair[who][figure] - pair[f"server_{who}"][figure] for pair in pairs])
            half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
            figures[figure] = [float(values.mean()), float(values.mean() - half), float(values.mean() + half)]
    return found


def show(result: dict[str, Any]) -> None:
    """The table that docs/EVIDENCE.md quotes."""
    print(f"{len(result['pairs'])} pairs, {result['load']}")
    head = ("figure", "printed", "theirs", "ours", "ours/theirs", "95 % interval", "CV theirs", "CV ours")
    print(" | ".join(head))
    for figure, row in result["summary"].items():
        interval = f"{row['ratio_low'] - 1:+.1%} to {row['ratio_high'] - 1:+.1%}"
        means = " | ".join(f"{row[who]:.2f}" for who in ("printed", "theirs", "ours"))
        print(
            f"{figure} | {means} | {row['ratio'] - 1:+.1%} | {interval} | {row['cv_theirs']:.1%} | {row['cv_ours']:.1%}"
        )
    print("client minus server in the same run, ms (95 % interval):")
    for who, figures in result["excess_over_server_ms"].items():
        cells = [f"{name} {mean:+.2f} ({low:+.2f} to {high:+.2f})" for name, (mean, low, high) in figures.items()]
        print(f"{who}: " + ", ".join(cells))


if __name__ == "__main__":
    sys.exit(main())
