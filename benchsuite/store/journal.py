"""Journals of rows and samples: records of Arrow IPC, readable up to the last complete one whatever happens.

A record is a head (magic, length, CRC-32 of the payload, CRC-32 of the head) and one Arrow message: the first holds the
schema, each later one a batch. Nothing is given to Arrow before its checksum holds.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchsuite.errors import StoreError, os_error_as
from benchsuite.fault_points import reach
from benchsuite.records import GpuSample, RequestRecord, ServerSample
from benchsuite.redact import masked
from benchsuite.store.files import (
    ROW_GROUP,
    SAMPLE_SCHEMAS,
    SCHEMA,
    at_schema,
    check_columns,
    files_in,
    lock,
    open_regular,
    sync,
)

_FLUSH_ROWS = 20
_FLUSH_NS = 250_000_000
_FLUSH_FLOOR_NS = 10_000_000  # at thousands of rows a second, batches grow instead of getting more frequent
_WRITERS_S = 10.0


_COLUMN_TYPES = [None if field.name == "chunk_gap_us" else field.type for field in SCHEMA]


_MAGIC = b"BSJ1"
_HEAD = struct.Struct("<4sII")  # magic, bytes of the payload, its CRC-32; then the CRC-32 of these
_HEAD_BYTES = _HEAD.size + 4


class _Stream:
    """The records of a journal: gathers them, and puts them into the file whole or not at all.

    A disk that is full takes a part of a write. That part is cut off again, and the bytes wait for the next try: what
    comes later is never behind a hole. The journal ends with the file, without an end marker.
    """

    def __init__(self, path: Path, schema: pa.Schema, point: str) -> None:
        self._path, self._point = path, point
        with os_error_as(StoreError, "a journal cannot be written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb", buffering=0)
            sync(path.parent)  # that there is such a file must outlive a power cut too
            lock(self._file)  # for `wait_for_writers`
        self._waiting, self._written = bytearray(), 0
        self._add(schema.serialize())

    def _add(self, message: pa.Buffer) -> None:
        head = _HEAD.pack(_MAGIC, message.size, zlib.crc32(message))
        self._waiting += head + zlib.crc32(head).to_bytes(4, "little")
        self._waiting += message

    def flush(self) -> None:
        """Write the waiting records. Raises StoreError; then none is in the file, and all are kept for the next try."""
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
        """Force what was flushed onto the disk; may block for milliseconds. Raises StoreError."""
        with os_error_as(StoreError, "a journal cannot be written", self._path):
            reach("fsync")
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush, sync and close; closed in any case, and what was flushed before stays. Raises StoreError."""
        try:
            self.flush()
        finally:
            try:
                self.sync()
            finally:
                self._file.close()


class Journal(_Stream):
    """The rows of one point and worker, appended as they come; at most the last 250 ms are lost in a crash."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA, "batch")
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
            self._add(_batch(rows).serialize())
        super().flush()


def _batch(rows: Sequence[RequestRecord]) -> pa.RecordBatch:
    columns = [
        _gap_array(values) if type is None else pa.array(values, type=type, from_pandas=False)
        for type, values in zip(_COLUMN_TYPES, zip(*rows, strict=True), strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _gap_array(gaps: Sequence[Any]) -> pa.Array:
    """A list<int32> array from arrays of C ints, without a Python object per gap."""
    offsets = [0, *accumulate(map(len, gaps))]
    values = pa.Array.from_buffers(pa.int32(), offsets[-1], [None, pa.py_buffer(b"".join(gaps))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32(), from_pandas=False), values)


def _kept(value: Any, kind: pa.DataType) -> Any:
    """A sample's value without our keys; None for a whole number beyond its column, a driver's "not available"."""
    if isinstance(value, int) and pa.types.is_integer(kind) and value.bit_length() >= kind.bit_width:
        return None
    return masked(value) if isinstance(value, str) else value


class SampleLog(_Stream):
    """The samples of a whole run, gpu or server, flushed at once as they come; safe to use from threads."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, SAMPLE_SCHEMAS[name], "sample")
        self._schema, self._lock = SAMPLE_SCHEMAS[name], threading.Lock()

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        """Add samples taken together. Raises StoreError."""
        if not samples:
            return
        columns = zip(*samples, strict=True)
        arrays = [
            pa.array([_kept(value, field.type) for value in values], type=field.type, from_pandas=False)
            for field, values in zip(self._schema, columns, strict=True)
        ]
        with self._lock:
            self._add(pa.RecordBatch.from_arrays(arrays, schema=self._schema).serialize())
            self.flush()

    def close(self) -> None:
        with self._lock:
            super().close()


