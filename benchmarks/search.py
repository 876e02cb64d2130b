"""The search for the cheapest level against engines in virtual time: how often it is right, and what it takes."""

from __future__ import annotations

import math
import os
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "load"))
from virtual_engine import FRESH, KNOWN, LOOKED_AT, Law, Truth, find

SEEDS = int(os.environ.get("SEEDS", "60"))
FIRST_SEED = 9000  # lower ones were looked at while the rules were made
LAWS = KNOWN | LOOKED_AT | FRESH


def search() -> list[dict[str, Any]]:
    """Searches by law: SLO truly missed, good, of those that state P >= .95 good, minutes; the truth by long runs.

    SEEDS: searches a law. LAWS: names separated by semicolons; all.
    """
    names = [name for name in os.environ.get("LAWS", "").split(";") if name] or list(LAWS)
    rows = []
    for name in names:
        rows.append(row := one_law(name, LAWS[name], range(FIRST_SEED, FIRST_SEED + SEEDS)))
        stated = "-" if row["stated_good"] is None else f"{row['stated_good']:.0%} of {row['stated']:.0%}"
        dearer = "-" if row["dearer"] is None else f"{row['dearer']:.1%}"
        print(
            f"{name:24} best {row['best']:6g}  chosen {row['low']:g}-{row['high']:g}  dearer {dearer}  missed "
            f"{row['missed']:.0%}  good {row['good']:.0%}  stated good {stated}  P(good) {row['p_good']:.2f}  "
            f"{row['minutes']:.1f} min  {row['probes']:.0f} probes  {row['ends']}",
            flush=True,
        )
    return rows


def one_law(name: str, law: Law, seeds: range) -> dict[str, Any]:
    """Good: the true SLO is kept, at a cost at most 5 % above the cheapest true level; or none where there is none."""
    truth = Truth(law)
    best, best_ln_x = truth.best()
    outcomes = []
    for seed in seeds:
        end, results = find(law, seed)
        answer, minutes = end.answer, sum(one.seconds for one in results) / 60
        level, margin, ln_x = (
            (math.nan, math.nan, math.nan) if answer is None else (answer.level, *truth.at(answer.level))
        )
        dearer = math.expm1(best_ln_x - ln_x) if margin > 0 else math.nan
        good = math.isnan(best) if answer is None else dearer <= 0.05
        p_good = 0.0 if answer is None else answer.p_good
        outcomes.append((level, dearer, margin <= 0, good, p_good, minutes, len(results), end.reason))
    levels, dearer, missed, good, p_good, minutes, probes, ends = (
        list(column) for column in zip(*outcomes, strict=True)
    )
    stated = [one for one, p in zip(good, p_good, strict=True) if p >= 0.95]
    known = [one for one in dearer if not math.isnan(one)]
    return {
        "law": name,
        "best": best,
        "low": min(levels),
        "high": max(levels),
        "dearer": statistics.median(known) if known else None,
        "missed": statistics.mean(missed),
        "good": statistics.mean(good),
        "stated": len(stated) / len(good),
        "stated_good": statistics.mean(stated) if stated else None,
        "p_good": statistics.mean(p_good),
        "minutes": statistics.median(minutes),
        "probes": statistics.median(probes),
        "ends": {one: ends.count(one) for one in dict.fromkeys(ends)},
    }
