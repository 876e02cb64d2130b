"""This client's own state: how late its loop runs, what CPU it uses, what it runs on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchsuite import __version__
from benchsuite.store.files import write_json


def open_descriptors() -> int | None:
    """How many are open now; None where /proc does not tell."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - the listing's own descriptor is not counted
    except OSError:
        return None


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
    record = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchsuite": __version__,
        "machine": _fingerprint(),
        "points": points,
    }
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def read_calibration() -> dict[str, Any] | None:
    """This machine's last calibration; None if there is none, or another machine, Python or benchsuite made it."""
    try:
        record = json.loads(calibration_path().read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("machine") != _fingerprint():
        return None
    return record


def _fingerprint() -> dict[str, Any]:
    host = describe_host()
    return {key: host[key] for key in ("platform", "cpu_model", "cpu_count", "python")} | {
        name: host["versions"][name] for name in ("benchsuite", "uvloop", "httptools", "orjson")
    }


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
        """Add another's counts."""
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
        """{n, p50_us, p99_us, max_us}."""

        def us(ns: int | None) -> float | None:
            return None if ns is None else ns / 1000

        return {
            "n": self.n,
            "p50_us": us(self.quantile_ns(0.5)),
            "p99_us": us(self.quantile_ns(0.99)),
            "max_us": us(self.max_ns) if self.n else None,
        }


@dataclass(frozen=True, slots=True)
class CpuMark:
    """CPU seconds used so far: by this process, by the whole machine, and stolen by its hypervisor (None: unknown)."""

    at_s: float
    process_s: float
    steal_s: float | None

    @classmethod
    def now(cls) -> CpuMark:
        """The marks at this instant."""
        times = os.times()
        return cls(time.monotonic(), times.user + times.system, _steal_s())


def _steal_s() -> float | None:
    try:
        with open("/proc/stat", encoding="ascii") as stat:  # noqa: PTH123 - read often, keep it light
            fields = stat.readline().split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def rss_bytes() -> int | None:
    """Memory that this process has resident now; None where /proc does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
            return int(statm.readline().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def describe_host() -> dict[str, Any]:
    """What the client runs on: names and versions, for the manifest."""
    return {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_model": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory_bytes(),
        "python": sys.version.split()[0],
        "boot_id": _boot_id(),
        "code_hash": code_hash(),
        "versions": {name: _version(name) for name in _NOTED},
    }


def code_hash() -> str:
    """A hash of benchsuite's own source: what tells two states of one version apart."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


_NOTED = ("benchsuite", "httptools", "uvloop", "orjson", "pyarrow", "numpy", "pandas", "scipy", "xllamacpp", "openai")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123
            for line in info:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
