"""What a command that runs for hours needs of its surroundings: readers that may leave, and an end that cleans up."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class _Outliving(io.FileIO):
    """A file descriptor whose failures are swallowed: a closed pipe, a terminal that is gone, a log on a full disk."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return memoryview(data).nbytes  # type: ignore[arg-type]


@contextmanager
def long_running() -> Iterator[None]:
    """Measuring does not end because a `head`, a pager or a terminal did; SIGTERM and SIGHUP end it as Ctrl-C does.

    As an exception, that is, so that locks, servers and manifests are left as they should be; a sweep that is measuring
    drains instead. A SIGHUP that is ignored (nohup) stays so.
    """
    outputs = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    handled = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for name, stream in outputs.items():
            setattr(sys, name, _outliving(stream))
        for number in handled:
            signal.signal(number, _end)
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        for name, stream in outputs.items():
            if getattr(sys, name) is not stream:
                getattr(sys, name).flush()
            setattr(sys, name, stream)


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _outliving(stream: object) -> object:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError):  # no file, as in tests; or closed already
        return stream
    binary = io.BufferedWriter(_Outliving(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(binary, stream.encoding, stream.errors, line_buffering=stream.line_buffering)
