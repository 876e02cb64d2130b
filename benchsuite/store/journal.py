"""Rows and samples on their way to disk: Arrow IPC streams, readable up to their last whole batch whatever happens."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchsuite.errors import StoreError
from benchsuite.fault_points import reach
from benchsuite.records import GpuSample, RequestRecord, ServerSample
from benchsuite.redact import masked
from benchsuite.store.files import COLUMN_TYPES, SAMPLE_SCHEMAS, SCHEMA, lock, os_error_as, sync

_FLUSH_ROWS = 20
_FLUSH_NS = 250_000_000
_FLUSH_FLOOR_NS = 10_000_000  # at thousands of rows a second, batches grow instead of getting more frequent
_WRITERS_S = 10.0


class _Stream:
    """What an Arrow writer writes to: gathers bytes, and puts them into the file whole or not at all.

    A disk that is full takes a part of a write. That part is cut off again, and the bytes wait for the next try: what
    comes later is never behind a hole.
    """

    def __init__(self, path: Path, point: str = "batch") -> None:
        self._path, self._point = path, point
        self._file = path.open("xb", buffering=0)
        sync(path.parent)  # that there is such a file must outlive a power cut too
        lock(self._file)  # for `wait_for_writers`
        self._waiting = bytearray()
        self._written = self._given = 0
        self.closed = False

    # what pyarrow asks of a file
    def write(self, data: Any) -> int:
        self._waiting += data
        n = memoryview(data).nbytes
        self._given += n
        return n

    def tell(self) -> int:
        return self._given

    def flush(self) -> None:
        """Nothing: `push` writes."""

    def push(self) -> None:
        """Write what waits. Raises StoreError, and then nothing of it is in the file."""
        with os_error_as(StoreError, "a journal cannot be written", self._path):
            try:
                with memoryview(self._waiting) as waiting:
                    done = 0
                    reach(self._point)
                    while done < len(waiting):
                        done += os.write(self._file.fileno(), waiting[done:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file.fileno(), self._written)
                    os.lseek(self._file.fileno(), self._written, os.SEEK_SET)
                raise
        self._written += done
        self._waiting = bytearray()

    def sync(self) -> None:
        """Force what was pushed onto the disk. Raises StoreError."""
        with os_error_as(StoreError, "a journal cannot be written", self._path):
            reach("fsync")
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Push, sync and close; closed in any case."""
        try:
            self.push()
            self.sync()
        finally:
            self.closed = True
            self._file.close()


class Journal:
    """The rows of one point and worker, appended as they come; at most the last 250 ms are lost in a crash."""

    def __init__(self, path: Path) -> None:
        with os_error_as(StoreError, "a journal cannot be written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = _Stream(path)
            self._writer = pa.ipc.new_stream(self._stream, SCHEMA)
        self._rows: list[RequestRecord] = []
        self._flushed_ns = 0

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
        """Write the waiting rows as one batch. Raises StoreError; the rows are then kept for the next try."""
        rows, self._rows = self._rows, []
        if rows:
            self._writer.write_batch(_batch(rows))
        self._stream.push()

    def sync(self) -> None:
        """Force what was flushed onto the disk; may block for milliseconds, so call it from a thread."""
        self._stream.sync()

    def close(self) -> None:
        """Flush, end the stream, sync. Raises StoreError; what was flushed before stays."""
        try:
            self.flush()
            self._writer.close()
        finally:
            self._stream.close()


def _batch(rows: Sequence[RequestRecord]) -> pa.RecordBatch:
    columns = [
        _gap_array(values) if type is None else pa.array(values, type=type, from_pandas=False)
        for type, values in zip(COLUMN_TYPES, zip(*rows, strict=True), strict=True)
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
        self._schema = SAMPLE_SCHEMAS[name]
        self._lock = threading.Lock()
        with os_error_as(StoreError, "a sample log cannot be written", path):
            self._stream = _Stream(path, "sample")
            self._writer = pa.ipc.new_stream(self._stream, self._schema)

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        """Add samples taken together. Raises StoreError."""
        if not samples:
            return
        columns = zip(*samples, strict=True)
        arrays = [
            pa.array([masked(v) if isinstance(v, str) else v for v in values], type=field.type, from_pandas=False)
            for field, values in zip(self._schema, columns, strict=True)
        ]
        with self._lock:
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._stream.push()

    def close(self) -> None:
        """End the stream and sync it. Raises StoreError; what was written before stays."""
        with self._lock:
            try:
                self._writer.close()
            finally:
                self._stream.close()


def read_journal(path: Path, schema: pa.Schema = SCHEMA) -> pa.Table:
    """Every whole batch of a journal, at the current schema whatever version wrote it; a torn tail is left out.

    Columns that it lacks are null, those that this version does not know are kept behind the others.
    """
    batches: list[pa.RecordBatch] = []
    source = pa.py_buffer(path.read_bytes())
    # the suppressed errors are the tail that a crash tore, or a journal without even a schema
    with contextlib.suppress(OSError, pa.ArrowInvalid):
        batches.extend(pa.ipc.open_stream(source))
    if not batches:
        return schema.empty_table()
    return pa.concat_tables([schema.empty_table(), pa.Table.from_batches(batches)], promote_options="default")


def wait_for_writers(folder: Path, most_s: float = _WRITERS_S) -> Path | None:
    """Wait until nobody writes to the journals of `folder`; one that is still written to after most_s, None if none is.

    The measuring processes of a sweep that was killed live on for some milliseconds, to write down what was in flight.
    """
    until_s = time.monotonic() + most_s
    for path in sorted([*folder.glob("*.arrows"), *folder.glob("*.samples")]):
        with path.open("rb") as journal:
            while not lock(journal, shared=True):
                if time.monotonic() > until_s:
                    return path
                time.sleep(0.01)
    return None
