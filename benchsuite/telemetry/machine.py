"""The check-up of the machine that measures: cores, clocks, sockets, limits, disk. Changes nothing.

root: of the file system whose /proc and /sys are read. What the machine does not tell is no finding.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import psutil  # type: ignore[import-untyped]

from benchsuite.telemetry.calibration import calibration_path, read_calibration
from benchsuite.telemetry.findings import Finding, Verdict, judged
from benchsuite.telemetry.host import describe_host
from benchsuite.telemetry.machine_clocks import clock_findings
from benchsuite.telemetry.machine_disk import disk_findings
from benchsuite.telemetry.machine_sockets import ports, stamps

ROOT = Path("/")
_OTHER_FILES = 64  # what a measuring process has open beside its users' connections
_GIB = 1024**3
_AREA = "machine"


def machine_findings(
    level: int, n_workers: int, folder: Path, base_urls: Sequence[str] = (), root: Path = ROOT
) -> Iterator[Finding]:
    """Everything. level: the highest concurrency; folder: where results go, which need not be there yet."""
    host = describe_host()
    yield packages(host["python"], host["versions"])
    yield cores(host["cpus_allowed"] or host["cpu_count"] or 1, n_workers)
    yield from _known(quota(n_workers, root), governor(root), load(os.getloadavg()[0], host["cpu_count"] or 1))
    yield from clock_findings(root)
    yield stamps()
    yield open_files(level, n_workers, resource.getrlimit(resource.RLIMIT_NOFILE))
    yield ports(level, root)
    yield memory(psutil.virtual_memory().available)
    yield from disk_findings(folder)
    yield proxies(base_urls)
    yield calibration()


def _known(*findings: Finding | None) -> Iterator[Finding]:
    return (one for one in findings if one is not None)


def packages(python: str, versions: dict[str, str | None]) -> Finding:
    """Python, and the libraries that make the client fast."""
    names = ("uvloop", "httptools", "orjson")
    missing = [name for name in names if versions.get(name) is None]
    there = ", ".join(f"{name} {versions[name]}" for name in names if name not in missing)
    found = f"Python {python}, {there}" + (f"; not installed: {', '.join(missing)}" if missing else "")
    return judged(_AREA, "packages", found, (bool(missing), "warn", f"pip install {' '.join(missing)}"))


def cores(n_cores: int, n_workers: int) -> Finding:
    """Cores that this process may use, against the measuring processes."""
    found = f"{n_cores} to use, {n_workers} measuring process{'es' * (n_workers > 1)} and their parent"
    doubt: tuple[bool, Verdict, str] = (
        n_cores <= n_workers, "warn", f"fewer --workers, or a machine with {n_workers + 1} cores or more",
    )  # fmt: skip
    return judged(_AREA, "cores", found, doubt)


def quota(n_workers: int, root: Path = ROOT) -> Finding | None:
    """The container's share of the CPU; None where it has no limit."""
    try:
        limit, period = _text(root / "sys/fs/cgroup/cpu.max").split()
    except (OSError, ValueError):
        try:
            limit = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
            period = _text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
        except OSError:
            return None
    if not limit.isdecimal() or not period.isdecimal():
        return None
    share = int(limit) / int(period)
    remedy = "the client is paused when its share is used up: start the container without --cpus, or with more"
    return judged(_AREA, "CPU quota", f"{share:g} CPUs", (share < n_workers + 1, "warn", remedy))


def governor(root: Path = ROOT) -> Finding | None:
    """How the cores choose their frequency; None where they do not tell, as in virtual machines."""
    paths = sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    names = [_text(path).strip() for path in paths]
    if not names:
        return None
    found = ", ".join(f"{name} on {names.count(name)} of {len(names)} cores" for name in sorted(set(names)))
    slow = any(name != "performance" for name in names)
    return judged(_AREA, "CPU governor", found, (slow, "warn", "sudo cpupower frequency-set -g performance"))


def load(load_1_min: float, n_cores: int) -> Finding:
    """What else runs here."""
    found = f"{load_1_min:.1f} processes ready to run on {n_cores} cores over the last minute"
    return judged(
        _AREA, "load", found, (load_1_min > n_cores / 2, "warn", "end what else runs here; it delays the client")
    )


def open_files(level: int, n_workers: int, limits: tuple[int, int]) -> Finding:
    """ulimit -n against the connections of the highest level."""
    soft, hard = (2**31 if limit == resource.RLIM_INFINITY else limit for limit in limits)
    needed = -(-level // n_workers) + _OTHER_FILES
    found = f"ulimit -n {soft}; {needed} needed for {level} users in {n_workers} process{'es' * (n_workers > 1)}"
    remedy = f"ulimit -n {needed}" if hard >= needed else f"raise the hard limit ({hard}) to {needed}, or --workers"
    return judged(_AREA, "open files", found, (soft < needed, "fail", remedy))


def memory(available_bytes: int) -> Finding:
    """What is left of it."""
    found = f"{available_bytes / _GIB:.1f} GiB free"
    return judged(_AREA, "memory", found, (available_bytes < _GIB, "warn", "end what else runs here"))


def proxies(base_urls: Sequence[str]) -> Finding:
    """Proxy variables: what asks the server about itself would heed them, what measures never does."""
    known = {scheme: url for scheme, url in getproxies().items() if scheme in ("http", "https", "all")}
    hosts = [urlsplit(url).hostname or "" for url in base_urls]
    caught = [host for host in hosts if known and not proxy_bypass(host)]
    found = f"set for {', '.join(sorted(known))}" if known else "no proxy variables"
    if known and hosts and not caught:
        found += f"; not for {', '.join(dict.fromkeys(hosts))}"
    remedy = (
        f"put {', '.join(caught)} into NO_PROXY: requests are measured without a proxy, only the server's own figures "
        "would be asked for through it"
    )
    return judged(_AREA, "proxy", found, (bool(caught), "warn", remedy))


def calibration() -> Finding:
    """Whether this machine's client has been held against a server that knows its own times."""
    record = read_calibration()
    if record is None:
        found = "none of this machine, Python and version"
        return Finding(_AREA, "calibration", "warn", found, "benchsuite calibrate, once, for the report to show it")
    return Finding(_AREA, "calibration", "ok", f"made {record['made']} ({calibration_path()})")


def _text(path: Path) -> str:
    return path.read_text("utf-8")
