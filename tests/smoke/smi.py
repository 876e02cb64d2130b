"""`nvidia-smi` as a second witness: logged beside a run at a rate, read, compared with our samples."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from smoke.checks import Check

FIELDS = "timestamp,uuid,utilization.gpu,power.draw,memory.used"
LEAST_SAMPLES_RATIO = 0.8
# ours and theirs read the same driver at other moments; a utilisation is one of its sample periods (1/6 to 1 s)
POWER_RATIO = 0.10
MEMORY_RATIO = 0.05
UTIL_POINTS = 0.15

_FAKE = '''#!{python}
"""A fake nvidia-smi for rehearsals: one card, its figures as the fake NVML's control file says."""
import os, sys, time
from datetime import datetime

period_s = int(sys.argv[sys.argv.index("-lms") + 1]) / 1e3
control = open(os.environ["FAKE_NVML"]).read()
knobs = dict(line.split("=", 1) for line in control.splitlines())
while True:
    at = datetime.now().strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
    uuid = "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"
    print(f"{{at}}, {{uuid}}, {{knobs['util']}}, {{float(knobs['watts']):.2f}}, [N/A]", flush=True)
    time.sleep(period_s)
'''


@contextlib.contextmanager
def logging(path: Path, hz: float, env: Mapping[str, str]) -> Iterator[None]:
    """Run nvidia-smi at `hz` while the block runs; its lines go to `path`."""
    command = ["nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits", "-lms", str(round(1000 / hz))]
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=dict(env))
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def read(path: Path) -> list[dict[str, Any]]:
    """Its lines as samples: wall_s (Unix time), uuid, util_ratio, power_w, memory_used_bytes; None for [N/A].

    Lines that are not samples (a message, the last line cut off) are left out.
    """
    rows = []
    for cells in csv.reader(path.read_text("utf-8", "replace").splitlines(), skipinitialspace=True):
        try:
            at, uuid, util, power, memory = cells
            wall_s = datetime.strptime(at, "%Y/%m/%d %H:%M:%S.%f").timestamp()
        except ValueError:
            continue
        rows.append(
            {
                "wall_s": wall_s,
                "uuid": uuid,
                "util_ratio": _number(util, 0.01),
                "power_w": _number(power, 1.0),
                "memory_used_bytes": _number(memory, 2.0**20),
            }
        )
    return rows


def compare(
    ours: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
    used: Sequence[str],
    hz: float,
    window: tuple[float, float],
) -> Iterator[Check]:
    """Means over the same window (Unix time, s) of each GPU that serves: counts, power, utilisation, memory."""
    start_s, end_s = window
    least = int(LEAST_SAMPLES_RATIO * (end_s - start_s) * hz)
    for uuid in used:
        ours_in, theirs_in = (
            [row for row in rows if row["uuid"] == uuid and start_s <= row["wall_s"] <= end_s]
            for rows in (ours, theirs)
        )
        what = f"{hz:g} Hz {uuid[:12]}"
        words = f"ours {len(ours_in)}, nvidia-smi {len(theirs_in)}, {least} wanted in {end_s - start_s:.1f} s"
        yield Check(f"{what} samples", "ok" if len(ours_in) >= least and theirs_in else "WRONG", words)
        for figure, limit, relative in (
            ("power_w", POWER_RATIO, True),
            ("memory_used_bytes", MEMORY_RATIO, True),
            ("util_ratio", UTIL_POINTS, False),
        ):
            yield _means(f"{what} {figure}", _mean(ours_in, figure), _mean(theirs_in, figure), limit, relative)


def _means(what: str, ours: float | None, theirs: float | None, limit: float, relative: bool) -> Check:
    if ours is None or theirs is None:
        return Check(what, "note", f"not told by {'us' if ours is None else 'nvidia-smi'}")
    off = abs(ours - theirs) / (abs(theirs) or 1.0) if relative else abs(ours - theirs)
    words = f"ours {ours:.4g}, nvidia-smi {theirs:.4g}, off by {off:.1%}, at most {limit:.0%}"
    return Check(what, "ok" if off <= limit else "WRONG", words)


def _mean(rows: Sequence[Mapping[str, Any]], figure: str) -> float | None:
    known = [row[figure] for row in rows if row[figure] is not None]
    return sum(known) / len(known) if known else None


def _number(text: str, unit: float) -> float | None:
    try:
        return float(text) * unit
    except ValueError:
        return None


def fake_tool(folder: Path) -> Path:
    """A folder for PATH with a fake nvidia-smi that says what the fake NVML says."""
    folder.mkdir(parents=True)
    path = folder / "nvidia-smi"
    path.write_text(_FAKE.format(python=sys.executable), "utf-8")
    path.chmod(0o755)
    return folder
