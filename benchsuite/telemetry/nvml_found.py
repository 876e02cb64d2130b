"""What NVML finds on this machine: the library opened, or why not; its cards and their MIG devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

from benchsuite.errors import TelemetryError
from benchsuite.telemetry.gpu_choice import Gpu, Mig
from benchsuite.telemetry.nvml_asking import word_of

T = TypeVar("T")

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
