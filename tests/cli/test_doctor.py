"""`benchsuite doctor`: what it finds of machines, GPUs and servers, with which verdict, remedy and exit code."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from command_line import CommandLine

from benchsuite.clock import realtime_offset_ns, stamp_lags_ns
from benchsuite.limits import TABLE
from benchsuite.load import doctor as machine
from benchsuite.load.doctor import Diagnostic, check_latency, check_port
from benchsuite.records import GpuSample
from benchsuite.simulator.config import ResponseShape, SimulatorConfig
from benchsuite.simulator.server import simulator
from benchsuite.spec import LoadSpec
from tests.security.hostile_servers import serving, whole

sys.path.append(str(Path(__file__).parents[1] / "telemetry"))
from fake_nvml import FakeNvml, compiler

THROTTLES = {"sw_power_cap": 4, "hw_thermal": 64}


def doctor(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the findings of `benchsuite doctor --json ARGUMENTS`, by area and name."""
    done = CommandLine()("doctor --json", arguments)
    told = done.data
    counts = {
        verdict: sum(one["status"] == verdict for one in told["diagnostics"]) for verdict in ("ok", "warn", "fail")
    }
    assert {verdict: told[verdict] for verdict in counts} == counts
    return done.code, {f"{one['area']} {one['name']}": one for one in told["diagnostics"]}


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return int(closed.getsockname()[1])


def test_a_good_server(simulated, tmp_path: Path):
    """The simulator passes on every point, and the doctor leaves nothing behind."""
    code, found = doctor("--base-url", simulated.base_url, "--output", str(tmp_path / "new"), "--gpu", "off")
    assert code == 0
    told = {name.removeprefix("server "): one["detail"] for name, one in found.items() if one["area"] == "server"}
    timed = {name: told.pop(name) for name in ("reachable", "round trip", "metrics")}
    assert told == {
        "kind": "vllm",
        "model": "simulator, of 1 listed",
        "stream": "streams tokens",
        "usage": "reports token counts",
        "length": "8 tokens requested, 8 received (length)",
        "keep-alive": "kept",
        "timestamps": "by the kernel",
        "prefix cache": "kept out by the field cache_salt; POST /reset_prefix_cache before each point",
        "capacity": "131072 tokens of context",
    }
    assert {found[f"server {name}"]["status"] for name in ("usage", "length", "metrics")} == {"ok"}
    assert timed["metrics"].startswith(f"{simulated.base_url}/metrics: 20 figures by vllm's names")
    assert found["gpu telemetry"]["detail"] == "none: --gpu off"
    assert list(tmp_path.iterdir()) == []


def test_a_server_with_bad_habits():
    """No usage, fields that are refused, a length that is not kept: each with its word."""
    config = SimulatorConfig(
        response=ResponseShape(usage="none"), reject_fields=("ignore_eos", "min_tokens"), natural_output_tokens=3
    )
    with simulator(config) as server:
        code, found = doctor("--base-url", server.base_url, "--gpu", "off", "--concurrency", "4")
    assert code == 0
    verdicts = {name: one["status"] for name, one in found.items() if one["area"] == "server"}
    warned = {name for name, verdict in verdicts.items() if verdict == "warn"}
    assert warned - {"server timestamps"} == {"server usage", "server length"}  # a busy machine stamps late
    assert found["server length"]["detail"] == "8 tokens requested, 3 received (stop)"
    assert found["server fields"]["detail"] == "left out because the server refuses them: min_tokens, ignore_eos"


