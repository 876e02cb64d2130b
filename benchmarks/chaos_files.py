"""Disks that fill up, files that are torn: what was written is read again, what was whole stays."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from benchmarks.chaos_kit import (
    Row,
    group_of,
    keys_of,
    measure,
    prompts,
    resumed_whole,
    server,
    spec_of,
    start,
    wait_for,
)
from benchsuite.errors import BenchsuiteError, PointsError
from benchsuite.store.files import MANIFEST, REQUESTS, write_parquet
from benchsuite.store.journal import read_journal
from benchsuite.store.run_folder import read_rows, read_run, recover

_REQUESTS, _LEVELS = 150, (2, 6)
_CUTS = 40


def full_disk(tries: int = 12) -> list[Row]:
    """A file system with little room: the sweep fails with a word, nothing written is lost; with room it goes on."""
    rng, expected, kept, wrong, failed = random.Random(1), 0, 0, [], 0
    try:
        with _small_disk(), server():
            pass
    except subprocess.CalledProcessError:
        return [Row("full disk (needs root for a tmpfs)", 0, 0, 0, "not tried", True)]
    for _ in range(tries):
        with _small_disk() as disk, server() as running:
            path = disk / "run"
            room = rng.randrange(6_000, 160_000)
            (disk / "filler").write_bytes(b"\0" * max(0, shutil.disk_usage(disk).free - room))
            try:
                measure(spec_of(running.base_url, _LEVELS), prompts(_REQUESTS), path)
            except BenchsuiteError as error:
                failed += 1
                if error.exit_code != 1:
                    wrong.append(f"exit code {error.exit_code}: {error.what}")
            before = keys_of(read_run(path)) if (path / MANIFEST).exists() else {}
            (disk / "filler").unlink()
            if before:
                after = keys_of(recover(path))
                expected, kept = expected + len(before), kept + len(set(before) & set(after))
            said = resumed_whole(running.base_url, path, _REQUESTS, _LEVELS, 1) if before else ""
            wrong += [said] if said else []
    said = "; ".join(wrong) or f"{failed} sweeps ended with an error, all resumed, whole"
    return [Row("full disk, at random fill", tries, expected, kept, said, not wrong and expected == kept)]


@contextmanager
def _small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="benchsuite-disk-") as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True, capture_output=True, timeout=20
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True, timeout=20)


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
    process = start(base_url, path, 400, (4, 8), 1, "compaction@main:2:kill-group")
    process.wait(60)
    wait_for(lambda: not group_of(process))


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
    write_parquet(path / REQUESTS, read_rows(path))
    _truncate(path / REQUESTS, rng)


def _leave_temporary(path: Path, rng: random.Random) -> None:
    write_parquet(path / "whole", read_rows(path))
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
