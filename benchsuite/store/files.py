"""What is where in a run folder, the columns of its tables, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from benchsuite.errors import InputError, StoreError, os_error_as
from benchsuite.fault_points import reach
from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ServerSample
from benchsuite.redact import masked_bytes, masked_tree

GPU, SERVER = "gpu", "server"

_ARROW = {float: pa.float64(), int: pa.int32(), bool: pa.bool_()}  # what is none of these is text
_WIDER = dict.fromkeys(("memory_used_bytes", "memory_total_bytes", "throttle_reasons"), pa.int64())
_WIDER["chunk_gap_us"] = pa.list_(pa.int32())


def _schema(record: type) -> pa.Schema:
    """The columns of a record's table, by the types of its fields; an optional one's comes first."""
    kinds = {name: (get_args(hint) or (hint,))[0] for name, hint in get_type_hints(record).items()}
    columns = [pa.field(name, _WIDER.get(name) or _ARROW.get(kind, pa.string())) for name, kind in kinds.items()]
    return pa.schema(columns, metadata={"benchsuite.schema": str(SCHEMA_VERSION)})


SCHEMA = _schema(RequestRecord)
SAMPLE_SCHEMAS = {GPU: _schema(GpuSample), SERVER: _schema(ServerSample)}

MANIFEST, REQUESTS, SUMMARY, REPORT = "manifest.json", "requests.parquet", "summary.json", "report.html"


def write_json(path: Path, tree: Any) -> None:
    """Put `tree` at `path` as JSON, whole or not at all, without our API keys. NaN is refused."""
    write_bytes(path, (json.dumps(masked_tree(tree), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all, with our API keys starred out."""
    with _replacing(path) as temporary:
        temporary.write_bytes(masked_bytes(content))


def write_parquet(path: Path, table: pa.Table) -> None:
    """Put `table` at `path`, whole or not at all: zstd, gaps split by byte (they compress best so)."""
    texts = [field.name for field in table.schema if field.type == pa.string()]
    with _replacing(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in texts if name not in ("request_id", "response_id")],
            column_encoding={"chunk_gap_us.list.element": "BYTE_STREAM_SPLIT"}
            if "chunk_gap_us" in table.column_names
            else None,
            row_group_size=50_000,
        )


def make_folder(path: Path) -> None:
    """Make a folder for results, or take the one that is there. Raises InputError."""
    with os_error_as(InputError, "the output folder cannot be made", path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` that takes its place, synced, if the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with os_error_as(StoreError, "a file cannot be written", path):
        try:
            yield temporary
            sync(temporary)  # some file systems say only now that they are full
            reach("rename")
            temporary.replace(path)
            sync(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):  # where nothing can be written, nothing can be removed either
                temporary.unlink(missing_ok=True)
            raise


def sync(path: Path) -> None:
    """Force a file, or what a folder holds, onto the disk. Raises OSError."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folder
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        reach("fsync")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def at_schema(schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    """Tables below each other, at this schema: columns that they lack are null, those it does not know stay behind."""
    return pa.concat_tables([schema.empty_table(), *tables], promote_options="default")


def lock(opened: IO[bytes] | int, *, shared: bool = False) -> bool:
    """Lock an open file or folder until it is closed, or its process ends; False if somebody else has the lock.

    File systems that know no locks have all of them free, as has Windows, where runs are read but not measured.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    return True
