"""`benchsuite recover`: what a crash left of a run, made whole."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  benchsuite recover results/20261121T120000Z-my-model-1a2b
  benchsuite sweep --resume results/20261121T120000Z-my-model-1a2b
"""
)
@click.argument("run", type=click.Path(path_type=Path))
def command(run: Path) -> int:
    """Save every row that an interrupted sweep had written down, and say which points are whole.

    Reading a run does this too, in memory; here the journals become requests.parquet. `sweep --resume` measures the
    rest.
    """
    from collections import Counter

    from benchsuite.store.run_folder import recover

    found = recover(run)
    rows = Counter(zip(found.table["point_id"].to_pylist(), found.table["attempt"].to_pylist(), strict=True))
    for point in found.manifest.points:
        attempt = f" attempt {point.attempt + 1}" if point.attempt else ""
        click.echo(f"{point.point_id}{attempt}: {rows[point.point_id, point.attempt]} rows, {point.status}")
    whole, planned = {p.point_id for p in found.manifest.complete_points}, found.manifest.planned_points
    missing = [point_id for point_id in planned if point_id not in whole]
    click.echo(
        f"{found.table.num_rows} rows kept; {len(whole)} of {len(planned)} points whole; run {found.manifest.status}"
    )
    if missing:
        click.echo(f"measure the rest: benchsuite sweep --resume {run}")
    return 0
