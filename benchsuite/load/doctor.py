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
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import psutil  # type: ignore[import-untyped]
import pynvml

from benchsuite.base_url import api_address
from benchsuite.clock import ClockMark, now_ns, realtime_offset_ns, stamp_lags_ns
from benchsuite.errors import BenchsuiteError, TelemetryError
from benchsuite.limits import most
from benchsuite.load.preflight import preflight
from benchsuite.load.schedule import open_files_needed
from benchsuite.load.server_probe import control_client, request_headers
from benchsuite.load.virtual_users import Preflight
from benchsuite.records import GpuSample
from benchsuite.servers.base import Server
from benchsuite.spec import LoadSpec, SweepSpec
from benchsuite.telemetry.host import calibration_path, describe_host, read_calibration
from benchsuite.telemetry.nvml import in_time, nvml_or_none
from benchsuite.telemetry.recorder import Sampler, open_gpu, open_servers
from benchsuite.telemetry.server_metrics import ServerSampler
from benchsuite.workload.dataset import Prompt

Status = Literal["ok", "warn", "fail"]
ROOT = Path("/")
_GB, _GIB = 10**9, 1024**3
_DAY_S = 86400
_TRIES = 5
_MOST_TOKENS = 2048  # of an answer, where the server refuses a short one


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """The result of one check."""

    area: str  # machine, gpu or server
    name: str
    status: Status  # warn: figures get worse or are missing. fail: a sweep would not run, or not measure what it says
    detail: str
    remedy: str | None = None


def diagnose(
    area: str, name: str, detail: str, *, warn: bool = False, fail: bool = False, remedy: str | None = None
) -> Diagnostic:
    status: Status = "fail" if fail else "warn" if warn else "ok"
    return Diagnostic(area, name, status, detail, None if status == "ok" else remedy)


_machine, _gpu, _server = (partial(diagnose, area) for area in ("machine", "gpu", "server"))


