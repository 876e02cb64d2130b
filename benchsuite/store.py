"""The run folder: facts on disk, and back again. The only place that knows file names, Parquet and Arrow.

While a point runs, each worker appends its rows to a journal (an Arrow IPC stream, readable up to its last whole
batch whatever happens). At the point's end its journals become points/<point_id>.parquet; at the run's end those
become requests.parquet. Every file but a journal appears whole or not at all (temporary file, fsync, rename).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchsuite import __version__
from benchsuite.errors import InputError, PointsError, StoreError
from benchsuite.records import SCHEMA_VERSION, GpuSample, RequestRecord, ServerSample

MANIFEST, REQUESTS, SUMMARY, REPORT = "manifest.json", "requests.parquet", "summary.json", "report.html"
GPU, SERVER = "gpu", "server"
_JOURNALS, _POINTS = "journal", "points"
_FLUSH_ROWS = 20
_FLUSH_NS = 250_000_000
_FLUSH_FLOOR_NS = 10_000_000  # at thousands of rows a second, batches grow instead of getting more frequent

_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(
        ["run_id", "point_id", "request_id", "prompt_id", "scenario", "token_source", "stamp_source"], pa.string()
    ),
    **dict.fromkeys(["finish_reason", "status", "error", "response_id", "text"], pa.string()),
    **dict.fromkeys(["scheduled_s", "sent_s", "headers_s", "first_token_s", "first_answer_s"], pa.float64()),
    **dict.fromkeys(["last_token_s", "closed_s"], pa.float64()),
    **dict.fromkeys(["server_queue_s", "server_prefill_s", "server_decode_s"], pa.float64()),
    "endpoint": pa.string(),
    "chunk_gap_us": pa.list_(pa.int32()),
    "connection_reused": pa.bool_(),
}
SCHEMA = pa.schema(
    [pa.field(name, _TYPES.get(name, pa.int32())) for name in RequestRecord._fields],
    metadata={"benchsuite.schema": str(SCHEMA_VERSION)},
)
_COLUMN_TYPES = [None if field.name == "chunk_gap_us" else field.type for field in SCHEMA]
_SAMPLE_TYPES: dict[str, pa.DataType] = {
    **dict.fromkeys(["source", "uuid", "endpoint", "error"], pa.string()),
    **dict.fromkeys(["memory_used_bytes", "memory_total_bytes", "throttle_reasons"], pa.int64()),
    **dict.fromkeys(["sm_clock_mhz", "memory_clock_mhz", "n_processes", "foreign_processes"], pa.int32()),
}
SAMPLE_SCHEMAS = {
    name: pa.schema(
        [pa.field(column, _SAMPLE_TYPES.get(column, pa.float64())) for column in record._fields],
        metadata={"benchsuite.schema": str(SCHEMA_VERSION)},
    )
    for name, record in ((GPU, GpuSample), (SERVER, ServerSample))
}
_DICTIONARY_COLUMNS = [
    field.name for field in SCHEMA if field.type == pa.string() and field.name not in ("request_id", "response_id")
]


class Journal:
    """The rows of one point and worker, appended as they come; at most the last 250 ms are lost in a crash."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb", buffering=0)
            self._writer = pa.ipc.new_stream(self._file, SCHEMA)
        except OSError as error:
            raise StoreError("a journal cannot be written", where=str(path), given=str(error)) from None
        self._rows: list[RequestRecord] = []
        self._flushed_ns = 0
        self._synced_ns = 0

    def append(self, row: RequestRecord) -> None:
        """Add a row; it is on disk after the next flush."""
        self._rows.append(row)

    def flush_if_due(self, at_ns: int) -> None:
        """Flush when 20 rows wait (at most every 10 ms) or the oldest may be 250 ms old."""
        waited_ns = at_ns - self._flushed_ns
        if self._rows and (waited_ns > _FLUSH_NS or (len(self._rows) >= _FLUSH_ROWS and waited_ns > _FLUSH_FLOOR_NS)):
            self.flush()
            self._flushed_ns = at_ns

    def flush(self) -> None:
        """Write the waiting rows as one batch."""
        rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            self._writer.write_batch(_batch(rows))
        except OSError as error:
            raise StoreError("a journal cannot be written", where=str(self._path), given=str(error)) from None

    def sync(self) -> None:
        """Force what was flushed onto the disk; may block for milliseconds, so call it from a thread."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush, end the stream, sync."""
        self.flush()
        self._writer.close()
        self.sync()
        self._file.close()


