"""A list in an unnamed file, for what may be larger than memory: request sets, their bodies."""

from __future__ import annotations

import marshal
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any, Generic, TypeVar

from benchsuite.errors import RunError, os_error_as

T = TypeVar("T")


def _same(value: Any) -> Any:
    return value


class FileList(Sequence[T], Generic[T]):
    """Values in a file without a name: of each 8 bytes are in memory. A process that is started with it may read it.

    pack: makes a plain value of one, as `marshal` takes it; unpack: the reverse. Raises RunError for a disk that is
    full.
    """

    def __init__(
        self, values: Iterable[T] = (), pack: Callable[[T], Any] = _same, unpack: Callable[[Any], T] = _same
    ) -> None:
        self._pack, self._unpack, self._ends, self._flushed = pack, unpack, array("q", [0]), 0
        with self._failures():
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="benchsuite-")  # noqa: SIM115 - as long as the list
        for value in values:
            self.append(value)

    def _failures(self) -> Any:
        return os_error_as(RunError, "the requests cannot be put into a temporary file", tempfile.gettempdir())

    def append(self, value: T) -> None:
        with self._failures():
            self._ends.append(self._ends[-1] + self._file.write(marshal.dumps(self._pack(value))))

    def close(self) -> None:
        """Processes that were started keep theirs."""
        self._file.close()

    @property
    def n_bytes(self) -> int:
        return self._ends[-1]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        place = range(len(self))[index]
        if isinstance(place, range):
            return [self[i] for i in place]
        begin, end = self._ends[place : place + 2]
        if end > self._flushed:
            with self._failures():
                self._file.flush()
            self._flushed = self._ends[-1]
        return self._unpack(marshal.loads(os.pread(self._file.fileno(), end - begin, begin)))

    def __getstate__(self) -> dict[str, Any]:
        # in the file: what a starting process is given must fit into a pipe, for one that is killed reads nothing
        from multiprocessing.reduction import DupFd

        with self._failures():
            if self._file.tell() == self._ends[-1]:
                self._file.write(self._ends)
            self._file.flush()
        return {"n": len(self), "fd": DupFd(self._file.fileno())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._pack, self._unpack, self._ends = _same, _same, array("q")
        self._file = os.fdopen(state["fd"].detach(), "rb")
        size, n_bytes = os.fstat(self._file.fileno()).st_size, self._ends.itemsize * (state["n"] + 1)
        self._ends.frombytes(os.pread(self._file.fileno(), n_bytes, size - n_bytes))
        self._flushed = self._ends[-1]
