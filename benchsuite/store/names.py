"""Where things are in a run folder."""

from __future__ import annotations

from pathlib import Path

from benchsuite.store.schema import GPU, SERVER

MANIFEST, REQUESTS, SUMMARY, REPORT = "manifest.json", "requests.parquet", "summary.json", "report.html"
JOURNALS, POINTS = "journal", "points"
SAMPLES = {name: f"{name}.parquet" for name in (GPU, SERVER)}


def part_name(point_id: str, attempt: int) -> str:
    """What the files of one attempt at a point are called, without their ends."""
    return f"{point_id}.a{attempt}" if attempt else point_id


def part_of_journal(path: Path) -> str:
    """The part that a journal belongs to: 'c0008-r0.a1.w3.arrows' is of 'c0008-r0.a1'."""
    return path.name.rpartition(".w")[0]
