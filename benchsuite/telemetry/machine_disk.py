"""The check-up of the disk that results go to."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchsuite.telemetry.findings import Finding, judged

_GB = 10**9


def disk_findings(folder: Path) -> Iterator[Finding]:
    """Room, and how long a write takes to be safe, where `folder` is or will be. Leaves nothing behind."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    yield judged(
        "machine",
        "disk",
        f"{free / _GB:.1f} GB free in {there}",
        (free < 0.2 * _GB, "fail", "make room, or name another --output"),
        (free < 2 * _GB, "warn", "make room, or name another --output"),
    )
    try:
        took_s = [_write_s(there) for _ in range(5)]
    except OSError as error:
        yield Finding("machine", "writing", "fail", f"{there}: {error.strerror}", "name another --output")
        return
    slow = median(took_s) > 0.1
    found = f"64 KiB are safe in {1000 * median(took_s):.1f} ms (median of 5), {1000 * max(took_s):.1f} ms at most"
    yield judged("machine", "writing", found, (slow, "warn", "a local disk for --output, not one over the network"))


def _write_s(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        begun_s = time.perf_counter()
        file.write(bytes(65536))
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - begun_s
