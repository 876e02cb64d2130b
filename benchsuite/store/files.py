"""Files that appear whole or not at all: a temporary neighbour, fsync, rename."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchsuite.errors import StoreError
from benchsuite.store.schema import DICTIONARY_COLUMNS


def write_json(path: Path, tree: Any) -> None:
    """Put `tree` at `path` as JSON, whole or not at all. NaN is refused."""
    write_bytes(path, (json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all."""
    with _replacing(path) as temporary:
        temporary.write_bytes(content)


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
            self._temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise StoreError("a file cannot be written", where=str(self._path), given=str(error)) from None
            return
        descriptor = os.open(self._temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        self._temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
