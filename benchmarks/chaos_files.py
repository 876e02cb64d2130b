"""Files that are torn: what was written is read again, what was whole stays."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from benchmarks.chaos_kit import ROOT, Row, keys_of, server, sweep_words
from benchsuite import fault_points
from benchsuite.errors import PointsError
from benchsuite.store.files import MANIFEST, REQUESTS, SCHEMA, at_schema, write_parquet
from benchsuite.store.journal import read_journal
from benchsuite.store.run_folder import read_run, recover, row_tables

_CUTS = 40


def torn_files() -> list[Row]:
    """A killed run's files, cut off at every kind of place."""
    rng = random.Random(2)
    with server() as running, tempfile.TemporaryDirectory(prefix="benchsuite-torn-") as folder:
        path = Path(folder) / "run"
        _killed_in_the_second_point(running.base_url, path)
        return [
            _journals(path, rng),
            _stood_in_for(path, rng, "points/*.parquet torn beside its journals", _tear_point),
            _stood_in_for(path, rng, "requests.parquet torn beside its parts", _tear_whole),
            _stood_in_for(path, rng, "temporary files of a killed writer", _leave_temporary),
            _manifest(path, rng),
        ]


def _killed_in_the_second_point(base_url: str, path: Path) -> None:
    """Its first point in a file of its own, the rows of its second still in a journal."""
    words = sweep_words(base_url, path, (4, 8), 1, "--requests", "400", "--max-output-tokens", "3")
    environment = os.environ | {fault_points.VARIABLE: "compaction@main:2:kill-group"}
    subprocess.run([sys.executable, "-m", "benchsuite", *words], env=environment, start_new_session=True, cwd=ROOT)


@contextmanager
def _copy_of(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="benchsuite-copy-") as folder:
        yield Path(shutil.copytree(path, Path(folder) / "run"))


def _cuts(size: int, rng: random.Random) -> list[int]:
    return [0, 1, 7, 8, size - 1, size - 8, *(rng.randrange(size) for _ in range(_CUTS - 6))]


def whole_rows_until(journal: bytes, cut: int) -> int:
    """How many rows of a journal lie in records that end before the cut: by their heads' lengths."""
    at, rows, schema = 0, 0, None
    while at < cut:
        end = at + 16 + int.from_bytes(journal[at + 4 : at + 8], "little")
        if end > cut:
            break
        payload, at = pa.py_buffer(journal[at + 16 : end]), end
        if schema is None:
            schema = pa.ipc.read_schema(payload)
        else:
            rows += pa.ipc.read_record_batch(payload, schema).num_rows
    return rows


def _journals(path: Path, rng: random.Random) -> Row:
    (name,) = [j.name for j in (path / "journal").glob("*.arrows")]
    content = (path / "journal" / name).read_bytes()
    others = read_run(path).table.num_rows - read_journal(path / "journal" / name).num_rows
    expected = kept = 0
    for cut in _cuts(len(content), rng):
        with _copy_of(path) as copy:
            (copy / "journal" / name).write_bytes(content[:cut])
            expected += others + whole_rows_until(content, cut)
            kept += recover(copy).table.num_rows
    return Row("journal cut off (a crash, a power cut)", _CUTS, expected, kept, "every whole batch", expected == kept)


def _stood_in_for(path: Path, rng: random.Random, fault: str, tear: object) -> Row:
    there = keys_of(read_run(path))
    expected = kept = 0
    for _ in range(_CUTS // 2):
        with _copy_of(path) as copy:
            tear(copy, rng)  # type: ignore[operator]
            found = keys_of(recover(copy))
            expected += len(there)
            kept += sum((found & there).values()) - sum((found - there).values())
            if list(copy.glob(".*.tmp")):
                kept -= 1
    return Row(fault, _CUTS // 2, expected, kept, "recovered, nothing twice", expected == kept)


def _tear_point(path: Path, rng: random.Random) -> None:
    (journal,) = (path / "journal").glob("*.arrows")
    point = path / "points" / f"{journal.name.rpartition('.w')[0]}.parquet"
    write_parquet(point, read_journal(journal))
    _truncate(point, rng)


def _tear_whole(path: Path, rng: random.Random) -> None:
    write_parquet(path / REQUESTS, at_schema(SCHEMA, row_tables(path, {})))
    _truncate(path / REQUESTS, rng)


def _leave_temporary(path: Path, rng: random.Random) -> None:
    write_parquet(path / "whole", at_schema(SCHEMA, row_tables(path, {})))
    (path / "whole").rename(path / ".requests.parquet.0123456789abcdef.tmp")
    _truncate(path / ".requests.parquet.0123456789abcdef.tmp", rng)


def _truncate(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def _manifest(path: Path, rng: random.Random) -> Row:
    """A torn manifest is refused by name and nothing is touched; with the manifest back every row is there."""
    there, content = keys_of(read_run(path)), (path / MANIFEST).read_bytes()
    expected = kept = refused = 0
    for cut in _cuts(len(content) - 2, rng):
        with _copy_of(path) as copy:
            (copy / MANIFEST).write_bytes(content[:cut])
            try:
                recover(copy)
            except PointsError as error:
                refused += error.what == "the manifest cannot be read"
            (copy / MANIFEST).write_bytes(content)
            expected += len(there)
            kept += len(keys_of(recover(copy)))
    good = expected == kept and refused == _CUTS
    return Row("manifest.json cut off, then put back", _CUTS, expected, kept, "refused by name, untouched", good)
