"""The GPUs of this machine, read through NVML beside the load."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import pynvml

from benchsuite.errors import TelemetryError
from benchsuite.records import GpuSample
from benchsuite.telemetry.gpu_selection import Choice, Gpu, Kin, Mig, choose

T = TypeVar("T")

# after these nothing more can be had of the device, or of the library
_GONE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    }
)


class Gone(Exception):
    """The device cannot be read at all; the message is NVML's word."""


class Notes:
    """Words for a person, each once and in order; `empty` gathers the fields that have one reason into one line."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}
        self._empty: dict[tuple[str, str], list[str]] = {}
        self._seen: set[tuple[str, str, str]] = set()

    def tell(self, words: str) -> None:
        """Say it, unless it was said."""
        self._told.setdefault(words)

    def empty(self, whose: str, why: str, field: str) -> None:
        """The field is empty, for all cards of a model or for one card; said by the next `flush`, once."""
        if (whose, why, field) not in self._seen:
            self._seen.add((whose, why, field))
            self._empty.setdefault((whose, why), []).append(field)

    def flush(self) -> None:
        """Turn what was found empty since the last flush into a line for each reason."""
        for (whose, why), fields in self._empty.items():
            self.tell(f"{whose}: {why}: {', '.join(fields)}")
        self._empty.clear()

    def all(self) -> tuple[str, ...]:
        """What was said so far."""
        return tuple(self._told)


class Asker:
    """Asks one device, and remembers which functions its library does not have."""

    def __init__(self, model: str, notes: Notes) -> None:
        self._model, self._notes = model, notes
        self._missing: set[tuple[str, int]] = set()
        self.trouble: dict[str, str] = {}

    def ask(self, field: str, *ways: Callable[[], T]) -> T | None:
        """The first way's answer that the library knows; None where it does not, or the part does not have it.

        Any other error is None too, and goes to `trouble` (field to NVML's word). Raises Gone.
        """
        for i, way in enumerate(ways):
            if (field, i) in self._missing:
                continue
            try:
                return way()
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                    self._missing.add((field, i))
                    if i + 1 == len(ways):
                        self._notes.empty(self._model, "empty, the driver's library is too old", field)
                elif error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
                    self._notes.empty(self._model, "empty, not supported", field)
                    return None
                elif error.value in _GONE:
                    raise Gone(word_of(error)) from None
                else:
                    self.trouble[field] = word_of(error)
                    return None
        return None


def word_of(error: Exception) -> str:
    """NVML's word for the error, never empty."""
    return str(error) or type(error).__name__


_METRICS = (
    pynvml.NVML_GPM_METRIC_SM_UTIL,
    pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
)
# the counters behind need about 100 ms to move; a sampler at 10 Hz is a little early at times
_LEAST_S = 0.05

Ratios = tuple[float | None, float | None, float | None]
UNKNOWN: Ratios = (None, None, None)


class Activity:
    """Two GPM samples of one device, that change places. slice_id: of a MIG device, its GPU instance."""

    def __init__(self, handle: Any, slice_id: int | None = None) -> None:
        self._handle, self._slice_id = handle, slice_id
        self._older = pynvml.nvmlGpmSampleAlloc()
        try:
            self._newer = pynvml.nvmlGpmSampleAlloc()
        except pynvml.NVMLError:
            pynvml.nvmlGpmSampleFree(self._older)
            raise
        self._taken_s: float | None = None
        self._question = pynvml.c_nvmlGpmMetricsGet_t()

    def read(self) -> Ratios:
        """Ratios of SM, tensor and DRAM activity since the last read; UNKNOWN at first and right after another.

        Raises pynvml.NVMLError.
        """
        now_s = time.monotonic()
        if self._taken_s is not None and now_s - self._taken_s < _LEAST_S:
            return UNKNOWN
        if self._slice_id is None:
            pynvml.nvmlGpmSampleGet(self._handle, self._newer)
        else:
            pynvml.nvmlGpmMigSampleGet(self._handle, self._slice_id, self._newer)
        first, self._taken_s = self._taken_s is None, now_s
        self._older, self._newer = self._newer, self._older
        return UNKNOWN if first else self._ratios(self._newer, self._older)

    def _ratios(self, older: Any, newer: Any) -> Ratios:
        question = self._question
        question.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        question.numMetrics = len(_METRICS)
        question.sample1, question.sample2 = older, newer
        for i, metric in enumerate(_METRICS):
            question.metrics[i].metricId = metric
        pynvml.nvmlGpmMetricsGet(question)
        sm, tensor, dram = (_ratio(question.metrics[i]) for i in range(len(_METRICS)))
        return sm, tensor, dram

    def close(self) -> None:
        """Give both samples back."""
        for sample in (self._older, self._newer):
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlGpmSampleFree(sample)


def _ratio(metric: Any) -> float | None:
    if metric.nvmlReturn != pynvml.NVML_SUCCESS or not 0.0 <= metric.value <= 100.5:  # also not NaN
        return None
    return min(1.0, float(metric.value) / 100.0)


_NOT_TOLD = (2**32 - 1, 2**64 - 1)  # NVML_VALUE_NOT_AVAILABLE


class Card:
    """What is sampled under one UUID. slice_of: the card's UUID if this is a MIG device; it has the card's power.

    counts_power: False for a second slice of one card, whose power would be counted twice. mig: MIG is on.
    """

    def __init__(
        self, uuid: str, model: str, notes: Notes, *, slice_of: str | None, mig: bool, counts_power: bool
    ) -> None:
        self.uuid, self.slice_of = uuid, slice_of
        self.lost: str | None = None
        self._was_lost = False
        self._model, self._notes, self._mig, self._counts_power = model, notes, mig, counts_power
        self._asker = Asker(model, notes)
        self._handle: Any = None
        self._card: Any = None
        self._activity: Activity | None = None

    def bind(self) -> None:
        """Find the handle, also after NVML was initialised anew. Never raises: `lost` says why it cannot be read."""
        self.lost, self._handle = None, None
        self._asker = Asker(self._model, self._notes)
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
            card = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle) if self.slice_of else handle
            self._handle, self._card = handle, card
            self._activity = self._open_activity()
        except (pynvml.NVMLError, Gone) as error:
            self.lost = word_of(error)

    def _open_activity(self) -> Activity | None:
        ask = self._asker.ask
        support = ask("GPM activity", lambda: pynvml.nvmlGpmQueryDeviceSupport(self._card))
        if support is None:
            return None
        if not support.isSupportedDevice:
            self._notes.empty(self._model, "empty, not supported", "GPM activity (Hopper and later)")
            return None
        part = ask("MIG instance", lambda: pynvml.nvmlDeviceGetGpuInstanceId(self._handle)) if self.slice_of else None
        return ask("GPM activity", lambda: Activity(self._card, part))

    def release(self) -> None:
        """Give back what is held of NVML, before it is shut down."""
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    @property
    def has_activity(self) -> bool:
        """True if GPM tells how busy its units are."""
        return self._activity is not None

    def read(self, origin_ns: int, kin: Kin, *, processes: bool, pcie: bool) -> GpuSample:
        """A reading now, stamped with the middle of the time it took; what is slow is read after that.

        processes, pcie: whether to ask for those this time. Never raises.
        """
        begun_ns = time.monotonic_ns()
        fields: dict[str, Any] = {}
        word: str | None = self.lost
        self._asker.trouble.clear()
        if self._handle is not None:
            try:
                fields = self._power() | self._load() if self._counts_power else self._load()
                word = self._nothing_but_trouble(fields)
            except Gone as gone:
                word = str(gone)
            except Exception as error:  # the sampler's promise: whatever the binding does, the run goes on
                word = word_of(error)
        ended_ns = time.monotonic_ns()
        middle_ns = (begun_ns + ended_ns) // 2
        wall_s = (time.time_ns() - (time.monotonic_ns() - middle_ns)) / 1e9
        if word is None:
            try:
                fields |= self._slow(kin, processes, pcie)
            except Gone as gone:
                word = str(gone)
            except Exception as error:
                word = word_of(error)
        if word is not None:
            fields = {}
        self._say(word)
        why = word or "; ".join(f"{field}: {what}" for field, what in self._asker.trouble.items()) or None
        return GpuSample((middle_ns - origin_ns) / 1e9, wall_s, "nvml", self.uuid, **fields, error=why)

    def _nothing_but_trouble(self, fields: dict[str, Any]) -> str | None:
        """The word of a card that answers no question, as one does whose handle is out of date; None if it answers."""
        trouble = self._asker.trouble
        if not trouble or any(value is not None for value in fields.values()):
            return None
        return next(iter(trouble.values()))

    def _say(self, lost: str | None) -> None:
        """Tell what changed since the last reading."""
        if lost is None:
            for field, what in self._asker.trouble.items():
                self._notes.empty(self.uuid, f"empty at times, {what}", field)
            if self._was_lost:
                self._notes.tell(f"{self.uuid}: answers again")
        elif not self._was_lost:
            self._notes.tell(f"{self.uuid}: {lost}; its readings are empty until it answers again")
        self.lost, self._was_lost = lost, lost is not None

    def _power(self) -> dict[str, Any]:
        ask, card = self._asker.ask, self._card
        energy_mj = _told(ask("energy_j", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(card)))
        average_mw, instant_mw = self._power_fields()
        return {
            "energy_j": _thousandth(energy_mj),
            "power_w": _thousandth(_told(ask("power_w", lambda: pynvml.nvmlDeviceGetPowerUsage(card)))),
            "power_average_w": _thousandth(average_mw),
            "power_instant_w": _thousandth(instant_mw),
            "power_limit_w": _thousandth(ask("power_limit_w", lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(card))),
        }

    def _power_fields(self) -> tuple[int | None, int | None]:
        ids = [pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_FI_DEV_POWER_INSTANT]
        names = ("power_average_w", "power_instant_w")
        values = self._asker.ask(" and ".join(names), lambda: pynvml.nvmlDeviceGetFieldValues(self._card, ids))
        if values is None:
            return None, None

        def one(i: int) -> int | None:
            return _told(self._asker.ask(names[i], lambda: _field(values[i])))

        return one(0), one(1)

    def _load(self) -> dict[str, Any]:
        ask, card = self._asker.ask, self._card
        # MIG: NVML does not tell the utilisation of a card that is split, nor of a slice
        busy = None if self._mig else ask("util_ratio", lambda: pynvml.nvmlDeviceGetUtilizationRates(card))
        memory = ask(
            "memory_used_bytes",
            lambda: pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2),
            lambda: pynvml.nvmlDeviceGetMemoryInfo(self._handle),
        )
        sm_clock = ask("sm_clock_mhz", lambda: pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_SM))
        memory_clock = ask("memory_clock_mhz", lambda: pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_MEM))
        sensor = pynvml.NVML_TEMPERATURE_GPU
        celsius = ask("temperature_c", lambda: pynvml.nvmlDeviceGetTemperature(card, sensor))
        activity = self._activity
        ratios = (ask("GPM activity", activity.read) if activity is not None else None) or UNKNOWN
        return {
            "util_ratio": _percent(busy.gpu) if busy is not None else None,
            "memory_util_ratio": _percent(busy.memory) if busy is not None else None,
            "memory_used_bytes": int(memory.used) if memory is not None else None,
            "memory_total_bytes": int(memory.total) if memory is not None else None,
            "sm_clock_mhz": _told(sm_clock),
            "memory_clock_mhz": _told(memory_clock),
            "temperature_c": None if celsius is None else float(celsius),
            "throttle_reasons": ask(
                "throttle_reasons",
                lambda: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(card)),
                lambda: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(card)),  # before driver 535
            ),
            "sm_active_ratio": ratios[0],
            "tensor_active_ratio": ratios[1],
            "dram_active_ratio": ratios[2],
        }

    def _slow(self, kin: Kin, processes: bool, pcie: bool) -> dict[str, Any]:
        ask, fields = self._asker.ask, dict[str, Any]()
        if processes:
            pids = ask("n_processes", *running_pids(self._handle))
            fields["n_processes"] = None if pids is None else len(pids)
            fields["foreign_processes"] = None if pids is None else kin.foreign(pids)
        if pcie:
            for name, way in (("tx", pynvml.NVML_PCIE_UTIL_TX_BYTES), ("rx", pynvml.NVML_PCIE_UTIL_RX_BYTES)):
                kilobytes = self._pcie(f"pcie_{name}_bytes_per_s", way)
                fields[f"pcie_{name}_bytes_per_s"] = None if kilobytes is None else kilobytes * 1000.0
        return fields

    def _pcie(self, field: str, way: int) -> int | None:
        return _told(self._asker.ask(field, lambda: pynvml.nvmlDeviceGetPcieThroughput(self._card, way)))


