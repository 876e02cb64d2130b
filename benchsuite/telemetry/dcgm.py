"""GPUs of another machine, through NVIDIA's DCGM exporter: one page for all its cards, as old as it likes."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from benchsuite.limits import most
from benchsuite.records import GpuSample
from benchsuite.telemetry.server_metrics import Page, Scrape, Scraper, metrics_url, parse_page

_MIB = 1024.0**2
_MAX_DEVICES, _KEPT_CHARS = most("devices"), most("kept_chars")
_BLANK = 0x7FFFFFF0  # DCGM's own "no value" begins here; its energy counter is the one figure that may get there
_BLANK_INT64 = 0x7FFFFFFFFFFFFFF0

# GpuSample's field: the exporter's names ("newest or older"), and the factor to our unit
_CARD = {
    "util_ratio": ("DCGM_FI_DEV_GPU_UTIL", 0.01),
    "memory_util_ratio": ("DCGM_FI_DEV_MEM_COPY_UTIL", 0.01),
    "power_w": ("DCGM_FI_DEV_POWER_USAGE", 1.0),
    "power_instant_w": ("DCGM_FI_DEV_POWER_USAGE_INSTANT", 1.0),
    "power_limit_w": ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT or DCGM_FI_DEV_POWER_MGMT_LIMIT", 1.0),
    "energy_j": ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 0.001),
    "sm_clock_mhz": ("DCGM_FI_DEV_SM_CLOCK", 1.0),
    "memory_clock_mhz": ("DCGM_FI_DEV_MEM_CLOCK", 1.0),
    "temperature_c": ("DCGM_FI_DEV_GPU_TEMP", 1.0),
    "throttle_reasons": ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS or DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", 1.0),
    "xid": ("DCGM_FI_DEV_XID_ERRORS", 1.0),
}
_ALL = _CARD | {  # and what a MIG instance has of its own
    "memory_used_bytes": ("DCGM_FI_DEV_FB_USED", _MIB),
    "memory_free_bytes": ("DCGM_FI_DEV_FB_FREE", _MIB),
    "memory_reserved_bytes": ("DCGM_FI_DEV_FB_RESERVED", _MIB),
    "memory_total_bytes": ("DCGM_FI_DEV_FB_TOTAL", _MIB),
    "sm_active_ratio": ("DCGM_FI_PROF_SM_ACTIVE", 1.0),
    "tensor_active_ratio": ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 1.0),
    "dram_active_ratio": ("DCGM_FI_PROF_DRAM_ACTIVE", 1.0),
}
_CARD_NAMES, _NAMES = ({name for names, _ in table.values() for name in names.split(" or ")} for table in (_CARD, _ALL))
_NAMES.add("DCGM_FI_PROF_GR_ENGINE_ACTIVE")  # tells that a card is there, though no figure of ours
_WHOLE = ("_bytes", "_mhz", "throttle_reasons", "xid")


@dataclass(frozen=True, slots=True)
class Device:
    """A card, or an instance of one."""

    uuid: str  # of an instance: the card's, and `/gi` with the instance's number
    card: str  # the card's UUID
    index: str
    name: str | None
    mig: str | None  # an instance's profile
    figures: dict[str, Any] = field(default_factory=dict)  # by GpuSample's field, and `xid`; absent where not told


class DcgmPage(NamedTuple):
    """What an exporter's page says."""

    devices: list[Device]  # the cards in their order on the page, each before its instances
    driver: str | None
    page: Page


