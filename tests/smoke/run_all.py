"""Every server that can run here, end to end: `python tests/smoke/run_all.py [--only NAME ...] [--output DIR]`.

llama.cpp (embedded), vLLM on the CPU (.venv-vllm) and transformers serve (.venv-transformers) are started, found out by
`--profile auto` and swept; for TGI and Ollama, which no package holds, the fakes of tests/fakes stand in.
One table at the end. Exit code 0: every check of every server holds; 1: one does not, or a server is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fakes.ollama import FakeOllama
from fakes.tgi import FakeTgi
from smoke.checks import Check, Expected, RunFiles, client_verdict, our_tokens, server_tokens
from smoke.servers import find, serve
from smoke.sweeping import Sweep, attribution, sweep

NAMES = ("llamacpp", "vllm", "transformers", "tgi", "ollama")
FAKES = {
    "tgi": lambda: FakeTgi(max_total_tokens=32768),
    "ollama": lambda: FakeOllama(num_parallel=8, context_length=32768),
}
PARTS = ("client", "network", "queue", "prefill")
HEAD = ("server", "version", "levels", "rows", "tokens ours", "theirs", "TTFT ms", "client", "known of TTFT", "checks")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one server. run: None where the sweep failed."""

    name: str
    run: RunFiles | None
    checks: Sequence[Check]
    parts: Sequence[str] = ()

    @property
    def wrong(self) -> int:
        """How many checks do not hold."""
        return sum(check.state == "WRONG" for check in self.checks)


def main() -> int:
    """Sweep them all, print the checks and the table; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these servers only")
    parser.add_argument("--levels", default="1,4,8", help="concurrency levels [1,4,8]")
    parser.add_argument("--requests", type=int, default=32, help="requests a level [32]")
    parser.add_argument("--max-output-tokens", type=int, default=16, help="cap of each answer [16]")
    parser.add_argument("--output", type=Path, help="keep the runs in this folder; default: thrown away")
    options = parser.parse_args()
    levels = tuple(int(level) for level in options.levels.split(","))
    with tempfile.TemporaryDirectory(prefix="benchsuite-smoke-") as scratch:
        outcomes = [
            _outcome(
                name,
                Expected(name, levels, options.requests, 1, options.max_output_tokens, gpu=False, quiet=False),
                (options.output or Path(scratch)) / name,
            )
            for name in options.only
        ]
    for outcome in outcomes:
        print(f"\n{outcome.name}")
        for check in outcome.checks:
            print(check.line)
    print()
    print(table([HEAD, *(row(outcome) for outcome in outcomes)]))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def _outcome(name: str, expected: Expected, output: Path) -> Outcome:
    print(f"\n== {name}", flush=True)
    with _plan(name, expected) as plan:
        if plan is None:
            script = "setup_vllm_cpu.sh" if name == "vllm" else "setup_transformers.sh"
            return Outcome(name, None, [Check(name, "WRONG", f"not installed: tests/smoke/{script}")])
        run, checks = sweep(plan, output)
    return Outcome(name, run, checks, known_parts(attribution(output)) if run else ())


@contextlib.contextmanager
def _plan(name: str, expected: Expected) -> Iterator[Sweep | None]:
    if name in FAKES:
        with FAKES[name]() as fake:
            yield Sweep(("--base-url", fake.base_url), expected)
    elif name == "llamacpp":
        yield Sweep(("--serve", f"llamacpp --slots {max(expected.levels)}"), expected)
    elif found := find(name):
        start = serve(found, cuda=False)
        yield Sweep(("--serve", start.text), expected, start.env, start.models)
    else:
        yield None


def known_parts(levels: Sequence[dict[str, Any]]) -> list[str]:
    """Which parts of TTFT are known at every level."""
    return [part for part in PARTS if all(level[f"{part}_s"] is not None for level in levels)]


def row(outcome: Outcome) -> tuple[str, ...]:
    """The outcome's line of the table."""
    name = f"{outcome.name} (fake)" if outcome.name in FAKES else outcome.name
    fine = sum(check.state == "ok" for check in outcome.checks)
    verdict = f"{outcome.wrong} WRONG" if outcome.wrong else f"{fine} ok"
    run = outcome.run
    if run is None:
        return (name, *["–"] * (len(HEAD) - 2), verdict)
    points, theirs = run.summary["points"], server_tokens(run)
    launched, probe = run.manifest.get("launched_server") or {}, run.manifest["server_probe"]
    told = launched.get("version") or probe["server"].get("version")
    return (
        name,
        (told or "–").removeprefix(f"{outcome.name} "),
        ",".join(str(point["concurrency"]) for point in points),
        str(len(run.rows)),
        f"{our_tokens(run):,}",
        "–" if theirs is None else f"{theirs:,}",
        ",".join(f"{point['ttft_s']['mean'] * 1e3:.3g}" for point in points),
        max((client_verdict(point) for point in points), key=("ok", "degraded", "client-bound").index),
        " ".join(outcome.parts) or "–",
        verdict,
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns set under each other."""
    widths = [max(len(cells[i]) for cells in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{w}}" for cell, w in zip(cells, widths, strict=True)).rstrip() for cells in rows
    )


if __name__ == "__main__":
    sys.exit(main())
