"""One card or MIG device: found through NVML, and read into a GpuSample."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pynvml

from benchsuite.records import GpuSample
from benchsuite.telemetry.gpm import UNKNOWN, Activity
from benchsuite.telemetry.kin import Kin
from benchsuite.telemetry.nvml_asking import Asker, Gone, Notes, word_of

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