def read_dcgm_page(text: str) -> DcgmPage:
    """What the page says, by UUID. Pod labels are left out. Raises nothing: text that is no such page has no devices.

    Of a card with instances: power, energy, clocks and temperature are the card's, whichever row carries them; the
    share of time with a kernel is not to be had (the exporter says 0 or nothing), activity is each instance's own.
    """
    page = parse_page(text, _NAMES)
    devices: dict[str, Device] = {}
    values: dict[str, dict[str, float]] = defaultdict(dict)  # by device, and by the exporter's names
    driver: str | None = None
    for sample in page.samples:
        name, labels = sample.name, sample.labels
        labels = {key: value[:_KEPT_CHARS] for key, value in labels.items()}
        uuid = labels.get("UUID") or labels.get("uuid")
        if not uuid or len(devices) >= _MAX_DEVICES:
            continue
        driver = driver or labels.get("DCGM_FI_DRIVER_VERSION")
        card = Device(uuid, uuid, labels.get("gpu", ""), labels.get("modelName"), None)
        device = card = devices.setdefault(uuid, card)
        if number := labels.get("GPU_I_ID"):
            instance = Device(f"{uuid}/gi{number}", uuid, card.index, card.name, labels.get("GPU_I_PROFILE"))
            device = devices.setdefault(instance.uuid, instance)
        blank = _BLANK_INT64 if name == "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" else _BLANK
        if 0 <= sample.value < blank:
            values[card.uuid if name in _CARD_NAMES else device.uuid].setdefault(name, sample.value)
    cards = {card: i for i, card in enumerate(dict.fromkeys(device.card for device in devices.values()))}
    ordered = sorted(devices.values(), key=lambda device: cards[device.card])
    split = {device.card for device in ordered if device.uuid != device.card}
    for device in ordered:
        figures, known = device.figures, values[device.uuid]
        for column, (names, factor) in _ALL.items():
            value = next((known[name] * factor for name in names.split(" or ") if name in known), None)
            if value is not None:
                figures[column] = int(value) if column.endswith(_WHOLE) else value
        free, reserved = figures.pop("memory_free_bytes", None), figures.pop("memory_reserved_bytes", 0)
        if free is not None and "memory_used_bytes" in figures:
            figures.setdefault("memory_total_bytes", figures["memory_used_bytes"] + free + reserved)
        if device.uuid in split:
            figures.pop("util_ratio", None)
            figures.pop("memory_util_ratio", None)
    return DcgmPage(ordered, driver, page)


DEFAULT_INTERVAL_S = 30.0  # dcgm-exporter collects every 30 s unless told otherwise
_UNCHANGED_S = 2.5
_REMEDY = "start it with -c 1000 or DCGM_EXPORTER_INTERVAL=1000 (milliseconds)"