@pytest.mark.parametrize(
    ("header", "seen", "verdict"), [("", False, "ok"), ("close", False, "warn"), ("", True, "warn")]
)
def test_keep_alive(header: str, seen: bool, verdict: str):
    """A server that says that it closes, and one that was seen to, make a connection for each request."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}, headers={"connection": header}))
    with httpx.Client(base_url="http://h", transport=transport) as client:
        kept, round_trip = check_latency(client, "http://h/v1/models", seen)
    assert (kept.name, kept.status) == ("keep-alive", verdict)
    assert round_trip.detail.endswith(" ms for GET /v1/models (median of 5)")


def test_nothing_answers():
    """A port where nobody listens is the only finding on the server, and exit code 1."""
    url = f"http://127.0.0.1:{closed_port()}"
    code, found = doctor("--base-url", url, "--gpu", "off")
    assert code == 1
    assert [name for name, one in found.items() if one["area"] == "server"] == ["server reachable"]
    reachable = found["server reachable"]
    assert reachable["status"] == "fail"
    assert reachable["detail"].startswith(f"{url}: ")
    assert "--base-url" in reachable["remedy"]


@pytest.mark.parametrize(
    ("silent", "flags", "detail"),
    [
        ("POST", (), " for 1 s"),
        ("POST", ("--first-token-timeout-s", "0.5"), " for 0.5 s"),
        ("POST a byte", (), " for 1 s"),
        ("GET", (), "the server cannot be reached: ReadTimeout"),
    ],
)
def test_a_server_that_is_silent(monkeypatch, tmp_path: Path, silent: str, flags: tuple[str, ...], detail: str):
    """It takes the request and never answers, or no more than headers: a failure that says how long was waited."""
    monkeypatch.setitem(TABLE, "doctor_s", TABLE["doctor_s"]._replace(most=1))
    over = threading.Event()

    def handle(sock: socket.socket, request: bytes) -> None:
        if not request.startswith(silent[:4].encode()):
            sock.sendall(whole({"data": [{"id": "m"}]}))
        else:
            if silent == "POST a byte":
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:")
            over.wait()

    with serving(handle) as url:
        (tmp_path / "sweep.toml").write_text(f'[server]\nbase_url = "{url}"\n[timeouts]\nconnect_s = 0.5\n')
        code, found = doctor(str(tmp_path / "sweep.toml"), "--profile", "openai", "--gpu", "off", *flags)
        over.set()
    assert code == 1
    assert detail in found["server requests"]["detail"]
    assert ("--first-token-timeout-s" in found["server requests"]["remedy"]) == silent.startswith("POST")


def test_a_model_that_is_not_there(simulated):
    """What stops the preflight of a sweep is a failure here, with those that would do."""
    flags = ("--base-url", simulated.base_url, "--model", "gpt", "--profile", "vllm", "--gpu", "off")
    code, found = doctor(*flags)
    assert code == 1
    assert found["server requests"]["detail"] == "the server does not have the model: gpt"
    assert found["server requests"]["remedy"] == "one of simulator"


def test_text_for_people(cli):
    """One line a finding under its area, remedies behind an arrow, the count at the end; bad input is exit code 2."""
    ended = cli("doctor --gpu off --concurrency 2", COLUMNS="80")
    lines = ended.out.splitlines()
    assert (ended.code, lines[0]) == (0, "machine")
    assert any(line.startswith("  ok    ports:         ") for line in lines)
    assert "gpu" in lines
    assert lines[-1].endswith(" 0 failed")
    assert cli("doctor --base-url ftp://x").code == 2


def test_the_spec_of_a_sweep(simulated, tmp_path: Path):
    """A sweep's own file is checked as it would run, flags on top."""
    spec, server = tmp_path / "sweep.toml", f'[server]\nbase_url = "{simulated.base_url}"\n'
    spec.write_text(f'{server}[load]\nconcurrency = [2]\n[telemetry]\ngpu = "off"\n')
    code, found = doctor(str(spec), "--concurrency", "3")
    assert code == 0
    assert "needed for 3 users" in found["machine open files"]["detail"]
    assert found["server kind"]["detail"] == "vllm"


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
def test_gpus(tmp_path: Path):
    """Through NVML's binding: driver, cards, MIG, throttling, processes; not what is not reported."""
    fake = FakeNvml(tmp_path, gpus=2, watts=300, util=85, throttle0=4, mig1=2, pids0="1,2")
    run = [sys.executable, "-m", "benchsuite", "doctor", "--json"]
    done = subprocess.run(run, env=fake.environment(), capture_output=True, text=True, timeout=60, check=False)
    told = [one for one in json.loads(done.stdout)["diagnostics"] if one["area"] == "gpu"]
    assert done.returncode == 0
    assert [(one["name"], one["status"]) for one in told] == [
        ("driver", "ok"), ("GPU 0", "ok"), ("GPU 1", "warn"), ("GPU 0 now", "warn"), ("GPU 0 use", "warn"),
        ("GPU 1 now", "ok"), ("GPU 1 use", "ok"), ("note", "ok"), ("not reported", "ok"),
    ]  # fmt: skip
    assert told[1]["detail"] == "Fake H100, 86 GB, limit 700 W; sampled (all)"
    assert told[3]["detail"].endswith("throttled: sw_power_cap")
    assert told[4]["detail"] == "2 compute processes on it"


def test_no_gpus_where_they_are_wanted():
    """--gpu nvml without a GPU fails; auto only warns, since a sweep goes on without."""
    if "gpu driver" in doctor()[1]:
        pytest.skip("there is a GPU here")
    code, found = doctor("--gpu", "nvml")
    assert (code, found["gpu telemetry"]["status"]) == (1, "fail")
    assert found["gpu telemetry"]["remedy"]
    assert doctor()[1]["gpu telemetry"]["status"] == "warn"


