"""This client's own state: how late its loop runs, what CPU it uses, what it runs on."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from benchsuite import __version__
from benchsuite.clock import boot_id
from benchsuite.errors import read_json
from benchsuite.store.files import write_json

T = TypeVar("T")


def or_none(read: Callable[[], T]) -> T | None:
    """What `read` gives, None where this system does not tell."""
    try:
        return read()
    except (OSError, ValueError, IndexError, metadata.PackageNotFoundError):
        return None


def open_descriptors() -> int | None:
    """How many are open now; None where /proc does not tell."""
    return or_none(lambda: len(os.listdir("/proc/self/fd")) - 1)  # noqa: PTH208 - not the listing's own descriptor


def rss_bytes() -> int | None:
    """Memory that this process has resident now; None where /proc does not say."""
    return or_none(lambda: int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE"))


def raise_limit(wanted: int) -> int:
    """Raise this process's soft limit (`ulimit -n`) to at least `wanted` where the hard limit lets it.

    Returns the limit that holds then. Processes that are started later inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    reached = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
    except (OSError, ValueError):  # a kernel with a lower limit of its own
        return soft
    return reached


def calibration_path() -> Path:
    """$XDG_STATE_HOME/benchsuite/calibration.json, or below ~/.local/state."""
    root = os.environ.get("XDG_STATE_HOME")
    return (Path(root) if root else Path.home() / ".local" / "state") / "benchsuite" / "calibration.json"


def keep_calibration(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep the points of a calibration as this machine's, and return the whole record."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"made": made, "benchsuite": __version__, "machine": _fingerprint(), "points": points}
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def read_calibration() -> dict[str, Any] | None:
    """This machine's last calibration; None if there is none, or another machine, Python or benchsuite made it."""
    try:
        record = read_json(calibration_path().read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("machine") == _fingerprint() else None


def _fingerprint() -> dict[str, Any]:
    host = describe_host()
    return {key: host[key] for key in ("platform", "cpu_model", "cpu_count", "python")} | {
        name: host["versions"][name] for name in ("benchsuite", "uvloop", "httptools", "orjson")
    }


_NOTED = ("benchsuite", "httptools", "uvloop", "orjson", "pyarrow", "numpy", "pandas", "scipy", "xllamacpp", "openai")
_BUCKETS_PER_OCTAVE = 8
_N_BUCKETS = 40 * _BUCKETS_PER_OCTAVE


class Histogram:
    """Counts of durations in log buckets (ns; 8 an octave: a quantile is within 9 %), with the exact maximum."""

    __slots__ = ("counts", "max_ns", "n")

    def __init__(self) -> None:
        self.counts = [0] * _N_BUCKETS
        self.n = 0
        self.max_ns = 0

    def add(self, ns: int) -> None:
        """Count one duration; a negative one counts as 0."""
        if ns > self.max_ns:
            self.max_ns = ns
        self.n += 1
        if ns < 1:
            self.counts[0] += 1
            return
        octave = ns.bit_length() - 1
        within = ((ns << 3) >> octave) & 7
        self.counts[octave * _BUCKETS_PER_OCTAVE + within] += 1

    def merge(self, other: Histogram) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.n += other.n
        self.max_ns = max(self.max_ns, other.max_ns)

    def quantile_ns(self, q: float) -> int | None:
        """Upper edge of the bucket that holds the q-quantile, at most the maximum; None if empty."""
        if not self.n:
            return None
        left = q * self.n
        for i, count in enumerate(self.counts):
            left -= count
            if left <= 0 and count:
                octave, within = divmod(i, _BUCKETS_PER_OCTAVE)
                return min(((9 + within) << octave) >> 3, self.max_ns)
        return self.max_ns

    def summary_us(self) -> dict[str, float | int | None]:
        p50_ns, p99_ns, max_ns = self.quantile_ns(0.5), self.quantile_ns(0.99), self.max_ns if self.n else None
        times = {"p50_us": p50_ns, "p99_us": p99_ns, "max_us": max_ns}
        return {"n": self.n} | {name: None if ns is None else ns / 1000 for name, ns in times.items()}


@dataclass(frozen=True, slots=True)
class CpuMark:
    """CPU seconds so far: used by this process, stolen from the machine by its hypervisor, and for which this process's
    main thread, its event loop's, was ready to run and waited for a CPU. None where the system does not say.
    """

    at_s: float
    process_s: float
    steal_s: float | None
    run_queue_wait_s: float | None

    @classmethod
    def now(cls) -> CpuMark:
        times = os.times()
        return cls(time.monotonic(), times.user + times.system, or_none(_steal_s), or_none(_run_queue_wait_s))


def _steal_s() -> float:
    with open("/proc/stat", encoding="ascii") as stat:  # noqa: PTH123 - read often, keep it light
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def _run_queue_wait_s() -> float:
    with open("/proc/self/schedstat", encoding="ascii") as schedstat:  # noqa: PTH123 - as above
        return int(schedstat.readline().split()[1]) / 1e9


def describe_host() -> dict[str, Any]:
    """What the client runs on: names and versions, for the manifest."""
    cpuinfo = or_none(lambda: Path("/proc/cpuinfo").read_text("utf-8")) or ""
    models = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_model": models[0] if models else platform.processor() or None,
        "cpu_count": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": or_none(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "python": sys.version.split()[0],
        "boot_id": boot_id(),
        "code_hash": code_hash(),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str | None]:
    return {name: or_none(partial(metadata.version, name)) for name in _NOTED}


@cache
def code_hash() -> str:
    """A hash of benchsuite's own source: what tells two states of one version apart."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