class DcgmSampler(Scraper):
    """Samples a DCGM exporter; a Sampler.

    url: of its page, or its host and port. interval_s: how often it collects, as far as is known; what is measured
    goes before. gpu_ids: UUIDs (or their beginnings), instances (UUID/giN) or the exporter's indices; none: all.
    hz: how often to ask, at least as often as it collects.
    """

    source = "DCGM exporter"

    def __init__(
        self,
        url: str,
        origin_ns: int,
        interval_s: float = DEFAULT_INTERVAL_S,
        gpu_ids: Sequence[str] = (),
        hz: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(metrics_url("", url), origin_ns, hz, **options)
        self._given_s = interval_s
        self._gpu_ids = tuple(gpu_ids)
        self._devices: dict[str, Device] = {}
        self._driver: str | None = None
        self._offsets_s: deque[float] = deque(maxlen=600)
        self._updates = _Updates()
        self._lock = threading.Lock()
        self._asked = False

    def sample(self) -> Sequence[GpuSample]:
        """A row for each card and MIG instance; one row without a UUID where the page cannot be had."""
        with self._lock:  # facts may ask from another thread
            return self._sample(self.get())

    def _sample(self, scrape: Scrape) -> list[GpuSample]:
        self._asked = True
        if scrape.text is None:
            self._problem(scrape.kind or "", str(scrape.problem))
            return self._missing(scrape, scrape.problem)
        if scrape.date_s is not None:
            self._offsets_s.append(scrape.wall_s - scrape.date_s - 0.5)  # its clock shows whole seconds
        devices, driver, page = read_dcgm_page(scrape.text)
        if page.odd is not None:
            self._problem("odd line", f"{self.url}: a line cannot be read: {page.odd!r}")
        if not devices:
            what = "no DCGM fields with a UUID" if page.n_named else "no Prometheus text"
            self._problem("no fields", f"{self.url}: {what}")
            return self._missing(scrape, what)
        used = self._selected(devices)
        self._driver = self._driver or driver
        figures = [device.figures for device in devices]
        unchanged_s = self._updates.see(scrape.at_s, figures)
        if unchanged_s > max(_UNCHANGED_S, 1.5 * self.period_s):
            self._problem(
                "old values",
                f"its values did not change for {unchanged_s:.1f} s; its given interval is {self._given_s:g} s, so "
                f"energy is that old at both edges of a point; {_REMEDY}",
            )
        for device in used:
            if len(self._devices) < _MAX_DEVICES:
                self._devices.setdefault(device.uuid, device)
            if (xid := int(device.figures.get("xid", 0))) and len(self._problems) < most("problems"):
                words = f"{device.uuid}: the driver's last error is XID {xid}"
                self._problems.setdefault(f"xid {device.uuid} {xid}", words)
        at_s, wall_s, there = scrape.at_s, scrape.wall_s, {device.uuid: device.figures for device in used}
        rows = [
            GpuSample(at_s, wall_s, "dcgm", uuid, **{name: v for name, v in values.items() if name != "xid"})
            for uuid, values in there.items()
        ]
        for uuid in [uuid for uuid in self._devices if uuid not in there]:
            self._problem(f"lost {uuid}", f"{uuid} is no longer on the page")
            rows.append(GpuSample(at_s, wall_s, "dcgm", uuid, error="not on the exporter's page"))
        return rows

    def facts(self) -> dict[str, Any]:
        """The cards with their instances, and how old readings may be, as far as is known now; asks if nothing is.

        interval_s: measured where the readings changed often enough to tell, else as given; interval_source says which.
        clock_offset_s: this clock minus the exporter's, from its Date header (within half a second); nothing is shifted
        by it, for samples are stamped when they are read.
        """
        if not self._asked:
            self.sample()
        measured_s = self._updates.interval_s
        return {
            "source": "dcgm",
            "url": self.url,
            "driver": self._driver,
            "devices": [
                {name: getattr(device, name) for name in ("uuid", "index", "name", "mig", "card")}
                | {name: device.figures.get(name) for name in ("memory_total_bytes", "power_limit_w")}
                for device in self._devices.values()
            ],
            "used": list(self._devices),
            "interval_s": self._given_s if measured_s is None else measured_s,
            "interval_source": "given" if measured_s is None else "measured",
            "period_s": self.period_s,
            "clock_offset_s": median(self._offsets_s) if self._offsets_s else None,
            "clock_offset_error_s": 0.5 if self._offsets_s else None,
        }

    def _missing(self, scrape: Scrape, why: str | None) -> list[GpuSample]:
        uuids = list(self._devices) or [""]
        return [GpuSample(scrape.at_s, scrape.wall_s, "dcgm", uuid, error=why) for uuid in uuids]

    def _selected(self, devices: Sequence[Device]) -> Sequence[Device]:
        if not self._gpu_ids:
            return devices
        wanted = []
        for gpu_id in self._gpu_ids:
            matches = [
                device
                for device in devices
                if device.index == gpu_id
                or (not gpu_id.isdigit() and gpu_id in (device.uuid, device.card))
                or (len(gpu_id) > 7 and device.card.startswith(gpu_id))
            ]
            if not matches and gpu_id not in self._devices:
                there = ", ".join(device.uuid for device in devices)
                self._problem(f"no {gpu_id}", f"no GPU {gpu_id} on its page; it has {there}")
            wanted += matches
        uuids = {device.uuid for device in wanted} | {device.card for device in wanted}  # power is the card's
        return [device for device in devices if device.uuid in uuids]


class _Updates:
    """Tells from when the readings change how often the exporter collects."""

    def __init__(self) -> None:
        self._seen: object = None
        self._changed_s: float | None = None  # None until one change was seen: the first reading may be of any age
        self._since_s: float | None = None
        self._gaps_s: deque[float] = deque(maxlen=100)

    def see(self, at_s: float, figures: object) -> float:
        """Seconds since the readings last changed, as far as was seen."""
        if self._since_s is None:
            self._seen, self._since_s = figures, at_s
        elif figures != self._seen:
            if self._changed_s is not None:
                self._gaps_s.append(at_s - self._changed_s)
            self._seen, self._changed_s, self._since_s = figures, at_s, at_s
        return at_s - self._since_s

    @property
    def interval_s(self) -> float | None:
        """The median time between changes; None before two gaps were seen."""
        return median(self._gaps_s) if len(self._gaps_s) > 1 else None
