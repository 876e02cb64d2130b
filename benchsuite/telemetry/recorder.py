"""What is recorded beside the requests of a sweep: which samplers run, into which logs, and what they found.

Nothing here can stop a sweep: what cannot be sampled is a word in the manifest and a note to the view.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]

from benchsuite.base_url import api_address
from benchsuite.errors import BenchsuiteError, TelemetryError
from benchsuite.limits import most
from benchsuite.progress import LatestReadings
from benchsuite.records import GpuSample, ServerSample
from benchsuite.redact import masked
from benchsuite.servers.base import Server
from benchsuite.spec import SweepSpec, TelemetrySpec
from benchsuite.store.files import GPU, SERVER
from benchsuite.store.journal import SampleLog
from benchsuite.store.run_folder import RunFolder
from benchsuite.telemetry.dcgm import DcgmSampler
from benchsuite.telemetry.gpu_selection import listeners
from benchsuite.telemetry.server_metrics import ServerSampler, metrics_url

_HANGS_S = 10.0  # beyond which a sampler is not waited for
_IDLE_S, _LONG_IDLE_S, _LONG_SET = 10.0, 60.0, 1000


class Sampler(Protocol):
    """Reads GPUs or servers. `sample` never raises: what cannot be read is null, with the word in the row's `error`."""

    period_s: float  # how often to ask

    def sample(self) -> Sequence[GpuSample | ServerSample]: ...

    def facts(self) -> dict[str, Any]: ...  # what it found out once, for the manifest

    def problems(self) -> Sequence[str]: ...  # what went wrong so far, each once, in words for a person

    def close(self) -> None: ...


@dataclass
class _Part:
    """A sampler, its log, and the thread that alone calls it: a driver that hangs holds nobody else.

    wanted: how often somebody asked for a sample at once; given: how many of those were taken.
    """

    sampler: Sampler
    log: SampleLog
    asked: threading.Condition = field(default_factory=threading.Condition)
    wanted: int = 0
    given: int = 0

    def answered(self) -> bool:
        return self.given == self.wanted


class Recorder:
    """Samples GPUs and servers into logs until it is closed. Use as a context manager.

    log_of: makes the log of `GPU` or `SERVER`. on_problem: called with each new problem's words, from the sampling
    thread. no_gpu: why there is no gpu. idle: the span in which the server had nothing to do, as the sweep sets it.
    """

    def __init__(
        self,
        gpu: Sampler | None,
        servers: Sequence[Sampler],
        log_of: Callable[[str], SampleLog],
        on_problem: Callable[[str], None] = lambda _: None,
        no_gpu: str | None = None,
    ) -> None:
        self._gpu, self._servers, self._on_problem = gpu, servers, on_problem
        self.idle: dict[str, float] | None = None
        self.latest = LatestReadings()
        self._problems: dict[str, None] = {}
        if gpu is None:
            self.latest.no_gpu = no_gpu or "no GPU telemetry: --gpu off"
        if no_gpu is not None:
            self._report(no_gpu)
        wanted = {GPU: [] if gpu is None else [gpu], SERVER: servers}
        self._logs = {name: log_of(name) for name, samplers in wanted.items() if samplers}
        self._parts = [_Part(one, self._logs[name]) for name in self._logs for one in wanted[name]]
        self._ended = False
        self._threads = [threading.Thread(target=self._run, args=(part,), daemon=True) for part in self._parts]

    def __enter__(self) -> Recorder:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended = True
        end_s = time.monotonic() + _HANGS_S
        for part, thread in zip(self._parts, self._threads, strict=True):
            with part.asked:
                part.asked.notify()
            thread.join(max(0.0, end_s - time.monotonic()))
            if not thread.is_alive():
                with self._noted(part.sampler):
                    part.sampler.close()
        for log in self._logs.values():
            log.close()

    def mark(self) -> None:
        """Sample everything now, at the edge of a window, so that counters can be told apart exactly there.

        A sampler that does not answer is waited for once, and a problem.
        """
        asked = [part for part in self._parts if part.answered() and not self._ended]
        for part in asked:
            with part.asked:
                part.wanted += 1
                part.asked.notify()
        for part in asked:
            with part.asked:
                if not part.asked.wait_for(part.answered, _HANGS_S):
                    self._report(f"{type(part.sampler).__name__} has not answered for {_HANGS_S:g} s")

    def idle_s(self, asked_s: float | None, n_requests: int) -> float:
        """How long the idle power is to be measured: as asked; else 60 s for long sets and 10 s for short ones."""
        if self._gpu is None:
            return 0.0
        return asked_s if asked_s is not None else _LONG_IDLE_S if n_requests >= _LONG_SET else _IDLE_S

    def facts(self) -> dict[str, Any]:
        """For the manifest; null where nothing was sampled."""
        return {
            "gpu": self._facts(self._gpu) if self._gpu is not None else None,
            "server": [facts for sampler in self._servers if (facts := self._facts(sampler))] or None,
            "idle": self.idle,
            "problems": list(self._problems),
        }

    def _facts(self, sampler: Sampler) -> dict[str, Any] | None:
        with self._noted(sampler):
            return sampler.facts()
        return None

    @contextlib.contextmanager
    def _noted(self, sampler: Sampler) -> Iterator[None]:
        """Whatever a sampler meets, or its log (a full disk, of which the requests' journal will tell too)."""
        try:
            yield
        except BenchsuiteError as error:
            self._report(str(error))
        except Exception as error:
            self._report(f"{getattr(sampler, 'source', 'GPU telemetry')}: {type(error).__name__}: {error}")

    def _run(self, part: _Part) -> None:
        due_s = time.monotonic()
        while not self._ended:
            wanted = part.wanted
            self._sample(part)
            with part.asked:
                part.given = wanted
                part.asked.notify()
                # on a fixed grid; beats that a slow reading missed are left out, not caught up
                if (now_s := time.monotonic()) >= due_s:
                    due_s = max(due_s + part.sampler.period_s, now_s)
                part.asked.wait_for(lambda: self._ended or not part.answered(), max(0.0, due_s - now_s))

    def _sample(self, part: _Part) -> None:
        with self._noted(part.sampler):
            samples = part.sampler.sample()
            if not self._ended:
                self.latest.note(samples)
                part.log.append(samples)
        with self._noted(part.sampler):
            for problem in part.sampler.problems():
                self._report(problem)

    def _report(self, problem: str) -> None:
        problem = masked(problem)[: most("error_chars")]
        if problem not in self._problems and len(self._problems) < most("problems"):
            self._problems[problem] = None
            self._on_problem(problem)


