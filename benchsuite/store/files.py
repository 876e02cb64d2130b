"""Names of files in a run folder, the columns of its tables, and files that are written atomically."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import stat
import struct
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, get_args, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchsuite.errors import InputError, StoreError, os_error_as, read_json
from benchsuite.fault_points import reach
from benchsuite.limits import most
from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ScoreRecord, ServerSample
from benchsuite.redact import json_text, masked

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
SCORE_SCHEMA = _schema(ScoreRecord)
SAMPLE_SCHEMAS = {GPU: _schema(GpuSample), SERVER: _schema(ServerSample)}

MANIFEST, REQUESTS, SUMMARY, REPORT = "manifest.json", "requests.parquet", "summary.json", "report.html"
SCORES = "scores.parquet"


def json_in(path: Path) -> Any:
    """The JSON of a file of a run folder. Raises OSError, as `open_regular`, and ValueError, also for one too long."""
    with open_regular(path) as file:
        content = file.read(most("manifest_bytes") + 1)
    if len(content) > most("manifest_bytes"):
        raise ValueError(f"longer than {most('manifest_bytes'):,} bytes")
    return read_json(content)


def write_json(path: Path, tree: Any, indent: int | None = 1) -> None:
    """Put `tree` at `path` as JSON, whole or not at all, without our API keys. NaN is refused.

    indent: None is several times faster for what no person reads.
    """
    with replacing(path) as file:
        file.write(f"{json_text(tree, indent=indent)}\n".encode())


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path`, whole or not at all, without our API keys."""
    with replacing(path) as file:
        file.write(masked(text).encode())


def write_output(path: Path, text: str) -> bool:
    """Put `text` where a person wants it, without our API keys; False if that is no file.

    A file is replaced whole, at the end of links; a device, a pipe or /dev/stdout is written to, never replaced.
    Raises InputError for a place that does not exist or is a folder, StoreError where the system fails.
    """
    if path.is_dir() or not path.parent.is_dir():
        given, expected = "a folder" if path.is_dir() else "no such folder", "a file in a folder that exists"
        raise InputError("a file cannot be written", where=str(path), given=given, expected=expected)
    place = str(path.absolute())
    device = place.startswith(("/dev/", "/proc/")) and not place.startswith("/dev/shm/")
    through = device or (path.exists() and not path.is_file())
    with os_error_as(StoreError, "a file cannot be written", path):
        if not through:
            write_text(path.resolve(), text)
            return True
        content = masked(text).encode()
        if str(path) in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):  # behind what is printed there
            sys.stdout.buffer.write(content)
            sys.stdout.flush()
        else:  # a pipe that nobody reads is not waited for
            descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
            os.set_blocking(descriptor, True)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    return False


def write_parquet(path: Path, tables: pa.Table | Iterable[pa.Table], schema: pa.Schema | None = None) -> int:
    """Put a table, or one after another at this schema, at `path`, whole or not at all; returns the number of rows.

    zstd, gaps split by byte (they compress best so); a checksum that no other reader of Parquet sees.
    """
    if isinstance(tables, pa.Table):
        schema, tables = tables.schema, [tables]
    assert schema is not None
    texts = [field.name for field in schema if field.type == pa.string()]
    gaps = {"chunk_gap_us.list.element": "BYTE_STREAM_SPLIT"} if "chunk_gap_us" in schema.names else None
    n_rows = 0
    with replacing(path) as file:
        with pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=3, column_encoding=gaps,
            use_dictionary=[name for name in texts if name not in ("request_id", "response_id")],
        ) as writer:  # fmt: skip
            for table in tables:
                writer.write_table(at_schema(schema, [table]), row_group_size=4 * ROW_GROUP)
                n_rows += table.num_rows
            writer.add_key_value_metadata({_SUMMED: "crc32"})
        file.seek(-8, os.SEEK_END)
        at = file.seek(-8 - int.from_bytes(file.read(4), "little"), os.SEEK_END)
        footer = file.read()
        file.seek(at)
        file.write(_SUM.pack(_SUM_MARK, zlib.crc32(footer, _crc32(file, at))) + footer)
    return n_rows


ROW_GROUP = 16_384  # rows
_SUM = struct.Struct("<8sI")  # mark, CRC-32 of all other bytes; before the footer, where no reader of Parquet looks
_SUM_MARK = b"\x89BSsum\r\n"
_SUMMED = "benchsuite_checksum"  # in the footer: a file whose mark was damaged is not another writer's
_FOOTER_MOST = 2**24


def _crc32(file: IO[bytes], n_bytes: int) -> int:
    """Of the first bytes; the file stands behind them then."""
    file.seek(0)
    value = 0
    while n_bytes > 0 and (piece := file.read(min(n_bytes, 2**20))):
        value, n_bytes = zlib.crc32(piece, value), n_bytes - len(piece)
    return value


