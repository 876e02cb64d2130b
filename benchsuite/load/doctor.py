"""The check-up before a sweep: the machine, its GPUs, the server, each with the code that a sweep uses."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import psutil  # type: ignore[import-untyped]
import pynvml

from benchsuite.clock import ANCILLARY_BYTES, ClockMark, kernel_timestamp_ns, now_ns, request_kernel_timestamps
from benchsuite.errors import BenchsuiteError
from benchsuite.load.preflight import Preflight, api_key, control_client, preflight
from benchsuite.records import GpuSample
from benchsuite.servers.base import Server
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.host import calibration_path, describe_host, read_calibration
from benchsuite.telemetry.nvml import quietly
from benchsuite.telemetry.recorder import Sampler, open_gpu, open_servers
from benchsuite.telemetry.server_metrics import ServerSampler
from benchsuite.workload.dataset import Prompt

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. area: machine, gpu or server. remedy: what to do, None where nothing is to do.

    warn: figures get worse or are missing. fail: a sweep would not run, or not measure what it says.
    """

    area: str
    name: str
    verdict: Verdict
    found: str
    remedy: str | None = None


def judged(area: str, name: str, found: str, *doubts: tuple[bool, Verdict, str]) -> Finding:
    """ok, or the first of `doubts` (holds, verdict, remedy) that holds."""
    for holds, verdict, remedy in doubts:
        if holds:
            return Finding(area, name, verdict, found, remedy)
    return Finding(area, name, "ok", found)


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


_GOOD_SOURCES = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
_TIME_ERROR = 5  # adjtimex(2)
_STEP_S = 0.001


def clock_findings(root: Path = Path("/")) -> Iterator[Finding]:
    """The clock source and what a reading costs, whether wall time is kept by NTP and moves now."""
    yield source(root, reading_ns())
    before = ClockMark.now()
    time.sleep(0.2)
    yield wall_time(_adjtimex(), ClockMark.now().stepped_since_s(before))


def reading_ns() -> float:
    """What a reading of the run's clock costs: the least mean of five times 2,000."""
    best = float("inf")
    for _ in range(5):
        begun_ns = now_ns()
        for _ in range(2000):
            now_ns()
        best = min(best, (now_ns() - begun_ns) / 2000)
    return best


def source(root: Path, cost_ns: float) -> Finding:
    """Which clock the kernel keeps time by; a slow one makes every stamp late."""
    try:
        name = (root / "sys/devices/system/clocksource/clocksource0/current_clocksource").read_text("utf-8").strip()
    except OSError:
        name = ""
    found = f"{name or 'not told'}; a reading takes {cost_ns:.0f} ns"
    slow = cost_ns > 1000 or bool(name and name not in _GOOD_SOURCES)
    remedy = "clocksource=tsc on the kernel's command line, if the machine has a stable TSC"
    return judged("machine", "clock source", found, (slow, "warn", remedy))


def wall_time(state: int | None, stepped_s: float) -> Finding:
    """state: of adjtimex(2). Steps do not touch latencies (they are on a clock that never steps), but kernel stamps."""
    word = "not told" if state is None else "not kept by NTP" if state == _TIME_ERROR else "kept by NTP"
    stepped = abs(stepped_s) > _STEP_S
    found = f"{word}; stepped by {stepped_s * 1000:+.1f} ms just now" if stepped else word
    return judged(
        "machine",
        "wall time",
        found,
        (stepped, "warn", "let one program alone set the clock, and slew it"),
        (state == _TIME_ERROR, "warn", "timedatectl set-ntp true, so that runs of several machines can be compared"),
    )