def _batch(rows: Sequence[RequestRecord]) -> pa.RecordBatch:
    columns = [
        _gap_array(values) if type is None else pa.array(values, type=type, from_pandas=False)
        for type, values in zip(_COLUMN_TYPES, zip(*rows, strict=True), strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def keep_pandas_out() -> None:
    """Let pyarrow find no pandas in this process: it would import it for the first row, 150 ms and 50 MB.

    For measuring processes, which journal rows and never make a data frame.
    """

    class NoPandas:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
            if name == "pandas":
                raise ModuleNotFoundError(name)

    blocker: Any = NoPandas()
    sys.meta_path.insert(0, blocker)
    try:
        pa.array(["any"], type=pa.string())  # pyarrow looks for pandas once, here
    finally:
        sys.meta_path.remove(blocker)


def _gap_array(gaps: Iterable[Any]) -> pa.Array:
    """A list<int32> array from arrays of C ints, without a Python object per gap."""
    offsets, content = [0], bytearray()
    for gap in gaps:
        content += memoryview(gap).cast("B")
        offsets.append(len(content) // 4)
    values = pa.Array.from_buffers(pa.int32(), len(content) // 4, [None, pa.py_buffer(bytes(content))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32(), from_pandas=False), values)


class SampleLog:
    """The samples of a whole run, gpu or server, flushed at once as they come; safe to use from threads."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._schema = path, SAMPLE_SCHEMAS[name]
        self._lock = threading.Lock()
        try:
            self._file = path.open("xb", buffering=0)
            self._writer = pa.ipc.new_stream(self._file, self._schema)
        except OSError as error:
            raise StoreError("a sample log cannot be written", where=str(path), given=str(error)) from None

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        """Add samples taken together. Raises StoreError."""
        if not samples:
            return
        columns = zip(*samples, strict=True)
        arrays = [
            pa.array(values, type=field.type, from_pandas=False)
            for field, values in zip(self._schema, columns, strict=True)
        ]
        with self._lock:
            try:
                self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            except OSError as error:
                raise StoreError("a sample log cannot be written", where=str(self._path), given=str(error)) from None

    def close(self) -> None:
        """End the stream and sync it."""
        with self._lock:
            self._writer.close()
            os.fsync(self._file.fileno())
            self._file.close()


class RunFolder:
    """A run being measured. Refuses a folder that already holds a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ours = (MANIFEST, REQUESTS, SUMMARY, REPORT, f"{GPU}.parquet", f"{SERVER}.parquet", _JOURNALS, _POINTS)
        taken = [name for name in ours if (path / name).exists()]
        if taken:
            raise InputError(
                "the output folder already holds a run; nothing measured is ever overwritten",
                where=str(path),
                given=f"a folder with {taken[0]}",
                expected="a new folder",
                hint="leave --output out, or name another folder",
            )
        try:
            (path / _JOURNALS).mkdir(parents=True)
            (path / _POINTS).mkdir()
        except OSError as error:
            raise InputError("the output folder cannot be made", where=str(path), given=str(error)) from None

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Put manifest.json in place."""
        write_json(self.path / MANIFEST, manifest)

    def journal_path(self, point_id: str, worker: int) -> Path:
        """Where one worker journals one point."""
        return self.path / _JOURNALS / f"{point_id}.w{worker}.arrows"

    def sample_log(self, name: str) -> SampleLog:
        """A new log of the run's samples: `GPU` or `SERVER`."""
        return SampleLog(self.path / _JOURNALS / f"{name}.samples", name)

    def finish_point(self, point_id: str) -> pa.Table:
        """Compact the journals of a point into its Parquet file, and return its rows."""
        journals = sorted((self.path / _JOURNALS).glob(f"{point_id}.w*.arrows"))
        table = pa.concat_tables([SCHEMA.empty_table(), *(read_journal(path) for path in journals)])
        table = table.sort_by("scheduled_s")
        write_parquet(self.path / _POINTS / f"{point_id}.parquet", table)
        for path in journals:
            path.unlink()
        return table

    def finish(self) -> None:
        """Make requests.parquet of the points' files."""
        write_parquet(self.path / REQUESTS, _read_parts(self.path))
        for name in (GPU, SERVER):
            samples = _read_samples(self.path, name)
            if samples is not None:
                write_parquet(self.path / f"{name}.parquet", samples)
        shutil.rmtree(self.path / _POINTS)
        shutil.rmtree(self.path / _JOURNALS)


def write_whole_run(path: Path, manifest: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    """Leave a run that was measured elsewhere; its manifest last, since a folder without one is no run.

    rows: dicts with the columns of requests.parquet. Refuses a folder that holds anything.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = next(path.iterdir(), None)
    except OSError as error:
        raise InputError("the output folder cannot be made", where=str(path), given=str(error)) from None
    if taken is not None:
        raise InputError("the output folder is not empty", where=str(path), expected="a new folder")
    write_parquet(path / REQUESTS, pa.Table.from_pylist(list(rows), schema=SCHEMA).sort_by("sent_s"))
    stamp = {"created": datetime.now(UTC).isoformat(), "benchsuite": __version__}
    write_json(path / MANIFEST, stamp | manifest)


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

    @property
    def requests(self) -> Any:
        """The rows as a pandas DataFrame; missing is NaN, None or NA."""
        return self.table.to_pandas()


def read_run(path: Path) -> Run:
    """A run from its folder, finished or cut short. Raises PointsError."""
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        raise PointsError(
            "not a run folder: it has no manifest.json", where=str(path), expected="results/<run_id>"
        ) from None
    except (OSError, ValueError) as error:
        raise PointsError("the manifest cannot be read", where=str(path / MANIFEST), given=str(error)) from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise PointsError(
            "the run was written by another version of benchsuite",
            where=str(path / MANIFEST),
            given=f"schema {schema!r}",
            expected=f"schema {SCHEMA_VERSION} or older",
        )
    try:
        table = pq.read_table(path / REQUESTS) if (path / REQUESTS).exists() else _read_parts(path)
        gpu, server = _read_samples(path, GPU), _read_samples(path, SERVER)
    except (OSError, pa.ArrowInvalid) as error:
        raise PointsError("the rows cannot be read", where=str(path), given=str(error)) from None
    table = _at_current_schema(table, SCHEMA)
    lost = _points_without_rows(manifest, table)
    if lost:
        raise PointsError(
            f"the rows of {len(lost)} measured points are missing",
            where=str(path / REQUESTS),
            given=", ".join(lost[:6]),
            expected="the rows of every point that manifest.json calls complete",
        )
    return Run(path, manifest, table, gpu, server)


def _at_current_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with every column of `schema` in its order, null where it has none, and unknown ones kept behind."""
    columns = {field.name: table[field.name] if field.name in table.column_names else None for field in schema}
    filled = [pa.nulls(table.num_rows, schema.field(name).type) if c is None else c for name, c in columns.items()]
    unknown = [name for name in table.column_names if name not in columns]
    return pa.table([*filled, *(table[name] for name in unknown)], names=[*columns, *unknown]).replace_schema_metadata(
        table.schema.metadata
    )


def _read_samples(path: Path, name: str) -> pa.Table | None:
    """The run's gpu or server samples, finished or from its log; None if there are none."""
    whole, log = path / f"{name}.parquet", path / _JOURNALS / f"{name}.samples"
    if whole.exists():
        return _at_current_schema(pq.read_table(whole), SAMPLE_SCHEMAS[name])
    return read_journal(log, SAMPLE_SCHEMAS[name]) if log.exists() else None


def _points_without_rows(manifest: dict[str, Any], table: pa.Table) -> list[str]:
    points = manifest.get("points")
    whole = [p.get("point_id") for p in points if p.get("status") == "complete"] if isinstance(points, list) else []
    there = set(table["point_id"].unique().to_pylist())
    return [str(point_id) for point_id in whole if point_id not in there]


def _read_parts(path: Path) -> pa.Table:
    points = sorted((path / _POINTS).glob("*.parquet"))
    compacted = {point.stem for point in points}  # its journals may still be there, if a crash came between
    parts = [pq.read_table(point) for point in points]
    journals = sorted((path / _JOURNALS).glob("*.arrows"))
    parts += [read_journal(journal) for journal in journals if journal.name.partition(".")[0] not in compacted]
    return pa.concat_tables([SCHEMA.empty_table(), *parts])


def read_journal(path: Path, schema: pa.Schema = SCHEMA) -> pa.Table:
    """Every whole batch of a journal; a torn tail is left out."""
    batches: list[pa.RecordBatch] = []
    source = pa.py_buffer(path.read_bytes())
    # the suppressed errors are the tail that a crash tore, or a journal without even a schema
    with contextlib.suppress(OSError, pa.ArrowInvalid):
        batches.extend(pa.ipc.open_stream(source))
    return pa.Table.from_batches(batches, schema=schema)


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
            use_dictionary=[name for name in _DICTIONARY_COLUMNS if name in table.column_names],
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