def journal_batches(path: Path, schema: pa.Schema, damage: dict[Path, str]) -> Iterator[pa.RecordBatch]:
    """Every complete batch of a journal, in order.

    An incomplete tail after a crash is left out. A record with a wrong
    checksum or foreign columns ends the journal, and is reported in `damage`.
    Raises OSError.
    """
    with open_regular(path) as file:
        size, at, found, n_rows = os.fstat(file.fileno()).st_size, 0, None, 0
        for number in count(1):
            head = file.read(_HEAD_BYTES)
            if len(head) < _HEAD_BYTES:
                return
            magic, n_bytes, payload_sum = _HEAD.unpack(head[: _HEAD.size])
            sound = magic == _MAGIC and zlib.crc32(head[: _HEAD.size]) == int.from_bytes(head[_HEAD.size :], "little")
            if sound and n_bytes > size - at - _HEAD_BYTES:
                return
            try:
                payload = pa.py_buffer(file.read(n_bytes)) if sound else None
                if payload is None or zlib.crc32(payload) != payload_sum:
                    raise pa.ArrowInvalid("its checksum does not match")
                if found is None:
                    found = pa.ipc.read_schema(payload)
                    check_columns(found, schema)
                else:
                    batch = pa.ipc.read_record_batch(payload, found)
                    batch.validate(full=True)
                    n_rows += batch.num_rows
                    yield batch
            except (OSError, ValueError, TypeError, pa.ArrowException) as error:  # Arrow's, where a checksum was forged
                place = f"{path.parent.name}/{path.name}: record {number}, at byte {at:,} of {size:,}, is damaged"
                damage[path] = f"{place} ({str(error)[:80]}): {n_rows:,} rows before it are kept, the rest is lost"
                return
            at += _HEAD_BYTES + n_bytes


def read_journal(path: Path, schema: pa.Schema = SCHEMA, damage: dict[Path, str] | None = None) -> pa.Table:
    """Every whole batch of a journal at the current schema, as `journal_batches` has them."""
    return at_schema(schema, journal_tables(path, schema, {} if damage is None else damage))


def journal_tables(path: Path, schema: pa.Schema, damage: dict[Path, str]) -> Iterator[pa.Table]:
    """The same in tables of a row group each, or a little more."""
    batches: list[pa.RecordBatch] = []
    n_rows = 0
    for batch in journal_batches(path, schema, damage):
        batches.append(batch)
        n_rows += batch.num_rows
        if n_rows >= ROW_GROUP:
            yield at_schema(schema, [pa.Table.from_batches(batches)])
            batches, n_rows = [], 0
    if batches:
        yield at_schema(schema, [pa.Table.from_batches(batches)])


def wait_for_writers(folder: Path, most_s: float = _WRITERS_S) -> Path | None:
    """Wait until nobody writes to the journals of `folder`; one that is still written to after most_s, None if none is.

    The measuring processes of a sweep that was killed live on for some milliseconds, to write down what was in flight.
    """
    until_s = time.monotonic() + most_s
    for path in files_in(folder, "*.arrows") + files_in(folder, "*.samples"):
        with open_regular(path) as journal:
            while not lock(journal, shared=True):
                if time.monotonic() > until_s:
                    return path
                time.sleep(0.01)
    return None
