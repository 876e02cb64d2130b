"""`python -m benchmarks.paired --against COMMIT [--rounds 7]`: the measuring client of this tree and of another commit.

Both run the same streams of a closed loop in turn, as whole processes, each from its own tree. A ratio is this tree's
figure over the other's in the same round, with a 95 % interval over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchsuite.analysis.intervals import t_over_runs

ROOT = Path(__file__).parent.parent
STREAMS, TOK_S, LEAST_ROUNDS = 128, 100.0, 2
KEYS = ("cpu_us_per_chunk", "parse_us_per_chunk", "gap_p50_ms", "gap_p99_ms", "ttft_p99_ms")
_PROGRAM = f"""
import json, benchsuite
from benchmarks.clients import _ours
from benchsuite.load.calibrate import Setting
print(json.dumps(_ours(Setting({STREAMS}, {TOK_S}, False)) | {{"code": benchsuite.__file__}}))
"""


def measure(tree: Path) -> dict[str, Any]:
    """One run of the tree's client against the tree's simulator. Raises CalledProcessError, or for another's code."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, text=True, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not Path(found["code"]).is_relative_to(tree.resolve()):
        raise RuntimeError(f"{tree} ran the code of {found['code']}")
    return found


def table(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]], other: str) -> list[str]:
    """A line for each figure: the medians of both, and their ratio."""
    lines = [f"{'':20}{other:>12}{'this tree':>12}  ratio (95 % of {len(ours)} rounds)"]
    for key in KEYS:
        ratios = np.array([a[key] / b[key] for a, b in zip(ours, theirs, strict=True)])
        ratio = t_over_runs(ratios, float(np.exp(np.log(ratios).mean())))
        shown = ratio.method if ratio.low is None else f"{ratio.value:.3f} ({ratio.low:.3g} to {ratio.high:.3g})"
        lines.append(f"{key:20}{median(b[key] for b in theirs):12.4f}{median(a[key] for a in ours):12.4f}  {shown}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paired", description=__doc__)
    parser.add_argument("--against", required=True, metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchsuite-paired-") as folder:
        archive = subprocess.run(["git", "archive", asked.against], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        trees = [ROOT, Path(folder)]
        found: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for number in range(max(asked.rounds, LEAST_ROUNDS)):
            for which in (0, 1) if number % 2 else (1, 0):
                found[which].append(one := measure(trees[which]))
                print(f"round {number + 1}, {('this tree', asked.against)[which]}: "
                      + ", ".join(f"{key} {one[key]:.4f}" for key in KEYS), flush=True)  # fmt: skip
    print(*table(*found, asked.against), sep="\n")


if __name__ == "__main__":
    main()