def _adjtimex() -> int | None:
    """The kernel's word on wall time; None where it has none. Asks only."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else int(state)


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


_TRIES, _SLACK_NS = 20, 100_000
_SETTLE_S = 0.05  # the kernel switches stamping on a moment after the first socket asks for it
_REMEDY = "none needed: reads are stamped by the process, later by as much as its loop is busy; see `calibrate`"


def stamps() -> Finding:
    """Whether the kernel stamps what comes in, and rightly: after it was sent, before it was read."""
    try:
        lags_ns = next((lags for _ in range(3) if (lags := _try_stamps())), [])
    except OSError as error:
        return Finding("machine", "kernel stamps", "fail", f"loopback does not work: {error}", "ip link set lo up")
    if not lags_ns:
        return Finding("machine", "kernel stamps", "warn", "the kernel gives no receive stamps", _REMEDY)
    wrong = [lag for lag in lags_ns if lag is None]
    right = sorted(lag for lag in lags_ns if lag is not None)
    if wrong:
        found = f"{len(wrong)} of {len(lags_ns)} stamps lie outside of the time in which the bytes came"
        return Finding("machine", "kernel stamps", "warn", found, "benchsuite calibrate shows what it does to TTFT")
    found = f"{len(right)} of {_TRIES} reads on loopback stamped, {right[len(right) // 2] / 1000:.0f} us before ours"
    return judged("machine", "kernel stamps", found, (len(right) < _TRIES - 1, "warn", _REMEDY))


def _try_stamps() -> list[int | None]:
    """How long before the read each stamp is (ns), None for one that cannot be right; empty where none come."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as sock:
        if not request_kernel_timestamps(sock):
            return []
        sock.settimeout(2.0)
        sock.connect(listening.getsockname())
        peer, _ = listening.accept()
        found: list[int | None] = []
        with peer:
            time.sleep(_SETTLE_S)
            for _ in range(_TRIES):
                sent_ns = time.time_ns()
                peer.send(b"x")
                _, ancillary, _, _ = sock.recvmsg(64, ANCILLARY_BYTES)
                read_ns = time.time_ns()
                if ancillary:
                    stamp_ns = kernel_timestamp_ns(ancillary)
                    right = sent_ns - _SLACK_NS <= stamp_ns <= read_ns + _SLACK_NS
                    found.append(read_ns - stamp_ns if right else None)
    return found


