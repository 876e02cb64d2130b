"""The smoke run for a GPU: start a tiny model, sweep it as a user would, check what comes out, compare with a baseline.

    python tests/smoke/run_cuda.py [--device auto|cuda|cpu|fake] [--server auto|vllm|transformers] [--output DIR]

vLLM where it is installed (.venv-vllm, $BENCHSUITE_VLLM_PYTHON, PATH), else `transformers serve --continuous-batching`.
--device cuda fails without CUDA; auto then says so and runs on the CPU; fake runs on the CPU with the fake NVML of the
tests, to try the checks without a GPU. Exit code 0: every check holds; 1: one does not, or something failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from smoke import baseline
from smoke.checks import Check, Expected, RunFiles
from smoke.servers import ROOT, Found, find, serve
from smoke.sweeping import Sweep, sweep

from benchsuite.errors import BenchsuiteError
from benchsuite.telemetry.host import describe_host

SETUP = ROOT / "tests" / "smoke" / "setup_transformers.sh"


def main() -> int:
    """Find a server, sweep it, check; 0 if every check holds."""
    options = _options()
    try:
        return _run(options)
    except (BenchsuiteError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu", "fake"), default="auto")
    parser.add_argument("--server", choices=("auto", "vllm", "transformers"), default="auto")
    parser.add_argument("--levels", default="1,8,32", help="concurrency levels [1,8,32]")
    parser.add_argument("--requests", type=int, default=64, help="requests a level [64]")
    parser.add_argument("--repeats", type=int, default=1, help="runs a level [1]")
    parser.add_argument("--max-output-tokens", type=int, default=64, help="cap of each answer [64]")
    parser.add_argument("--gpu-sample-hz", type=float, default=10.0, help="GPU samples a second [10]")
    parser.add_argument("--output", type=Path, help="a new folder [results/smoke-TIME]")
    parser.add_argument("--baselines", type=Path, default=baseline.STORED, help="folder of the stored baselines")
    parser.add_argument("--tolerance", type=float, default=0.5, help="0.5: worse by more than half is wrong [0.5]")
    parser.add_argument("--update-baseline", action="store_true", help="store this run's figures as the baseline")
    parser.add_argument("--allow-client-bound", action="store_true", help="tell it, do not hold it against the run")
    return parser.parse_args()


def _run(options: argparse.Namespace) -> int:
    found, cuda = choose(options.server, options.device)
    fake = options.device == "fake"
    host = describe_host()
    on_cpu = f"{'fake NVML, ' if fake else ''}CPU {host['cpu_model']} x {host['cpu_count']}"
    hardware = found.gpu if cuda and found.gpu else on_cpu
    print(f"{found.name} of {found.python}, torch {found.torch}, on {hardware}")
    if not (cuda or fake):
        print("no CUDA device is used: this run says nothing of GPUs, their samples or their energy")
    output = options.output or ROOT / "results" / f"smoke-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with tempfile.TemporaryDirectory(prefix="benchsuite-smoke-") as scratch:
        env = fake_nvml(Path(scratch)) if fake else {}
        run, checks = sweep(_plan(options, found, cuda, env), output)
    if run is not None:
        checks += against_baseline(run, checks, found.name, hardware, output, options)
        (output / "checks.txt").write_text("".join(f"{check.line}\n" for check in checks), "utf-8")
    print(f"\n{found.name} on {hardware}")
    for check in checks:
        print(check.line)
    count = Counter(check.state for check in checks)
    print(f"{count['ok']} checks hold, {count['WRONG']} are wrong, {count['note']} notes")
    return 1 if count["WRONG"] else 0


def _plan(options: argparse.Namespace, found: Found, cuda: bool, env: Mapping[str, str]) -> Sweep:
    start = serve(found, cuda=cuda)
    has_gpu = cuda or bool(env)
    # transformers writes several events at once: that reads are merged is its own doing
    quiet = cuda and found.name != "transformers" and not options.allow_client_bound
    return Sweep(
        source=("--serve", start.text),
        expected=Expected(
            profile=found.name,
            levels=tuple(int(level) for level in options.levels.split(",")),
            requests=options.requests,
            repeats=options.repeats,
            max_output_tokens=options.max_output_tokens,
            gpu=has_gpu,
            quiet=quiet,
        ),
        env={**start.env, **env},
        models=start.models,
        gpu_hz=options.gpu_hz if has_gpu else None,
    )


def choose(server: str, device: str) -> tuple[Found, bool]:
    """The server, and whether it runs on CUDA. Without any, transformers is installed. Raises BenchsuiteError."""
    names = ("vllm", "transformers") if server == "auto" else (server,)
    found = [one for name in names if (one := find(name))]
    if not found:
        if "transformers" not in names:
            raise BenchsuiteError(
                f"{server} is not installed",
                expected=".venv-vllm, $BENCHSUITE_VLLM_PYTHON, or the program on PATH",
                hint="--server transformers, or tests/smoke/setup_vllm_cpu.sh for the CPU",
            )
        subprocess.run([SETUP], check=True)
        found = [one for one in (find("transformers"),) if one]
        if not found:
            raise BenchsuiteError("transformers was installed, yet is not found", where=str(SETUP))
    if device in ("auto", "cuda"):
        for one in found:
            if one.gpu:
                return one, True
    if device == "cuda":
        builds = ", ".join(f"{one.name}: torch {one.torch}" for one in found)
        raise BenchsuiteError(
            "no server here sees a CUDA device", given=builds, hint="nvidia-smi; a CUDA build of torch"
        )
    return found[0], False


def fake_nvml(folder: Path) -> Mapping[str, str]:
    """The environment in which NVML is the tests' fake: one card, 300 W."""
    sys.path.insert(0, str(ROOT / "tests" / "telemetry"))
    from fake_nvml import FakeNvml

    fake = FakeNvml(folder, gpus=1, watts=300, util=85, name="Fake GPU")
    environment = fake.environment()
    return {name: environment[name] for name in ("LD_LIBRARY_PATH", "FAKE_NVML")}


def against_baseline(
    run: RunFiles, checks: list[Check], server: str, hardware: str, output: Path, options: argparse.Namespace
) -> list[Check]:
    """Compare with the stored figures, or write the run's where there are none: to the output folder, or as asked.

    A run that is wrong is never stored.
    """
    figures = baseline.figures_of(run, hardware)
    if options.update_baseline:
        if any(check.state == "WRONG" for check in checks):
            return [Check("baseline", "note", "not stored: a check above is wrong")]
        return [Check("baseline", "ok", f"stored in {baseline.write(options.baselines, server, figures)}")]
    stored = baseline.read(options.baselines, hardware, server)
    if stored is not None:
        return list(baseline.compare(stored, figures, options.tolerance))
    written = baseline.write(output / "baseline", server, figures)
    return [Check("baseline", "note", f"none for {server} on {hardware}; this run's figures are in {written}")]


if __name__ == "__main__":
    sys.exit(main())
