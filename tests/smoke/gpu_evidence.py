"""Evidence from a real GPU, in one command: `python tests/smoke/gpu_evidence.py [--model-size 1b|3b|8b]`.

1. the NVML sampler at 1 and at 10 Hz beside `nvidia-smi ... -lms`, during two short sweeps;
2. a sweep of 8 to 128 users with a random-weight model of 1 to 8 B parameters, with energy and the decision.
All of it goes into results/gpu-NAME/ (5 MB at most): the run folder, the samples of nvidia-smi, what was compared, the
decision and the energy as printed. Exit code 0: every check holds; 1: one does not, or there is no GPU.

--rehearse runs the same on the CPU with the fake NVML of the tests and a fake nvidia-smi, into a folder that is thrown
away (or --output, never inside results/): to know that the command works before a GPU is paid for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from smoke import baseline, smi
from smoke.checks import Check, Expected, RunFiles
from smoke.run_cuda import choose, fake_nvml
from smoke.servers import ROOT, Serve, serve
from smoke.sweeping import SLO, Sweep, sweep

from benchsuite.errors import BenchsuiteError, InputError
from benchsuite.serving.tiny_model import TinyModelSpec, cache_dir, make_tiny_model

SIZES = {
    "1b": TinyModelSpec(hidden_size=2048, layers=16, heads=32, kv_heads=8, intermediate_size=8192),
    "3b": TinyModelSpec(hidden_size=3072, layers=28, heads=24, kv_heads=8, intermediate_size=8192),
    "8b": TinyModelSpec(hidden_size=4096, layers=32, heads=32, kv_heads=8, intermediate_size=14336),
}
MOST_BYTES = 5_000_000
KEPT = ("manifest.json", "summary.json", "report.html", "requests.parquet", "gpu.parquet", "server.parquet")


def main() -> int:
    """Run it all; 0 if every check holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=("auto", "vllm", "transformers"), default="auto")
    parser.add_argument("--model-size", choices=tuple(SIZES), default="1b", help="random weights [1b]")
    parser.add_argument("--levels", default="8,16,32,64,128", help="of the sweep [8,16,32,64,128]")
    parser.add_argument("--requests", type=int, default=512, help="requests a level [512]")
    parser.add_argument("--max-output-tokens", type=int, default=128, help="cap of each answer [128]")
    parser.add_argument("--usd-per-hour", type=float, default=1.0, help="price of a GPU-hour [1, assumed]")
    parser.add_argument(
        "--slo",
        default="ttft_mean<1s,output_throughput_per_user>20",
        help="[ttft_mean<1s,output_throughput_per_user>20]",
    )
    parser.add_argument("--output", type=Path, help="a new or empty folder [results/gpu-NAME]")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU, with fakes")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="benchsuite-evidence-") as scratch:
            return Evidence(options, Path(scratch)).run()
    except (BenchsuiteError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


class Evidence:
    """One collection of evidence: where it goes, which server, and the environment of a real or a rehearsed GPU."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options, self.scratch = options, scratch
        self.rehearsed: bool = options.rehearse
        self.server, cuda = choose(options.server, "fake" if self.rehearsed else "cuda")
        self.hardware = self.server.gpu if cuda and self.server.gpu else "rehearsal, no GPU"
        self.output = output_folder(options.output, self.hardware, scratch if self.rehearsed else None)
        self.env = {**fake_nvml(scratch)} if self.rehearsed else {}
        if self.rehearsed:
            tools = smi.fake_tool(scratch / "bin")
            self.env["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
        elif shutil.which("nvidia-smi") is None:
            raise InputError("nvidia-smi is not on PATH: there is nothing to compare the sampler with")

    def run(self) -> int:
        """Collect, check, write, tell."""
        print(f"{self.server.name} on {self.hardware}, into {self.output}", flush=True)
        start = self._start()
        checks = [check for hz in (1.0, 10.0) for check in self._sampler_check(start, hz)]
        run, swept = self._sweep("sweep", start, self._levels(), self.options.requests, 10.0, self.options.slo)
        checks += swept
        if run is not None:
            self._keep(self.scratch / "sweep")
            self._say("decision.txt", "decide", str(self.output))
            self._say("energy.txt", "check", str(self.output), "--energy", "--attribution")
            (self.output / "figures.json").write_text(
                json.dumps(baseline.figures_of(run, self.hardware), indent=1) + "\n", "utf-8"
            )
        checks.append(small_enough(self.output))
        (self.output / "checks.txt").write_text("".join(f"{check.line}\n" for check in checks), "utf-8")
        for check in checks:
            print(check.line)
        print(f"{'a rehearsal with fakes, no evidence' if self.rehearsed else 'evidence'}: {self.output}")
        return 1 if any(check.state == "WRONG" for check in checks) else 0

    def _levels(self) -> tuple[int, ...]:
        return tuple(int(level) for level in self.options.levels.split(","))

    def _start(self) -> Serve:
        if self.rehearsed:
            return serve(self.server, cuda=False)
        size = self.options.model_size
        return serve(self.server, cuda=True, name=f"random-{size}", model=random_model(size))

    def _sampler_check(self, start: Serve, hz: float) -> Iterator[Check]:
        """A short sweep with nvidia-smi beside it, both at `hz`; its run folder is not kept."""
        name = f"nvidia-smi-{hz:g}hz"
        samples = self.output / f"{name}.csv"
        levels = self._levels()[-1:]
        with smi.logging(samples, hz, {**os.environ, **self.env}):
            run, checks = self._sweep(name, start, levels, self.options.requests, hz)
        yield from (replace(check, what=f"{hz:g} Hz {check.what}") for check in checks if check.state == "WRONG")
        if run is not None and run.gpu:
            used = run.manifest["telemetry"]["gpu"]["used"]
            yield from smi.compare(run.gpu, smi.read(samples), used, hz, self._busy(run))

    def _busy(self, run: RunFiles) -> tuple[float, float]:
        """The measured points' window as Unix time."""
        clock = run.manifest["clock"]
        points = run.manifest["points"]
        zero_s = clock["origin_wall_ns"] / 1e9
        return zero_s + min(p["started_s"] for p in points), zero_s + max(p["ended_s"] for p in points)

    def _sweep(
        self, name: str, start: Serve, levels: tuple[int, ...], requests: int, hz: float, slo: str = SLO
    ) -> tuple[RunFiles | None, list[Check]]:
        plan = Sweep(
            source=("--serve", start.text),
            expected=Expected(
                self.server.name, levels, requests, 1, self.options.max_output_tokens, gpu=True, quiet=False
            ),
            env={**start.env, **self.env},
            models=start.models,
            gpu_hz=hz,
            idle_s=2.0 if self.rehearsed else 15.0,
            warmup_requests=4 if self.rehearsed else max(levels),
            usd_per_hour=self.options.usd_per_hour,
            slo=slo,
            may_miss_slo=True,
        )
        return sweep(plan, self.scratch / name)

    def _keep(self, run: Path) -> None:
        for name in KEPT:
            if (run / name).is_file():
                shutil.copyfile(run / name, self.output / name)

    def _say(self, name: str, *words: str) -> None:
        """What a command prints, kept beside the figures. decide may exit with 3: no level meets the SLO."""
        command = [sys.executable, "-m", "benchsuite", *words]
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if said.returncode not in (0, 3):
            raise BenchsuiteError(f"benchsuite {words[0]} failed", given=said.stderr.strip())
        (self.output / name).write_text(f"$ benchsuite {words[0]} . {' '.join(words[2:])}\n{said.stdout}", "utf-8")


def output_folder(asked: Path | None, hardware: str, scratch: Path | None) -> Path:
    """The folder, made; it must be new or empty. scratch: of a rehearsal, whose results are no results. InputError."""
    results = ROOT / "results"
    if scratch is not None:
        folder = (asked or scratch / "evidence").resolve()
        if folder.is_relative_to(results):
            raise InputError("a rehearsal leaves nothing in results/", given=str(folder), hint="--output elsewhere")
    else:
        folder = (asked or results / f"gpu-{baseline.slug(hardware)}").resolve()
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError("the folder is not empty", where="--output", given=str(folder), hint="move it away first")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def random_model(size: str) -> Path:
    """A random-weight model of about that many parameters, kept in the cache folder.

    1b: 4 GB on disk and a minute or two to make; 8b: 28 GB, twice that of memory, and many minutes.
    """
    folder = cache_dir() / f"random-{size}"
    if not (folder / "config.json").is_file():
        print(f"making a random-weight model of {size} in {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        work = folder.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(work)
        make_tiny_model(work, SIZES[size], gguf=False)
        work.rename(folder)
    return folder


def small_enough(folder: Path) -> Check:
    """The evidence is to be committed: 5 MB at most."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Check("size", "ok" if size < MOST_BYTES else "WRONG", f"{size:,} bytes, at most {MOST_BYTES:,}")


if __name__ == "__main__":
    sys.exit(main())