def running_pids(handle: Any) -> Sequence[Callable[[], list[int]]]:
    """Ways to ask for the PIDs of the compute processes on a card, newest first."""
    return (
        lambda: [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)],
        lambda: [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)],
    )


def _field(value: Any) -> int:
    """A field's own value. Raises pynvml.NVMLError for a field that failed."""
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(value.nvmlReturn)
    kinds = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
    return int(getattr(value.value, kinds[value.valueType]))


def _told(value: int | None) -> int | None:
    return None if value is None or value in _NOT_TOLD else value


def _thousandth(value: int | None) -> float | None:
    return None if _told(value) is None or value is None else value / 1000.0


def _percent(value: int) -> float | None:
    return value / 100.0 if 0 <= value <= 100 else None


_ARCHITECTURES = {
    2: "kepler",
    3: "maxwell",
    4: "pascal",
    5: "volta",
    6: "turing",
    7: "ampere",
    8: "ada",
    9: "hopper",
    10: "blackwell",
    13: "rubin",
}
_REMEDIES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "there is no NVML library (libnvidia-ml.so.1) here",
        "install the NVIDIA driver; start a container with --gpus all; --gpu off says nothing of it",
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "the NVIDIA driver is not loaded",
        "see whether `nvidia-smi` works; load it with `modprobe nvidia`, start a container with --gpus all",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "no permission to use the GPUs",
        "check who may read and write /dev/nvidia*; start a container with --gpus all",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the NVML library and the loaded driver are of different versions",
        "reboot, or reload the kernel module: the driver was updated while it was loaded",
    ),
}


