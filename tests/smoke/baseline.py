"""A stored run to compare with: cost, throughput and TTFT of each level, by GPU and server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smoke.checks import Check, RunFiles

STORED = Path(__file__).parent / "baselines"
# figure -> whether more of it is worse
FIGURES = {"usd_per_1m_output_tokens": True, "output_tok_s": False, "ttft_mean_s": True, "j_per_output_token": True}
SET = ("requests", "max_output_tokens", "source")


def slug(name: str) -> str:
    """A GPU's name as a file's: 'NVIDIA H100 80GB HBM3' is nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def figures_of(run: RunFiles, hardware: str) -> dict[str, Any]:
    """What is kept of a run, as JSON. A figure that is not known is null."""
    spec = run.manifest["spec"]
    return {
        "hardware": hardware,
        "version": (run.manifest.get("launched_server") or {}).get("version"),
        "made": run.manifest["created"],
        "set": {key: spec["workload"][key] for key in SET} | {"repeats": spec["load"]["repeats"]},
        "levels": {str(point["concurrency"]): _level(point) for point in run.summary["points"]},
    }


def _level(point: dict[str, Any]) -> dict[str, float | None]:
    return {
        "usd_per_1m_output_tokens": point["usd_per_1m_output_tokens"],
        "output_tok_s": point["output_tok_s"],
        "ttft_mean_s": (point["ttft_s"] or {}).get("mean"),
        "j_per_output_token": (point["energy"] or {}).get("j_per_output_token"),
    }


def compare(stored: dict[str, Any], found: dict[str, Any], tolerance_ratio: float) -> Iterator[Check]:
    """Each figure of each level against the stored one: wrong if worse by more than the tolerance, of either's value.

    0.5: a cost of more than 1.5 times, a rate of less than 1 / 1.5. Better by more is a note. Another set is not
    compared, and that is wrong: a baseline that guards nothing must not pass.
    """
    if stored["set"] != found["set"]:
        yield Check("baseline", "WRONG", f"is of another request set: {stored['set']}; --update-baseline")
        return
    yield Check("baseline", "ok", f"{stored['version']} of {stored['made']}, tolerance {tolerance_ratio:.0%}")
    for level, figures in stored["levels"].items():
        if level not in found["levels"]:
            yield Check(f"c={level} against the baseline", "note", "not measured this time")
            continue
        for figure, more_is_worse in FIGURES.items():
            yield from _figure(level, figure, figures.get(figure), found["levels"][level][figure], more_is_worse,
                               1 + tolerance_ratio)  # fmt: skip


def _figure(
    level: str, figure: str, was: float | None, now: float | None, more_is_worse: bool, factor: float
) -> Iterator[Check]:
    what = f"c={level} {figure}"
    if was is None:
        return
    if now is None:
        yield Check(what, "WRONG", f"not known, was {was:.4g}")
        return
    worse = now / was if more_is_worse else was / now if now else float("inf")
    words = f"{now:.4g}, was {was:.4g}"
    if worse > factor:
        yield Check(what, "WRONG", f"{words}: worse by more than the tolerance")
    elif worse < 1 / factor:
        yield Check(what, "note", f"{words}: better by more than the tolerance; --update-baseline keeps it")
    else:
        yield Check(what, "ok", words)


def read(folder: Path, hardware: str, server: str) -> dict[str, Any] | None:
    """The stored figures of a server on this hardware; None where there are none."""
    path = folder / f"{slug(hardware)}.json"
    stored: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return stored.get(server)


def write(folder: Path, server: str, figures: dict[str, Any]) -> Path:
    """Keep the figures in the hardware's file, beside those of other servers; returns the file."""
    path = folder / f"{slug(figures['hardware'])}.json"
    stored = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored | {server: figures}, indent=1) + "\n", "utf-8")
    return path
