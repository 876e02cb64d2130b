"""The GPUs of this machine, read through NVML while a server works on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import pynvml

from benchsuite.errors import TelemetryError
from benchsuite.records import GpuSample
from benchsuite.telemetry.gpu_selection import Gpu, Mig, ProcessTree, select_gpus

T = TypeVar("T")

# after these nothing more can be had of the device, or of the library
_LOST = (
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
)
_NOT_AVAILABLE = (2**32 - 1, 2**64 - 1)  # NVML_VALUE_NOT_AVAILABLE
_ARCHITECTURES = {
    2: "kepler", 3: "maxwell", 4: "pascal", 5: "volta", 6: "turing", 7: "ampere", 8: "ada", 9: "hopper",
    10: "blackwell", 13: "rubin",
}  # fmt: skip
_REMEDIES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "there is no NVML library (libnvidia-ml.so.1) here",
        "install the NVIDIA driver; start a container with --gpus all; --gpu off silences this",
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "the NVIDIA driver is not loaded",
        "check that `nvidia-smi` works; load it with `modprobe nvidia`, start a container with --gpus all",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "no permission to use the GPUs",
        "check the permissions of /dev/nvidia*; start a container with --gpus all",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the NVML library and the loaded driver are of different versions",
        "reboot, or reload the kernel module: the driver was updated while it was loaded",
    ),
}
_GPM_METRICS = {
    "sm_active_ratio": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "tensor_active_ratio": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_active_ratio": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
}
# the counters behind need about 100 ms to move; a sampler at 10 Hz is a little early at times
_GPM_LEAST_S = 0.05
_RETRY_S, _LONGEST_RETRY_S = 10.0, 160.0
_HANGS_S = 60.0  # eight cards that sleep take half of it to wake
_PCIE = {
    "pcie_tx_bytes_per_s": pynvml.NVML_PCIE_UTIL_TX_BYTES,
    "pcie_rx_bytes_per_s": pynvml.NVML_PCIE_UTIL_RX_BYTES,
}
_CLOCKS = {"sm_clock_mhz": pynvml.NVML_CLOCK_SM, "memory_clock_mhz": pynvml.NVML_CLOCK_MEM}
# in mW and mJ
_THOUSANDTHS: dict[str, Callable[[Any], int]] = {
    "energy_j": pynvml.nvmlDeviceGetTotalEnergyConsumption,
    "power_w": pynvml.nvmlDeviceGetPowerUsage,
    "power_limit_w": pynvml.nvmlDeviceGetEnforcedPowerLimit,
}
_POWER_FIELDS = {
    "power_average_w": pynvml.NVML_FI_DEV_POWER_AVERAGE,
    "power_instant_w": pynvml.NVML_FI_DEV_POWER_INSTANT,
}
_PCIE_EVERY, _PCIE_HIGHEST_HZ = 10, 2.0  # one answer takes 20 ms and more, for each direction


class Problems:
    """Messages, each once and in order; the fields that are empty for one reason become one message."""

    def __init__(self) -> None:
        self.messages: dict[str, None] = {}
        self._empty: dict[tuple[str, str], bool] = {}  # by reason and field, whether it is in a message

    def add(self, message: str) -> None:
        self.messages.setdefault(message)

    def add_empty(self, reason: str, field: str) -> None:
        """The field is empty for this reason: in the message of the next `flush`."""
        self._empty.setdefault((reason, field), False)

    def flush(self) -> None:
        new = [key for key, reported in self._empty.items() if not reported]
        for reason in dict.fromkeys(reason for reason, _ in new):
            self.add(f"{reason}: {', '.join(field for other, field in new if other == reason)}")
        self._empty.update(dict.fromkeys(new, True))


class GpmActivity:
    """Two GPM samples of one device, that change places. slice_id: of a MIG device, its GPU instance."""

    def __init__(self, handle: Any, slice_id: int | None) -> None:
        self._handle, self._slice_id = handle, slice_id
        self._older, self._newer = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
        self._taken_s: float | None = None
        self._query = pynvml.c_nvmlGpmMetricsGet_t()

    def read(self) -> dict[str, float | None]:
        """Ratios of SM, tensor and DRAM activity since the last read; none at first and right after another."""
        before_s, now_s = self._taken_s, time.monotonic()
        if before_s is not None and now_s - before_s < _GPM_LEAST_S:
            return {}
        if self._slice_id is None:
            pynvml.nvmlGpmSampleGet(self._handle, self._newer)
        else:
            pynvml.nvmlGpmMigSampleGet(self._handle, self._slice_id, self._newer)
        self._taken_s = now_s
        self._older, self._newer = self._newer, self._older
        if before_s is None:
            return {}
        query = self._query
        query.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        query.numMetrics = len(_GPM_METRICS)
        query.sample1, query.sample2 = self._newer, self._older  # they have changed places
        for metric, metric_id in zip(query.metrics, _GPM_METRICS.values(), strict=False):
            metric.metricId = metric_id
        pynvml.nvmlGpmMetricsGet(query)
        return {
            name: min(1.0, float(metric.value) / 100.0)
            for name, metric in zip(_GPM_METRICS, query.metrics, strict=False)
            if metric.nvmlReturn == pynvml.NVML_SUCCESS and 0.0 <= metric.value <= 100.5  # not NaN either
        }

    def close(self) -> None:
        for sample in (self._older, self._newer):
            nvml_or_none(pynvml.nvmlGpmSampleFree, sample)


class NvmlDevice:
    """What is sampled under one UUID. gpu: the card that it is, or is a MIG slice of.

    counts_power: False for a second slice of one card, whose power would be counted twice.
    """

    def __init__(self, uuid: str, gpu: Gpu, problems: Problems, *, counts_power: bool) -> None:
        self.uuid, self._gpu, self._problems, self._counts_power = uuid, gpu, problems, counts_power
        self.lost: str | None = None  # why it cannot be read at all, in NVML's word
        self._was_lost = False
        self._handle: Any = None
        self._card: Any = None
        self.activity: GpmActivity | None = None
        self._errors: dict[str, str] = {}  # of this reading: field to NVML's word

    def bind(self) -> None:
        """Find the handle, also after NVML was initialised anew. Never raises: `lost` says why it cannot be read."""
        self.lost, self._handle = None, None
        try:
            handle = card = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
            slice_id = None
            if self.uuid != self._gpu.uuid:
                card = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
                slice_id = self._ask("MIG instance", lambda: pynvml.nvmlDeviceGetGpuInstanceId(handle))
            self._handle, self._card = handle, card
            support = self._ask("GPM activity", lambda: pynvml.nvmlGpmQueryDeviceSupport(card))
            if support is not None and support.isSupportedDevice:
                self.activity = self._ask("GPM activity", lambda: GpmActivity(card, slice_id))
            elif support is not None:
                self._problems.add_empty(f"{self._gpu.name}: empty, not supported", "GPM activity (Hopper and later)")
        except pynvml.NVMLError as error:
            self.lost = message_of(error)

    def release(self) -> None:
        if self.activity is not None:
            self.activity.close()
            self.activity = None

    def read(self, origin_ns: int, server: ProcessTree, *, processes: bool, pcie: bool) -> GpuSample:
        """A reading now, stamped with the middle of the time it took; what is slow is read after that.

        processes, pcie: whether to ask for those this time. Never raises.
        """
        begun_ns = middle_ns = time.monotonic_ns()
        fields: dict[str, Any] = {}
        lost = self.lost
        self._errors.clear()
        try:  # the sampler's promise: whatever the binding does, the run goes on
            if self._handle is not None:
                fields, lost = self._load() | (self._power() if self._counts_power else {}), None
                middle_ns = (begun_ns + time.monotonic_ns()) // 2
                if self._errors and all(value is None for value in fields.values()):
                    # a card that answers no question, as one does whose handle is out of date
                    lost = next(iter(self._errors.values()))
                elif processes and (pids := self._ask("n_processes", *_running_pids(self._handle))) is not None:
                    fields |= {"n_processes": len(pids), "foreign_processes": server.foreign(pids)}
            for field, counter in _PCIE.items() if lost is None and pcie else ():
                kilobytes = _known(self._ask(field, partial(pynvml.nvmlDeviceGetPcieThroughput, self._card, counter)))
                fields[field] = None if kilobytes is None else kilobytes * 1000.0
        except Exception as error:
            lost = message_of(error)
        wall_s = (time.time_ns() - (time.monotonic_ns() - middle_ns)) / 1e9
        if lost is not None and not self._was_lost:
            self._problems.add(f"{self.uuid}: {lost}; its readings are empty until it answers again")
        elif lost is None and self._was_lost:
            self._problems.add(f"{self.uuid}: answers again")
        for field, what in self._errors.items() if lost is None else ():
            self._problems.add_empty(f"{self.uuid}: empty at times, {what}", field)
        self.lost, self._was_lost = lost, lost is not None
        fields = {} if lost is not None else fields
        why = lost or "; ".join(f"{field}: {what}" for field, what in self._errors.items()) or None
        return GpuSample((middle_ns - origin_ns) / 1e9, wall_s, "nvml", self.uuid, **fields, error=why)

    def _ask(self, field: str, *ways: Callable[[], T]) -> T | None:
        """The first way's answer that the library knows; None where it does not, or the part does not have it.

        Any other error is None too, and noted. Raises NVMLError where nothing more can be had of the device.
        """
        for way in ways:
            try:
                return way()
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
                    continue
                if error.value in _LOST:
                    raise
                if error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
                    self._problems.add_empty(f"{self._gpu.name}: empty, not supported", field)
                else:
                    self._errors[field] = message_of(error)
                return None
        self._problems.add_empty(f"{self._gpu.name}: empty, the driver's library is too old", field)
        return None

    def _power(self) -> dict[str, Any]:
        ask, card = self._ask, self._card
        thousandths = {name: ask(name, partial(read, card)) for name, read in _THOUSANDTHS.items()}
        values = ask(
            " and ".join(_POWER_FIELDS), lambda: pynvml.nvmlDeviceGetFieldValues(card, list(_POWER_FIELDS.values()))
        )
        for name, value in zip(_POWER_FIELDS, values or (), strict=False):
            thousandths[name] = ask(name, partial(_field_value, value))
        return {name: None if (known := _known(mw)) is None else known / 1000.0 for name, mw in thousandths.items()}

    def _load(self) -> dict[str, Any]:
        ask, card = self._ask, self._card
        # MIG: NVML does not tell the utilization of a card that is split, nor of a slice
        busy = None if self._gpu.mig else ask("util_ratio", lambda: pynvml.nvmlDeviceGetUtilizationRates(card))
        memory = ask(
            "memory_used_bytes",
            lambda: pynvml.nvmlDeviceGetMemoryInfo(self._handle, version=pynvml.nvmlMemory_v2),
            lambda: pynvml.nvmlDeviceGetMemoryInfo(self._handle),
        )
        celsius = ask("temperature_c", lambda: pynvml.nvmlDeviceGetTemperature(card, pynvml.NVML_TEMPERATURE_GPU))
        return {
            "util_ratio": busy.gpu / 100.0 if busy is not None and busy.gpu <= 100 else None,
            "memory_util_ratio": busy.memory / 100.0 if busy is not None and busy.memory <= 100 else None,
            "memory_used_bytes": int(memory.used) if memory is not None else None,
            "memory_total_bytes": int(memory.total) if memory is not None else None,
            "temperature_c": None if celsius is None else float(celsius),
            "throttle_reasons": ask(
                "throttle_reasons",
                lambda: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(card)),
                lambda: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(card)),  # before driver 535
            ),
            **{
                name: _known(ask(name, partial(pynvml.nvmlDeviceGetClockInfo, card, clock)))
                for name, clock in _CLOCKS.items()
            },
            **((ask("GPM activity", self.activity.read) if self.activity is not None else None) or {}),
        }


def message_of(error: Exception) -> str:
    """NVML's message, never empty."""
    return str(error) or type(error).__name__


