"""`python -m benchmarks.chaos [SECTION...]`: break things on purpose, count the rows, write the table.

Sections: schedules, points, torn, faults; without one, all of them. And soak, streams, which only run when named.
`--seed N` (or N-M) runs those schedules only, and writes no page.
What a section found is kept in build/chaos.json, so the table (in docs/RELIABILITY.md) holds the last run of each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import chaos_faults, chaos_files, chaos_points, chaos_schedules, chaos_soak
from benchmarks.chaos_kit import Row
from benchsuite import __version__

SECTIONS: dict[str, Callable[[], list[Row]]] = {
    "points": chaos_points.every_point,
    "torn": chaos_files.torn_files,
    "faults": chaos_faults.faults_together,
}
IN_TABLE = ("schedules", *SECTIONS)
LONG: dict[str, Callable[[], list[str]]] = {"soak": chaos_soak.soak, "streams": chaos_soak.streams}
ROOT = Path(__file__).parents[1]
FOUND, PAGE = ROOT / "build" / "chaos.json", ROOT / "docs" / "RELIABILITY.md"
HEAD = ("fault", "times tried", "rows expected", "rows kept", "outcome")


def main(names: list[str]) -> int:
    """Run the sections, keep what they found, write the table. 1 if a row was lost."""
    if names[:1] == ["--seed"]:
        first, _, last = names[1].partition("-")
        return int(not _schedules(range(int(first), int(last or first) + 1)))
    known = (*IN_TABLE, *LONG)
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no such section: {', '.join(unknown)}; there are {', '.join(known)}")
    lost = False
    for name in names or IN_TABLE:
        began_s = time.monotonic()
        print(f"== {name}", flush=True)
        if name == "schedules":
            lost = not _schedules(range(200)) or lost
            continue
        if name in LONG:
            kept: dict[str, Any] = {"lines": LONG[name]()}
            print(*kept["lines"], sep="\n", flush=True)
        else:
            rows = SECTIONS[name]()
            kept = {"rows": [dataclasses.asdict(row) for row in rows]}
            print(*table(kept["rows"]), sep="\n", flush=True)
            lost = lost or not all(row.good for row in rows)
        kept |= {"seconds": round(time.monotonic() - began_s), "made": datetime.now(UTC).date().isoformat()}
        _keep(name, kept)
    write_page(json.loads(FOUND.read_text("utf-8")))
    return int(lost)


def _schedules(seeds: range) -> bool:
    good = chaos_schedules.schedules(seeds)
    _keep("schedules", kept := chaos_schedules.kept_section())
    print(*table(kept["rows"]), sep="\n", flush=True)
    return good


def _keep(name: str, kept: dict[str, Any]) -> None:
    FOUND.parent.mkdir(exist_ok=True)
    found = json.loads(FOUND.read_text("utf-8")) if FOUND.exists() else {}
    FOUND.write_text(json.dumps(found | {name: kept}, indent=1) + "\n", "utf-8")


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table of the rows."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|--:|--:|--:|---|"]
    for row in rows:
        outcome = row["outcome"] if row["good"] else f"FAILED: {row['outcome']}"
        cells = (row["fault"], f"{row['tried']:,}", f"{row['expected']:,}", f"{row['kept']:,}", outcome)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_page(found: dict[str, Any], page: Path = PAGE) -> None:
    """Put the tables between the marks of docs/RELIABILITY.md; what is around them stays."""
    rows = [row for name in IN_TABLE for row in found.get(name, {}).get("rows", [])]
    ran = [f"{name} {found[name]['made']}, {found[name]['seconds']} s" for name in IN_TABLE if name in found]
    cores = len(os.sched_getaffinity(0))
    said = f"benchsuite {__version__}, {cores} cores. Sections: {'; '.join(ran)}."
    text = page.read_text("utf-8")
    text = _between(text, "table", [*table(rows), "", said])
    text = _between(text, "soak", [line for name in LONG for line in found.get(name, {}).get("lines", [])])
    page.write_text(text, "utf-8")


def _between(text: str, mark: str, lines: list[str]) -> str:
    start, end = f"<!-- {mark}: made by make chaos -->", f"<!-- {mark}: end -->"
    if not lines:
        return text
    before, _, rest = text.partition(start)
    return before + start + "\n\n" + "\n".join(lines) + "\n\n" + end + rest.partition(end)[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
