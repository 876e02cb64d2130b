"""Files that appear whole or not at all: a temporary neighbour, fsync, rename."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchsuite.errors import StoreError
from benchsuite.foreign import masked_bytes, masked_tree
from benchsuite.store.schema import DICTIONARY_COLUMNS


def write_json(path: Path, tree: Any) -> None:
    """Put `tree` at `path` as JSON, whole or not at all, without our API keys. NaN is refused."""
    write_bytes(path, (json.dumps(masked_tree(tree), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all, with our API keys starred out."""
    with _replacing(path) as temporary:
        temporary.write_bytes(masked_bytes(content))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Put `table` at `path`, whole or not at all: zstd, gaps split by byte (they compress best so)."""
    with _replacing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in DICTIONARY_COLUMNS if name in table.column_names],
            column_encoding={"chunk_gap_us.list.element": "BYTE_STREAM_SPLIT"}
            if "chunk_gap_us" in table.column_names
            else None,
            row_group_size=50_000,
        )


class _replacing:  # noqa: N801 - a context manager
    """A temporary neighbour of `path` that takes its place, synced, if the block ends well."""

    def __init__(self, path: Path) -> None:
        self._path, self._temporary = path, path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is not None:
            self._drop()
            if isinstance(error, OSError):
                raise StoreError("a file cannot be written", where=str(self._path), given=str(error)) from None
            return
        try:
            sync(self._temporary)
            self._temporary.replace(self._path)
            sync(self._path.parent)
        except OSError as failed:  # some file systems say only now that they are full
            self._drop()
            raise StoreError("a file cannot be written", where=str(self._path), given=str(failed)) from None

    def _drop(self) -> None:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing can be removed either
            self._temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file, or what a folder holds, onto the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drop_temporaries(folder: Path) -> None:
    """Remove what a process that was killed left of files that never took their place. For the folder's one writer."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def put_aside(path: Path) -> None:
    """Give a damaged file another name, so that it is not overwritten."""
    n = sum(1 for _ in path.parent.glob(f"{path.name}.torn*"))
    path.rename(path.with_name(f"{path.name}.torn" + (f"-{n + 1}" if n else "")))