def open_recorder(
    spec: SweepSpec,
    profile: Server,
    headers: Mapping[str, str],
    folder: RunFolder,
    origin_ns: int,
    server_pids: Sequence[int],
    on_problem: Callable[[str], None],
) -> Recorder:
    """The recorder of a sweep into `folder`. server_pids: processes of a server that we started ourselves."""
    gpu, no_gpu = open_gpu(spec.telemetry, spec.server.base_urls, origin_ns, server_pids)
    servers = open_servers(spec, profile, headers, origin_ns)
    # a server that is known to have no page is not asked, an unknown one once
    has_page = profile.metrics_path is not None or spec.telemetry.metrics_url is not None
    if not has_page and not (profile.recognise is None and any(server.has_page() for server in servers)):
        for server in servers:
            server.close()
        servers = []
    return Recorder(gpu, servers, folder.sample_log, on_problem, no_gpu)


def open_gpu(
    asked: TelemetrySpec, endpoints: Sequence[str], origin_ns: int, pids: Sequence[int]
) -> tuple[Sampler | None, str | None]:
    """What samples the GPUs, as asked for; and why nothing does, None where nothing was to."""
    if asked.gpu == "off":
        return None, None
    if asked.gpu == "dcgm" or (asked.gpu == "auto" and asked.dcgm_url is not None):
        if asked.dcgm_url is None:
            return None, "no GPU telemetry: --gpu dcgm needs --dcgm-url, such as http://HOST:9400/metrics"
        return DcgmSampler(asked.dcgm_url, origin_ns, asked.dcgm_interval_s, asked.gpu_ids, asked.gpu_sample_hz), None
    here = [urlsplit(url) for url in endpoints if is_this_machine(url)]
    if asked.gpu == "auto" and not pids and len(here) < len(endpoints):
        return None, "no GPU telemetry: the server is on another machine; --dcgm-url reads its exporter"
    from benchsuite.telemetry.nvml import NvmlSampler, in_time  # its binding takes 0.1 s to import

    ports = [part.port or (443 if part.scheme == "https" else 80) for part in here]
    there = (asked.gpu_ids, pids, () if pids else listeners(ports))
    try:
        return in_time(lambda: NvmlSampler(origin_ns, asked.gpu_sample_hz, *there)), None
    except TelemetryError as error:
        given = f" ({error.given})" if error.given else ""
        return None, f"no GPU telemetry: {error.what}{given}" + (f"; {error.hint}" if error.hint else "")


def open_servers(spec: SweepSpec, profile: Server, headers: Mapping[str, str], origin_ns: int) -> list[ServerSampler]:
    """What samples the servers' own metrics: one a server, or one for the page that the spec names."""
    asked = spec.telemetry
    if not asked.server_metrics:
        return []
    # a page that the user names may be anywhere: the server's key is not for it
    options = {"headers": {} if asked.metrics_url else headers, "verify": not spec.server.insecure}
    path = profile.metrics_path or "/metrics"
    return [
        ServerSampler(
            metrics_url(api_address(url).root, asked.metrics_url, path),
            url,
            origin_ns,
            asked.server_sample_hz,
            **options,
        )
        for url in dict.fromkeys(spec.server.base_urls[:1] if asked.metrics_url else spec.server.base_urls)
    ]


def is_this_machine(url: str) -> bool:
    """True if the URL's host is this machine: then its GPUs are those that the driver here sees."""
    ours = {address.address.partition("%")[0] for several in psutil.net_if_addrs().values() for address in several}
    try:
        resolved = socket.getaddrinfo(urlsplit(url).hostname or "", None)
    except OSError:
        return False
    addresses = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in resolved]
    return any(str(ip) in ours or ip.is_loopback or ip.is_unspecified for ip in addresses)
