"""The check-up before a sweep: the machine, its GPUs, the server, each with the code that a sweep uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchsuite.clock import now_ns
from benchsuite.load.beside import open_gpu
from benchsuite.load.doctor_server import server_findings
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.findings import Finding, Verdict
from benchsuite.telemetry.gpu_checkup import gpu_findings
from benchsuite.telemetry.machine import machine_findings

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
