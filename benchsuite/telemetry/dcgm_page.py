"""A page of NVIDIA's DCGM exporter to what it says of each card and MIG instance. Pure.

Fields and units: the exporter's default-counters.csv and NVIDIA's DCGM field identifiers; docs/METHODS.md, DCGM.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchsuite.telemetry.prometheus import Reading, parse_page

_MIB = 1024.0**2
_BLANK = 0x7FFFFFF0  # DCGM's own "no value" begins here; its energy counter is the one figure that may get there
_BLANK_INT64 = 0x7FFFFFFFFFFFFFF0

# GpuSample's field: the exporter's names, newest first, and the factor to our unit
_CARD: dict[str, tuple[tuple[str, ...], float]] = {
    "util_ratio": (("DCGM_FI_DEV_GPU_UTIL",), 0.01),
    "memory_util_ratio": (("DCGM_FI_DEV_MEM_COPY_UTIL",), 0.01),
    "power_w": (("DCGM_FI_DEV_POWER_USAGE",), 1.0),
    "power_instant_w": (("DCGM_FI_DEV_POWER_USAGE_INSTANT",), 1.0),
    "power_limit_w": (("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT"), 1.0),
    "energy_j": (("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",), 0.001),
    "sm_clock_mhz": (("DCGM_FI_DEV_SM_CLOCK",), 1.0),
    "memory_clock_mhz": (("DCGM_FI_DEV_MEM_CLOCK",), 1.0),
    "temperature_c": (("DCGM_FI_DEV_GPU_TEMP",), 1.0),
    "throttle_reasons": (("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"), 1.0),
    "xid": (("DCGM_FI_DEV_XID_ERRORS",), 1.0),
}
# what a MIG instance has of its own
_INSTANCE: dict[str, tuple[tuple[str, ...], float]] = {
    "fb_used": (("DCGM_FI_DEV_FB_USED",), _MIB),
    "fb_free": (("DCGM_FI_DEV_FB_FREE",), _MIB),
    "fb_reserved": (("DCGM_FI_DEV_FB_RESERVED",), _MIB),
    "fb_total": (("DCGM_FI_DEV_FB_TOTAL",), _MIB),
    "sm_active_ratio": (("DCGM_FI_PROF_SM_ACTIVE",), 1.0),
    "tensor_active_ratio": (("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",), 1.0),
    "dram_active_ratio": (("DCGM_FI_PROF_DRAM_ACTIVE",), 1.0),
}
_FIELD_OF = {
    name: (field_name, rank, factor)
    for table in (_CARD, _INSTANCE)
    for field_name, (names, factor) in table.items()
    for rank, name in enumerate(names)
}
_PROOF = frozenset({"DCGM_FI_PROF_GR_ENGINE_ACTIVE"})  # tells that a card is there, though no figure of ours
_WHOLE = frozenset({"sm_clock_mhz", "memory_clock_mhz", "throttle_reasons", "xid"})


@dataclass(frozen=True, slots=True)
class Device:
    """A card, or an instance of one (then its uuid is the card's and `/gi` with the instance's number).

    figures: by GpuSample's field, and `xid`; absent where the page does not tell. card: the card's UUID.
    """

    uuid: str
    card: str
    index: str
    name: str | None
    mig_profile: str | None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DcgmPage:
    """The cards in their order on the page, each before its instances. n_named, odd: as for prometheus.Page."""

    devices: tuple[Device, ...]
    driver: str | None
    n_named: int
    odd: str | None = None


def read_dcgm_page(text: str) -> DcgmPage:
    """What the page says, by UUID. Pod labels are left out. Raises nothing: text that is no such page has no devices.

    Of a card with instances: power, energy, clocks and temperature are the card's, whichever row carries them; the
    share of time with a kernel is not to be had (the exporter says 0 or nothing), activity is each instance's own.
    """
    page = parse_page(text, _FIELD_OF.keys() | _PROOF)
    found: dict[str, _Parts] = {}
    driver: str | None = None
    for reading in page.readings:
        labels = reading.labels
        card = labels.get("UUID") or labels.get("uuid")
        if not card:
            continue
        driver = driver or labels.get("DCGM_FI_DRIVER_VERSION")
        parts = found.setdefault(card, _Parts(labels.get("gpu", ""), labels.get("modelName")))
        parts.add(reading)
    devices = [device for card, parts in found.items() for device in parts.devices(card)]
    return DcgmPage(tuple(devices), driver, page.n_named, page.odd)


class _Parts:
    """The readings of one card, sorted into its own and its instances'."""

    def __init__(self, index: str, name: str | None) -> None:
        self._index, self._name = index, name
        self._own: dict[str, tuple[int, float]] = {}
        self._instances: dict[str, tuple[str | None, dict[str, tuple[int, float]]]] = {}

    def add(self, reading: Reading) -> None:
        instance = reading.labels.get("GPU_I_ID", "")
        known = _FIELD_OF.get(reading.name)
        into = self._own
        if instance:
            of_instance = self._instances.setdefault(instance, (reading.labels.get("GPU_I_PROFILE"), {}))[1]
            into = self._own if known is not None and known[0] in _CARD else of_instance
        value = reading.value
        if known is None or value is None or _blank(reading.name, value):
            return
        field_name, rank, factor = known
        if field_name not in into or rank < into[field_name][0]:
            into[field_name] = (rank, value * factor)

    def devices(self, card: str) -> list[Device]:
        own = _with_memory({name: value for name, (_, value) in self._own.items()})
        if self._instances:
            own = {name: value for name, value in own.items() if name not in ("util_ratio", "memory_util_ratio")}
        return [
            Device(card, card, self._index, self._name, None, own),
            *(
                Device(
                    f"{card}/gi{number}",
                    card,
                    self._index,
                    self._name,
                    profile,
                    _with_memory({name: value for name, (_, value) in figures.items()}),
                )
                for number, (profile, figures) in self._instances.items()
            ),
        ]


def _blank(name: str, value: float) -> bool:
    return value >= (_BLANK_INT64 if name == "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" else _BLANK)


def _with_memory(figures: dict[str, float]) -> dict[str, float]:
    used, free = figures.get("fb_used"), figures.get("fb_free")
    total = figures.get("fb_total")
    if total is None and used is not None and free is not None:
        total = used + free + figures.get("fb_reserved", 0.0)
    kept = {name: value for name, value in figures.items() if not name.startswith("fb_")}
    if used is not None:
        kept["memory_used_bytes"] = int(used)
    if total is not None:
        kept["memory_total_bytes"] = int(total)
    return kept | {name: int(kept[name]) for name in _WHOLE if name in kept}