def _read(path: Path) -> str:
    """What stands in a file of /proc or /sys; empty where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _times_ms(action: Callable[[], object]) -> list[float]:
    return [1000 * seconds for seconds in timeit.repeat(action, number=1, repeat=_TRIES)]


def check_up(spec: SweepSpec, folder: Path, throttles: Mapping[str, int], *, server: bool) -> Iterator[Diagnostic]:
    """All that a sweep by `spec` into `folder` needs, in the order of checking. server: whether to ask it at all.

    throttles: the bits of GpuSample.throttle_reasons that are trouble, by name. Sends the server three short requests
    at most.
    """
    urls = list(spec.server.base_urls) if server else []
    yield from check_machine(spec.heaviest_load, folder, urls)
    sampler, no_gpu = open_gpu(spec.telemetry, urls or ["http://127.0.0.1"], now_ns(), ())
    if sampler is not None:

        def check() -> list[Diagnostic]:
            with closing(sampler):
                return [*check_gpus(sampler, throttles, serving=server)]

        try:
            yield from in_time(check)
        except TelemetryError as error:
            yield _gpu("telemetry", error.what, fail=True, remedy=error.hint)
    else:
        reason, _, remedy = (no_gpu or "--gpu off").removeprefix("no GPU telemetry: ").partition("; ")
        wanted = bool(no_gpu) and spec.telemetry.gpu in ("nvml", "dcgm")
        yield _gpu("telemetry", f"none: {reason}", warn=bool(no_gpu), fail=wanted, remedy=remedy or None)
    if server:
        yield from check_server(spec)


def check_machine(load: LoadSpec, folder: Path, base_urls: Sequence[str], root: Path = ROOT) -> Iterator[Diagnostic]:
    """The client's machine. folder: where results go, which need not be there yet."""
    host, n_workers, users = describe_host(), load.n_workers, max(load.concurrency)
    n_cores, versions = host["cpu_count"] or 1, host["versions"]
    cores, processes = host["cpus_allowed"] or n_cores, f"process{'es' * (n_workers > 1)}"
    missing = [name for name in ("uvloop", "httptools", "orjson") if versions.get(name) is None]
    installed = [f"{name} {versions[name]}" for name in ("uvloop", "httptools", "orjson") if name not in missing]
    detail = ", ".join([f"Python {host['python']}", *installed])
    detail += f"; not installed: {', '.join(missing)}" if missing else ""
    yield _machine("packages", detail, warn=bool(missing), remedy=f"pip install {' '.join(missing)}")

    detail = f"{cores} usable, {n_workers} measuring {processes} and their parent"
    remedy = f"fewer --workers, or a machine with {n_workers + 1} cores or more"
    yield _machine("cores", detail, warn=cores <= n_workers, remedy=remedy)
    yield from check_cpu_quota(n_workers, root)
    yield from check_governor(root)
    load_1_min = os.getloadavg()[0]
    detail = f"{load_1_min:.1f} processes ready to run on {n_cores} cores over the last minute"
    remedy = "stop other programs here; they delay the client"
    yield _machine("load", detail, warn=load_1_min > n_cores / 2, remedy=remedy)

    # a slow clock makes every timestamp late
    clock = _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    cost_ns = min(timeit.repeat(now_ns, number=2000, repeat=5)) / 2000 * 1e9
    slow = cost_ns > 1000 or clock not in ("", "tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")
    remedy = "clocksource=tsc on the kernel's command line, if the machine has a stable TSC"
    yield _machine("clock source", f"{clock or 'unknown'}; a reading takes {cost_ns:.0f} ns", warn=slow, remedy=remedy)
    before = ClockMark.now()
    time.sleep(0.2)
    yield check_wall_time(_adjtimex(), ClockMark.now().stepped_since_s(before))
    yield check_kernel_timestamps()

    # a sweep raises its own limit as far as the hard one
    needed, hard = open_files_needed(load), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = "no limit" if hard == resource.RLIM_INFINITY else f"ulimit -Hn {hard}"
    detail = f"{limit}; {needed} needed for {users} users in {n_workers} {processes}"
    fail = hard != resource.RLIM_INFINITY and hard < needed
    yield _machine("open files", detail, fail=fail, remedy=f"raise the hard limit to {needed}, or --workers")
    # for the highest level's connections, if none were kept alive
    ports = (_read(root / "proc/sys/net/ipv4/ip_local_port_range") or "32768 60999").split()
    n_ports = int(ports[1]) - int(ports[0]) + 1
    remedy = 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    detail = f"{n_ports:,} for connections of {users:,} users"
    yield _machine("ports", detail, warn=n_ports < 10 * users, remedy=remedy)
    free = psutil.virtual_memory().available
    yield _machine("memory", f"{free / _GIB:.1f} GiB free", warn=free < _GIB, remedy="stop other programs here")
    yield from check_disk(folder)
    yield check_proxy(base_urls)
    record, remedy = read_calibration(), "benchsuite calibrate, once, for the report to show it"
    made = f"{record['made']} ({calibration_path()})" if record else "none for this machine, Python and version"
    yield _machine("calibration", made, warn=record is None, remedy=remedy)