class Exporter:
    """A DCGM sampler with one card."""

    period_s = 1.0

    def __init__(self, error: str | None, every_s: float) -> None:
        self._error, self._every_s = error, every_s

    def sample(self) -> list[GpuSample]:
        return [GpuSample(0, 0, "dcgm", "" if self._error else "GPU-1", power_w=70.0, error=self._error)]

    def facts(self) -> dict[str, Any]:
        cards = [] if self._error else [{"uuid": "GPU-1", "index": 3}]
        facts = {"source": "dcgm", "url": "http://h/metrics", "devices": cards, "used": ["GPU-1"] if cards else []}
        return facts | {"interval_s": self._every_s, "interval_source": "measured"}

    def problems(self) -> list[str]:
        return [f"DCGM exporter: {self._error}"] if self._error else []

    def close(self) -> None: ...


def test_dcgm_exporters():
    """A page that cannot be had fails and is told once; one that is 30 s old warns."""
    from benchsuite.load.doctor import check_gpus

    (gone,) = check_gpus(Exporter("connection refused", 30.0), THROTTLES, serving=True)
    assert (gone.status, gone.detail) == ("fail", "connection refused")
    old, now = check_gpus(Exporter(None, 30.0), THROTTLES, serving=True)
    assert (old.status, old.detail) == ("warn", "http://h/metrics: 1 GPU, collected every 30 s (measured)")
    assert now == Diagnostic("gpu", "GPU 3 now", "ok", "70 W")
    assert [one.status for one in check_gpus(Exporter(None, 1.0), THROTTLES, serving=True)] == ["ok", "ok"]


@pytest.fixture
def checked(tmp_path: Path, monkeypatch):
    """What is found of a machine whose /proc and /sys lie in tmp_path, by name; slow checks are left out."""
    for name in ("check_wall_time", "check_kernel_timestamps", "check_disk", "check_proxy"):
        monkeypatch.setattr(machine, name, lambda *_: ())
    monkeypatch.setattr(machine.time, "sleep", lambda _: None)

    def check(*levels: int, workers: int = 1) -> dict[str, Diagnostic]:
        spec = LoadSpec(concurrency=levels, workers=workers)
        found = machine.check_machine(spec, tmp_path / "results", [], tmp_path)
        return {one.name: one for one in found if isinstance(one, Diagnostic)}

    return check


@pytest.mark.parametrize(
    ("hard", "verdict", "remedy"),
    [(768, "ok", None), (767, "fail", "raise the hard limit to 768, or --workers"), (-1, "ok", None)],
)
def test_open_files(checked, monkeypatch, hard: int, verdict: str, remedy: str | None):
    """1,024 users in 2 processes need 512 files each, and 256 for the rest; a sweep raises its own limit as far."""
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (hard, hard))
    result = checked(8, 1024, workers=2)["open files"]
    assert (result.status, result.remedy) == (verdict, remedy)
    assert "768 needed for 1024 users in 2 processes" in result.detail


def test_what_proc_and_sys_say(tmp_path: Path, checked, monkeypatch):
    """Governors, quotas of both cgroup versions, clock sources and port ranges, read from files with known words."""

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def costs(reading_ns: float) -> None:
        monkeypatch.setattr(machine.timeit, "repeat", lambda *_, **__: [reading_ns * 2e-6])

    costs(40.0)
    assert not {"CPU governor", "CPU quota"} & set(checked(1))
    for core, name in enumerate(("performance", "powersave", "powersave")):
        write(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", f"{name}\n")
    governor = checked(1)["CPU governor"]
    assert governor.detail == "performance on 1 of 3 cores, powersave on 2 of 3 cores"
    assert governor.status == "warn"
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert "CPU quota" not in checked(1)
    write("sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert checked(1)["CPU quota"] == Diagnostic(
        "machine", "CPU quota", "warn", "1.5 CPUs",
        "the client is paused when its share is used up: start the container without --cpus, or with more",
    )  # fmt: skip
    write("sys/fs/cgroup/cpu.max", "max 100000\n")
    assert "CPU quota" not in checked(1)
    write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
    assert checked(1)["clock source"].status == "warn"
    write("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n")
    assert checked(1)["clock source"].detail == "tsc; a reading takes 40 ns"
    costs(1500.0)
    assert checked(1)["clock source"].status == "warn"
    write("proc/sys/net/ipv4/ip_local_port_range", "40000 40999\n")
    assert checked(100)["ports"].status == "ok"
    assert checked(101)["ports"].detail == "1,000 for connections of 101 users"
    assert checked(101)["ports"].status == "warn"


@pytest.mark.parametrize(
    ("state", "stepped_s", "verdict", "found"),
    [
        (0, 0.0, "ok", "kept by NTP"),
        (5, 0.0, "warn", "not kept by NTP"),
        (None, 0.0, "ok", "unknown"),
        (0, -0.25, "warn", "kept by NTP; stepped by -250.0 ms just now"),
    ],
)
def test_wall_time(state: int | None, stepped_s: float, verdict: str, found: str):
    """NTP's word and a step while it was looked at."""
    told = machine.check_wall_time(state, stepped_s)
    assert (told.status, told.detail) == (verdict, found)


def test_cores_load_memory_packages(checked, monkeypatch):
    """Too few cores, other work, little memory, a missing library; and none of these."""
    host = {"cpu_count": 4, "cpus_allowed": 2, "python": "3.11"}
    fast = {"uvloop": "1", "httptools": "2", "orjson": "3"}

    def status(name: str, *, allowed: int = 3, load: float = 2.0, free_mib: int = 1024, **versions: None) -> str:
        facts = host | {"cpus_allowed": allowed, "versions": fast | versions}
        monkeypatch.setattr(machine, "describe_host", lambda: facts)
        monkeypatch.setattr(machine.os, "getloadavg", lambda: (load, 0.0, 0.0))
        monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=free_mib * 2**20))
        return checked(1, workers=2)[name].status

    assert [status("cores", allowed=n) for n in (2, 3)] == ["warn", "ok"]
    assert [status("load", load=at) for at in (2.0, 2.1)] == ["ok", "warn"]
    assert [status("memory", free_mib=n) for n in (1023, 1024)] == ["warn", "ok"]
    assert status("packages") == "ok"
    assert checked(1)["packages"].detail == "Python 3.11, uvloop 1, httptools 2, orjson 3"
    assert status("packages", uvloop=None) == "warn"
    assert checked(1)["packages"].remedy == "pip install uvloop"


