"""The GPUs of this machine, read through NVML beside the load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pynvml

from benchsuite.errors import TelemetryError
from benchsuite.records import GpuSample
from benchsuite.telemetry.gpu_choice import Choice, Gpu, choose
from benchsuite.telemetry.kin import Kin
from benchsuite.telemetry.nvml_asking import Notes, word_of
from benchsuite.telemetry.nvml_card import Card, running_pids
from benchsuite.telemetry.nvml_found import find_gpus, quietly, start_nvml, stop_nvml, versions

_RETRY_S, _LONGEST_RETRY_S = 10.0, 160.0
_PCIE_EVERY, _PCIE_HIGHEST_HZ = 10, 2.0  # one answer takes 20 ms and more, for each direction


def open_nvml(
    origin_ns: int,
    hz: float,
    gpu_ids: Sequence[str] = (),
    server_pids: Sequence[int] = (),
    listening_pids: Sequence[int] = (),
) -> NvmlSampler:
    """A sampler of the GPUs that the server uses: gpu_ids, else what its processes tell, else all.

    origin_ns: the run's zero on the monotonic clock. gpu_ids: UUIDs of cards or MIG devices, their beginnings, or NVML
    indices. server_pids: processes of the server. listening_pids: those that listen on its port, which may be a proxy's
    or a container's: taken for the server's if they, or what they started, run on a GPU. Raises TelemetryError, with
    the remedy, where nothing can be sampled.
    """
    start_nvml()
    try:
        notes = Notes()
        gpus = find_gpus(notes.tell)
        kin = Kin(server_pids)
        if not server_pids and listening_pids and _busy(gpus, listening := Kin(listening_pids)):
            kin = listening
        choice = choose(gpus, gpu_ids, kin.environments() if not gpu_ids else (), _busy(gpus, kin))
        for doubt in choice.doubts:
            notes.tell(doubt)
        return NvmlSampler(gpus, choice, kin, notes, origin_ns, hz)
    except BaseException:
        stop_nvml()
        raise


def _busy(gpus: Sequence[Gpu], kin: Kin) -> list[str]:
    """UUIDs of the cards, or their MIG devices, on which a process of the server runs."""
    found = []
    for gpu in gpus:
        for uuid in [mig.uuid for mig in gpu.mig_devices] or [gpu.uuid]:
            handle = quietly(pynvml.nvmlDeviceGetHandleByUUID, uuid)
            ways = () if handle is None else running_pids(handle)
            pids = next((pids for way in ways if (pids := quietly(way)) is not None), [])
            if any(kin.has(pid) for pid in pids):
                found.append(uuid)
    return found


class NvmlSampler:
    """Reads GPUs through NVML; a Sampler. Made by `open_nvml`, which has initialised NVML.

    clock_s: for the pauses between attempts to initialise NVML again after a GPU or the driver was lost.
    """

    def __init__(
        self,
        gpus: Sequence[Gpu],
        choice: Choice,
        kin: Kin,
        notes: Notes,
        origin_ns: int,
        hz: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period_s = 1.0 / hz
        self.clock_s = clock_s
        self._gpus, self._choice, self._kin, self._notes = gpus, choice, kin, notes
        self._origin_ns, self._hz = origin_ns, hz
        self._versions = versions()
        self._cards = _cards(gpus, choice.uuids, notes)
        self._beat = 0
        self._open = True
        self._pause_s, self._next_pause_s, self._tried_s = _RETRY_S, _RETRY_S, -_RETRY_S
        for card in self._cards:
            card.bind()
        notes.flush()

    def sample(self) -> Sequence[GpuSample]:
        """A row for each GPU; one that is lost has only its error. Never raises."""
        if any(card.lost is not None for card in self._cards):
            self._try_again()
        beat, self._beat = self._beat, self._beat + 1
        processes = beat % max(1, round(self._hz)) == 0
        rows = []
        for i, card in enumerate(self._cards):
            pcie = self._hz <= _PCIE_HIGHEST_HZ and (beat + i) % _PCIE_EVERY == 0
            rows.append(card.read(self._origin_ns, self._kin, processes=processes, pcie=pcie))
        if all(card.lost is None for card in self._cards):
            self._pause_s = self._next_pause_s = _RETRY_S
        self._notes.flush()
        return rows

    def _try_again(self) -> None:
        """Initialise NVML anew, which a reset GPU or a reloaded driver needs; every 10 s at first, then seldomer."""
        now_s = self.clock_s()
        if now_s - self._tried_s < self._pause_s:
            return
        self._tried_s, self._pause_s = now_s, self._next_pause_s
        self._next_pause_s = min(2 * self._pause_s, _LONGEST_RETRY_S)
        for card in self._cards:
            card.release()
        stop_nvml()
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._notes.tell(f"NVML does not start again: {word_of(error)}")
        for card in self._cards:
            card.bind()

    def facts(self) -> dict[str, Any]:
        """Versions, all cards found, which are sampled and how that was found, for the manifest."""
        active = {card.uuid for card in self._cards if card.has_activity}
        return {
            "source": "nvml",
            **self._versions,
            "devices": [
                asdict(gpu) | {"power_window_s": gpu.power_window_s, "gpm": gpu.uuid in active} for gpu in self._gpus
            ],
            "used": list(self._choice.uuids),
            "used_how": self._choice.how,
            "period_s": self.period_s,
        }

    def problems(self) -> Sequence[str]:
        """What went wrong, is missing or doubtful so far, each once."""
        return self._notes.all()

    def close(self) -> None:
        """Give everything back and shut NVML down. May be called again."""
        if self._open:
            self._open = False
            for card in self._cards:
                card.release()
            stop_nvml()


def _cards(gpus: Sequence[Gpu], uuids: Sequence[str], notes: Notes) -> list[Card]:
    """What is to be sampled under each UUID. Of one card only the first row has its power and energy."""
    by_uuid = {gpu.uuid: gpu for gpu in gpus} | {mig.uuid: gpu for gpu in gpus for mig in gpu.mig_devices}
    cards: list[Card] = []
    powered: set[str] = set()
    for uuid in uuids:
        gpu = by_uuid.get(uuid)
        if gpu is None:
            raise TelemetryError("there is no such GPU", given=uuid)
        slice_of = gpu.uuid if uuid != gpu.uuid else None
        if slice_of is not None:
            notes.tell(f"{uuid}: MIG tells no utilisation, and power and energy only of the whole card, {gpu.uuid}")
        elif gpu.mig:
            notes.tell(f"{uuid}: MIG is on, so its utilisation is not told")
        first = gpu.uuid not in powered
        powered.add(gpu.uuid)
        cards.append(Card(uuid, gpu.name, notes, slice_of=slice_of, mig=gpu.mig, counts_power=first))
    return cards