def check_cpu_quota(n_workers: int, root: Path) -> Iterator[Diagnostic]:
    """The container's share of the CPU, where it has a limit."""
    old = [_read(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota = _read(root / "sys/fs/cgroup/cpu.max").split() or old
    if len(quota) == 2 and all(number.isdecimal() for number in quota):
        share = int(quota[0]) / int(quota[1])
        remedy = "the client is paused when its share is used up: start the container without --cpus, or with more"
        yield _machine("CPU quota", f"{share:g} CPUs", warn=share < n_workers + 1, remedy=remedy)


def check_governor(root: Path) -> Iterator[Diagnostic]:
    """How the cores choose their frequency, where that is known: not in virtual machines."""
    names = sorted(map(_read, (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")))
    if names:
        detail = ", ".join(f"{name} on {names.count(name)} of {len(names)} cores" for name in dict.fromkeys(names))
        slow = set(names) != {"performance"}
        yield _machine("CPU governor", detail, warn=slow, remedy="sudo cpupower frequency-set -g performance")


def check_wall_time(state: int | None, stepped_s: float) -> Diagnostic:
    """state: of adjtimex(2), 5 is an error, None unknown. Steps do not touch latencies (they are on a clock that never
    steps), but kernel timestamps.
    """
    detail = "unknown" if state is None else f"{'not ' if state == 5 else ''}kept by NTP"
    remedy = "timedatectl set-ntp true, so that runs of several machines can be compared"
    if stepped := abs(stepped_s) > 0.001:
        detail += f"; stepped by {stepped_s * 1000:+.1f} ms just now"
        remedy = "let one program alone set the clock, and slew it"
    return _machine("wall time", detail, warn=stepped or state == 5, remedy=remedy)


def _adjtimex() -> int | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # asks only
    except (OSError, AttributeError):
        return None
    return None if state < 0 else int(state)


def check_kernel_timestamps() -> Diagnostic:
    """Whether the kernel stamps what comes in, and rightly: after it was sent, before it was read."""
    n_reads, check = 20, partial(_machine, "kernel timestamps")
    try:
        lags_ns = stamp_lags_ns(n_reads, realtime_offset_ns(), 0.1)
    except OSError as error:
        return check(f"loopback does not work: {error}", fail=True, remedy="ip link set lo up")
    right = sorted(lag for lag in lags_ns if lag is not None)
    if len(right) < len(lags_ns):
        detail = f"{len(lags_ns) - len(right)} of {len(lags_ns)} lie outside the time in which the bytes arrived"
        return check(detail, warn=True, remedy="benchsuite calibrate shows the effect on TTFT")
    lag = f", {median(right) / 1000:.0f} us before the process's timestamp" if right else ""
    detail = f"{len(right)} of {n_reads} reads on loopback{lag}" if right else "the kernel gives none"
    remedy = "none needed: the process takes the timestamps, late by its loop lag; see `calibrate`"
    return check(detail, warn=len(right) < n_reads - 1, remedy=remedy)


def check_disk(folder: Path) -> Iterator[Diagnostic]:
    """Room, and how long a write takes to be safe, where `folder` is or will be. Leaves nothing behind."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free_gb, remedy = shutil.disk_usage(there).free / _GB, "free some space, or use another --output"
    yield _machine("disk", f"{free_gb:.1f} GB free in {there}", warn=free_gb < 2, fail=free_gb < 0.2, remedy=remedy)
    try:
        took_ms = _times_ms(partial(_write_safely, there))
    except OSError as error:
        yield _machine("writing", f"{there}: {error.strerror}", fail=True, remedy="use another --output")
        return
    detail = f"64 KiB are synced in {median(took_ms):.1f} ms (median of {_TRIES}), {max(took_ms):.1f} ms at most"
    remedy = "a local disk for --output, not one over the network"
    yield _machine("writing", detail, warn=median(took_ms) > 100, remedy=remedy)


def _write_safely(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(65536))
        file.flush()
        os.fsync(file.fileno())


def check_proxy(base_urls: Sequence[str]) -> Diagnostic:
    """Proxy variables, which benchsuite never heeds: a proxy would be measured with the server."""
    known = sorted(scheme for scheme in getproxies() if scheme in ("http", "https", "all"))
    hosts = list(dict.fromkeys(urlsplit(url).hostname or "" for url in base_urls))
    proxied = [host for host in hosts if known and not proxy_bypass(host)]
    detail = f"set for {', '.join(known)}, not used" if known else "no proxy variables"
    if known and hosts and not proxied:
        detail += f"; not meant for {', '.join(hosts)}"
    remedy = (
        f"nothing, if {', '.join(proxied)} can be reached directly; else measure where it can, or name a gateway as "
        "--base-url; NO_PROXY with the host ends this warning"
    )
    return _machine("proxy", detail, warn=bool(proxied), remedy=remedy)


def check_gpus(sampler: Sampler, throttles: Mapping[str, int], *, serving: bool) -> Iterator[Diagnostic]:
    """The GPUs as they are now. throttles: as for `check_up`. serving: a server is expected to be on them."""
    rows = {row.uuid: row for row in sampler.sample() if isinstance(row, GpuSample)}
    facts = sampler.facts()
    names = {card["uuid"]: f"GPU {card['index']}" for card in facts["devices"] if "index" in card}
    if facts["source"] == "nvml":
        yield _gpu("driver", f"driver {facts['driver']}, NVML {facts['nvml']}, CUDA {facts['cuda_driver']}")
        yield from _check_cards(facts, rows)
    elif errors := [row.error for row in rows.values() if not row.uuid]:
        remedy = "start dcgm-exporter there, or check --dcgm-url"
        yield _gpu("DCGM", errors[0] or facts["url"], fail=True, remedy=remedy)
    else:
        n, every_s = len(facts["devices"]), facts["interval_s"]
        detail = f"{facts['url']}: {n} GPU{'s' * (n != 1)}, collected every {every_s:g} s ({facts['interval_source']})"
        remedy = "start it with -c 1000 or DCGM_EXPORTER_INTERVAL=1000 (ms): short points fall between readings"
        yield _gpu("DCGM", detail, warn=every_s > 5, remedy=remedy)
    for uuid in facts.get("used") or [uuid for uuid in rows if uuid]:
        if uuid in rows:
            yield from _check_sample(names.get(uuid, uuid[:12]), rows[uuid], throttles, serving)
    lost = [row.error for row in rows.values() if row.error]
    for problem in dict.fromkeys(sampler.problems()):
        if not any(error in problem for error in lost):
            yield _gpu("not reported" if ": empty" in problem else "note", problem)


def _check_cards(facts: Mapping[str, Any], rows: Mapping[str, GpuSample]) -> Iterator[Diagnostic]:
    for card in facts["devices"]:
        name, slices = f"GPU {card['index']}", len(card["mig_devices"])
        memory = "" if card["memory_total_bytes"] is None else f", {card['memory_total_bytes'] / _GB:.0f} GB"
        limit = "" if card["power_limit_w"] is None else f", limit {card['power_limit_w']:.0f} W"
        sampled = card["uuid"] in rows or any(mig["uuid"] in rows for mig in card["mig_devices"])
        mig = f", MIG with {slices} device{'s' * (slices != 1)}" if card["mig"] else ""
        used = f"{'sampled' if sampled else 'not sampled'} ({facts['used_how']})"
        remedy = "MIG reports no utilisation, and power only of the whole card: measure on a whole card where you can"
        yield _gpu(name, f"{card['name']}{memory}{limit}{mig}; {used}", warn=card["mig"], remedy=remedy)
        handle = nvml_or_none(pynvml.nvmlDeviceGetHandleByUUID, card["uuid"])
        mode = None if handle is None else nvml_or_none(pynvml.nvmlDeviceGetPersistenceMode, handle)
        if mode is not None:
            detail = "on" if mode == 1 else "off: the driver unloads while no process uses the GPU"
            remedy = f"sudo nvidia-smi -i {card['index']} -pm 1"
            yield _gpu(f"{name} kept", f"persistence mode {detail}", warn=mode != 1, remedy=remedy)


def _check_sample(name: str, row: GpuSample, throttles: Mapping[str, int], serving: bool) -> Iterator[Diagnostic]:
    if row.error and row.util_ratio is None and row.power_w is None:
        yield _gpu(f"{name} now", row.error, warn=True, remedy="see nvidia-smi; a lost GPU needs a reset or a reboot")
        return
    readings = [
        None if row.util_ratio is None else f"{row.util_ratio:.0%} busy",
        None if row.power_w is None else f"{row.power_w:.0f} W",
        None if row.memory_used_bytes is None else f"{row.memory_used_bytes / _GB:.1f} GB in use",
        None if row.sm_clock_mhz is None else f"{row.sm_clock_mhz} MHz",
        None if row.temperature_c is None else f"{row.temperature_c:.0f} degrees C",
    ]
    throttled = [f"throttled: {reason}" for reason, bit in throttles.items() if (row.throttle_reasons or 0) & bit]
    detail = ", ".join([*filter(None, readings), *throttled]) or "no readings"
    remedy = "a process uses it: see nvidia-smi"
    if throttled:
        remedy = "check cooling, the power limit (nvidia-smi -q -d PERFORMANCE) and other processes"
    in_use = not serving and (row.util_ratio or 0.0) > 0.05
    yield _gpu(f"{name} now", detail, warn=bool(throttled) or in_use, remedy=remedy)
    if row.n_processes is not None:
        detail = f"{row.n_processes} compute process{'es' * (row.n_processes != 1)} on it"
        remedy = "see nvidia-smi: only the server's processes should be there while it is measured"
        yield _gpu(f"{name} use", detail, warn=row.n_processes > int(serving), remedy=remedy)


def check_server(spec: SweepSpec) -> Iterator[Diagnostic]:
    """Each server's port, then what the preflight of a sweep finds, then their metrics."""
    reached = True
    for url in spec.server.base_urls:
        for result in check_port(url, spec.timeouts.connect_s, insecure=spec.server.insecure):
            reached &= result.status != "fail"
            yield result
    if not reached:
        return
    message = {"role": "user", "content": "How long is a token on its way?"}
    wait_s = spec.timeouts.first_token_s or float(most("doctor_s"))
    waits = {"idle_s": min(spec.timeouts.idle_s, wait_s), "request_s": min(spec.timeouts.request_s, 2 * wait_s)}
    # the length is asked for exactly, so that it is seen whether the server keeps it
    exact = spec.model_copy(update={
        "workload": spec.workload.model_copy(update={"fixed_length": True}),
        "timeouts": spec.timeouts.model_copy(update=waits | {"first_token_s": wait_s}),
    })  # fmt: skip
    try:
        with control_client(exact) as control:
            probed = preflight(exact, control, (Prompt("doctor", None, (message,), None, _MOST_TOKENS),))
            yield from check_response(probed)
            models_url = api_address(spec.server.base_url).url("/models")
            yield from check_latency(control, models_url, probed.closes_after_response)
        server = probed.plan.profile
        for sampler in open_servers(spec, server, request_headers(spec), now_ns()):
            try:
                yield check_metrics(sampler, server)
            finally:
                sampler.close()
    except BenchsuiteError as error:
        given = "" if error.given is None else f": {error.given}"
        yield _server("requests", f"{error.what}{given}", fail=True, remedy=error.hint or error.expected)


def check_port(base_url: str, timeout_s: float, *, insecure: bool) -> Iterator[Diagnostic]:
    """Whether a connection can be made, how long that takes, and its TLS."""
    parts = urlsplit(base_url)
    address = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        took_ms = _times_ms(lambda: socket.create_connection(address, timeout_s).close())
    except OSError as error:
        remedy = "start the server, or check --base-url; `benchsuite serve llamacpp` starts one to try"
        yield _server("reachable", f"{base_url}: {error}", fail=True, remedy=remedy)
        return
    detail = f"{base_url}: a connection takes {median(took_ms):.2f} ms (median of {_TRIES})"
    remedy = "the network is part of every TTFT: measure close to the server"
    yield _server("reachable", detail, warn=median(took_ms) > 5, remedy=remedy)
    if parts.scheme == "https":
        yield _check_tls(*address, timeout_s, insecure=insecure)


def _check_tls(host: str, port: int, timeout_s: float, *, insecure: bool) -> Diagnostic:
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
            return _server("TLS", f"{why}; not verified (--insecure)", warn=True, remedy="only on trusted networks")
        return _server("TLS", why, fail=True, remedy="put its CA certificate into SSL_CERT_FILE, or --insecure")
    if "notAfter" not in certificate:
        return _server("TLS", f"{version}")
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / _DAY_S
    detail = f"{version}, certificate for {days:.0f} more days"
    return _server("TLS", detail, warn=days < 14, remedy="renew the certificate")


def check_response(probed: Preflight) -> Iterator[Diagnostic]:
    """What the preflight's requests showed, in the order in which a sweep needs it."""
    facts, plan, server = probed.facts, probed.plan, probed.plan.profile
    version, listed = (facts.get("server") or {}).get("version"), facts["models_listed"]
    got, asked, kernel = facts["got_output_tokens"], facts["asked_output_tokens"], facts["stamp_source"] == "kernel"
    if plan.cache_bust == "off":
        cache = "left on (--cache-bust off)"
    else:
        field = f"the field {server.cache_salt_field or ', '.join(server.cache_off_fields)}"
        cache = f"kept out by {field if plan.cache_bust == 'field' else 'a salt at the start of every prompt'}"
        cache += f"; POST {server.cache_reset_path} before each point" if server.cache_reset_path else ""
    # name, what was seen, whether that is a warning, its remedy
    table: list[tuple[str, str | None, bool, str | None]] = [
        ("kind", server.name + (f" {version}" if version else ""), not server.tried,
         "implemented from its documentation, not yet tested: check each line here"),
        ("model", plan.model + ("" if listed is None else f", of {len(listed)} listed"), False, None),
        ("stream", "streams tokens" if facts["streams"] else "one response, no stream: no TTFT, no TPOT",
         not facts["streams"], "switch streaming on in the server or a proxy that buffers (nginx: proxy_buffering off),"
         " or --no-stream"),
        ("usage", f"reports {'' if facts['reports_usage'] else 'no usable '}token counts", not facts["reports_usage"],
         "use a server that sends `usage`, or --tokenizer; otherwise tokens are estimated from chunks"),
        ("length", f"{asked} tokens requested, {'unknown' if got is None else got} received ({facts['finish_reason']})",
         got is None or got != asked, "--fixed-length does not work here, so runs may differ in their tokens: "
         "repeat them, compare per token"),
        ("fields", f"left out because the server refuses them: {', '.join(facts['fields_refused'])}"
         if facts["fields_refused"] else None, False, None),
        ("timestamps", f"by the {'kernel' if kernel else 'process'}", not kernel,
         "see `kernel timestamps` above; over TLS the process stamps"),
        ("prefix cache", cache, plan.cache_bust == "off", "only to measure cache reuse"),
    ]  # fmt: skip
    for name, detail, warn, remedy in table:
        if detail is not None:
            yield _server(name, detail, warn=warn, remedy=remedy)
    capacity = facts["capacity"]
    units = {"concurrent_requests": "requests at a time", "context_tokens": "tokens of context"}
    units |= {"input_tokens": "tokens of prompt"}
    limits = [f"{capacity[name]} {unit}" for name, unit in units.items() if capacity.get(name) is not None]
    if limits or not capacity["warnings"]:
        yield _server("capacity", ", ".join(limits) or "unknown")
    for warning in capacity["warnings"]:
        yield _server("capacity", warning["finding"], warn=True, remedy=warning["remedy"])


def check_latency(control: httpx.Client, models_url: str, closes: bool) -> Iterator[Diagnostic]:
    """How long a small response takes, and whether connections are kept. closes: they were seen not to be."""
    try:
        closes |= control.get(models_url).headers.get("connection", "").lower() == "close"
        typical_ms = median(_times_ms(lambda: control.get(models_url)))
    except httpx.HTTPError:
        return
    detail = "a new connection for each request: it closes after each response" if closes else "kept"
    remedy = "enable keep-alive in the server or the proxy in front of it"
    yield _server("keep-alive", detail, warn=closes, remedy=remedy)
    detail = f"{typical_ms:.1f} ms for GET {urlsplit(models_url).path} (median of {_TRIES})"
    yield _server("round trip", detail, warn=typical_ms > 100, remedy="the server or the network is busy")


def check_metrics(sampler: ServerSampler, server: Server) -> Diagnostic:
    """What the server's own page reports, and what it does just now."""
    row, facts = sampler.sample()[0], sampler.facts()
    if facts["family"] is None and server.metrics_path is None:
        return _server("metrics", f"{server.title} has no metrics page")
    if facts["family"] is None:
        return _server("metrics", row.error or "none", warn=True, remedy=server.metrics_remedy)
    lacks = f", without {', '.join(facts['missing'])}" if facts["missing"] else ""
    busy = f"; {row.running:.0f} running, {row.waiting or 0:.0f} waiting" if row.running else ""
    detail = f"{facts['url']}: {len(facts['figures'])} figures by {facts['family']}'s names{lacks}{busy}"
    return _server("metrics", detail, warn=bool(row.running), remedy="other clients use it: measure without them")