def test_proxies(monkeypatch):
    """A proxy that is not used for the server's host is a warning; one that is kept from it is not."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert machine.check_proxy(["http://gpu1:8000"]).detail == "no proxy variables"
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert machine.check_proxy(["http://gpu1:8000"]).status == "warn"
    assert machine.check_proxy([]).status == "ok"
    monkeypatch.setenv("no_proxy", "gpu1")
    assert machine.check_proxy(["http://gpu1:8000"]) == Diagnostic(
        "machine", "proxy", "ok", "set for http, not used; not meant for gpu1"
    )


def test_disks(tmp_path: Path, monkeypatch):
    """The nearest folder that is there is looked at; too little room fails; a folder that cannot be written fails."""
    room, writing = machine.check_disk(tmp_path / "not" / "there")
    assert room.detail.endswith(f" in {tmp_path}")
    assert writing.detail.startswith("64 KiB are synced in ")
    assert list(tmp_path.iterdir()) == []

    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine, "_write_safely", denied)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**8})())
    room, writing = machine.check_disk(tmp_path)
    assert (room.status, room.detail) == ("fail", f"0.1 GB free in {tmp_path}")
    assert (writing.status, writing.detail) == ("fail", f"{tmp_path}: Permission denied")


@pytest.mark.parametrize(
    ("lags", "status", "part"),
    [
        ([9000] * 20, "ok", "20 of 20 reads on loopback, 9 us"),
        ([9000] * 18, "warn", "18 of 20 reads on loopback, 9 us"),
        ([9000] * 19 + [None], "warn", "1 of 20"),
        ([], "warn", "none"),
    ],
)
def test_kernel_timestamps(monkeypatch, lags: list[int | None], status: str, part: str):
    """All there and possible; some not; none."""
    monkeypatch.setattr(machine, "stamp_lags_ns", lambda *_: lags)
    result = machine.check_kernel_timestamps()
    assert result.status == status
    assert part in result.detail


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")
def test_kernel_timestamps_of_this_machine():
    """Linux stamps what comes over loopback, and no stamp is impossible."""
    lags = stamp_lags_ns(20, realtime_offset_ns(), 1.0)
    assert len(lags) == 20
    assert None not in lags


def test_a_server_without_tls_behind_https():
    """A door that does not speak TLS is a failure, or a warning with --insecure; a plain one has no line of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        plain = list(check_port(f"http://127.0.0.1:{port}", 2.0, insecure=False))
        strict = list(check_port(f"https://127.0.0.1:{port}", 2.0, insecure=False))
        loose = list(check_port(f"https://127.0.0.1:{port}", 2.0, insecure=True))
        listening.shutdown(socket.SHUT_RDWR)
    assert [one.name for one in plain] == ["reachable"]
    assert [(one.name, one.status) for one in strict] == [("reachable", "ok"), ("TLS", "fail")]
    assert [(one.name, one.status) for one in loose] == [("reachable", "ok"), ("TLS", "warn")]
