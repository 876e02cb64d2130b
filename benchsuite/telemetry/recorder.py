"""What is recorded beside the requests of a sweep: which samplers run, into which logs, and what they found.

Nothing here can stop a sweep: what cannot be sampled is a word in the manifest and a note to the view.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from benchsuite.errors import BenchsuiteError, TelemetryError
from benchsuite.records import GpuSample, ServerSample
from benchsuite.servers.base import Server
from benchsuite.spec import SweepSpec, TelemetrySpec
from benchsuite.store.files import GPU, SERVER
from benchsuite.store.run_folder import RunFolder
from benchsuite.telemetry.dcgm import DcgmSampler
from benchsuite.telemetry.gpu_selection import listeners
from benchsuite.telemetry.server_metrics import ServerSampler, metrics_url


class Sampler(Protocol):
    """Reads GPUs or servers. `sample` never raises: what cannot be read is null, with the word in the row's `error`.

    period_s: how often to ask. facts: what it found out once, for the manifest. problems: what went wrong so far, each
    once, in words for a person.
    """

    period_s: float

    def sample(self) -> Sequence[GpuSample | ServerSample]: ...

    def facts(self) -> dict[str, Any]: ...

    def problems(self) -> Sequence[str]: ...

    def close(self) -> None: ...


class Log(Protocol):
    """Takes samples; store.SampleLog."""

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None: ...

    def close(self) -> None: ...


class Latest:
    """What the samplers beside the load read last. no_gpu: why no GPU is sampled; None while one is.

    Written by the sampling threads, read by the view: each reading replaces the one before it whole.
    """

    def __init__(self) -> None:
        self._gpus: dict[str, GpuSample] = {}
        self._servers: dict[str, ServerSample] = {}
        self.no_gpu: str | None = None

    @property
    def gpus(self) -> tuple[GpuSample, ...]:
        """The last reading of each GPU."""
        return tuple(self._gpus.copy().values())

    @property
    def servers(self) -> tuple[ServerSample, ...]:
        """The last reading of each server."""
        return tuple(self._servers.copy().values())

    def seen(self, log: Log) -> Log:
        """`log`, whose samples are noted here on their way."""
        return _SeenLog(self, log)

    def note(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        """Remember them."""
        for sample in samples:
            if isinstance(sample, GpuSample):
                self._gpus[sample.uuid] = sample
            else:
                self._servers[sample.endpoint] = sample


class _SeenLog:
    def __init__(self, latest: Latest, log: Log) -> None:
        self._latest, self._log = latest, log
        self.close = log.close

    def append(self, samples: Sequence[GpuSample | ServerSample]) -> None:
        self._latest.note(samples)
        self._log.append(samples)


class Recorder:
    """Samples into logs until it is closed. Use as a context manager.

    on_problem: called with each new problem's words, from the sampling thread.
    """

    def __init__(
        self, parts: Sequence[tuple[Sampler, Log]], on_problem: Callable[[str], None] = lambda _: None
    ) -> None:
        self._parts = list(parts)
        self._on_problem = on_problem
        self._told: set[str] = set()
        self._ended = threading.Event()
        self._locks = [threading.Lock() for _ in self._parts]
        self._threads = [
            threading.Thread(target=self._run, args=(i,), name=f"benchsuite-sampler-{i}", daemon=True)
            for i in range(len(self._parts))
        ]

    def __enter__(self) -> Recorder:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for i, (sampler, log) in enumerate(self._parts):
            with self._locks[i]:
                sampler.close()
                log.close()

    def mark(self) -> None:
        """Sample everything now, at the edge of a window, so that counters can be told apart exactly there."""
        for i in range(len(self._parts)):
            self._sample(i)

    def _run(self, i: int) -> None:
        period_s = self._parts[i][0].period_s
        due_s = time.monotonic()
        while not self._ended.is_set():
            self._sample(i)
            # on a fixed grid; beats that a slow reading missed are left out, not caught up
            due_s = max(due_s + period_s, time.monotonic())
            self._ended.wait(max(0.0, due_s - time.monotonic()))

    def _sample(self, i: int) -> None:
        sampler, log = self._parts[i]
        try:
            with self._locks[i]:
                if not self._ended.is_set():
                    log.append(sampler.sample())
        except BenchsuiteError as error:  # a full disk; the requests' own journal will say so too
            self._tell(str(error))
        for problem in sampler.problems():
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._on_problem(problem)


_IDLE_S, _LONG_IDLE_S, _LONG_SET = 10.0, 60.0, 1000


class Beside:
    """The samplers of one sweep and what they say. Use as a context manager: inside it they sample.

    profile: which server it is. endpoints: base URLs of the servers. server_pids: processes of a server that we
    started ourselves.
    """

    def __init__(
        self,
        spec: SweepSpec,
        profile: Server,
        endpoints: Sequence[str],
        api_key: str | None,
        folder: RunFolder,
        origin_ns: int,
        server_pids: Sequence[int],
        on_problem: Callable[[str], None],
    ) -> None:
        self._spec, self._on_problem = spec, on_problem
        self._problems: list[str] = []
        self._gpu = open_gpu(spec.telemetry, endpoints, origin_ns, server_pids, self._tell)
        self._servers = _with_page(spec, profile, open_servers(spec, profile, endpoints, api_key, origin_ns))
        self.idle: dict[str, float] | None = None
        self.latest = Latest()
        if self._gpu is None:
            self.latest.no_gpu = self._problems[0] if self._problems else "no GPU telemetry: --gpu off"
        parts: list[tuple[Sampler, Log]] = []
        if self._gpu is not None:
            parts.append((self._gpu, self.latest.seen(folder.sample_log(GPU))))
        if self._servers:
            shared = self.latest.seen(_SharedLog(folder.sample_log(SERVER), len(self._servers)))
            parts += [(sampler, shared) for sampler in self._servers]
        self._recorder = Recorder(parts, self._tell)

    def __enter__(self) -> Beside:
        self._recorder.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._recorder.__exit__(*error)

    @property
    def has_gpu(self) -> bool:
        """True if a GPU is being sampled."""
        return self._gpu is not None

    def mark(self) -> None:
        """Sample everything now: the edge of a point."""
        self._recorder.mark()

    def idle_s(self, n_requests: int) -> float:
        """How long the idle power is to be measured: as asked; else 60 s for long sets and 10 s for short ones."""
        if not self.has_gpu:
            return 0.0
        asked = self._spec.telemetry.idle_power_s
        return asked if asked is not None else _LONG_IDLE_S if n_requests >= _LONG_SET else _IDLE_S

    def facts(self) -> dict[str, Any]:
        """For the manifest; null where nothing was sampled."""
        return {
            "gpu": self._gpu.facts() if self._gpu is not None else None,
            "server": [sampler.facts() for sampler in self._servers] or None,
            "idle": self.idle,
            "problems": list(self._problems),
        }

    def _tell(self, problem: str) -> None:
        self._problems.append(problem)
        self._on_problem(problem)


def open_gpu(
    asked: TelemetrySpec, endpoints: Sequence[str], origin_ns: int, pids: Sequence[int], tell: Callable[[str], None]
) -> Sampler | None:
    """What samples the GPUs, as asked for; None where nothing can or shall, of which `tell` gets a word if it matters.

    endpoints: base URLs of the servers. pids: processes of a server that we started.
    """
    if asked.gpu == "off":
        return None
    if asked.gpu == "dcgm" or (asked.gpu == "auto" and asked.dcgm_url is not None):
        if asked.dcgm_url is None:
            tell("no GPU telemetry: --gpu dcgm needs --dcgm-url, such as http://HOST:9400/metrics")
            return None
        return DcgmSampler(asked.dcgm_url, origin_ns, asked.dcgm_interval_s, asked.gpu_ids, asked.gpu_sample_hz)
    if asked.gpu == "auto" and not pids and not all(is_this_machine(url) for url in endpoints):
        tell("no GPU telemetry: the server is on another machine; --dcgm-url reads its exporter")
        return None
    from benchsuite.telemetry.nvml import open_nvml  # its binding takes 0.1 s to import

    try:
        return open_nvml(
            origin_ns, asked.gpu_sample_hz, asked.gpu_ids, pids, () if pids else listeners(_own_ports(endpoints))
        )
    except TelemetryError as error:
        given = f" ({error.given})" if error.given else ""
        tell(f"no GPU telemetry: {error.what}{given}" + (f"; {error.hint}" if error.hint else ""))
        return None


def open_servers(
    spec: SweepSpec, profile: Server, endpoints: Sequence[str], api_key: str | None, origin_ns: int
) -> list[ServerSampler]:
    """What samples the servers' own metrics: one a server, or one for the page that the spec names."""
    asked = spec.telemetry
    if not asked.server_metrics:
        return []
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    path = profile.metrics_path or "/metrics"
    # a page that the user names may be anywhere: the server's key is not for it
    urls = (
        [(metrics_url(endpoints[0], asked.metrics_url, path), endpoints[0], {})]
        if asked.metrics_url
        else [(metrics_url(endpoint, None, path), endpoint, headers) for endpoint in endpoints]
    )
    verify = not spec.server.insecure
    return [
        ServerSampler(url, endpoint, origin_ns, asked.server_sample_hz, headers=sent, verify=verify)
        for url, endpoint, sent in urls
    ]