def ports(level: int, root: Path = Path("/")) -> Finding:
    """Local ports for the highest level's connections, if none were kept alive."""
    try:
        low, high = map(int, (root / "proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    except (OSError, ValueError):
        low, high = 32768, 60999  # Linux's default
    n_ports = high - low + 1
    remedy = 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    return judged(
        "machine", "ports", f"{n_ports:,} for connections of {level:,} users", (n_ports < 10 * level, "warn", remedy)
    )


_GIB_GPU = 1e9


def gpu_findings(sampler: Sampler, throttles: Mapping[str, int], *, serving: bool) -> Iterator[Finding]:
    """What it finds now. throttles: the bits of GpuSample.throttle_reasons that are trouble, by name.

    serving: a server is expected to be on the GPUs.
    """
    rows = {row.uuid: row for row in sampler.sample() if isinstance(row, GpuSample)}
    facts = sampler.facts()
    names = {card["uuid"]: f"GPU {card['index']}" for card in facts["devices"] if "index" in card}
    if facts["source"] == "nvml":
        words = f"driver {facts['driver']}, NVML {facts['nvml']}, CUDA {facts['cuda_driver']}"
        yield Finding("gpu", "driver", "ok", words)
        yield from _cards(facts, rows)
    else:
        yield _exporter(facts, [row.error for row in rows.values() if not row.uuid])
    for uuid in facts.get("used") or [uuid for uuid in rows if uuid]:
        if uuid in rows:
            yield from _now(names.get(uuid, uuid[:12]), rows[uuid], throttles, serving)
    lost = [row.error for row in rows.values() if row.error]
    for problem in dict.fromkeys(sampler.problems()):
        if not any(error and error in problem for error in lost):
            yield Finding("gpu", "not told" if ": empty" in problem else "note", "ok", problem)


def _exporter(facts: Mapping[str, Any], errors: Sequence[str | None]) -> Finding:
    if errors:
        remedy = "start dcgm-exporter there, or check --dcgm-url"
        return Finding("gpu", "DCGM", "fail", errors[0] or facts["url"], remedy)
    n, every_s = len(facts["devices"]), facts["interval_s"]
    found = f"{facts['url']}: {n} GPU{'s' * (n != 1)}, collected every {every_s:g} s ({facts['interval_source']})"
    remedy = "start it with -c 1000 or DCGM_EXPORTER_INTERVAL=1000 (milliseconds): short points fall between readings"
    return judged("gpu", "DCGM", found, (every_s > 5, "warn", remedy))


def _cards(facts: Mapping[str, Any], rows: Mapping[str, GpuSample]) -> Iterator[Finding]:
    for card in facts["devices"]:
        name = f"GPU {card['index']}"
        memory = "" if card["memory_total_bytes"] is None else f", {card['memory_total_bytes'] / _GIB_GPU:.0f} GB"
        limit = "" if card["power_limit_w"] is None else f", limit {card['power_limit_w']:.0f} W"
        used = card["uuid"] in rows or any(mig["uuid"] in rows for mig in card["mig_devices"])
        slices = len(card["mig_devices"])
        mig = f", MIG with {slices} device{'s' * (slices != 1)}" if card["mig"] else ""
        found = f"{card['name']}{memory}{limit}{mig}; {'sampled' if used else 'not sampled'} ({facts['used_how']})"
        remedy = "MIG tells no utilisation, and power only of the whole card: measure on a whole card where you can"
        yield judged("gpu", name, found, (card["mig"], "warn", remedy))
        kept = _persistence(card["uuid"])
        if kept is not None:
            word = (
                "persistence mode on" if kept else "persistence mode off: the driver lets go of a card that is not used"
            )
            remedy = f"sudo nvidia-smi -i {card['index']} -pm 1"
            yield judged("gpu", f"{name} kept", word, (not kept, "warn", remedy))


def _now(name: str, row: GpuSample, throttles: Mapping[str, int], serving: bool) -> Iterator[Finding]:
    if row.error and row.util_ratio is None and row.power_w is None:
        yield Finding("gpu", f"{name} now", "warn", row.error, "see nvidia-smi; a lost GPU needs a reset or a reboot")
        return
    words = [
        None if row.util_ratio is None else f"{100 * row.util_ratio:.0f} % busy",
        None if row.power_w is None else f"{row.power_w:.0f} W",
        None if row.memory_used_bytes is None else f"{row.memory_used_bytes / _GIB_GPU:.1f} GB in use",
        None if row.sm_clock_mhz is None else f"{row.sm_clock_mhz} MHz",
        None if row.temperature_c is None else f"{row.temperature_c:.0f} degrees C",
    ]
    reasons = [reason for reason, bit in throttles.items() if (row.throttle_reasons or 0) & bit]
    found = ", ".join([*(word for word in words if word), *(f"throttled: {reason}" for reason in reasons)])
    yield judged(
        "gpu", f"{name} now", found or "tells nothing",
        (bool(reasons), "warn", "look at cooling, the power limit (nvidia-smi -q -d PERFORMANCE) and who else uses it"),
        (not serving and (row.util_ratio or 0.0) > 0.05, "warn", "something runs on it; nvidia-smi names it"),
    )  # fmt: skip
    yield from _processes(name, row.n_processes, serving)


def _processes(name: str, n_processes: int | None, serving: bool) -> Sequence[Finding]:
    if n_processes is None:
        return ()
    most = 1 if serving else 0
    found = f"{n_processes} compute process{'es' * (n_processes != 1)} on it"
    remedy = "see nvidia-smi: only the server's processes should be there while it is measured"
    return (judged("gpu", f"{name} use", found, (n_processes > most, "warn", remedy)),)


def _persistence(uuid: str) -> bool | None:
    """Whether the driver keeps the card ready while nobody uses it; None if not told. NVML is open."""
    handle = quietly(pynvml.nvmlDeviceGetHandleByUUID, uuid)
    mode = None if handle is None else quietly(pynvml.nvmlDeviceGetPersistenceMode, handle)
    return None if mode is None else mode == 1


_TOKENS = 8
_SERVER_TRIES = 5
_FAR_S = 0.005
_DAY_S = 86400


def server_findings(spec: SweepSpec) -> Iterator[Finding]:
    """Each server's door, then what the preflight of a sweep finds, then their metrics."""
    reached = True
    for url in spec.server.base_urls:
        for found in door(url, spec.timeouts.connect_s, insecure=spec.server.insecure):
            reached &= found.verdict != "fail"
            yield found
    if not reached:
        return
    message = {"role": "user", "content": "How long is a token on its way?"}
    # the length is asked for exactly, so that it is seen whether the server keeps it
    asked = spec.model_copy(update={"workload": spec.workload.model_copy(update={"fixed_length": True})})
    try:
        with control_client(asked) as control:
            found_out = preflight(asked, control, (Prompt("doctor", None, (message,), None, _TOKENS),))
            yield from answers(found_out)
            yield from pace(control, found_out.closes_after_response)
        for sampler in open_servers(spec, found_out.profile, list(spec.server.base_urls), api_key(spec), now_ns()):
            try:
                yield metrics(sampler, found_out.profile)
            finally:
                sampler.close()
    except BenchsuiteError as error:
        given = "" if error.given is None else f": {error.given}"
        yield Finding("server", "requests", "fail", f"{error.what}{given}", error.hint or error.expected)


def door(base_url: str, timeout_s: float, *, insecure: bool) -> Iterator[Finding]:
    """Whether a connection can be made, how long that takes, and its TLS."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        took_s = [_connect_s(host, port, timeout_s) for _ in range(_SERVER_TRIES)]
    except OSError as error:
        remedy = "start the server, or check --base-url; `benchsuite serve llamacpp` starts one to try"
        yield Finding("server", "reachable", "fail", f"{base_url}: {error}", remedy)
        return
    far = median(took_s) > _FAR_S
    found = f"{base_url}: a connection takes {1000 * median(took_s):.2f} ms (median of {_SERVER_TRIES})"
    yield judged("server", "reachable", found, (far, "warn", "the way there is part of every TTFT: measure near it"))
    if parts.scheme == "https":
        yield _tls(host, port, timeout_s, insecure=insecure)


def _connect_s(host: str, port: int, timeout_s: float) -> float:
    begun_s = time.perf_counter()
    with socket.create_connection((host, port), timeout_s):
        return time.perf_counter() - begun_s


def _tls(host: str, port: int, timeout_s: float, *, insecure: bool) -> Finding:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), timeout_s) as sock,
            context.wrap_socket(sock, server_hostname=host) as wrapped,
        ):
            version, certificate = wrapped.version(), wrapped.getpeercert() or {}
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "verify_message", "") or str(error)
        if insecure:
            return Finding("server", "TLS", "warn", f"{why}; not verified (--insecure)", "only where you trust the way")
        return Finding("server", "TLS", "fail", why, "put its authority into SSL_CERT_FILE, or --insecure")
    left_s = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time() if "notAfter" in certificate else None
    days = "" if left_s is None else f", certificate for {left_s / _DAY_S:.0f} more days"
    soon = left_s is not None and left_s < 14 * _DAY_S
    return judged("server", "TLS", f"{version}{days}", (soon, "warn", "renew the certificate"))


def answers(found: Preflight) -> Iterator[Finding]:
    """What the preflight's requests showed, in the order in which a sweep needs it."""
    facts = found.facts
    version = (facts.get("server") or {}).get("version")
    yield Finding("server", "kind", "ok", found.profile.name + (f" {version}" if version else ""))
    listed = facts["models_listed"]
    yield Finding("server", "model", "ok", found.model + ("" if listed is None else f", of {len(listed)} listed"))
    yield _streams(facts)
    yield judged(
        "server", "usage", "tells token counts" if facts["reports_usage"] else "tells no token counts",
        (not facts["reports_usage"], "warn", "a server that sends `usage`; else tokens are estimated from chunks"),
    )  # fmt: skip
    yield _length(facts)
    if facts["fields_refused"]:
        yield Finding(
            "server", "fields", "ok", f"left out, since it refuses them: {', '.join(facts['fields_refused'])}"
        )
    yield judged(
        "server", "time stamps", f"by the {'kernel' if facts['stamp_source'] == 'kernel' else 'process'}",
        (facts["stamp_source"] != "kernel", "warn", "see `kernel stamps` above; over TLS the process stamps"),
    )  # fmt: skip
    yield _cache(found)
    yield from _capacity(facts["capacity"])


def _streams(facts: dict[str, Any]) -> Finding:
    remedy = "switch streaming on in the server or a proxy that gathers (nginx: proxy_buffering off), or --no-stream"
    return judged(
        "server", "stream", "streams tokens" if facts["streams"] else "one answer, no stream: no TTFT, no TPOT",
        (not facts["streams"], "warn", remedy),
    )  # fmt: skip


def _length(facts: dict[str, Any]) -> Finding:
    got, asked = facts["got_output_tokens"], facts["asked_output_tokens"]
    kept = got is not None and got == asked
    found = f"{asked} tokens asked for, {'unknown' if got is None else got} came ({facts['finish_reason']})"
    remedy = "--fixed-length will not hold here, so runs may differ in their tokens: repeat them, compare per token"
    return judged("server", "length", found, (not kept, "warn", remedy))


def _cache(found: Preflight) -> Finding:
    profile, bust = found.profile, found.plan.cache_bust
    if bust == "off":
        return Finding("server", "prefix cache", "warn", "left on (--cache-bust off)", "only where reuse is wanted")
    way = (
        f"the field {profile.cache_salt_field or ', '.join(profile.cache_off_fields)}"
        if bust == "field"
        else "a salt at the start of every prompt"
    )
    emptied = f"; POST {profile.cache_reset_path} before each point" if profile.cache_reset_path else ""
    return Finding("server", "prefix cache", "ok", f"kept out by {way}{emptied}")


def _capacity(capacity: dict[str, Any]) -> Iterator[Finding]:
    told = {
        "concurrent_requests": "requests at a time",
        "context_tokens": "tokens of context",
        "input_tokens": "tokens of prompt",
    }
    words = [f"{capacity[key]} {what}" for key, what in told.items() if capacity.get(key) is not None]
    if words or not capacity["warnings"]:
        yield Finding("server", "capacity", "ok", ", ".join(words) or "not told")
    for sentence in capacity["warnings"]:
        what, _, remedy = sentence.partition("; ")
        yield Finding("server", "capacity", "warn", what, remedy or "lower levels, or a larger server")


def pace(control: httpx.Client, closes: bool) -> Iterator[Finding]:
    """How long a small answer takes, and whether connections are kept. closes: the preflight saw that they are not."""
    took_s = []
    try:
        for _ in range(_SERVER_TRIES + 1):
            begun_s = time.perf_counter()
            answer = control.get("/v1/models")
            took_s.append(time.perf_counter() - begun_s)
    except httpx.HTTPError:
        return
    closes |= answer.headers.get("connection", "").lower() == "close"
    yield judged(
        "server", "keep-alive",
        "a new connection for each request: it closes after each response" if closes else "kept",
        (closes, "warn", "switch keep-alive on, in the server or the proxy before it"),
    )  # fmt: skip
    typical_s = median(took_s[1:])
    found = f"{1000 * typical_s:.1f} ms for GET /v1/models (median of {_SERVER_TRIES})"
    yield judged("server", "round trip", found, (typical_s > 0.1, "warn", "the server or the way to it is busy"))


def metrics(sampler: ServerSampler, server: Server) -> Finding:
    """What the server's own page tells, and what it does just now."""
    row, facts = sampler.sample()[0], sampler.facts()
    if facts["family"] is None:
        if server.metrics_path is None:
            return Finding("server", "metrics", "ok", f"{server.title} has no metrics page")
        return Finding("server", "metrics", "warn", row.error or "none", server.metrics_remedy)
    lacks = f", without {', '.join(facts['missing'])}" if facts["missing"] else ""
    busy = f"; {row.running:.0f} running, {row.waiting or 0:.0f} waiting" if row.running else ""
    found = f"{facts['url']}: {len(facts['figures'])} figures by {facts['family']}'s names{lacks}{busy}"
    return judged("server", "metrics", found, (bool(row.running), "warn", "others use the server: measure it alone"))


_HERE = "http://127.0.0.1"


def check_up(spec: SweepSpec, folder: Path, throttles: Mapping[str, int], *, server: bool) -> Iterator[Finding]:
    """Everything that a sweep by `spec` into `folder` needs, as it is found. server: whether to ask the server at all.

    throttles: as for gpu_findings. Sends the server three short requests at most.
    """
    urls = list(spec.server.base_urls) if server else []
    yield from machine_findings(max(spec.load.concurrency), spec.load.n_workers, folder, urls)
    yield from _gpus(spec, urls or [_HERE], throttles, serving=server)
    if server:
        yield from server_findings(spec)


def _gpus(spec: SweepSpec, urls: list[str], throttles: Mapping[str, int], *, serving: bool) -> Iterator[Finding]:
    said: list[str] = []
    sampler = open_gpu(spec.telemetry, urls, now_ns(), (), said.append)
    if sampler is None:
        word, _, remedy = (said or ["--gpu off"])[0].removeprefix("no GPU telemetry: ").partition("; ")
        asked_for = spec.telemetry.gpu in ("nvml", "dcgm")
        verdict: Verdict = "ok" if not said else "fail" if asked_for else "warn"
        yield Finding("gpu", "telemetry", verdict, f"none: {word}", remedy or None)
        return
    try:
        yield from gpu_findings(sampler, throttles, serving=serving)
    finally:
        sampler.close()