def start_nvml() -> None:
    """Load and initialise NVML. Raises TelemetryError with the remedy."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        what, hint = _REMEDIES.get(error.value, ("NVML does not start", "see whether `nvidia-smi` works"))
        raise TelemetryError(what, given=word_of(error), hint=hint) from None


def stop_nvml() -> None:
    """Shut NVML down, whatever state it is in."""
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlShutdown()


def versions() -> dict[str, str | None]:
    """{driver, nvml, cuda_driver}; None: not told."""
    cuda = quietly(pynvml.nvmlSystemGetCudaDriverVersion_v2)
    return {
        "driver": quietly(pynvml.nvmlSystemGetDriverVersion),
        "nvml": quietly(pynvml.nvmlSystemGetNVMLVersion),
        "cuda_driver": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
    }


def find_gpus(tell: Callable[[str], None]) -> list[Gpu]:
    """The cards in NVML's order; of those out of reach `tell` gets a word. Raises TelemetryError if all are."""
    words = []
    gpus = []
    for index in range(quietly(pynvml.nvmlDeviceGetCount) or 0):
        try:
            gpus.append(_gpu(index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:
            words.append(f"GPU {index} cannot be reached: {word_of(error)}")
    if not gpus:
        raise TelemetryError(
            "NVML finds no GPU that it can reach",
            given="; ".join(words) or "no GPU",
            hint="see `nvidia-smi -L`; start a container with --gpus all",
        )
    for word in words:
        tell(word)
    return gpus


def _gpu(index: int, handle: Any) -> Gpu:
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    pci = quietly(pynvml.nvmlDeviceGetPciInfo, handle)
    memory = quietly(pynvml.nvmlDeviceGetMemoryInfo, handle)
    limit_mw = quietly(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    capability = quietly(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mode = quietly(pynvml.nvmlDeviceGetMigMode, handle)
    mig = mode is not None and mode[0] == 1
    return Gpu(
        index=index,
        uuid=uuid,
        name=pynvml.nvmlDeviceGetName(handle),
        pci_bus_id=None if pci is None else _text(pci.busId),
        memory_total_bytes=None if memory is None else int(memory.total),
        power_limit_w=None if limit_mw is None else limit_mw / 1000.0,
        architecture=_ARCHITECTURES.get(quietly(pynvml.nvmlDeviceGetArchitecture, handle) or 0),
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        mig=mig,
        mig_devices=tuple(_slices(handle, uuid)) if mig else (),
    )


def _slices(handle: Any, parent_uuid: str) -> list[Mig]:
    found = []
    for i in range(quietly(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = quietly(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i)
        uuid = None if part is None else quietly(pynvml.nvmlDeviceGetUUID, part)
        if uuid is not None:
            memory = quietly(pynvml.nvmlDeviceGetMemoryInfo, part)
            instance = quietly(pynvml.nvmlDeviceGetGpuInstanceId, part)
            found.append(Mig(uuid, parent_uuid, None if memory is None else int(memory.total), instance))
    return found


def quietly(ask: Callable[..., T], *arguments: Any) -> T | None:
    """The answer, or None where NVML has none."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


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
