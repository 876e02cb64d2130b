"""A run folder read back: finished, cut short, or still being written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchsuite.errors import PointsError
from benchsuite.parsing import read_json
from benchsuite.records import SCHEMA_VERSION
from benchsuite.store.journal import read_journal
from benchsuite.store.manifest import check_manifest
from benchsuite.store.names import JOURNALS, MANIFEST, POINTS, REQUESTS, SAMPLES, part_name, part_of_journal
from benchsuite.store.schema import GPU, SAMPLE_SCHEMAS, SCHEMA, SERVER, at_current_schema


@dataclass(frozen=True, slots=True)
class Run:
    """A run read back: its manifest and the rows of requests.parquet. gpu, server: its samples, None if none were kept.

    Every column of the current schema is there (null where an older version did not write it); columns that this
    version does not know are kept behind them.
    """

    path: Path
    manifest: dict[str, Any]
    table: pa.Table
    gpu: pa.Table | None = None
    server: pa.Table | None = None

    def said(self, key: str) -> Any:
        """What the manifest says under `key`. Raises PointsError where it does not."""
        if self.manifest.get(key) is None:
            raise PointsError("the manifest lacks a key", where=str(self.path / MANIFEST), expected=key)
        return self.manifest[key]

    @property
    def requests(self) -> Any:
        """The rows as a pandas DataFrame; missing is NaN, None or NA."""
        return self.table.to_pandas()

    @property
    def complete_points(self) -> list[dict[str, Any]]:
        """What the manifest says of the points that were measured to their end."""
        return [point for point in self.manifest.get("points", []) if point.get("status") == "complete"]

    @property
    def last_attempts(self) -> dict[str, int]:
        """The highest attempt of each point that has rows."""
        keys = zip(self.table["point_id"].to_pylist(), self.table["attempt"].to_pylist(), strict=True)
        last: dict[str, int] = {}
        for point_id, attempt in set(keys):
            last[point_id] = max(last.get(point_id, 0), attempt or 0)
        return last

    @property
    def whole(self) -> pa.Table:
        """The rows of the points that were measured to their end: an attempt with a hole in it has no wall time."""
        wanted = [part_name(str(p.get("point_id")), p.get("attempt", 0)) for p in self.complete_points]
        return self.table.filter(pc.is_in(_parts(self.table), value_set=pa.array(wanted, pa.string())))


def read_run(path: Path) -> Run:
    """A run from its folder, finished, cut short or still growing. Raises PointsError."""
    try:
        manifest = read_json((path / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise PointsError(
            "not a run folder: it has no manifest.json", where=str(path), expected="results/<run_id>"
        ) from None
    except (OSError, ValueError) as error:
        raise PointsError("the manifest cannot be read", where=str(path / MANIFEST), given=str(error)) from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if isinstance(schema, bool) or not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise PointsError(
            "the run was written by another version of benchsuite",
            where=str(path / MANIFEST),
            given=f"schema {schema!r}",
            expected=f"schema {SCHEMA_VERSION} or older",
        )
    check_manifest(manifest, str(path / MANIFEST))
    try:
        table = read_rows(path)
        gpu, server = read_samples(path, GPU), read_samples(path, SERVER)
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:  # all of Arrow: what is no Parquet, no UTF-8
        raise PointsError("the rows cannot be read", where=str(path), given=str(error)) from None
    run = Run(path, manifest, table, gpu, server)
    lost = _points_without_rows(run)
    if lost:
        raise PointsError(
            f"the rows of {len(lost)} measured points are missing",
            where=str(path / REQUESTS),
            given=", ".join(lost[:6]),
            expected="the rows of every point that manifest.json calls complete",
        )
    return run


def read_rows(path: Path) -> pa.Table:
    """All rows of a run folder: of requests.parquet, of points that are not in it yet, of journals in neither.

    So a crash at any moment, between writing a file and removing its parts too, neither loses a row nor doubles one.
    """
    journals = sorted((path / JOURNALS).glob("*.arrows"))
    points = sorted((path / POINTS).glob("*.parquet"))
    whole = _read_whole(path / REQUESTS, SCHEMA, spare=bool(points or journals))
    tables = [] if whole is None else [whole]
    there = {str(part) for table in tables for part in _parts(table).unique().to_pylist()}
    journaled = {part_of_journal(journal) for journal in journals}
    for point in points:
        if point.stem not in there:
            table = _read_whole(point, SCHEMA, spare=point.stem in journaled)
            if table is not None:
                there.add(point.stem)
                tables.append(table)
    tables += [read_journal(journal) for journal in journals if part_of_journal(journal) not in there]
    return pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="default")


def is_torn(file: Path) -> bool:
    """True if the file is there and is no whole Parquet file."""
    try:
        return file.exists() and pq.read_metadata(file) is None
    except (OSError, pa.ArrowInvalid):
        return True


def _read_whole(file: Path, schema: pa.Schema, *, spare: bool) -> pa.Table | None:
    """A Parquet file at the current schema, None if there is none. spare: its rows lie in its parts too, which stand in
    for it if it is torn (not by us, who put files in place whole, but by a disk)."""
    if not file.exists() or (spare and is_torn(file)):
        return None
    return at_current_schema(pq.read_table(file), schema)


def read_samples(path: Path, name: str) -> pa.Table | None:
    """The run's samples, `GPU` or `SERVER`: of their file, and of the logs of sessions that are not in it yet."""
    schema, file = SAMPLE_SCHEMAS[name], path / SAMPLES[name]
    logs = [read_journal(log, schema) for log in sorted((path / JOURNALS).glob(f"{name}.s*.samples"))]
    whole = _read_whole(file, schema, spare=bool(logs))
    tables = [] if whole is None else [whole]
    if not tables and not logs:
        return None
    if whole is not None:  # a crash may leave logs whose samples are in the file already; no moment is sampled twice
        logs = [log.filter(pc.invert(pc.is_in(log["at_s"], value_set=whole["at_s"].combine_chunks()))) for log in logs]
    tables += logs
    return pa.concat_tables(tables, promote_options="default")


def _parts(table: pa.Table) -> pa.ChunkedArray:
    """The part that each row belongs to, as `part_name` has it."""
    attempts = pc.fill_null(pc.cast(table["attempt"], pa.int32()), 0)
    renewed = pc.binary_join_element_wise(table["point_id"], pc.cast(attempts, pa.string()), ".a")
    return pc.if_else(pc.equal(attempts, 0), table["point_id"], renewed)


def _points_without_rows(run: Run) -> list[str]:
    points = run.manifest.get("points")
    if not isinstance(points, list):
        return []
    there = set(_parts(run.table).unique().to_pylist())
    wanted = [part_name(str(point.get("point_id")), point.get("attempt", 0)) for point in run.complete_points]
    return [part for part in wanted if part not in there]
