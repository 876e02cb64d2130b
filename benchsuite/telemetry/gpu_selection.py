"""Which GPUs a server uses: what its user says, its CUDA_VISIBLE_DEVICES, its processes, else all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

from benchsuite.errors import TelemetryError


def listeners(ports: Iterable[int]) -> tuple[int, ...]:
    """The processes that listen on TCP ports of this machine, as far as this user may know. Raises nothing."""
    wanted, pids = set(ports), dict[int, None]()
    with suppress(psutil.Error, OSError):
        for tcp in psutil.net_connections("tcp"):
            if tcp.status == psutil.CONN_LISTEN and tcp.laddr.port in wanted and tcp.pid:
                pids[tcp.pid] = None
    return tuple(pids)


class ProcessTree:
    """A server's processes. pids: those known to be its; none: then of no process it is known whose it is."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self._known: dict[int, bool | None] = {}

    def foreign(self, pids: Iterable[int]) -> int | None:
        """How many of the processes are not the server's; None if that cannot be known of all."""
        here = set(pids)
        self._known = {pid: known for pid, known in self._known.items() if pid in here}  # pids are used again
        verdicts = [self.has(pid) for pid in here]
        return None if None in verdicts else verdicts.count(False)

    def has(self, pid: int) -> bool | None:
        """True if the process is the server's; None if there is no such process here (another PID namespace)."""
        if not self._pids:
            return None
        if pid not in self._known:
            relatives = {pid}
            with suppress(psutil.AccessDenied, psutil.NoSuchProcess):
                relatives |= {parent.pid for parent in psutil.Process(pid).parents()}
            with suppress(OSError):  # the leader of its group, which may have outlived what is between
                relatives.add(os.getpgid(pid))
            related = not relatives.isdisjoint(self._pids)
            self._known[pid] = True if related else False if psutil.pid_exists(pid) else None
        return self._known[pid]

    def environments(self) -> list[dict[str, str]]:
        """The environments with which the server's processes and their descendants were started, where readable."""
        environments = []
        for pid in self._pids:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                for member in [process, *process.children(recursive=True)]:
                    with suppress(psutil.Error, OSError):
                        environments.append(member.environ())
        return environments


@dataclass(frozen=True, slots=True)
class Mig:
    """A MIG device: a slice of a card."""

    uuid: str
    memory_total_bytes: int | None
    instance_id: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A card as it was found. index is NVML's, which is not CUDA's. architecture None: unknown."""

    index: int
    uuid: str
    name: str
    pci_bus_id: str | None
    memory_total_bytes: int | None
    power_limit_w: float | None
    architecture: str | None
    compute_capability: str | None
    mig: bool
    mig_devices: tuple[Mig, ...] = ()

    @property
    def power_window_s(self) -> float | None:
        """Over which time the power draw is a mean: 1 s on Ampere and later but GA100, else 0; None if unknown."""
        if self.architecture is None or self.compute_capability is None:
            return None
        older = self.architecture in ("kepler", "maxwell", "pascal", "volta", "turing")
        return 0.0 if older or self.compute_capability == "8.0" else 1.0


class Selection(NamedTuple):
    """UUIDs of the cards and MIG devices to sample, how they were found, and what is doubtful in that."""

    uuids: tuple[str, ...]
    how: str
    warnings: tuple[str, ...] = ()


def select_gpus(
    gpus: Sequence[Gpu],
    asked: Sequence[str],
    environments: Sequence[Mapping[str, str]],
    busy: Sequence[str],
) -> Selection:
    """asked: UUIDs, beginnings of UUIDs or NVML indices. environments: of the server's processes.

    busy: UUIDs of the cards on which the server's processes run. Raises TelemetryError for one that does not exist, and
    for a server that is told to use none.
    """
    listed = "one of " + ", ".join(
        [f"{gpu.index} = {gpu.uuid} ({gpu.name})" for gpu in gpus]
        + [mig.uuid for gpu in gpus for mig in gpu.mig_devices]
    )
    if asked:
        by_index = {str(gpu.index): [gpu.uuid] for gpu in gpus}
        uuids: dict[str, None] = {}
        for gpu_id in asked:
            matches = by_index.get(gpu_id) or _matches(gpus, gpu_id)
            if len(matches) != 1:
                raise TelemetryError(
                    "several GPUs have such a UUID" if matches else "there is no such GPU",
                    where="--gpu-ids",
                    given=gpu_id,
                    expected=listed,
                    hint="give more of the UUID, or the NVML index that `nvidia-smi -L` shows",
                )
            uuids[matches[0]] = None
        return Selection(tuple(uuids), "asked")
    values = dict.fromkeys(
        (environment["CUDA_VISIBLE_DEVICES"], environment.get("CUDA_DEVICE_ORDER"))
        for environment in environments
        if "CUDA_VISIBLE_DEVICES" in environment
    )
    if values:
        warnings: dict[str, None] = {}
        uuids = {uuid: None for value, order in values for uuid in _visible(gpus, value, order, warnings)}
        if not uuids:
            raise TelemetryError(
                "the server's CUDA_VISIBLE_DEVICES names no GPU of this machine",
                given=" | ".join(sorted({repr(value) for value, _ in values})),
                expected=listed,
                hint="name the server's GPUs with --gpu-ids, or start the server with GPUs",
            )
        return Selection(tuple(uuids), "the server's CUDA_VISIBLE_DEVICES", tuple(warnings))
    if busy:
        return Selection(tuple(busy), "the server's processes")
    return Selection(tuple(gpu.uuid for gpu in gpus), "all")


def _visible(gpus: Sequence[Gpu], value: str, order: str | None, warnings: dict[str, None]) -> Iterator[str]:
    """UUIDs that a value of CUDA_VISIBLE_DEVICES shows. As CUDA does, it ends at the first that is none.

    Indices count along the PCI bus if `order` is PCI_BUS_ID or all cards are of one model; CUDA's default puts the
    fastest first, which cannot be told from here.
    """
    by_bus = sorted(gpus, key=lambda gpu: (gpu.pci_bus_id or "~", gpu.index))
    for part in (part.strip() for part in value.split(",")):
        matches = [] if part.isdecimal() else _matches(gpus, part)
        if part.isdecimal() and int(part) < len(by_bus):
            gpu = by_bus[int(part)]
            matches = [gpu.uuid]
            if order != "PCI_BUS_ID" and len({gpu.name for gpu in gpus}) > 1:
                warnings[
                    f"CUDA_VISIBLE_DEVICES={value} was read in the order of the PCI bus, but the GPUs here differ, and "
                    "CUDA puts the fastest first: set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name them by UUID or --gpu-ids"
                ] = None
            if gpu.mig:
                warnings[f"CUDA_VISIBLE_DEVICES={value} is a MIG device of {gpu.uuid}: the whole card is sampled"] = (
                    None
                )
        if len(matches) != 1:
            return
        yield matches[0]


def _matches(gpus: Sequence[Gpu], start: str) -> list[str]:
    """UUIDs of cards and MIG devices that begin so, with or without their GPU- or MIG-."""
    uuids = [uuid for gpu in gpus for uuid in (gpu.uuid, *(mig.uuid for mig in gpu.mig_devices))]
    if not start or start in uuids:
        return [start] if start else []
    return [uuid for uuid in uuids if uuid.startswith(start) or uuid.partition("-")[2].startswith(start)]