def _known(value: int | None) -> int | None:
    return None if value in _NOT_AVAILABLE else value


def _field_value(value: Any) -> int:
    if value.nvmlReturn != pynvml.NVML_SUCCESS:
        raise pynvml.NVMLError(value.nvmlReturn)
    kinds = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
    return int(getattr(value.value, kinds[value.valueType]))


def _running_pids(handle: Any) -> Sequence[Callable[[], list[int]]]:
    """Ways to ask for the PIDs of the compute processes on a card, newest first."""
    return (
        lambda: [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)],
        lambda: [process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)],
    )


def nvml_or_none(ask: Callable[..., T], *arguments: Any) -> T | None:
    """The answer, or None where NVML has none."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def in_time(ask: Callable[[], T]) -> T:
    """What `ask` gives, in a thread of its own. Raises what it raises; TelemetryError if a driver hangs, after 60 s."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(_HANGS_S)
    except TimeoutError:
        what, hint = f"the driver has not answered for {_HANGS_S:g} s", "check that `nvidia-smi` works; or --gpu off"
        raise TelemetryError(what, hint=hint) from None


def start_nvml() -> None:
    """Load and initialise NVML. Raises TelemetryError with the remedy."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        what, hint = _REMEDIES.get(error.value, ("NVML does not start", "check that `nvidia-smi` works"))
        raise TelemetryError(what, given=message_of(error), hint=hint) from None


def stop_nvml() -> None:
    nvml_or_none(pynvml.nvmlShutdown)


def find_gpus(on_problem: Callable[[str], None]) -> list[Gpu]:
    """The cards in NVML's order; on_problem is told those out of reach. Raises TelemetryError if all are."""
    unreachable, gpus = [], []
    for index in range(nvml_or_none(pynvml.nvmlDeviceGetCount) or 0):
        try:
            gpus.append(_gpu(index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:
            unreachable.append(f"GPU {index} cannot be reached: {message_of(error)}")
    if not gpus:
        raise TelemetryError(
            "NVML finds no GPU that it can reach",
            given="; ".join(unreachable) or "no GPU",
            hint="see `nvidia-smi -L`; start a container with --gpus all",
        )
    for words in unreachable:
        on_problem(words)
    return gpus


def _gpu(index: int, handle: Any) -> Gpu:
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    pci = nvml_or_none(pynvml.nvmlDeviceGetPciInfo, handle)
    memory = nvml_or_none(pynvml.nvmlDeviceGetMemoryInfo, handle)
    limit_mw = nvml_or_none(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    capability = nvml_or_none(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    mode = nvml_or_none(pynvml.nvmlDeviceGetMigMode, handle)
    mig = mode is not None and mode[0] == 1
    slices = []
    for i in range(nvml_or_none(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0) if mig else ():
        part = nvml_or_none(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i)
        slice_uuid = None if part is None else nvml_or_none(pynvml.nvmlDeviceGetUUID, part)
        if slice_uuid is not None:
            own = nvml_or_none(pynvml.nvmlDeviceGetMemoryInfo, part)
            instance = nvml_or_none(pynvml.nvmlDeviceGetGpuInstanceId, part)
            slices.append(Mig(slice_uuid, None if own is None else int(own.total), instance))
    bus_id = b"" if pci is None else pci.busId
    return Gpu(
        index=index,
        uuid=uuid,
        name=pynvml.nvmlDeviceGetName(handle),
        pci_bus_id=(bus_id.decode("ascii", "replace") if isinstance(bus_id, bytes) else bus_id) or None,
        memory_total_bytes=None if memory is None else int(memory.total),
        power_limit_w=None if limit_mw is None else limit_mw / 1000.0,
        architecture=_ARCHITECTURES.get(nvml_or_none(pynvml.nvmlDeviceGetArchitecture, handle) or 0),
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        mig=mig,
        mig_devices=tuple(slices),
    )


def _busy(gpus: Sequence[Gpu], server: ProcessTree) -> list[str]:
    """UUIDs of the cards, or their MIG devices, on which a process of the server runs."""
    busy = []
    for uuid in [mig.uuid for gpu in gpus for mig in gpu.mig_devices or (gpu,)]:
        handle = nvml_or_none(pynvml.nvmlDeviceGetHandleByUUID, uuid)
        ways = () if handle is None else _running_pids(handle)
        pids = next((pids for way in ways if (pids := nvml_or_none(way)) is not None), [])
        if any(server.has(pid) for pid in pids):
            busy.append(uuid)
    return busy


class NvmlSampler:
    """Reads the GPUs that the server uses through NVML: gpu_ids, else what its processes tell, else all; a Sampler.

    origin_ns: the run's zero on the monotonic clock. gpu_ids: UUIDs of cards or MIG devices, their beginnings, or NVML
    indices. server_pids: processes of the server. listening_pids: those that listen on its port, which may be a proxy's
    or a container's: taken for the server's if they, or what they started, run on a GPU. clock_s: for the pauses
    between attempts to initialise NVML again after a GPU or the driver was lost. Raises TelemetryError, with the
    remedy, where nothing can be sampled.
    """

    def __init__(
        self,
        origin_ns: int,
        hz: float,
        gpu_ids: Sequence[str] = (),
        server_pids: Sequence[int] = (),
        listening_pids: Sequence[int] = (),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.period_s, self._hz, self._origin_ns, self.clock_s = 1.0 / hz, hz, origin_ns, clock_s
        self._problems = Problems()
        self._devices: list[NvmlDevice] = []
        self._n_samples = 0
        self._pause_s, self._next_pause_s, self._tried_s = _RETRY_S, _RETRY_S, -_RETRY_S
        self._open = True
        start_nvml()
        try:
            self._choose(gpu_ids, server_pids, listening_pids)
        except BaseException:
            self.close()
            raise

    def _choose(self, gpu_ids: Sequence[str], server_pids: Sequence[int], listening_pids: Sequence[int]) -> None:
        """Find the GPUs, and bind those that the server uses."""
        self._gpus, self._server = find_gpus(self._problems.add), ProcessTree(server_pids)
        if not server_pids and listening_pids and _busy(self._gpus, listening := ProcessTree(listening_pids)):
            self._server = listening
        environments = self._server.environments() if not gpu_ids else ()
        self._selection = select_gpus(self._gpus, gpu_ids, environments, _busy(self._gpus, self._server))
        for warning in self._selection.warnings:
            self._problems.add(warning)
        cuda = nvml_or_none(pynvml.nvmlSystemGetCudaDriverVersion_v2)
        self._versions = {
            "driver": nvml_or_none(pynvml.nvmlSystemGetDriverVersion),
            "nvml": nvml_or_none(pynvml.nvmlSystemGetNVMLVersion),
            "cuda_driver": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        }
        card_of = {uuid: gpu for gpu in self._gpus for uuid in (gpu.uuid, *(mig.uuid for mig in gpu.mig_devices))}
        sampled: set[str] = set()  # cards, of which only the first row has power and energy
        for uuid in self._selection.uuids:
            gpu = card_of[uuid]
            if uuid != gpu.uuid:
                why = f"MIG has no utilization, and power and energy only of the whole card, {gpu.uuid}"
                self._problems.add(f"{uuid}: {why}")
            elif gpu.mig:
                self._problems.add(f"{uuid}: MIG is on, so its utilization is not reported")
            self._devices.append(NvmlDevice(uuid, gpu, self._problems, counts_power=gpu.uuid not in sampled))
            sampled.add(gpu.uuid)
            self._devices[-1].bind()
        self._problems.flush()

    def sample(self) -> Sequence[GpuSample]:
        """A row for each GPU; one that is lost has only its error. Never raises."""
        if any(device.lost is not None for device in self._devices):
            self._try_again()
        processes = self._n_samples % max(1, round(self._hz)) == 0
        rows = []
        for i, device in enumerate(self._devices):
            pcie = self._hz <= _PCIE_HIGHEST_HZ and (self._n_samples + i) % _PCIE_EVERY == 0
            rows.append(device.read(self._origin_ns, self._server, processes=processes, pcie=pcie))
        self._n_samples += 1
        if all(device.lost is None for device in self._devices):
            self._pause_s = self._next_pause_s = _RETRY_S
        self._problems.flush()
        return rows

    def _try_again(self) -> None:
        """Initialise NVML anew, which a reset GPU or a reloaded driver needs; every 10 s at first, then seldomer."""
        now_s = self.clock_s()
        if now_s - self._tried_s < self._pause_s:
            return
        self._tried_s, self._pause_s = now_s, self._next_pause_s
        self._next_pause_s = min(2 * self._pause_s, _LONGEST_RETRY_S)
        for device in self._devices:
            device.release()
        stop_nvml()
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._problems.add(f"NVML does not start again: {message_of(error)}")
        for device in self._devices:
            device.bind()

    def facts(self) -> dict[str, Any]:
        """Versions, all cards found, which are sampled and how that was found, for the manifest."""
        with_gpm = {device.uuid for device in self._devices if device.activity is not None}
        return {
            "source": "nvml",
            **self._versions,
            "devices": [
                asdict(gpu) | {"power_window_s": gpu.power_window_s, "gpm": gpu.uuid in with_gpm} for gpu in self._gpus
            ],
            "used": list(self._selection.uuids),
            "used_how": self._selection.how,
            "period_s": self.period_s,
        }

    def problems(self) -> Sequence[str]:
        return tuple(self._problems.messages)

    def close(self) -> None:
        if self._open:
            self._open = False
            for device in self._devices:
                device.release()
            stop_nvml()