def _with_page(spec: SweepSpec, profile: Server, samplers: list[ServerSampler]) -> list[ServerSampler]:
    """The samplers, unless the server has no page: one that is known to have none is not asked, an unknown one once."""
    if profile.metrics_path is not None or spec.telemetry.metrics_url is not None:
        return samplers
    if profile.recognise is None and any(sampler.has_page() for sampler in samplers):
        return samplers
    for sampler in samplers:
        sampler.close()
    return []


class _SharedLog:
    """One log for several samplers; the last that closes it closes it."""

    def __init__(self, log: Log, owners: int) -> None:
        self._log, self._owners = log, owners
        self.append = log.append

    def close(self) -> None:
        self._owners -= 1
        if self._owners == 0:
            self._log.close()


def is_this_machine(url: str) -> bool:
    """True if the URL's host is this machine: then its GPUs are those that the driver here sees."""
    host = urlsplit(url).hostname or ""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(ipaddress.ip_address(str(a).partition("%")[0]).is_loopback or _is_own(str(a)) for a in addresses)


def _own_ports(urls: Sequence[str]) -> list[int]:
    """The ports of those that are on this machine."""
    parts = [urlsplit(url) for url in urls if is_this_machine(url)]
    return [part.port or (443 if part.scheme == "https" else 80) for part in parts]


def _is_own(address: str) -> bool:
    """True if a socket here can be bound to the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