def parquet_tables(
    path: Path, schema: pa.Schema, left_out: Collection[str] = (), metadata: dict[bytes, bytes] | None = None
) -> Iterator[pa.Table]:
    """The row groups of a run folder's Parquet file at the current schema, without the columns `left_out`, in order.

    metadata: gets the file's own.
    Its checksum is verified before Arrow sees it. One of another writer, which has none, or of a foreign folder, whose
    checksum may well hold, must still have our columns' types, and unpack to no more than 16 GiB.
    Raises OSError, whatever Arrow makes of it.
    """
    with open_regular(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-min(size, _FOOTER_MOST), os.SEEK_END)
        tail = file.read()
        if (at := tail.rfind(_SUM_MARK)) >= 0:
            _, expected = _SUM.unpack_from(tail.ljust(at + _SUM.size, b"\0"), at)
            if zlib.crc32(tail[at + _SUM.size :], _crc32(file, size - len(tail) + at)) != expected:
                raise OSError(f"{path.name} is damaged: its checksum does not match")
        del tail
        try:
            with pq.ParquetFile(file) as parquet:  # read_table would import pandas: a second
                facts = parquet.metadata
                if at < 0 and _SUMMED.encode() in (facts.metadata or {}):
                    raise OSError(f"{path.name} is damaged: its checksum is gone")
                unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
                if not 0 <= unpacked <= most("parquet_bytes") or facts.num_rows > most("parquet_bytes"):
                    raise ValueError(f"by its metadata it unpacks to {unpacked:,} bytes, {facts.num_rows:,} rows")
                check_columns(parquet.schema_arrow, schema)
                names = [name for name in parquet.schema_arrow.names if name not in left_out]
                if metadata is not None:
                    metadata |= parquet.schema_arrow.metadata or {}
                schema = without(schema, left_out)
                yield at_schema(schema, ())
                for i in range(facts.num_row_groups):
                    table = parquet.read_row_group(i, columns=names)
                    table.validate(full=True)
                    yield at_schema(schema, [table])
        except (pa.ArrowException, ValueError, TypeError, OverflowError, MemoryError) as error:  # whatever Arrow raises
            raise OSError(f"{path.name} cannot be read: {str(error)[:300]}") from None


_TYPES = (pa.float64(), pa.int32(), pa.int64(), pa.bool_(), pa.string(), pa.list_(pa.int32()), pa.null())
_empty = functools.cache(pa.Schema.empty_table)  # a third of what it costs to read a small run


def check_columns(found: pa.Schema, schema: pa.Schema) -> None:
    """Raises ValueError for a duplicate column, a column of another type than the schema's, or an unknown one of a type
    that no column has."""
    if len(set(found.names)) < len(found.names):
        raise ValueError("a column appears twice")
    types = _types(schema)
    for field in found:
        known = types.get(field.name)
        if not any(field.type == kind for kind in ((known, pa.null()) if known else _TYPES)):
            kind = f"{str(field.type)[:80]}, expected {known or 'a plain type'}"
            raise ValueError(f"the column {field.name[:80]!r} is {kind}")


@functools.cache
def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema}


def without(schema: pa.Schema, left_out: Collection[str]) -> pa.Schema:
    """The schema of a table that is read without some columns."""
    return pa.schema([field for field in schema if field.name not in left_out], schema.metadata)


def check_values(table: pa.Table) -> None:
    """Raises ValueError for an impossible float: not finite, or 1e15 and more."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type) and pc.all(pc.less(pc.abs(column), 1e15)).as_py() is False:
            raise ValueError(f"the column {name[:80]!r} holds a number that nothing measures")


_BELOW = {"_ratio": 1.01, "_w": 1e5, "_mhz": 1e5, "_c": 1e3}  # what a reading is, by its unit; others are below 1e15


def without_impossible(samples: pa.Table) -> tuple[pa.Table, str]:
    """Samples with impossible values (below 0, too large, not finite) as null; and how many those were, in words."""
    wrong = []
    for i, field in enumerate(samples.schema):
        number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
        if number and field.name not in ("at_s", "wall_s"):
            below = next((below for unit, below in _BELOW.items() if field.name.endswith(unit)), 1e15)
            values = pc.cast(samples[i], pa.float64(), safe=False)
            right = pc.and_(pc.greater_equal(values, -300 if field.name.endswith("_c") else 0), pc.less(values, below))
            if n := pc.sum(pc.invert(right)).as_py():
                wrong.append(f"{n} of {field.name[:80]}")
                samples = samples.set_column(i, field, pc.if_else(right, samples[i], pa.scalar(None, field.type)))
    return samples, f"values that nothing measures are left out: {', '.join(wrong)}" if wrong else ""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file of a run folder to read. A link, a pipe, a device there is refused: it leads out of the folder.

    Raises OSError.
    """
    flags = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")  # some systems have not all
    try:
        descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in flags))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "a link instead of a file of the run", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files of a run's subfolder by name; none where there is no folder. Raises OSError for a link in its place."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "a link instead of a folder of the run", str(folder))
    return sorted(folder.glob(pattern))


def make_folder(path: Path) -> None:
    """Make a folder for results, or take the one that is there. Raises InputError."""
    with os_error_as(InputError, "the output folder cannot be created", path):
        path.mkdir(parents=True, exist_ok=True)


TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path`, synced, if the block ends well. Raises StoreError.

    A link at `path` is replaced, what it leads to is not touched. Nobody can foresee the temporary name.
    """
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.tmp")
    with os_error_as(StoreError, "a file cannot be written", path):
        try:
            with temporary.open("x+b") as file:
                if path.is_file() and not path.is_symlink():
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode))  # who may read it stays as it was
                yield file
                file.flush()
                reach("fsync")
                os.fsync(file.fileno())  # some file systems say only now that they are full
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
    return pa.concat_tables([_empty(schema), *tables], promote_options="default")


def lock(opened: IO[bytes] | int, *, shared: bool = False) -> bool:
    """Lock an open file or folder until it is closed, or its process ends; False if another process has the lock.

    On file systems without locks, and on Windows, where runs are read but not measured, it always succeeds.
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
